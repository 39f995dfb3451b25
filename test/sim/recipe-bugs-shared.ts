// The planted bugs of what goes from one to many: queues, topics, configuration. See recipe-mutants.ts.

import type { RecipeBugs } from './recipe-bugs.js';

export const SHARED_BUGS: readonly RecipeBugs[] = [
  {
    recipe: 'queue', tests: ['queue'],
    bugs: [
      {
        number: 221, name: 'the bound lets one more in', file: 'queue-put',
        edits: [
          ['versionIs(keys.in, \'<\', this.#ended + this.#options.itemsMax)',
            'versionIs(keys.in, \'<\', this.#ended + this.#options.itemsMax + 1)'],
        ],
      },
      {
        number: 222, name: 'a put does not compare that its id is new', file: 'queue-put', tests: ['queue-more'],
        edits: [['created(idKey, \'=\', 0),', '']],
      },
      {
        number: 223, name: 'ids are remembered for ever', file: 'queue-put', tests: ['queue-more'],
        edits: [['opPut(idKey, mark, { lease: at.lease })', 'opPut(idKey, mark)']],
      },
      {
        number: 224, name: 'a put whose answer was lost is told to be a duplicate', file: 'queue-put',
        edits: [['equalBytes(remembered.value, item.mark) ? \'ours\' : \'theirs\'', '\'theirs\'']],
      },
      {
        number: 225, name: 'an old place is used although others have put since', file: 'queue-put',
        edits: [['...stand.compare,', '']],
      },
      {
        number: 226, name: 'a hold without the lease of its session', file: 'queue-take',
        edits: [
          ['opPut(this.keys.hold(this.#who, id), utf8(\'\'), { lease: this.session.lease })',
            'opPut(this.keys.hold(this.#who, id), utf8(\'\'))'],
        ],
      },
      {
        number: 227, name: 'a take does not compare what it takes', file: 'queue-take', tests: ['queue', 'queue-more'],
        edits: [['const compare = [modified(first.key, \'=\', first.modRevision)];', 'const compare = [];']],
      },
      {
        number: 228, name: 'a take does not compare its guard', file: 'queue-take', tests: ['queue-more'],
        edits: [['versionIs(guard, \'=\', this.#epoch)]', ']']],
      },
      {
        number: 229, name: 'a pause stops nobody', file: 'queue-take', tests: ['queue-more'],
        edits: [['created(paused, \'=\', 0), ', '']],
      },
      {
        number: 230, name: 'what was taken is handed out without a look at the session',
        file: 'queue-take', tests: ['queue-more'],
        edits: [['this.session.assertLive();\n        if (!answer.succeeded)', 'if (!answer.succeeded)']],
      },
      {
        number: 231, name: 'a take whose answer was lost is forgotten', file: 'queue-take', tests: ['queue', 'queue-more'],
        edits: [['if (error.outcome === \'unknown\' && chains.length > 0)\n                await this.#resolveDoubt();', '']],
      },
      {
        number: 232, name: 'what nobody waits for any more is kept', file: 'queue-take', tests: ['queue-more'],
        edits: [['void taken.settled(() => taken.release());', ';']],
      },
      {
        number: 233, name: 'an end compares that somebody holds it under our key',
        file: 'queue-delivery', tests: ['queue', 'queue-more'],
        edits: [['const owned = created(this.key, \'=\', this.fence);', 'const owned = created(this.key, \'>\', 0);']],
      },
      {
        number: 234, name: 'an end does not compare whose the item is', file: 'queue-delivery', tests: ['queue-more'],
        edits: [['compare: [owned],', 'compare: [],']],
      },
      {
        number: 235, name: 'deliveries are not counted', file: 'queue-take',
        edits: [['attempts: attempts + 1', 'attempts']],
      },
      {
        number: 236, name: 'an item that was given back unseen counts as delivered',
        file: 'queue-delivery', tests: ['queue', 'queue-more'],
        edits: [['attempts: out.attempts - 1', 'attempts: out.attempts']],
      },
      {
        number: 237, name: 'an end whose answer was lost is taken for somebody else\'s',
        file: 'queue-delivery', tests: ['queue-more'],
        edits: [['const header = doubted ? await this.#doneByUs(kind) : null;', 'const header = null;']],
      },
      {
        number: 238, name: 'an end in doubt is taken for ours', file: 'queue-delivery', tests: ['queue-more'],
        edits: [['return isOurs ? answer.header : null;', 'return answer.header;']],
      },
      {
        number: 239, name: 'who looks after the queue does not compare that the hold is gone',
        file: 'queue-care', tests: ['queue-more'],
        edits: [['...(out === null ? [] : [created(keys.hold(out.by, id), \'=\', 0)]),', '']],
      },
      {
        number: 240, name: 'who looks after the queue does not compare what it brings back',
        file: 'queue-care', tests: ['queue-more'],
        edits: [['modified(keys.outItem(id), \'=\', outKv.modRevision),', '']],
      },
      {
        number: 241, name: 'what was lost while nobody looked after the queue stays lost',
        file: 'queue-care', tests: ['queue', 'queue-more'],
        edits: [['await bringBackAll(desk, items, stop);', '']],
      },
      {
        number: 242, name: 'what is followed begins one revision late', file: 'queue-call', tests: ['queue', 'queue-more'],
        edits: [['startRevision: revision + 1', 'startRevision: revision + 2']],
      },
      {
        number: 243, name: 'an item whose consumers die is delivered once too often',
        file: 'queue-care', tests: ['queue', 'queue-more'],
        edits: [['out.attempts >= item.head.maxAttempts', 'out.attempts > item.head.maxAttempts']],
      },
      {
        number: 244, name: 'an item that is refused is delivered once too often', file: 'queue-delivery',
        edits: [['out.attempts >= head.maxAttempts', 'out.attempts > head.maxAttempts']],
      },
      {
        number: 245, name: 'the next of a group is taken without a look whether it is still there',
        file: 'queue-moves', tests: ['queue-more'],
        edits: [['compare: [created(next.key, \'=\', next.createRevision)],', 'compare: [],']],
      },
      {
        number: 246, name: 'a group ends without a look whether somebody has come',
        file: 'queue-moves', tests: ['queue-more'],
        edits: [['compare: [{ ...created(line.key, \'=\', 0), ...range }]', 'compare: []']],
      },
      {
        number: 247, name: 'an item with a lease of its own is lost with the session',
        file: 'queue-delivery', tests: ['queue-more'],
        edits: [['this.#keepers = [keeper];', '']],
      },
      {
        number: 248, name: 'what is trimmed is not compared', file: 'queue-take', tests: ['queue-more'],
        edits: [['compare: [created(kv.key, \'=\', kv.createRevision)],', 'compare: [],']],
      },
      {
        number: 249, name: 'a dead item put back is not counted', file: 'queue-state', tests: ['queue', 'queue-more'],
        edits: [['opPut(keys.in, utf8(\'\')), ', '']],
      },
      {
        number: 250, name: 'a consumer never hurries again after a failure',
        file: 'queue-consume', tests: ['queue', 'queue-more'],
        edits: [['backoff.reset();\n            await done', 'await done']],
      },
      {
        number: 251, name: 'a higher priority comes later', file: 'queue-keys',
        edits: [
          ['const order = `${hex(PRIORITY_MAX - priority, 2)}${place}`;',
            'const order = `${hex(priority, 2)}${place}`;'],
        ],
      },
      {
        number: 252, name: 'groups do not take turns with others', file: 'queue-choice', tests: ['queue-more'],
        edits: [['this.#servedAt = placeAt(revision, 0);', ';']],
      },
      {
        number: 253, name: 'an acknowledgement is reported as done before it is', file: 'queue-delivery',
        edits: [['if (done.kind === \'refused\') {', 'if (done.kind === \'never\') {']], tests: ['queue-more'],
      },
    ],
  },
  {
    recipe: 'topic', tests: ['topic'],
    bugs: [
      {
        number: 261, name: 'a publication does not compare the head', file: 'topic-publish',
        edits: [['modified(head, \'=\', before.mod), modified(turn', 'modified(turn']],
      },
      {
        number: 262, name: 'a publication does not compare that its ids are new', file: 'topic-publish',
        edits: [['...ids.map((key) => created(key, \'=\', 0)),', '']],
      },
      {
        number: 263, name: 'the receipt is not looked at', file: 'topic-publish',
        edits: [['if (landed !== undefined && ', 'if (landed !== undefined && landed.number < 0 && ']],
      },
      {
        number: 264, name: 'one message too many is kept', file: 'topic-publish',
        edits: [['const kept = attempt.head.last - this.#count + 1;', 'const kept = attempt.head.last - this.#count;']],
      },
      {
        number: 265, name: 'a lease for messages is shared for too long', file: 'topic-publish',
        edits: [['until: now + this.#seconds * 125', 'until: now + this.#seconds * 1250']],
      },
      {
        number: 266, name: 'what was given up before it was sent is sent all the same', file: 'topic-publish',
        edits: [['if (message.isOver)\n                continue;', '']],
      },
      {
        number: 267, name: 'a topic that was deleted begins where it began before', file: 'topic-publish',
        edits: [['const base = BATCH_MAX * revision;', 'const base = 0;']],
      },
      {
        number: 268, name: 'a reader\'s watch begins one revision late', file: 'topic-read',
        edits: [['startRevision: this.#revision + 1', 'startRevision: this.#revision + 2']],
      },
      {
        number: 269, name: 'a single message that is missing is passed over', file: 'topic-read',
        edits: [['if (position > this.position + 1)', 'if (position > this.position + 2)']],
      },
      {
        number: 270, name: 'a message is handed out again after reading anew', file: 'topic-read',
        edits: [['if (position <= this.position)\n            return;', '']],
      },
      {
        number: 271, name: 'what is missing at the end is passed over', file: 'topic-read',
        edits: [['if (!page.more && last > this.position)', 'if (!page.more && last > this.position && last < 0)']],
      },
      {
        number: 272, name: 'a silent watch is waited for', file: 'topic-read',
        edits: [
          ['if (page === null || this.#storeWentBack || page.last !== this.#position || this.#isOther(page.epoch'
            + '))',
            'if (page === null)'],
        ],
      },
      {
        number: 273, name: 'now is one message ago', file: 'topic-read',
        edits: [['this.#position = page.last;\n', 'this.#position = page.last === null ? null : page.last - 1;\n']],
      },
      {
        number: 274, name: 'a live topic of another life is taken for the old one', file: 'topic-read',
        edits: [['return epoch !== null && this.#epoch !== null && epoch !== this.#epoch;', 'return epoch === undefined;']],
      },
      {
        number: 275, name: 'a store that went back is not noticed', file: 'topic-read',
        edits: [['if (answer.header.revision < this.#revision)\n                    this.#storeWentBack = true;', '']],
      },
      {
        number: 276, name: 'ids are remembered for ever', file: 'topic-publish',
        edits: [['opPut(idKey, utf8(String(first + i)), { lease })', 'opPut(idKey, utf8(String(first + i)))']],
      },
      {
        number: 277, name: 'a publication does not compare whose turn it is', file: 'topic-publish', tests: ['topic-publish'],
        edits: [['modified(turn, \'=\', isTurnFree ? 0 : this.#turn?.mod ?? 0),', '']],
      },
    ],
  },
  {
    recipe: 'topic group', tests: ['topic-group'],
    bugs: [
      {
        number: 281, name: 'a take does not compare the cursor', file: 'topic-group',
        edits: [['modified(cursorKey, \'=\', cursor.mod), created(message, \'>\', 0)', 'created(message, \'>\', 0)']],
      },
      {
        number: 282, name: 'a claim without the lease of its session', file: 'topic-group',
        edits: [
          ['put(pending, writePending(1, missedFrom)).put(claim, this.#claim, { lease: this.session.lease })',
            'put(pending, writePending(1, missedFrom)).put(claim, this.#claim)'],
        ],
      },
      {
        number: 283, name: 'a message is handed out again although somebody has it', file: 'topic-group',
        edits: [['[modified(pending, \'=\', record.mod), created(claim, \'=\', 0)]', '[modified(pending, \'>\', 0)]']],
      },
      {
        number: 284, name: 'another attempt is not counted', file: 'topic-group',
        edits: [['const attempt = record.attempt + 1;', 'const attempt = record.attempt;']],
      },
      {
        number: 285, name: 'one more may be in flight', file: 'topic-group',
        edits: [['if (all.length >= this.#inFlightMax)', 'if (all.length > this.#inFlightMax)']],
      },
      {
        number: 286, name: 'an acknowledgement leaves the message pending', file: 'topic-delivery',
        edits: [['this.txn().delete(pending).delete(claim)', 'this.txn().delete(claim)']],
      },
      {
        number: 287, name: 'consumers of one session take each other\'s claims for theirs', file: 'topic-group-keys',
        edits: [['kv.lease === lease && readJson(kv.value)?.[\'by\'] === by', 'kv.lease === lease']],
      },
      {
        number: 288, name: 'a take whose answer was lost is forgotten', file: 'topic-group',
        edits: [['return !this.#mine.has(position) && this.#settled.get(position) !== kv.createRevision;', 'return false;']],
      },
      {
        number: 289, name: 'a pending message that is not kept any more stays pending', file: 'topic-group',
        edits: [
          ['if (responses[0]?.kind === \'range\' && responses[0].response.count === 0) {',
            'if (responses[0]?.kind === \'put\') {'],
        ],
      },
      {
        number: 290, name: 'an acknowledgement whose answer was lost is taken for a loss', file: 'topic-delivery',
        edits: [['if (this.#loose === null)\n                        throw error;', 'throw error;']],
      },
      {
        number: 291, name: 'messages trimmed before the group saw them are not told', file: 'topic-group',
        edits: [['const missedFrom = first < position ? first : null;', 'const missedFrom = null;']],
      },
      {
        number: 292, name: 'a claim that somebody deleted is believed in', file: 'topic-group',
        edits: [['if (isShown && now?.createRevision !== delivery.fence)\n                delivery.lose();', '']],
      },
      {
        number: 293, name: 'leaving the group keeps what no view has shown yet', file: 'topic-group',
        edits: [['(signal) => this.#giveBackAll(signal)', '() => Promise.resolve()']],
      },
      {
        number: 294, name: 'a topic that went back leaves its group where it was', file: 'topic-group',
        edits: [['if (cursor.after !== null && head.last < cursor.after)', 'if (cursor.after !== null && head.last < 0)']],
      },
    ],
  },
  {
    recipe: 'config', tests: ['config'],
    bugs: [
      {
        number: 301, name: 'a change does not compare the pointer', file: 'config',
        edits: [['modified(current, \'=\', before.mod),', '']],
      },
      {
        number: 302, name: 'a change whose answer was lost is made again', file: 'config',
        edits: [
          ['if (sent !== null && isLoose && before.mod !== sent.mod) {',
            'if (sent !== null && isLoose && before.mod < 0) {'],
        ],
      },
      {
        number: 303, name: 'somebody else\'s change is taken for ours', file: 'config',
        edits: [
          ['return content === undefined || (version !== undefined && equalBytes(version.value, content));',
            'return true;'],
        ],
      },
      {
        number: 304, name: 'a version that is not kept any more is rolled back to', file: 'config',
        edits: [['...(what.needs > 0 ? [{ key: needed, result: \'>\', target: \'create\', operand: 0 }] : []),', '']],
      },
      {
        number: 305, name: 'versions that are pinned or rolled out are trimmed', file: 'config',
        edits: [['[version, rollout?.version ?? version, ...pins.values()]', '[version]']],
      },
      {
        number: 306, name: 'one version too few is kept', file: 'config',
        edits: [['const end = last - this.#versionsKept + 1;', 'const end = last - this.#versionsKept + 2;']],
      },
      {
        number: 307, name: 'a roll-out comes before a pin', file: 'config-names',
        edits: [['if (pinned !== undefined)', 'if (pinned !== undefined && pointer.rollout === null)']],
      },
      {
        number: 308, name: 'every roll-out meets the same instances first', file: 'config-names',
        edits: [['utf8(`${version}/${instance}`)', 'utf8(instance)']],
      },
      {
        number: 309, name: 'a version number of a store that was replaced is believed', file: 'config-follower',
        edits: [
          ['before !== null && before.line === line && before.version === version',
            'before !== null && before.version === version'],
        ],
      },
      {
        number: 310, name: 'a notification that is lost is never missed', file: 'config-follower',
        edits: [['if (stop.aborted || this.#viewMod() === there || await this.#storedMod() !== there)', 'if (there >= 0)']],
      },
      {
        number: 311, name: 'a snapshot takes the old one\'s place before it is on disk', file: 'config-snapshot',
        edits: [['await whenDone((done) => files.sync(staged, done));', '']],
      },
      {
        number: 312, name: 'a snapshot twice too old is used', file: 'config-snapshot',
        edits: [['if (ageMs > maxAgeMs) {', 'if (ageMs > 2 * maxAgeMs) {']],
      },
      {
        number: 313, name: 'the seal does not cover whose the snapshot is and how old', file: 'config-snapshot',
        edits: [['Buffer.concat([utf8(`${JSON.stringify(head)}\\n`), content])', 'Buffer.concat([content])']],
      },
      {
        number: 314, name: 'a snapshot that is confirmed ages all the same', file: 'config-follower',
        edits: [
          ['if (this.#clock.now() - this.#savedAt >= snapshot.maxAgeMs * CONFIRM_SHARE)\n            this.#save('
            + ');',
            ''],
        ],
      },
      {
        number: 315, name: 'a second version is published while one is being rolled out', file: 'config',
        edits: [['if (now.version !== expect || now.rollout !== null)', 'if (now.version !== expect)']],
      },
      {
        number: 316, name: 'what the rules refuse is published', file: 'config',
        edits: [['parseContent(this.name, 0, content, this.#parse);\n        return content;', 'return content;']],
      },
      {
        number: 317, name: 'a pointer that is deleted takes the configuration away', file: 'config-follower',
        edits: [
          ['this.#refuse(new ConfigAbsent(space, this.#held === null ? \'missing\' : \'removed\'));',
            'this.#held = null;'],
        ],
      },
    ],
  },
];

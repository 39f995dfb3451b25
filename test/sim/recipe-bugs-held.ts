// The planted bugs of what is held: sessions, registrations, locks, fences, elections. See recipe-mutants.ts.

import type { RecipeBugs } from './recipe-bugs.js';

export const HELD_BUGS: readonly RecipeBugs[] = [
  {
    recipe: 'session', tests: ['session'],
    bugs: [
      {
        number: 100, name: 'canary: no session is ever live', file: 'session',
        edits: [['return !this.#expired();', 'return false;']],
      },
      {
        number: 101, name: 'a deadline counts from the answer', file: 'session',
        edits: [['this.#confirm(attempt.sentAt, ttlSeconds * 1000);', 'this.#confirm(this.clock.now(), ttlSeconds * 1000);']],
      },
      {
        number: 102, name: 'the first deadline counts from when the grant was answered', file: 'session',
        edits: [
          ['new Session(client, clock, lease, sentAt, options)',
            'new Session(client, clock, lease, clock.now(), options)'],
        ],
      },
      {
        number: 103, name: 'a renewal that was granted nothing counts', file: 'session',
        edits: [['if (ttlSeconds <= 0) {', 'if (ttlSeconds < 0) {']],
      },
      {
        number: 105, name: 'a grant that comes late is left to expire', file: 'session',
        edits: [['onLate: (late) => discard(client, late),', '']],
      },
      {
        number: 106, name: 'a stall of seconds is told to nobody', file: 'session',
        edits: [['if (gapMs <= STALL_MS)', 'if (gapMs <= 100 * STALL_MS)']],
      },
      {
        number: 107, name: 'live is what the last timer found', file: 'session',
        edits: [['return !this.#expired();', 'return this.#lost === null;']],
      },
      {
        number: 108, name: 'an attempt that hangs keeps others from being made', file: 'session',
        edits: [
          ['this.#nextAttemptAt = now + Math.min(this.#intervalMs, this.#attemptMs);',
            'this.#nextAttemptAt = now + this.ttlMs;'],
        ],
      },
      {
        number: 109, name: 'what is renewed beside counts from when it is looked at',
        file: 'session', tests: ['session-stall'],
        edits: [['const sentAt = now - keeping.ageMs();', 'const sentAt = now;']],
      },
      {
        number: 110, name: 'a renewal leaves no margin', file: 'session',
        edits: [['this.#deadline = sentAt + ttlMs - this.#marginMs;', 'this.#deadline = sentAt + ttlMs;']],
      },
      {
        number: 111, name: 'a failure from before the last renewal suspends', file: 'session',
        edits: [['if (attempt.sentAt < this.#confirmedAt)\n            return;', '']],
      },
      {
        number: 112, name: 'a suspicion waits for the next renewal', file: 'session',
        edits: [['this.#nextAttemptAt = Math.min(this.#nextAttemptAt, this.clock.now());', '']],
      },
      {
        number: 113, name: 'closing does not revoke', file: 'session',
        edits: [
          ['const failure = await revoked(this.client, this.lease, { signal: giveUp.signal });',
            'const failure = null;'],
        ],
      },
      {
        number: 114, name: 'a lease that is gone is revoked once more', file: 'session',
        edits: [['if (before?.reason === \'revoked\')\n            return;', '']],
      },
      {
        number: 115, name: 'whoever listens to a session that is lost already waits for ever', file: 'session',
        edits: [
          ['if (this.#expired() && this.#lost !== null)\n            told(this.#lost);\n        else\n          '
            + '  ',
            ''],
        ],
      },
    ],
  },
  {
    recipe: 'registration', tests: ['registry'],
    bugs: [
      {
        number: 121, name: 'an update made while another one is on its way counts as written',
        file: 'registration', claims: 'R1*',
        edits: [['this.#storedVersion = version;', 'this.#storedVersion = this.#version;']],
      },
      {
        number: 122, name: 'a write does not compare the epitaph', file: 'registration', claims: 'R2 a late*',
        edits: [['modified(this.#keys.epitaph, \'=\', this.#epitaphRevision),', '']],
      },
      {
        number: 123, name: 'a write does not compare the instance', file: 'registration', claims: 'who wrote the entry*',
        edits: [['modified(this.#keys.instance, \'=\', this.#instanceRevision),', '']],
      },
      {
        number: 124, name: 'a crash leaves no reason', file: 'registration', claims: 'R1*',
        edits: [['...(appears ? [this.#epitaphOp(\'expired\')] : [])', '']],
      },
      {
        number: 125, name: 'the older of two processes fights back', file: 'registration', claims: 'two processes*',
        edits: [
          ['if (!starting || this.#goal !== null)\n                this.#conclude(\'superseded\');\n            '
            + 'return;',
            ''],
        ],
      },
      {
        number: 126, name: 'restorations are not bounded', file: 'registration', claims: 'a key that is deleted*',
        edits: [['await pause(this.clock, this.#bucket.take(), this.#leaving.signal);', '']],
      },
      {
        number: 127, name: 'a drain has no grace', file: 'registration', claims: '*drain*',
        edits: [['await pause(this.clock, graceMs, this.#leaving.signal);', '']],
      },
      {
        number: 128, name: 'what a close left behind is left for ever', file: 'registration', tests: ['registration'],
        edits: [['void this.#removeLater(this.#goal, session);', ';']],
      },
      {
        number: 129, name: 'a store that went back is believed to be as it was',
        file: 'registration', tests: ['registration'],
        edits: [['const wentBack = change.revision < seen;', 'const wentBack = false;']],
      },
      {
        number: 130, name: 'the epitaph is not renewed', file: 'registration', claims: 'the epitaph outlives*',
        edits: [
          ['const renewIn = this.#epitaph === null ? 0 : this.#epitaph.renewAt - this.clock.now();',
            'const renewIn = 1e12;'],
        ],
      },
      {
        number: 131, name: 'an instance without the lease of its session',
        file: 'registration', claims: 'the epitaph outlives*',
        edits: [
          ['opPut(this.#keys.instance, this.#value(), { lease: session.lease })',
            'opPut(this.#keys.instance, this.#value())'],
        ],
      },
      {
        number: 132, name: 'closed by its session, it comes back', file: 'registration', claims: 'closing the session*',
        edits: [['if (error.reason === \'closed\')\n                    this.#leave(\'closed\');', '']],
      },
      {
        number: 133, name: 'an epitaph that comes after its instance speaks at once', file: 'registry', claims: 'discovery*',
        edits: [['if (this.#present.has(name))\n                this.#silent.add(entry);', '']],
      },
      {
        number: 134, name: 'services beyond one transaction are read as they are later',
        file: 'registry', claims: '*services*',
        edits: [['if (revision === 0)\n            revision = answer.header.revision;', '']],
      },
      {
        number: 135, name: 'evicting does not compare', file: 'registry', claims: 'who takes over*',
        edits: [['compare: [modified(keys.instance, \'=\', found.modRevision)],', 'compare: [],']],
      },
      {
        number: 136, name: 'a view\'s watch begins one revision late', file: 'view', tests: ['view'],
        edits: [['startRevision: this.#appliedRevision + 1', 'startRevision: this.#appliedRevision + 2']],
      },
      {
        number: 137, name: 'reading again does not tell what has gone', file: 'view', tests: ['view'],
        edits: [['this.#record(key, null, old);', '']],
      },
      {
        number: 138, name: 'silence is health', file: 'view', tests: ['view'],
        edits: [
          ['if (now - this.#heardAt >= this.#options.livenessMs) {',
            'if (now - this.#heardAt >= 1000 * this.#options.livenessMs) {'],
        ],
      },
    ],
  },
  {
    recipe: 'lock', tests: ['lock'],
    bugs: [
      {
        number: 141, name: 'the watch for what stands before begins one revision late', file: 'deletion',
        edits: [['startRevision: revision + 1', 'startRevision: revision + 2']],
      },
      {
        number: 142, name: 'the newest entry up to ours is our own', file: 'line',
        edits: [['maxCreateRevision: own.fence - 1', 'maxCreateRevision: own.fence']],
      },
      {
        number: 143, name: 'the first look finds our own entry alone', file: 'line',
        edits: [['const limit = own === null && shared ? 2 : 1;', 'const limit = 1;']],
      },
      {
        number: 145, name: 'an answer is believed without a look at the session', file: 'line',
        edits: [
          ['this.#session.assertLive();\n        this.#stop.signal.throwIfAborted();',
            'this.#stop.signal.throwIfAborted();'],
        ],
      },
      {
        number: 146, name: 'an entry without the lease of its session', file: 'entry',
        edits: [['opPut(base, this.#options.value, { lease: this.session.lease })', 'opPut(base, this.#options.value)']],
      },
      {
        number: 147, name: 'a wait that is given up leaves its entry', file: 'line',
        edits: [['await this.#leave(entry, error);\n                throw error;', 'throw error;']],
      },
      {
        number: 148, name: 'a removal does not compare', file: 'entry',
        edits: [
          ['compare: [created(own.key, \'=\', own.fence)],\n            success: [opDelete(own.key), ...leaving('
            + 'own)],',
            'compare: [],\n            success: [opDelete(own.key), ...leaving(own)],'],
        ],
      },
      {
        number: 149, name: 'creations that may still land are forgotten', file: 'entry',
        edits: [['return this.#own === null && this.#loose.size === 0;', 'return this.#own === null;']],
      },
      {
        number: 150, name: 'a creation does not compare its guard', file: 'entry',
        edits: [['versionIs(guard, \'=\', this.#mark.epoch),\n                ...only,', '...only,']],
      },
      {
        number: 151, name: 'a creation whose outcome is unknown counts as failed', file: 'entry',
        edits: [
          ['if (isApiError(error) && error.outcome === \'never\')\n                this.#loose.delete(sent);',
            'this.#loose.delete(sent);'],
        ],
      },
      {
        number: 152, name: 'two tasks of a session share an entry', file: 'marks',
        edits: [['while (known.taken.has(number))', 'while (number < 0)']],
      },
      {
        number: 153, name: 'a holder does not watch its entry', file: 'holding',
        edits: [['void this.#follow(look.revision);', '']],
      },
      {
        number: 154, name: 'an entry that came after ours is taken for ours', file: 'holding',
        edits: [
          ['const request = { compare: [created(this.key, \'=\', this.fence), ...',
            'const request = { compare: [created(this.key, \'>\', 0), ...'],
        ],
      },
      {
        number: 155, name: 'a release ends what is held only once the store has confirmed it', file: 'holding',
        edits: [['this.#end(new Released(this.#options.what));\n        if (!this.session.live)', 'if (!this.session.live)'],
            ['{ timeoutMs: this.#options.leaveMs, what });\n',
              '{ timeoutMs: this.#options.leaveMs, what });\n this.#end(new Released(this.#options.what));'],
          ],
      },
      {
        number: 156, name: 'held is what the last timer found', file: 'holding',
        edits: [
          ['if (this.#reason === null && !this.session.live)',
            'if (this.#reason === null && this.session.lease === 0n)'],
        ],
      },
      {
        number: 157, name: 'work under a lock that was lost is reported as done', file: 'lock',
        edits: [['if (!held.isHeld && !(held.signal.reason instanceof Released))\n            held.assertHeld();', '']],
      },
      {
        number: 158, name: 'whoever comes starts the delay anew', file: 'lock', tests: ['lock-more'],
        edits: [['if (record.lease !== 0n)', 'if (record.lease < 0n)']],
      },
      {
        number: 159, name: 'a request for a release is heard by the wrong holder', file: 'holding', tests: ['lock-more'],
        edits: [['return asked.fence === fence && typeof asked.why', 'return typeof asked.why']],
      },
      {
        number: 160, name: 'a plain key is given back without a look whose it is', file: 'lock', tests: ['lock-more'],
        edits: [['plainKey ? [deleteIf(plain, plainValue(own))] : []', 'plainKey ? [opDelete(plain)] : []']],
      },
    ],
  },
  {
    recipe: 'lock family', tests: ['semaphore'],
    bugs: [
      {
        number: 161, name: 'a writer waits for writers only', file: 'rw-lock', tests: ['rw-lock'],
        edits: [['behindAll(`${path}/`)', 'behindAll(`${path}/write/`)']],
      },
      {
        number: 162, name: 'a reader passes the writers that wait', file: 'rw-lock', tests: ['rw-lock'],
        edits: [['behind(`${path}/write/`, false)', 'behind(`${path}/nobody/`, false)']],
      },
      {
        number: 163, name: 'a writer that holds is shown as one that waits', file: 'rw-lock', tests: ['rw-lock'],
        edits: [['readers > 0 ? readers : Math.min(1, entries.length)', 'readers']],
      },
      {
        number: 164, name: 'permits that fit by one too many', file: 'semaphore',
        edits: [['return used + permits <= stored ?', 'return used + permits <= stored + 1 ?']],
      },
      {
        number: 165, name: 'weights count as one', file: 'semaphore',
        edits: [['return Number(weight);', 'return Math.min(1, Number(weight));']],
      },
      {
        number: 166, name: 'the gate is never left', file: 'semaphore',
        edits: [['gate.release().catch((error) => observe({ kind: \'release_unconfirmed\', error: asError(error) }));', '']],
      },
      {
        number: 167, name: 'who gives up behind the gate keeps it', file: 'semaphore',
        edits: [['throw await left(gate, error);', 'throw error;']],
      },
      {
        number: 168, name: 'a limit is changed whatever it was', file: 'semaphore',
        edits: [['compare: [created(before, \'>\', 0)],', 'compare: [],']],
      },
      {
        number: 169, name: 'a try that misses keeps the gate', file: 'semaphore',
        edits: [['await gate.release();\n            return null;', 'return null;']],
      },
      {
        number: 170, name: 'a limit that is raised wakes nobody', file: 'semaphore',
        edits: [['by: { key: ranges.limit.key, rangeEnd: ranges.permits.rangeEnd }', 'by: ranges.permits']],
      },
      {
        number: 171, name: 'several locks are taken in the order given', file: 'lock', tests: ['lock-more'],
        edits: [['keys.sort((a, b) => compareBytes(a.key, b.key))', 'keys.slice()']],
      },
      {
        number: 172, name: 'several locks: a wait that is given up keeps the first ones', file: 'lock', tests: ['lock-more'],
        edits: [
          ['const outcomes = await Promise.allSettled(held.map((each) => each.release()));\n    if',
            'const outcomes = [];\n    if'],
        ],
      },
      {
        number: 173, name: 'several locks: writes are fenced by the first one alone', file: 'lock', tests: ['lock-more'],
        edits: [['return new FencedTxn(first, ...others);', 'return new FencedTxn(first);']],
      },
      {
        number: 174, name: 'several locks: one that is lost does not end the whole', file: 'lock', tests: ['lock-more'],
        edits: [['signal.addEventListener(\'abort\', () => broken.abort(signal.reason), { once: true });', '']],
      },
    ],
  },
  {
    recipe: 'fences', tests: ['fenced-txn'],
    bugs: [
      {
        number: 181, name: 'any entry under our key is ours', file: 'fenced-txn',
        edits: [['[created(key, \'=\', fence), ...also]', '[created(key, \'>\', 0), ...also]']],
      },
      {
        number: 182, name: 'further compares of the ownership are dropped', file: 'fenced-txn',
        edits: [['[created(key, \'=\', fence), ...also]', '[created(key, \'=\', fence)]']],
      },
      {
        number: 183, name: 'what is known to be lost is asked of the store', file: 'fenced-txn',
        edits: [['if (cause !== null)\n', 'if (cause === undefined)\n']],
      },
      {
        number: 184, name: 'the caller\'s compares stand beside the ownership\'s', file: 'fenced-txn',
        edits: [['[created(key, \'=\', fence), ...also]', '[created(key, \'=\', fence), ...also, ...this.#compare]']],
      },
      {
        number: 185, name: 'the refusal names the fence it refuses as the newest', file: 'fenced-txn',
        edits: [['owner === owned.fence ? null : owner', 'owner']],
      },
      {
        number: 186, name: 'of several that are owned the first is compared', file: 'fenced-txn',
        edits: [['compare: this.#owned.flatMap(', 'compare: this.#owned.slice(0, 1).flatMap(']],
      },
      {
        number: 187, name: 'a fence one lower is let in', file: 'fence-guard', tests: ['fence-guard'],
        edits: [['if (newest > fence)', 'if (newest > fence + 1)']],
      },
      {
        number: 188, name: 'what is dropped from memory is forgotten', file: 'fence-guard', tests: ['fence-guard'],
        edits: [['this.#floor = Math.max(this.#floor, fence);', '']],
      },
      {
        number: 189, name: 'a fence is not checked again when its turn has come', file: 'fence-guard', tests: ['fence-guard'],
        edits: [['await this.admit(resource, fence);\n            const overtaken', 'const overtaken']],
      },
      {
        number: 190, name: 'who waits no longer lets the next one pass the one at work',
        file: 'fence-guard', tests: ['fence-guard'],
        edits: [['void before.then(leave);', 'leave();']],
      },
      {
        number: 191, name: 'who is at work is not told of somebody newer', file: 'fence-guard', tests: ['fence-guard'],
        edits: [['running.fence < fence', 'running.fence > fence']],
      },
      {
        number: 192, name: 'who hung up is served all the same', file: 'fence-middleware', tests: ['fence-middleware'],
        edits: [['if (response.destroyed)\n                return;', '']],
      },
      {
        number: 193, name: 'memory drops the highest fences', file: 'fence-guard', tests: ['fence-guard'],
        edits: [['a - b)', 'b - a)']],
      },
    ],
  },
  {
    recipe: 'election', tests: ['election'],
    bugs: [
      {
        number: 201, name: 'equals yield to each other', file: 'election',
        edits: [['(priorityOf(key) ?? 0) > priority', '(priorityOf(key) ?? 0) >= priority']],
      },
      {
        number: 202, name: 'the chosen heir yields to a higher priority', file: 'election',
        edits: [['higher && !isChosen', 'higher']],
      },
      {
        number: 203, name: 'the entry goes before the hooks have run', file: 'election',
        edits: [['await this.#ending;\n        try', 'try']],
      },
      {
        number: 204, name: 'hooks run before the signal aborts', file: 'election',
        edits: [
          ['this.#over.abort(reason);\n        this.#ending = this.#runHooks(reason);',
            'this.#ending = this.#runHooks(reason);\n        this.#over.abort(reason);'],
        ],
      },
      {
        number: 205, name: 'a proclamation does not compare what it replaces', file: 'election',
        edits: [['.compare(modified(key, \'=\', this.#modified))', '']],
      },
      {
        number: 206, name: 'a proclamation takes the entry off its lease', file: 'election',
        edits: [['.put(key, value, { lease: session.lease })', '.put(key, value)']],
      },
      {
        number: 207, name: 'a move takes the entry off its lease', file: 'line',
        edits: [['opPut(to, entry.value, { lease: entry.lease })', 'opPut(to, entry.value)']],
      },
      {
        number: 208, name: 'a move does not compare: who has left is put back in line', file: 'line',
        edits: [
          ['compare: [modified(entry.key, \'=\', entry.modRevision), created(to, \'=\', 0)],',
            'compare: [created(to, \'=\', 0)],'],
        ],
      },
      {
        number: 209, name: 'an heir is chosen without a look whether it is still there', file: 'election',
        edits: [['.compare(created(chosen.key, \'=\', chosen.createRevision))', '']],
      },
      {
        number: 210, name: 'an observer takes a new leader under the old key for the old one',
        file: 'election-state', tests: ['lead'],
        edits: [['now?.createRevision !== first.createRevision', 'now === null']],
      },
      {
        number: 211, name: 'another one is elected while the work still runs', file: 'lead', tests: ['lead'],
        edits: [['leadership.onEnd(() => running.then(ignore, ignore));', '']],
      },
      {
        number: 212, name: 'a work that ends at once makes lead spin', file: 'lead', tests: ['lead'],
        edits: [['await pause(clock, rounds.take(), signal);', '']],
      },
      {
        number: 213, name: 'work under a leadership that was lost is reported as done', file: 'lead', tests: ['lead'],
        edits: [
          ['if (outcome.kind === \'done\' && isOver && outcome.reason !== null)\n                throw outcome.r'
            + 'eason;',
            ''],
        ],
      },
      {
        number: 214, name: 'a session opened for leading is left open', file: 'lead', tests: ['lead'],
        edits: [['if (owned)\n                await mine.close();', '']],
      },
      {
        number: 215, name: 'a resignation leaves the heir\'s mark', file: 'election',
        edits: [['leaving: (own) => [opDelete(chosenKey(own.key))],', 'leaving: () => [],']],
      },
      {
        number: 216, name: 'a resignation after a loss does not wait for the hooks that still run', file: 'election',
        edits: [['if (this.#ending !== null)\n            return;', '']],
      },
      {
        number: 217, name: 'whoever is moved loses its place and its wait', file: 'entry',
        edits: [
          ['return lease === this.session.lease && (key.length > bare || this.#loose.size > 0);',
            'return lease === this.session.lease && this.#loose.size > 0;'],
        ],
      },
    ],
  },
];

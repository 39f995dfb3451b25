// The planted bugs of reliability.md 3.12: what is put where in the compiled product. Seeds of this
// simulator are to notice, or the tests named; where nothing is planted, the note says why the design leaves no line for it. It
// is one long list, and stays together so that a number is found where it is looked for.

export interface Edit {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Mutant {
  readonly number: number;
  readonly name: string;
  /** Of a bug that costs only time, or needs what no world does: who is to find it. Absent: seeds are. */
  readonly tests?: readonly string[];
  /** Empty: there is nothing to plant. */
  readonly edits: readonly Edit[];
  /** Why it is not the bug itself that is planted, or why nothing is to be expected of seeds. */
  readonly note: string;
}

export const MUTANTS: readonly Mutant[] = [
  {
    number: 0, name: 'canary: every world is told to be broken',
    note: '',
    edits: [
      { file: 'test/sim/run.js', find: 'if (options.canary === true)', replace: 'if (true)' },
    ],
  },
  {
    number: 1, name: 'a vote leaves before it is on disk',
    note: '',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'this.#afterHard({ kind: \'vote_reply\', from: this.#config.id, to: message.from, term: this.#term, pre'
          + ': false, granted });',
        replace: 'this.#send.push({ kind: \'vote_reply\', from: this.#config.id, to: message.from, term: this.#term, pre'
          + ': false, granted });',
      },
    ],
  },
  {
    number: 2, name: 'a new term is not written',
    note: '',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'this.#vote = 0n;\n        this.#disk.hardChanged();\n',
        replace: 'this.#vote = 0n;\n',
      },
    ],
  },
  {
    number: 3, name: 'entries are acknowledged before they are synced',
    note: '',
    edits: [
      {
        file: 'core/raft/disk.js',
        find: 'this.#flights.push({ seq, givenAt: now, through: last });',
        replace: 'this.#flights.push({ seq, givenAt: now, through: last });\n        this.#durable = last;',
      },
    ],
  },
  {
    number: 4, name: 'entries of earlier terms are committed by counting',
    note: '',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'if (reached > this.#commit && this.#log.termAt(reached) === this.#term)',
        replace: 'if (reached > this.#commit)',
      },
    ],
  },
  {
    number: 5, name: 'a vote for a log that lacks entries',
    note: '',
    edits: [
      {
        file: 'core/raft/log.js',
        find: 'return candidateLast.term > own.term || (candidateLast.term === own.term && candidateLast.index >= o'
          + 'wn.index);',
        replace: 'return own.index >= 0;',
      },
    ],
  },
  {
    number: 6, name: 'entries are taken without a look at the one before',
    note: '',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'if (!this.#log.matches(previous)) {',
        replace: 'if (previous.index > this.#log.lastIndex) {',
      },
    ],
  },
  {
    number: 7, name: 'the log is cut where nothing conflicts',
    note: '',
    edits: [
      { file: 'core/raft/raft.js', find: 'const from = this.#log.firstDifference(entries);', replace: 'const from = 0;' },
    ],
  },
  {
    number: 8, name: 'the commit index of a leader is taken as it is',
    note: 'a leader never tells more than it knows the follower to have, so few messages show it',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'Math.max(this.#commit, Math.min(message.commit, through))',
        replace: 'Math.max(this.#commit, message.commit)',
      },
    ],
  },
  {
    number: 9, name: 'entries are applied before they are committed',
    note: '',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'const through = Math.min(this.#commit, this.#disk.durable);',
        replace: 'const through = this.#disk.durable;',
      },
    ],
  },
  {
    number: 10, name: 'entries of an outdated leader are taken',
    note: '',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'if (message.term < this.#term)\n',
        replace: 'if (message.term < this.#term && message.kind !== \'append\')\n',
      },
    ],
  },
  {
    number: 11, name: 'reads before an entry of the own term is committed',
    note: '',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'if (this.#hasCommittedOwnTerm)\n            this.#leadership.startReads(this.#commit);',
        replace: 'this.#leadership.startReads(this.#commit);',
      },
    ],
  },
  {
    number: 12, name: 'reads without asking a majority',
    note: '',
    edits: [
      {
        file: 'core/raft/reads.js',
        find: 'const round = members.reached((id) => (id === self ? this.#round : roundOf(id)));',
        replace: 'const round = this.#round;',
      },
    ],
  },
  {
    number: 13, name: 'a read joins a round that began before it',
    note: 'nearest: an answer is never kept for a retry, each retry asks anew',
    edits: [
      { file: 'core/raft/reads.js', find: 'this.#round++;', replace: 'this.#round += this.#pending.length > 0 ? 0 : 1;' },
    ],
  },
  {
    number: 14, name: 'followers do not take a configuration when they append it',
    note: '',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'if (entry.kind === \'members\')\n                this.#membership.appended(entry);',
        replace: '',
      },
    ],
  },
  {
    number: 15, name: 'a second change of members before the first is committed',
    note: '',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'const isPending = this.#membership.index > this.#commit || this.#members.isJoint ||',
        replace: 'const isPending = this.#members.isJoint ||',
      },
      {
        file: 'core/node/changes.js',
        find: 'this.#given === null && this.#slotted === null && !this.#isPaused',
        replace: 'this.#given === null && !this.#isPaused',
      },
    ],
  },
  {
    number: 16, name: 'a change of members before an entry of the own term', tests: ['test/golden/golden.test.ts'],
    note: 'worlds show it in one seed of hundreds: seed 163 did in one build, none of 200 in the next',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'this.#membership.index > this.#commit || this.#members.isJoint || !this.#hasCommittedOwnTerm;',
        replace: 'this.#membership.index > this.#commit || this.#members.isJoint;',
      },
      {
        file: 'core/node/answers.js',
        find: 'peer(id)?.isActive === true && (peer(id)?.match ?? 0) > 0 && membership.isHealthy(id)',
        replace: 'peer(id)?.isActive === true && membership.isHealthy(id)',
      },
    ],
  },
  {
    number: 17, name: 'learners count',
    note: '',
    edits: [
      {
        file: 'core/raft/members.js',
        find: 'const incoming = majorityValue(voters, valueOf);',
        replace: 'const incoming = majorityValue([...voters, ...this.configuration.learners], valueOf);',
      },
    ],
  },
  {
    number: 18, name: 'votes of those without one count',
    note: 'nearest: whoever is asked may vote by design, and the candidate decides who counts; here learners are asked and do',
    edits: [
      { file: 'core/raft/raft.js', find: 'if (to === from || !this.#members.isVoter(to))', replace: 'if (to === from)' },
      {
        file: 'core/raft/election.js',
        find: 'return members.verdict((id) => this.#votes.get(id));',
        replace: 'return [...this.#votes.values()].filter(Boolean).length * 2 > members.configuration.voters.length ? '
          + '\'won\' : members.verdict((id) => this.#votes.get(id));',
      },
    ],
  },
  {
    number: 19, name: 'no pre-vote', tests: ['test/golden/golden.test.ts'],
    note: 'costs terms, not safety',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'if (this.#mayCampaign)\n            this.#preCampaign();',
        replace: 'if (this.#mayCampaign)\n            this.#campaign(false);',
      },
    ],
  },
  {
    number: 20, name: 'a leader that nobody answers goes on',
    note: '',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'const isAble = this.#leadership.isAnswered(this.#members, this.#now) && !this.#isDiskHung;',
        replace: 'const isAble = !this.#isDiskHung;',
      },
    ],
  },
  {
    number: 21, name: 'leadership is handed to one that lags', tests: ['test/golden/golden.test.ts'],
    note: 'the target loses its election: costs time, not safety',
    edits: [
      { file: 'core/raft/leadership.js', find: ' && this.followers.matchOf(to) === log.lastIndex', replace: '' },
    ],
  },
  {
    number: 22, name: 'a snapshot older than what is committed is installed', tests: ['test/golden/golden.test.ts'],
    note: 'the node refuses it before the machine sees it, and the log after: no world gets it past all three',
    edits: [
      { file: 'core/raft/raft.js', find: 'const isNew = snapshot.index > this.#commit;', replace: 'const isNew = true;' },
    ],
  },
  {
    number: 23, name: 'a late answer of the disk counts for entries overwritten since',
    note: '',
    edits: [
      { file: 'core/raft/disk.js', find: 'flight.through = Math.min(flight.through, index);', replace: 'flight.through += 0;' },
    ],
  },
  {
    number: 24, name: 'every answer is answered by a message',
    note: '',
    edits: [
      { file: 'core/raft/followers.js', find: 'if (!told && (news.mustTell || isNews))', replace: 'if (!told)' },
    ],
  },
  {
    number: 25, name: 'a new member is not known to the leader that adds it',
    note: '',
    edits: [
      {
        file: 'core/raft/raft.js',
        find: 'this.#leadership.followers.add(this.#members, id.index, this.#now);\n        return id;',
        replace: 'return id;',
      },
    ],
  },
  {
    number: 26, name: 'a member that lost its disk goes on under its old id',
    note: '',
    edits: [
      { file: 'core/peer/peers.js', find: 'if (known !== 0n && known !== frame.incarnation) {', replace: 'if (known < 0n) {' },
      {
        file: 'core/node/membership.js',
        find: 'if (own !== undefined && own.incarnation !== 0n && own.incarnation !== this.#self.incarnation) {',
        replace: 'if (own !== undefined && own.incarnation < 0n) {',
      },
    ],
  },
  {
    number: 27, name: 'a new segment is used before it is synced', tests: ['test/core/log/crash.test.ts'],
    note: 'nearest: the sync of a directory is part of creating and renaming behind Files; the window is one sync, where these '
      + 'tests cut the power and worlds do so too rarely (not in 200 seeds)',
    edits: [
      {
        file: 'core/log/wal.js',
        find: 'this.#writeAndSync(path, { from: 0, pieces: [encodeSegmentHeader(header)] }, check(() => {',
        replace: 'this.#files.write(path, 0, [encodeSegmentHeader(header)], check(() => {',
      },
    ],
  },
  {
    number: 28, name: 'damage in the middle is taken for a torn tail',
    note: '',
    edits: [
      {
        file: 'core/log/recovery.js',
        find: 'if (end.proven || (!isLast && end.offset < end.sizeBytes)) {',
        replace: 'if (!isLast && end.offset < end.sizeBytes) {',
      },
    ],
  },
  {
    number: 29, name: 'a torn tail is refused',
    note: '',
    edits: [
      {
        file: 'core/log/recovery.js',
        find: 'if (end.offset === end.sizeBytes)\n            return this.#finish(null);',
        replace: 'if (end.offset === end.sizeBytes)\n            return this.#finish(null);\n        if (end.usedBytes > '
          + 'end.offset)\n            return this.#refuse(\'it is torn\');',
      },
    ],
  },
  {
    number: 30, name: 'segments are not chained', tests: ['test/core/log/chain.test.ts'],
    note: 'no world exchanges segments',
    edits: [
      {
        file: 'core/log/recovery.js',
        find: 'const follows = before === undefined || (header.chain === before.chain && header.firstGroup === befo'
          + 're.nextGroup);',
        replace: 'const follows = true;',
      },
    ],
  },
  {
    number: 31, name: 'a failed sync is tried again',
    note: '',
    edits: [
      {
        file: 'core/log/wal.js',
        find: 'this.#files.writeSynced(path, from, pieces, (error) => done(error ?? this.#failure));',
        replace: 'this.#files.writeSynced(path, from, pieces, (error) => error === null ? done(this.#failure) : '
          + 'this.#files.sync(path, done));',
      },
    ],
  },
  {
    number: 32, name: 'a snapshot is named after another index than its data',
    note: '',
    edits: [
      {
        file: 'core/node/snapshots.js',
        find: 'const meta = { ...applied, configuration: store.configuration };',
        replace: 'const meta = { ...applied, index: applied.index - 1, configuration: store.configuration };',
      },
    ],
  },
  {
    number: 33, name: 'an older snapshot takes the place of a newer one', tests: ['test/core/log/crash.test.ts'],
    note: 'nearest: what is applied is in the snapshot itself; here a start takes the older of two that a crash has left, '
      + 'which worlds show in one seed of dozens to hundreds',
    edits: [
      { file: 'core/log/recovery.js', find: 'const newest = names.at(-1);', replace: 'const newest = names[0];' },
    ],
  },
  {
    number: 34, name: 'segments go before the snapshot is durable',
    note: '',
    edits: [
      {
        file: 'core/log/wal.js',
        find: 'const covered = Math.min(through, this.#snapshot.index);',
        replace: 'const covered = through;',
      },
      {
        file: 'core/node/snapshots.js',
        find: 'this.#doors.log.saveSnapshot(meta, counted, (error) => {',
        replace: 'this.#doors.log.compact(meta.index, () => undefined);\n        this.#doors.log.saveSnapshot(meta, cou'
          + 'nted, (error) => {',
      },
    ],
  },
  {
    number: 35, name: 'records of a recycled segment are taken',
    note: 'segments are never recycled',
    edits: [],
  },
  {
    number: 36, name: 'what must not be lost is kept once',
    note: 'the term and vote are in every group of the log; the identity is not rewritten',
    edits: [],
  },
  {
    number: 37, name: 'a compaction loses the revision',
    note: 'a compaction is an entry; the revision is in every snapshot',
    edits: [],
  },
  {
    number: 38, name: 'a tombstone at the compacted revision goes',
    note: '',
    edits: [
      {
        file: 'core/store/table.js',
        find: 'rows.version(row) === 0 && main < compacted',
        replace: 'rows.version(row) === 0 && main <= compacted',
      },
    ],
  },
  {
    number: 39, name: 'defragmentation races a snapshot',
    note: 'there is no file to defragment; a frozen store is its own copy',
    edits: [],
  },
  {
    number: 40, name: 'a transaction looks at how far the local sweep has got',
    note: '',
    edits: [
      {
        file: 'core/store/txn.js',
        find: 'return revision < this.#compacted ? \'compacted\' : null;',
        replace: 'return revision < this.#compacted && this.#table.rows.gapEnd > 0 ? \'compacted\' : null;',
      },
    ],
  },
  {
    number: 41, name: 'an empty transaction burns a revision',
    note: '',
    edits: [
      {
        file: 'core/store/store.js',
        find: 'if (execution.events.length === 0)\n            return null;\n        this.#revision = execution.revis'
          + 'ion;',
        replace: 'this.#revision += 1;\n        if (execution.events.length === 0)\n            return null;\n        thi'
          + 's.#revision = execution.revision;',
      },
    ],
  },
  {
    number: 42, name: 'a delete of what is deleted counts',
    note: '',
    edits: [
      {
        file: 'core/store/txn.js',
        find: 'return slot === NONE || !keys.isLive(slot) ? [] : [slot];',
        replace: 'return slot === NONE ? [] : [slot];',
      },
    ],
  },
  {
    number: 43, name: 'a full watch buffer drops events',
    note: '',
    edits: [
      {
        file: 'core/store/hub.js',
        find: 'this.fallBehind(revision);\n            return this.wake();',
        replace: 'this.#from = revision + 1;\n            return false;',
      },
    ],
  },
  {
    number: 44, name: 'a watch that catches up repeats',
    note: '',
    edits: [
      {
        file: 'core/store/hub.js',
        find: 'this.#from = this.#unread?.batch.revision ?? Math.max(from, this.#from);',
        replace: 'this.#from = (this.#unread?.batch.revision ?? Math.max(from, this.#from)) - 1;',
      },
    ],
  },
  {
    number: 45, name: 'progress overtakes events',
    note: '',
    edits: [
      {
        file: 'core/store/hub.js',
        find: 'if (this.#unread !== null)\n            return',
        replace: 'if (this.#unread !== null && !this.#progressAsked)\n            return',
      },
    ],
  },
  {
    number: 46, name: 'a watch from a later revision gets earlier events',
    note: '',
    edits: [
      {
        file: 'core/store/hub.js',
        find: 'return !this.#isBehind && revision >= this.#from;',
        replace: 'return !this.#isBehind;',
      },
    ],
  },
  {
    number: 47, name: 'a revision is split',
    note: '',
    edits: [
      {
        file: 'core/store/history.js',
        find: 'if (main !== lastMain && (revisions >= request.revisionsMax',
        replace: 'if (events.length > 0 && (events.length >= request.revisionsMax',
      },
    ],
  },
  {
    number: 48, name: 'an expiry of a deposed leader counts',
    note: '',
    edits: [
      { file: 'core/store/store.js', find: 'if (term !== 0 && term !== this.#applied.term)', replace: 'if (term < 0)' },
    ],
  },
  {
    number: 49, name: 'a lease that is gone is renewed',
    note: '',
    edits: [
      {
        file: 'core/node/leases.js',
        find: 'return lease !== null && this.lessor.renew(id, now) ? lease.ttlSeconds : 0;',
        replace: 'this.lessor.renew(id, now);\n            return lease?.ttlSeconds ?? 1;',
      },
    ],
  },
  {
    number: 50, name: 'leases end by the wall clock',
    note: 'the clock that members are given has no wall time',
    edits: [],
  },
  {
    number: 51, name: 'a stall counts against leases',
    note: '',
    edits: [
      { file: 'core/node/lessor.js', find: 'this.#stalledMs += lateMs;', replace: '' },
      { file: 'core/node/leases.js', find: 'this.#isInDoubt = true;', replace: '' },
    ],
  },
  {
    number: 52, name: 'a new leader does not begin leases anew',
    note: '',
    edits: [
      { file: 'core/node/lessor.js', find: 'fromMs + lease.remainingSeconds * 1000', replace: 'fromMs' },
    ],
  },
  {
    number: 53, name: 'what was sent without an answer is taken for not sent',
    note: 'nearest: in process no client sends anything twice; here an entry of unknown outcome is created again',
    edits: [
      {
        file: 'recipes/entry.js',
        find: 'if (isApiError(error) && error.outcome === \'never\')\n                this.#loose',
        replace: 'this.#loose',
      },
    ],
  },
  {
    number: 54, name: 'a waiter does not look again once the one before it has gone',
    note: '',
    edits: [
      {
        file: 'recipes/line.js',
        find: 'if (seen.range === 0)\n                this.#session.suspect();',
        replace: 'if (seen.range === 1)\n                return { ...look, answers: [] };',
      },
    ],
  },
  {
    number: 55, name: 'a release deletes whatever is there',
    note: '',
    edits: [
      {
        file: 'recipes/entry.js',
        find: 'compare: [created(own.key, \'=\', own.fence)],\n            success: [opDelete(own.key), ...leaving(own)],',
        replace: 'compare: [],\n            success: [opDelete(own.key), ...leaving(own)],',
      },
    ],
  },
  {
    number: 56, name: 'a watch goes on one revision too late', tests: ['test/recipes/lock.test.ts'],
    note: 'of the two only the late one: where a watch begins too early, whoever waits looks again all the same; a world is '
      + 'seldom so quiet that the very next revision is the one that counts',
    edits: [
      {
        file: 'recipes/deletion.js',
        find: 'startRevision: revision + 1',
        replace: 'startRevision: revision + 2',
      },
    ],
  },
  {
    number: 61, name: 'a session counts from the answer, not from the question',
    note: '',
    edits: [
      {
        file: 'recipes/session.js',
        find: 'this.#confirm(attempt.sentAt, ttlSeconds * 1000);',
        replace: 'this.#confirm(this.clock.now(), ttlSeconds * 1000);',
      },
    ],
  },
  {
    number: 62, name: 'what is held does not ask its session',
    note: '',
    edits: [
      {
        file: 'recipes/holding.js',
        find: 'if (this.#reason === null && !this.session.live)',
        replace: 'if (this.#reason === null && false)',
      },
    ],
  },
  {
    number: 63, name: 'a semaphore gives as long as anything is left',
    note: '',
    edits: [
      {
        file: 'recipes/semaphore.js',
        find: 'return used + permits <= stored',
        replace: 'return used < stored',
      },
    ],
  },
  {
    number: 64, name: 'a wait that is given up leaves its entry',
    note: '',
    edits: [
      {
        file: 'recipes/line.js',
        find: 'if (!this.#session.live)\n            return;\n        const removal',
        replace: 'if (this.#session.live)\n            return;\n        const removal',
      },
    ],
  },
  {
    number: 65, name: 'a fenced write compares nothing',
    note: '',
    edits: [
      {
        file: 'recipes/fenced-txn.js',
        find: 'compare: this.#owned.flatMap(({ key, fence, also = [] }) => [created(key, \'=\', fence), ...also]),',
        replace: 'compare: [],',
      },
    ],
  },
  {
    number: 66, name: 'an observer takes the same key for the same leader',
    note: '',
    edits: [
      {
        file: 'recipes/election-state.js',
        find: 'if (now?.createRevision !== first.createRevision)',
        replace: 'if (now === null)',
      },
    ],
  },
  {
    number: 67, name: 'an observer takes whoever came last for the leader',
    note: '',
    edits: [
      {
        file: 'recipes/election-state.js',
        find: 'client.range(inOrder(line, 1), { signal })',
        replace: 'client.range({ ...inOrder(line, 1), sortOrder: \'descend\' }, { signal })',
      },
    ],
  },
  {
    number: 68, name: 'a priority passes those who came before',
    note: '',
    edits: [
      {
        file: 'recipes/election.js',
        find: 'if (ahead !== null)',
        replace: 'if (ahead !== null && priority === 0)',
      },
    ],
  },
  {
    number: 69, name: 'a leader that has resigned stays in line',
    note: '',
    edits: [
      {
        file: 'recipes/election.js',
        find: 'await this.#holding.release();',
        replace: 'await Promise.resolve();',
      },
    ],
  },
  {
    number: 70, name: 'whoever has lost its session is told that it leads', tests: ['test/recipes/lock.test.ts'],
    note: 'no world of 25 with recipes has shown it',
    edits: [
      {
        file: 'recipes/line.js',
        find: 'this.#session.assertLive();\n        this.#stop.signal.throwIfAborted();',
        replace: '',
      },
    ],
  },
  {
    number: 71, name: 'two take the same item',
    note: '',
    edits: [
      {
        file: 'recipes/queue-take.js',
        find: 'const compare = [modified(first.key, \'=\', first.modRevision)];',
        replace: 'const compare = [];',
      },
    ],
  },
  {
    number: 72, name: 'an end does not ask whose the item is',
    note: '',
    edits: [
      {
        file: 'recipes/queue-delivery.js',
        find: 'compare: [owned],',
        replace: 'compare: [],',
      },
    ],
  },
  {
    number: 73, name: 'what was taken without an answer is forgotten', tests: ['test/recipes/queue-more.test.ts'],
    note: 'no world of 25 with recipes has shown it',
    edits: [
      {
        file: 'recipes/queue-take.js',
        find: 'if (error.outcome === \'unknown\' && chains.length > 0)',
        replace: 'if (false)',
      },
    ],
  },
  {
    number: 74, name: 'what a lost consumer held stays out', tests: ['test/recipes/queue.test.ts'],
    note: 'no world of 25 with recipes has shown it',
    edits: [
      {
        file: 'recipes/queue-care.js',
        find: 'return [...new Set(gone.map(({ kv }) => idOf(kv.key)))];',
        replace: 'return gone.slice(gone.length).map(({ kv }) => idOf(kv.key));',
      },
    ],
  },
  {
    number: 75, name: 'an id that is known is put again',
    note: '',
    edits: [
      {
        file: 'recipes/queue-put.js',
        find: '            created(itemKey, \'=\', 0),\n            created(idKey, \'=\', 0),\n',
        replace: '',
      },
    ],
  },
];

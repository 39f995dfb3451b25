// The ghost is made to see each promise broken once, by events made up by hand; and a good course, which it must let pass.

import test, { type ExecutionContext } from 'ava';
import { encodeMembers } from '../../core/raft/members.js';
import type { Configuration, Entry, HardState, Message, NodeId, Persist, SnapshotMeta, Status } from '../../core/raft/types.js';
import type { Command } from '../../core/store/command.js';
import { Store } from '../../core/store/store.js';
import { Ghost } from './ghost.js';
import { InvariantBroken } from './probe.js';

const VOTERS = [1n, 2n, 3n];
const CONFIGURATION: Configuration = { voters: VOTERS, outgoing: [], learners: [] };
const entry = (index: number, term: number, mark = 0): Entry => ({ index, term, kind: 'empty', data: Uint8Array.of(mark) });
const members = (index: number, term: number, voters: readonly NodeId[], learners: readonly NodeId[] = []): Entry =>
  ({ index, term, kind: 'members', data: encodeMembers({ voters, outgoing: [], learners }, new Uint8Array(0)) });

const grant = (id: bigint): Command => ({ kind: 'lease_grant', id, ttlSeconds: 5 });

/** Three members that begin with entry 1, their configuration. */
class Stage {
  now = 0;
  readonly ghost = new Ghost(() => this.now, 100);
  #seq = 0;

  constructor() {
    for (const id of VOTERS) this.start(id, [members(1, 1, VOTERS)], { term: 1, vote: 0n, commit: 1 });
  }

  start(id: NodeId, entries: Entry[], hard: HardState,
    snapshot: SnapshotMeta = { term: 0, index: 0, configuration: CONFIGURATION }, life = 1): void {
    this.ghost.memberStarted(id, life, { hard, snapshot, entries });
  }

  give(id: NodeId, batch: Partial<Persist>): Persist {
    const whole: Persist = { seq: (this.#seq += 1), hard: null, truncateAfter: null, snapshot: null, entries: [], ...batch };
    this.ghost.batchGiven(id, whole);
    return whole;
  }

  keep(id: NodeId, batch: Partial<Persist>): void {
    this.ghost.batchDurable(id, this.give(id, batch), 0);
  }

  vote(id: NodeId, candidate: NodeId, term: number): void {
    this.keep(id, { hard: { term, vote: candidate, commit: 1 } });
    this.ghost.sent(id, { kind: 'vote_reply', from: id, to: candidate, term, pre: false, granted: true });
  }

  /** `applied`: the last entry of this term that its store has taken. */
  status(id: NodeId, state: Status['state'], term: number, commit: number, last: number, applied = 0): void {
    this.ghost.turned(id, {
      state, term, leader: 0n, commit, applied: commit, last, durable: last, configuration: CONFIGURATION, peers: [],
      transferTo: 0n,
    }, { term, index: applied });
  }

  /** Member 1 leads term 2, and its first entry is everywhere. */
  lead(): void {
    this.vote(1n, 1n, 2);
    this.vote(2n, 1n, 2);
    this.keep(1n, { entries: [entry(2, 2)] });
    this.status(1n, 'leader', 2, 1, 2);
    this.keep(2n, { entries: [entry(2, 2)] });
    this.acknowledge(2n, 2, 2);
    this.status(1n, 'leader', 2, 2, 2);
  }

  acknowledge(id: NodeId, term: number, index: number): void {
    this.send(id, { kind: 'append_reply', from: id, to: 1n, term, ok: true, index, before: 0, round: 0 });
  }

  round(round: number): void {
    this.send(1n, { kind: 'append', from: 1n, to: 2n, term: 2, previous: { term: 2, index: 2 }, entries: [], commit: 2, round,
      match: 2 });
  }

  confirm(id: NodeId, round: number): void {
    this.send(id, { kind: 'append_reply', from: id, to: 1n, term: 2, ok: true, index: 2, before: 0, round });
  }

  /** With a store to be looked at. */
  turned(id: NodeId, store: Store): void {
    this.ghost.turned(id, {
      state: 'follower', term: 1, leader: 0n, commit: 1, applied: 1, last: 1, durable: 1, configuration: CONFIGURATION, peers: [],
      transferTo: 0n,
    }, { term: 1, index: 0 }, store);
  }

  send(id: NodeId, message: Message): void {
    this.ghost.sent(id, message);
  }
}

function caught(t: ExecutionContext, invariant: string, course: (stage: Stage) => void): void {
  const stage = new Stage();
  const error = t.throws(() => course(stage), { instanceOf: InvariantBroken });
  t.is(error?.invariant, invariant, error?.message);
}

test('an election, an entry and its commit are a good course', (t) => {
  const stage = new Stage();
  stage.lead();
  stage.ghost.finish();
  t.deepEqual(stage.ghost.log().map(({ index, term }) => [index, term]), [[1, 2 - 1], [2, 2]]);
});

test('I1: two leaders of one term', (t) => caught(t, 'I1', (stage) => {
  stage.lead();
  stage.status(3n, 'leader', 2, 1, 1);
}));

test('I1: two votes in one term, a restart between them', (t) => caught(t, 'I1', (stage) => {
  stage.vote(3n, 1n, 2);
  stage.ghost.memberDied(3n, 'power');
  stage.start(3n, [members(1, 1, VOTERS)], { term: 2, vote: 1n, commit: 1 }, undefined, 2);
  stage.vote(3n, 2n, 2);
}));

test('I1: a leader without the votes of a majority', (t) => caught(t, 'I1', (stage) => {
  stage.vote(1n, 1n, 2);
  stage.status(1n, 'leader', 2, 1, 1);
}));

test('a vote that never reached the disk and never left was not given', (t) => {
  const stage = new Stage();
  stage.give(3n, { hard: { term: 2, vote: 3n, commit: 1 } });
  stage.ghost.memberDied(3n, 'power');
  stage.start(3n, [members(1, 1, VOTERS)], { term: 1, vote: 0n, commit: 1 }, undefined, 2);
  t.notThrows(() => stage.vote(3n, 1n, 2));
});

test('I2: a vote leaves before it is on disk', (t) => caught(t, 'I2', (stage) => {
  stage.give(2n, { hard: { term: 2, vote: 1n, commit: 1 } });
  stage.send(2n, { kind: 'vote_reply', from: 2n, to: 1n, term: 2, pre: false, granted: true });
}));

test('I2: a term goes back', (t) => caught(t, 'I2', (stage) => {
  stage.status(2n, 'follower', 4, 1, 1);
  stage.status(2n, 'follower', 3, 1, 1);
}));

test('I2: a commit index goes back', (t) => caught(t, 'I2', (stage) => {
  stage.lead();
  stage.status(1n, 'leader', 2, 1, 2);
}));

test('I3: one slot with two entries', (t) => caught(t, 'I3', (stage) => {
  stage.lead();
  stage.keep(3n, { entries: [entry(2, 2, 9)] });
}));

test('I4: a leader cuts its own log', (t) => caught(t, 'I4', (stage) => {
  stage.lead();
  stage.keep(1n, { entries: [entry(3, 2)] });
  stage.keep(1n, { truncateAfter: 2 });
}));

test('I5: a leader without an entry that was committed', (t) => caught(t, 'I5', (stage) => {
  stage.lead();
  stage.vote(3n, 3n, 3);
  stage.vote(2n, 3n, 3);
  stage.status(3n, 'leader', 3, 1, 1);
}));

test('I6: another entry is taken as committed', (t) => caught(t, 'I6', (stage) => {
  stage.lead();
  stage.keep(3n, { hard: { term: 3, vote: 0n, commit: 1 }, entries: [entry(2, 3)] });
  stage.status(3n, 'follower', 3, 2, 2);
}));

test('I7: a commit beyond the end of the log', (t) => caught(t, 'I7', (stage) => stage.status(2n, 'follower', 1, 2, 1)));

test('I8: what a member knew to be committed is cut', (t) => caught(t, 'I8', (stage) => {
  stage.lead();
  stage.status(2n, 'follower', 2, 2, 2);
  stage.keep(2n, { hard: { term: 3, vote: 0n, commit: 2 }, truncateAfter: 1 });
}));

test('I9: an acknowledgement of what the disk does not have', (t) => caught(t, 'I9', (stage) => {
  stage.vote(2n, 1n, 2);
  stage.give(2n, { entries: [entry(2, 2)] });
  stage.acknowledge(2n, 2, 2);
}));

test('I9: durable, they say, and bytes were never synced', (t) => caught(t, 'I9', (stage) => {
  stage.ghost.batchDurable(2n, stage.give(2n, { entries: [entry(2, 2)] }), 17);
}));

test('I10: an entry of an earlier term is committed by counting', (t) => caught(t, 'I10', (stage) => {
  for (const id of VOTERS) stage.keep(id, { entries: [entry(2, 1)] });
  stage.vote(1n, 1n, 2);
  stage.vote(2n, 1n, 2);
  stage.status(1n, 'leader', 2, 2, 2);
}));

test('I10: an entry is committed that only the leader has', (t) => caught(t, 'I10', (stage) => {
  stage.vote(1n, 1n, 2);
  stage.vote(2n, 1n, 2);
  stage.keep(1n, { entries: [entry(2, 2)] });
  stage.status(1n, 'leader', 2, 2, 2);
}));

test('I10: an entry counts that was on the disk of a member which has lost that disk since, but no other of it', (t) => {
  const wiped = (index: number): Stage => {
    const stage = new Stage();
    stage.lead();
    stage.keep(1n, { entries: [entry(3, 2), entry(4, 2)] });
    stage.keep(2n, { entries: [entry(3, 2)] });
    stage.acknowledge(2n, 2, 3);
    stage.ghost.memberDied(2n, 'wipe');
    stage.start(2n, [], { term: 0, vote: 0n, commit: 0 }, undefined, 2);
    stage.status(1n, 'leader', 2, index, 4);
    return stage;
  };
  t.notThrows(() => wiped(3));
  t.is(t.throws(() => wiped(4), { instanceOf: InvariantBroken })?.invariant, 'I10');
});

test('I11: two configurations that can decide without each other', (t) => caught(t, 'I11', (stage) => {
  stage.lead();
  stage.keep(1n, { entries: [members(3, 2, [1n, 4n, 5n])] });
}));

test('I11: a second change while the first is not committed', (t) => caught(t, 'I11', (stage) => {
  stage.lead();
  stage.keep(1n, { entries: [members(3, 2, [1n, 2n, 3n, 4n]), members(4, 2, [1n, 2n, 3n, 4n, 5n])] });
  stage.status(1n, 'leader', 2, 2, 4);
}));

test('I12: a learner does not make a majority', (t) => caught(t, 'I10', (stage) => {
  stage.lead();
  stage.start(4n, [], { term: 2, vote: 0n, commit: 0 });
  stage.keep(4n, { entries: [members(1, 1, VOTERS), entry(2, 2), members(3, 2, VOTERS, [4n]), entry(4, 2)] });
  stage.keep(1n, { entries: [members(3, 2, VOTERS, [4n]), entry(4, 2)] });
  stage.status(1n, 'leader', 2, 4, 4);
}));

test('I15: what was durable is gone after a restart', (t) => caught(t, 'I15', (stage) => {
  stage.lead();
  stage.ghost.memberDied(2n, 'power');
  stage.start(2n, [members(1, 1, VOTERS)], { term: 2, vote: 1n, commit: 1 }, undefined, 2);
}));

test('I15: a vote is gone after a restart', (t) => caught(t, 'I15', (stage) => {
  stage.vote(2n, 1n, 2);
  stage.ghost.memberDied(2n, 'process');
  stage.start(2n, [members(1, 1, VOTERS)], { term: 2, vote: 0n, commit: 1 }, undefined, 2);
}));

test('I9: an acknowledgement of an older entry in the place of the right one', (t) => caught(t, 'I9', (stage) => {
  stage.keep(3n, { entries: [entry(2, 1)] });
  stage.lead();
  stage.keep(3n, { hard: { term: 2, vote: 0n, commit: 1 } });
  stage.acknowledge(3n, 2, 2);
}));

test('I13: a read that no round has proven', (t) => caught(t, 'I13', (stage) => {
  stage.lead();
  stage.round(1);
  stage.now = 20;
  const mark = stage.ghost.readAsked();
  // Of a round that began before the read was asked.
  stage.confirm(2n, 1);
  stage.ghost.readAnswered(1n, mark, { term: 2, index: 2 });
}));

test('I13: a read that shows less than was committed when it was asked', (t) => caught(t, 'I13', (stage) => {
  stage.lead();
  const mark = stage.ghost.readAsked();
  stage.round(1);
  stage.confirm(2n, 1);
  stage.ghost.readAnswered(1n, mark, { term: 1, index: 1 });
}));

test('a read that a majority has confirmed since is proven', (t) => {
  const stage = new Stage();
  stage.lead();
  const mark = stage.ghost.readAsked();
  stage.round(1);
  stage.confirm(2n, 1);
  t.notThrows(() => stage.ghost.readAnswered(3n, mark, { term: 2, index: 2 }));
});

test('I13: a leader that nobody answers goes on', (t) => caught(t, 'I13', (stage) => {
  stage.lead();
  for (let turn = 0; turn < 20; turn++) stage.status(1n, 'leader', 2, 2, 2);
}));

test('I14: the same is told again and again', (t) => caught(t, 'I14', (stage) => {
  stage.lead();
  for (let time = 0; time < 100; time++) stage.round(0);
}));

test('once a heartbeat, the same may be told for ever', (t) => {
  const stage = new Stage();
  stage.lead();
  t.notThrows(() => {
    for (let time = 0; time < 100; time++, stage.now += 100) stage.round(0);
  });
});

test('I17: a log is let go of before its snapshot is there', (t) => caught(t, 'I17', (stage) => {
  stage.lead();
  stage.ghost.compacting(1n, 2);
}));

test('I21: two stores at one index that differ', (t) => caught(t, 'I21', (stage) => {
  const [one, other] = [new Store(), new Store()];
  for (let index = 1; index <= 64; index++) {
    one.apply({ index, term: 1 }, grant(BigInt(index)));
    other.apply({ index, term: 1 }, grant(BigInt(2 * index)));
  }
  stage.turned(1n, one);
  stage.turned(2n, other);
}));

test('I27: a store with a lease that no entry granted', (t) => caught(t, 'I27', (stage) => {
  const store = new Store();
  store.apply({ index: 1, term: 1 }, grant(5n));
  stage.turned(1n, store);
}));

test('I17: a snapshot of another history', (t) => caught(t, 'I17', (stage) => {
  stage.lead();
  stage.ghost.snapshotSaved(1n, { term: 7, index: 2, configuration: CONFIGURATION });
}));

test('I17: a snapshot is taken that ends before what is known to be committed', (t) => caught(t, 'I17', (stage) => {
  stage.lead();
  stage.give(1n, { snapshot: { term: 1, index: 1, configuration: CONFIGURATION } });
}));

test('I17: a snapshot replaces a store that is ahead of it; one that was taken before later commits were known may', (t) => {
  const stage = new Stage();
  stage.lead();
  const snapshot = { term: 2, index: 2, configuration: CONFIGURATION };
  stage.ghost.batchDurable(3n, stage.give(3n, { hard: { term: 2, vote: 0n, commit: 2 }, snapshot }), 0);
  stage.keep(1n, { entries: [entry(3, 2)] });
  stage.keep(2n, { entries: [entry(3, 2)] });
  stage.acknowledge(2n, 2, 3);
  stage.status(1n, 'leader', 2, 3, 3);
  stage.keep(3n, { entries: [entry(3, 2)] });
  stage.status(3n, 'follower', 2, 3, 3, 2);
  t.notThrows(() => stage.ghost.snapshotInstalled(3n, snapshot));
  const behind = { term: 1, index: 1, configuration: CONFIGURATION };
  t.is(t.throws(() => stage.ghost.snapshotInstalled(3n, behind), { instanceOf: InvariantBroken })?.invariant, 'I17');
});

test('what a minority holds uncommitted at a place committed elsewhere is no crime', (t) => {
  const stage = new Stage();
  stage.keep(3n, { hard: { term: 3, vote: 3n, commit: 1 }, entries: [entry(2, 3)] });
  t.notThrows(() => {
    stage.lead();
    stage.keep(3n, { hard: { term: 4, vote: 0n, commit: 1 }, truncateAfter: 1 });
  });
});

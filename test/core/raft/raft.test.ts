// The machine's rules one by one, each with the sentence of the paper it comes from. Scenarios whose whole conversation
// matters are golden transcripts; random ones are in safety.test.ts.

import test from 'ava';
import { LogSetBack } from '../../../core/raft/log-set-back.js';
import { encodeMembers } from '../../../core/raft/members.js';
import { Raft } from '../../../core/raft/raft.js';
import type { Entry, Input, MemberChange, Output, RaftConfig, Resumed } from '../../../core/raft/types.js';
import { NO_SNAPSHOT } from '../../../core/log/log-storage.js';
import { Cluster } from './cluster.js';

const FRESH: Resumed = { hard: { term: 0, vote: 0n, commit: 0 }, snapshot: NO_SNAPSHOT, entries: [] };

const NO_CHANGE: MemberChange = { voters: [], learners: [], removed: [], context: new Uint8Array(0) };

function config(id: bigint, voters: readonly bigint[], more: Partial<RaftConfig> = {}): RaftConfig {
  return {
    id, voters, electionTicks: 10, heartbeatTicks: 1, seed: Number(id), appendBytesMax: 1 << 20, uncommittedMax: 10_000,
    catchUpEntries: 0, catchUpBytes: Infinity, applyBytesMax: Infinity, ...more,
  };
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function persisted(output: Output): Input {
  if (output.persist === null) throw new Error('the step gave the disk nothing');
  return { kind: 'persisted', seq: output.persist.seq };
}

function soleLeader(more: Partial<RaftConfig> = {}): Raft {
  const raft = new Raft(config(1n, [1n], more), FRESH);
  const candidate = raft.step([]);
  const leader = raft.step([persisted(candidate)]);
  raft.step([persisted(leader)]);
  return raft;
}

test('a sole member elects itself at once, but only when its vote is durable', (t) => {
  const raft = new Raft(config(1n, [1n]), FRESH);
  const first = raft.step([]);
  t.deepEqual(first.persist?.hard, { term: 1, vote: 1n, commit: 0 });
  t.is(raft.status().state, 'candidate');
  const second = raft.step([persisted(first)]);
  t.is(second.role?.state, 'leader');
  t.deepEqual(second.persist?.entries.map((entry) => entry.kind), ['empty']);
  t.deepEqual(second.apply, []);
  const third = raft.step([persisted(second)]);
  t.deepEqual(third.apply.map((entry) => entry.index), [1]);
});

test('a slow disk does not void the election of a sole member', (t) => {
  const raft = new Raft(config(1n, [1n]), FRESH);
  const first = raft.step([]);
  for (let i = 0; i < 100; i++) t.is(raft.step([{ kind: 'tick' }]).persist, null);
  t.is(raft.step([persisted(first)]).role?.state, 'leader');
});

test('a proposal is applied only when it is durable', (t) => {
  const raft = soleLeader();
  const one = raft.step([{ kind: 'propose', token: 7, data: bytes('a') }]);
  t.deepEqual(one.settled, [{ kind: 'appended', token: 7, id: { term: 1, index: 2 } }]);
  const two = raft.step([{ kind: 'propose', token: 8, data: bytes('b') }]);
  t.deepEqual([one.apply, two.apply], [[], []]);
  t.deepEqual(raft.step([persisted(one)]).apply.map((entry) => entry.index), [2]);
  t.deepEqual(raft.step([persisted(two)]).apply.map((entry) => entry.index), [3]);
});

test('one answer from the disk stands for every batch before it', (t) => {
  const raft = soleLeader();
  raft.step([{ kind: 'propose', token: 1, data: bytes('a') }]);
  const two = raft.step([{ kind: 'propose', token: 2, data: bytes('b') }]);
  t.deepEqual(raft.step([persisted(two)]).apply.map((entry) => entry.index), [2, 3]);
  t.throws(() => raft.step([persisted(two)]), { message: /answers no batch under way/ });
});

test('a sole member answers reads at once, and not before an entry of its term is committed', (t) => {
  const raft = new Raft(config(1n, [1n]), FRESH);
  const first = raft.step([{ kind: 'read', token: 1 }]);
  t.deepEqual(first.settled, [{ kind: 'refused', token: 1, reason: 'no_leader', leader: 0n }]);
  const second = raft.step([persisted(first), { kind: 'read', token: 2 }]);
  t.deepEqual(second.settled, []);
  const third = raft.step([persisted(second)]);
  t.deepEqual(third.settled, [{ kind: 'readable', token: 2, index: 1 }]);
  t.deepEqual(raft.step([{ kind: 'read', token: 3 }]).settled, [{ kind: 'readable', token: 3, index: 1 }]);
});

test('proposals beyond the uncommitted bound are refused, and taken again once some are committed', (t) => {
  const raft = soleLeader({ uncommittedMax: 2 });
  const inputs: Input[] = [1, 2, 3].map((token) => ({ kind: 'propose', token, data: bytes('x') }));
  const full = raft.step(inputs);
  t.deepEqual(full.settled.map((settled) => settled.kind), ['appended', 'appended', 'refused']);
  raft.step([persisted(full)]);
  t.deepEqual(raft.step([inputs[2] as Input]).settled.map((settled) => settled.kind), ['appended']);
});

test('a restarted sole member applies what is committed, then what its new term commits', (t) => {
  const entries: Entry[] = [1, 2, 3].map((index) => ({ kind: 'command', term: 1, index, data: bytes(`${index}`) }));
  const raft = new Raft(config(1n, [1n]), { hard: { term: 1, vote: 1n, commit: 2 }, snapshot: NO_SNAPSHOT, entries });
  const first = raft.step([]);
  t.deepEqual(first.apply.map((entry) => entry.index), [1, 2]);
  const second = raft.step([persisted(first)]);
  t.deepEqual(second.apply, []);
  t.deepEqual(raft.step([persisted(second)]).apply.map((entry) => entry.index), [3, 4]);
});

test('after a snapshot the machine forgets the log before it and goes on', (t) => {
  const raft = soleLeader();
  const output = raft.step([{ kind: 'propose', token: 1, data: bytes('a') }]);
  raft.step([persisted(output)]);
  const configuration = raft.status().configuration;
  raft.step([{ kind: 'snapshotted', snapshot: { term: 1, index: 2, configuration } }]);
  const next = raft.step([{ kind: 'propose', token: 2, data: bytes('b') }]);
  t.deepEqual(next.persist?.entries.map((entry) => entry.index), [3]);
  t.deepEqual(raft.step([persisted(next)]).apply.map((entry) => entry.index), [3]);
});

// Raft §5.3: an answer speaks for what the leader's log and this one share, not for a tail of other terms behind it.
test('a follower acknowledges only what it knows to be the leader\'s', (t) => {
  const entries: Entry[] = [1, 1, 1].map((term, i) => ({ kind: 'command', term, index: i + 1, data: bytes('old') }));
  const raft = new Raft(config(1n, [1n, 2n, 3n]), { hard: { term: 1, vote: 2n, commit: 0 }, snapshot: NO_SNAPSHOT, entries });
  const append = {
    kind: 'append', from: 2n, to: 1n, term: 2, previous: { term: 0, index: 0 }, entries: entries.slice(0, 1),
    commit: 0, round: 0, match: 0,
  } as const;
  const first = raft.step([{ kind: 'receive', message: append }]);
  t.deepEqual(first.send, []);
  const [reply] = raft.step([persisted(first)]).send;
  t.like(reply, { kind: 'append_reply', ok: true, index: 1, term: 2 });
});

test('a message for somebody else changes nothing', (t) => {
  const raft = new Raft(config(1n, [1n, 2n, 3n]), FRESH);
  const last = { term: 9, index: 9 };
  const message = { kind: 'vote', from: 2n, to: 3n, term: 9, last, pre: false, transfer: false } as const;
  const output = raft.step([{ kind: 'receive', message }]);
  t.deepEqual([output.persist, output.send, raft.status().term], [null, [], 0]);
});

// Raft §5.1: "If a server receives a request with a stale term number, it rejects the request", and says its own term.
test('a request of an old term is refused with the new one', (t) => {
  const raft = new Raft(config(1n, [1n, 2n, 3n]), { hard: { term: 5, vote: 0n, commit: 0 }, snapshot: NO_SNAPSHOT, entries: [] });
  const last = { term: 4, index: 9 };
  const vote = { kind: 'vote', from: 2n, to: 1n, term: 4, last, pre: false, transfer: false } as const;
  const { send } = raft.step([{ kind: 'receive', message: vote }]);
  t.deepEqual(send, [{ kind: 'vote_reply', from: 1n, to: 2n, term: 5, pre: false, granted: false }]);
});

// Raft §5.2: "Raft uses randomized election timeouts to ensure that split votes are rare".
test('election time-outs lie in [n, 2n) and differ', (t) => {
  const timeouts = Array.from({ length: 40 }, (_, seed) => {
    const raft = new Raft(config(1n, [1n, 2n, 3n], { seed }), FRESH);
    for (let ticks = 1; ; ticks++) if (raft.step([{ kind: 'tick' }]).send.length > 0) return ticks;
  });
  t.true(timeouts.every((ticks) => ticks >= 10 && ticks < 20));
  t.true(new Set(timeouts).size > 4);
});

test('a batch of thousands of proposals is one batch for the disk and one apply', (t) => {
  const raft = soleLeader();
  const inputs: Input[] = Array.from({ length: 5000 }, (_, token) => ({ kind: 'propose', token, data: bytes('x') }));
  const output = raft.step(inputs);
  t.is(output.persist?.entries.length, 5000);
  t.is(raft.step([persisted(output)]).apply.length, 5000);
});

test('what is more than one turn may apply comes with the next steps, each entry once and in order', (t) => {
  const of = (index: number, length: number): Entry => ({ kind: 'command', term: 1, index, data: new Uint8Array(length) });
  const entries = Array.from({ length: 40 }, (_, i) => of(i + 1, i === 20 ? 10_000 : i % 3));
  const resumed: Resumed = { hard: { term: 1, vote: 0n, commit: 38 }, snapshot: NO_SNAPSHOT, entries };
  const raft = new Raft(config(1n, [1n, 2n, 3n], { applyBytesMax: 1500 }), resumed);
  const sizes: number[] = [];
  const applied: Entry[] = [];
  while (raft.hasMoreToApply) {
    const { apply } = raft.step([]);
    sizes.push(apply.length);
    applied.push(...apply);
    t.is(raft.status().applied, applied.length);
  }
  t.deepEqual(applied, entries.slice(0, 38));
  t.deepEqual(sizes, [5, 5, 5, 5, 1, 5, 5, 5, 2]);
  t.deepEqual(raft.step([]).apply, []);
});

test('a disk that contradicts itself is refused at the start', (t) => {
  const entries: Entry[] = [{ kind: 'command', term: 3, index: 1, data: bytes('a') }];
  const start = (hard: Resumed['hard']): Raft => new Raft(config(1n, [1n]), { hard, snapshot: NO_SNAPSHOT, entries });
  t.throws(() => start({ term: 2, vote: 0n, commit: 0 }), { message: /an entry of term 3 but only term 2/ });
  t.throws(() => start({ term: 3, vote: 0n, commit: 2 }), { message: /entry 2 committed but its log ends at 1/ });
});

// The driver of a new cluster makes every founding member start from the same first entry.
test('founding members start from a common entry that names them', (t) => {
  const configuration = { voters: [1n, 2n, 3n], outgoing: [], learners: [] };
  const entries: Entry[] = [{ kind: 'members', term: 1, index: 1, data: encodeMembers(configuration, bytes('records')) }];
  const raft = new Raft(config(1n, []), { hard: { term: 1, vote: 0n, commit: 1 }, snapshot: NO_SNAPSHOT, entries });
  t.deepEqual(raft.step([]).apply, entries);
  t.deepEqual(raft.status().configuration, configuration);
  const ticks: Input[] = Array.from({ length: 20 }, () => ({ kind: 'tick' }));
  t.like(raft.step(ticks).send[0], { kind: 'vote', pre: true, term: 2, last: { term: 1, index: 1 } });
});

test('a member that joins waits to be told, however long, and votes when it is asked', (t) => {
  const raft = new Raft(config(9n, []), FRESH);
  for (let i = 0; i < 100; i++) t.deepEqual(raft.step([{ kind: 'tick' }]).send, []);
  const vote = { kind: 'vote', from: 2n, to: 9n, term: 4, last: { term: 3, index: 8 }, pre: false, transfer: false } as const;
  const output = raft.step([{ kind: 'receive', message: vote }]);
  t.like(raft.step([persisted(output)]).send[0], { kind: 'vote_reply', to: 2n, term: 4, granted: true });
});

test('the newest configuration in the log counts after a restart, committed or not', (t) => {
  const voters = [[1n], [1n, 2n], [1n, 2n, 3n]];
  const entries: Entry[] = voters.map((each, i) => {
    const configuration = { voters: each, outgoing: [], learners: [] };
    return { kind: 'members', term: 1, index: i + 1, data: encodeMembers(configuration, bytes('')) };
  });
  const raft = new Raft(config(1n, []), { hard: { term: 1, vote: 1n, commit: 2 }, snapshot: NO_SNAPSHOT, entries });
  t.deepEqual(raft.status().configuration.voters, [1n, 2n, 3n]);
});

// Reliability E2: it cannot know what else it has promised and forgotten.
test('a follower that lacks what it has acknowledged stops, and says how to replace it', (t) => {
  const resumed = (length: number): Raft => {
    const entries: Entry[] = Array.from({ length }, (_, i) => ({ kind: 'command', term: 1, index: i + 1, data: bytes('x') }));
    const hard = { term: 1, vote: 2n, commit: 1 };
    return new Raft(config(1n, [1n, 2n, 3n]), { hard, snapshot: NO_SNAPSHOT, entries });
  };
  const message = {
    kind: 'append', from: 2n, to: 1n, term: 1, previous: { term: 1, index: 7 }, entries: [], commit: 7, round: 0, match: 7,
  } as const;
  t.notThrows(() => resumed(7).step([{ kind: 'receive', message }]));
  t.throws(() => resumed(6).step([{ kind: 'receive', message }]), {
    instanceOf: LogSetBack,
    message: /told leader 2 of term 1 that it has entry 7, and its log ends at 6.*Remove this member.*add it anew/,
  });
  // What a leader of an earlier term was told does not bind: a later one may have overwritten it.
  const deposed = resumed(6);
  deposed.step([{ kind: 'receive', message: { ...message, term: 2, match: 0 } }]);
  t.notThrows(() => deposed.step([{ kind: 'receive', message }]));
});

// After a stall a driver finds ticks and messages together; what came meanwhile speaks against acting on the ticks alone.
test('a heartbeat in the same batch as the ticks of a time-out keeps a follower from asking', (t) => {
  const raft = new Raft(config(1n, [1n, 2n, 3n]), FRESH);
  const previous = { term: 0, index: 0 };
  const append = { kind: 'append', from: 2n, to: 1n, term: 1, previous, entries: [], commit: 0, round: 0, match: 0 } as const;
  const heard: Input = { kind: 'receive', message: append };
  raft.step([persisted(raft.step([heard]))]);
  const ticks: Input[] = Array.from({ length: 50 }, () => ({ kind: 'tick' }));
  const output = raft.step([...ticks, heard]);
  t.deepEqual(output.send.map(({ kind }) => kind), ['append_reply']);
  t.is(raft.status().leader, 2n);
  t.like(raft.step(ticks).send[0], { kind: 'vote', pre: true });
});

test('a sole member goes on leading while its disk hangs: there is nobody else', (t) => {
  const raft = soleLeader();
  const output = raft.step([{ kind: 'propose', token: 1, data: bytes('a') }]);
  for (let i = 0; i < 100; i++) raft.step([{ kind: 'tick' }]);
  t.is(raft.status().state, 'leader');
  t.deepEqual(raft.step([persisted(output)]).apply.map(({ index }) => index), [2]);
});

test('a snapshot of what the log holds already is not installed; it only says what is committed', (t) => {
  const entries: Entry[] = [1, 2, 3].map((index) => ({ kind: 'command', term: 1, index, data: bytes(`${index}`) }));
  const raft = new Raft(config(1n, [1n, 2n]), { hard: { term: 1, vote: 0n, commit: 1 }, snapshot: NO_SNAPSHOT, entries });
  const { configuration } = raft.status();
  const message = { kind: 'snapshot', from: 2n, to: 1n, term: 1, snapshot: { term: 1, index: 2, configuration } } as const;
  const output = raft.step([{ kind: 'receive', message }]);
  t.deepEqual([output.persist, output.restore, output.apply.map(({ index }) => index)], [null, null, [1, 2]]);
  t.like(output.send[0], { kind: 'append_reply', ok: true, index: 2 });
});

test('the machine keeps as many entries behind a snapshot as it is told to', (t) => {
  const raft = soleLeader({ catchUpEntries: 3 });
  const output = raft.step(Array.from({ length: 10 }, (_, token) => ({ kind: 'propose', token, data: bytes('x') })));
  raft.step([persisted(output)]);
  const { configuration } = raft.status();
  raft.step([{ kind: 'snapshotted', snapshot: { term: 1, index: 10, configuration } }]);
  raft.step([{ kind: 'snapshotted', snapshot: { term: 1, index: 9, configuration } }]);
  const next = raft.step([{ kind: 'propose_members', token: 99, change: { ...NO_CHANGE, voters: [2n] } }]);
  // The new member says that it has entries 1 to 7: the rest is still there, and sent.
  const reply = { kind: 'append_reply', from: 2n, to: 1n, term: 1, ok: false, index: 8, before: 1, round: 0 } as const;
  const { send } = raft.step([persisted(next), { kind: 'receive', message: reply }]);
  t.like(send[0], { kind: 'append', previous: { term: 1, index: 7 } });
});

test('of large entries it keeps fewer, down to none', (t) => {
  /** What a new member is sent that says it has all before `index`. */
  const sentFrom = (index: number, catchUpBytes: number): unknown => {
    const raft = soleLeader({ catchUpEntries: 3, catchUpBytes });
    const output = raft.step(Array.from({ length: 10 }, (_, token) => ({ kind: 'propose', token, data: new Uint8Array(100) })));
    raft.step([persisted(output)]);
    const { configuration } = raft.status();
    raft.step([{ kind: 'snapshotted', snapshot: { term: 1, index: 10, configuration } }]);
    const next = raft.step([{ kind: 'propose_members', token: 99, change: { ...NO_CHANGE, voters: [2n] } }]);
    const reply = { kind: 'append_reply', from: 2n, to: 1n, term: 1, ok: false, index, before: 1, round: 0 } as const;
    return raft.step([persisted(next), { kind: 'receive', message: reply }]).send[0];
  };
  for (const [bytesMax, kept] of [[1000, 3], [250, 2], [199, 1], [99, 0]] as const) {
    t.like(sentFrom(11 - kept, bytesMax), { kind: 'append', previous: { term: 1, index: 10 - kept } }, `${bytesMax} bytes`);
    t.like(sentFrom(10 - kept, bytesMax), { kind: 'snapshot' }, `${bytesMax} bytes, one before`);
  }
});

// with one message in twenty doubled, every entry costs about what it costs otherwise.
test('copies of messages do not multiply', (t) => {
  const cost = (copyEvery: number): number => {
    const cluster = new Cluster([1n, 2n, 3n]);
    let sent = 0;
    const exchange = (): void => {
      for (const id of cluster.members.keys()) cluster.persist(id, 100);
      for (const message of cluster.messages.splice(0)) {
        for (let i = copyEvery > 0 && ++sent % copyEvery === 0 ? 1 : 0; i >= 0; i--) cluster.deliver(message);
      }
    };
    for (let i = 0; i < 30; i++) cluster.step(1n, [{ kind: 'tick' }]);
    for (let i = 0; i < 10; i++) exchange();
    let messages = 0;
    for (let i = 0; i < 500; i++) {
      cluster.step(1n, [{ kind: 'propose', token: i, data: bytes(`${i}`) }]);
      // Every seventh append is lost, so that there are refusals to be copied.
      if (i % 7 === 0) cluster.messages.shift();
      messages += cluster.messages.length;
      exchange();
    }
    for (let i = 0; i < 40; i++) exchange();
    t.true(cluster.committedLast > 450, `${cluster.committedLast} entries were committed`);
    return messages;
  };
  const [plain, copied] = [cost(0), cost(20)];
  t.true(copied < plain * 1.2, `${plain} messages without copies, ${copied} with one copy in twenty`);
});

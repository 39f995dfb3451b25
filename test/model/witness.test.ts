// The judge of histories is judged: good histories pass, whatever their chance; spoiled ones never do; and the anomalies that
// the literature names are each told by the right name.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { Prng } from '../../core/base/prng.js';
import { created, modified, opPut, opRange, type KeyValue, type RangeResponse, type TxnResponse } from '../../core/client.js';
import { call, goodHistory, type Made } from './histories.js';
import type { History, LogEntry, Operation } from './history.js';
import { isMutation, revisionOf } from './operations.js';
import { checkHistory } from './witness.js';
import { takesLess } from '../takes-less.js';

const wordsOf = (history: History): string[] => checkHistory(history).map(({ invariant, message }) => `${invariant}: ${message}`);

test('a hundred good histories pass, with the log known', (t) => {
  for (let seed = 1; seed <= 100; seed++) t.deepEqual(wordsOf(goodHistory(seed, 150)), [], `seed ${seed}`);
});

test('good histories pass when only a watch saw what happened', (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const { operations, watches, events } = goodHistory(seed, 150);
    t.deepEqual(wordsOf({ operations, watches, log: null, course: { base: 1, events } }), [], `seed ${seed}`);
  }
});

test('good histories pass when nobody saw more than the clients', (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const { operations, watches } = goodHistory(seed, 150);
    t.deepEqual(wordsOf({ operations, watches, log: null }), [], `seed ${seed}`);
  }
});

/** Spoils a history for certain; false: there is nothing here to spoil in this way. */
type Spoil = (made: Made, prng: Prng) => boolean;

function pick<T>(prng: Prng, items: readonly T[]): T | null {
  return items[prng.below(Math.max(1, items.length))] ?? null;
}

const answered = ({ operations }: Made): Made['operations'] => operations.filter(({ outcome }) => outcome.kind === 'ok');

function reply(operation: Made['operations'][number], change: (response: TxnResponse & RangeResponse) => object): void {
  const { outcome } = operation;
  if (outcome.kind === 'ok') {
    const response = outcome.response as TxnResponse & RangeResponse;
    operation.outcome = { kind: 'ok', response: { ...response, ...change(response) } };
  }
}

const SPOILS: Readonly<Record<string, Spoil>> = {
  'a write is lost': (made, prng) => {
    // Of two equal deletes nobody could say which was lost.
    const victim = pick(prng, answered(made).filter((each) => isMutation(each) && each.request.kind === 'txn'
      && each.request.request.success?.[0]?.kind === 'put'));
    const bytes = victim === null ? null : JSON.stringify(victim.request, plain);
    const at = made.log.findIndex(({ command }) => command?.kind === 'txn'
      && JSON.stringify({ kind: 'txn', request: command.request }, plain) === bytes);
    if (at < 0) return false;
    made.log.splice(at, 1);
    return true;
  },
  'a write happens twice': (made, prng) => {
    const victim = pick(prng, made.log.filter(({ command }) => command?.kind === 'txn'
      && command.request.success?.[0]?.kind === 'put' && command.request.compare === undefined));
    if (victim === null || made.events.every(({ kv }) => kv.lease === 0n)) return false;
    const isDone = answered(made).some((operation) => isMutation(operation) && operation.request.kind === 'txn'
      && victim.command?.kind === 'txn' && operation.request.request === victim.command.request);
    if (!isDone) return false;
    made.log.push({ ...victim, index: made.log.length + 1 });
    return true;
  },
  'the revision of a write is shifted': (made, prng) => {
    const victim = pick(prng, answered(made).filter(isMutation));
    if (victim === null) return false;
    reply(victim, ({ header }) => ({ header: { ...header, revision: header.revision + (prng.below(2) === 0 ? 1 : -1) } }));
    return true;
  },
  'a write says that its guard failed': (made, prng) => {
    const victim = pick(prng, answered(made).filter(({ request }) => request.kind === 'txn'));
    if (victim === null) return false;
    reply(victim, ({ succeeded }) => ({ succeeded: !succeeded }));
    return true;
  },
  'a read shows another value': (made, prng) => {
    const victim = pick(prng, reads(made));
    if (victim === null) return false;
    reply(victim, ({ kvs }) => ({ kvs: kvs.map((kv, i) => (i > 0 ? kv : { ...kv, value: utf8('never') })) }));
    return true;
  },
  'a read misses a pair': (made, prng) => {
    const victim = pick(prng, reads(made));
    if (victim === null) return false;
    reply(victim, ({ kvs }) => ({ kvs: kvs.slice(1) }));
    return true;
  },
  'a read miscounts': (made, prng) => {
    const victim = pick(prng, reads(made));
    if (victim === null) return false;
    reply(victim, ({ count }) => ({ count: count + 1 }));
    return true;
  },
  'a read shows another version': (made, prng) => {
    const victim = pick(prng, reads(made));
    if (victim === null) return false;
    reply(victim, ({ kvs }) => ({ kvs: kvs.map((kv: KeyValue) => ({ ...kv, version: kv.version + 1 })) }));
    return true;
  },
  'a read is stale': (made, prng) => {
    const victim = pick(prng, reads(made).filter((read) => {
      const revision = revisionOf(read) ?? 0;
      return answered(made).some((other) => isMutation(other) && revisionOf(other) === revision
        && other.returnedAt < read.calledAt);
    }));
    if (victim === null) return false;
    reply(victim, ({ header }) => ({ header: { ...header, revision: header.revision - 1 } }));
    return true;
  },
  'a write was asked for after it was seen': (made, prng) => {
    const victim = pick(prng, answered(made).filter((write) => isMutation(write)
      && answered(made).some((other) => other !== write && (revisionOf(other) ?? 0) >= (revisionOf(write) ?? 0))));
    if (victim === null) return false;
    victim.calledAt = 1e6;
    victim.returnedAt = 1e6 + 1;
    return true;
  },
  'an error that says never lied': (made, prng) => {
    const victim = pick(prng, answered(made).filter(isMutation));
    if (victim === null) return false;
    victim.outcome = { kind: 'error', code: 'no_leader', outcome: 'never' };
    return true;
  },
  'a watch has a gap': (made, prng) => spoilBatches(made, prng, (batches, i) => batches.splice(i, 1)),
  'a watch repeats': (made, prng) => spoilBatches(made, prng, (batches, i) => batches.splice(i, 0, ...batches.slice(i, i + 1))),
  'a watch reorders': (made, prng) => spoilBatches(made, prng, (batches, i) => batches.splice(i, 0, ...batches.splice(i + 1, 1)),
    1),
  'a watch shows another value': (made, prng) => spoilBatches(made, prng, (batches, i) => {
    const one = batches[i];
    if (one !== undefined) one.batch = { ...one.batch,
      events: one.batch.events.map((event) => ({ ...event, kind: event.kind === 'put' ? 'delete' : 'put' })) };
  }),
  'a watch shows another previous pair': (made, prng) => spoilBatches(made, prng, (batches, i) => {
    const one = batches[i];
    const [event] = one?.batch.events ?? [];
    if (one !== undefined && event !== undefined) {
      one.batch = { ...one.batch, events: [{ ...event, prevKv: { ...event.kv, version: 99 } }, ...one.batch.events.slice(1)] };
    }
  }),
  'progress overtakes': (made, prng) => spoilBatches(made, prng, (batches, i) => {
    const one = batches[i];
    if (one !== undefined) batches.splice(i, 0, { at: one.at, batch: { ...one.batch, kind: 'progress', events: [] } });
  }),
  'a revision of a watch is split': (made, prng) => spoilBatches(made, prng, (batches, i) => {
    const one = batches[i];
    if (one === undefined) return;
    const { events } = one.batch;
    batches.splice(i, 1, { ...one, batch: { ...one.batch, events: events.slice(0, 1) } },
      { ...one, batch: { ...one.batch, events: events.slice(1) } });
  }, 0, 2),
};

function reads(made: Made): Made['operations'] {
  return answered(made).filter(({ request, outcome }) => request.kind === 'range' && outcome.kind === 'ok'
    && (outcome.response as RangeResponse).kvs.length > 0);
}

function spoilBatches(made: Made, prng: Prng, spoil: (batches: Made['watches'][number]['batches'], i: number) => unknown,
  fromEnd = 0, least = 1): boolean {
  const [watch] = made.watches;
  if (watch === undefined) return false;
  const fit = watch.batches.flatMap(({ batch }, i) => (batch.kind === 'events' && batch.events.length >= least
    && i < watch.batches.length - 1 - fromEnd ? [i] : []));
  const at = pick(prng, fit);
  if (at === null) return false;
  spoil(watch.batches, at);
  return true;
}

function plain(_name: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `${value}n` : value;
}

for (const [name, spoil] of Object.entries(SPOILS)) {
  test(`histories in which ${name} are all rejected`, (t) => {
    let spoiled = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const made = goodHistory(1000 + seed, 80);
      if (!spoil(made, new Prng(seed))) continue;
      spoiled++;
      t.true(checkHistory(made).length > 0, `seed ${seed}`);
    }
    t.true(spoiled >= 5, `only ${spoiled} histories could be spoiled in this way`);
  });
}

const A = utf8('a');
const B = utf8('b');
const pair = (key: Uint8Array, value: string, create: number, mod: number, version: number): KeyValue =>
  ({ key, value: utf8(value), createRevision: create, modRevision: mod, version, lease: 0n });
const put = (key: Uint8Array, value: string) => ({ success: [opPut(key, utf8(value))] });
const putDone = (revision: number) => ({ revision, responses: [{ kind: 'put', response: { revision, prevKv: null } }] });
const of = (...operations: readonly Operation[]): History => ({ operations, watches: [], log: null });

test('a lost update is told: two guarded writes on one state', (t) => {
  const guarded = (value: string) => ({ compare: [modified(A, '=', 2)], success: [opPut(A, utf8(value))] });
  const words = wordsOf(of(
    call('c1', 0, 1, put(A, '0'), putDone(2)), call('c1', 2, 5, guarded('1'), putDone(3)),
      call('c2', 2, 5, guarded('2'), putDone(4)),
  ));
  t.regex(words.join(), /I22: the txn of c2 .* made revision 4, but by then it would have changed nothing/);
});

test('a stale read is told', (t) => {
  const words = wordsOf(of(call('c1', 0, 1, put(A, '1'), putDone(2)), call('c2', 2, 3, { key: A }, { revision: 1 })));
  t.deepEqual(words,
    ['I13: the range of c2 at member 1 (2.0 ms to 3.0 ms) is stale: it shows revision 1, though revision 2 '
      + 'had been shown before it was called']);
});

test('a stale read is none when it was asked for as serializable', (t) => {
  t.deepEqual(wordsOf(of(call('c1', 0, 1, put(A, '1'), putDone(2)),
    call('c2', 2, 3, { key: A, serializable: true }, { revision: 1 }))), []);
});

test('write skew is told: both saw the other key empty', (t) => {
  const skewed = (other: Uint8Array, own: Uint8Array) =>
    ({ compare: [created(other, '=', 0)], success: [opPut(own, utf8('x'))] });
  t.regex(wordsOf(of(call('c1', 0, 5, skewed(A, B), putDone(2)), call('c2', 0, 5, skewed(B, A), putDone(3)))).join(),
    /would have changed nothing/);
});

test('a read of a value that nobody wrote is told as a phantom', (t) => {
  const words = wordsOf(of(call('c1', 0, 1, { key: A }, { revision: 2, kvs: [pair(A, 'x', 2, 2, 1)], count: 1 })));
  t.regex(words.join(), /I19: revision 2 is a phantom/);
});

test('one revision for two writes is told', (t) => {
  t.regex(wordsOf(of(call('c1', 0, 5, put(A, '1'), putDone(2)), call('c2', 0, 5, put(B, '2'), putDone(2)))).join(),
    /revision 2 was given twice/);
});

test('two readers who see two writes in different order cannot both be right', (t) => {
  const both = { success: [opRange(A), opRange(B)] };
  const range = (revision: number, kvs: KeyValue[]) =>
    ({ kind: 'range', response: { revision, kvs, more: false, count: kvs.length } });
  const words = wordsOf(of(
    call('c1', 0, 9, put(A, '1'), putDone(2)), call('c2', 0, 9, put(B, '2'), putDone(3)),
    call('c3', 3, 4, both, { revision: 2, responses: [range(2, [pair(A, '1', 2, 2, 1)]), range(2, [])] }),
    call('c4', 3, 4, both, { revision: 2, responses: [range(2, []), range(2, [pair(B, '2', 3, 3, 1)])] }),
  ));
  t.regex(words.join(), /I22: the txn of c4/);
});

test('a write of unknown outcome may have happened, or not', (t) => {
  const unknown: Operation = { ...call('c1', 0, Infinity, put(A, '1'), putDone(2)),
    outcome: { kind: 'error', code: 'timeout', outcome: 'unknown' } };
  t.deepEqual(wordsOf(of(unknown, call('c2', 5, 6, { key: A }, { revision: 1 }))), []);
  t.deepEqual(wordsOf(of(unknown, call('c2', 5, 6, { key: A }, { revision: 2, kvs: [pair(A, '1', 2, 2, 1)], count: 1 }))), []);
  const early = of({ ...unknown, calledAt: 7 }, call('c2', 5, 6, { key: A },
    { revision: 2, kvs: [pair(A, '1', 2, 2, 1)], count: 1 }));
  t.regex(wordsOf(early).join(), /revision 2 is a phantom/);
});

test('leases: an expiry before the promised time, a renewal after the end, a revoke that nobody did', (t) => {
  const header = { clusterId: 1n, memberId: 1n, revision: 1, raftTerm: 1 };
  const common = { client: 'c1', member: 1n };
  const grant: Operation = {
    ...common, calledAt: 100, returnedAt: 110, request: { kind: 'grant', ttlSeconds: 5, id: 7n },
    outcome: { kind: 'ok', response: { header, id: 7n, ttlSeconds: 5 } },
  };
  const renew = (calledAt: number): Operation => ({
    ...common, calledAt, returnedAt: calledAt + 1, request: { kind: 'keep_alive', lease: 7n },
    outcome: { kind: 'ok', response: { header, ttlSeconds: 5 } },
  });
  const log = (at: number): History['log'] => [
    { index: 1, term: 1, at: 105, command: { kind: 'lease_grant', id: 7n, ttlSeconds: 5 } },
    { index: 2, term: 1, at, command: { kind: 'lease_revoke', id: 7n, term: 1, granted: 1 } },
  ];
  const judge = (operations: Operation[], at: number): string => wordsOf({ operations, watches: [], log: log(at) }).join();
  t.is(judge([grant], 5200), '');
  t.regex(judge([grant], 3000), /I28: lease 7 expired at 3000.0 ms, though the grant/);
  t.regex(judge([grant, renew(2000)], 5200), /I28: lease 7 expired at 5200.0 ms, though the keep_alive/);
  t.is(judge([grant, renew(2000)], 7100), '');
  t.regex(judge([grant, renew(8000)], 5200), /I29/);
  t.regex(judge([{ ...grant, request: { kind: 'revoke', lease: 7n }, outcome: { kind: 'ok', response: header } }], 5200), /I27/);
});

test('leases: told to be gone while they live, and ended by time in which the leader stood still', (t) => {
  const header = { clusterId: 1n, memberId: 1n, revision: 1, raftTerm: 1 };
  const common = { client: 'c1', member: 1n };
  const grant: Operation = {
    ...common, calledAt: 100, returnedAt: 110, request: { kind: 'grant', ttlSeconds: 5, id: 7n },
    outcome: { kind: 'ok', response: { header, id: 7n, ttlSeconds: 5 } },
  };
  const denied: Operation = {
    ...common, calledAt: 2000, returnedAt: 2001, request: { kind: 'keep_alive', lease: 7n },
    outcome: { kind: 'ok', response: { header, ttlSeconds: 0 } },
  };
  const refused: Operation = {
    ...common, calledAt: 2000, returnedAt: 2001, request: { kind: 'revoke', lease: 7n },
    outcome: { kind: 'error', code: 'lease_not_found', outcome: 'never' },
  };
  const judge = (operations: Operation[], at: number, stood: { from: number; to: number }[] = []): string => wordsOf({
    operations, watches: [], standstills: new Map([[1, stood]]),
    log: [
      { index: 1, term: 1, at: 105, command: { kind: 'lease_grant', id: 7n, ttlSeconds: 5 } },
      { index: 2, term: 1, at, command: { kind: 'lease_revoke', id: 7n, term: 1, granted: 1 } },
    ],
  }).join();
  t.regex(judge([grant, denied], 5200), /I29.*is gone, but it lived/);
  t.regex(judge([grant, refused], 5200), /I29.*is gone, but it lived/);
  t.is(judge([grant, { ...denied, calledAt: 5190, returnedAt: 5195 }], 5200), '');
  t.is(judge([grant, { ...refused, calledAt: 5250, returnedAt: 5260 }], 5200), '');
  t.regex(judge([grant], 5200, [{ from: 1000, to: 2000 }]), /I28.*stood still/);
  t.is(judge([grant], 6200, [{ from: 1000, to: 2000 }]), '');
});

test('a watch that falls silent is told, and one that had nothing to tell is not', (t) => {
  const put = (index: number): LogEntry => ({
    index, term: 1, at: 1, command: { kind: 'txn', request: { success: [opPut(Buffer.from('b'), Buffer.from('x'))] } },
  });
  const words = (key: string, quietAt: number): string => wordsOf({
    operations: [], log: [put(1), put(2)],
    watches: [{
      client: 'w1', request: { key: Buffer.from(key), startRevision: 2 }, end: 'canceled', quietAt,
      batches: [
        { at: 1, batch: { kind: 'created', header: { clusterId: 1n, memberId: 1n, revision: 1, raftTerm: 1 }, events: [] } },
      ],
    }],
  }).join();
  t.regex(words('b', 3), /I25: .* is silent/);
  t.notRegex(words('b', 1), /I25/);
  t.notRegex(words('a', 3), /I25/);
});

test('a member never shows a client less than before, but a new life of it may', (t) => {
  const read = (calledAt: number, revision: number, life: number): Operation => ({
    client: 'c1', member: 1n, life, calledAt, returnedAt: calledAt + 1,
    request: { kind: 'range', request: { key: Buffer.from('a'), serializable: true } },
    outcome: { kind: 'ok', response: {
      header: { clusterId: 1n, memberId: 1n, revision, raftTerm: 1 }, kvs: [], more: false, count: 0,
    } },
  });
  const put = (index: number): LogEntry => ({
    index, term: 1, at: 1, command: { kind: 'txn', request: { success: [opPut(Buffer.from('b'), Buffer.from('x'))] } },
  });
  const words = (operations: Operation[]): string => wordsOf({ operations, watches: [], log: [put(1), put(2)] }).join();
  const goesBack = /goes back/;
  t.regex(words([read(10, 3, 1), read(20, 2, 1)]), goesBack);
  t.notRegex(words([read(10, 3, 1), read(20, 2, 2)]), goesBack);
});

test('a hundred thousand operations are judged in seconds', (t) => {
  const { operations, watches, log } = goodHistory(1, 100_000, { keys: 200, clients: 20 });
  t.true(takesLess(20_000, () => void t.deepEqual(wordsOf({ operations, watches, log }), [])));
});

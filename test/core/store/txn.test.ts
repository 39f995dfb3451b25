// Claims of contract 4.3 to 4.6 one by one; their combinations are in store-model.test.ts, and real etcd's answers in
// test/interop/differential.test.ts.

import test from 'ava';
import { created, leaseIs, opDelete, opPut, opRange, opTxn, valueIs, versionIs } from '../../../core/client.js';
import type { Compare, OpResponse } from '../../../core/client.js';
import type { Reply } from '../../../core/store/store.js';
import { ALL, bytes, Script, shown } from './script.js';

const put = (key: string, value = 'v'): ReturnType<typeof opPut> => opPut(bytes(key), bytes(value));

function codeOf(reply: Reply): string | null {
  return reply.kind === 'error' ? reply.code : null;
}

function responses(reply: Reply): readonly OpResponse[] {
  return reply.kind === 'txn' ? reply.responses : [];
}

function revisions(reply: Reply): number[] {
  return responses(reply).map((each) => each.response.revision);
}

test('all writes of a transaction have one revision, and reads see what came before them', (t) => {
  const script = new Script();
  script.put('a', 'old');
  const all = opRange(ALL.key, { rangeEnd: ALL.rangeEnd });
  const reply = script.ops(opRange(bytes('a')), put('b'), all, opDelete(bytes('a')), opRange(bytes('a')));
  t.deepEqual(revisions(reply), [2, 3, 3, 3, 3]);
  const found = responses(reply).map((each) => (each.kind === 'range' ? shown(each.response.kvs) : each.kind));
  t.deepEqual(found, ['a=old', 'put', 'a=old b=v', 'delete', '']);
  t.is(script.store.revision, 3);
});

test('a transaction that changes nothing has no revision of its own', (t) => {
  const script = new Script();
  const reply = script.ops(opDelete(bytes('none')), opRange(bytes('none')), opTxn({}));
  t.deepEqual(revisions(reply), [1, 1, 0]);
  t.is(script.apply({ kind: 'txn', request: {} }).events, null);
  t.is(script.store.revision, 1);
});

test('compares of nested transactions are judged before anything is written', (t) => {
  const script = new Script();
  const inner = opTxn({ compare: [created(bytes('a'), '=', 0)], success: [put('yes')], failure: [put('no')] });
  script.ops(put('a'), inner);
  t.is(script.range({ ...ALL, keysOnly: true }), 'a= yes=');
});

test('a missing key compares as zero, but no value compares with it', (t) => {
  const script = new Script();
  const holds = (compare: Compare): boolean => {
    const reply = script.txn({ compare: [compare] });
    return reply.kind === 'txn' && reply.succeeded;
  };
  const key = bytes('none');
  t.true(holds(created(key, '=', 0)));
  t.true(holds(versionIs(key, '<', 1)));
  t.true(holds(leaseIs(key, '!=', 5n)));
  t.true(holds(leaseIs(key, '>', -5n)));
  for (const result of ['=', '!=', '<', '>'] as const) t.false(holds(valueIs(key, result, bytes(''))));
  t.true(holds({ key, target: 'create', result: 'any', operand: 9 }));
  t.false(holds({ key, target: 'value', result: 'any', operand: key }));
});

test('over a range every pair must pass, and there must be one for values', (t) => {
  const script = new Script();
  script.put('a', '1');
  script.put('b', '2');
  const over = (rangeEnd: string, result: '<' | '>'): boolean => {
    const reply = script.txn({ compare: [{ ...valueIs(bytes('a'), result, bytes('15')), rangeEnd: bytes(rangeEnd) }] });
    return reply.kind === 'txn' && reply.succeeded;
  };
  t.true(over('b', '<'));
  t.false(over('c', '<'));
  t.false(over('c', '>'));
  t.false(over('a', '<'));
});

test('version and create revision start again after a delete', (t) => {
  const script = new Script();
  script.put('a');
  script.put('a');
  script.del('a');
  script.put('a');
  const result = script.store.range({ key: bytes('a') });
  const kv = typeof result === 'string' ? null : result.kvs[0];
  t.deepEqual([kv?.createRevision, kv?.modRevision, kv?.version], [5, 5, 1]);
});

test('what cannot be done refuses the whole before anything is written', (t) => {
  const script = new Script();
  script.put('a');
  t.is(codeOf(script.ops(put('b'), opPut(bytes('c'), bytes(''), { lease: 7n }))), 'lease_not_found');
  t.is(codeOf(script.ops(put('b'), opPut(bytes('c'), bytes(''), { ignoreValue: true }))), 'key_not_found');
  t.is(codeOf(script.ops(put('b'), opTxn({ success: [opRange(bytes('a'), { revision: 3 })] }))), 'future_revision');
  t.is(codeOf(script.txn({ success: [put('b')], failure: [opRange(bytes('a'), { revision: 99 })] })), null);
  script.compact(3);
  t.is(codeOf(script.ops(put('d'), opRange(bytes('a'), { revision: 2 }))), 'compacted');
  t.is(script.range({ ...ALL, keysOnly: true }), 'a= b=');
  t.is(script.store.revision, 3);
});

test('a plain put looks for its lease first, one in a transaction for its key', (t) => {
  const script = new Script();
  const keep = opPut(bytes('none'), bytes(''), { ignoreValue: true, lease: 7n });
  t.is(codeOf(script.ops(keep)), 'lease_not_found');
  t.is(codeOf(script.ops(keep, put('b'))), 'key_not_found');
  t.is(codeOf(script.txn({ compare: [], success: [keep], failure: [] })), 'key_not_found');
});

test('a put that keeps what an earlier op deletes is a put of a missing key', (t) => {
  const script = new Script();
  script.put('k');
  const keep = opPut(bytes('k'), bytes(''), { ignoreValue: true });
  t.is(codeOf(script.ops(opTxn({ success: [opDelete(bytes('a'), { rangeEnd: bytes('\0') })] }), keep)), 'key_not_found');
  t.is(codeOf(script.ops(opTxn({ success: [keep] }), opTxn({ success: [opDelete(bytes('k'))] }))), null);
  t.is(script.range(ALL), '');
});

test('put and delete of one key in one transaction are two events of one revision', (t) => {
  const script = new Script();
  const { events } = script.apply({
    kind: 'txn',
    request: { success: [opTxn({ success: [put('k')] }), opTxn({ success: [opDelete(bytes('k'))] })] },
  });
  t.deepEqual(events?.events.map((event) => [event.kind, event.kv.modRevision]), [['put', 2], ['delete', 2]]);
  t.is(script.range(ALL), '');
  t.is(script.range({ ...ALL, revision: 2 }), '');
});

test('previous values are told where asked', (t) => {
  const script = new Script();
  script.put('a', '1');
  script.put('b', '2');
  const reply = script.ops(
    opPut(bytes('a'), bytes('3'), { prevKv: true }),
    opPut(bytes('c'), bytes('3'), { prevKv: true }),
    opTxn({ success: [opDelete(bytes('b'), { prevKv: true })] }),
    opTxn({ success: [opDelete(bytes('x'), { rangeEnd: bytes('z'), prevKv: true })] }),
  );
  const [a, c, b, none] = responses(reply);
  t.is(a?.kind === 'put' && a.response.prevKv !== null ? shown([a.response.prevKv]) : null, 'a=1');
  t.is(c?.kind === 'put' ? c.response.prevKv : 'no put', null);
  const deleted = [b, none].map((each) => {
    const inner = each?.kind === 'txn' ? each.response.responses[0] : undefined;
    return inner?.kind === 'delete' ? [inner.response.deleted, shown(inner.response.prevKvs)] : null;
  });
  t.deepEqual(deleted, [[1, 'b=2'], [0, '']]);
});

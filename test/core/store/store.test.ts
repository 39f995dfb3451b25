// What commands do, one by one; their combinations are in store-model.test.ts.

import test from 'ava';
import { latin1 } from '../../../core/base/bytes.js';
import { Store } from '../../../core/store/store.js';
import { ALL, bytes, bytesOf, Script, told } from './script.js';

test('a fresh store is at revision 1, the first write makes 2', (t) => {
  const script = new Script();
  t.is(script.store.revision, 1);
  script.put('a');
  t.is(script.store.revision, 2);
  t.deepEqual(script.store.applied, { term: 1, index: 1 });
});

test('an entry is applied once, and in order', (t) => {
  const script = new Script();
  script.store.skip({ term: 1, index: 5 });
  t.deepEqual(script.store.applied, { term: 1, index: 5 });
  const again = (): unknown => script.store.apply({ term: 1, index: 5 }, { kind: 'compact', revision: 1 });
  t.throws(again, { message: /entry 5 comes after 5/ });
  t.throws(() => script.store.skip({ term: 2, index: 4 }));
});

test('a lease is granted once', (t) => {
  const script = new Script();
  t.deepEqual(script.grant(7n, 12), { kind: 'lease_grant', revision: 1, id: 7n, ttlSeconds: 12 });
  t.deepEqual(script.grant(7n, 13), { kind: 'error', code: 'lease_exists' });
  t.deepEqual(script.store.lease(7n)?.ttlSeconds, 12);
});

test('a revoke deletes the keys of the lease in byte order, in one revision', (t) => {
  const script = new Script();
  script.grant(7n);
  for (const key of ['b', 'c', 'a', 'B']) script.put(key, '', { lease: 7n });
  script.put('c', 'free');
  const { reply, events } = script.revoke(7n);
  t.deepEqual(reply, { kind: 'lease_revoke', revision: 7, id: 7n });
  t.is(told(events?.events ?? []), '-B@7 -a@7 -b@7');
  t.is(script.range(ALL), 'c=free');
  t.deepEqual(script.revoke(7n).reply, { kind: 'error', code: 'lease_not_found' });
});

test('a revoke of a lease without keys has no revision', (t) => {
  const script = new Script();
  script.grant(7n);
  t.deepEqual(script.revoke(7n), { reply: { kind: 'lease_revoke', revision: 1, id: 7n }, events: null });
});

test('an expiry seen by a leader that is none any more is void', (t) => {
  const script = new Script();
  script.grant(7n);
  script.put('a', '', { lease: 7n });
  script.term = 3;
  t.deepEqual(script.revoke(7n, 2), { reply: { kind: 'error', code: 'not_leader' }, events: null });
  t.is(script.store.keyCount, 1);
  t.is(script.revoke(7n, 3).reply.kind, 'lease_revoke');
  t.is(script.store.keyCount, 0);
});

test('a lease may have very many keys', (t) => {
  const script = new Script();
  script.grant(1n);
  const count = 100_000;
  for (let i = 0; i < count; i++) script.put(`k${(i * 7919) % count}`, '', { lease: 1n });
  const { events } = script.revoke(1n);
  const keys = (events?.events ?? []).map((event) => latin1(event.kv.key));
  t.is(keys.length, count);
  t.true(keys.every((key, i) => i === 0 || (keys[i - 1] ?? '') < key));
  t.is(script.store.keyCount, 0);
});

test('a compaction is refused in the future, in the past and when repeated', (t) => {
  const script = new Script();
  t.deepEqual(script.compact(2), { kind: 'error', code: 'future_revision' });
  t.deepEqual(script.compact(-1), { kind: 'error', code: 'compacted' });
  t.deepEqual(script.compact(0), { kind: 'compact', revision: 1 });
  t.deepEqual(script.compact(0), { kind: 'error', code: 'compacted' });
  script.put('a');
  script.put('a');
  t.deepEqual(script.compact(2), { kind: 'compact', revision: 3 });
  t.deepEqual(script.compact(1), { kind: 'error', code: 'compacted' });
  t.is(script.store.compacted, 2);
});

test('the last version of each live key survives a compaction', (t) => {
  const script = new Script();
  script.put('old', '1');
  script.put('a', '1');
  script.put('a', '2');
  script.del('old');
  script.put('b', '1');
  script.compact(5);
  script.tidy();
  t.is(script.range({ ...ALL, revision: 5 }), 'a=2');
  t.is(script.range(ALL), 'a=2 b=1');
});

test('a read-only transaction is answered without an entry', (t) => {
  const script = new Script();
  script.put('a', '1');
  const reply = script.store.read({ success: [{ kind: 'range', request: ALL }] });
  t.is(reply.kind === 'txn' ? reply.revision : 0, 2);
  t.deepEqual(script.store.read({ success: [{ kind: 'range', request: { ...ALL, revision: 9 } }] }), {
    kind: 'error', code: 'future_revision',
  });
  t.throws(() => script.store.read({ success: [{ kind: 'put', request: { key: bytes('b'), value: bytes('') } }] }));
});

test('equal entries make equal bytes on stores with another past', (t) => {
  const first = new Script();
  const second = new Script(new Store());
  for (let i = 0; i < 500; i++) {
    for (const script of [first, second]) {
      if (i % 50 === 0) script.grant(BigInt(1 + i));
      script.put(`k${i % 60}`, String(i), { lease: i % 3 === 0 ? BigInt(1 + i - (i % 50)) : 0n });
      if (i % 90 === 89) script.compact(script.store.revision - 20);
      if (i % 120 === 119) script.revoke(BigInt(1 + i - (i % 50)));
    }
    second.tidy();
  }
  t.true(bytesOf(first.store).equals(bytesOf(second.store)));
});

test('sizes are told, and what is in use is part of what is held', (t) => {
  const script = new Script();
  for (let i = 0; i < 1000; i++) script.put(`k${i}`, 'v'.repeat(100));
  const { dbSizeBytes, dbSizeInUseBytes } = script.store;
  t.true(dbSizeInUseBytes > 100_000 && dbSizeInUseBytes <= dbSizeBytes, `${dbSizeInUseBytes} of ${dbSizeBytes}`);
});

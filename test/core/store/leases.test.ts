// Which keys hang on which lease.

import test from 'ava';
import { latin1 } from '../../../core/base/bytes.js';
import { EVENTS_MADE_MAX } from '../../../core/store/limits.js';
import { Script } from './script.js';

function keysOf(script: Script, id: bigint): string {
  return script.store.leaseKeys(id).map(latin1).join(' ');
}

test('a key hangs on the lease of its newest put, and on none once it is deleted', (t) => {
  const script = new Script();
  script.grant(1n);
  script.grant(2n);
  for (const key of ['c', 'a', 'b', 'd']) script.put(key, '', { lease: 1n });
  t.is(keysOf(script, 1n), 'a b c d');
  script.put('b', '', { lease: 2n });
  script.put('c');
  script.del('a');
  script.put('d', 'again', { ignoreLease: true });
  t.is(keysOf(script, 1n), 'd');
  t.is(keysOf(script, 2n), 'b');
  t.deepEqual(script.store.lease(1n)?.keyCount, 1);
  script.put('d', '', { lease: 1n });
  t.is(keysOf(script, 1n), 'd');
});

test('a key can be taken off a lease from between others after they were given other places', (t) => {
  const script = new Script();
  script.grant(1n);
  for (let i = 0; i < 200; i++) script.put(`before${i}`);
  const names = Array.from({ length: 9 }, (_, i) => `k${i}`);
  for (const name of names) script.put(name, '', { lease: 1n });
  for (let i = 0; i < 200; i++) script.del(`before${i}`);
  script.compact(script.store.revision);
  script.tidy();
  script.store.defragment();
  script.tidy();
  // Each but the last, from either end of the chain and from its middle.
  for (const name of ['k4', 'k0', 'k8', 'k5', 'k3', 'k7', 'k1', 'k2']) {
    script.put(name);
    names.splice(names.indexOf(name), 1);
    t.is(keysOf(script, 1n), names.join(' '));
  }
  t.is(script.store.lease(1n)?.keyCount, 1);
});

test('the keys of a lease come in byte order whether they are few or nearly all', (t) => {
  for (const others of [0, 100_000]) {
    const script = new Script();
    script.grant(9n);
    for (let i = 0; i < others; i++) script.put(`other${i}`);
    const keys = Array.from({ length: 500 }, (_, i) => `k${(i * 7919) % 10_007}`);
    for (const key of keys) script.put(key, '', { lease: 9n });
    t.is(keysOf(script, 9n), [...keys].sort().join(' '));
  }
});

test('a lease ends with all its keys in one revision, few or very many, told in byte order', (t) => {
  for (const count of [0, 3, EVENTS_MADE_MAX, EVENTS_MADE_MAX + 1, 3 * EVENTS_MADE_MAX]) {
    const script = new Script();
    script.grant(9n);
    const names = Array.from({ length: count }, (_, i) => `k${(i * 7919) % 100_003}`);
    for (const key of names) script.put(key, 'v', { lease: 9n });
    script.put('other', 'stays');
    const before = script.store.revision;
    const { events } = script.revoke(9n);
    const expected = [...names].sort().map((key) => ({
      kind: 'delete',
      kv: { key, value: '', createRevision: 0, modRevision: before + 1, version: 0, lease: 0n },
      prevKv: null,
    }));
    const told = (events?.events ?? []).map(({ kind, kv, prevKv }) => {
      return { kind, kv: { ...kv, key: latin1(kv.key), value: latin1(kv.value) }, prevKv };
    });
    t.deepEqual(told, expected);
    t.is(events?.revision, count === 0 ? undefined : before + 1);
    t.is(script.store.revision, count === 0 ? before : before + 1);
    t.is(script.store.keyCount, 1);
    t.is(script.store.lease(9n), null);
    // The keys are free for another lease, of the same id as well.
    script.grant(9n);
    for (const key of names.slice(0, 3)) script.put(key, 'again', { lease: 9n });
    t.is(keysOf(script, 9n), names.slice(0, 3).sort().join(' '));
  }
});

test('a lease that does not exist has no keys', (t) => {
  const script = new Script();
  t.is(script.store.lease(4n), null);
  t.deepEqual(script.store.leaseKeys(4n), []);
});

test('leases are told in the order they were granted', (t) => {
  const script = new Script();
  for (const id of [5n, -2n, 9n]) script.grant(id, Number(id) + 10);
  script.revoke(-2n);
  script.grant(-2n, 3);
  const told = [...script.store.leases()].map(({ id, ttlSeconds, granted }) => ({ id, ttlSeconds, granted }));
  t.deepEqual(told, [
    { id: 5n, ttlSeconds: 15, granted: 1 },
    { id: 9n, ttlSeconds: 19, granted: 3 },
    { id: -2n, ttlSeconds: 3, granted: 5 },
  ]);
  t.is(script.store.leaseCount, 3);
});

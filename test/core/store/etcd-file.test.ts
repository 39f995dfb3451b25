// The store as etcd's database file, and back: everything that etcd has a place for, whatever the size of it; and files that
// are damaged, of which none is taken for a whole one by more than its own words. That etcd reads them is tried beside it
// (test/interop/snapshot-etcd.test.ts).

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import { BoltReader, isBolt, type PageSource } from '../../../core/store/bolt-reader.js';
import { boltFile, type Items } from '../../../core/store/bolt-pages.js';
import { SNAPSHOT_STEPS } from '../../../core/store/limits.js';
import { Store } from '../../../core/store/store.js';
import { ALL, bytes, Script, told } from './script.js';

function sourceOf(file: Buffer): PageSource {
  return { sizeBytes: file.length, read: (offset, length) => file.subarray(offset, offset + length) };
}

function fileOf(store: Store): Buffer {
  const frozen = store.freeze();
  const file = Buffer.concat([...frozen.etcdFile()]);
  frozen.release();
  return file;
}

function facts(store: Store): unknown {
  const script = new Script(store);
  const from = Math.max(1, store.compacted);
  const revisions = Array.from({ length: store.revision + 1 - from }, (_, i) => script.range({ ...ALL, revision: from + i }));
  const { events } = store.history({ ...ALL, from: store.compacted, prevKv: true, revisionsMax: Infinity, bytesMax: Infinity });
  const leases = [...store.leases()]
    .map(({ id, ttlSeconds, remainingSeconds }) => [id, ttlSeconds, remainingSeconds, store.leaseKeys(id)] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const users = store.auth.userNames.map((name) => store.auth.user(name));
  const roles = store.auth.roleNames.map((name) => store.auth.role(name));
  const { keyCount, revision, compacted, applied } = store;
  return {
    revisions, history: told(events), leases, users, roles, keyCount, revision, compacted, applied,
    alarms: store.alarms(), auth: [store.auth.isEnabled, store.auth.revision], hash: store.hash(0),
  };
}

function random(seed: number, puts: number): Script {
  const dice = new Prng(seed);
  const script = new Script();
  for (const id of [1n, -2n, 2n ** 62n]) script.grant(id, 10 + dice.below(1000));
  for (let i = 0; i < puts; i++) {
    const key = `key-${dice.below(puts / 4)}`;
    const lease = dice.below(5) === 0 ? [1n, -2n, 2n ** 62n][dice.below(3)] : undefined;
    if (dice.below(6) === 0) script.del(key, dice.below(10) === 0 ? `${key}~` : '');
    else script.put(key, 'x'.repeat(dice.below(dice.below(20) === 0 ? 20_000 : 200)), lease === undefined ? {} : { lease });
    if (dice.below(puts) < 3) script.compact(Math.max(1, script.store.revision - dice.below(20)));
  }
  return script;
}

test('a store comes back from etcd\'s file as it was, with history, leases, users, roles and alarms', (t) => {
  for (let seed = 1; seed <= 8; seed++) {
    const script = random(seed, 40 * seed);
    if (seed % 2 === 0) {
      const alarm = { memberId: 2n ** 64n - BigInt(seed), kind: 'no_space' } as const;
      script.apply({ kind: 'alarm', action: 'raise', alarm });
      const permission = { kind: 'readwrite', key: bytes('a'), rangeEnd: bytes('\0') } as const;
      for (const change of [
        { kind: 'role_add', name: 'r' }, { kind: 'role_add', name: 'root' }, { kind: 'role_grant', name: 'r', permission },
        { kind: 'user_add', name: 'root', hash: '$2a$10$hash' }, { kind: 'user_add', name: 'cn', hash: null },
        { kind: 'user_grant', name: 'root', role: 'root' }, { kind: 'user_grant', name: 'root', role: 'r' }, { kind: 'enable' },
      ] as const) script.apply({ kind: 'auth_change', change });
    }
    const file = fileOf(script.store);
    t.is(file.length % 4096, 0);
    t.deepEqual(facts(Store.loadEtcdFile(sourceOf(file))), facts(script.store), `seed ${seed}`);
  }
});

test('a store that came back goes on: puts, deletes, revokes and compactions have the same effect', (t) => {
  const first = random(3, 200);
  const second = new Script(Store.loadEtcdFile(sourceOf(fileOf(first.store))));
  for (const script of [first, second]) {
    script.put('key-1', 'again', { lease: -2n });
    script.put('key-3', '', { ignoreLease: true });
    script.del('key-2', 'key-9');
    script.revoke(1n);
    script.compact(script.store.revision - 1);
    script.tidy();
  }
  t.deepEqual(facts(second.store), facts(first.store));
});

test('an empty store, and one whose last change is compacted, keep their revisions', (t) => {
  const fresh = Store.loadEtcdFile(sourceOf(fileOf(new Store())));
  t.deepEqual([fresh.revision, fresh.compacted, fresh.keyCount, fresh.hash(0)], [1, 0, 0, new Store().hash(0)]);
  const script = new Script();
  script.put('a');
  script.del('a');
  script.compact(3);
  t.is(Store.loadEtcdFile(sourceOf(fileOf(script.store))).revision, 3);
});

test('trees of three levels and pairs larger than a page are found again, in order', (t) => {
  const items: Items = function* all() {
    for (let i = 0; i < 30_000; i++) {
      if (i % 1000 === 0) yield null;
      const key = Buffer.from(`key-${String(i).padStart(9, '0')}-${'k'.repeat(60)}`);
      const valueBytes = i % 5000 === 4999 ? 50_000 : i % 40;
      yield { key, valueBytes, write: (target, at) => void target.fill(i % 251, at, at + valueBytes) };
    }
  };
  const none: Items = () => [];
  const pieces = [...boltFile([{ name: 'a', items: none }, { name: 'b', items }, { name: 'c', items: none }])];
  t.true(pieces.filter((piece) => piece === null).length >= 30);
  const reader = new BoltReader(sourceOf(Buffer.concat(pieces.filter((piece) => piece !== null))));
  let count = 0;
  for (const { key, value } of reader.bucket('b')) {
    if (!Buffer.from(key).toString().startsWith(`key-${String(count).padStart(9, '0')}`)) t.fail(`key ${count}`);
    const valueBytes = count % 5000 === 4999 ? 50_000 : count % 40;
    if (value.length !== valueBytes || value.some((byte) => byte !== count % 251)) t.fail(`value ${count}`);
    count += 1;
  }
  t.is(count, 30_000);
  t.deepEqual([...reader.bucket('a'), ...reader.bucket('c'), ...reader.bucket('nowhere')], []);
});

test('the making of a file pauses, and applies go on meanwhile without a trace in it', (t) => {
  const script = new Script();
  for (let i = 0; i < 3 * SNAPSHOT_STEPS; i++) script.put(`k${i}`);
  const plain = fileOf(script.store);
  const frozen = script.store.freeze();
  const pieces: Uint8Array[] = [];
  let pauses = 0;
  for (const piece of frozen.etcdFile()) {
    if (piece.length === 0) pauses += 1;
    pieces.push(piece);
    if (pieces.length % 50 === 0) script.put(`k${pieces.length}`, 'later');
  }
  frozen.release();
  t.true(pauses >= 4, `${pauses} pauses`);
  t.deepEqual(Buffer.concat(pieces), plain);
});

test('what is damaged is an error or another file, never an end without one', (t) => {
  const file = fileOf(random(5, 150).store);
  t.true(isBolt(file));
  const dice = new Prng(11);
  for (let i = 0; i < 400; i++) {
    const damaged = Buffer.from(file);
    for (let n = 1 + dice.below(4); n > 0; n--) damaged[dice.below(damaged.length)] = dice.below(256);
    const cut = dice.below(10) === 0 ? damaged.subarray(0, dice.below(damaged.length)) : damaged;
    try {
      Store.loadEtcdFile(sourceOf(cut));
    } catch (error) {
      t.true(error instanceof Error);
    }
  }
  t.throws(() => Store.loadEtcdFile(sourceOf(file.subarray(0, 4096))));
  t.throws(() => Store.loadEtcdFile(sourceOf(Buffer.alloc(8192))), { message: /neither of its two first pages is sound/ });
});

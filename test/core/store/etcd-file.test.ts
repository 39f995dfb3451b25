// The store as etcd's database file, and back: everything that etcd has a place for, whatever the size of it; and files that
// are damaged, of which none is taken for a whole one by more than its own words. That etcd reads them is tried beside it
// (test/interop/snapshot-etcd.test.ts).

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { Prng } from '../../../core/base/prng.js';
import { BoltReader, isBolt, type PageSource } from '../../../core/store/bolt-reader.js';
import { BRANCH, boltFile, PAGE_BYTES, type Items } from '../../../core/store/bolt-pages.js';
import { fieldsOf } from '../../../core/store/etcd-records.js';
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

/** Null: it is refused. */
function loaded(file: Buffer): Store | null {
  try {
    return Store.loadEtcdFile(sourceOf(file));
  } catch {
    return null;
  }
}

/** A file of one bucket, b. */
function madeOf(items: Items): Buffer {
  return Buffer.concat([...boltFile([{ name: 'b', items }])].filter((piece) => piece !== null));
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

test('what is damaged is an error or another store that answers, never an end without one', (t) => {
  const file = fileOf(random(5, 150).store);
  t.true(isBolt(file));
  const dice = new Prng(11);
  let [refused, taken] = [0, 0];
  for (let i = 0; i < 400; i++) {
    const damaged = Buffer.from(file);
    for (let n = 1 + dice.below(4); n > 0; n--) damaged[dice.below(damaged.length)] = dice.below(256);
    const cut = dice.below(10) === 0 ? damaged.subarray(0, dice.below(damaged.length)) : damaged;
    const store = loaded(cut);
    if (store === null) refused += 1;
    else {
      taken += 1;
      t.is(typeof store.range(ALL), 'object');
      t.is(Store.loadEtcdFile(sourceOf(fileOf(store))).keyCount, store.keyCount);
    }
  }
  t.true(refused > 50 && taken > 50, `${refused} refused, ${taken} taken`);
  t.throws(() => Store.loadEtcdFile(sourceOf(file.subarray(0, 4096))));
  t.throws(() => Store.loadEtcdFile(sourceOf(Buffer.alloc(8192))), { message: /neither of its two first pages is sound/ });
});

test('pages that point to each other, or all claim those behind them, are read no longer than the file is', (t) => {
  const items: Items = function* all() {
    for (let i = 0; i < 3000; i++) yield { key: utf8(`key-${String(i).padStart(9, '0')}`), valueBytes: 0, write: () => undefined };
  };
  const file = madeOf(items);
  const root = file.length / PAGE_BYTES - 2;
  t.is(file.readUInt16LE(root * PAGE_BYTES + 8), BRANCH);
  const wheel = Buffer.from(file);
  wheel.writeBigUInt64LE(BigInt(root), root * PAGE_BYTES + 16 + 8);
  const greedy = Buffer.from(file);
  for (let page = 2; page < root; page++) greedy.writeUInt32LE(root + 1 - page, page * PAGE_BYTES + 12);
  const deep = Buffer.from(file);
  for (let page = 2; page < root; page++) {
    deep.writeUInt16LE(BRANCH, page * PAGE_BYTES + 8);
    deep.writeBigUInt64LE(BigInt(page + 1), page * PAGE_BYTES + 16 + 8);
  }
  for (const each of [wheel, greedy, deep]) {
    let read = 0;
    const whole = sourceOf(each);
    const source: PageSource = { ...whole, read: (offset, length) => {
      read += length;
      return whole.read(offset, length);
    } };
    t.throws(() => [...new BoltReader(source).bucket('b')], { message: /more pages in its trees|no part of a tree/ });
    t.true(read < 2 * each.length, `${read} of ${each.length} bytes`);
  }
});

test('pairs that lie on each other are an error: a small file has no more in it than it is long', (t) => {
  const valueBytes = 50_000;
  const file = madeOf(() => [{ key: utf8('k'), valueBytes, write: () => undefined }]);
  const leaf = file.subarray(2 * PAGE_BYTES);
  leaf.writeUInt16LE(40, 10);
  for (let i = 0; i < 40; i++) {
    const element = 16 + i * 16;
    [0, 1000 - i * 16, 1, 40_000].forEach((n, word) => leaf.writeUInt32LE(n, element + 4 * word));
  }
  t.throws(() => [...new BoltReader(sourceOf(file)).bucket('b')], { message: 'page 2 has pairs that lie on each other' });
  leaf.writeUInt32LE(2 ** 32 - 1, 16 + 12);
  t.throws(() => [...new BoltReader(sourceOf(file)).bucket('b')], { message: 'page 2 has a pair that goes beyond its end' });
});

test('a record is refused where it is cut off, and where it has a field of a kind that there is not', (t) => {
  const fields = fieldsOf(Uint8Array.of(0x08, 0x96, 0x01, 0x0d, 1, 2, 3, 4, 0x12, 1, 7));
  t.deepEqual([...fields], [[1, [150n]], [2, [Uint8Array.of(7)]]]);
  for (const bytes of [[0x08], [0x08, 0x80], [0x12, 2, 1], [0x0d, 1, 2, 3], [0x09, 1], [0x0b], [0x0c], [0x0e, 1, 2, 3, 4]]) {
    t.throws(() => fieldsOf(Uint8Array.from(bytes)), undefined, String(bytes));
  }
  t.throws(() => fieldsOf(Uint8Array.from([0x08, ...Array.from({ length: 10 }, () => 0xff), 1])), { message: /has no end/ });
});

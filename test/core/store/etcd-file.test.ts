// The store as etcd's database file, and back: everything that etcd has a place for, whatever the size of it; and files that
// are damaged, of which none is taken for a whole one by more than its own words. That etcd reads them is tried beside it
// (test/interop/snapshot-etcd.test.ts).

import test from 'ava';
import { EMPTY, utf8 } from '../../../core/base/bytes.js';
import { Prng } from '../../../core/base/prng.js';
import { opDelete, opPut } from '../../../core/client.js';
import { BoltReader, isBolt, type PageSource } from '../../../core/store/bolt-reader.js';
import {
  BRANCH, boltFile, META_BYTES, PAGE_BYTES, PAGE_HEADER_BYTES, sumOf, type Items,
} from '../../../core/store/bolt-pages.js';
import { fieldsOf, message, revisionKey } from '../../../core/store/etcd-records.js';
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

/** A file of one bucket. */
function fileWith(name: string, items: Items): Buffer {
  return Buffer.concat([...boltFile([{ name, items }])].filter((piece) => piece !== null));
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
  script.apply({ kind: 'lease_checkpoint', term: 1, leases: [{ id: -2n, remainingSeconds: 3 }] });
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
    script.ops(opPut(bytes('one'), bytes('1')), opPut(bytes('two'), bytes('2')), opDelete(bytes('key-1')));
    // What is compacted lies in memory still.
    const hold = script.store.freeze();
    script.compact(script.store.revision - 10);
    const file = fileOf(script.store);
    hold.release();
    t.is(file.length % PAGE_BYTES, 0);
    t.deepEqual(facts(Store.loadEtcdFile(sourceOf(file))), facts(script.store), `seed ${seed}`);
    const names = Array.from(new BoltReader(sourceOf(file)).bucket('key'), ({ key }) => key);
    const ascends = names.every((name, i) => i === 0 || Buffer.compare(names[i - 1] ?? EMPTY, name) < 0);
    t.true(ascends, 'each record has a key of its own');
    script.tidy();
    t.deepEqual(fileOf(script.store), file, 'what nobody can see is not in it');
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
  const gone = Store.loadEtcdFile(sourceOf(fileOf(script.store)));
  t.deepEqual([gone.revision, gone.compacted, gone.keyCount], [3, 3, 0]);
});

test('a key keeps the lease it has in the file only if the file has the lease', (t) => {
  const record = message([[1, utf8('a')], [2, 2], [3, 2], [4, 1], [5, utf8('v')], [6, 7]]);
  const write = (target: Buffer, at: number): void => target.set(record, at);
  const items: Items = () => [{ key: revisionKey(2), valueBytes: record.length, write }];
  const script = new Script(Store.loadEtcdFile(sourceOf(fileWith('key', items))));
  t.is(script.range(ALL), 'a=v');
  const result = script.store.range(ALL);
  t.deepEqual(typeof result === 'string' ? result : result.kvs.map(({ lease }) => lease), [0n]);
  script.grant(7n);
  script.revoke(7n);
  t.is(script.range(ALL), 'a=v');
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

test('of its two first pages the later sound one counts, and a page is what it says', (t) => {
  const items: Items = () => [{ key: utf8('k'), valueBytes: 0, write: () => undefined }];
  const file = fileWith('b', items);
  const has = (each: Buffer): number => [...new BoltReader(sourceOf(each)).bucket('b')].length;
  const damaged = (change: (bytes: Buffer) => void): Buffer => {
    const copy = Buffer.from(file);
    change(copy);
    return copy;
  };
  // Page 1 says that the root is where nothing is; page 0 is of transaction 2.
  const strayed = (transaction: bigint): Buffer => damaged((bytes) => {
    const meta = bytes.subarray(PAGE_BYTES + PAGE_HEADER_BYTES);
    meta.writeBigUInt64LE(999n, 16);
    meta.writeBigUInt64LE(transaction, 48);
    meta.writeBigUInt64LE(sumOf(meta.subarray(0, META_BYTES - 8)), META_BYTES - 8);
  });
  t.is(has(strayed(1n)), 1);
  t.throws(() => has(strayed(3n)), { message: /page 999 is not in the file/ });
  for (const page of [0, 1]) t.is(has(damaged((bytes) => bytes.fill(7, page * PAGE_BYTES + 40, page * PAGE_BYTES + 60))), 1);
  t.throws(() => has(damaged((bytes) => bytes.writeUInt8(5, 2 * PAGE_BYTES))), { message: 'page 2 says that it is page 5' });
});

test('pages that point to each other, or all claim those behind them, are read no longer than the file is', (t) => {
  const items: Items = function* all() {
    for (let i = 0; i < 12_000; i++) {
      yield { key: utf8(`key-${String(i).padStart(9, '0')}`), valueBytes: 0, write: () => undefined };
    }
  };
  const file = fileWith('b', items);
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
  const cases = [[wheel, /no part of a tree/], [greedy, /more pages in its trees/], [deep, /no part of a tree/]] as const;
  for (const [each, message] of cases) {
    let read = 0;
    const whole = sourceOf(each);
    const source: PageSource = { ...whole, read: (offset, length) => {
      read += length;
      return whole.read(offset, length);
    } };
    t.throws(() => [...new BoltReader(source).bucket('b')], { message });
    t.true(read < 2 * each.length, `${read} of ${each.length} bytes`);
  }
});

test('pairs that lie on each other are an error: a small file has no more in it than it is long', (t) => {
  const valueBytes = 50_000;
  const file = fileWith('b', () => [{ key: utf8('k'), valueBytes, write: () => undefined }]);
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

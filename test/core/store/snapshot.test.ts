// The store as bytes: there and back, at any cut, with any damage.

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import { SNAPSHOT_CHUNK_BYTES, SNAPSHOT_STEPS } from '../../../core/store/limits.js';
import { Store } from '../../../core/store/store.js';
import { ALL, bytes, bytesOf, loadedFrom, Script, told } from './script.js';

function small(): Script {
  const script = new Script();
  script.grant(5n, 10);
  script.grant(-6n, 20);
  script.put('/services/a', 'one', { lease: 5n });
  script.put('/services/b', 'two', { lease: -6n });
  script.put('/services/a', 'three', { lease: -6n });
  script.del('/services/b');
  script.put('/services/b', '');
  script.compact(4);
  script.put('/z', 'x'.repeat(100));
  return script;
}

function facts(store: Store): unknown {
  const script = new Script(store);
  const revisions = Array.from({ length: store.revision + 1 }, (_, revision) => script.range({ ...ALL, revision }));
  const { events } = store.history({ ...ALL, from: store.compacted, prevKv: true, revisionsMax: Infinity, bytesMax: Infinity });
  const leases = [...store.leases()].map(({ id }) => [id, store.lease(id)?.ttlSeconds, store.leaseKeys(id)]);
  const { applied, keyCount, revision, compacted } = store;
  return { revisions, history: told(events), leases, applied, keyCount, revision, compacted };
}

test('a store comes back as it was, with history, leases and attachments', (t) => {
  const { store } = small();
  t.deepEqual(facts(loadedFrom(bytesOf(store))), facts(store));
  t.deepEqual(facts(loadedFrom(bytesOf(new Store()))), facts(new Store()));
});

test('the making of a snapshot pauses, however little comes of a great many keys', (t) => {
  const script = new Script();
  const count = 5 * SNAPSHOT_STEPS;
  for (let i = 0; i < count; i++) script.put(`k${i}`);
  script.compact(script.store.revision);
  const frozen = script.store.freeze();
  const pauses = [...frozen.chunks()].filter((chunk) => chunk.length === 0).length;
  frozen.release();
  // Numbering the keys, writing the keys, writing the rows.
  t.true(pauses >= 3 * 5 - 1, `only ${pauses} pauses`);
  t.is(loadedFrom(bytesOf(script.store)).keyCount, count);
});

test('pieces that are lent have the bytes of those that are kept, however large', (t) => {
  const script = small();
  for (let i = 0; i < 40; i++) script.put(`large ${i}`, 'v'.repeat(i * 30_000));
  const frozen = script.store.freeze();
  const lent = Array.from(frozen.lentChunks(), (chunk) => Buffer.from(chunk));
  const kept = [...frozen.chunks()];
  frozen.release();
  t.true(lent.some((chunk) => chunk.length > 1.5 * SNAPSHOT_CHUNK_BYTES));
  t.deepEqual(lent.map(({ length }) => length), kept.map(({ length }) => length));
  t.true(Buffer.concat(lent).equals(Buffer.concat(kept)));
});

test('a loaded store goes on like the one it was taken from', (t) => {
  const first = small();
  const second = new Script(loadedFrom(bytesOf(first.store)));
  for (const script of [first, second]) {
    script.put('/services/a', 'four', { ignoreLease: true });
    script.revoke(-6n);
    script.compact(6);
    script.grant(7n);
    script.put('/a', '', { lease: 7n });
  }
  t.deepEqual(facts(second.store), facts(first.store));
  t.true(bytesOf(first.store).equals(bytesOf(second.store)));
});

test('a compaction to 0 is remembered as one', (t) => {
  const script = new Script();
  const again = new Script(loadedFrom(bytesOf(script.store)));
  t.is(again.compact(0).kind, 'compact');
  t.is(new Script(loadedFrom(bytesOf(again.store))).compact(0).kind, 'error');
});

test('the pieces may be cut anywhere', (t) => {
  const { store } = small();
  const all = bytesOf(store);
  for (const pieceBytes of [1, 2, 3, 7, 8, 9, 64, all.length - 1]) t.deepEqual(facts(loadedFrom(all, pieceBytes)), facts(store));
});

test('every byte counts: none can be wrong or missing', (t) => {
  const all = bytesOf(small().store);
  for (let at = 0; at < all.length; at++) {
    t.throws(() => loadedFrom(all.subarray(0, at)), { message: /snapshot ends too early/ }, `cut at ${at}`);
    for (const flip of [1, 128]) {
      const damaged = Buffer.from(all);
      damaged[at] = (damaged[at] ?? 0) ^ flip;
      t.throws(() => loadedFrom(damaged), { message: /snapshot/ }, `byte ${at}`);
    }
  }
  t.throws(() => loadedFrom(Buffer.concat([all, Buffer.alloc(1)])), { message: /ends too early: 1 bytes/ });
  t.throws(() => loadedFrom(Buffer.concat([all, all])), { message: /snapshot is damaged/ });
});

test('frames in another order are noticed', (t) => {
  const script = small();
  const frozen = script.store.freeze();
  const [head, members, leases, keys, rows, end] = [...frozen.chunks()];
  frozen.release();
  t.not(end, undefined);
  const order = (...frames: (Uint8Array | undefined)[]): Buffer => Buffer.concat(frames.map((frame) => frame ?? bytes('')));
  t.notThrows(() => loadedFrom(order(head, members, leases, keys, rows, end)));
  t.throws(() => loadedFrom(order(head, members, keys, leases, rows, end)), { message: /damaged/ });
  t.throws(() => loadedFrom(order(head, members, leases, keys, end)), { message: /damaged/ });
  t.throws(() => loadedFrom(order(head, head, members, leases, keys, rows, end)), { message: /damaged/ });
});

test('a frozen store streams the moment it was frozen, whatever is applied meanwhile', (t) => {
  const script = new Script();
  const dice = new Prng(9);
  const write = (count: number): void => {
    for (let i = 0; i < count; i++) {
      const key = `k${dice.below(500)}`;
      if (dice.below(4) === 0) script.del(key);
      else script.put(key, 'v'.repeat(dice.below(4000)));
    }
  };
  write(3000);
  script.grant(1n);
  const expected = bytesOf(script.store);
  const frozen = script.store.freeze();
  const chunks: Uint8Array[] = [];
  for (const chunk of frozen.chunks()) {
    chunks.push(chunk);
    write(200);
    script.compact(script.store.revision - 50);
    script.revoke(1n);
    script.grant(2n);
    script.revoke(2n);
  }
  frozen.release();
  t.true(chunks.length > 5);
  t.true(chunks.every((chunk) => chunk.length < SNAPSHOT_CHUNK_BYTES + 8000));
  t.true(expected.equals(Buffer.concat(chunks)));
  t.deepEqual(frozen.meta, loadedFrom(expected).applied);
  t.is(frozen.revision, loadedFrom(expected).revision);
});

test('a key that was as good as gone and comes back while frozen is not in the snapshot', (t) => {
  const script = new Script();
  script.put('gone');
  script.del('gone');
  script.put('stays');
  const hold = script.store.freeze();
  script.compact(4);
  const expected = bytesOf(script.store);
  const frozen = script.store.freeze();
  hold.release();
  script.put('gone', 'again');
  t.true(expected.equals(Buffer.concat([...frozen.chunks()])));
  t.is(loadedFrom(expected).keyCount, 1);
});

test('a value larger than a piece makes one large piece', (t) => {
  const script = new Script();
  const value = 'y'.repeat(3 * SNAPSHOT_CHUNK_BYTES);
  script.put('large', value);
  script.put('next', 'n');
  t.is(new Script(loadedFrom(bytesOf(script.store), 1000)).range({ ...ALL }), `large=${value} next=n`);
});

test('a snapshot of a newer form is refused with the reason', (t) => {
  t.throws(() => loadedFrom(bytes('no snapshot at all, only text')), { message: /damaged at byte 0/ });
});

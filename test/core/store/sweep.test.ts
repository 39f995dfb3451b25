// The removal of compacted history: unseen in any answer, seen in memory.

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import { ALL, bytes, bytesOf, loadedFrom, Script } from './script.js';

function churned(count: number, dice: Prng): Script {
  const script = new Script();
  for (let i = 0; i < count; i++) {
    const key = `key${dice.below(300)}`;
    if (dice.below(5) === 0) script.del(key);
    else script.put(key, 'v'.repeat(dice.below(400)));
  }
  return script;
}

function allAt(script: Script): string[] {
  const found: string[] = [];
  for (let revision = script.store.compacted; revision <= script.store.revision; revision += 97) {
    found.push(script.range({ ...ALL, revision }));
  }
  return found;
}

test('no answer depends on how far the removal has come', (t) => {
  const script = churned(6000, new Prng(1));
  script.compact(5000);
  const expected = allAt(script);
  const snapshot = bytesOf(script.store);
  for (let steps = 1; !script.store.tidy(steps); steps += 7) {
    t.deepEqual(allAt(script), expected);
    t.true(snapshot.equals(bytesOf(script.store)));
  }
  t.deepEqual(allAt(script), expected);
  t.true(snapshot.equals(bytesOf(script.store)));
});

test('what is removed is what a restored store does not have', (t) => {
  const script = churned(6000, new Prng(2));
  for (const revision of [100, 101, 3000, script.store.revision]) {
    script.compact(revision);
    script.tidy();
    t.is(script.store.dbSizeInUseBytes, loadedFrom(bytesOf(script.store)).dbSizeInUseBytes);
  }
});

test('what is superseded at the compacted revision itself is removed', (t) => {
  const [twice, once] = [new Script(), new Script()];
  twice.put('a', '1');
  twice.put('a', '2');
  twice.compact(3);
  once.put('a', '2');
  t.is(twice.store.dbSizeInUseBytes, once.store.dbSizeInUseBytes);
});

test('applies alone finish the removal, in passing', (t) => {
  const script = churned(6000, new Prng(3));
  script.compact(script.store.revision);
  const before = script.store.dbSizeInUseBytes;
  for (let i = 0; i < 200; i++) script.put('same', '');
  t.true(script.store.dbSizeInUseBytes < before / 3);
});

test('a compaction during the removal of another is carried out, too', (t) => {
  const script = churned(6000, new Prng(4));
  script.compact(2000);
  script.store.tidy(100);
  script.compact(script.store.revision);
  script.tidy();
  t.is(script.store.dbSizeInUseBytes, loadedFrom(bytesOf(script.store)).dbSizeInUseBytes);
});

test('memory does not grow with rewrites that are compacted', (t) => {
  const script = new Script();
  const sizes: number[] = [];
  for (let round = 0; round < 30; round++) {
    for (let i = 0; i < 500; i++) script.put(`key${i}`, `${round}`.repeat(200));
    script.compact(script.store.revision);
    script.tidy();
    sizes.push(script.store.dbSizeBytes);
  }
  t.true(Math.max(...sizes.slice(20)) <= Math.max(...sizes.slice(0, 20)), sizes.join());
});

test('values that stay are taken out of chunks that are mostly garbage', (t) => {
  const script = new Script();
  const value = 'x'.repeat(1000);
  const kept = Array.from({ length: 50 }, (_, i) => `kept${i}`);
  // One value that stays to four hundred that go, all over many chunks.
  for (const key of kept) {
    script.put(key, value + key);
    for (let i = 0; i < 400; i++) script.put('churn', value);
  }
  const before = script.store.dbSizeBytes;
  const held = script.store.range({ key: bytes('kept3') });
  for (let round = 0; round < 2; round++) {
    script.put('churn', 'last');
    script.compact(script.store.revision);
    script.tidy();
  }
  t.true(script.store.dbSizeBytes < before / 4, `${script.store.dbSizeBytes} of ${before}`);
  for (const key of kept) t.is(script.range({ key: bytes(key) }), `${key}=${value}${key}`);
  t.is(typeof held === 'string' ? held : Buffer.from(held.kvs[0]?.value ?? []).toString(), `${value}kept3`);
});

test('keys that are gone are forgotten, and may come again', (t) => {
  const script = new Script();
  const empty = script.store.dbSizeInUseBytes;
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 2000; i++) script.put(`key${i}`, 'v');
    script.del('key', 'kez');
    script.put('one', 'v');
    script.del('one');
    script.compact(script.store.revision);
    script.tidy();
    // The tombstone at the compacted revision itself stays for watches from there.
    script.ops();
    t.true(script.store.dbSizeInUseBytes - empty < 200);
    t.is(script.store.keyCount, 0);
  }
});

test('a frozen store keeps everything where it is until it is released', (t) => {
  const script = churned(3000, new Prng(5));
  const frozen = script.store.freeze();
  const expected = bytesOf(script.store);
  script.compact(script.store.revision);
  const before = script.store.dbSizeInUseBytes;
  t.false(script.store.tidy(1_000_000));
  t.is(script.store.dbSizeInUseBytes, before);
  t.true(expected.equals(Buffer.concat([...frozen.chunks()])));
  frozen.release();
  frozen.release();
  t.throws(() => frozen.chunks(), { message: /after its release/ });
  script.tidy();
  t.true(script.store.dbSizeInUseBytes < before / 3);
});

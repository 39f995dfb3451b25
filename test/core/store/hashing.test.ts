// The hash of a store's pairs and history: of a revision, whatever comes later, and in slices of any size.

import test from 'ava';
import { Hashing } from '../../../core/store/hashing.js';
import type { Store } from '../../../core/store/store.js';
import { Script } from './script.js';

function filled(): Script {
  const script = new Script();
  script.grant(5n);
  for (let i = 0; i < 200; i++) script.put(`key-${i % 40}`, `value ${i}`, i % 3 === 0 ? { lease: 5n } : {});
  script.del('key-1', 'key-2');
  return script;
}

function begun(store: Store, revision = 0): Hashing {
  const hashing = store.hashing(revision);
  if (hashing instanceof Hashing) return hashing;
  throw new Error(hashing);
}

function hashOf(store: Store, revision: number): unknown {
  const result = store.hash(revision);
  return typeof result === 'string' ? result : result.hash;
}

test('the hash of a revision is the same whatever was written since, and another for each', (t) => {
  const script = filled();
  const { revision } = script.store;
  const before = [revision - 1, revision].map((each) => hashOf(script.store, each));
  t.not(before[0], before[1]);
  script.put('key-7', 'later');
  t.deepEqual([revision - 1, revision].map((each) => hashOf(script.store, each)), before);
  t.not(hashOf(script.store, 0), before[1]);
  t.is(hashOf(script.store, revision + 2), 'future_revision');
  script.compact(3);
  t.is(hashOf(script.store, 2), 'compacted');
});

test('every fact of a pair is in the hash', (t) => {
  const worlds = [
    (script: Script) => void script.put('a', '1'), (script: Script) => void script.put('b', '1'),
    (script: Script) => void script.put('a', '2'), (script: Script) => void script.put('a', '1', { lease: 5n }),
    (script: Script) => void [script.put('a', '1'), script.put('a', '1')],
    (script: Script) => void [script.put('a', '1'), script.del('a')],
  ];
  const hashes = worlds.map((run) => {
    const script = new Script();
    script.grant(5n);
    run(script);
    return hashOf(script.store, 0);
  });
  t.is(new Set(hashes).size, worlds.length);
});

test('in slices it is the same, of the store as it was when it began', (t) => {
  const script = filled();
  const whole = script.store.hash(0);
  const hashing = begun(script.store);
  for (let i = 0; ; i++) {
    const hash = hashing.step(7);
    script.put(`key-${i % 40}`, 'meanwhile');
    if (i === 5) script.compact(script.store.revision);
    t.false(script.store.tidy(1000), 'nothing moves meanwhile');
    if (hash === null) continue;
    t.true(i > 20, `${i} slices`);
    t.deepEqual(hash, whole);
    break;
  }
  hashing.release();
  hashing.release();
  t.false(script.store.isFrozen);
  script.tidy();
});

test('what compaction took from sight is not in it, removed from memory or not', (t) => {
  const script = filled();
  script.store.freeze();
  script.compact(script.store.revision - 3);
  const kept = script.store.hash(0);
  const swept = filled();
  swept.compact(swept.store.revision - 3);
  swept.tidy();
  t.deepEqual(kept, swept.store.hash(0));
});

test('long values make a slice of fewer rows', (t) => {
  const script = new Script();
  for (let i = 0; i < 64; i++) script.put('a', 'x'.repeat(400_000));
  const hashing = begun(script.store);
  let slices = 1;
  while (hashing.step(100) === null) slices += 1;
  hashing.release();
  t.true(slices >= 32, `${slices} slices`);
});

// Defragmentation: memory comes back, and nothing else changes.

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import { ALL, bytesOf, Script, shown } from './script.js';

/** Many keys of which few are left, history compacted away. */
function hollow(): Script {
  const script = new Script();
  script.grant(1n);
  script.grant(2n);
  for (let i = 0; i < 20_000; i++) script.put(`key-${i}`, 'v'.repeat(50), i % 3 === 0 ? { lease: i % 2 === 0 ? 1n : 2n } : {});
  for (let i = 0; i < 20_000; i++) if (i % 100 !== 0) script.del(`key-${i}`);
  for (let i = 0; i < 300; i += 100) script.put(`key-${i}`, 'again', { ignoreLease: true });
  script.compact(script.store.revision - 2);
  script.tidy();
  return script;
}

test('what is held shrinks to about what is in use', (t) => {
  const { store } = hollow();
  const before = store.dbSizeBytes;
  store.defragment();
  while (!store.tidy(500));
  t.true(store.dbSizeBytes < before / 4, `${before} became ${store.dbSizeBytes}`);
  t.true(store.dbSizeBytes < 700_000, `${store.dbSizeBytes} are held for ${store.dbSizeInUseBytes}`);
});

test('a step takes about as many rows as it may, of keys with a long history as well', (t) => {
  const script = new Script();
  for (let i = 0; i < 400; i++) script.put(`key-${i}`);
  for (let i = 0; i < 200; i++) script.del(`key-${i}`);
  script.compact(script.store.revision);
  script.put('last');
  script.compact(script.store.revision);
  script.tidy();
  for (let i = 0; i < 20_000; i++) script.put(`key-${200 + (i % 200)}`);
  script.store.defragment();
  let steps = 1;
  while (!script.store.tidy(500)) steps += 1;
  // All rows once for their values, once for the numbers of their keys.
  t.true(steps >= 2 * 40, `${steps} steps`);
  t.is(script.store.keyCount, 201);
});

test('no answer, no lease and no snapshot is another afterwards, nor when writes come in between', (t) => {
  const [script, plain] = [hollow(), hollow()];
  const dice = new Prng(7);
  script.store.defragment();
  for (let i = 0; !script.store.tidy(1 + dice.below(200)); i++) {
    const key = `key-${dice.below(400)}`;
    for (const each of [script, plain]) {
      if (i % 4 === 0) each.del(key);
      else each.put(i % 4 === 1 ? key : `new-${i}`, `${i}`, i % 8 === 1 ? { lease: 2n } : {});
      if (i % 50 === 49) each.compact(each.store.revision - 5);
    }
  }
  t.deepEqual(script.store.range(ALL), plain.store.range(ALL));
  t.deepEqual(script.store.leaseKeys(1n), plain.store.leaseKeys(1n));
  t.deepEqual(script.store.leaseKeys(2n), plain.store.leaseKeys(2n));
  t.deepEqual(bytesOf(script.store), bytesOf(plain.store));
  for (const each of [script, plain]) {
    each.revoke(2n);
    each.put('key-5', 'back');
  }
  t.is(script.range(ALL), plain.range(ALL));
});

test('a store that is all in use, or empty, stays as it is', (t) => {
  const full = new Script();
  for (let i = 0; i < 100; i++) full.put(`k${i}`, 'x'.repeat(2000));
  const before = full.range(ALL);
  full.store.defragment();
  full.tidy();
  t.is(full.range(ALL), before);
  const empty = new Script();
  empty.store.defragment();
  empty.tidy();
  empty.put('a', '1');
  t.is(empty.range(ALL), 'a=1');
  const result = full.store.range(ALL);
  t.is(typeof result === 'string' ? result : shown(result.kvs.slice(0, 1)), `k0=${'x'.repeat(2000)}`);
});

test('nothing moves while somebody reads a frozen copy', (t) => {
  const script = hollow();
  const bytes = bytesOf(script.store);
  const frozen = script.store.freeze();
  script.store.defragment();
  t.false(script.store.tidy(1_000_000));
  t.deepEqual(Buffer.concat([...frozen.chunks()]), Buffer.from(bytes));
  frozen.release();
  script.tidy();
  t.deepEqual(bytesOf(script.store), bytes);
});

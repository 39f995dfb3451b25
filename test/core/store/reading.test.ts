// A range read in slices is the one that would have been read at once when it began, whatever is applied in between.

import { isDeepStrictEqual } from 'node:util';
import test from 'ava';
import fc from 'fast-check';
import { Prng } from '../../../core/base/prng.js';
import type { Header, RangeRequest, RangeResponse } from '../../../core/client.js';
import { decodeCommand, encodeCommand, type Command } from '../../../core/store/command.js';
import { Reading } from '../../../core/store/range.js';
import { Store } from '../../../core/store/store.js';
import { PairList } from '../../../core/store/telling.js';
import { command, rangeRequest } from '../../model/store-arbitrary.js';
import { ALL, bytes, Script } from './script.js';

const HEADER: Header = { clusterId: 1n, memberId: 2n, revision: 3, raftTerm: 4 };

interface Slice {
  readonly steps: number;
  readonly meanwhile: readonly Command[];
}

/** The answer, or the error; `between` runs after each slice. */
function readInSlices(store: Store, request: RangeRequest, slices: Iterator<number>, between: () => void): unknown {
  const reading = store.reading(request);
  if (!(reading instanceof Reading)) return reading;
  const unpin = store.pin();
  const form = new PairList();
  const slice = (): number => Number(slices.next().value ?? 1);
  while (!reading.step({ left: slice() })) between();
  const telling = store.telling(reading, HEADER, form);
  while (!telling.step({ left: slice() })) between();
  unpin();
  const { kvs, more, count }: RangeResponse = form.end();
  return { kvs, more, count };
}

test('in slices of any size, a range is of the revision it began at', (t) => {
  const meanwhile = fc.array(command, { maxLength: 4 });
  const slice: fc.Arbitrary<Slice> = fc.record({ steps: fc.constantFrom(1, 1, 2, 5), meanwhile });
  const request = fc.oneof(rangeRequest, rangeRequest.map((each): RangeRequest => ({ ...each, ...ALL, revision: 0 })));
  const past = fc.array(command, { minLength: 20, maxLength: 60 });
  let changed = 0;
  fc.assert(fc.property(past, request, fc.array(slice, { minLength: 4, maxLength: 12 }), (before, asked, slices) => {
    const store = new Store();
    let index = 0;
    const apply = (each: Command): void => void store.apply({ term: 1, index: ++index }, decodeCommand(encodeCommand(each)));
    before.forEach(apply);
    const expected = store.range(asked);
    let at = 0;
    const found = readInSlices(store, asked, slices.map(({ steps }) => steps).values(), () => {
      slices[at++ % slices.length]?.meanwhile.forEach(apply);
      t.false(store.tidy(1000) && store.isTidyDue);
    });
    t.deepEqual(found, expected);
    if (!isDeepStrictEqual(store.range(asked), expected)) changed += 1;
  }), { numRuns: 300 });
  t.true(changed > 20, 'what is applied meanwhile would have changed the answer');
});

test('rows that are pinned are not removed until they are let go', (t) => {
  const script = new Script();
  for (let i = 0; i < 600; i++) script.put(`key-${i % 100}`, `value ${i}`);
  const { store } = script;
  const request = { ...ALL, revision: 250 };
  const expected = store.range(request);
  const found = readInSlices(store, request, Array.from({ length: 1000 }, () => 7).values(), () => {
    if (store.compacted === 0) script.compact(store.revision);
    t.true(store.isTidyDue);
    t.false(store.tidy(1000));
  });
  t.deepEqual(found, expected);
  script.tidy();
  t.false(store.isTidyDue);
  t.is(store.range(request), 'compacted');
});

test('sorting in slices is as stable as sorting at once', (t) => {
  const script = new Script();
  for (let i = 0; i < 2600; i++) script.put(`key-${(i * 7919) % 2600}`, `${i % 13}`);
  for (const sortOrder of ['ascend', 'descend', 'none'] as const) {
    for (const limit of [0, 3, 1500]) {
      const request: RangeRequest = { ...ALL, sortTarget: 'value', sortOrder, limit };
      const found = readInSlices(script.store, request, Array.from({ length: 500 }, () => 700).values(), () => undefined);
      const naive = sorted(script, request);
      t.deepEqual(found, naive);
      t.deepEqual(script.store.range(request), naive);
    }
  }
});

/** By the words of contract 4.2. */
function sorted(script: Script, { sortOrder, limit = 0 }: RangeRequest): unknown {
  const all = script.store.range(ALL);
  if (typeof all === 'string') return all;
  const cut = (kvs: typeof all.kvs): typeof all.kvs => (limit > 0 ? kvs.slice(0, limit) : kvs);
  const sign = sortOrder === 'descend' ? -1 : 1;
  const gathered = sortOrder === 'none' && limit > 0 ? all.kvs.slice(0, limit + 1) : all.kvs;
  const kvs = [...gathered].sort((a, b) => sign * Buffer.compare(a.value, b.value));
  return { kvs: cut(kvs), more: limit > 0 && kvs.length > limit, count: all.count };
}

test('the past of a key is the same however long its history is, also while some of it is being removed', (t) => {
  const script = new Script();
  const dice = new Prng(7);
  const puts: string[] = ['', ''];
  for (let revision = 2; revision < 1500; revision++) {
    // Often the same key, for a while; now and then all are others.
    const often = `often-${Math.floor(revision / 500)}`;
    const key = dice.below(10) < 7 ? often : `seldom-${dice.below(50)}`;
    puts.push(key);
    script.put(key, String(revision));
  }
  const { store } = script;
  const valueAt = (key: string, revision: number): string => script.range({ key: bytes(key), revision });
  const check = (from: number): void => {
    for (let i = 0; i < 300; i++) {
      const revision = from + dice.below(1500 - from);
      const key = puts[2 + dice.below(1498)] ?? '';
      const newest = puts.lastIndexOf(key, revision);
      t.is(valueAt(key, revision), newest < 0 ? '' : `${key}=${newest}`, `${key} at ${revision}`);
    }
  };
  check(2);
  script.compact(700);
  for (let i = 0; i < 8; i++) {
    check(700);
    store.tidy(150);
  }
  script.tidy();
  check(700);
});

test('what is told of a pair without an object is what its object holds, of keys alone no value', (t) => {
  const script = new Script();
  for (let i = 0; i < 50; i++) script.put(`key-${i % 20}`, 'v'.repeat(i * 3));
  const { store } = script;
  for (const keysOnly of [false, true]) {
    const reading = store.reading({ ...ALL, keysOnly });
    if (!(reading instanceof Reading)) throw new Error(reading);
    reading.step({ left: Infinity });
    const cut = (source: Uint8Array, at: number, length: number): Uint8Array => Uint8Array.from(source.subarray(at, at + length));
    let told = 0;
    store.telling(reading, HEADER, {
      measure: () => undefined,
      begin: () => undefined,
      write: (pair) => {
        told += 1;
        const { keyBytes, keyAt, keyLength, valueBytes, valueAt, valueLength } = pair;
        const { createRevision, modRevision, version, lease } = pair;
        const kv = { key: cut(keyBytes, keyAt, keyLength), value: cut(valueBytes, valueAt, valueLength) };
        t.deepEqual({ ...kv, createRevision, modRevision, version, lease }, pair.toKeyValue());
        if (keysOnly) t.is(valueLength, 0);
      },
      end: () => undefined,
      only: () => undefined,
    }).step({ left: Infinity });
    t.is(told, 20);
  }
});

// Claims of contract 4.1 and 4.2 one by one; their combinations are in store-model.test.ts.

import test from 'ava';
import type { RangeRequest, SortOrder, SortTarget } from '../../../core/client.js';
import { ALL, bytes, Script, shown } from './script.js';
import { takesLess } from '../../takes-less.js';

function three(): Script {
  const script = new Script();
  script.put('a', '3');
  script.put('b', '2');
  script.put('c', '1');
  return script;
}

/** Keys put again and again, each a different number of times, with values that many share. */
function lined(): { readonly store: Script['store']; readonly middle: number } {
  const script = new Script();
  for (let i = 0; i < 200; i++) script.put(`k${(i * 37) % 90}`, String((i * 7) % 5));
  script.del('k37');
  return { store: script.store, middle: 100 };
}

const to = (rangeEnd: string): RangeRequest => ({ key: bytes('a'), rangeEnd: bytes(rangeEnd) });

test('a range is a key, an interval, or open at the end', (t) => {
  const script = three();
  script.put('\0', '0');
  t.is(script.range({ key: bytes('b') }), 'b=2');
  t.is(script.range({ key: bytes('bb') }), '');
  t.is(script.range(to('c')), 'a=3 b=2');
  t.is(script.range(to('a')), '');
  t.is(script.range(to('A')), '');
  t.is(script.range({ key: bytes('b'), rangeEnd: bytes('\0') }), 'b=2 c=1');
  t.is(script.range({ key: bytes('b'), rangeEnd: bytes('\0\0') }), '');
  t.is(script.range(ALL), '\0=0 a=3 b=2 c=1');
});

test('count is of all, more only when something was cut', (t) => {
  const { store } = three();
  const facts = (request: RangeRequest): unknown => {
    const result = store.range(request);
    return typeof result === 'string' ? result : [shown(result.kvs), result.more, result.count];
  };
  t.deepEqual(facts({ ...ALL, limit: 2 }), ['a=3 b=2', true, 3]);
  t.deepEqual(facts({ ...ALL, limit: 3 }), ['a=3 b=2 c=1', false, 3]);
  t.deepEqual(facts({ ...ALL, limit: -1 }), ['a=3 b=2 c=1', false, 3]);
  t.deepEqual(facts({ ...ALL, countOnly: true, limit: 1, minModRevision: 4 }), ['', false, 3]);
  t.deepEqual(facts({ ...ALL, minModRevision: 4, limit: 1 }), ['c=1', false, 3]);
  t.deepEqual(facts({ key: bytes('a'), minModRevision: 4 }), ['', false, 1]);
  t.deepEqual(facts({ ...ALL, limit: 1, revision: 3 }), ['a=3', true, 2]);
});

test('order none sorts only what the limit let through', (t) => {
  const script = three();
  const sorted = (sortTarget: SortTarget, sortOrder: SortOrder): string =>
    script.range({ ...ALL, sortTarget, sortOrder, limit: 1 });
  t.is(sorted('value', 'none'), 'b=2');
  t.is(sorted('value', 'ascend'), 'c=1');
  t.is(sorted('value', 'descend'), 'a=3');
  t.is(sorted('key', 'descend'), 'c=1');
  t.is(sorted('create', 'descend'), 'c=1');
});

test('the first of what is sorted is the same alone as before all others, where some are equal too', (t) => {
  const { store, middle } = lined();
  const read = (request: RangeRequest): { readonly kvs: readonly object[]; readonly more: boolean; readonly count: number } => {
    const result = store.range(request);
    if (typeof result === 'string') throw new Error(result);
    return result;
  };
  let several = 0;
  for (const sortTarget of ['version', 'create', 'mod', 'value'] as const) {
    for (const sortOrder of ['ascend', 'descend'] as const) {
      for (const rest of [{}, { revision: middle }, { maxCreateRevision: 60 }, { minModRevision: 150 }, { maxModRevision: 2 }]) {
        const request = { ...ALL, ...rest, sortTarget, sortOrder };
        const [all, one] = [read(request), read({ ...request, limit: 1 })];
        t.deepEqual(one, { kvs: all.kvs.slice(0, 1), more: all.kvs.length > 1, count: all.count }, JSON.stringify(rest));
        several += Number(one.more);
      }
    }
  }
  t.true(several >= 8 * 4);
});

test('keys without values are sorted by the values', (t) => {
  const script = three();
  t.is(script.range({ ...ALL, keysOnly: true, sortTarget: 'value', sortOrder: 'ascend' }), 'c= b= a=');
});

test('history is read at its revision, not beyond either end', (t) => {
  const script = three();
  script.put('a', '4');
  script.del('b');
  t.is(script.range({ ...ALL, revision: 2 }), 'a=3');
  t.is(script.range({ ...ALL, revision: 4 }), 'a=3 b=2 c=1');
  t.is(script.range({ ...ALL, revision: 5 }), 'a=4 b=2 c=1');
  t.is(script.range({ ...ALL, revision: 6 }), 'a=4 c=1');
  t.is(script.range({ ...ALL, revision: -7 }), 'a=4 c=1');
  t.is(script.range({ ...ALL, revision: 7 }), 'future_revision');
  script.compact(5);
  t.is(script.range({ ...ALL, revision: 4 }), 'compacted');
  t.is(script.range({ ...ALL, revision: 5 }), 'a=4 b=2 c=1');
  t.is(script.range({ key: bytes('zz'), revision: 4 }), 'compacted');
});

test('counting a million keys looks at none of them', (t) => {
  const script = new Script();
  for (let i = 0; i < 50_000; i++) script.put(`k${i}`);
  script.del('k1', 'k2');
  const result = script.store.range({ ...ALL, countOnly: true });
  t.is(typeof result === 'string' ? result : result.count, 50_000 - 11_111);
  t.true(takesLess(3000, () => {
    for (let i = 0; i < 1000; i++) script.store.range({ ...ALL, limit: 1 });
  }));
});

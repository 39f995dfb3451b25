// What a job sends, request by request.

import test from 'ava';
import { framed, KEY, putMessage, spaceKey } from './messages.js';
import { nextOf, type Next } from './requests.js';

function numbersOf(next: Next, count: number): number[] {
  return Array.from({ length: count }, () => Number(/space\/(\d{8})/.exec(next()?.toString('latin1') ?? '')?.[1]));
}

test('the same request has no end', (t) => {
  const next = nextOf({ kind: 'same', base64: putMessage(KEY).toString('base64') });
  for (let i = 0; i < 3; i++) t.deepEqual(next(), Buffer.from(framed(putMessage(KEY))));
});

test('any key of a space is asked for, all over it, none beyond, and the same ones in every run', (t) => {
  for (const kind of ['any_get', 'any_put'] as const) {
    const numbers = numbersOf(nextOf({ kind, keys: 50 }), 1_000);
    t.deepEqual(new Set(numbers).size, 50);
    t.is(Math.max(...numbers), 49);
    t.deepEqual(numbersOf(nextOf({ kind, keys: 50 }), 1_000), numbers);
  }
  const wide = numbersOf(nextOf({ kind: 'any_get', keys: 1_000_000 }), 1_000);
  t.true(wide.filter((number) => number < 500_000).length > 400);
  t.true(wide.filter((number) => number >= 500_000).length > 400);
});

test('filling puts each key once and ends', (t) => {
  const next = nextOf({ kind: 'fill', keys: 250 });
  const requests = [next(), next(), next(), next()].map((bytes) => bytes?.toString('latin1') ?? null);
  t.is(requests[3], null);
  const keys = requests.flatMap((request) => [...(request ?? '').matchAll(/space\/\d{8}/g)].map(([key]) => key));
  t.deepEqual(keys, Array.from({ length: 250 }, (_, i) => spaceKey(i)));
});

// The heap against the obvious: an array that is sorted after each push.

import test from 'ava';
import fc from 'fast-check';
import { Heap } from '../../../core/base/heap.js';

interface Item {
  readonly at: number;
  readonly order: number;
}

function isBefore(a: Item, b: Item): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

function byTime(a: Item, b: Item): number {
  return a.at - b.at || a.order - b.order;
}

test('an empty heap has nothing to give, and goes on being usable', (t) => {
  const heap = new Heap<Item>(isBefore);
  t.is(heap.peek(), undefined);
  t.is(heap.pop(), undefined);
  t.is(heap.size, 0);
  heap.push({ at: 1, order: 1 });
  t.deepEqual([heap.pop(), heap.pop(), heap.size], [{ at: 1, order: 1 }, undefined, 0]);
});

test('whatever is pushed and popped in between, the heap gives what a sorted array gives', (t) => {
  // Few different times, so that many are equal; a null pops.
  const steps = fc.array(fc.option(fc.integer({ min: 0, max: 9 }), { freq: 2 }), { maxLength: 200 });
  fc.assert(fc.property(steps, (times) => {
    const heap = new Heap<Item>(isBefore);
    const sorted: Item[] = [];
    for (const [order, at] of [...times, ...times.map(() => null)].entries()) {
      if (at === null) {
        t.is(heap.pop(), sorted.shift());
      } else {
        const item = { at, order };
        heap.push(item);
        sorted.push(item);
        sorted.sort(byTime);
      }
      t.is(heap.size, sorted.length);
      t.is(heap.peek(), sorted[0]);
      t.deepEqual([...heap].sort(byTime), sorted);
    }
  }));
});

test('items that are equal all come out, and in the same order in every run', (t) => {
  const run = (): number[] => {
    const heap = new Heap<Item>((a, b) => a.at < b.at);
    for (let order = 0; order < 50; order++) heap.push({ at: order % 3, order });
    return Array.from({ length: 50 }, () => heap.pop()?.order ?? -1);
  };
  const first = run();
  t.deepEqual(first, run());
  t.regex(first.map((order) => order % 3).join(''), /^0+1+2+$/);
  t.is(new Set(first).size, 50);
});

test('a cleared heap is empty', (t) => {
  const heap = new Heap<Item>(isBefore);
  for (let order = 0; order < 5; order++) heap.push({ at: 5 - order, order });
  heap.clear();
  t.is(heap.size, 0);
  t.is(heap.pop(), undefined);
  t.deepEqual([...heap], []);
});

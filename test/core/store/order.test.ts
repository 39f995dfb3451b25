// Chunked order against a sorted list.

import test from 'ava';
import fc from 'fast-check';
import { Prng } from '../../../core/base/prng.js';
import { Order } from '../../../core/store/order.js';

/** Slots are numbers whose key is the number itself. */
class World {
  readonly live = new Set<number>();
  readonly chunks = new Map<number, number>();
  readonly order = new Order({
    isLive: (slot) => this.live.has(slot),
    chunkOf: (slot) => this.chunks.get(slot) ?? -1,
    setChunk: (slot, chunk) => this.chunks.set(slot, chunk),
  });
  /** All slots, ascending. */
  all: number[] = [];

  place(key: number): number {
    return this.order.find((slot) => key - slot);
  }

  add(slot: number): void {
    if (this.chunks.has(slot)) return;
    const place = this.place(slot);
    this.live.add(slot);
    this.order.insert(place, slot);
    this.all = [...this.all, slot].sort((a, b) => a - b);
  }

  change(slot: number): void {
    if (!this.chunks.has(slot)) return;
    this.order.changeLive(slot, this.live.has(slot) ? -1 : 1);
    if (!this.live.delete(slot)) this.live.add(slot);
  }

  remove(slot: number): void {
    if (!this.chunks.has(slot)) return;
    if (this.live.has(slot)) this.change(slot);
    this.order.remove(slot);
    this.chunks.delete(slot);
    this.all = this.all.filter((each) => each !== slot);
  }

  walked(from: number, to: number): number[] {
    const found: number[] = [];
    for (let place = from; place < to; place = this.order.after(place)) found.push(this.order.at(place));
    return found;
  }

  /** What is wrong, or null. */
  wrong(from: number, to: number): string | null {
    const expected = this.all.filter((slot) => slot >= from && slot < to);
    const [low, high] = [this.place(from), Math.max(this.place(from), this.place(to))];
    const live = expected.filter((slot) => this.live.has(slot)).length;
    if (this.walked(low, high).join() !== expected.join()) return `walk from ${from} to ${to}`;
    if (this.order.countLive(low, high) !== live) return `live from ${from} to ${to}`;
    if (this.order.countAll(low, high) !== expected.length) return `all from ${from} to ${to}`;
    if (this.order.size !== this.all.length || this.order.live !== this.live.size) return 'totals';
    if (Array.from(this.order.copy()).join() !== this.all.join()) return 'copy';
    return null;
  }
}

test('an order of few slots is as a sorted list would be', (t) => {
  const what = fc.constantFrom('add' as const, 'add' as const, 'change' as const, 'remove' as const);
  const step = fc.record({ what, slot: fc.nat(20) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.nat(21), fc.nat(21), (steps, from, to) => {
      const world = new World();
      for (const each of steps) world[each.what](each.slot);
      t.is(world.wrong(from, to), null);
    }),
  );
});

test('an order of many chunks stays true while it grows and shrinks', (t) => {
  const dice = new Prng(7);
  const world = new World();
  const check = (): void => {
    for (let i = 0; i < 20; i++) t.is(world.wrong(dice.below(5000), dice.below(5000)), null);
    t.is(world.wrong(0, 5000), null);
  };
  for (let i = 0; i < 3000; i++) world.add(dice.below(5000));
  check();
  for (let i = 0; i < 1500; i++) world.change(dice.below(5000));
  check();
  const chunks = world.order.sizeBytes;
  for (let slot = 0; slot < 5000; slot++) if (slot % 10 !== 0) world.remove(slot);
  check();
  t.true(world.order.sizeBytes < chunks, 'chunks with few slots join');
  for (let slot = 0; slot < 5000; slot++) world.remove(slot);
  check();
  t.is(world.order.sizeBytes, 0);
});

test('slots that arrive in order fill their chunks', (t) => {
  const world = new World();
  for (let slot = 0; slot < 5120; slot++) {
    world.live.add(slot);
    world.order.insert(world.order.end(), slot);
  }
  t.is(world.order.sizeBytes, 5120 * 4);
});

test('an order filled at once is like one that grew', (t) => {
  const world = new World();
  for (let slot = 0; slot < 1000; slot++) if (slot % 3 !== 0) world.live.add(slot);
  world.order.fill(1000);
  world.all = Array.from({ length: 1000 }, (_, i) => i);
  world.all.forEach((slot) => t.true(world.chunks.has(slot)));
  for (const [from, to] of [[0, 1000], [10, 700], [500, 500]] as const) t.is(world.wrong(from, to), null);
  t.is(world.order.live, 666);
});

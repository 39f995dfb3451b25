// Finding, ordering and forgetting keys.

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import { fromLatin1, latin1 } from '../../../core/base/bytes.js';
import { Keys } from '../../../core/store/keys.js';
import { NONE, Rows } from '../../../core/store/rows.js';

class World {
  readonly rows = new Rows();
  readonly keys = new Keys(this.rows);

  add(text: string): number {
    const key = fromLatin1(text);
    if (this.keys.find(key) !== NONE) return NONE;
    const slot = this.keys.add(key);
    const row = this.rows.append(slot, NONE, 1);
    this.rows.fill(row, 1, 1, 0n);
    this.keys.setNewest(slot, row);
    return slot;
  }

  kill(slot: number): void {
    const row = this.rows.append(slot, this.keys.newest(slot), 2);
    this.rows.fill(row, 0, 0, 0n);
    this.keys.setNewest(slot, row);
    this.keys.changeLive(slot, -1);
  }

  inOrder(): string[] {
    return Array.from(this.keys.inOrder(), (slot) => latin1(this.keys.bytes(slot)));
  }
}

function randomKey(dice: Prng): string {
  return Array.from({ length: dice.below(6) + 1 }, () => String.fromCharCode([0, 97, 98, 255][dice.below(4)] ?? 0)).join('');
}

test('keys are found again and lie in byte order', (t) => {
  const world = new World();
  const dice = new Prng(3);
  const slots = new Map<string, number>();
  for (let i = 0; i < 5000; i++) {
    const text = randomKey(dice);
    const slot = world.add(text);
    if (slots.has(text)) t.is(slot, NONE);
    else slots.set(text, slot);
  }
  for (const [text, slot] of slots) {
    t.is(world.keys.find(fromLatin1(text)), slot);
    // By the order alone, without what is recalled.
    t.is(world.keys.slotAt(world.keys.placeOf(fromLatin1(text))), slot);
  }
  t.is(world.keys.find(fromLatin1('c')), NONE);
  t.deepEqual(world.inOrder(), [...slots.keys()].sort((a, b) => (a < b ? -1 : 1)));
  t.is(world.keys.live, slots.size);
});

test('a removed key is not found, also when its slot is another key\'s', (t) => {
  const world = new World();
  const a = world.add('a');
  world.add('b');
  world.kill(a);
  t.is(world.keys.live, 1);
  world.keys.remove(a);
  t.is(world.keys.find(fromLatin1('a')), NONE);
  t.is(world.add('c'), a);
  t.is(world.keys.find(fromLatin1('a')), NONE);
  t.is(world.keys.find(fromLatin1('c')), a);
  t.deepEqual(world.inOrder(), ['b', 'c']);
});

test('keys that share long beginnings are told apart', (t) => {
  const world = new World();
  const dice = new Prng(5);
  const long = 'x'.repeat(300);
  const texts = Array.from({ length: 2000 }, () => long.slice(0, 250 + dice.below(50)) + randomKey(dice));
  for (const text of texts) world.add(text);
  t.deepEqual(world.inOrder(), [...new Set(texts)].sort((a, b) => (a < b ? -1 : 1)));
  for (const text of texts) t.not(world.keys.find(fromLatin1(text)), NONE);
});

test('a key that begins a chunk is found although what follows shares less than what precedes it', (t) => {
  const world = new World();
  const texts = Array.from({ length: 12 * 512 }, (_, i) => (i < 10 * 512 ? `pppp${String(i).padStart(4, '0')}` : `q${i}`));
  const slots = texts.map((text) => world.add(text));
  const found = texts.map((text) => world.keys.slotAt(world.keys.placeOf(fromLatin1(text))));
  t.is(found.findIndex((slot, i) => slot !== slots[i]), -1);
});

test('the memory of keys that are gone is given back', (t) => {
  const world = new World();
  const pad = 'p'.repeat(1000);
  const slots = Array.from({ length: 20_000 }, (_, i) => world.add(`${pad}${i}`));
  const full = world.keys.sizeBytes;
  slots.forEach((slot, i) => {
    if (i % 20 === 0) return;
    world.kill(slot);
    world.keys.remove(slot);
  });
  t.true(world.keys.isWasteful);
  for (let slot = 0; slot < world.keys.slotsEnd; slot++) world.keys.relocate(slot);
  t.false(world.keys.isWasteful);
  t.true(world.keys.sizeBytes < full / 2, `${world.keys.sizeBytes} of ${full}`);
  slots.forEach((slot, i) => t.is(world.keys.find(fromLatin1(`${pad}${i}`)), i % 20 === 0 ? slot : NONE));
});

test('loading wants keys in order', (t) => {
  const load = (...texts: string[]): Keys => {
    const { keys } = new World();
    for (const text of texts) keys.load(fromLatin1(text), text.length, true);
    return keys;
  };
  t.notThrows(() => load('a', 'aa', 'b'));
  t.throws(() => load('b', 'a'), { message: /not in order/ });
  t.throws(() => load('a', 'a'), { message: /not in order/ });
});

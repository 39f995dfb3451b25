// A ring of what waits under consecutive numbers, against a Map of the same.

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import { Numbered } from '../../../core/node/numbered.js';

test('what waits under a number is found and taken as in a Map, in whatever order', (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const dice = new Prng(seed);
    const numbered = new Numbered<{ id: number }>();
    const model = new Map<number, { id: number }>();
    let last = 0;
    for (let step = 0; step < 500; step++) {
      const what = dice.below(10);
      if (what < 5) {
        const item = { id: step };
        t.is(numbered.add(item), ++last);
        model.set(last, item);
      } else if (what < 9) {
        const number = Math.max(0, last - dice.below(40));
        t.is(numbered.get(number), model.get(number));
        t.is(numbered.take(number), model.get(number));
        model.delete(number);
      } else if (dice.below(4) === 0) {
        const isMeant = ({ id }: { id: number }): boolean => id % 3 === 0;
        const meant = [...model].filter(([, item]) => isMeant(item));
        t.deepEqual(numbered.takeWhere(isMeant), meant.map(([, item]) => item));
        for (const [number] of meant) model.delete(number);
      }
      const [first = last + 1] = model.keys();
      t.is(numbered.first, first);
    }
    t.true(last > 200);
  }
});

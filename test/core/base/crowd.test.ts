// The crowd against the obvious: a Set.

import test from 'ava';
import fc from 'fast-check';
import { Crowd } from '../../../core/base/crowd.js';

test('whoever comes and goes, and however often, a crowd holds what a set holds', (t) => {
  const steps = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 20 })), { maxLength: 200 });
  fc.assert(fc.property(steps, (all) => {
    const people = Array.from({ length: 21 }, (_, name) => ({ name, place: -1 }));
    const crowd = new Crowd<(typeof people)[number]>();
    const model = new Set<(typeof people)[number]>();
    for (const [comes, name] of all) {
      const person = people[name];
      if (person === undefined) continue;
      if (comes) {
        crowd.add(person);
        model.add(person);
      } else t.is(crowd.delete(person), model.delete(person));
      t.is(crowd.size, model.size);
      const names = crowd.list().map((each) => each.name).sort((a, b) => a - b);
      t.deepEqual(names, [...model].map((each) => each.name).sort((a, b) => a - b));
    }
  }));
});

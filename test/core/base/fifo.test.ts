// The ring against the obvious: an array.

import test from 'ava';
import fc from 'fast-check';
import { Fifo } from '../../../core/base/fifo.js';

test('whatever is put in and taken out at both ends, the ring gives what an array gives', (t) => {
  const steps = fc.array(fc.constantFrom('push', 'push', 'shift', 'pop', 'keep', 'drain'), { maxLength: 300 });
  fc.assert(fc.property(steps, (all) => {
    const fifo = new Fifo<number>();
    let model: number[] = [];
    for (const [i, step] of all.entries()) {
      if (step === 'push') {
        fifo.push(i);
        model.push(i);
      }
      if (step === 'shift') t.is(fifo.shift(), model.shift());
      if (step === 'pop') t.is(fifo.pop(), model.pop());
      if (step === 'keep') {
        fifo.keep((item) => item % 3 > 0);
        model = model.filter((item) => item % 3 > 0);
      }
      if (step === 'drain' && i % 5 === 0) t.deepEqual(fifo.drain(), model.splice(0));
      t.deepEqual([fifo.length, fifo.first, fifo.last], [model.length, model[0], model.at(-1)]);
    }
    t.deepEqual(fifo.drain(), model);
  }));
});

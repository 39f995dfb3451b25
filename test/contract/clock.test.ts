// The clock's contract on the machine's own clock and on the simulated one.

import test from 'ava';
import { systemClock } from '../../core/base/clock.js';
import { SimClock } from '../sim/clock.js';
import { clockContract } from './clock.contract.js';

clockContract(test, 'systemClock', () => ({
  clock: systemClock,
  pass: (ms) => new Promise((resolve) => setTimeout(resolve, ms + 2)),
}));

clockContract(test, 'SimClock', () => {
  const clock = new SimClock();
  return { clock, pass: (ms) => clock.advance(ms) };
});

// Whoever imports this lives with a wall clock that steps every two seconds, an hour ahead and an hour back by turns, and
// a child process says so. `node --import` puts it under any program.

import { isMainThread } from 'node:worker_threads';

const STEP_MS = 2_000;
const HOUR_MS = 3_600_000;
const { now } = Date;
let shiftMs = 0;
setInterval(() => {
  shiftMs = shiftMs > 0 ? -HOUR_MS : HOUR_MS;
  Date.now = () => now() + shiftMs;
  if (isMainThread) process.stderr.write(`the wall clock stepped to ${new Date(Date.now()).toISOString()}\n`);
}, STEP_MS).unref();

// The barriers' claims over real sockets, against coterie and against etcd, each in a process of its own. The tests share the
// servers and run side by side.

import test from 'ava';
import { earlyAndLate, lostWaiting, manyRuns, reconnecting, timedOut, tooMany } from './barrier-claims.js';
import { homesOfFile } from './homes.js';

const everyHome = homesOfFile(test);

test('B1 over sockets: one of three is cut and frozen while it waits: nobody passes, and then all do', async (t) => {
  await everyHome(t, (home) => reconnecting(t, home));
});

test('B2 over sockets: two run out of time, the third comes: all are told the same', async (t) => {
  await everyHome(t, (home) => timedOut(t, home));
});

test('B2 over sockets: one is lost with its session: who waits and who comes is told the same', async (t) => {
  await everyHome(t, (home) => lostWaiting(t, home));
});

test('B3 over sockets: who says another number, and who comes while it is full, is refused', async (t) => {
  await everyHome(t, (home) => tooMany(t, home));
});

test('B4 over sockets: runs of n with random delays pass together, each with numbers of its own', async (t) => {
  await everyHome(t, (home) => manyRuns(t, home));
});

test('B5 over sockets: early ones leave and enter again while a late one has not noticed', async (t) => {
  await everyHome(t, (home) => earlyAndLate(t, home));
});

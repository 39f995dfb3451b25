// The queue's claims over real sockets, against coterie and against etcd, each in a process of its own. The tests share the
// servers and run side by side.

import test from 'ava';
import { homesOfFile } from './homes.js';
import {
  bounded, committed, constantCost, deleted, disconnected, fairTurns, oneEnd, oneKnob, requeues, retention, sessionKilled,
  stalled,
} from './queue-claims.js';

const everyHome = homesOfFile(test);

test('Q1 over sockets: a process is stopped past its lease: another ends its item, and it can end nothing', async (t) => {
  await everyHome(t, (home) => stalled(t, home));
});

test('Q2 over sockets: the lease is revoked, another takes the item: the first delivery\'s token commits nothing', async (t) => {
  await everyHome(t, (home) => sessionKilled(t, home));
});

test('Q3 over sockets: one knob: renewed at a third of the lease, a stall of the loop is told with its length', async (t) => {
  await everyHome(t, (home) => oneKnob(t, home));
});

test('Q4 over sockets: a hundred requeues: the keys stay as long as they were, the id stays, attempts are counted', async (t) => {
  await everyHome(t, (home) => requeues(t, home));
});

test('Q5 over sockets: the queue is deleted under waiting consumers: what is put afterwards is taken', async (t) => {
  await everyHome(t, (home) => deleted(t, home));
});

test('Q6 over sockets: connections frozen past the lease and then cut: the consumer goes on by itself', async (t) => {
  await everyHome(t, (home) => disconnected(t, home));
});

test('Q7 over sockets: an item costs the same among ten and among a thousand', async (t) => {
  await everyHome(t, (home) => constantCost(t, home));
});

test('Q8 over sockets: cut during puts, takes and ends: an item is there when put resolves, and ends once', async (t) => {
  await everyHome(t, (home) => committed(t, home));
});

test('Q9 over sockets: the bound holds under twenty producers', async (t) => {
  await everyHome(t, (home) => bounded(t, home));
});

test('Q10 over sockets: what is kept is bounded, and no item with a live lease is deleted by that', async (t) => {
  await everyHome(t, (home) => retention(t, home));
});

test('Q11 over sockets: failures, a crash, removal and requeues: each item has one end that is told', async (t) => {
  await everyHome(t, (home) => oneEnd(t, home));
});

test('Q12 over sockets: a group delays another by its turn only, weights count, a group keeps its order', async (t) => {
  await everyHome(t, (home) => fairTurns(t, home));
});

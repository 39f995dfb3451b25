// The claims of the configuration centre over real sockets, against coterie and against etcd, each in a process of its own, and
// a real disk. The tests share the servers and run side by side.

import test from 'ava';
import {
  beforeDuringAfter, kindsOfEmpty, missedNotification, noMix, precedence, rolledBack, withoutTheStore,
} from './config-claims.js';
import { homesOfFile } from './homes.js';

const everyHome = homesOfFile(test);

test('C1 over sockets: absent, removed, out of reach, invalid and empty on purpose are five things', async (t) => {
  await everyHome(t, (home) => kindsOfEmpty(t, home));
});

test('C2 over sockets: fifty settings of six publishers at once, over cut connections, and no reader sees a mix', async (t) => {
  await everyHome(t, (home) => noMix(t, home));
});

test('C3 over sockets: publish, edit, roll back: byte for byte, and the history has old and new, who and why', async (t) => {
  await everyHome(t, (home) => rolledBack(t, home));
});

test('C4 over sockets: a pin before a roll-out before the version for everybody', async (t) => {
  await everyHome(t, (home) => precedence(t, home));
});

test('C5 over sockets: a notification that is lost for good is found by comparing revisions', async (t) => {
  await everyHome(t, (home) => missedNotification(t, home));
});

test('C6 over sockets: without the store a fresh snapshot is used and no other, and then the store again', async (t) => {
  await everyHome(t, (home) => withoutTheStore(t, home));
});

test('C7 over sockets: whoever follows before, during or after the first publication gets it, and each change', async (t) => {
  await everyHome(t, (home) => beforeDuringAfter(t, home));
});

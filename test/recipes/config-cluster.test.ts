// The configuration centre over three real members whose leader is killed while settings are published, followed and missed.
// The tests share the members and run side by side.

import test from 'ava';
import {
  beforeDuringAfter, kindsOfEmpty, missedNotification, noMix, precedence, rolledBack, withoutTheStore,
} from './config-claims.js';
import { membersOfFile } from './three-members.js';

const members = membersOfFile(test);

test('C1 over three members: absent, removed, out of reach and empty on purpose, also when the leader is killed', async (t) => {
  t.timeout(180_000);
  await kindsOfEmpty(t, members());
});

test('C2 over three members: fifty settings of six publishers at once, the leader killed: no reader sees a mix', async (t) => {
  t.timeout(180_000);
  await noMix(t, members());
});

test('C3 over three members: publish, edit, roll back, the leader killed before each: byte for byte', async (t) => {
  t.timeout(180_000);
  await rolledBack(t, members());
});

test('C4 over three members: a pin before a roll-out before the version for everybody, the leader killed', async (t) => {
  t.timeout(180_000);
  await precedence(t, members());
});

test('C5 over three members: a notification lost for good is found, also when the leader is killed', async (t) => {
  t.timeout(180_000);
  await missedNotification(t, members());
});

test('C6 over three members: cut off while the leader is killed: a fresh snapshot is used and no other', async (t) => {
  t.timeout(180_000);
  await withoutTheStore(t, members());
});

test('C7 over three members: before, during, after the first publication, the leader killed: each gets all', async (t) => {
  t.timeout(180_000);
  await beforeDuringAfter(t, members());
});

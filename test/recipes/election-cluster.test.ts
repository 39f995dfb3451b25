// Elections over three real members whose leader is killed while somebody leads, waits, resigns and looks on. The tests share
// the members and run side by side.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { connect } from '../../core/index.js';
import type { Leader } from '../../recipes/election-state.js';
import { observe } from '../../recipes/election-state.js';
import { lead } from '../../recipes/lead.js';
import { Session } from '../../recipes/session.js';
import { until } from './claims.js';
import {
  coldStart, deletedPrefix, frozenLeader, noPhantoms, reconnectStorms, storeAway, survivingObserver,
} from './election-claims.js';
import { urlsOf } from './homes.js';
import { membersOfFile } from './three-members.js';

const members = membersOfFile(test);

test('E1 E2 over three members: the leader is killed: who aborted, or whose lease is revoked, is not elected', async (t) => {
  await noPhantoms(t, members());
});

test('E3 over three members: the leader is killed and all links are away; leaderships do not overlap', async (t) => {
  await storeAway(t, members());
});

test('E4 over three members: the leader is killed in storms of reconnections: terms in order, no overlap', async (t) => {
  await reconnectStorms(t, members());
});

test('E5 over three members: the leader is killed and the whole prefix deleted under candidates; somebody leads', async (t) => {
  await deletedPrefix(t, members());
});

test('E6 E7 over three members: the leader is killed: a lost one is followed by its TTL, its signal first', async (t) => {
  await frozenLeader(t, members());
});

test('E8 over three members: the leader is killed: an observer sees leaders in order and ends by its signal only', async (t) => {
  await survivingObserver(t, members());
});

test('E9 over three members: all candidates are killed, and the leader: a new one leads within the TTL', async (t) => {
  await coldStart(t, members());
});

test('E3 E4 over three members: the leader is killed, twice, while elections go on: one leader at a time', async (t) => {
  t.timeout(120_000);
  const urls = urlsOf(members());
  const over = new AbortController();
  const terms: number[] = [];
  let leading = 0;
  let most = 0;
  const all = Array.from({ length: 4 }, () => connect(urls));
  const observer = connect(urls);
  const told: (Leader | null)[] = [];
  const observing = (async () => {
    for await (const now of observe(observer, 'x', { signal: over.signal })) told.push(now);
  })();
  const work = all.map((client, i) => lead(
    () => Session.open(client, { ttlSeconds: 30 }), 'x', `c${i}`,
    async (office) => {
      leading += 1;
      most = Math.max(most, leading);
      terms.push(office.term);
      await sleep(20);
      await office.txn().put('effect', String(office.term)).commit().catch(() => null);
      leading -= 1;
    },
    { again: true, signal: over.signal },
  ));
  await sleep(1_500);
  for (const _ of [1, 2]) {
    const before = terms.length;
    await members().trouble();
    await until(() => terms.length > before + 3);
  }
  over.abort();
  await Promise.allSettled(work);
  await observing;
  t.is(most, 1);
  t.deepEqual(terms, terms.toSorted((a, b) => a - b));
  t.is(new Set(terms).size, terms.length);
  const seen = told.flatMap((now) => (now === null ? [] : [now.term]));
  t.deepEqual(seen, seen.toSorted((a, b) => a - b), 'the observer saw them in order');
  t.true(seen.every((term) => terms.includes(term)));
  t.log(`${terms.length} leaderships, ${new Set(seen).size} of them seen by the observer`);
  await Promise.all([observer, ...all].map((client) => client.close()));
});

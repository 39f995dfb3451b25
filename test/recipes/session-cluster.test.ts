// Sessions over three real members whose leader is killed, and changed again and again, while sessions live on it and while
// they have died. The tests share the members and run side by side; what each does to them takes turns. What needs members,
// or a loop, that stand still is in session-stall-homes.test.ts.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { put } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { connect, keepAliver } from '../../core/index.js';
import type { SessionEvent } from '../../recipes/session.js';
import { Session } from '../../recipes/session.js';
import { insist, opened, revisionOf } from './claims.js';
import { urlsOf } from './homes.js';
import {
  brokenLink, failingConnections, flappingLink, lostBeforeGone, racedCloses, slowAnswers,
} from './session-claims.js';
import type { ThreeMembers } from './three-members.js';
import { membersOfFile } from './three-members.js';

const members = membersOfFile(test);
/** Later than those who ask for a kill as soon as they hold something: they wait for less. */
async function inTurn(work: (cluster: ThreeMembers) => Promise<void>): Promise<void> {
  await sleep(1_500);
  await members().calm(() => work(members()));
}

/** In the order in which they are asked. */
function clientOf(t: ExecutionContext, urls: readonly string[]): Client {
  const client = connect(urls);
  t.teardown(() => client.close());
  return client;
}

test('S1 over three members: the leader is killed and the link frozen: lost fires before the key disappears', async (t) => {
  await lostBeforeGone(t, members());
});

test('S2 over three members: slow answers and a killed leader: never live while the key is gone, no false loss', async (t) => {
  await slowAnswers(t, members());
});

test('S5 over three members: connections fail at random, the leader is killed; the lease is renewed all the same', async (t) => {
  await failingConnections(t, members());
});

test('S6 over three members: the link is away while the leader is killed: suspended, then live as before', async (t) => {
  await brokenLink(t, members());
});

test('S9 over three members: opens and closes raced against aborts, cuts and the death of the leader', async (t) => {
  await racedCloses(t, members());
});

test('S10 over three members: connections cut again and again while the leader is killed, renewals go on', async (t) => {
  await flappingLink(t, members());
});

test('S5 S6 over three members: the leader is killed: short and long sessions, and one kept beside, live on', async (t) => {
  const cluster = members();
  // The dying leader is the first one everybody talks to.
  const leader = await cluster.leader();
  const urls = [leader.url, ...urlsOf(cluster).filter((url) => url !== leader.url)];
  const client = clientOf(t, urls);
  const events: SessionEvent[] = [];
  const observe = (event: SessionEvent): void => void events.push(event);
  const sessions = [
    await insist(() => Session.open(client, { ttlSeconds: 10, observe })),
    await insist(() => Session.open(client, { ttlSeconds: 15, observe })),
    await insist(() => Session.open(client, { ttlSeconds: 10, observe, stallBudgetMs: 10_000, keepAliver: keepAliver(urls) })),
  ];
  const keys = sessions.map((_, i) => utf8(`kill/${i}`));
  for (const [i, { lease }] of sessions.entries()) {
    await insist(() => put(client, keys[i] ?? utf8(''), utf8('held'), { lease }));
  }
  const created = await Promise.all(keys.map((key) => revisionOf(client, key)));
  await sleep(1_000);
  await cluster.trouble();
  await sleep(10_000);
  t.deepEqual(sessions.map(({ live }) => live), [true, true, true]);
  t.deepEqual(await Promise.all(keys.map((key) => revisionOf(client, key))), created);
  t.false(events.some(({ kind }) => kind === 'lost'));
  await Promise.all(sessions.map((session) => session.close()));
  t.is(await revisionOf(client, utf8('kill/0')), 0);
});

test('S8 over three members: five changes of leader: a dead owner is gone one TTL and the stated bound later', async (t) => {
  await inTurn(async (cluster) => {
    const client = clientOf(t, urlsOf(cluster));
    const dead = await client.grant(3);
    await put(client, utf8('dead'), utf8('nobody renews it'), { lease: dead.id });
    const living = await opened(client, 8);
    await put(client, utf8('living'), utf8('held'), { lease: living.lease });
    const created = await revisionOf(client, utf8('living'));
    // The first one dies, the others hand over.
    const first = await cluster.leader();
    cluster.killNow(first);
    const reviving = cluster.revive(first);
    for (let change = 1; change < 5; change += 1) {
      const leader = await cluster.leader();
      const heir = cluster.members.find(({ name }) => name !== leader.name && name !== first.name);
      const [asked, told] = [connect(leader.url), connect(heir?.url ?? '')];
      const { header } = await told.status();
      await asked.moveLeader(header.memberId);
      await Promise.all([asked.close(), told.close()]);
    }
    const from = performance.now();
    while (await revisionOf(client, utf8('dead')) !== 0 && performance.now() - from < 20_000) await sleep(20);
    const goneMs = performance.now() - from;
    // TTL, an election time-out on top (1 s), detection (below 1 s), and a busy machine.
    t.true(goneMs < 3_000 + 1_000 + 1_000 + 5_000, `${Math.round(goneMs)} ms`);
    t.true(living.live);
    t.is(await revisionOf(client, utf8('living')), created, 'who is renewed stays');
    t.log(`gone ${Math.round(goneMs)} ms after the last of five changes, at a TTL of 3 s`);
    await reviving;
    await living.close();
  });
});

// The session's claims over real sockets, against coterie and against etcd, each in a process of its own. What needs a loop
// that stands still, or another wall clock, is in session-stall-homes.test.ts; three members are in session-cluster.test.ts.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { put } from '../../core/client.js';
import { utf8 } from '../../core/base/bytes.js';
import { connect } from '../../core/index.js';
import { Session } from '../../recipes/session.js';
import { ProcessCluster } from '../interop/cluster-processes.js';
import { isInstalled } from '../interop/real-etcd.js';
import { revisionOf, until } from './claims.js';
import { clients, homes, homesOfFile } from './homes.js';
import {
  brokenLink, failingConnections, flappingLink, lostBeforeGone, racedCloses, slowAnswers,
} from './session-claims.js';

const everyHome = homesOfFile(test);

test('S1 over sockets: a frozen link, lost fires before the key disappears, in 10 of 10 runs', async (t) => {
  await everyHome(t, (home) => lostBeforeGone(t, home));
});

test('S2 over sockets: answers delayed by 0.8 TTL, never live while the key is gone; by 0.3 TTL, no loss', async (t) => {
  await everyHome(t, (home) => slowAnswers(t, home));
});

test('S5 over sockets: connections fail at random, or are refused for a while; the lease is renewed all the same', async (t) => {
  await everyHome(t, (home) => failingConnections(t, home));
});

test('S6 over sockets: a link away for less than the TTL costs nothing, for more than the TTL the session, once', async (t) => {
  await everyHome(t, (home) => brokenLink(t, home));
});

test('S7 over sockets: the only member stands still for most of a TTL and goes on: it revokes no lease that lives', async (t) => {
  // Servers of its own: others would stand still with them.
  await Promise.all((await homes(t)).map(async (home) => {
    const { far, near } = await clients(t, home);
    const sessions = await Promise.all([Session.open(far, { ttlSeconds: 15 }), Session.open(near, { ttlSeconds: 15 })]);
    const keys = sessions.map((_, i) => utf8(`s7/${i}`));
    await Promise.all(sessions.map(({ lease }, i) => put(near, keys[i] ?? utf8(''), utf8('held'), { lease })));
    const created = await Promise.all(keys.map((key) => revisionOf(near, key)));
    await sleep(2_000);
    home.child.kill('SIGSTOP');
    await sleep(7_000);
    home.child.kill('SIGCONT');
    await sleep(3_000);
    t.deepEqual(sessions.map(({ live }) => live), [true, true], home.name);
    t.deepEqual(await Promise.all(keys.map((key) => revisionOf(near, key))), created, home.name);
    await Promise.all(sessions.map((session) => session.close()));
  }));
});

test('S8 over sockets: the only member is killed five times: a dead owner is gone one TTL and a bound later', async (t) => {
  t.timeout(120_000);
  const programs = isInstalled('etcd', t.log) ? ['coterie', 'etcd'] as const : ['coterie'] as const;
  // homes() have no data that outlives them.
  await Promise.all(programs.map(async (program) => {
    const alone = new ProcessCluster(program, `session-alone-${process.pid}`);
    t.teardown(() => alone.close());
    await alone.start(['a']);
    const member = alone.member('a');
    const client = connect(member.url);
    const [dead, living] = [await client.grant(3), await Session.open(client, { ttlSeconds: 15 })];
    await put(client, utf8('dead'), utf8('nobody renews it'), { lease: dead.id });
    await put(client, utf8('living'), utf8('held'), { lease: living.lease });
    const created = await revisionOf(client, utf8('living'));
    for (let life = 0; life < 5; life += 1) {
      await member.end('SIGKILL');
      member.launch(alone.foundingFlags);
      await member.ready();
    }
    const from = performance.now();
    await until(async () => await revisionOf(client, utf8('dead')) === 0);
    const goneMs = performance.now() - from;
    // TTL, an election time-out on top (1 s), detection (below 1 s in etcd), and a busy machine.
    t.true(goneMs < 3_000 + 1_000 + 1_000 + 5_000, `${program}: ${Math.round(goneMs)} ms`);
    t.true(living.live);
    t.is(await revisionOf(client, utf8('living')), created, `${program}: who is renewed stays`);
    t.log(`${program}: gone ${Math.round(goneMs)} ms after the last of five restarts, at a TTL of 3 s`);
    await living.close();
    await client.close();
  }));
});

test('S9 over sockets: opening and closing raced against aborts and cuts, no lease of ours within a TTL', async (t) => {
  await everyHome(t, (home) => racedCloses(t, home));
});

test('S10 over sockets: connections cut again and again, renewals go on', async (t) => {
  await everyHome(t, (home) => flappingLink(t, home));
});

// Sessions over three real members, of coterie and of etcd: their leader is killed, paused, and changed again and again
// while sessions live on it and while they have died.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { get, put } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { connect, keepAliver } from '../../core/index.js';
import type { SessionEvent } from '../../recipes/session.js';
import { Session } from '../../recipes/session.js';
import { eventually, ProcessCluster, type MemberProcess, type Program } from '../interop/cluster-processes.js';
import { isInstalled } from '../interop/real-etcd.js';

type Claim = (cluster: ProcessCluster, program: Program) => Promise<void>;

async function everyCluster(t: ExecutionContext, claim: Claim): Promise<void> {
  t.timeout(240_000);
  const programs = isInstalled('etcd', t.log) ? ['coterie', 'etcd'] as const : ['coterie'] as const;
  await Promise.all(programs.map(async (program) => {
    const cluster = new ProcessCluster(program, `session-${program}-${process.pid}-${Math.round(performance.now())}`);
    try {
      await cluster.start(['a', 'b', 'c']);
      await claim(cluster, program);
    } finally {
      await cluster.close();
    }
  }));
}

async function leaderOf(cluster: ProcessCluster, among = cluster.members): Promise<MemberProcess> {
  return eventually(async () => {
    for (const member of among.filter(({ isRunning }) => isRunning)) {
      const client = connect(member.url);
      try {
        const { leader, header } = await client.status({ timeoutMs: 1_000 });
        if (leader !== 0n && leader === header.memberId) return member;
      } catch (error) {
        isSilent(error);
      } finally {
        await client.close();
      }
    }
    throw new Error('nobody leads');
  });
}

/** Whoever does not answer does not lead; the caller asks the next one, and again. */
function isSilent(error: unknown): void {
  if (!isApiError(error)) throw error;
}

function clientOf(t: ExecutionContext, members: readonly MemberProcess[]): Client {
  const client = connect(members.map(({ url }) => url));
  t.teardown(() => client.close());
  return client;
}

async function revisionOf(client: Client, key: string): Promise<number> {
  return (await get(client, utf8(key)))?.createRevision ?? 0;
}

test.serial('S1 S5 S6 the leader is killed: short and long sessions, and one kept beside, live on', async (t) => {
  await everyCluster(t, async (cluster, program) => {
    const leader = await leaderOf(cluster);
    // The dying leader is the first one everybody talks to.
    const members = [leader, ...cluster.members.filter((member) => member !== leader)];
    const client = clientOf(t, members);
    const events: SessionEvent[] = [];
    const observe = (event: SessionEvent): void => void events.push(event);
    const beside = keepAliver(members.map(({ url }) => url));
    const sessions = [
      await Session.open(client, { ttlSeconds: 8, observe }),
      await Session.open(client, { ttlSeconds: 15, observe }),
      await Session.open(client, { ttlSeconds: 8, observe, stallBudgetMs: 10_000, keepAliver: beside }),
    ];
    const revisions: number[] = [];
    for (const [i, { lease }] of sessions.entries()) {
      await put(client, utf8(`kill/${i}`), utf8('held'), { lease });
      revisions.push(await revisionOf(client, `kill/${i}`));
    }
    await sleep(1_000);
    await leader.end('SIGKILL');
    await sleep(10_000);
    t.deepEqual(sessions.map(({ state }) => state), ['live', 'live', 'live'], program);
    for (const i of sessions.keys()) t.is(await revisionOf(client, `kill/${i}`), revisions[i] ?? NaN, program);
    t.false(events.some(({ kind }) => kind === 'lost'));
    await Promise.all(sessions.map((session) => session.close()));
    t.is(await revisionOf(client, 'kill/0'), 0);
  });
});

test.serial('S7 the leader is paused past an election and goes on: it revokes no lease that lives', async (t) => {
  await everyCluster(t, async (cluster, program) => {
    const old = await leaderOf(cluster);
    const others = cluster.members.filter((member) => member !== old);
    // One that talks to the paused member first, and must notice its silence within its TTL; one that never meets it.
    const [first, second] = [clientOf(t, [old, ...others]), clientOf(t, others)];
    const sessions = [await Session.open(first, { ttlSeconds: 8 }), await Session.open(second, { ttlSeconds: 8 })];
    for (const [i, { lease }] of sessions.entries()) await put(second, utf8(`pause/${i}`), utf8('held'), { lease });
    const revisions = [await revisionOf(second, 'pause/0'), await revisionOf(second, 'pause/1')];
    process.kill(old.pid, 'SIGSTOP');
    const next = await leaderOf(cluster, others);
    t.not(next, old);
    await sleep(10_000);
    process.kill(old.pid, 'SIGCONT');
    await sleep(3_000);
    t.deepEqual(sessions.map(({ live }) => live), [true, true], program);
    t.deepEqual([await revisionOf(second, 'pause/0'), await revisionOf(second, 'pause/1')], revisions, program);
    await Promise.all(sessions.map((session) => session.close()));
  });
});

test.serial('S8 five changes of leader: a dead owner is gone one TTL and the stated bound after the last one', async (t) => {
  await everyCluster(t, async (cluster, program) => {
    const client = clientOf(t, cluster.members);
    const dead = await client.grant(3);
    await put(client, utf8('dead'), utf8('nobody renews it'), { lease: dead.id });
    const living = await Session.open(client, { ttlSeconds: 3 });
    await put(client, utf8('living'), utf8('held'), { lease: living.lease });
    const revision = await revisionOf(client, 'living');
    for (let change = 0; change < 5; change += 1) {
      const leader = await leaderOf(cluster);
      const heir = cluster.members[(cluster.members.indexOf(leader) + 1) % 3];
      const [asked, told] = [connect(leader.url), connect(heir?.url ?? '')];
      const { header } = await told.status();
      await asked.moveLeader(header.memberId);
      await Promise.all([asked.close(), told.close()]);
    }
    const from = performance.now();
    for (let found = 1; found !== 0 && performance.now() - from < 15_000;) {
      found = await revisionOf(client, 'dead');
      await sleep(20);
    }
    const goneMs = performance.now() - from;
    // TTL, an election time-out on top (1 s), detection (below 1 s in etcd), and a busy machine.
    t.true(goneMs < 3_000 + 1_000 + 1_000 + 2_000, `${program}: ${Math.round(goneMs)} ms`);
    t.true(living.live);
    t.is(await revisionOf(client, 'living'), revision, `${program}: who is renewed stays`);
    t.log(`${program}: gone ${Math.round(goneMs)} ms after the last of five changes, at a TTL of 3 s`);
    await living.close();
  });
});

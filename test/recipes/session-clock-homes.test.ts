// S4 with real processes: the wall clocks of this process and of every member of coterie step all the time by an hour, each
// for itself, while sessions live and die. etcd's own clock belongs to the machine and is left alone.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { put } from '../../core/client.js';
import { Session } from '../../recipes/session.js';
import { ProcessCluster } from '../interop/cluster-processes.js';
import { isInstalled } from '../interop/real-etcd.js';
import { revisionOf, until } from './claims.js';
import type { Place } from './homes.js';
import { clients } from './homes.js';
import { membersOfFile } from './three-members.js';
import './wall-clock.js';

// For the processes started from here.
process.env['NODE_OPTIONS'] = `--import ${new URL('wall-clock.js', import.meta.url).href}`;

const members = membersOfFile(test);

async function everyHome(t: ExecutionContext, claim: (place: Place, alone: ProcessCluster) => Promise<void>): Promise<void> {
  const programs = isInstalled('etcd', t.log) ? ['coterie', 'etcd'] as const : ['coterie'] as const;
  await Promise.all(programs.map(async (program) => {
    const alone = new ProcessCluster(program, `clock-${process.pid}`);
    t.teardown(() => alone.close());
    await alone.start(['a']);
    const ports = [Number(new URL(alone.member('a').url).port)];
    const [trouble, calm] = [() => Promise.resolve(), <T>(work: () => Promise<T>) => work()];
    await claim({ name: program, ports, ttlSeconds: 5, trouble, calm }, alone);
  }));
}

function stepsOf(output: string): number {
  return output.split('the wall clock stepped').length - 1;
}

async function steppingClocks(t: ExecutionContext, place: Place): Promise<void> {
  const { proxy, far, near } = await clients(t, place);
  const session = await Session.open(far, { ttlSeconds: place.ttlSeconds });
  const key = utf8('s4');
  await put(near, key, utf8('held'), { lease: session.lease });
  const created = await revisionOf(near, key);
  const wallClock: number[] = [];
  const looking = setInterval(() => wallClock.push(Date.now()), 100);
  await Promise.all([sleep(1.5 * session.ttlMs), place.trouble()]);
  clearInterval(looking);
  const steps = wallClock.slice(1).map((at, i) => at - (wallClock[i] ?? at));
  t.true(Math.min(...steps) < -3_600_000 && Math.max(...steps) > 3_600_000, 'it stepped both ways');
  t.true(session.live, place.name);
  t.is(await revisionOf(near, key), created, `${place.name}: the key was there all the time`);
  proxy.freeze();
  await sleep(session.ttlMs);
  t.false(session.live, `${place.name}: a wall clock that is set back does not extend the session`);
  await until(async () => await revisionOf(near, key) === 0);
  proxy.thaw();
  await session.close();
}

test('S4 over sockets: wall time steps by an hour on both sides, no loss and no extension', async (t) => {
  await everyHome(t, async (place, alone) => {
    await steppingClocks(t, place);
    if (place.name === 'coterie') t.true(stepsOf(alone.member('a').output) > 2);
  });
});

test('S4 over three members: wall time steps by an hour everywhere, the leader is killed: no loss, no extension', async (t) => {
  await steppingClocks(t, members());
  for (const member of members().members) t.true(stepsOf(member.output) > 2);
});

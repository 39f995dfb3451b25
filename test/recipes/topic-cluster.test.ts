// Topics, a group and a configuration over three real members whose leader is killed while everything is in use. The tests
// share the members and run side by side.

import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { opPut } from '../../core/client.js';
import { connect } from '../../core/index.js';
import { ConfigSpace } from '../../recipes/config.js';
import { Topic } from '../../recipes/topic.js';
import { opened, readAll, until } from './claims.js';
import { urlsOf } from './homes.js';
import { membersOfFile } from './three-members.js';
import { beforeDuringAfter, exactlyOnce, lateAck } from './topic-claims.js';

const members = membersOfFile(test);

/** How many were published. */
async function publishMessages(client: Client, i: number, isOver: () => boolean): Promise<number> {
  const topic = new Topic(client, 'x', { retain: { count: 100_000 } });
  let n = 0;
  for (; !isOver(); n += 1) {
    await topic.publish(`${i}:${n}`, { timeoutMs: 60_000 });
    await sleep(10);
  }
  return n;
}

/** The last version. A conflict would mean that a publication of our own, whose answer was lost, was not recognised. */
async function publishVersions(space: ConfigSpace<number[]>, isOver: () => boolean): Promise<number> {
  let version = 1;
  for (; !isOver(); await sleep(20)) {
    version = await space.publish([version, version, version], { expect: version, timeoutMs: 60_000 });
  }
  return version;
}

function parse(value: unknown): number[] {
  if (!Array.isArray(value)) throw new Error('give a list');
  return value.map(Number);
}

test('C7 over three members: before, during and after the first publish, and the leader is killed: all is seen', async (t) => {
  t.timeout(180_000);
  await beforeDuringAfter(t, members());
});

test('over three members: connections cut and the leader killed: everything once, in one order', async (t) => {
  t.timeout(180_000);
  await exactlyOnce(t, members());
});

test('over three members: a frozen consumer loses its message while the leader is killed; its late ack is refused', async (t) => {
  t.timeout(180_000);
  await lateAck(t, members());
});

test('C2 over three members: all at work while the leader is killed: each message once, in order; no mix', async (t) => {
  t.timeout(180_000);
  const urls = urlsOf(members());
  const clients: Client[] = [];
  t.teardown(() => Promise.all(clients.map((client) => client.close())).then(() => undefined));
  const newClient = (): Client => {
    const client = connect(urls);
    clients.push(client);
    return client;
  };
  let over = false;
  const published = Array.from({ length: 3 }, (_, i) => publishMessages(newClient(), i, () => over));
  const session = await opened(newClient());
  const group = await new Topic(session.client, 'x').group(session, 'g');
  const stop = new AbortController();
  const working = group.consume(async (delivery) => {
    await delivery.ack({ also: [opPut(utf8(`effect/${delivery.position}`), delivery.body)], timeoutMs: 60_000 });
  }, { signal: stop.signal, concurrency: 4 });
  const reader = new Topic(newClient(), 'x').subscribe({ from: 'oldest' });
  const read: string[] = [];
  const positions: number[] = [];
  const reading = (async () => {
    for await (const { body, position } of reader) {
      read.push(text(body));
      positions.push(position);
    }
  })();
  const space = new ConfigSpace(newClient(), 'app', { parse });
  await space.publish([0, 0, 0], { expect: 0 });
  const configuring = publishVersions(space, () => over);
  const follower = await new ConfigSpace(newClient(), 'app', { parse }).follow().ready();
  follower.onChange(({ to }) => t.is(new Set(to).size, 1));
  await until(() => read.length > 20);
  await members().trouble();
  const before = read.length;
  await until(() => read.length > before + 20);
  over = true;
  const counts = await Promise.all(published);
  const total = counts.reduce((sum, n) => sum + n, 0);
  const version = await configuring;
  await until(() => read.length >= total && follower.version === version);
  t.is(read.length, total, 'nothing lost, nothing twice');
  t.deepEqual(positions, positions.map((_, i) => (positions[0] ?? 0) + i));
  counts.forEach((count, i) => {
    t.deepEqual(read.filter((body) => body.startsWith(`${i}:`)), Array.from({ length: count }, (_, n) => `${i}:${n}`));
  });
  const effects = async (): Promise<number> => (await readAll(session.client, 'effect/')).length;
  await until(async () => await effects() >= total, 100);
  t.is(await effects(), total, 'each was worked on once');
  t.is(follower.version, version);
  t.true(session.live);
  t.log(`${before} messages before, ${total - before} after; ${version} versions`);
  stop.abort();
  await Promise.all([working, reader.close(), follower.close()]);
  await reading;
  await group.close();
  await session.close();
});

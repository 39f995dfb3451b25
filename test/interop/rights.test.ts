// Least rights for those who stand around the store (reliability 5-G): a service may write its own place in the registry and
// no other, a sidecar may read and nothing else, a holder may use its lock's line, a candidate its election's. These are the
// roles that recipes/README.md tells operators to make; here they are enough, and no more than enough.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { prefixRange, put, type Client, type Permission } from '../../core/client.js';
import { connect, startNode, type RunningNode } from '../../core/index.js';
import { campaign, candidates, discover, leader, lock, Queue, register, Session, Topic } from '../../recipes/index.js';
import { serve } from '../serving.js';

const MAIN = fileURLToPath(new URL('../../core/main.js', import.meta.url));
const PASSWORD = 'a-password-to-look-for';
const ROLES: Readonly<Record<string, readonly (readonly [Permission['kind'], string])[]>> = {
  api: [['readwrite', 'coterie/services/api/']],
  shop: [['readwrite', 'coterie/services/shop/']],
  balancer: [['read', 'coterie/services/']],
  worker: [
    ...alsoBehind('coterie/locks/nightly/', ['left', 'wanted', 'delayed']),
    ...alsoBehind('coterie/queues/mails/', ['left', 'wanted']),
  ],
  mayor: [
    ...alsoBehind('coterie/elections/mayor/', ['left', 'wanted', 'chosen']),
    ...alsoBehind('coterie/topics/decrees/', ['left', 'wanted', 'delayed']),
  ],
  citizen: [['read', 'coterie/elections/mayor/'], ['read', 'coterie/topics/decrees/']],
};

function alsoBehind(prefix: string, others: readonly string[]): readonly (readonly [Permission['kind'], string])[] {
  return ['', ...others.map((other) => `coterie/${other}/`)].map((before) => ['readwrite', `${before}${prefix}`]);
}

let node: RunningNode;
let server: Awaited<ReturnType<typeof serve>>;

test.before('a store with users', async () => {
  node = await startNode({ name: 'rights', dataDir: null, auth: { bcryptCost: 4 } });
  server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  const { client } = node;
  for (const [name, grants] of Object.entries(ROLES)) {
    await client.changeAuth({ kind: 'role_add', name });
    for (const [kind, prefix] of grants) {
      await client.changeAuth({ kind: 'role_grant', name, permission: { kind, ...prefixRange(utf8(prefix)) } });
    }
    await client.changeAuth({ kind: 'user_add', name, password: { plain: PASSWORD } });
    await client.changeAuth({ kind: 'user_grant', name, role: name });
  }
  await client.changeAuth({ kind: 'user_add', name: 'root', password: { plain: PASSWORD } });
  await client.changeAuth({ kind: 'role_add', name: 'root' });
  await client.changeAuth({ kind: 'user_grant', name: 'root', role: 'root' });
  await client.changeAuth({ kind: 'enable' });
});

test.after.always('it ends', async () => {
  await server.close();
  await node.close();
});

function as(user: string): Client {
  return connect(server.urls[0] ?? '', { user, password: PASSWORD });
}

const denied = { code: 'permission_denied' };

async function pause(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 10));
}

/** Both streams, and how it ended. */
async function coterie(words: readonly string[], password: string): Promise<{ code: number | null; said: string }> {
  const env = { ...process.env, COTERIE_PASSWORD: password };
  const child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'pipe', 'pipe'], env, timeout: 60_000 });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, said };
}

test('SG7: a service registers itself under its own name, and under no other', async (t) => {
  const client = as('api');
  const spec = { id: 'one', address: '127.0.0.1', port: 8080 };
  const own = await register(client, { ...spec, service: 'api' });
  const other = register(client, { ...spec, service: 'web' }, { timeoutMs: 5_000 });
  await t.throwsAsync(other, { message: /registering web\/one, because: etcdserver: permission denied$/ });
  await t.throwsAsync(put(client, utf8('coterie/services/web/instances/one'), utf8('{}')), denied);
  const reader = as('balancer');
  const view = await discover(reader, 'api').ready();
  t.deepEqual(view.instances.map(({ id }) => id), ['one']);
  await t.throwsAsync(put(reader, utf8('coterie/services/api/instances/two'), utf8('{}')), denied);
  await t.throwsAsync(reader.range({ key: utf8('coterie/locks/nightly/x') }), denied);
  await own.close();
  await view.close();
  await Promise.all([client.close(), reader.close()]);
});

test('SG7: a worker holds its lock and empties its queue with what its role gives, and nothing beside them', async (t) => {
  const client = as('worker');
  const session = await Session.open(client, { ttlSeconds: 10 });
  const held = await lock(session, 'nightly');
  t.true(held.fence > 0);
  await held.release();
  await t.throwsAsync(lock(session, 'hourly'), denied);
  const queue = new Queue<string>(client, 'mails');
  const waiting = queue.take(session);
  while ((await client.range(prefixRange(utf8('coterie/queues/mails/turn/')))).kvs.length === 0) await pause();
  await queue.put('hello');
  const job = await waiting;
  t.is(job?.body, 'hello');
  await job?.ack();
  await t.throwsAsync(new Queue<string>(client, 'letters').put('x'), denied);
  await session.close();
  await client.close();
});

test('SG7: a candidate leads and speaks with what its role gives; who may read follows, and changes nothing', async (t) => {
  const [client, reader] = [as('mayor'), as('citizen')];
  const sessions = await Promise.all([1, 2].map(() => Session.open(client, { ttlSeconds: 10 })));
  const [one, two] = sessions;
  if (one === undefined || two === undefined) return t.fail();
  const first = await campaign(one, 'mayor', 'one');
  const heir = campaign(two, 'mayor', 'two');
  // It may not stand in line yet.
  while ((await candidates(reader, 'mayor')).length < 2) await pause();
  await first.resign({ handTo: ({ value }) => value === 'two' });
  await heir;
  const decrees = new Topic(client, 'decrees');
  await decrees.publish('all is well', { id: 'once' });
  t.is((await leader(reader, 'mayor'))?.value, 'two');
  for await (const { body } of new Topic(reader, 'decrees').subscribe({ from: 'oldest' })) {
    t.is(text(body), 'all is well');
    break;
  }
  const clerks = await decrees.group(one, 'clerks', { from: 'oldest' });
  const order = await clerks.take();
  t.is(text(order.body), 'all is well');
  await order.ack();
  await clerks.close();
  await t.throwsAsync(new Topic(reader, 'decrees').publish('no'), denied);
  await t.throwsAsync(campaign(one, 'king', 'one'), denied);
  for (const session of sessions) await session.close();
  await Promise.all([client.close(), reader.close()]);
});

test('SG7: coterie register asks for nothing beside its service', async (t) => {
  const run = (service: string): ReturnType<typeof coterie> => {
    const flags = ['--endpoints', server.urls[0] ?? '', '--user', 'shop', '--port', '1', '--wait', '0s', '--drain', '0s'];
    return coterie(['register', service, ...flags, '--', 'true'], PASSWORD);
  };
  const own = await run('shop');
  t.is(own.code, 0, own.said);
  const other = await run('api');
  t.is(other.code, 1, other.said);
  t.regex(other.said, /permission denied/);
});

test('SG5 SG6: a sidecar that may only read follows the registry; a wrong password is refused without being shown', async (t) => {
  const client = as('shop');
  const registration = await register(client, { service: 'shop', id: 'seen', address: '127.0.0.1', port: 8081 });
  const directory = mkdtempSync(path.join(tmpdir(), 'coterie-rights-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(path.join(directory, 't.hbs'), '{{#each services}}{{#each instances}}{{id}} {{/each}}{{/each}}\n');
  const template = '{ source: t.hbs, target: live.conf, escape: nginx }';
  const file = path.join(directory, 'sidecar.yaml');
  writeFileSync(file, `groups:\n  - { name: g, services: [shop], templates: [${template}], reload: none }\n`);
  const run = (password: string): ReturnType<typeof coterie> =>
    coterie(['sidecar', '--config', file, '--endpoints', server.urls[0] ?? '', '--user', 'balancer', '--once'], password);
  const good = await run(PASSWORD);
  t.is(good.code, 0, good.said);
  t.regex(readFileSync(path.join(directory, 'live.conf'), 'utf8'), /\bseen\b/);
  const bad = await run('not-this-one');
  t.is(bad.code, 1, bad.said);
  t.regex(bad.said, /authentication failed, invalid user ID or password/);
  t.notRegex(`${good.said}${bad.said}`, /a-password-to-look-for|not-this-one/);
  await registration.close();
  await client.close();
});

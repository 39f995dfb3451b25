// A remote client that logs in by itself, and one that passes on the calls of others.

import test, { type ExecutionContext } from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { get, put, type Backend, type WatchBatch } from '../../../core/client.js';
import { isApiError } from '../../../core/errors.js';
import { startNode, type RunningNode } from '../../../core/start-node.js';
import { serve, type WireServer } from '../../serving.js';
import { connect } from '../../../core/wire/remote-client.js';
import type { WireEvent } from '../../../core/wire/wire-events.js';

interface Guarded {
  readonly node: RunningNode;
  readonly server: WireServer;
}

async function guarded(t: ExecutionContext, options: { isOn?: boolean } = {}): Promise<Guarded> {
  const node = await startNode({ dataDir: null, listenPeerUrls: [], auth: { bcryptCost: 4 } });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  t.teardown(async () => {
    await server.drain(100);
    await node.close();
  });
  await users(node.client);
  if (options.isOn !== false) await node.client.changeAuth({ kind: 'enable' });
  return { node, server };
}

async function users(client: Backend): Promise<void> {
  await client.changeAuth({ kind: 'user_add', name: 'root', password: { plain: 'r' } });
  await client.changeAuth({ kind: 'user_grant', name: 'root', role: 'root' });
  await client.changeAuth({ kind: 'user_add', name: 'u', password: { plain: 'u' } });
  await client.changeAuth({ kind: 'role_add', name: 'a' });
  const permission = { kind: 'readwrite', key: utf8('a'), rangeEnd: utf8('b') } as const;
  await client.changeAuth({ kind: 'role_grant', name: 'a', permission });
  await client.changeAuth({ kind: 'user_grant', name: 'u', role: 'a' });
}

async function batchOf(batches: AsyncIterator<WatchBatch>): Promise<WatchBatch> {
  const next = await batches.next();
  if (next.done === true) throw new Error('the watch has ended');
  return next.value;
}

test('a client with a name and a password logs in by itself, once for any number of calls', async (t) => {
  const { node, server } = await guarded(t);
  const client = connect(server.urls, { user: 'u', password: 'u' });
  t.teardown(() => client.close());
  await Promise.all(Array.from({ length: 8 }, (_, i) => put(client, utf8(`a${i}`), utf8('1'))));
  t.is(node.facts().keys, 8);
  await t.throwsAsync(put(client, utf8('c'), utf8('1')), { message: 'etcdserver: permission denied' });
  const stranger = connect(server.urls, { user: 'u', password: 'x' });
  t.teardown(() => stranger.close());
  await t.throwsAsync(get(stranger, utf8('a')), {
    message: 'etcdserver: authentication failed, invalid user ID or password',
  });
});

test('where auth is off a login is no obstacle, and when it comes on the client logs in', async (t) => {
  const { node, server } = await guarded(t, { isOn: false });
  const client = connect(server.urls, { user: 'u', password: 'u' });
  t.teardown(() => client.close());
  await put(client, utf8('c'), utf8('1'));
  await node.client.changeAuth({ kind: 'enable' });
  await put(client, utf8('a'), utf8('1'));
  await t.throwsAsync(put(client, utf8('c'), utf8('1')), { message: 'etcdserver: permission denied' });
});

test('a token that is gone is fetched anew for calls, watches and keep-alives', async (t) => {
  const { node, server } = await guarded(t);
  let password = 'u';
  let logins = 0;
  const plain = connect(server.urls);
  const token = async (): Promise<string> => {
    logins += 1;
    return (await plain.authenticate('u', password)).token;
  };
  const client = connect(server.urls, { token });
  t.teardown(async () => {
    await client.close();
    await plain.close();
  });
  const { id } = await client.grant(60);
  await client.keepAlive(id);
  t.is(logins, 1);
  password = 'new';
  await node.client.changeAuth({ kind: 'user_password', name: 'u', password: { plain: 'new' } });
  await put(client, utf8('a'), utf8('1'));
  t.is(logins, 2);
  t.true((await client.keepAlive(id)).ttlSeconds > 0);
  password = 'newer';
  await node.client.changeAuth({ kind: 'user_password', name: 'u', password: { plain: 'newer' } });
  const watch = client.watch({ key: utf8('a') });
  const batches = watch[Symbol.asyncIterator]();
  t.is((await batchOf(batches)).kind, 'created');
  await put(node.client, utf8('a'), utf8('2'));
  t.is((await batchOf(batches)).events.length, 1);
  watch.close();
});

test('a source whose tokens are no good is asked once more, not for ever', async (t) => {
  const { server } = await guarded(t);
  let asked = 0;
  const client = connect(server.urls, { token: () => `nonsense.${(asked += 1)}` });
  t.teardown(() => client.close());
  const refusal = { message: 'etcdserver: invalid auth token' };
  await t.throwsAsync(get(client, utf8('a')), refusal);
  t.is(asked, 2);
  await t.throwsAsync(client.keepAlive(1n), refusal);
  await t.throwsAsync(client.watch({ key: utf8('a') })[Symbol.asyncIterator]().next(), refusal);
  t.true(asked < 10, `${asked} times`);
});

test('the streams of callers who are gone are closed when there are many', async (t) => {
  const node = await startNode({ dataDir: null });
  let open = 0;
  const observe = (event: WireEvent): void => {
    if (event.kind === 'call_started' && event.method.name === 'LeaseKeepAlive') open += 1;
    if (event.kind === 'call_handled' && event.method.name === 'LeaseKeepAlive') open -= 1;
  };
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'], observe });
  const client = connect(server.urls);
  t.teardown(async () => {
    await client.close();
    await server.drain(100);
    await node.close();
  });
  const { id } = await client.grant(60);
  for (let i = 0; i < 150; i++) await client.keepAlive(id, { caller: { user: null, authRevision: 0, token: `t${i}` } });
  while (open > 100) await new Promise((resolve) => setTimeout(resolve, 5));
  t.true(open >= 1);
});

test('what a caller may not watch ends that watch with the reason, and the others of the stream go on', async (t) => {
  const { server } = await guarded(t);
  const client = connect(server.urls, { user: 'u', password: 'u' });
  t.teardown(() => client.close());
  const good = client.watch({ key: utf8('a') })[Symbol.asyncIterator]();
  t.is((await batchOf(good)).kind, 'created');
  const bad = client.watch({ key: utf8('a'), rangeEnd: new Uint8Array([0]) })[Symbol.asyncIterator]();
  await t.throwsAsync(bad.next(), { message: 'etcdserver: permission denied' });
  await put(client, utf8('a'), utf8('1'));
  t.is((await batchOf(good)).events.length, 1);
});

test('a server that passes calls on speaks for its callers, and never for itself', async (t) => {
  const { server } = await guarded(t);
  const behind = connect(server.urls, { user: 'root', password: 'r' });
  const proxy = await serve(behind, { urls: ['http://127.0.0.1:0'] });
  const u = connect(proxy.urls, { user: 'u', password: 'u' });
  const nobody = connect(proxy.urls);
  t.teardown(async () => {
    await Promise.all([u.close(), nobody.close()]);
    await proxy.drain(100);
    await behind.close();
  });
  await put(u, utf8('a'), utf8('1'));
  await t.throwsAsync(put(u, utf8('c'), utf8('1')), { message: 'etcdserver: permission denied' });
  await t.throwsAsync(get(nobody, utf8('a')), { message: 'etcdserver: user name is empty' });
  const unseen = nobody.watch({ key: utf8('a') })[Symbol.asyncIterator]();
  await t.throwsAsync(unseen.next(), { message: 'etcdserver: user name is empty' });
  const seen = u.watch({ key: utf8('a') })[Symbol.asyncIterator]();
  t.is((await batchOf(seen)).kind, 'created');
  const { id } = await u.grant(60);
  t.true((await u.keepAlive(id)).ttlSeconds > 0);
  const error = await nobody.keepAlive(id).catch((failure: unknown) => failure);
  t.true(isApiError(error, 'user_empty'), String(error));
});

// Who is let in at the wire: every method, every way to bring a token, every way to write a path.

import test, { type ExecutionContext } from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { put, type Backend } from '../../../core/client.js';
import { isApiError } from '../../../core/errors.js';
import { NEEDS } from '../../../core/node/needs.js';
import { startNode } from '../../../core/start-node.js';
import type { CallContext, Method } from '../../../core/wire/call.js';
import { methods } from '../../../core/wire/methods.js';
import { serve } from '../../serving.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import { METHODS } from '../../model/auth-oracle.js';
import { RawClient } from '../../interop/raw-grpc.js';
import { fakeCall } from './fake-call.js';

const RAW = { encode: (bytes: Uint8Array) => ({ finish: () => bytes }), decode: (bytes: Uint8Array) => bytes };
/** range_request { key: 'a' } */
const RANGE_A = Buffer.from('0a0161', 'hex');

async function guarded(t: ExecutionContext): Promise<Backend> {
  const node = await startNode({ dataDir: null, listenPeerUrls: [], auth: { bcryptCost: 4 } });
  t.teardown(() => node.close());
  const { client } = node;
  await client.changeAuth({ kind: 'user_add', name: 'root', password: { plain: 'r' } });
  await client.changeAuth({ kind: 'user_grant', name: 'root', role: 'root' });
  await client.changeAuth({ kind: 'user_add', name: 'u', password: { plain: 'u' } });
  await client.changeAuth({ kind: 'role_add', name: 'r' });
  const permission = { kind: 'readwrite', key: utf8('a'), rangeEnd: utf8('b') } as const;
  await client.changeAuth({ kind: 'role_grant', name: 'r', permission });
  await client.changeAuth({ kind: 'user_grant', name: 'u', role: 'r' });
  await put(client, utf8('a'), utf8('1'));
  await client.changeAuth({ kind: 'enable' });
  return client;
}

function call(token: string | null, signal?: AbortSignal): CallContext {
  return fakeCall(signal, { token });
}

/** How a method ends whose caller says nothing that makes sense, and nothing about who it is. */
async function outcomeOf(method: Method, token: string | null): Promise<string> {
  const abort = new AbortController();
  const codeIn = (error: unknown): string => (isApiError(error) ? error.code : 'other');
  if (method.kind === 'unary') return method.handle(new Uint8Array(0), call(token)).then(() => 'ok', codeIn);
  let said = 'ok';
  async function* requests(): AsyncGenerator<Uint8Array> {
    // A watch of everything; to the others an empty request.
    yield method.name === 'Watch' ? Buffer.from('0a060a0100120100', 'hex') : new Uint8Array(0);
    await new Promise((resolve) => abort.signal.addEventListener('abort', resolve, { once: true }));
  }
  await method.handle(requests(), call(token, abort.signal), (bytes) => {
    if (Buffer.from(bytes).includes('user name is empty')) said = 'user_empty';
    if (Buffer.from(bytes).includes('invalid auth token')) said = 'token_invalid';
    abort.abort();
    return Promise.resolve();
  }).catch((error: unknown) => {
    said = codeIn(error);
    abort.abort();
  });
  return said;
}

/** How one learns who to be; and what says nothing of the data. */
const OPEN = ['etcdserverpb.Auth/Authenticate', 'etcdserverpb.Auth/AuthStatus'];
/** Answers for the process, not for the data. */
const APART = /^(?:grpc\.|v3(?:lock|election)pb\.)/;

test('SC1 every method there is asks who calls: whatever is added without a right is found here', async (t) => {
  const client = await guarded(t);
  const table = methods(client);
  const open: string[] = [];
  for (const method of table.values()) {
    const name = `${method.service}/${method.name}`;
    if (APART.test(name)) continue;
    const outcome = await outcomeOf(method, null);
    // Some are wrong in themselves before anybody is asked who he is; none may do anything.
    if (['user_empty', 'key_empty', 'auth_failed'].includes(outcome)) continue;
    open.push(`${name}: ${outcome}`);
  }
  t.deepEqual(open.filter((each) => !OPEN.some((name) => each.startsWith(name))), []);
  // What each needs stands in one table, and the oracle has an opinion on each method that looks at no key.
  t.deepEqual(Object.values(NEEDS).filter((need) => need === 'nothing').length, 3);
  for (const name of Object.keys(METHODS)) t.true(table.has(`/etcdserverpb.${name.split(':')[0]}`), name);
});

test('SC1 a watch that may not be is refused in etcd\'s words before anything else is, and uses up no id', async (t) => {
  const client = await guarded(t);
  const watch = methods(client).get('/etcdserverpb.Watch/Watch');
  if (watch?.kind !== 'stream') return t.fail('watch is a stream');
  const { token } = await client.authenticate('u', 'u');
  const abort = new AbortController();
  const said: rpc.WatchResponse[] = [];
  async function* requests(): AsyncGenerator<Uint8Array> {
    let asked = 0;
    for (const [key, startRevision] of [['c', 0n], ['c', -1n], ['a', -1n], ['a', 0n]] as const) {
      const value = {
        key: utf8(key), rangeEnd: utf8(''), startRevision, progressNotify: false, filters: [], prevKv: false, watchId: 0n,
        fragment: false,
      };
      yield rpc.WatchRequest.encode({ requestUnion: { $case: 'createRequest', value } }).finish();
      asked += 1;
      while (said.length < asked) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    abort.abort();
  }
  await watch.handle(requests(), call(token, abort.signal), (bytes) => {
    said.push(rpc.WatchResponse.decode(bytes));
    return Promise.resolve();
  });
  const denied = 'rpc error: code = PermissionDenied desc = etcdserver: permission denied';
  t.deepEqual(said.map(({ watchId, created, canceled, cancelReason }) => [watchId, created, canceled, cancelReason]), [
    [-1n, true, true, denied],
    [-1n, true, true, denied],
    [-1n, true, true, 'etcdserver: mvcc: required revision has been compacted'],
    [0n, true, false, ''],
  ]);
});

test('SC2 who comes without a token, or with one nobody was given, gets nothing from any method', async (t) => {
  const client = await guarded(t);
  for (const method of methods(client).values()) {
    const name = `${method.service}/${method.name}`;
    if (APART.test(name) || OPEN.includes(name)) continue;
    const outcome = await outcomeOf(method, `${'x'.repeat(24)}.1`);
    t.true(['token_invalid', 'key_empty'].includes(outcome), `${name}: ${outcome}`);
  }
});

test('SB10 a token is the same in metadata, in the gateway\'s headers, and with the word Bearer before it', async (t) => {
  const client = await guarded(t);
  const server = await serve(client, { urls: ['http://127.0.0.1:0'] });
  const raw = new RawClient(server.urls[0] ?? '');
  t.teardown(async () => {
    raw.close();
    await server.drain(100);
  });
  const { token } = await client.authenticate('u', 'u');
  const overGrpc = async (headers: Readonly<Record<string, string>>, path = 'KV/Range'): Promise<string> => {
    const outcome = await raw.call(`/etcdserverpb.${path}`, RAW, RAW, RANGE_A, headers);
    return 'answer' in outcome ? 'ok' : outcome.text;
  };
  const overHttp = async (headers: Readonly<Record<string, string>>, path = '/v3/kv/range'): Promise<string> => {
    const response = await fetch(`${server.urls[0]}${path}`, { method: 'POST', body: '{"key":"YQ=="}', headers });
    const said = await response.text();
    return response.ok ? 'ok' : (JSON.parse(said) as { readonly message: string }).message;
  };
  const refusal = 'etcdserver: invalid auth token';
  for (const [value, outcome] of [[token, 'ok'], [`Bearer ${token}`, 'ok'], ['x', refusal], ['Bearer x', refusal]] as const) {
    t.is(await overGrpc({ token: value }), outcome);
    t.is(await overGrpc({ authorization: value }), outcome);
    t.is(await overHttp({ authorization: value }), outcome);
    t.is(await overHttp({ 'grpc-metadata-token': value }), outcome);
  }
  t.is(await overGrpc({}), 'etcdserver: user name is empty');
  t.is(await overHttp({}), 'etcdserver: user name is empty');
  t.is(await overGrpc({ token: 'x', authorization: token }), refusal);
  // What is asked for and what is judged are one: nothing that only looks like a method is served (SC13).
  for (const path of ['kv/range', 'KV//Range', 'KV/Range/', 'KV/%52ange', 'KV/range']) {
    t.not(await overGrpc({ token }, path), 'ok', path);
  }
  t.regex(await overGrpc({ token }, 'KV/range'), /unknown method range/);
});

test('SC13 a path that is not written as it is served is not served, over HTTP either', async (t) => {
  const client = await guarded(t);
  const server = await serve(client, { urls: ['http://127.0.0.1:0'] });
  t.teardown(() => server.drain(100));
  const { token } = await client.authenticate('root', 'r');
  const status = async (path: string, init: RequestInit = {}): Promise<number> => {
    const headers = { authorization: token, ...(init.headers as Record<string, string> | undefined) };
    return (await fetch(`${server.urls[0]}${path}`, { method: 'POST', body: '{"key":"YQ=="}', ...init, headers })).status;
  };
  t.is(await status('/v3/kv/range'), 200);
  for (const path of ['/v3/KV/range', '/v3//kv/range', '/v3/kv/range/', '/v3/kv/../kv/x', '/V3/kv/range', '/v3/kv%2F%2Frange']) {
    t.is(await status(path), 404, path);
  }
});

test('SC14 a word about the method in a header, or a second request in the query, changes nothing', async (t) => {
  const client = await guarded(t);
  const server = await serve(client, { urls: ['http://127.0.0.1:0'] });
  t.teardown(() => server.drain(100));
  const { token } = await client.authenticate('u', 'u');
  const ask = async (path: string, init: RequestInit, headers: Record<string, string>): Promise<string> => {
    const response = await fetch(`${server.urls[0]}${path}`, { body: '{"key":"Yw=="}', method: 'POST', ...init, headers });
    return `${response.status} ${await response.text()}`;
  };
  // c is not this user's: neither a header nor the query makes it a or another method, or another user.
  const tries: readonly (readonly [string, Record<string, string>])[] = [
    ['/v3/kv/range?key=YQ==', {}], ['/v3/kv/range', { 'x-http-method-override': 'GET' }],
    ['/v3/kv/range?token=x', { 'grpc-metadata-authorization': 'x' }],
    ['/v3/kv/range', { 'x-original-url': '/health', 'x-rewrite-url': '/health' }],
  ];
  for (const [path, headers] of tries) {
    t.regex(await ask(path, {}, { ...headers, authorization: token }), /permission denied|invalid auth token/, path);
  }
});

test('SB8 a signed token of before a change is old, and the client is given a new one', async (t) => {
  const jwt = { method: 'HS256', publicKey: null, privateKey: Buffer.alloc(32, 1), ttlSeconds: 300 };
  const node = await startNode({ dataDir: null, listenPeerUrls: [], auth: { bcryptCost: 4, jwt } });
  t.teardown(() => node.close());
  const { client } = node;
  await client.changeAuth({ kind: 'user_add', name: 'root', password: { plain: 'r' } });
  await client.changeAuth({ kind: 'user_grant', name: 'root', role: 'root' });
  await client.changeAuth({ kind: 'enable' });
  const range = methods(client).get('/etcdserverpb.KV/Range');
  t.is(range?.kind, 'unary');
  if (range?.kind !== 'unary') return;
  const { token } = await client.authenticate('root', 'r');
  await range.handle(RANGE_A, call(token));
  await client.changeAuth({ kind: 'role_add', name: 'unrelated' });
  await t.throwsAsync(range.handle(RANGE_A, call(token)), { message: 'etcdserver: revision of auth store is old' });
  await t.throwsAsync(range.handle(RANGE_A, call('garbage')), { message: 'etcdserver: invalid auth token' });
  await range.handle(RANGE_A, call((await client.authenticate('root', 'r')).token));
  // Where auth is off nobody looks at a token, as in later releases of etcd.
  await client.changeAuth({ kind: 'disable' });
  await range.handle(RANGE_A, call('garbage'));
});

// The table over bytes, without any transport: order of refusals, leaders demanded, slow readers, statuses.

import test, { type ExecutionContext } from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { put, type Backend, type CallOptions, type RangeForm, type RangeRequest } from '../../../core/client.js';
import { ApiError } from '../../../core/errors.js';
import { startNode } from '../../../core/start-node.js';
import { pathOf, unknownMethodText, type CallContext, type StreamMethod, type UnaryMethod } from '../../../core/wire/call.js';
import { methods } from '../../../core/wire/methods.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import { errorOf, statusOf } from '../../../core/wire/status.js';
import { fakeCall } from './fake-call.js';

async function start(t: ExecutionContext): Promise<Backend> {
  const node = await startNode({ dataDir: null });
  t.teardown(() => node.close());
  return node.client;
}

function call(options: { hasLeader?: boolean; abort?: AbortController } = {}): CallContext {
  const { hasLeader = false, abort = new AbortController() } = options;
  return fakeCall(abort.signal, { hasLeader });
}

function unary(backend: Backend, path: string): UnaryMethod {
  const method = methods(backend, { txnOpsMax: 4 }).get(path);
  if (method?.kind !== 'unary') throw new Error(`${path} is not a plain call`);
  return method;
}

function stream(backend: Backend, path: string): StreamMethod {
  const method = methods(backend).get(path);
  if (method?.kind !== 'stream') throw new Error(`${path} is not a stream`);
  return method;
}

test('a transaction with an empty operation is refused for its first fault, in the order etcd looks', async (t) => {
  const txn = unary(await start(t), '/etcdserverpb.KV/Txn');
  const noKey = new Uint8Array(0);
  const putOp = (key: Uint8Array, more: Partial<rpc.PutRequest> = {}): rpc.RequestOp => {
    const value = { key, value: noKey, lease: 0n, prevKv: false, ignoreValue: false, ignoreLease: false, ...more };
    return { request: { $case: 'requestPut', value } };
  };
  const hole: rpc.RequestOp = { request: undefined };
  const inner = (success: rpc.RequestOp[]): rpc.RequestOp => ({
    request: { $case: 'requestTxn', value: { compare: [], success, failure: [] } },
  });
  const compare: rpc.Compare = { result: 0, target: 0, key: noKey, targetUnion: undefined, rangeEnd: noKey };
  const cases: [Partial<rpc.TxnRequest>, string][] = [
    [{ success: [hole] }, 'etcdserver: key not found'],
    [{ failure: [putOp(utf8('a')), hole] }, 'etcdserver: key not found'],
    [{ success: [hole, hole, hole, hole, hole] }, 'etcdserver: too many operations in txn request'],
    [{ compare: [compare], success: [hole] }, 'etcdserver: key is not provided'],
    [{ success: [putOp(noKey), hole] }, 'etcdserver: key is not provided'],
    [{ success: [hole, putOp(noKey)] }, 'etcdserver: key not found'],
    [{ success: [putOp(utf8('a'), { ignoreValue: true, value: utf8('x') }), hole] }, 'etcdserver: value is provided'],
    [{ success: [putOp(utf8('a'), { ignoreLease: true, lease: 1n }), hole] }, 'etcdserver: lease is provided'],
    [{ success: [inner([hole])] }, 'etcdserver: key not found'],
    [{ success: [inner([hole, hole, hole, hole])] }, 'etcdserver: too many operations in txn request'],
  ];
  for (const [request, message] of cases) {
    const bytes = rpc.TxnRequest.encode({ compare: [], success: [], failure: [], ...request }).finish();
    await t.throwsAsync(txn.handle(bytes, call()), { message });
  }
});

test('transactions inside each other are read as deep as etcd takes them', async (t) => {
  const backend = await start(t);
  const method = methods(backend).get('/etcdserverpb.KV/Txn');
  if (method?.kind !== 'unary') throw new Error('Txn is a plain call');
  const nested = (depth: number): rpc.TxnRequest => {
    const value = { key: utf8('a'), value: utf8(`${depth}`), lease: 0n, prevKv: false, ignoreValue: false, ignoreLease: false };
    let request: rpc.TxnRequest = { compare: [], success: [{ request: { $case: 'requestPut', value } }], failure: [] };
    for (let i = 0; i < depth; i++) {
      request = { compare: [], success: [{ request: { $case: 'requestTxn', value: request } }], failure: [] };
    }
    return request;
  };
  const send = (depth: number): Promise<Uint8Array> => method.handle(rpc.TxnRequest.encode(nested(depth)).finish(), call());
  t.true((await send(127)).length > 0);
  await t.throwsAsync(send(128), { message: 'etcdserver: too many operations in txn request' });
  // Deeper than any budget of etcd's: refused all the same, and nothing overflows.
  await t.throwsAsync(send(2000), { message: /^invalid request/ });
  t.deepEqual((await backend.range({ key: utf8('a') })).kvs.map(({ value }) => Buffer.from(value).toString()), ['127']);
});

test('a caller that demands a leader is refused by a member without one, at once or in a while', async (t) => {
  const backend = await start(t);
  const status = await backend.status();
  const leaderless = Object.assign(Object.create(backend) as typeof backend, {
    status: () => Promise.resolve({ ...status, leader: 0n }),
    identify: () => null,
  });
  const range = unary(leaderless, '/etcdserverpb.KV/Range');
  await t.throwsAsync(range.handle(Buffer.from('0a0161', 'hex'), call({ hasLeader: true })), {
    message: 'etcdserver: no leader',
  });
  const lock = unary(leaderless, '/v3lockpb.Lock/Lock');
  await t.throwsAsync(lock.handle(Buffer.from('0a016c', 'hex'), call({ hasLeader: true })), { message: 'etcdserver: no leader' });
  const keepAlive = stream(leaderless, '/etcdserverpb.Lease/LeaseKeepAlive');
  const nothing = never();
  const ended = keepAlive.handle(nothing, call({ hasLeader: true }), () => Promise.resolve());
  await t.throwsAsync(ended, { message: 'etcdserver: no leader' });
});

test('a call is asked once more when users or roles changed under it, if its caller is known by then', async (t) => {
  const backend = await start(t);
  let asked = 0;
  const between = (revisions: readonly number[]): Backend => Object.assign(Object.create(backend) as typeof backend, {
    identify: () => ({ user: 'u', authRevision: revisions[Math.min(asked, revisions.length - 1)], token: null }),
    rangeAs: <T>(request: RangeRequest, formOf: () => RangeForm<T>, options?: CallOptions): Promise<T> => {
      asked += 1;
      const isOld = asked === 1 || options?.caller?.authRevision === 1;
      if (isOld || backend.rangeAs === undefined) return Promise.reject(new ApiError('auth_revision_old'));
      return backend.rangeAs(request, formOf);
    },
  });
  const ask = (revisions: readonly number[]): Promise<Uint8Array> => {
    asked = 0;
    return unary(between(revisions), '/etcdserverpb.KV/Range').handle(Buffer.from('0a0161', 'hex'), call());
  };
  t.is(rpc.RangeResponse.decode(await ask([1, 2])).count, 0);
  t.is(asked, 2);
  await t.throwsAsync(ask([1, 1]), { message: 'etcdserver: revision of auth store is old' });
  t.is(asked, 1);
});

async function* never(): AsyncGenerator<Uint8Array> {
  await new Promise<never>(() => undefined);
  yield new Uint8Array(0);
}

test('a reader that takes nothing is sent nothing more, and misses nothing', async (t) => {
  const backend = await start(t);
  const abort = new AbortController();
  const value = { rangeEnd: new Uint8Array(0), startRevision: 0n, progressNotify: false, filters: [], prevKv: false };
  const create = { ...value, key: utf8('a'), watchId: 0n, fragment: false };
  async function* requests(): AsyncGenerator<Uint8Array> {
    yield rpc.WatchRequest.encode({ requestUnion: { $case: 'createRequest', value: create } }).finish();
    await new Promise<void>((resolve) => abort.signal.addEventListener('abort', () => resolve()));
  }
  const answers: rpc.WatchResponse[] = [];
  let release = (): void => undefined;
  let created = (): void => undefined;
  const ready = new Promise<void>((resolve) => {
    created = resolve;
  });
  const send = (bytes: Uint8Array): Promise<void> => {
    answers.push(rpc.WatchResponse.decode(bytes));
    if (answers.length === 1) {
      created();
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      release = resolve;
    });
  };
  const serving = stream(backend, '/etcdserverpb.Watch/Watch').handle(requests(), call({ abort }), send);
  await ready;
  for (let i = 0; i < 50; i++) await put(backend, utf8('a'), utf8(String(i)));
  t.is(answers.length, 2);
  const count = (): number => answers.reduce((sum, { events }) => sum + events.length, 0);
  while (count() < 50) {
    release();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const revisions = answers.flatMap(({ events }) => events.map(({ kv }) => kv?.modRevision));
  t.deepEqual(revisions, Array.from({ length: 50 }, (_, i) => i + 2));
  abort.abort();
  await serving;
});

test('errors become statuses in one place, and come back as what they were', (t) => {
  t.deepEqual(statusOf(new ApiError('lease_not_found')), { code: 5, text: 'etcdserver: requested lease not found' });
  t.deepEqual(statusOf(new ApiError('closed')), { code: 14, text: 'etcdserver: server stopped' });
  t.deepEqual(statusOf(new ApiError('too_many_requests')), { code: 2, text: 'etcdserver: too many requests' });
  t.deepEqual(statusOf(new TypeError('raw')), { code: 2, text: 'internal error' });
  t.is(errorOf({ code: 2, text: 'etcdserver: too many requests' }).code, 'too_many_requests');
  t.is(errorOf({ code: 14, text: 'etcdserver: request timed out, possibly due to connection lost' }).code, 'timeout');
  t.is(errorOf({ code: 2, text: 'context deadline exceeded' }).outcome, 'unknown');
  t.is(errorOf({ code: 14, text: 'read ECONNRESET' }).outcome, 'unknown');
  t.is(errorOf({ code: 14, text: 'No connection established' }, false).outcome, 'never');
  t.is(errorOf({ code: 7, text: 'etcdserver: permission denied' }).outcome, 'never');
  t.is(errorOf({ code: 12, text: 'unknown service x' }).code, 'unsupported');
});

test('unknown paths are told apart as etcd tells them', async (t) => {
  const table = methods(await start(t));
  for (const [path, method] of table) t.is(pathOf(method), path);
  t.is(unknownMethodText('/etcdserverpb.Lease/X', table), 'unknown method X for service etcdserverpb.Lease');
  t.is(unknownMethodText('/x.Y/Z', table), 'unknown service x.Y');
  t.is(unknownMethodText('nothing', table), 'malformed method name: "nothing"');
});

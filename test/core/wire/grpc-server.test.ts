// The gRPC side as a client of any kind sees it, on both servers: texts, limits, watches, half-closes and draining. Spoken with
// the library itself, raw bytes, so that what RemoteClient would hide shows.

import { Client, credentials, Metadata, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { connect as dialHttp2 } from 'node:http2';
import type { ExecutionContext } from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { put } from '../../../core/client.js';
import { startNode, type RunningNode } from '../../../core/start-node.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import type { WireEvent } from '../../../core/wire/wire-events.js';
import { onBoth } from '../../on-both.js';
import { serve, type GrpcServerName, type WireServer } from '../../serving.js';

interface Setup {
  readonly node: RunningNode;
  readonly server: WireServer;
  readonly client: Client;
  readonly events: WireEvent[];
}

async function setUp(t: ExecutionContext, grpcServer: GrpcServerName): Promise<Setup> {
  const events: WireEvent[] = [];
  const node = await startNode({ dataDir: null });
  const server = await serve(node.client, {
    urls: ['http://127.0.0.1:0'],
    observe: (event) => events.push(event),
    grpcServer,
  });
  const client = new Client((server.urls[0] ?? '').replace('http://', ''), credentials.createInsecure());
  t.teardown(async () => {
    client.close();
    await server.close();
    await node.close();
  });
  return { node, server, client, events };
}

function same(bytes: Buffer): Buffer {
  return bytes;
}

function call(client: Client, path: string, bytes: Uint8Array, metadata = new Metadata()): Promise<Buffer | ServiceError> {
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, same, same, Buffer.from(bytes), metadata, {}, (error, answer) => {
      resolve(error ?? answer ?? Buffer.alloc(0));
    });
  });
}

async function failure(t: ExecutionContext, answer: Promise<Buffer | ServiceError>): Promise<[number, string]> {
  const result = await answer;
  if ('details' in result) return [result.code, result.details];
  t.fail('the call succeeded');
  return [0, ''];
}

onBoth('what is not served is refused in the words of etcd', async (t, grpcServer) => {
  const { client } = await setUp(t, grpcServer);
  const nothing = new Uint8Array(0);
  t.deepEqual(await failure(t, call(client, '/etcdserverpb.KV/Nope', nothing)), [
    12,
    'unknown method Nope for service etcdserverpb.KV',
  ]);
  t.deepEqual(await failure(t, call(client, '/foo.Bar/Baz', nothing)), [12, 'unknown service foo.Bar']);
});

onBoth('a message over its limit is refused with both sizes, one at that of the log in its own words', async (t, grpcServer) => {
  const { client } = await setUp(t, grpcServer);
  const bytes = (length: number): Uint8Array =>
    rpc.PutRequest.encode({
      key: utf8('a'),
      value: new Uint8Array(length),
      lease: 0n,
      prevKv: false,
      ignoreValue: false,
      ignoreLease: false,
    }).finish();
  const large = bytes(2_200_000);
  const text = `grpc: received message larger than max (${large.length} vs. 2097152)`;
  t.deepEqual(await failure(t, call(client, '/etcdserverpb.KV/Put', large)), [8, text]);
  t.deepEqual(await failure(t, call(client, '/etcdserverpb.KV/Put', bytes(1_600_000))), [3, 'etcdserver: request is too large']);
  t.true((await call(client, '/etcdserverpb.KV/Put', bytes(1_572_000))) instanceof Buffer);
});

onBoth('garbage is an error of the caller, and every call is counted once with its code', async (t, grpcServer) => {
  const { client, events } = await setUp(t, grpcServer);
  const [code] = await failure(t, call(client, '/etcdserverpb.KV/Range', Buffer.from('ffffffff', 'hex')));
  t.is(code, 3);
  t.true((await call(client, '/etcdserverpb.Maintenance/Status', new Uint8Array(0))) instanceof Buffer);
  const handled = events.flatMap((event) => (event.kind === 'call_handled' ? [[event.method.name, event.code]] : []));
  t.deepEqual(handled, [
    ['Range', 3],
    ['Status', 0],
  ]);
  t.is(events.filter(({ kind }) => kind === 'call_started').length, 2);
});

onBoth('a number no client of ours would send is clamped, and an unknown sort target refused', async (t, grpcServer) => {
  const { client } = await setUp(t, grpcServer);
  // Field 3, limit, and field 4, revision: the largest int64; field 6, sort target: 9.
  const most = 'ffffffffffffffff7f';
  const [code, text] = await failure(t, call(client, '/etcdserverpb.KV/Range', Buffer.from(`0a016118${most}20${most}`, 'hex')));
  t.deepEqual([code, text], [11, 'etcdserver: mvcc: required revision is a future revision']);
  t.true((await call(client, '/etcdserverpb.KV/Range', Buffer.from(`0a016118${most}`, 'hex'))) instanceof Buffer);
  const sort = await failure(t, call(client, '/etcdserverpb.KV/Range', Buffer.from('0a01613009', 'hex')));
  t.deepEqual(sort, [3, 'etcdserver: invalid sort option']);
});

class WatchStream {
  readonly stream: ClientDuplexStream<Buffer, Buffer>;
  readonly answers: rpc.WatchResponse[] = [];
  status: number | null = null;
  text = '';
  #wake: () => void = () => undefined;

  constructor(client: Client) {
    this.stream = client.makeBidiStreamRequest('/etcdserverpb.Watch/Watch', same, same);
    this.stream.on('data', (bytes: Buffer) => {
      this.answers.push(rpc.WatchResponse.decode(bytes));
      this.#wake();
    });
    this.stream.on('error', (error: ServiceError) => {
      this.status = error.code;
      this.text = error.details;
      this.#wake();
    });
    this.stream.on('end', () => {
      this.status ??= 0;
      this.#wake();
    });
  }

  create(request: Partial<rpc.WatchCreateRequest> & { key: Uint8Array }): void {
    const none = { rangeEnd: new Uint8Array(0), startRevision: 0n, progressNotify: false, filters: [], prevKv: false };
    const value = { ...none, watchId: 0n, fragment: false, ...request };
    this.send({ $case: 'createRequest', value });
  }

  send(requestUnion: rpc.WatchRequest['requestUnion']): void {
    this.stream.write(Buffer.from(rpc.WatchRequest.encode({ requestUnion }).finish()));
  }

  async until(enough: () => boolean): Promise<void> {
    while (!enough()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

onBoth('one stream carries many watches, told apart by ids of either side’s choosing', async (t, grpcServer) => {
  const { client, node } = await setUp(t, grpcServer);
  const watch = new WatchStream(client);
  t.teardown(() => watch.stream.cancel());
  watch.create({ key: utf8('a') });
  watch.create({ key: utf8('b'), watchId: 1n });
  watch.create({ key: utf8('c') });
  watch.create({ key: utf8('c'), watchId: 1n });
  watch.create({ key: utf8('z'), rangeEnd: utf8('a') });
  watch.create({ key: utf8('n'), startRevision: -1n });
  watch.send(undefined);
  watch.send({ $case: 'cancelRequest', value: { watchId: 99n } });
  await watch.until(() => watch.answers.length === 6);
  t.deepEqual(
    watch.answers.map(({ watchId, created, canceled, cancelReason }) => [watchId, created, canceled, cancelReason]),
    [
      [0n, true, false, ''],
      [1n, true, false, ''],
      [2n, true, false, ''],
      [-1n, true, true, 'mvcc: duplicate watch ID provided on the WatchStream'],
      [-1n, true, true, 'mvcc: watcher range is empty'],
      [-1n, true, true, 'etcdserver: mvcc: required revision has been compacted'],
    ],
  );
  await put(node.client, utf8('b'), utf8('1'));
  await watch.until(() => watch.answers.length === 7);
  t.is(watch.answers[6]?.watchId, 1n);
  watch.send({ $case: 'cancelRequest', value: { watchId: 1n } });
  await watch.until(() => watch.answers.length === 8);
  t.true(watch.answers[7]?.canceled);
});

onBoth('the id of a watch that compaction ended is taken until it is cancelled', async (t, grpcServer) => {
  const { client, node } = await setUp(t, grpcServer);
  const watch = new WatchStream(client);
  t.teardown(() => watch.stream.cancel());
  const { revision } = (await put(node.client, utf8('a'), utf8('1'))).header;
  await put(node.client, utf8('a'), utf8('2'));
  await node.client.compact(revision + 1);
  watch.create({ key: utf8('a'), startRevision: 1n, watchId: 1n });
  await watch.until(() => watch.answers.length === 2);
  watch.create({ key: utf8('a'), watchId: 1n });
  watch.create({ key: utf8('a') });
  watch.create({ key: utf8('a') });
  watch.send({ $case: 'cancelRequest', value: { watchId: 1n } });
  watch.send({ $case: 'cancelRequest', value: { watchId: 1n } });
  watch.create({ key: utf8('a'), watchId: 1n });
  await watch.until(() => watch.answers.length === 7);
  t.deepEqual(
    watch.answers.map(({ watchId, created, canceled, compactRevision }) => [watchId, created, canceled, compactRevision]),
    [
      [1n, true, false, 0],
      [1n, false, true, revision + 1],
      [-1n, true, true, 0],
      [0n, true, false, 0],
      [2n, true, false, 0],
      [1n, false, true, 0],
      [1n, true, false, 0],
    ],
  );
});

onBoth('a half-close leaves the watches of a stream alive', async (t, grpcServer) => {
  const { client, node } = await setUp(t, grpcServer);
  const watch = new WatchStream(client);
  t.teardown(() => watch.stream.cancel());
  watch.create({ key: utf8('a') });
  watch.stream.end();
  await watch.until(() => watch.answers.length === 1);
  await put(node.client, utf8('a'), utf8('1'));
  await watch.until(() => watch.answers.length === 2);
  t.is(watch.answers[1]?.events.length, 1);
  t.is(watch.status, null);
});

onBoth('an answer about progress speaks for all watches of the stream', async (t, grpcServer) => {
  const { client, node } = await setUp(t, grpcServer);
  const watch = new WatchStream(client);
  t.teardown(() => watch.stream.cancel());
  watch.send({ $case: 'progressRequest', value: {} });
  await watch.until(() => watch.answers.length === 1);
  t.is(watch.answers[0]?.watchId, -1n);
  for (let i = 0; i < 50; i++) await put(node.client, utf8('p'), utf8(String(i)));
  watch.create({ key: utf8('p'), startRevision: 1n });
  watch.create({ key: utf8('q') });
  watch.send({ $case: 'progressRequest', value: {} });
  await watch.until(() => watch.answers.filter(({ watchId }) => watchId === -1n).length === 2);
  const last = watch.answers.at(-1);
  t.is(last?.header?.revision, 51);
  const delivered = watch.answers.slice(0, -1).reduce((sum, { events }) => sum + events.length, 0);
  t.is(delivered, 50);
});

onBoth('a large batch is split only for a watch that asked for fragments', async (t, grpcServer) => {
  const { client, node } = await setUp(t, grpcServer);
  const value = new Uint8Array(100_000);
  for (let i = 0; i < 30; i++) await put(node.client, utf8('f'), value);
  const big = new Client(client.getChannel().getTarget().replace(/^dns:/, ''), credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
  });
  const watch = new WatchStream(big);
  t.teardown(() => {
    watch.stream.cancel();
    big.close();
  });
  watch.create({ key: utf8('f'), startRevision: 1n, fragment: true });
  watch.create({ key: utf8('f'), startRevision: 1n });
  const eventsOf = (id: bigint): rpc.WatchResponse[] =>
    watch.answers.filter((one) => one.watchId === id && one.events.length > 0);
  const count = (id: bigint): number => eventsOf(id).reduce((sum, { events }) => sum + events.length, 0);
  await watch.until(() => count(0n) === 30 && count(1n) === 30);
  t.deepEqual(eventsOf(1n).map(({ fragment }) => fragment), [false]);
  t.deepEqual(eventsOf(0n).map(({ fragment }) => fragment), [true, false]);
});

onBoth('keep-alives are answered in order, and a half-close ends them with status 0', async (t, grpcServer) => {
  const { client, node } = await setUp(t, grpcServer);
  const lease = await node.client.grant(60);
  const path = '/etcdserverpb.Lease/LeaseKeepAlive';
  const stream: ClientDuplexStream<Buffer, Buffer> = client.makeBidiStreamRequest(path, same, same);
  const answers: [bigint, number][] = [];
  const status = new Promise<number>((resolve) => stream.on('status', ({ code }: { code: number }) => resolve(code)));
  stream.on('data', (bytes: Buffer) => {
    const { ID, TTL } = rpc.LeaseKeepAliveResponse.decode(bytes);
    answers.push([ID, TTL]);
  });
  for (const ID of [lease.id, 5n, lease.id]) stream.write(Buffer.from(rpc.LeaseKeepAliveRequest.encode({ ID }).finish()));
  stream.end();
  t.is(await status, 0);
  t.deepEqual(answers, [
    [lease.id, 60],
    [5n, 0],
    [lease.id, 60],
  ]);
});

onBoth('draining ends calls that may wait for ever, those as well whose request comes only then', async (t, grpcServer) => {
  const { node, server, client } = await setUp(t, grpcServer);
  const { id } = await node.client.grant(60);
  await put(node.client, utf8(`l/${id.toString(16)}`), utf8(''), { lease: id });
  // Lock { name: 'l' }, as gRPC frames it.
  const lock = Buffer.from('0a016c', 'hex');
  const late = dialHttp2(server.urls[0] ?? '');
  late.on('error', () => undefined);
  t.teardown(() => late.destroy());
  const path = '/v3lockpb.Lock/Lock';
  const asked = late.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
  const told = new Promise<unknown>((resolve) => {
    const tell = (headers: Record<string, unknown>): void => {
      if (headers['grpc-status'] !== undefined) resolve(headers['grpc-status']);
    };
    asked.on('response', tell).on('trailers', tell).on('error', resolve).resume();
  });
  const waiting = failure(t, call(client, path, lock));
  while ((await node.client.range({ key: utf8('l/'), rangeEnd: utf8('l0') })).count < 2) await nextTurn();
  const drained = server.drain(20_000);
  asked.end(Buffer.concat([Buffer.from([0, 0, 0, 0, lock.length]), lock]));
  t.deepEqual(await waiting, [14, 'etcdserver: server stopped']);
  t.is(await told, '14');
  await drained;
  t.is((await node.client.range({ key: utf8('l/'), rangeEnd: utf8('l0') })).count, 1);
});

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5));
}

onBoth('draining ends watches with a word to go elsewhere, lets calls finish, and refuses new lines', async (t, grpcServer) => {
  const node = await startNode({ dataDir: null });
  // A backend whose reads take until they are let go.
  const entered = signal();
  const released = signal();
  const backend = new Proxy(node.client, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== 'function') return member;
      return async (...args: unknown[]): Promise<unknown> => {
        if (name === 'rangeAs') entered.give();
        if (name === 'rangeAs') await released.given;
        return Reflect.apply(member, target, args) as unknown;
      };
    },
  });
  const watchable = Object.assign(Object.create(backend) as typeof backend, {
    watch: (...args: Parameters<typeof node.client.watch>) => node.client.watch(...args),
  });
  const server = await serve(watchable, { urls: ['http://127.0.0.1:0'], grpcServer });
  const client = new Client((server.urls[0] ?? '').replace('http://', ''), credentials.createInsecure());
  const watch = new WatchStream(client);
  watch.create({ key: utf8('a') });
  await watch.until(() => watch.answers.length === 1);
  const pending = call(client, '/etcdserverpb.KV/Range', Buffer.from('0a0178', 'hex'));
  await entered.given;
  const drained = server.drain(30_000);
  await watch.until(() => watch.status !== null);
  t.is(watch.status, 14);
  t.is(watch.text, 'etcdserver: server stopped');
  await t.throwsAsync(fetch(`${server.urls[0] ?? ''}/health`));
  released.give();
  t.true((await pending) instanceof Buffer);
  await drained;
  client.close();
  await node.close();
});

function signal(): { readonly given: Promise<void>; give(): void } {
  let give = (): void => undefined;
  const given = new Promise<void>((resolve) => {
    give = resolve;
  });
  return { given, give: () => give() };
}

// The watches of a remote client on a stream that is made up: what they send, and what their reader gets of what comes back.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { systemClock } from '../../../core/base/clock.js';
import type { WatchBatch } from '../../../core/client.js';
import { CLIENT_WATCH_BYTES_MAX } from '../../../core/wire/limits.js';
import type { ByteStream, StreamHandlers } from '../../../core/wire/remote-stream.js';
import { RemoteWatches } from '../../../core/wire/remote-watch.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';

/** The server's side: what it was sent, and what it says. */
class FakeServer {
  readonly requests: NonNullable<rpc.WatchRequest['requestUnion']>[] = [];
  #handlers: StreamHandlers | null = null;

  readonly open = (_path: string, handlers: StreamHandlers): ByteStream => {
    this.#handlers = handlers;
    return {
      send: (bytes) => {
        const { requestUnion } = rpc.WatchRequest.decode(bytes);
        if (requestUnion !== undefined) this.requests.push(requestUnion);
      },
      cancel: () => undefined,
      forsake: () => undefined,
      disown: () => false,
    };
  };

  say(revision: number, rest: Partial<rpc.WatchResponse> = {}): void {
    const header = { clusterId: 1n, memberId: 1n, revision, raftTerm: 1 };
    const message = { ...rpc.WatchResponse.decode(new Uint8Array(0)), header, watchId: 1n, ...rest };
    this.#handlers?.onMessage(rpc.WatchResponse.encode(message).finish());
  }

  count(kind: 'createRequest' | 'cancelRequest'): number {
    return this.requests.filter(({ $case }) => $case === kind).length;
  }
}

function watchesOf(server: FakeServer): RemoteWatches {
  return new RemoteWatches({ open: server.open, clock: systemClock, version: () => Promise.resolve('3.6.0') });
}

function revisionOf(batch: WatchBatch | undefined): number {
  return batch?.header.revision ?? -1;
}

test('what nobody reads is bounded, progress too: the watch is stopped at the server until all is read', async (t) => {
  const server = new FakeServer();
  const watches = watchesOf(server);
  const watch = watches.watch({ key: utf8('a'), progressNotify: true }, { signal: null, timeoutMs: 5_000 });
  server.say(1, { created: true });
  let said = 1;
  // A batch takes at least its pointers: long before this many there must be an end to it.
  while (server.count('cancelRequest') === 0 && said < CLIENT_WATCH_BYTES_MAX / 16) {
    said++;
    server.say(said);
  }
  t.is(server.count('cancelRequest'), 1);
  // Of what was under way nothing is taken any more.
  server.say(said + 1);
  t.is(server.count('createRequest'), 1);

  const iterator = watch[Symbol.asyncIterator]();
  let last = -1;
  for (let i = 0; i < said; i++) {
    const result = await iterator.next();
    if (result.done === true) break;
    last = revisionOf(result.value);
  }
  t.is(last, said);
  t.is(server.count('createRequest'), 1);
  const next = iterator.next();
  const again = server.requests.at(-1);
  t.is(again?.$case === 'createRequest' ? again.value.startRevision : -1n, BigInt(said + 1));
  watches.close();
  t.true((await next).done);
});

test('an aborted watch throws at once, whatever is buffered, and is stopped at the server', async (t) => {
  const server = new FakeServer();
  const watches = watchesOf(server);
  const abort = new AbortController();
  const watch = watches.watch({ key: utf8('a') }, { signal: abort.signal, timeoutMs: 5_000 });
  server.say(1, { created: true });
  abort.abort('enough');
  const error = await t.throwsAsync(watch[Symbol.asyncIterator]().next(), { message: /canceled/ });
  t.is(error?.cause, 'enough');
  t.is(server.count('cancelRequest'), 1);
  watches.close();
});

test('a watch that fails still hands out what came before', async (t) => {
  const server = new FakeServer();
  const watches = watchesOf(server);
  const iterator = watches.watch({ key: utf8('a') }, { signal: null, timeoutMs: 5_000 })[Symbol.asyncIterator]();
  server.say(1, { created: true });
  server.say(9, { canceled: true, compactRevision: 7 });
  const first = await iterator.next();
  t.is(first.done === true ? '' : first.value.kind, 'created');
  await t.throwsAsync(iterator.next(), { message: /compacted/ });
  t.true((await iterator.next()).done);
  watches.close();
});

test('a watch refused at its creation ends with what it was refused for, and the others of its stream go on', async (t) => {
  const server = new FakeServer();
  const watches = watchesOf(server);
  const options = { signal: null, timeoutMs: 60_000 };
  const [before, refused, after] = ['a', 'b', 'c'].map((key) => watches.watch({ key: utf8(key) }, options));
  if (before === undefined || refused === undefined || after === undefined) return t.fail();
  // A refusal names no id (etcd 3.4 and later); the order of the answers is that of the requests.
  const cancelReason = 'rpc error: code = PermissionDenied desc = etcdserver: permission denied';
  server.say(1, { created: true, watchId: 1n });
  server.say(1, { created: true, watchId: -1n, canceled: true, cancelReason });
  server.say(1, { created: true, watchId: 3n });
  await t.throwsAsync(refused[Symbol.asyncIterator]().next(), { code: 'permission_denied' });
  for (const watch of [before, after]) t.like(await watch[Symbol.asyncIterator]().next(), { value: { kind: 'created' } });
  watches.close();
});

test('a range in which no key lies is a watch on which nothing happens, whatever the server calls it', async (t) => {
  const server = new FakeServer();
  const watches = watchesOf(server);
  const watch = watches.watch({ key: utf8('b'), rangeEnd: utf8('a') }, { signal: null, timeoutMs: 60_000 });
  server.say(1, { created: true, watchId: -1n, canceled: true, cancelReason: 'mvcc: watcher range is empty' });
  const iterator = watch[Symbol.asyncIterator]();
  t.like(await iterator.next(), { value: { kind: 'created' } });
  watch.close();
  t.true((await iterator.next()).done);
});

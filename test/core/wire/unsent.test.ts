// SD6: answers that are made and not taken are bounded, whoever asks for them, and however: many ranges, or many watches.

import { request } from 'node:http';
import { connect as dialHttp2, type ClientHttp2Stream } from 'node:http2';
import test from 'ava';
import { WebSocket } from 'ws';
import { utf8 } from '../../../core/base/bytes.js';
import { put } from '../../../core/client.js';
import { startNode } from '../../../core/start-node.js';
import { methods } from '../../../core/wire/methods.js';
import { onBoth } from '../../on-both.js';
import { serve } from '../../serving.js';
import { connect } from '../../../core/wire/remote-client.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import { UnsentAnswers } from '../../../core/wire/unsent.js';
import type { WireEvent } from '../../../core/wire/wire-events.js';
import { fakeCall } from './fake-call.js';

test('who makes the server hold the most loses what waits longest, and one answer alone is never cut', (t) => {
  const cut: string[] = [];
  const told: string[] = [];
  const unsent = new UnsentAnswers(100, (address) => told.push(address));
  const hold = (address: string, bytes: number): (() => void) => {
    const name = `${address} ${bytes}`;
    return unsent.hold(address, bytes, () => cut.push(name));
  };
  const large = hold('a', 500);
  t.deepEqual(cut, []);
  large();
  large();
  t.is(unsent.bytes, 0);
  hold('a', 40);
  hold('b', 30);
  hold('a', 20);
  t.deepEqual(cut, []);
  const last = hold('b', 25);
  t.deepEqual(cut, ['a 40']);
  hold('c', 30);
  t.deepEqual(cut, ['a 40', 'b 30']);
  t.is(unsent.bytes, 75);
  last();
  t.is(unsent.bytes, 50);
  t.deepEqual(told, ['a', 'b']);
});

const ENHANCE_YOUR_CALM = 11;

/** As gRPC frames it. */
function framed(bytes: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

const CUT = 'SD6: ranges whose answers nobody takes are cut off beyond a bound, the oldest first, and others are served';

onBoth(CUT, async (t, grpcServer) => {
  const events: WireEvent[] = [];
  const node = await startNode({ dataDir: null });
  t.teardown(() => node.close());
  const observe = (event: WireEvent): void => void events.push(event);
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'], unsentBytesMax: 2_000_000, observe, grpcServer });
  t.teardown(() => server.close());
  await put(node.client, utf8('k'), new Uint8Array(300_000));
  const session = dialHttp2(server.urls[0] ?? '', { settings: { initialWindowSize: 0 } });
  session.on('error', () => undefined);
  t.teardown(() => session.destroy());
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  const asked = framed(rpc.RangeRequest.encode({ ...rpc.RangeRequest.decode(new Uint8Array(0)), key: utf8('k') }).finish());
  const ended: number[] = [];
  const ask = (i: number): ClientHttp2Stream => {
    const path = '/etcdserverpb.KV/Range';
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
    stream.on('error', () => undefined).on('close', () => {
      if (stream.rstCode === ENHANCE_YOUR_CALM) ended.push(i);
    });
    stream.end(asked);
    return stream;
  };
  for (let i = 0; i < 20; i++) await new Promise((resolve) => ask(i).on('response', resolve));
  while (ended.length < 14) await new Promise((resolve) => setTimeout(resolve, 5));
  t.deepEqual([...ended].sort((a, b) => a - b), Array.from({ length: 14 }, (_, i) => i));
  t.is(events.filter(({ kind }) => kind === 'answer_unread').length, 1);
  const client = connect(server.urls);
  t.teardown(() => client.close());
  t.is((await client.range({ key: utf8('k') })).kvs[0]?.value.length, 300_000);
});

function postUnread(url: string, body: string): { destroy(): void } {
  const asked = request(url, { method: 'POST', agent: false }).on('error', () => undefined);
  asked.on('response', (answer) => answer.on('error', () => undefined));
  return asked.end(body);
}

/** Reads all keys, or watches them from their beginning, in a connection from which nothing is taken. */
const UNREAD: Readonly<Record<string, (url: string) => { destroy(): void }>> = {
  'plain calls over HTTP': (url) => postUnread(`${url}/v3/kv/range`, ALL),
  'streams over HTTP': (url) => postUnread(`${url}/v3/watch`, HISTORY),
  'streams over gRPC': (url) => {
    const session = dialHttp2(url, { settings: { initialWindowSize: 0 } }).on('error', () => undefined);
    const path = '/etcdserverpb.Watch/Watch';
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
    const value = {
      key: utf8('k'), rangeEnd: utf8('l'), startRevision: 1n, progressNotify: false, filters: [], prevKv: false, watchId: 0n,
      fragment: false,
    };
    const create = rpc.WatchRequest.encode({ requestUnion: { $case: 'createRequest', value } }).finish();
    stream.on('error', () => undefined).write(framed(create));
    return session;
  },
  'streams over WebSockets': (url) => {
    const page = new WebSocket(`${url.replace('http', 'ws')}/v3/watch`).on('error', () => undefined);
    page.on('open', () => {
      page.pause();
      page.send(HISTORY);
    });
    return { destroy: () => page.terminate() };
  },
};
const RANGE = { key: Buffer.from('k').toString('base64'), range_end: Buffer.from('l').toString('base64') };
const ALL = JSON.stringify(RANGE);
const HISTORY = JSON.stringify({ create_request: { ...RANGE, start_revision: 1 } });

for (const [name, beginUnread] of Object.entries(UNREAD)) {
  test(`SD6: ${name} whose answers nobody reads are cut off beyond a bound, and others are served`, async (t) => {
    const cut: string[] = [];
    const node = await startNode({ dataDir: null });
    t.teardown(() => node.close());
    const observe = (event: WireEvent): void => void (event.kind === 'answer_unread' && cut.push(event.address));
    const server = await serve(node.client, { urls: ['http://127.0.0.1:0'], unsentBytesMax: 2_500_000, observe });
    t.teardown(() => server.close());
    for (let i = 0; i < 4; i++) await put(node.client, utf8(`k${i}`), new Uint8Array(1_000_000));
    const readers = [1, 2].map(() => beginUnread(server.urls[0] ?? ''));
    t.teardown(() => readers.forEach((reader) => reader.destroy()));
    while (cut.length === 0 || node.facts().watchers > 1) await new Promise((resolve) => setTimeout(resolve, 5));
    t.deepEqual(cut, ['127.0.0.1']);
    const body = JSON.stringify({ key: Buffer.from('k0').toString('base64') });
    const read = await fetch(`${server.urls[0]}/v3/kv/range`, { method: 'POST', body });
    t.true((await read.text()).length > 1_300_000);
  });
}

test('SD6: a stream of many watches holds one answer for a reader that takes nothing, and misses none', async (t) => {
  const node = await startNode({ dataDir: null });
  t.teardown(() => node.close());
  const watch = methods(node.client).get('/etcdserverpb.Watch/Watch');
  if (watch?.kind !== 'stream') return t.fail('watch is a stream');
  const abort = new AbortController();
  const call = fakeCall(abort.signal);
  const watches = 50;
  const sent: rpc.WatchResponse[] = [];
  let take = (): void => undefined;
  let isTaking = true;
  const send = async (bytes: Uint8Array): Promise<void> => {
    sent.push(rpc.WatchResponse.decode(bytes));
    if (isTaking) return;
    await new Promise<void>((resolve) => {
      take = resolve;
    });
  };
  async function* requests(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < watches; i++) {
      const value = {
        key: utf8('w'), rangeEnd: utf8(''), startRevision: 0n, progressNotify: false, filters: [], prevKv: false, watchId: 0n,
        fragment: i % 2 === 1,
      };
      yield rpc.WatchRequest.encode({ requestUnion: { $case: 'createRequest', value } }).finish();
    }
    await new Promise<void>((resolve) => abort.signal.addEventListener('abort', () => resolve()));
  }
  const served = watch.handle(requests(), call, send);
  while (sent.length < watches) await new Promise((resolve) => setTimeout(resolve, 1));
  isTaking = false;
  await put(node.client, utf8('w'), utf8('1'));
  await put(node.client, utf8('w'), utf8('2'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(sent.length, watches + 1);
  isTaking = true;
  take();
  const heard = (): number => sent.flatMap(({ events }) => events).length;
  while (heard() < 2 * watches) await new Promise((resolve) => setTimeout(resolve, 1));
  for (let id = 0n; id < watches; id++) {
    const values = sent.filter(({ watchId }) => watchId === id).flatMap(({ events }) => events);
    t.deepEqual(values.map(({ kv }) => Buffer.from(kv?.value ?? []).toString()), ['1', '2']);
  }
  abort.abort();
  await served;
});

// Watch as etcd serves it (contract 5): the same requests on raw streams to a real etcd and to coterie, and every answer
// compared in full. What etcd groups by its own timing (how soon it sees a change) is made certain by waiting for each answer.

import test from 'ava';
import { OPEN_END, utf8 } from '../../core/base/bytes.js';
import * as convert from '../../core/wire/convert.js';
import * as rpc from '../../core/wire/schema/generated/rpc.js';
import { startPair, type Pair } from './pair.js';
import { RawClient, type RawStream } from './raw-grpc.js';
import { isInstalled } from './real-etcd.js';
import { inWords, saySame } from './side-by-side.js';

let pair: Pair | null = null;

test.before('etcd and coterie start', async (t) => {
  if (isInstalled('etcd', (line) => t.log(line))) pair = await startPair();
});
test.after.always('both end', async () => pair?.close());

const NOTHING = new Uint8Array(0);
const CREATE: rpc.WatchCreateRequest = {
  key: utf8('a'), rangeEnd: NOTHING, startRevision: 0n, progressNotify: false, filters: [], prevKv: false, watchId: 0n,
  fragment: false,
};

type Heard = Awaited<ReturnType<RawStream<rpc.WatchRequest, rpc.WatchResponse>['next']>>;

class Steps {
  readonly #client: RawClient;
  readonly said: string[] = [];
  #stream: RawStream<rpc.WatchRequest, rpc.WatchResponse>;

  constructor(url: string) {
    this.#client = new RawClient(url, { 'grpc.max_receive_message_length': -1 });
    this.#stream = this.#open();
  }

  close(): void {
    this.#stream.cancel();
    this.#client.close();
  }

  #open(): RawStream<rpc.WatchRequest, rpc.WatchResponse> {
    return this.#client.stream('/etcdserverpb.Watch/Watch', rpc.WatchRequest, rpc.WatchResponse);
  }

  /** Another stream, on which ids begin again. */
  fresh(): void {
    this.#stream.cancel();
    this.#stream = this.#open();
  }

  write(requestUnion: rpc.WatchRequest['requestUnion']): void {
    this.#stream.write({ requestUnion });
  }

  halfClose(): void {
    this.#stream.halfClose();
  }

  create(request: Partial<rpc.WatchCreateRequest>): void {
    this.write({ $case: 'createRequest', value: { ...CREATE, ...request } });
  }

  /** So many answers, each in full. */
  async hear(count = 1, waitMs = 5000): Promise<readonly Heard[]> {
    const heard: Heard[] = [];
    for (let i = 0; i < count; i++) heard.push(await this.#stream.next(waitMs));
    // Answers to one change come in any order of the watches; those of one watch keep theirs.
    this.said.push(...heard.map(inWords).toSorted((a, b) => idIn(a) - idIn(b)));
    return heard;
  }

  /** A watch that is created and whose answer is heard. */
  async watch(request: Partial<rpc.WatchCreateRequest>, more = 0): Promise<readonly Heard[]> {
    this.create(request);
    return await this.hear(1 + more);
  }

  async put(key: string, value = ''): Promise<number> {
    const message = convert.writePutRequest({ key: utf8(key), value: utf8(value) });
    const outcome = await this.#client.call('/etcdserverpb.KV/Put', rpc.PutRequest, rpc.PutResponse, message);
    return 'answer' in outcome ? (outcome.answer.header?.revision ?? 0) : 0;
  }

  async delete(key: string, end = ''): Promise<void> {
    const message = convert.writeDeleteRequest({ key: utf8(key), rangeEnd: utf8(end) });
    await this.#client.call('/etcdserverpb.KV/DeleteRange', rpc.DeleteRangeRequest, rpc.DeleteRangeResponse, message);
  }

  async txn(...success: Parameters<typeof convert.writeTxnRequest>[0]['success'] & {}): Promise<void> {
    const message = convert.writeTxnRequest({ success });
    await this.#client.call('/etcdserverpb.KV/Txn', rpc.TxnRequest, rpc.TxnResponse, message);
  }

  async compact(revision: number): Promise<void> {
    const message = { revision: BigInt(revision), physical: true };
    await this.#client.call('/etcdserverpb.KV/Compact', rpc.CompactionRequest, rpc.CompactionResponse, message);
  }
}

function idIn(answer: string): number {
  return Number(/"watchId":"(-?\d+)"/.exec(answer)?.[1] ?? 0);
}

function same(title: string, steps: (side: Steps) => Promise<void>): void {
  test.serial(title, (t) => saySame(t, pair, (url) => new Steps(url), steps));
}

same('ids are counted up from 0, chosen ones kept, and a taken one refused', async (side) => {
  await side.watch({});
  await side.watch({ watchId: 1n });
  await side.watch({});
  await side.watch({ watchId: 2n });
  await side.watch({ watchId: 77n });
  await side.watch({ watchId: -5n });
  await side.watch({ watchId: -1n });
  await side.watch({});
  side.write({ $case: 'cancelRequest', value: { watchId: 77n } });
  await side.hear();
  await side.watch({ watchId: 77n });
  await side.watch({});
});

same('empty ranges are refused, and the forms of an open one taken', async (side) => {
  for (const [key, end] of [['b', 'b'], ['b', 'a'], ['b', 'c'], ['', 'a'], ['', ''], ['\0', '\0'], ['b', '\0']] as const) {
    await side.watch({ key: utf8(key), rangeEnd: utf8(end) });
  }
  await side.put('zz', '1');
  await side.hear(2);
  await side.put('\0', '1');
  await side.hear(3);
});

same('requests that say nothing, and ids nobody has, are passed over', async (side) => {
  side.write(undefined);
  side.write({ $case: 'cancelRequest', value: { watchId: 5n } });
  await side.watch({});
  side.write({ $case: 'cancelRequest', value: { watchId: 5n } });
  await side.put('a', '1');
  await side.hear();
});

same('one that is canceled leaves the others alone', async (side) => {
  await side.watch({});
  await side.watch({});
  side.write({ $case: 'cancelRequest', value: { watchId: 0n } });
  await side.hear();
  await side.put('a', '2');
  await side.hear();
  side.write({ $case: 'cancelRequest', value: { watchId: 0n } });
  side.write({ $case: 'cancelRequest', value: { watchId: 1n } });
  await side.hear();
});

same('a half-closed stream goes on telling', async (side) => {
  await side.watch({});
  side.halfClose();
  await side.put('a', '3');
  await side.hear();
  await side.delete('a');
  await side.hear();
});

same('a revision is one answer, its events in the order of the transaction', async (side) => {
  await side.watch({ rangeEnd: OPEN_END });
  await side.txn(
    { kind: 'put', request: { key: utf8('c'), value: utf8('1') } },
    { kind: 'put', request: { key: utf8('b'), value: utf8('2') } },
    { kind: 'delete', request: { key: utf8('zz') } },
  );
  await side.hear();
  await side.delete('b', 'd');
  await side.hear();
  await side.txn({ kind: 'put', request: { key: utf8('c'), value: utf8('1') } }, { kind: 'delete', request: { key: utf8('b') } });
  await side.hear();
});

same('filters drop events, and an answer without any is not sent', async (side) => {
  await side.watch({ filters: [0] });
  await side.watch({ filters: [1] });
  await side.watch({ filters: [0, 1] });
  await side.put('a', '4');
  await side.hear();
  await side.delete('a');
  await side.hear();
  await side.put('a', '5');
  await side.hear();
});

same('the pair before an event, where there was one', async (side) => {
  const first = await side.put('p', '1');
  await side.watch({ key: utf8('p'), prevKv: true });
  await side.put('p', '2');
  await side.hear();
  await side.delete('p');
  await side.hear();
  await side.put('p', '3');
  await side.hear();
  side.fresh();
  await side.watch({ key: utf8('p'), prevKv: true, startRevision: BigInt(first) }, 1);
  await side.compact(first + 1);
  side.fresh();
  await side.watch({ key: utf8('p'), prevKv: true, startRevision: BigInt(first + 1) }, 1);
});

same('the past is caught up with, the future waited for, the compacted refused', async (side) => {
  const first = await side.put('h', '1');
  for (let i = 2; i < 6; i++) await side.put('h', String(i));
  const key = utf8('h');
  await side.watch({ key, startRevision: BigInt(first) }, 1);
  side.fresh();
  await side.watch({ key, startRevision: BigInt(first + 4) }, 1);
  side.fresh();
  await side.watch({ key, startRevision: BigInt(first + 6) });
  await side.put('h', 'too early');
  await side.put('h', 'now');
  await side.hear();
  await side.compact(first + 2);
  side.fresh();
  await side.watch({ key, startRevision: BigInt(first + 1) }, 1);
  await side.watch({ key, startRevision: BigInt(first + 2) }, 1);
  await side.watch({ key, startRevision: 1n, watchId: 9n }, 1);
  await side.watch({ key, startRevision: 9_223_372_036_854_775_807n });
});

same('what is too long for one answer is cut by events, if that was asked for', async (side) => {
  const mega = 'x'.repeat(1_000_000);
  const first = await side.put('m', mega);
  await side.put('m', mega);
  await side.put('m', mega);
  await side.put('m', '1');
  const key = utf8('m');
  await side.watch({ key, startRevision: BigInt(first) }, 1);
  await side.watch({ key, startRevision: BigInt(first), fragment: true }, 2);
  await side.watch({ key, startRevision: BigInt(first), fragment: true, prevKv: true }, 4);
  await side.watch({ key, fragment: true });
  await side.put('m', '2');
  await side.hear(4);
});

/** Where etcd cuts: what a request may have, and what gRPC adds to it (contract 1.4). */
const CUT_BYTES = 2 * 1024 * 1024;

test.serial('where the cut is, is the same to the byte', async (t) => {
  const key = utf8('n');
  const events: number[] = [];
  const tell = async (side: Steps, bytes: number): Promise<number> => {
    const first = await side.put('n', 'x'.repeat(1_048_500));
    await side.put('n', 'x'.repeat(bytes));
    side.fresh();
    const [, answer] = await side.watch({ key, startRevision: BigInt(first), fragment: true }, 1);
    await side.put('n', 'end');
    await side.hear(1);
    if (typeof answer !== 'object' || !('events' in answer)) return NaN;
    events.push(answer.events.length);
    return rpc.WatchResponse.encode(answer).finish().length;
  };
  await saySame(t, pair, (url) => new Steps(url), async (side) => {
    const bytes = 1_048_500;
    const left = CUT_BYTES - (await tell(side, bytes));
    for (const more of [-1, 0]) await tell(side, bytes + left + more);
  });
  if (pair !== null) t.deepEqual(events, [2, 2, 1, 2, 2, 1], 'a byte less is not cut');
});

same('whoever asks how far it is, is told', async (side) => {
  side.write({ $case: 'progressRequest', value: {} });
  await side.hear();
  await side.watch({});
  side.write({ $case: 'progressRequest', value: {} });
  await side.hear();
  await side.watch({ key: utf8('q') });
  await side.put('q', '1');
  await side.hear();
  side.write({ $case: 'progressRequest', value: {} });
  await side.hear();
});

same('a thousand revisions and more are caught up with', async (side) => {
  let first = 0;
  for (let i = 0; i < 1250; i += 50) {
    const revisions = await Promise.all(Array.from({ length: 50 }, () => side.put('k')));
    if (first === 0) first = Math.min(...revisions);
  }
  await side.watch({ key: utf8('k'), startRevision: BigInt(first) }, 2);
});

// One stream of keep-alives over any backend: order, what is asked together, how a fault or a refusal ends it.

import test from 'ava';
import { systemClock } from '../../../core/base/clock.js';
import { NOBODY, type Backend, type Caller, type LeaseId } from '../../../core/client.js';
import { ApiError } from '../../../core/errors.js';
import { leasesPerCallMax } from '../../../core/node/limits.js';
import { LeaseCodec } from '../../../core/wire/hot-lease.js';
import { Requests } from '../../../core/wire/http2/requests.js';
import { serveKeepAlive } from '../../../core/wire/keep-alive-stream.js';
import { KEEP_ALIVES_TOGETHER_MAX, LEADER_CHECK_MS } from '../../../core/wire/limits.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import { SimClock } from '../../sim/clock.js';
import { fakeCall } from './fake-call.js';

const CALL = fakeCall();
const HEADER = { clusterId: 1n, memberId: 2n, revision: 3, raftTerm: 4 };

/** Of a lease below 100 its id is what it has left; others are gone; 66 is nobody's to renew who is somebody, 77 too many. */
interface Asked {
  readonly together: number[];
  alone: number;
}

function backendOf(caller: Caller | null, asked: Asked): Backend {
  const left = (id: LeaseId): number => (id < 100n ? Number(id) : 0);
  const fake = {
    identify: () => caller,
    keepAlive: (id: LeaseId) => {
      asked.alone += 1;
      if (caller !== null && id === 66n) return Promise.reject(new ApiError('permission_denied'));
      return Promise.resolve({ header: HEADER, ttlSeconds: left(id) });
    },
    keepAliveAll: (ids: readonly LeaseId[]) => {
      asked.together.push(ids.length);
      if (caller !== null && ids.includes(66n)) return Promise.reject(new ApiError('permission_denied'));
      if (ids.includes(77n)) return Promise.reject(new ApiError('too_many_requests'));
      return Promise.resolve({ header: HEADER, ttlSeconds: ids.map(left) });
    },
  } satisfies Partial<Backend>;
  return fake as Partial<Backend> as Backend;
}

const messageOf = (id: number): Uint8Array => rpc.LeaseKeepAliveRequest.encode({ ID: BigInt(id) }).finish();

async function serve(
  messages: readonly Uint8Array[], caller: Caller | null = null, isOneByOne = false,
): Promise<{ answers: [number, number][]; asked: Asked; error: unknown }> {
  const asked: Asked = { together: [], alone: 0 };
  const answers: [number, number][] = [];
  const requests = new Requests(() => undefined);
  for (const message of messages) requests.push(message);
  requests.end();
  const doors = { backend: backendOf(caller, asked), clock: systemClock, codec: new LeaseCodec() };
  const given = isOneByOne ? { [Symbol.asyncIterator]: () => requests } : requests;
  const error: unknown = await serveKeepAlive(doors, given, CALL, (bytes) => {
    const { ID, TTL } = rpc.LeaseKeepAliveResponse.decode(bytes);
    answers.push([Number(ID), TTL]);
    return Promise.resolve();
  }).then(() => null, (reason: unknown) => reason);
  return { answers, asked, error };
}

const ids = Array.from({ length: 2500 }, (_, i) => (i * 7) % 130).map((id) => (id === 77 ? 78 : id));
const expected = ids.map((id): [number, number] => [id, id < 100 ? id : 0]);

test('what has come together is asked for together, within a bound, and answered in order', async (t) => {
  const { answers, asked, error } = await serve(ids.map(messageOf));
  t.is(error, null);
  t.deepEqual(answers, expected);
  t.deepEqual(asked, { together: [1000, 1000, 500], alone: 0 });
  t.true(KEEP_ALIVES_TOGETHER_MAX <= leasesPerCallMax, 'a member takes as many in one wish');
});

test('a transport that gives messages one by one only gets the same answers', async (t) => {
  const { answers, asked, error } = await serve(ids.map(messageOf), null, true);
  t.is(error, null);
  t.deepEqual(answers, expected);
  t.is(asked.together.length, ids.length);
});

test('a message that cannot be read ends the stream behind the answers to those before it', async (t) => {
  const broken = Uint8Array.of(0x08, 0xff);
  const { answers, error } = await serve([...[1, 2, 3].map(messageOf), broken, messageOf(4)]);
  t.deepEqual(answers, [[1, 1], [2, 2], [3, 3]]);
  t.regex(String(error), /not a message of LeaseKeepAliveRequest/);
  const alone = await serve([broken, messageOf(4)]);
  t.deepEqual(alone.answers, []);
  t.regex(String(alone.error), /not a message of LeaseKeepAliveRequest/);
});

test('one that is refused ends the stream behind the answers to those before it', async (t) => {
  const caller: Caller = { ...NOBODY, user: 'u' };
  const { answers, asked, error } = await serve([1, 2, 66, 4].map(messageOf), caller);
  t.deepEqual(answers, [[1, 1], [2, 2]]);
  t.deepEqual(asked, { together: [4], alone: 3 });
  t.is((error as ApiError).code, 'permission_denied');
  const alone = await serve([messageOf(66)], caller);
  t.deepEqual(alone.asked, { together: [1], alone: 0 });
  t.is((alone.error as ApiError).code, 'permission_denied');
  t.deepEqual((await serve(ids.map(messageOf), caller)).answers, expected.slice(0, ids.indexOf(66)));
  const allowed = [1, 2, 3, 200].map(messageOf);
  t.deepEqual((await serve(allowed, caller)).asked, { together: [4], alone: 0 });
});

test('what is refused for another reason than whose the lease is is not asked again one by one', async (t) => {
  const { answers, asked, error } = await serve([1, 2, 77].map(messageOf), { ...NOBODY, user: 'u' });
  t.deepEqual(answers, []);
  t.deepEqual(asked, { together: [3], alone: 0 });
  t.is((error as ApiError).code, 'too_many_requests');
});

test('an id may be written in a form that is not usual', async (t) => {
  // An unknown field behind the id.
  const odd = Uint8Array.of(0x08, 7, 0x50, 1);
  const { answers, error } = await serve([messageOf(5), odd, new Uint8Array(0)]);
  t.is(error, null);
  t.deepEqual(answers, [[5, 5], [7, 7], [0, 0]]);
});

test('a server that goes away ends the stream with its word, one whose caller has left ends without', async (t) => {
  const doors = { backend: backendOf(null, { together: [], alone: 0 }), clock: systemClock, codec: new LeaseCodec() };
  for (const reason of [new ApiError('stopped'), new Error('left')]) {
    const abort = new AbortController();
    const requests = new Requests(() => undefined);
    const served = serveKeepAlive(doors, requests, { ...CALL, signal: abort.signal }, () => Promise.resolve());
    abort.abort(reason);
    requests.abort();
    t.is(await served.then(() => null, (error: unknown) => error), reason instanceof ApiError ? reason : null);
  }
});

test('a stream that asked for a leader looks for one no more once it has ended', async (t) => {
  const clock = new SimClock();
  let looks = 0;
  const status = (): Promise<never> => {
    looks += 1;
    return Promise.reject(new ApiError('no_leader'));
  };
  const backend = { ...backendOf(null, { together: [], alone: 0 }), status };
  const requests = new Requests(() => undefined);
  const call = { ...CALL, hasLeader: true };
  const served = serveKeepAlive({ backend, clock, codec: new LeaseCodec() }, requests, call, () => Promise.resolve());
  await clock.advance(LEADER_CHECK_MS);
  t.is(looks, 1);
  requests.end();
  await served;
  await clock.advance(10 * LEADER_CHECK_MS);
  t.is(looks, 1);
});

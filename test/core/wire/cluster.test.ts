// What a cluster adds to the wire, against a backend that only notes what it was asked: members, leadership, hashes and the
// snapshot stream, over gRPC by our own client and as JSON, both ways and byte for byte.

import { createHash } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import {
  NOBODY, type Backend, type Header, type Member, type MembersResponse, type SnapshotStream,
} from '../../../core/client.js';
import { ApiError, isApiError, type ErrorCode } from '../../../core/errors.js';
import { connect } from '../../../core/wire/remote-client.js';
import { serve } from '../../serving.js';
import { paddingOf, payloadBytesOf, SHA256_BYTES } from '../../../core/wire/snapshot-stream.js';

const header: Header = { clusterId: 2n ** 64n - 1n, memberId: 2n ** 63n, revision: 0, raftTerm: 7 };
const member: Member = {
  id: 2n ** 64n - 2n, name: 'b', peerUrls: ['http://b:2380'], clientUrls: ['http://b:2379'], isLearner: true,
};
const list: MembersResponse = { header, members: [{ ...member, id: 1n, name: 'a', isLearner: false }, member] };

interface Asked {
  readonly calls: unknown[][];
  snapshot: readonly Uint8Array[];
  fail: ErrorCode | null;
  hangs: boolean;
  leader: bigint;
}

/** What is told of a caller while auth is off. */
const unknown = { caller: NOBODY };

function backendOf(asked: Asked): Backend {
  const note = <T>(answer: T) => (...args: unknown[]): Promise<T> => {
    asked.calls.push(args);
    if (asked.hangs) return new Promise<T>(() => undefined);
    return asked.fail === null ? Promise.resolve(answer) : Promise.reject(new ApiError(asked.fail));
  };
  const admin: Partial<Backend> = {
    members: note(list),
    addMember: note({ ...list, member }),
    removeMember: note(list),
    updateMember: note(list),
    promoteMember: note(list),
    moveLeader: note(header),
    hash: note({ header, hash: 2 ** 32 - 1, compactRevision: 3 }),
    status: () => Promise.resolve({
      header, version: '3.4.23', dbSizeBytes: 1, dbSizeInUseBytes: 1, leader: asked.leader, raftIndex: 1, raftAppliedIndex: 1,
      raftTerm: 7, errors: [], isLearner: false,
    }),
    range: note({ header, kvs: [], more: false, count: 0 }),
    txn: note({ header, succeeded: true, responses: [] }),
    snapshot: () => streamOf(asked.snapshot),
    identify: () => null,
    close: () => Promise.resolve(),
  };
  return admin as Backend;
}

function streamOf(chunks: readonly Uint8Array[]): SnapshotStream {
  async function* pieces(): AsyncGenerator<{ bytes: Uint8Array; remainingBytes: number }> {
    let remainingBytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    for (const bytes of chunks) yield await Promise.resolve({ bytes, remainingBytes: (remainingBytes -= bytes.length) });
  }
  return { [Symbol.asyncIterator]: pieces, close: () => undefined };
}

async function start(t: ExecutionContext): Promise<{ asked: Asked; url: string }> {
  const asked: Asked = { calls: [], snapshot: [], fail: null, hangs: false, leader: 1n };
  const server = await serve(backendOf(asked), { urls: ['http://127.0.0.1:0'] });
  t.teardown(() => server.close());
  return { asked, url: server.urls[0] ?? '' };
}

function client(t: ExecutionContext, ...urls: string[]): Backend {
  const remote = connect(urls);
  t.teardown(() => remote.close());
  return remote;
}

async function post(url: string, path: string, body: string): Promise<unknown> {
  const answer = await fetch(`${url}/v3/${path}`, { method: 'POST', body });
  return [answer.status, await answer.json()];
}

test('each member call arrives with what it was given and answers with the whole list', async (t) => {
  const { asked, url } = await start(t);
  const remote = client(t, url);
  t.deepEqual(await remote.addMember({ peerUrls: ['http://b:2380'], isLearner: true }), { ...list, member });
  t.deepEqual(await remote.removeMember(2n ** 64n - 2n), list);
  t.deepEqual(await remote.updateMember(5n, ['http://c:1', 'http://d:1']), list);
  t.deepEqual(await remote.promoteMember(6n), list);
  t.deepEqual(await remote.members({ linearizable: false }), list);
  t.deepEqual(await remote.members(), list);
  t.deepEqual(asked.calls, [
    [{ peerUrls: ['http://b:2380'], isLearner: true }, unknown], [2n ** 64n - 2n, unknown],
    [5n, ['http://c:1', 'http://d:1'], unknown], [6n, unknown],
    [{ ...unknown, linearizable: false }], [{ ...unknown, linearizable: true }],
  ]);
});

test('moving the leader has no header in its answer, and a hash is unsigned', async (t) => {
  const { asked, url } = await start(t);
  const remote = client(t, url);
  t.deepEqual(await remote.moveLeader(9n), { clusterId: 0n, memberId: 0n, revision: 0, raftTerm: 0 });
  t.deepEqual(await remote.hash(12), { header, hash: 2 ** 32 - 1, compactRevision: 3 });
  t.deepEqual(asked.calls, [[9n, unknown], [12, unknown]]);
});

test('the gateway has the same under etcd\'s paths, names and numbers', async (t) => {
  const { asked, url } = await start(t);
  const header64 = { cluster_id: '18446744073709551615', member_id: '9223372036854775808', raft_term: '7' };
  const urls = { peerURLs: ['http://b:2380'], clientURLs: ['http://b:2379'] };
  const b = { ID: '18446744073709551614', name: 'b', ...urls, isLearner: true };
  const members = [{ ID: '1', name: 'a', peerURLs: b.peerURLs, clientURLs: b.clientURLs }, b];
  const after = { header: header64, members };
  t.deepEqual(await post(url, 'cluster/member/add', '{"peerURLs":["http://b:2380"]}'), [200, { ...after, member: b }]);
  for (const path of ['remove', 'promote']) {
    t.deepEqual(await post(url, `cluster/member/${path}`, '{"ID":"18446744073709551614"}'), [200, after]);
  }
  t.deepEqual(await post(url, 'cluster/member/update', '{"ID":5,"peerURLs":["http://c:1"]}'), [200, after]);
  t.deepEqual(await post(url, 'maintenance/transfer-leadership', '{"targetID":"9"}'), [200, {}]);
  const hash = { header: header64, hash: 2 ** 32 - 1 };
  t.deepEqual(await post(url, 'maintenance/hash', ''), [200, hash]);
  t.deepEqual(await post(url, 'maintenance/hashkv', '{"revision":"4"}'), [200, { ...hash, compact_revision: '3' }]);
  t.deepEqual(asked.calls.slice(1), [
    [2n ** 64n - 2n, unknown], [2n ** 64n - 2n, unknown], [5n, ['http://c:1'], unknown], [9n, unknown], [0, unknown],
    [4, unknown],
  ]);
});

const REFUSALS: readonly (readonly [ErrorCode, http: number, grpc: number])[] = [
  ['member_not_found', 404, 5], ['peer_urls_exist', 412, 9], ['member_urls_invalid', 400, 3], ['not_enough_started', 500, 2],
  ['unhealthy_cluster', 503, 14], ['learner_not_ready', 412, 9], ['not_leader', 412, 9], ['learner_unsupported', 503, 14],
];

for (const [code, http, grpc] of REFUSALS) {
  test(`${code} keeps its name over gRPC and its status over HTTP`, async (t) => {
    const { asked, url } = await start(t);
    asked.fail = code;
    const error = await t.throwsAsync(client(t, url).removeMember(1n));
    t.true(isApiError(error, code));
    const { message } = new ApiError(code);
    t.deepEqual(await post(url, 'cluster/member/remove', '{"ID":1}'), [http, { error: message, message, code: grpc }]);
  });
}

const random = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7919 + length) % 251);

for (const length of [0, 1, 495, 496, 497, 511, 512, 513, 32_768, 100_000]) {
  test(`a snapshot of ${length} bytes arrives in pieces that count down, in whole pages, with its hash`, async (t) => {
    const { asked, url } = await start(t);
    const bytes = random(length);
    asked.snapshot = [bytes.subarray(0, 700), bytes.subarray(700, 701), bytes.subarray(701)];
    const answer = await fetch(`${url}/v3/maintenance/snapshot`, { method: 'POST', body: '{}' });
    const lines = (await answer.text()).trim().split('\n').map((line) => JSON.parse(line) as { result: Record<string, string> });
    const blobs = lines.map(({ result }) => Buffer.from(result['blob'] ?? '', 'base64'));
    const whole = Buffer.concat(blobs);
    const payload = whole.subarray(0, -SHA256_BYTES);
    t.is(whole.length % 512, SHA256_BYTES);
    t.deepEqual(blobs.at(-1), createHash('sha256').update(payload).digest());
    t.true(blobs.slice(0, -2).every((blob) => blob.length === 32 * 1024));
    let left = payload.length;
    const expected = blobs.slice(0, -1).map((blob) => (left -= blob.length));
    t.deepEqual(lines.slice(0, -1).map(({ result }) => Number(result['remaining_bytes'] ?? 0)), expected);
    t.is(payloadBytesOf(payload, payload.length), length);
    t.deepEqual(Uint8Array.from(payload.subarray(0, length)), bytes);

    const received: Uint8Array[] = [];
    let remaining = -1;
    for await (const piece of client(t, url).snapshot()) {
      received.push(piece.bytes);
      remaining = piece.remainingBytes;
    }
    t.deepEqual([Buffer.concat(received), remaining], [Buffer.from(payload), 0]);
  });
}

test('whole pages are not filled up again, so a snapshot that is passed on stays as it is', (t) => {
  const padded = Buffer.concat([random(700), paddingOf(700)]);
  t.is(padded.length % 512, 0);
  t.is(paddingOf(padded.length).length, 0);
  t.is(payloadBytesOf(padded.subarray(-16), padded.length), 700);
  t.is(payloadBytesOf(random(16), 4096), 4096);
});

test('whoever leaves a snapshot early is not sent the rest', async (t) => {
  const { asked, url } = await start(t);
  let made = 0;
  const endless = function* (): Generator<Uint8Array> {
    for (made = 0; made < 4096; made++) yield random(64 * 1024);
  };
  asked.snapshot = { reduce: () => 2 ** 40, [Symbol.iterator]: endless } as never;
  for await (const piece of client(t, url).snapshot()) {
    t.is(piece.bytes.length, 32 * 1024);
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.true(made < 1000, `${made} chunks were read`);
});

test('a member without leader is left for another one, and only what did not happen is asked again', async (t) => {
  const [lost, well] = [await start(t), await start(t)];
  lost.asked.fail = 'no_leader';
  const remote = client(t, lost.url, well.url);
  t.deepEqual(await remote.members(), list);
  t.deepEqual([lost.asked.calls.length, well.asked.calls.length], [1, 1]);
  t.deepEqual(await remote.removeMember(1n), list, 'the better one is asked first now');
  t.is(lost.asked.calls.length, 1);
});

test('a write that timed out at one member is never sent to another', async (t) => {
  const [slow, well] = [await start(t), await start(t)];
  slow.asked.fail = 'timeout';
  const remote = client(t, slow.url, well.url);
  const error = await t.throwsAsync(remote.removeMember(1n));
  t.true(isApiError(error, 'timeout'));
  t.is(well.asked.calls.length, 0);
  t.deepEqual(await remote.removeMember(1n), list, 'but the next call goes elsewhere');
});

test('when nobody has a leader, each is asked once and the caller hears it', async (t) => {
  const sides = [await start(t), await start(t), await start(t)];
  for (const { asked } of sides) asked.fail = 'no_leader';
  const calls = (): readonly number[] => sides.map(({ asked }) => asked.calls.length);
  // One that takes seconds to be connected to, on a busy machine, is passed over for another.
  for (let i = 0; i < 20 && String(calls()) !== '1,1,1'; i++) {
    for (const { asked } of sides) asked.calls.length = 0;
    const error = await t.throwsAsync(client(t, ...sides.map(({ url }) => url)).members());
    t.true(isApiError(error, 'no_leader'));
    t.is(calls().reduce((sum, count) => sum + count, 0), 3);
  }
  t.deepEqual(calls(), [1, 1, 1]);
});

test('an endpoint that hangs is not asked first a second time', async (t) => {
  const [hung, well] = [await start(t), await start(t)];
  const remote = client(t, hung.url, well.url);
  // Connected: what is asked next is sent at once, and not found to have never left.
  await remote.members();
  hung.asked.calls.length = 0;
  hung.asked.hangs = true;
  const error = await t.throwsAsync(remote.removeMember(1n, { timeoutMs: 1_000 }));
  t.true(isApiError(error, 'deadline_exceeded'));
  t.deepEqual(await remote.removeMember(1n), list);
  t.deepEqual([hung.asked.calls.length, well.asked.calls.length], [1, 1]);
});

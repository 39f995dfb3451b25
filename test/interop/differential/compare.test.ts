// The comparison itself: it finds what differs, and lets pass only what it says, under the condition it says.

import test from 'ava';
import { ERRORS } from '../../../core/errors.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import type { CallName } from './calls.js';
import { compareOutcomes } from './compare.js';
import { BOGUS } from './generate-auth.js';
import { Ids } from './ids.js';
import type { Outcome } from './side.js';

const NO_NAMES = { etcd: new Ids(), coterie: new Ids() };
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const answer = (encoded: { finish(): Uint8Array }): Outcome => ({ kind: 'answer', bytes: encoded.finish() });
const refusal = (row: { status: number; text: string }): Outcome => ({ kind: 'error', code: row.status, text: row.text });

function where(
  name: CallName,
  request: Uint8Array,
  [etcd, coterie]: readonly [Outcome, Outcome],
  more: { compacted?: number; as?: string; names?: typeof NO_NAMES; failures?: number } = {},
): string | null {
  const { compacted = -1, as, names = NO_NAMES, failures = 0 } = more;
  return compareOutcomes(name, request, { etcd, coterie }, { names, compacted, as, failures })?.where ?? null;
}

const header = (revision: number): rpc.ResponseHeader => ({ clusterId: 1n, memberId: 2n, revision, raftTerm: 2 });

/** An answer with a pair for each letter; its version is the digit behind it. */
function range(pairs: string, more: { more?: boolean; count?: number } = {}): Outcome {
  const same = { createRevision: 2, modRevision: 3, value: bytes('v'), lease: 0n };
  const kvs = pairs.split(' ').map((text) => ({ ...same, key: bytes(text.slice(0, 1)), version: Number(text.slice(1)) }));
  return answer(rpc.RangeResponse.encode({ header: header(9), kvs, more: more.more ?? false, count: more.count ?? kvs.length }));
}

const sorted = (sortTarget: 0 | 1): Uint8Array =>
  rpc.RangeRequest.encode({ ...rpc.RangeRequest.decode(new Uint8Array(0)), key: bytes('a'), sortTarget }).finish();

test('every field counts, and every error by its code and its text', (t) => {
  const put = (revision: number): Outcome => answer(rpc.PutResponse.encode({ header: header(revision), prevKv: undefined }));
  const none = new Uint8Array(0);
  t.is(where('put', none, [put(5), put(5)]), null);
  t.is(where('put', none, [put(5), put(6)]), '.header.revision');
  t.is(where('put', none, [put(5), refusal(ERRORS.key_empty)]), '.kind');
  t.is(where('put', none, [refusal(ERRORS.key_empty), refusal(ERRORS.key_not_found)]), '.text');
  t.is(where('put', none, [refusal(ERRORS.key_empty), refusal({ ...ERRORS.key_empty, status: 5 })]), '.code');
});

test('a field that nobody knows is a difference', (t) => {
  const known = rpc.PutResponse.encode({ header: header(5), prevKv: undefined }).finish();
  const more: Outcome = { kind: 'answer', bytes: Buffer.concat([known, Buffer.from([0x78, 1])]) };
  t.is(where('put', new Uint8Array(0), [{ kind: 'answer', bytes: known }, more]), 'bytes of coterie');
  t.is(where('put', new Uint8Array(0), [more, { kind: 'answer', bytes: known }]), 'bytes of etcd');
});

test('equals may stand in any order, if they are more than twelve and sorted by something else than the key', (t) => {
  const etcd = range('a1 b1 c1 d2 e2 f3 g3 h3 i4 j4 k4 l4 m4');
  t.is(where('range', sorted(1), [etcd, range('c1 b1 a1 e2 d2 h3 g3 f3 m4 l4 k4 j4 i4')]), null);
  t.not(where('range', sorted(0), [etcd, range('c1 b1 a1 e2 d2 h3 g3 f3 m4 l4 k4 j4 i4')]), null);
  t.not(where('range', sorted(1), [etcd, range('a1 b1 d2 c1 e2 f3 g3 h3 i4 j4 k4 l4 m4')]), null);
  t.not(where('range', sorted(1), [etcd, range('a1 b1 c1 d2 e2 f3 g3 h3 i4 j4 k4 l4 n4')]), null);
  t.not(where('range', sorted(1), [range('a1 b1'), range('b1 a1')]), null);
});

test('of the equals that a limit cuts through, the number counts', (t) => {
  const cut = { more: true, count: 13 };
  t.is(where('range', sorted(1), [range('a1 b2 c2', cut), range('a1 d2 e2', cut)]), null);
  t.not(where('range', sorted(1), [range('a1 b2 c2', cut), range('f1 d2 e2', cut)]), null);
  t.not(where('range', sorted(1), [range('a1 b2 c2', cut), range('a1 b2', cut)]), null);
});

test('a hash is refused by etcd alone at the compacted revision, and nowhere else', (t) => {
  const request = rpc.HashKVRequest.encode({ revision: 7n }).finish();
  const hash = answer(rpc.HashKVResponse.encode({ header: header(9), hash: 1, compactRevision: 7 }));
  t.is(where('hash', request, [refusal(ERRORS.compacted), hash], { compacted: 7 }), null);
  t.is(where('hash', request, [refusal(ERRORS.compacted), hash], { compacted: 6 }), '.kind');
  t.is(where('hash', request, [hash, refusal(ERRORS.compacted)], { compacted: 7 }), '.kind');
});

test('of the seconds left some may pass between two looks, and no more; keys are in any order', (t) => {
  const none = new Uint8Array(0);
  const left = (TTL: number, keys = 'a b', granted = 600): Outcome => answer(rpc.LeaseTimeToLiveResponse.encode({
    header: header(2), ID: 1n, TTL, grantedTTL: granted, keys: keys.split(' ').map(bytes),
  }));
  t.is(where('ttl', none, [left(600), left(598, 'b a')]), null);
  t.is(where('ttl', none, [left(600), left(580)]), '.TTL');
  t.is(where('ttl', none, [left(1), left(-1)]), '.TTL');
  t.is(where('ttl', none, [left(600), left(600, 'a b', 700)]), '.grantedTTL');
  t.not(where('ttl', none, [left(600), left(600, 'a')]), null);
});

test('a bad token is named first here, and only a bad one', (t) => {
  const pair = [refusal(ERRORS.key_empty), refusal(ERRORS.token_invalid)] as const;
  t.is(where('put', new Uint8Array(0), pair, { as: BOGUS }), null);
  t.is(where('put', new Uint8Array(0), pair, { as: 'u1' }), '.code');
  t.not(where('put', new Uint8Array(0), [refusal(ERRORS.lease_not_found), refusal(ERRORS.token_invalid)], { as: BOGUS }), null);
});

test('who logged in wrongly five times may have to wait, and nobody else', (t) => {
  const pair = [refusal(ERRORS.auth_failed), refusal(ERRORS.too_many_logins)] as const;
  t.is(where('authenticate', new Uint8Array(0), pair, { failures: 5 }), null);
  t.is(where('authenticate', new Uint8Array(0), pair, { failures: 4 }), '.code');
  t.is(where('put', new Uint8Array(0), pair, { failures: 5 }), '.code');
});

test('a lease whose id a server chose is the same lease on both sides', (t) => {
  const grant = (ID: bigint): Outcome => answer(rpc.LeaseGrantResponse.encode({ header: header(2), ID, TTL: 60, error: '' }));
  const names = { etcd: new Ids(), coterie: new Ids() };
  names.etcd.set(11n, 1n);
  names.coterie.set(12n, 1n);
  t.is(where('grant', new Uint8Array(0), [grant(11n), grant(12n)], { names }), null);
  t.is(where('grant', new Uint8Array(0), [grant(11n), grant(13n)], { names }), '.ID');
});

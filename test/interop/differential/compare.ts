// Two answers to one request, field by field. What may differ is written here as the exact condition under which it may,
// and in test/interop/DIFFERENCES.md with its reason; nothing else may.

import { ERRORS } from '../../../core/errors.js';
import { loginFailuresFree } from '../../../core/node/limits.js';
import { BOGUS, STALE } from './generate-auth.js';
import { CALLS, type Call, type CallName, type Message } from './calls.js';
import type { Ids } from './ids.js';
import { plain, textOf } from './operation.js';
import type { Outcome } from './side.js';

/** Where two answers part, and what each says there. */
export interface Difference {
  readonly where: string;
  readonly etcd: unknown;
  readonly coterie: unknown;
}

/** Ids a server chose -> the ids they are called in requests. */
export interface Names {
  readonly etcd: Ids;
  readonly coterie: Ids;
}

/** What an answer may depend on beside its request. */
export interface Circumstances {
  readonly names: Names;
  readonly compacted: number;
  /** In whose name the call was made. */
  readonly as: string | undefined;
  /** Logins of the same name that failed before this one, in a row. */
  readonly failures: number;
}

export function compareOutcomes(
  name: CallName,
  request: Uint8Array,
  { etcd, coterie }: { readonly etcd: Outcome; readonly coterie: Outcome },
  at: Circumstances,
): Difference | null {
  const { names, compacted, as, failures } = at;
  if (name === 'authenticate' && failures >= loginFailuresFree && isSlowedDown(coterie)) return null;
  if (isTokenFirst(as, etcd, coterie) || isNothingByNobody(name, request, etcd, coterie)) return null;
  if (name === 'hash' && isHashAtCompaction(request, etcd, coterie, compacted)) return null;
  if (etcd.kind !== coterie.kind) return { where: '.kind', etcd: shortOf(name, etcd), coterie: shortOf(name, coterie) };
  if (etcd.kind === 'error' || coterie.kind === 'error') return firstDifference(etcd, coterie, '');
  if (Buffer.compare(etcd.bytes, coterie.bytes) === 0) return null;
  const call = CALLS[name];
  const message = call.request.read(request);
  const [left, right] = [named(call, etcd.bytes, names.etcd), named(call, coterie.bytes, names.coterie)];
  const raw = firstDifference(plain(left), plain(right), '');
  if (raw === null) return unread(call, etcd.bytes, coterie.bytes);
  return firstDifference(plain(masked(name, message, left, right)), plain(masked(name, message, right, left)), '');
}

function shortOf(name: CallName, outcome: Outcome): unknown {
  return outcome.kind === 'error' ? outcome : { kind: 'answer', answer: plain(CALLS[name].answer.read(outcome.bytes)) };
}

function named(call: Call, bytes: Uint8Array, names: Ids): Message {
  return call.answer.read(call.answer.translate(bytes, names));
}

/** Bytes that differ though all that is known of them is equal: a field nobody here knows, or another way of writing. */
function unread(call: Call, etcd: Uint8Array, coterie: Uint8Array): Difference | null {
  for (const [who, bytes] of [['etcd', etcd], ['coterie', coterie]] as const) {
    const known = call.answer.rewrite(bytes);
    if (Buffer.compare(known, bytes) !== 0) return { where: `bytes of ${who}`, etcd: hex(etcd), coterie: hex(coterie) };
  }
  return null;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex').slice(0, 1000);
}

export function firstDifference(etcd: unknown, coterie: unknown, where: string): Difference | null {
  if (Object.is(etcd, coterie)) return null;
  if (typeof etcd !== 'object' || etcd === null) return { where, etcd, coterie };
  if (typeof coterie !== 'object' || coterie === null) return { where, etcd, coterie };
  if (Array.isArray(etcd) !== Array.isArray(coterie)) return { where, etcd, coterie };
  const [left, right] = [new Map(Object.entries(etcd)), new Map(Object.entries(coterie))];
  for (const name of new Set([...left.keys(), ...right.keys()])) {
    const found = firstDifference(left.get(name), right.get(name), `${where}.${name}`);
    if (found !== null) return found;
  }
  return null;
}

// What may differ.

/** What is wrong with a request of somebody with a bad token: etcd says so, here the token is looked at first. */
function isTokenFirst(as: string | undefined, etcd: Outcome, coterie: Outcome): boolean {
  if ((as !== BOGUS && as !== STALE) || etcd.kind !== 'error' || coterie.kind !== 'error') return false;
  return INVALID.has(etcd.text) && coterie.code === ERRORS.token_invalid.status && coterie.text === ERRORS.token_invalid.text;
}

/** A transaction of nothing needs no permission: etcd answers it to callers without a name while auth is on. */
function isNothingByNobody(name: CallName, request: Uint8Array, etcd: Outcome, coterie: Outcome): boolean {
  if (name !== 'txn' || etcd.kind !== 'answer' || coterie.kind !== 'error') return false;
  return request.length === 0 && coterie.text === ERRORS.user_empty.text;
}

/** Whoever guesses passwords has to wait here; etcd lets them go on. */
function isSlowedDown(coterie: Outcome): boolean {
  return coterie.kind === 'error' && coterie.text === ERRORS.too_many_logins.text;
}

/** What etcd can tell of a request by itself. */
const INVALID: ReadonlySet<string> = new Set([
  ERRORS.key_empty.text, ERRORS.key_not_found.text, ERRORS.value_provided.text, ERRORS.lease_provided.text,
  ERRORS.too_many_ops.text, ERRORS.duplicate_key.text,
]);

/** HashKV of the very revision that was compacted: refused by 3.4, answered from 3.6 on. */
function isHashAtCompaction(request: Uint8Array, etcd: Outcome, coterie: Outcome, compacted: number): boolean {
  if (CALLS.hash.request.read(request)['revision'] !== BigInt(compacted)) return false;
  return etcd.kind === 'error' && etcd.text === ERRORS.compacted.text && coterie.kind === 'answer';
}

/** A stall of the machine between the two looks at the remaining time, in seconds. */
const TTL_SLACK = 10;

/** `other`: what the other side answered. */
function masked(name: CallName, request: Message, answer: Message, other: Message): Message {
  switch (name) {
    case 'range':
      return maskedRange(request, answer);
    case 'txn':
      return maskedTxn(request, answer);
    case 'ttl':
      return maskedTtl(answer, other);
    case 'authenticate':
      // Letters of chance, of which ours has more, and an index of the log, in which each has its own entries.
      return { ...answer, token: /^[a-zA-Z]{16,24}\.[0-9]+$/.test(String(answer['token'])) ? '<token>' : answer['token'] };
    case 'hash':
      // Over the form in which each keeps its data.
      return { ...answer, hash: '<hash>' };
    default:
      return answer;
  }
}

/** What is left of a lease depends on when one looks; its keys are in no order. */
function maskedTtl(answer: Message, other: Message): Message {
  const [left, otherLeft] = [Number(answer['TTL']), Number(other['TTL'])];
  const isSame = left > 0 && otherLeft > 0 && Math.abs(left - otherLeft) <= TTL_SLACK;
  const keys = listOf(answer['keys']).map((key) => (key instanceof Uint8Array ? textOf(key) : '')).sort();
  return { ...answer, TTL: isSame ? '<left>' : left, keys };
}

const TARGETS: readonly string[] = ['key', 'version', 'createRevision', 'modRevision', 'value'];
/** etcd sorts without keeping equals in order, except so few that it sorts them by insertion. */
const STABLE_MAX = 12;

/**
 * Pairs that are equal in what they were sorted by stand in no order; where the limit cuts through such equals, it is not
 * said which of them are there. Both only for a sort by something else than the key, of more than twelve.
 */
function maskedRange(request: Message, answer: Message): Message {
  const target = TARGETS[Number(request['sortTarget'])] ?? 'key';
  const kvs = listOf(answer['kvs']) as Message[];
  if (target === 'key' || Number(answer['count']) <= STABLE_MAX || kvs.length === 0) return answer;
  if (target === 'value' && request['keysOnly'] === true) {
    return { ...answer, kvs: answer['more'] === true ? kvs.length : kvs.map(keyOf).sort() };
  }
  const groups: { by: unknown; kvs: Message[] }[] = [];
  for (const kv of kvs) {
    const by = plain(kv[target]);
    const last = groups.at(-1);
    if (last !== undefined && last.by === by) last.kvs.push(kv);
    else groups.push({ by, kvs: [kv] });
  }
  const sorted = groups.map(({ by, kvs: equals }, i) => {
    const isCut = answer['more'] === true && i === groups.length - 1;
    return { by, kvs: isCut ? equals.length : equals.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)) };
  });
  return { ...answer, kvs: sorted };
}

/** Walks request and answer side by side. */
function maskedTxn(request: Message, answer: Message): Message {
  const ops = listOf(answer['succeeded'] === true ? request['success'] : request['failure']) as Message[];
  const responses = (listOf(answer['responses']) as Message[]).map((each, i) => {
    const op = partOf(ops[i]?.['request']);
    const response = partOf(each['response']);
    if (op?.$case === 'requestRange' && response?.$case === 'responseRange') {
      return { range: maskedRange(op.value, response.value) };
    }
    if (op?.$case === 'requestTxn' && response?.$case === 'responseTxn') {
      return { txn: maskedTxn(op.value, response.value) };
    }
    return each;
  });
  return { ...answer, responses };
}

function partOf(x: unknown): { readonly $case: string; readonly value: Message } | null {
  if (typeof x !== 'object' || x === null || !('$case' in x) || !('value' in x)) return null;
  return typeof x.$case === 'string' && typeof x.value === 'object' ? { $case: x.$case, value: x.value as Message } : null;
}

function listOf(x: unknown): unknown[] {
  return Array.isArray(x) ? (x as unknown[]) : [];
}

function keyOf(kv: Message): string {
  return kv['key'] instanceof Uint8Array ? textOf(kv['key']) : '';
}

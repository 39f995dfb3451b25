// Looking at a queue from outside, and changing it by hand: what is in it, pause and resume, the dead, removal, and the
// stream of ends. None of this needs a session.

import { utf8 } from '../core/base/bytes.js';
import type { CallOptions, Client, Compare, Event, KeyValue, Op, Revision, TxnResponse } from '../core/client.js';
import { created, modified, opDelete, opPut, opRange, opTxn } from '../core/client.js';
import { type ApiError, isApiError } from '../core/errors.js';
import { isWorthRepeating, orStopped } from './entry.js';
import { pause } from './pause.js';
import { paged } from './queue-care.js';
import type { Caller } from './queue-call.js';
import { countOf, kvsOf, persist, retries, versionOf } from './queue-call.js';
import type { DeadRecord, End, Head, QueueKeys } from './queue-keys.js';
import { DELAY, idOf, placeAt, readDead, readEnd, readItem, readOut, sameKey } from './queue-keys.js';
import type { Named } from './queue-moves.js';
import { ending, entering, nextOf } from './queue-moves.js';

/** All of it at one revision. */
export interface QueueStats {
  readonly revision: Revision;
  /** Items that have not ended: what the bound is about. */
  readonly size: number;
  /** May be taken now. */
  readonly ready: number;
  /** Wait behind the first of their group. */
  readonly inLine: number;
  /** In the hands of a consumer. */
  readonly held: number;
  /** Put with a delay, or backing off. */
  readonly delayed: number;
  readonly dead: number;
  readonly paused: boolean;
  /** Since the queue has been there: how many were put, and how many have ended. */
  readonly put: number;
  readonly ended: number;
}

export interface DeadItem extends DeadRecord {
  readonly id: string;
  readonly group: string | null;
  readonly body: Uint8Array;
}

export async function queueStats(client: Client, keys: QueueKeys, options: CallOptions = {}): Promise<QueueStats> {
  const ranges = [...keys.ready, keys.lines, keys.outItems, keys.delays, keys.deads];
  const counts = ranges.map(({ key, rangeEnd }): Op => {
    return opRange(key, { ...(rangeEnd === undefined ? {} : { rangeEnd }), countOnly: true });
  });
  const counters = [keys.in, keys.done, keys.paused].map((key) => opRange(key, { keysOnly: true }));
  const { header, responses } = await client.txn({ success: [...counts, ...counters] }, options);
  const [loose = 0, groups = 0, inLine = 0, out = 0, delayed = 0, dead = 0] = responses.slice(0, ranges.length).map(countOf);
  const [put = 0, ended = 0, paused = 0] = responses.slice(ranges.length).map(versionOf);
  return {
    revision: header.revision,
    size: put - ended,
    ready: loose + groups,
    inLine,
    held: Math.max(0, out - delayed),
    delayed,
    dead,
    paused: paused > 0,
    put,
    ended,
  };
}

export async function setPaused(caller: Caller, keys: QueueKeys, paused: boolean, stop: AbortSignal): Promise<void> {
  const op = paused ? opPut(keys.paused, utf8('')) : opDelete(keys.paused);
  await persist(caller, stop, () => ({ success: [op] }), keys.root);
}

/** The dead by id, as they were at one revision. */
export async function* deadItems(caller: Caller, keys: QueueKeys, stop: AbortSignal): AsyncGenerator<DeadItem> {
  const { answer } = await persist(caller, stop, () => ({ success: [opRange(keys.in, { keysOnly: true })] }), keys.root);
  const { revision } = answer.header;
  for await (const kv of paged(caller, keys.deads, revision, stop, false)) {
    const id = idOf(kv.key);
    const found = await persist(caller, stop, () => ({ success: [opRange(keys.item(id), { revision })] }), keys.root);
    const [itemKv] = kvsOf(found.answer.responses[0]);
    const item = itemKv === undefined ? null : readItem(itemKv.value);
    if (item !== null) yield { id, ...readDead(kv), group: item.head.group, body: item.body };
  }
}

/** A dead item begins again, with no attempts counted, in its old place. False: there is no dead one of this id. */
export async function putBack(caller: Caller, keys: QueueKeys, id: string, stop: AbortSignal): Promise<boolean> {
  let sent = false;
  for (;;) {
    const reads = [opRange(keys.dead(id)), opRange(keys.item(id))];
    const { answer } = await persist(caller, stop, () => ({ success: reads }), keys.root);
    const [deadKv] = kvsOf(answer.responses[0]);
    const [itemKv] = kvsOf(answer.responses[1]);
    const item = itemKv === undefined ? null : readItem(itemKv.value);
    if (deadKv === undefined || item === null) return sent;
    const done = await persist(caller, stop, () => ({
      compare: [created(deadKv.key, '=', deadKv.createRevision)],
      success: [opDelete(deadKv.key), opPut(keys.in, utf8('')), ...entering(keys, { id, head: item.head })],
    }), keys.root);
    if (done.answer.succeeded) return true;
    // Not by a refused compare alone: an earlier attempt of ours may have been done without an answer.
    sent ||= done.doubtful;
  }
}

export type Removal = 'removed' | 'held' | 'not_found';

/** `held`: also out of the hands of a consumer, whose delivery then ends. */
export async function removeItem(
  caller: Caller,
  keys: QueueKeys,
  options: { readonly id: string; readonly held: boolean },
  stop: AbortSignal,
): Promise<Removal> {
  let sent = false;
  for (;;) {
    const found = await find(caller, keys, options.id, stop);
    if (found === null) return sent ? 'removed' : 'not_found';
    if (found.kind === 'moving') continue;
    if (found.kind === 'held' && !options.held) return 'held';
    const { answer, doubtful } = await remove(caller, keys, { ...found, id: options.id }, stop);
    if (answer) return 'removed';
    sent ||= doubtful;
  }
}

interface Found {
  readonly kind: 'dead' | 'held' | 'other';
  readonly head: Head;
  readonly attempts: number;
  /** It is where it was found. */
  readonly still: Compare;
  readonly ops: readonly Op[];
  /** It stands for its group, whose next takes its place. */
  readonly first: boolean;
}

async function find(caller: Caller, keys: QueueKeys, id: string, stop: AbortSignal): Promise<Found | { kind: 'moving' } | null> {
  const reads = [opRange(keys.item(id)), opRange(keys.outItem(id)), opRange(keys.dead(id), { keysOnly: true })];
  const { answer } = await persist(caller, stop, () => ({ success: reads }), keys.root);
  const [itemKv] = kvsOf(answer.responses[0]);
  const item = itemKv === undefined ? null : readItem(itemKv.value);
  if (item === null) return null;
  const { head } = item;
  const at = (kv: KeyValue) => ({ head, still: modified(kv.key, '=', kv.modRevision) });
  const [deadKv] = kvsOf(answer.responses[2]);
  if (deadKv !== undefined) return { ...at(deadKv), kind: 'dead', attempts: 0, ops: [opDelete(deadKv.key)], first: false };
  const [outKv] = kvsOf(answer.responses[1]);
  const out = readOut(outKv);
  if (outKv !== undefined && out !== null) {
    const ops = [opDelete(outKv.key), opDelete(keys.hold(out.by, id))];
    return { ...at(outKv), kind: out.by === DELAY ? 'other' : 'held', attempts: out.attempts, ops, first: out.entered };
  }
  const [waiting, first] = await inQueue(caller, keys, { id, head }, stop);
  if (waiting === undefined) return { kind: 'moving' };
  const attempts = keys.readReady(waiting.key)?.attempts ?? 0;
  return { ...at(waiting), kind: 'other', attempts, ops: [opDelete(waiting.key)], first };
}

/** The entry in ready or in line, and whether it is in ready. */
async function inQueue(
  caller: Caller,
  keys: QueueKeys,
  { id, head }: Named,
  stop: AbortSignal,
): Promise<readonly [KeyValue | undefined, boolean]> {
  const { group, priority } = head;
  let { place } = head;
  let line: KeyValue | undefined;
  if (group !== null) {
    const reads = [opRange(keys.active(group)), opRange(keys.lineKey(group, place, id))];
    const { answer } = await persist(caller, stop, () => ({ success: reads }), keys.root);
    [line] = kvsOf(answer.responses[1]);
    place = Buffer.from(kvsOf(answer.responses[0])[0]?.value ?? []).toString();
  }
  if (line !== undefined) return [line, false];
  const { key, rangeEnd } = keys.readyAt(group === null ? 0 : 1, priority, place);
  const read = opRange(key, rangeEnd === undefined ? {} : { rangeEnd });
  const { answer } = await persist(caller, stop, () => ({ success: [read] }), keys.root);
  return [kvsOf(answer.responses[0]).find((kv) => keys.readReady(kv.key)?.id === id), true];
}

async function remove(
  caller: Caller,
  keys: QueueKeys,
  found: Found & { readonly id: string },
  stop: AbortSignal,
): Promise<{ answer: boolean; doubtful: boolean }> {
  const { id, head, still, ops, first, kind, attempts } = found;
  // Only the first of a group is followed by the next.
  const named = { id, head: first ? head : { ...head, group: null } };
  let next: KeyValue | null = null;
  let revision: Revision = 0;
  for (;;) {
    const place = placeAt(revision, 0);
    const end = ending(keys, named, { outcome: 'removed', attempts, fence: null, next, place, turns: 0 });
    const all = kind === 'dead' ? [...ops, opDelete(keys.item(id))] : [...ops, ...end.ops];
    const otherwise = named.head.group === null ? [] : [nextOf(keys, named.head.group)];
    const inner = opTxn({ compare: [...end.compare], success: all, failure: otherwise });
    const sent: { answer: TxnResponse; doubtful: boolean } = await persist(caller, stop, () => ({
      compare: [still], success: [inner],
    }), keys.root);
    const [response] = sent.answer.responses;
    if (!sent.answer.succeeded || response?.kind !== 'txn') return { answer: false, doubtful: sent.doubtful };
    if (response.response.succeeded) return { answer: true, doubtful: false };
    next = kvsOf(response.response.responses[0])[0] ?? null;
    ({ revision } = sent.answer.header);
  }
}

/**
 * One for each item that ends, in the order in which they do; a dead item that is removed or put back has ended before. Goes
 * on where it was after a lost connection, and ends with `stop` and with the client. Throws `compacted` when some cannot be
 * told any more.
 */
export async function* ends(
  caller: Caller,
  keys: QueueKeys,
  from: Revision,
  stop: AbortSignal,
): AsyncGenerator<End & { readonly revision: Revision }> {
  const backoff = retries(caller.clock, keys.root);
  let next = from;
  while (!stop.aborted) {
    try {
      if (next === 0) next = await caughtUp(caller, keys, Infinity, stop);
      for await (const { kv } of endings(caller, keys, next, stop)) {
        next = kv.modRevision + 1;
        const end = sameKey(kv.key, keys.done) ? readEnd(kv) : null;
        if (end !== null) yield { ...end, revision: kv.modRevision };
        backoff.reset();
      }
      // By itself: the client may have been closed, which the next call tells.
      await caughtUp(caller, keys, next, stop);
    } catch (error) {
      if (stop.aborted || isApiError(error, 'closed')) return;
      if (isApiError(error, 'compacted')) next = await caughtUp(caller, keys, next, stop, error);
      else if (!isWorthRepeating(error)) throw error;
      else caller.observe({ kind: 'attempt_failed', error });
    }
    await pause(caller.clock, backoff.next(), stop);
  }
}

/** The revision from which nothing is missing for whoever has been told of all before `next`; else throws `why`. */
async function caughtUp(caller: Caller, keys: QueueKeys, next: Revision, stop: AbortSignal, why?: ApiError): Promise<Revision> {
  const { answer } = await persist(caller, stop, () => ({ success: [opRange(keys.done, { keysOnly: true })] }), keys.root);
  const [last] = kvsOf(answer.responses[0]);
  if (why !== undefined && last !== undefined && last.modRevision >= next) throw why;
  return answer.header.revision + 1;
}

async function* endings(caller: Caller, keys: QueueKeys, from: Revision, stop: AbortSignal): AsyncGenerator<Event> {
  const watch = caller.client.watch({ key: keys.done, startRevision: from, exclude: ['delete'] });
  const batches = watch[Symbol.asyncIterator]();
  try {
    for (;;) {
      const batch = await orStopped(batches.next(), stop);
      if (batch.done === true) return;
      yield* batch.value.events;
    }
  } finally {
    watch.close();
  }
}

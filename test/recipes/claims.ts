// A claim that is made of every place over real sockets, and words that claims have in common. What a claim asks of the store
// itself, beside the recipe, is asked until it is answered: a change of leader is no answer.

import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client, KeyValue, LeaseId } from '../../core/client.js';
import { del, get, prefixRange, put } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { Session } from '../../recipes/session.js';
import type { Place } from './homes.js';

export type Claim = (t: ExecutionContext, place: Place) => Promise<void>;

/** For what may be done twice. */
export async function insist<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!isApiError(error) || !(error.retryable || error.outcome === 'unknown')) throw error;
      await sleep(50);
    }
  }
}

/** A session; 60 s are long enough for whatever a place goes through. */
export function opened(client: Client, ttlSeconds = 60): Promise<Session> {
  return insist(() => Session.open(client, { ttlSeconds }));
}

export async function until(condition: () => boolean | Promise<boolean>, everyMs = 20): Promise<void> {
  while (!(await condition())) await sleep(everyMs);
}

export function read(client: Client, key: string): Promise<KeyValue | null> {
  return insist(() => get(client, utf8(key)));
}

/** What stands there; null: nothing does. */
export async function readText(client: Client, key: string): Promise<string | null> {
  const kv = await read(client, key);
  return kv === null ? null : text(kv.value);
}

export async function readAll(client: Client, prefix: string): Promise<readonly KeyValue[]> {
  return (await insist(() => client.range(prefixRange(utf8(prefix))))).kvs;
}

export async function write(client: Client, key: string, value: string): Promise<void> {
  await insist(() => put(client, utf8(key), utf8(value)));
}

export async function remove(client: Client, key: string): Promise<void> {
  await insist(() => del(client, utf8(key)));
}

export async function removeAll(client: Client, prefix: string): Promise<void> {
  const range = prefixRange(utf8(prefix));
  await insist(() => del(client, range.key, range));
}

/** Afterwards the lease is gone, by whomever. */
export async function revoke(client: Client, lease: LeaseId): Promise<void> {
  try {
    await insist(() => client.revoke(lease));
  } catch (error) {
    if (!isApiError(error, 'lease_not_found')) throw error;
  }
}

/** The loop of this process stands still, and everything in it. */
export function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

export interface Counting extends Client {
  /** Since it was made: transactions and reads sent, and renewals that the store confirmed. */
  readonly sent: { txns: number; ranges: number; watches: number; renewals: number };
}

export function counting(client: Client): Counting {
  const sent = { txns: 0, ranges: 0, watches: 0, renewals: 0 };
  return {
    sent,
    txn: (request, options) => {
      sent.txns += 1;
      return client.txn(request, options);
    },
    range: (request, options) => {
      sent.ranges += 1;
      return client.range(request, options);
    },
    watch: (request, options) => {
      sent.watches += 1;
      return client.watch(request, options);
    },
    grant: (ttlSeconds, options) => client.grant(ttlSeconds, options),
    keepAlive: async (lease, options) => {
      const answer = await client.keepAlive(lease, options);
      if (answer.ttlSeconds > 0) sent.renewals += 1;
      return answer;
    },
    revoke: (lease, options) => client.revoke(lease, options),
    close: () => client.close(),
  };
}

/** Of the creation; 0 where there is no such key. */
export async function revisionOf(client: Client, key: Uint8Array): Promise<number> {
  return (await insist(() => get(client, key)))?.createRevision ?? 0;
}

export async function entries(client: Client, prefix: string): Promise<number> {
  return (await insist(() => client.range({ ...prefixRange(utf8(prefix)), countOnly: true }))).count;
}

export async function isPending(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return await Promise.race([promise.then(() => false, () => false), sleep(ms).then(() => true)]);
}

export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Several TTLs where the leader is killed: each new one gives every lease its whole time again. */
export function withinMs(place: Place, ttlMs: number): number {
  return place.ports.length > 1 ? 4 * ttlMs + 10_000 : ttlMs + 5_000;
}

/** TTL of a session that must not be lost before its claim lets it be lost, however busy this machine is. */
export function patient(place: Place, seconds = 8): number {
  return Math.max(seconds, place.ttlSeconds);
}

// Standing in line, and leading, for somebody else: what a server does for callers of etcd's Lock and Election services
// (contract 10). The lease is theirs: they keep it alive, and its end is noticed by our key's alone. So there is no session
// here, no local deadline and nothing to hold, unlike in line.ts; the layout is the same, and everybody waits in one line.
//
// Keys: <name>/<lease hex>   exactly, in bytes; the value is the caller's. Whoever asks again under the same lease is given
//                            the same place
// Transactions:
//   enter     no such key: put it, on the lease; else read it. Both read who is first
//   look      the key has our create revision: read the newest before it
//   proclaim  the key has the create revision given: put its value
//   leave     the key has the create revision given: delete it

import { utf8 } from '../core/base/bytes.js';
import type { Clock } from '../core/base/clock.js';
import type {
  CallOptions, Client, Header, KeyValue, LeaseId, RangeRequest, Revision, TxnRequest, TxnResponse, WatchRequest,
} from '../core/client.js';
import { created, opDelete, opPut, opRange, prefixRange } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import { found } from './coordination-names.js';
import { deletion } from './deletion.js';
import { isWorthRepeating, orStopped } from './entry.js';
import { Backoff, chance, pause } from './pause.js';

/** The lease of a caller who brings none. Nobody renews it. */
const LEASE_SECONDS = 60;
const RETRY_MS = 100;
const RETRY_MS_MAX = 2_000;

/** The store, asked on somebody's behalf, until `stop` aborts. */
export interface Asking {
  readonly client: Client;
  readonly clock: Clock;
  /** For the next call, anew: who somebody is may change while he waits. */
  options(): Promise<CallOptions | undefined>;
  readonly stop: AbortSignal;
}

/** A key in a line. `revision` is its create revision: its place, and a fence. */
export interface Standing {
  readonly key: Uint8Array;
  readonly revision: Revision;
  readonly lease: LeaseId;
  /** Of the answer that put it there or found it there. */
  readonly entered: Header;
  /** Of the answer that found nobody before it. */
  readonly header: Header;
}

export interface Wanted {
  readonly name: Uint8Array;
  /** 0n: one of 60 seconds is granted. */
  readonly lease: LeaseId;
  readonly value: Uint8Array;
  /** What to do about our key if it is there already, before waiting. */
  readonly onFound?: (standing: Standing, value: Uint8Array) => Promise<void>;
}

/**
 * Resolves when our key is the first in its line; null when it has gone while it waited. Whenever it rejects the key is
 * gone, unless the store cannot be asked: then it ends with its lease.
 */
export async function becomeFirst(asking: Asking, wanted: Wanted): Promise<Standing | null> {
  const lease = await leaseFor(asking, wanted.lease);
  const line = lineOf(wanted.name);
  const key = Buffer.concat([line, utf8(lease.toString(16))]);
  const first = opRange(line, { ...prefixRange(line), ...FIRST });
  const answer = await txn(asking, {
    compare: [created(key, '=', 0)],
    success: [opPut(key, wanted.value, { lease }), first],
    failure: [opRange(key), first],
  });
  const mine = answer.succeeded ? null : found(answer.responses, 0)[0];
  const revision = mine?.createRevision ?? answer.header.revision;
  const standing = { key, revision, lease, entered: answer.header, header: answer.header };
  try {
    if (mine) await wanted.onFound?.(standing, mine.value);
    if (found(answer.responses, 1)[0]?.createRevision === revision) return standing;
    const header = await untilFirst(asking, line, standing);
    return header === null ? null : { ...standing, header };
  } catch (error) {
    await withdraw(asking, standing);
    throw error;
  }
}

/** Null: there is no such key with that create revision. */
export async function proclaim(
  asking: Asking, place: Pick<Standing, 'key' | 'revision' | 'lease'>, value: Uint8Array,
): Promise<Header | null> {
  const { key, revision } = place;
  const lease = await leaseFor(asking, place.lease);
  const answer = await txn(asking, { compare: [created(key, '=', revision)], success: [opPut(key, value, { lease })] });
  return answer.succeeded ? answer.header : null;
}

/** Harmless for a key that is gone or somebody else's. */
export async function leave(asking: Asking, standing: Pick<Standing, 'key' | 'revision'>): Promise<Header> {
  return (await txn(asking, removal(standing))).header;
}

/** Whoever stands first. */
export async function firstOf(asking: Asking, name: Uint8Array): Promise<{ header: Header; kv: KeyValue | null }> {
  const line = lineOf(name);
  const options = await asking.options();
  const { header, kvs } = await orStopped(asking.client.range({ ...prefixRange(line), ...FIRST }, options), asking.stop);
  return { header, kv: kvs[0] ?? null };
}

/**
 * The first at once, if there is one, then each new value of it and each that comes first after it. Ends by throwing. What
 * comes and goes while nobody was first is told of, too.
 */
export async function* followFirst(asking: Asking, name: Uint8Array): AsyncGenerator<{ header: Header; kv: KeyValue }, never> {
  const line = lineOf(name);
  for (;;) {
    const { header, kv } = await firstOf(asking, name);
    const start = kv === null ? await firstPut(asking, prefixRange(line), header.revision) : { header, kv };
    yield start;
    const rest = { key: start.kv.key, startRevision: start.header.revision + 1 };
    for await (const next of changes(asking, rest)) {
      if (next.kind === 'delete') break;
      yield next;
    }
  }
}

const FIRST = { sortTarget: 'create', sortOrder: 'ascend', limit: 1 } as const;

function lineOf(name: Uint8Array): Uint8Array {
  return Buffer.concat([name, utf8('/')]);
}

async function leaseFor(asking: Asking, lease: LeaseId): Promise<LeaseId> {
  if (lease !== 0n) return lease;
  const options = await asking.options();
  asking.stop.throwIfAborted();
  return (await asking.client.grant(LEASE_SECONDS, options)).id;
}

/** An answer under way when `stop` aborts is waited for: what it has put must be known, to be taken away again. */
async function txn(asking: Asking, request: TxnRequest): Promise<TxnResponse> {
  const options = await asking.options();
  asking.stop.throwIfAborted();
  return asking.client.txn(request, options);
}

/** The header of the look that found nobody before us; null when our key is gone. */
async function untilFirst(asking: Asking, line: Uint8Array, { key, revision }: Standing): Promise<Header | null> {
  const { client, clock, stop } = asking;
  const before: RangeRequest = {
    ...prefixRange(line), maxCreateRevision: revision - 1, limit: 1, sortTarget: 'create', sortOrder: 'descend', keysOnly: true,
  };
  const backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(clock, String(revision)) });
  for (;;) {
    try {
      const request = { compare: [created(key, '=', revision)], success: [{ kind: 'range', request: before } as const] };
      const answer = await txn(asking, request);
      if (!answer.succeeded) return null;
      const ahead = found(answer.responses, 0)[0];
      if (ahead === undefined) return answer.header;
      const options = await asking.options();
      const watching = { watch: (one: WatchRequest) => client.watch(one, options) };
      const { error } = await deletion(watching, [{ key: ahead.key }, { key }], answer.header.revision, stop);
      if (error === null) {
        backoff.reset();
        continue;
      }
    } catch (error) {
      stop.throwIfAborted();
      if (!isWorthRepeating(error)) throw error;
    }
    await pause(clock, backoff.next(), stop);
    stop.throwIfAborted();
  }
}

/** Takes our key away although whoever it stands for has gone, or may no longer ask: we have put it there. */
async function withdraw(asking: Asking, standing: Standing): Promise<void> {
  const { client } = asking;
  const request = removal(standing);
  try {
    await client.txn(request, await asking.options());
  } catch {
    // As this process; where that is refused as well, the key goes with its lease.
    await client.txn(request).catch(() => undefined);
  }
}

function removal({ key, revision }: Pick<Standing, 'key' | 'revision'>): TxnRequest {
  return { compare: [created(key, '=', revision)], success: [opDelete(key)] };
}

/** The first put in a range that nobody stands in. */
async function firstPut(
  asking: Asking, range: { key: Uint8Array; rangeEnd: Uint8Array }, revision: Revision,
): Promise<{ header: Header; kv: KeyValue }> {
  for await (const change of changes(asking, { ...range, startRevision: revision })) {
    if (change.kind === 'put') return change;
  }
  throw closedEarly();
}

type Change = { readonly kind: 'put' | 'delete'; readonly header: Header; readonly kv: KeyValue };

/** Each event with a header that says its own revision. Throws what the watch throws, and when it ends by itself. */
async function* changes(asking: Asking, request: WatchRequest): AsyncGenerator<Change, void> {
  const watch = asking.client.watch(request, await asking.options());
  const batches = watch[Symbol.asyncIterator]();
  try {
    for (;;) {
      const batch = await orStopped(batches.next(), asking.stop);
      if (batch.done === true) throw closedEarly();
      const { header, events } = batch.value;
      for (const { kind, kv } of events) yield { kind, kv, header: { ...header, revision: kv.modRevision } };
    }
  } finally {
    watch.close();
  }
}

function closedEarly(): ApiError {
  return new ApiError('connection_lost', { detail: 'a watch ended by itself' });
}

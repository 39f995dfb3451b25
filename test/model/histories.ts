// Good histories for testing the checkers: the real store, with concurrency made up around it. Each operation takes effect at a
// moment between its call and its return; some are never answered, and some of those happen. And ways to spoil one, each of
// which makes it wrong for certain.

import { utf8 } from '../../core/base/bytes.js';
import { Prng } from '../../core/base/prng.js';
import { modified, opDelete, opPut, opRange, opTxn, prefixRange, type Event, type Op, type RangeRequest, type TxnRequest,
  type WatchBatch } from '../../core/client.js';
import type { Command } from '../../core/store/command.js';
import { Store } from '../../core/store/store.js';
import type { History, LogEntry, Operation, OperationRequest, Outcome, WatchRecord } from './history.js';

type Writable<T> = { -readonly [K in keyof T]: T[K] };

export interface Made extends History {
  readonly operations: Writable<Operation>[];
  readonly watches: (Writable<Omit<WatchRecord, 'batches'>> & { batches: { at: number; batch: WatchBatch }[] })[];
  readonly log: LogEntry[];
  readonly events: Event[];
}

const KEYS = 6;

export function goodHistory(seed: number, count: number,
  options: { keys?: number; clients?: number; isLeased?: boolean } = {}): Made {
  const { keys = KEYS, clients = 5, isLeased = true } = options;
  const prng = new Prng(seed);
  const store = new Store();
  const log: LogEntry[] = [];
  const operations: Writable<Operation>[] = [];
  const events: Event[] = [];
  const free = Array.from({ length: clients }, () => 0);
  let now = 1;
  const wish = wishes(prng, store, keys, isLeased);
  const header = (revision: number) => ({ clusterId: 1n, memberId: 1n, revision, raftTerm: 1 });
  const commit = (command: Command) => {
    const index = log.length + 1;
    log.push({ index, term: 1, command, at: now });
    const { reply, events: batch } = store.apply({ term: 1, index }, command);
    for (const event of batch?.events ?? []) {
      events.push({ ...event, prevKv: store.pairBefore(event.kv.key, event.kv.modRevision) });
    }
    return reply;
  };
  const perform = (wish: OperationRequest): Outcome => {
    const refused = (code: 'lease_not_found' | 'lease_exists'): Outcome => ({ kind: 'error', code, outcome: 'never' });
    switch (wish.kind) {
      case 'range': {
        const answer = store.range(wish.request);
        if (typeof answer === 'string') throw new Error(answer);
        return { kind: 'ok', response: { header: header(store.revision), ...answer } };
      }
      case 'txn': {
        const reply = commit({ kind: 'txn', request: wish.request });
        if (reply.kind !== 'txn') return refused('lease_not_found');
        return { kind: 'ok', response: { header: header(reply.revision), succeeded: reply.succeeded,
          responses: reply.responses } };
      }
      case 'grant': {
        const reply = commit({ kind: 'lease_grant', id: wish.id, ttlSeconds: wish.ttlSeconds });
        if (reply.kind !== 'lease_grant') return refused('lease_exists');
        return { kind: 'ok', response: { header: header(reply.revision), id: reply.id, ttlSeconds: reply.ttlSeconds } };
      }
      case 'revoke': {
        const reply = commit({ kind: 'lease_revoke', id: wish.lease, term: 0, granted: 0 });
        return reply.kind === 'lease_revoke' ? { kind: 'ok', response: header(reply.revision) } : refused('lease_not_found');
      }
      case 'keep_alive':
      case 'compact':
        throw new Error('not made here');
    }
  };
  for (let i = 0; i < count; i++) {
    now += 1 + prng.below(4);
    const client = prng.below(clients);
    const calledAt = Math.max((free[client] ?? 0) + 0.25, now - prng.below(8));
    if (calledAt >= now) continue;
    const wished = wish();
    const isUnknown = prng.below(12) === 0;
    const happens = !isUnknown || prng.below(2) === 0;
    const outcome: Outcome = happens ? perform(wished) : { kind: 'error', code: 'timeout', outcome: 'unknown' };
    const returnedAt = now + 0.5 + prng.below(8);
    free[client] = returnedAt;
    operations.push({
      client: `c${client}`, member: 1n, calledAt, returnedAt: isUnknown ? Infinity : returnedAt, request: wished,
      outcome: isUnknown ? { kind: 'error', code: 'timeout', outcome: 'unknown' } : outcome,
    });
  }
  return { operations, watches: [watchOf(events, now + 100, header)], log, events };
}

/** What clients ask for: every value they write is another one. */
function wishes(prng: Prng, store: Store, keys: number, isLeased: boolean): () => OperationRequest {
  let values = 0;
  const key = (): Uint8Array => utf8(`k${prng.below(keys)}`);
  const value = (): Uint8Array => utf8(`v${(values += 1)}`);
  return (): OperationRequest => {
    const what = prng.below(12);
    if (what < 2) return { kind: 'range', request: { key: key() } };
    if (what === 2) return { kind: 'range', request: { ...prefixRange(utf8('k')), limit: prng.below(4), sortOrder: 'descend',
      sortTarget: 'mod' } };
    if (what === 3) return { kind: 'range', request: { ...prefixRange(utf8('k')), countOnly: prng.below(2) === 0 } };
    if (what === 4) return { kind: 'txn', request: { success: [opDelete(key(), { prevKv: true })] } };
    if (what === 5 && isLeased) return { kind: 'grant', ttlSeconds: 5, id: BigInt(1 + prng.below(5)) };
    if (what === 6 && isLeased) return { kind: 'revoke', lease: BigInt(1 + prng.below(5)) };
    if (what === 7) {
      const at = key();
      const success: Op[] = [opPut(at, value()), opRange(at),
        opTxn({ compare: [modified(at, '!=', 0)], success: [opRange(key())] })];
      return { kind: 'txn', request: { compare: [modified(at, '=', prng.below(store.revision + 1))], success,
        failure: [opRange(at)] } };
    }
    if (what === 8) return { kind: 'txn', request: { success: [opPut(utf8('k0'), value()), opPut(utf8('k1'), value())] } };
    const lease = isLeased && prng.below(3) === 0 ? { lease: BigInt(1 + prng.below(5)) } : {};
    return { kind: 'txn', request: { success: [opPut(key(), value(), { prevKv: prng.below(2) === 0, ...lease })] } };
  };
}

function watchOf(events: readonly Event[], at: number,
  header: (revision: number) => WatchBatch['header']): Made['watches'][number] {
  const batches: { at: number; batch: WatchBatch }[] = [{ at, batch: { kind: 'created', header: header(1), events: [] } }];
  for (const event of events) {
    const last = batches.at(-1);
    const revision = event.kv.modRevision;
    if (last !== undefined && last.batch.events.at(-1)?.kv.modRevision === revision) {
      last.batch = { ...last.batch, events: [...last.batch.events, event] };
    } else batches.push({ at, batch: { kind: 'events', header: header(revision), events: [event] } });
  }
  batches.push({ at, batch: { kind: 'progress', header: header(events.at(-1)?.kv.modRevision ?? 1), events: [] } });
  return { client: 'w', request: { ...prefixRange(utf8('')), startRevision: 2, prevKv: true }, batches, end: 'open' };
}

export function call(
  client: string, calledAt: number, returnedAt: number, request: RangeRequest | TxnRequest, response: Partial<Record<string,
    unknown>> & { revision: number },
): Operation {
  const { revision, ...rest } = response;
  const header = { clusterId: 1n, memberId: 1n, revision, raftTerm: 1 };
  const isRange = 'key' in request;
  const common = { client, member: 1n, calledAt, returnedAt };
  const answer = isRange ? { header, kvs: [], more: false, count: 0, ...rest } : { header, succeeded: true, responses: [],
    ...rest };
  return isRange
    ? { ...common, request: { kind: 'range', request }, outcome: { kind: 'ok', response: answer } }
    : { ...common, request: { kind: 'txn', request }, outcome: { kind: 'ok', response: answer } };
}

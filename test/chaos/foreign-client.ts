// A client that is not ours: npm's etcd3, on its raw calls, without its retries (an operation is sent once, so that what
// was recorded is what was asked). Speaks the vocabulary of core/client.ts, in which histories are written.

import { Etcd3 } from 'etcd3';
import type * as foreign from 'etcd3';
import type {
  Compare, Header, KeepAlive, KeyValue, Lease, LeaseId, Op, OpResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
} from '../../core/client.js';
import { codeOfText, ERRORS, type ErrorCode } from '../../core/errors.js';

export const CALL_MS = 2000;

/** cockatiel's policy that does nothing, without cockatiel. */
const once = {
  _altReturn: undefined as never,
  execute: async <T>(run: (context: { signal: AbortSignal }) => PromiseLike<T> | T): Promise<T> =>
    run({ signal: new AbortController().signal }),
  onSuccess: () => ({ dispose: () => undefined }),
  onFailure: () => ({ dispose: () => undefined }),
};

export function etcd3Of(url: string): Etcd3 {
  return new Etcd3({
    hosts: [url],
    grpcOptions: {
      'grpc.enable_retries': 0,
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.min_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 250,
      // One channel of its own for each client: a reset by one does not cut the calls of another.
      'grpc.use_local_subchannel_pool': 1,
    },
    faultHandling: { global: once, host: () => once },
  });
}

const deadline = (ms = CALL_MS): { deadline: number } => ({ deadline: Date.now() + ms });

export function headerOf(header: foreign.IResponseHeader): Header {
  return {
    clusterId: BigInt(header.cluster_id),
    memberId: BigInt(header.member_id),
    revision: Number(header.revision),
    raftTerm: Number(header.raft_term),
  };
}

/** Copied: what arrives is a view into a whole piece of the stream, which a record of the round would keep alive. */
export function keyValueOf(kv: foreign.IKeyValue): KeyValue {
  return {
    key: Buffer.from(kv.key),
    value: Buffer.from(kv.value),
    createRevision: Number(kv.create_revision),
    modRevision: Number(kv.mod_revision),
    version: Number(kv.version),
    lease: BigInt(kv.lease),
  };
}

function orNull(kv: foreign.IKeyValue | null | undefined): KeyValue | null {
  return kv === null || kv === undefined ? null : keyValueOf(kv);
}

type ForeignRange = { kvs: foreign.IKeyValue[]; more: boolean; count: string };

const rangeOf = (answer: ForeignRange): Omit<RangeResponse, 'header'> => ({
  kvs: answer.kvs.map(keyValueOf),
  more: answer.more,
  count: Number(answer.count),
});

function foreignRange(request: RangeRequest): foreign.IRangeRequest {
  return {
    key: Buffer.from(request.key),
    ...(request.rangeEnd === undefined ? {} : { range_end: Buffer.from(request.rangeEnd) }),
    ...(request.serializable === undefined ? {} : { serializable: request.serializable }),
    ...(request.limit === undefined ? {} : { limit: request.limit }),
    ...(request.revision === undefined ? {} : { revision: request.revision }),
  };
}

function foreignOp(op: Op): foreign.IRequestOp {
  switch (op.kind) {
    case 'range':
      return { request_range: foreignRange(op.request) };
    case 'put': {
      const { key, value, lease, prevKv } = op.request;
      return {
        request_put: {
          key: Buffer.from(key), value: Buffer.from(value), lease: String(lease ?? 0n), prev_kv: prevKv ?? false,
        },
      };
    }
    case 'delete': {
      const { key, rangeEnd, prevKv } = op.request;
      const end = rangeEnd === undefined ? {} : { range_end: Buffer.from(rangeEnd) };
      return { request_delete_range: { key: Buffer.from(key), ...end, prev_kv: prevKv ?? false } };
    }
    case 'txn':
      return { request_txn: foreignTxn(op.request) };
  }
}

function foreignCompare(compare: Compare): foreign.ICompare {
  const results = { '=': 'Equal', '>': 'Greater', '<': 'Less', '!=': 'NotEqual', any: 'Equal' } as const;
  const shared = { key: Buffer.from(compare.key), result: results[compare.result] };
  switch (compare.target) {
    case 'version':
      return { ...shared, target: 'Version', version: compare.operand };
    case 'create':
      return { ...shared, target: 'Create', create_revision: compare.operand };
    case 'mod':
      return { ...shared, target: 'Mod', mod_revision: compare.operand };
    case 'value':
      return { ...shared, target: 'Value', value: Buffer.from(compare.operand) };
    case 'lease':
      throw new Error('the campaign compares no leases');
  }
}

function foreignTxn(request: TxnRequest): foreign.ITxnRequest {
  return {
    compare: (request.compare ?? []).map(foreignCompare),
    success: (request.success ?? []).map(foreignOp),
    failure: (request.failure ?? []).map(foreignOp),
  };
}

/** In etcd3's answers the branches of a oneof that were not sent are absent. */
function opResponseOf(answer: Partial<foreign.IResponseOp>): OpResponse {
  const revision = (part: { header: foreign.IResponseHeader }): number => Number(part.header.revision);
  const { response_range: range, response_put: put, response_delete_range: deleted, response_txn: txn } = answer;
  if (range !== undefined && range !== null) {
    return { kind: 'range', response: { revision: revision(range), ...rangeOf(range) } };
  }
  if (put !== undefined && put !== null) {
    return { kind: 'put', response: { revision: revision(put), prevKv: orNull(put.prev_kv) } };
  }
  if (deleted !== undefined && deleted !== null) {
    const prevKvs = deleted.prev_kvs.map(keyValueOf);
    return { kind: 'delete', response: { revision: revision(deleted), deleted: Number(deleted.deleted), prevKvs } };
  }
  if (txn === undefined || txn === null) throw new Error('an answer in a transaction is of no kind');
  const responses = txn.responses.map(opResponseOf);
  return { kind: 'txn', response: { revision: revision(txn), succeeded: txn.succeeded, responses } };
}

/** A transaction that is one put or one delete goes out as the plain call: what people send. */
export async function foreignWrite(client: Etcd3, request: TxnRequest): Promise<TxnResponse> {
  const only = request.success?.length === 1 && (request.compare ?? []).length === 0 ? request.success[0] : undefined;
  const op = only === undefined ? undefined : foreignOp(only);
  if (op?.request_put !== undefined) {
    const answer = await client.kv.put(op.request_put, deadline());
    const header = headerOf(answer.header);
    const put = { revision: header.revision, prevKv: orNull(answer.prev_kv) };
    return { header, succeeded: true, responses: [{ kind: 'put', response: put }] };
  }
  if (op?.request_delete_range !== undefined) {
    const answer = await client.kv.deleteRange(op.request_delete_range, deadline());
    const header = headerOf(answer.header);
    const prevKvs = answer.prev_kvs.map(keyValueOf);
    const deleted = { revision: header.revision, deleted: Number(answer.deleted), prevKvs };
    return { header, succeeded: true, responses: [{ kind: 'delete', response: deleted }] };
  }
  const answer = await client.kv.txn(foreignTxn(request), deadline());
  return { header: headerOf(answer.header), succeeded: answer.succeeded, responses: answer.responses.map(opResponseOf) };
}

export async function foreignRead(client: Etcd3, request: RangeRequest, timeoutMs?: number): Promise<RangeResponse> {
  const answer = await client.kv.range(foreignRange(request), deadline(timeoutMs));
  return { header: headerOf(answer.header), ...rangeOf(answer) };
}

export async function foreignGrant(client: Etcd3, ttlSeconds: number): Promise<Lease> {
  const answer = await client.leaseClient.leaseGrant({ TTL: ttlSeconds }, deadline());
  return { header: headerOf(answer.header), id: BigInt(answer.ID), ttlSeconds: Number(answer.TTL) };
}

export async function foreignRevoke(client: Etcd3, lease: LeaseId): Promise<Header> {
  const answer = await client.leaseClient.leaseRevoke({ ID: String(lease) }, deadline());
  return headerOf(answer.header);
}

/** One renewal on a stream of its own. */
export async function foreignKeepAlive(client: Etcd3, lease: LeaseId): Promise<KeepAlive> {
  const stream = await client.leaseClient.leaseKeepAlive(deadline());
  try {
    return await new Promise<KeepAlive>((resolve, reject) => {
      stream.on('data', (answer) => resolve({ header: headerOf(answer.header), ttlSeconds: Number(answer.TTL) }));
      stream.on('error', reject);
      stream.on('end', () => reject(new Error('the stream ended without an answer')));
      stream.write({ ID: String(lease) });
    });
  } finally {
    stream.cancel();
  }
}

export interface Failure {
  readonly code: ErrorCode;
  readonly outcome: 'never' | 'unknown';
  readonly text: string;
}

/**
 * What a failed call means. `trusts`: the server keeps to our error table, so what it says never happened must not show;
 * of others only what is refused for good is believed.
 */
export function failureOf(error: unknown, trusts: boolean): Failure {
  const text = error instanceof Error ? error.message.replace(/^\d+ [A-Z_]+: /, '') : String(error);
  if (/^Lease .* is expired or revoked$/.test(text)) return { code: 'lease_not_found', outcome: 'never', text };
  const code = codeOfText(text);
  if (code !== null) {
    const row = ERRORS[code];
    return { code, outcome: trusts || !row.retryable ? row.outcome : 'unknown', text };
  }
  if (text.startsWith('No connection established')) return { code: 'unavailable', outcome: 'never', text };
  if (/deadline exceeded/i.test(text)) return { code: 'deadline_exceeded', outcome: 'unknown', text };
  return { code: 'connection_lost', outcome: 'unknown', text };
}

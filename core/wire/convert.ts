// Protocol messages <-> client.ts types: one function per message, both directions adjacent. `readX` takes what came over
// the wire, `writeX` makes what goes out. Pure, and total on whatever a client may send: 64-bit numbers beyond 2^53 are
// clamped (a client says "all" with the largest int64), unknown enum values mean what they mean to etcd (contract 4).
// Byte fields are views of the message they came in; whoever keeps them longer than the call copies them.

import type * as api from '../client.js';
import { EMPTY, OPEN_END } from '../base/bytes.js';
import { ApiError } from '../errors.js';
import type * as mvcc from './schema/generated/mvcc.js';
import type * as rpc from './schema/generated/rpc.js';

const SAFE_MAX = BigInt(Number.MAX_SAFE_INTEGER);
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/** A 64-bit number as a counter; beyond the safe integers, the nearest safe one. */
export function clamp(value: bigint): number {
  if (value > SAFE_MAX) return Number.MAX_SAFE_INTEGER;
  if (value < -SAFE_MAX) return Number.MIN_SAFE_INTEGER;
  return Number(value);
}

/** A counter as a 64-bit number; fractions are rounded up, infinities become the ends of the range. */
export function int64(value: number | undefined): bigint {
  if (value === undefined || Number.isNaN(value)) return 0n;
  if (value === Infinity) return INT64_MAX;
  if (value === -Infinity) return INT64_MIN;
  return BigInt.asIntN(64, BigInt(Math.ceil(value)));
}

// Header

export function readHeader(header: rpc.ResponseHeader | undefined): api.Header {
  if (header === undefined) return NO_HEADER;
  const { clusterId, memberId, revision, raftTerm } = header;
  return { clusterId, memberId, revision, raftTerm };
}

export function writeHeader(header: api.Header): rpc.ResponseHeader {
  return header;
}

/** Inside a transaction the header carries the revision alone. */
function writeSubHeader(revision: number): rpc.ResponseHeader {
  return { clusterId: 0n, memberId: 0n, revision, raftTerm: 0 };
}

const NO_HEADER: api.Header = Object.freeze({ clusterId: 0n, memberId: 0n, revision: 0, raftTerm: 0 });

// KeyValue and Event: the shapes agree, so pairs pass through as they are.

export function readEvent(event: mvcc.Event): api.Event {
  return { kind: event.type === 1 ? 'delete' : 'put', kv: event.kv ?? NO_KV, prevKv: event.prevKv ?? null };
}

export function writeEvent(event: api.Event): mvcc.Event {
  return { type: event.kind === 'delete' ? 1 : 0, kv: event.kv, prevKv: event.prevKv ?? undefined };
}

const NO_KV: api.KeyValue = Object.freeze({
  key: EMPTY,
  value: EMPTY,
  createRevision: 0,
  modRevision: 0,
  version: 0,
  lease: 0n,
});

// Range

const SORT_ORDERS: readonly api.SortOrder[] = ['none', 'ascend', 'descend'];
const SORT_TARGETS: readonly api.SortTarget[] = ['key', 'version', 'create', 'mod', 'value'];

/** An unknown sort target is refused (it crashes etcd 3.4); an unknown order means no order at all, as in etcd. */
export function readRangeRequest(message: rpc.RangeRequest): api.RangeRequest {
  const target = SORT_TARGETS[message.sortTarget];
  if (target === undefined) throw new ApiError('invalid_sort');
  const order = SORT_ORDERS[message.sortOrder];
  return {
    key: message.key,
    rangeEnd: message.rangeEnd,
    limit: clamp(message.limit),
    revision: clamp(message.revision),
    sortOrder: order ?? 'none',
    sortTarget: order === undefined ? 'key' : target,
    serializable: message.serializable,
    keysOnly: message.keysOnly,
    countOnly: message.countOnly,
    minModRevision: clamp(message.minModRevision),
    maxModRevision: clamp(message.maxModRevision),
    minCreateRevision: clamp(message.minCreateRevision),
    maxCreateRevision: clamp(message.maxCreateRevision),
  };
}

export function writeRangeRequest(request: api.RangeRequest): rpc.RangeRequest {
  return {
    key: request.key,
    rangeEnd: request.rangeEnd ?? EMPTY,
    limit: int64(request.limit),
    revision: int64(request.revision),
    sortOrder: indexIn(SORT_ORDERS, request.sortOrder),
    sortTarget: indexIn(SORT_TARGETS, request.sortTarget),
    serializable: request.serializable ?? false,
    keysOnly: request.keysOnly ?? false,
    countOnly: request.countOnly ?? false,
    minModRevision: int64(request.minModRevision),
    maxModRevision: int64(request.maxModRevision),
    minCreateRevision: int64(request.minCreateRevision),
    maxCreateRevision: int64(request.maxCreateRevision),
  };
}

/** The number of an enum whose values are the positions in `names`; absent: 0, the protocol's default. */
function indexIn<T extends string, N extends number>(names: readonly T[], name: T | undefined): N {
  return (name === undefined ? 0 : names.indexOf(name)) as N;
}

export function readRangeResponse(message: rpc.RangeResponse): api.RangeResponse {
  return { header: readHeader(message.header), kvs: message.kvs, more: message.more, count: message.count };
}

export function writeRangeResponse(response: api.RangeResponse): rpc.RangeResponse {
  return { header: response.header, kvs: response.kvs as api.KeyValue[], more: response.more, count: response.count };
}

// Put

export function readPutRequest(message: rpc.PutRequest): api.PutRequest {
  const { key, value, lease, prevKv, ignoreValue, ignoreLease } = message;
  return { key, value, lease, prevKv, ignoreValue, ignoreLease };
}

export function writePutRequest(request: api.PutRequest): rpc.PutRequest {
  return {
    key: request.key,
    value: request.value,
    lease: request.lease ?? 0n,
    prevKv: request.prevKv ?? false,
    ignoreValue: request.ignoreValue ?? false,
    ignoreLease: request.ignoreLease ?? false,
  };
}

export function readPutResponse(message: rpc.PutResponse): api.PutResponse {
  return { header: readHeader(message.header), prevKv: message.prevKv ?? null };
}

export function writePutResponse(response: api.PutResponse): rpc.PutResponse {
  return { header: response.header, prevKv: response.prevKv ?? undefined };
}

// DeleteRange

export function readDeleteRequest(message: rpc.DeleteRangeRequest): api.DeleteRequest {
  const { key, rangeEnd, prevKv } = message;
  return { key, rangeEnd, prevKv };
}

export function writeDeleteRequest(request: api.DeleteRequest): rpc.DeleteRangeRequest {
  return { key: request.key, rangeEnd: request.rangeEnd ?? EMPTY, prevKv: request.prevKv ?? false };
}

export function readDeleteResponse(message: rpc.DeleteRangeResponse): api.DeleteResponse {
  return { header: readHeader(message.header), deleted: message.deleted, prevKvs: message.prevKvs };
}

export function writeDeleteResponse(response: api.DeleteResponse): rpc.DeleteRangeResponse {
  return { header: response.header, deleted: response.deleted, prevKvs: response.prevKvs as api.KeyValue[] };
}

// Compare

const COMPARE_RESULTS: readonly api.CompareResult[] = ['=', '>', '<', '!='];
const COMPARE_TARGETS: readonly api.Compare['target'][] = ['version', 'create', 'mod', 'value', 'lease'];

/** The operand is whatever stands in the field of the target; anything else, or nothing, compares with 0 or empty. */
export function readCompare(message: rpc.Compare): api.Compare {
  const { key, rangeEnd, targetUnion: union } = message;
  const result = COMPARE_RESULTS[message.result] ?? 'any';
  const target = COMPARE_TARGETS[message.target];
  switch (target) {
    case 'version':
      return { key, rangeEnd, result, target, operand: union?.$case === 'version' ? clamp(union.value) : 0 };
    case 'create':
      return { key, rangeEnd, result, target, operand: union?.$case === 'createRevision' ? clamp(union.value) : 0 };
    case 'mod':
      return { key, rangeEnd, result, target, operand: union?.$case === 'modRevision' ? clamp(union.value) : 0 };
    case 'value':
      return { key, rangeEnd, result, target, operand: union?.$case === 'value' ? union.value : EMPTY };
    case 'lease':
      return { key, rangeEnd, result, target, operand: union?.$case === 'lease' ? union.value : 0n };
    default: {
      // An unknown target compares nothing with nothing: equal. Said with versions, which are never below 0.
      const holds = result === '=' || result === 'any';
      return { key, rangeEnd, result: holds ? 'any' : '<', target: 'version', operand: 0 };
    }
  }
}

export function writeCompare(compare: api.Compare): rpc.Compare {
  const { key, rangeEnd = EMPTY } = compare;
  // 'any' came from a number no client of ours knows; 4 is such a number.
  const result: rpc.Compare['result'] = compare.result === 'any' ? (4 as 0) : indexIn(COMPARE_RESULTS, compare.result);
  return { key, rangeEnd, result, target: indexIn(COMPARE_TARGETS, compare.target), targetUnion: writeOperand(compare) };
}

function writeOperand(compare: api.Compare): rpc.Compare['targetUnion'] {
  switch (compare.target) {
    case 'version':
      return { $case: 'version', value: int64(compare.operand) };
    case 'create':
      return { $case: 'createRevision', value: int64(compare.operand) };
    case 'mod':
      return { $case: 'modRevision', value: int64(compare.operand) };
    case 'value':
      return { $case: 'value', value: compare.operand };
    case 'lease':
      return { $case: 'lease', value: compare.operand };
  }
}

// RequestOp and ResponseOp

/** A RequestOp without a request is refused as etcd refuses it; methods.ts asks first, to keep etcd's order of checks. */
export function readOp(message: rpc.RequestOp): api.Op {
  const { request } = message;
  switch (request?.$case) {
    case 'requestRange':
      return { kind: 'range', request: readRangeRequest(request.value) };
    case 'requestPut':
      return { kind: 'put', request: readPutRequest(request.value) };
    case 'requestDeleteRange':
      return { kind: 'delete', request: readDeleteRequest(request.value) };
    case 'requestTxn':
      return { kind: 'txn', request: readTxnRequest(request.value) };
    default:
      throw new ApiError('key_not_found');
  }
}

export function writeOp(op: api.Op): rpc.RequestOp {
  switch (op.kind) {
    case 'range':
      return { request: { $case: 'requestRange', value: writeRangeRequest(op.request) } };
    case 'put':
      return { request: { $case: 'requestPut', value: writePutRequest(op.request) } };
    case 'delete':
      return { request: { $case: 'requestDeleteRange', value: writeDeleteRequest(op.request) } };
    case 'txn':
      return { request: { $case: 'requestTxn', value: writeTxnRequest(op.request) } };
  }
}

export function readOpResponse(message: rpc.ResponseOp): api.OpResponse {
  const { response } = message;
  switch (response?.$case) {
    case 'responseRange': {
      const { header, ...rest } = readRangeResponse(response.value);
      return { kind: 'range', response: { ...rest, revision: header.revision } };
    }
    case 'responsePut': {
      const { header, ...rest } = readPutResponse(response.value);
      return { kind: 'put', response: { ...rest, revision: header.revision } };
    }
    case 'responseDeleteRange': {
      const { header, ...rest } = readDeleteResponse(response.value);
      return { kind: 'delete', response: { ...rest, revision: header.revision } };
    }
    case 'responseTxn': {
      const { header, ...rest } = readTxnResponse(response.value);
      return { kind: 'txn', response: { ...rest, revision: header.revision } };
    }
    default:
      throw new ApiError('internal', { detail: 'the server answered an operation of a transaction with nothing' });
  }
}

export function writeOpResponse(op: api.OpResponse): rpc.ResponseOp {
  switch (op.kind) {
    case 'range': {
      const { revision, kvs, more, count } = op.response;
      const value = { header: writeSubHeader(revision), kvs: kvs as api.KeyValue[], more, count };
      return { response: { $case: 'responseRange', value } };
    }
    case 'put': {
      const value = { header: writeSubHeader(op.response.revision), prevKv: op.response.prevKv ?? undefined };
      return { response: { $case: 'responsePut', value } };
    }
    case 'delete': {
      const { revision, deleted, prevKvs } = op.response;
      const value = { header: writeSubHeader(revision), deleted, prevKvs: prevKvs as api.KeyValue[] };
      return { response: { $case: 'responseDeleteRange', value } };
    }
    case 'txn': {
      // A nested transaction's header is there and empty (contract 1.5).
      const { succeeded, responses } = op.response;
      const value = { header: writeSubHeader(0), succeeded, responses: responses.map(writeOpResponse) };
      return { response: { $case: 'responseTxn', value } };
    }
  }
}

// Txn

export function readTxnRequest(message: rpc.TxnRequest): api.TxnRequest {
  return {
    compare: message.compare.map(readCompare),
    success: message.success.map(readOp),
    failure: message.failure.map(readOp),
  };
}

export function writeTxnRequest(request: api.TxnRequest): rpc.TxnRequest {
  return {
    compare: (request.compare ?? []).map(writeCompare),
    success: (request.success ?? []).map(writeOp),
    failure: (request.failure ?? []).map(writeOp),
  };
}

export function readTxnResponse(message: rpc.TxnResponse): api.TxnResponse {
  const { header, succeeded, responses } = message;
  return { header: readHeader(header), succeeded, responses: responses.map(readOpResponse) };
}

export function writeTxnResponse(response: api.TxnResponse): rpc.TxnResponse {
  const { header, succeeded, responses } = response;
  return { header, succeeded, responses: responses.map(writeOpResponse) };
}

// Watch

const FILTERS: readonly ('put' | 'delete')[] = ['put', 'delete'];

/** The empty key stands for the least key there is (contract 5). */
export function readWatchCreate(message: rpc.WatchCreateRequest): api.WatchRequest {
  return {
    key: message.key.length === 0 ? OPEN_END : message.key,
    rangeEnd: message.rangeEnd,
    startRevision: clamp(message.startRevision),
    prevKv: message.prevKv,
    exclude: message.filters.flatMap((filter) => FILTERS[filter] ?? []),
    progressNotify: message.progressNotify,
  };
}

export function writeWatchCreate(request: api.WatchRequest, watchId: bigint): rpc.WatchCreateRequest {
  return {
    key: request.key,
    rangeEnd: request.rangeEnd ?? EMPTY,
    startRevision: int64(request.startRevision),
    progressNotify: request.progressNotify ?? false,
    filters: (request.exclude ?? []).map((kind) => indexIn(FILTERS, kind)),
    prevKv: request.prevKv ?? false,
    watchId,
    fragment: false,
  };
}

// Leases

export function readLease(message: rpc.LeaseGrantResponse): api.Lease {
  return { header: readHeader(message.header), id: message.ID, ttlSeconds: message.TTL };
}

export function readGrantRequest({ TTL, ID }: rpc.LeaseGrantRequest): { readonly ttlSeconds: number; readonly id: api.LeaseId } {
  return { ttlSeconds: clamp(TTL), id: ID };
}

export function writeLease(lease: api.Lease): rpc.LeaseGrantResponse {
  return { header: lease.header, ID: lease.id, TTL: lease.ttlSeconds, error: '' };
}

export function readKeepAlive(message: rpc.LeaseKeepAliveResponse): api.KeepAlive {
  return { header: readHeader(message.header), ttlSeconds: Math.max(0, message.TTL) };
}

export function writeKeepAlive(id: api.LeaseId, answer: api.KeepAlive): rpc.LeaseKeepAliveResponse {
  return { header: answer.header, ID: id, TTL: answer.ttlSeconds };
}

export function readLeaseInfo(message: rpc.LeaseTimeToLiveResponse): api.LeaseInfo {
  const { ID: id, TTL: ttlSeconds, grantedTTL: grantedTtlSeconds, keys } = message;
  return { header: readHeader(message.header), id, ttlSeconds, grantedTtlSeconds, keys };
}

export function writeLeaseInfo(info: api.LeaseInfo): rpc.LeaseTimeToLiveResponse {
  const { header, id, ttlSeconds, grantedTtlSeconds, keys } = info;
  return { header, ID: id, TTL: ttlSeconds, grantedTTL: grantedTtlSeconds, keys: keys as Uint8Array[] };
}

// Cluster and maintenance

export function readMember(message: rpc.Member): api.Member {
  const { ID: id, name, peerURLs, clientURLs, isLearner } = message;
  return { id, name, peerUrls: peerURLs, clientUrls: clientURLs, isLearner };
}

export function writeMember(member: api.Member): rpc.Member {
  const { id, name, peerUrls, clientUrls, isLearner } = member;
  return { ID: id, name, peerURLs: [...peerUrls], clientURLs: [...clientUrls], isLearner };
}

export function readMembers(message: { header?: rpc.ResponseHeader | undefined; members: rpc.Member[] }): api.MembersResponse {
  return { header: readHeader(message.header), members: message.members.map(readMember) };
}

export function writeMembers(answer: api.MembersResponse): rpc.MemberListResponse {
  return { header: answer.header, members: answer.members.map(writeMember) };
}

export function readHash(message: rpc.HashKVResponse): api.HashResponse {
  return { header: readHeader(message.header), hash: message.hash, compactRevision: message.compactRevision };
}

export function writeHash(answer: api.HashResponse): rpc.HashKVResponse {
  return { header: answer.header, hash: answer.hash, compactRevision: answer.compactRevision };
}

export function readStatus(message: rpc.StatusResponse): api.StatusResponse {
  return {
    header: readHeader(message.header),
    version: message.version,
    dbSizeBytes: message.dbSize,
    dbSizeInUseBytes: message.dbSizeInUse,
    leader: message.leader,
    raftIndex: message.raftIndex,
    raftAppliedIndex: message.raftAppliedIndex,
    raftTerm: message.raftTerm,
    errors: message.errors,
    isLearner: message.isLearner,
  };
}

export function writeStatus(status: api.StatusResponse): rpc.StatusResponse {
  return {
    header: status.header,
    version: status.version,
    dbSize: status.dbSizeBytes,
    dbSizeInUse: status.dbSizeInUseBytes,
    leader: status.leader,
    raftIndex: status.raftIndex,
    raftAppliedIndex: status.raftAppliedIndex,
    raftTerm: status.raftTerm,
    errors: [...status.errors],
    isLearner: status.isLearner,
  };
}

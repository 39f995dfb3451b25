// THE table: service and method -> handler over bytes. It knows no transport: grpc-server.ts and http-gateway.ts serve the
// same table. What only the wire form shows (an operation without a request) is judged here; everything else is the
// backend's to judge, so that every home of the data gives the same errors.
//
// Put and DeleteRange are transactions of one operation against `Client`. Calls carry no signal into the backend: a caller
// that goes away does not undo what it asked for, and the hot path stays free of an AbortController per call.

import { assert } from '../base/assert.js';
import { systemClock, type Clock } from '../base/clock.js';
import type { Backend, CallOptions, OpResponse, RangeRequest, TxnResponse } from '../client.js';
import { ApiError, type ErrorCode } from '../errors.js';
import { authMethods } from './auth-methods.js';
import { pathOf, type Method, type Methods } from './call.js';
import * as convert from './convert.js';
import { readAlarmRequest, writeAlarms } from './convert-auth.js';
import { HotWriter, readPut, readRange } from './hot-codec.js';
import { readDelete, readTxn } from './hot-txn.js';
import { healthMethods } from './health-methods.js';
import { LeaseCodec } from './hot-lease.js';
import { serveKeepAlive } from './keep-alive-stream.js';
import { electionMethods, lockMethods } from './lock-methods.js';
import { RangeBytes } from './range-bytes.js';
import { reflectionMethods } from './reflection-methods.js';
import * as rpc from './schema/generated/rpc.js';
import { serveSnapshot } from './snapshot-stream.js';
import { decode, optionsOf, unaryOf } from './unary.js';
import { WatchWriter } from './watch-codec.js';
import { serveWatch } from './watch-stream.js';

export interface MethodsOptions {
  /** Operations in one branch of a transaction; etcd: --max-txn-ops. Default 128. */
  readonly txnOpsMax?: number;
  readonly clock?: Clock;
  /** What gRPC's health service says. Default: always. */
  readonly isServing?: () => boolean;
}

export function methods(backend: Backend, options: MethodsOptions = {}): Methods {
  const clock = options.clock ?? systemClock;
  const all = [
    ...keyValueMethods(backend, options.txnOpsMax ?? 128),
    ...watchMethods(backend, clock),
    ...leaseMethods(backend, clock),
    ...clusterMethods(backend),
    ...maintenanceMethods(backend),
    ...authMethods(backend, unaryOf('etcdserverpb.Auth', backend)),
    ...lockMethods(backend, clock),
    ...electionMethods(backend, clock),
    ...healthMethods(options.isServing ?? (() => true)),
  ];
  return new Map([...all, ...reflectionMethods(all)].map((method) => [pathOf(method), method]));
}

function keyValueMethods(backend: Backend, txnOpsMax: number): Method[] {
  const kv = unaryOf('etcdserverpb.KV', backend);
  const writer = new HotWriter();
  return [
    kv(
      'Range',
      (bytes) => readRange(bytes) ?? convert.readRangeRequest(decode(rpc.RangeRequest, bytes, 'etcdserverpb.KV.Range')),
      (request, options) => rangeBytes(backend, request, options, writer),
      (answer) => answer,
    ),
    kv(
      'Put',
      (bytes) => readPut(bytes) ?? convert.readPutRequest(decode(rpc.PutRequest, bytes, 'etcdserverpb.KV.Put')),
      (request, options) => backend.txn({ success: [{ kind: 'put', request }] }, options),
      (answer) => writer.put(answer.header, only(answer, 'put').response.prevKv),
    ),
    kv(
      'DeleteRange',
      (bytes) => {
        return readDelete(bytes) ??
          convert.readDeleteRequest(decode(rpc.DeleteRangeRequest, bytes, 'etcdserverpb.KV.DeleteRange'));
      },
      (request, options) => backend.txn({ success: [{ kind: 'delete', request }] }, options),
      (answer) => {
        const { deleted, prevKvs } = only(answer, 'delete').response;
        return writer.delete({ header: answer.header, deleted, prevKvs });
      },
    ),
    kv(
      'Txn',
      (bytes) => {
        const request = readTxn(bytes);
        return request === null ? { message: decode(rpc.TxnRequest, bytes, 'etcdserverpb.KV.Txn') } : { request };
      },
      ({ message, request }, options) => {
        if (request !== undefined) return backend.txn(request, options);
        const fault = hasHole(message) ? firstFault(message, txnOpsMax) : null;
        if (fault !== null) throw new ApiError(fault);
        return backend.txn(convert.readTxnRequest(message), options);
      },
      (answer) => writer.txn(answer) ?? rpc.TxnResponse.encode(convert.writeTxnResponse(answer)),
    ),
    kv(
      'Compact',
      rpc.CompactionRequest,
      ({ revision, physical }, options) => backend.compact(convert.clamp(revision), { ...options, physical }),
      (header) => rpc.CompactionResponse.encode({ header }),
    ),
  ];
}

/** Of no pair an object is made, where the backend can do without. */
function rangeBytes(
  backend: Backend, request: RangeRequest, options: CallOptions | undefined, writer: HotWriter,
): Promise<Uint8Array> {
  if (backend.rangeAs !== undefined) return backend.rangeAs(request, () => new RangeBytes(writer), options);
  return backend.range(request, options).then((answer) => writer.range(answer));
}

function watchMethods(backend: Backend, clock: Clock): Method[] {
  const writer = new WatchWriter();
  return [
    {
      kind: 'stream',
      service: 'etcdserverpb.Watch',
      name: 'Watch',
      handle: (requests, call, send) => serveWatch(backend, clock, requests, call, send, writer),
    },
  ];
}

function leaseMethods(backend: Backend, clock: Clock): Method[] {
  const lease = unaryOf('etcdserverpb.Lease', backend);
  const codec = new LeaseCodec();
  return [
    lease(
      'LeaseGrant',
      (bytes) => {
        return codec.readGrant(bytes) ??
          convert.readGrantRequest(decode(rpc.LeaseGrantRequest, bytes, 'etcdserverpb.Lease.LeaseGrant'));
      },
      ({ ttlSeconds, id }, options) => backend.grant(ttlSeconds, { ...options, id }),
      (answer) => codec.grant(answer),
    ),
    lease(
      'LeaseRevoke',
      (bytes) => codec.readId(bytes) ?? decode(rpc.LeaseRevokeRequest, bytes, 'etcdserverpb.Lease.LeaseRevoke').ID,
      (id, options) => backend.revoke(id, options),
      (header) => codec.revoke(header),
    ),
    lease(
      'LeaseTimeToLive',
      rpc.LeaseTimeToLiveRequest,
      ({ ID, keys }, options) => backend.leaseInfo(ID, { ...options, keys }),
      (info) => rpc.LeaseTimeToLiveResponse.encode(convert.writeLeaseInfo(info)),
    ),
    lease(
      'LeaseLeases',
      rpc.LeaseLeasesRequest,
      (_message, options) => backend.leases(options),
      ({ header, ids }) => codec.leases(header, ids),
    ),
    {
      kind: 'stream',
      service: 'etcdserverpb.Lease',
      name: 'LeaseKeepAlive',
      handle: (requests, call, send) => serveKeepAlive({ backend, clock, codec }, requests, call, send),
    },
  ];
}

function clusterMethods(backend: Backend): Method[] {
  const cluster = unaryOf('etcdserverpb.Cluster', backend);
  return [
    cluster(
      'MemberAdd',
      rpc.MemberAddRequest,
      ({ peerURLs, isLearner }, options) => backend.addMember({ peerUrls: peerURLs, isLearner }, options),
      ({ member, ...after }) => {
        return rpc.MemberAddResponse.encode({ ...convert.writeMembers(after), member: convert.writeMember(member) });
      },
    ),
    cluster(
      'MemberRemove',
      rpc.MemberRemoveRequest,
      ({ ID }, options) => backend.removeMember(ID, options),
      (after) => rpc.MemberRemoveResponse.encode(convert.writeMembers(after)),
    ),
    cluster(
      'MemberUpdate',
      rpc.MemberUpdateRequest,
      ({ ID, peerURLs }, options) => backend.updateMember(ID, peerURLs, options),
      (after) => rpc.MemberUpdateResponse.encode(convert.writeMembers(after)),
    ),
    cluster(
      'MemberPromote',
      rpc.MemberPromoteRequest,
      ({ ID }, options) => backend.promoteMember(ID, options),
      (after) => rpc.MemberPromoteResponse.encode(convert.writeMembers(after)),
    ),
    cluster(
      'MemberList',
      rpc.MemberListRequest,
      ({ linearizable }, options) => backend.members({ ...options, linearizable }),
      (list) => rpc.MemberListResponse.encode(convert.writeMembers(list)),
    ),
  ];
}

function maintenanceMethods(backend: Backend): Method[] {
  const maintenance = unaryOf('etcdserverpb.Maintenance', backend);
  return [
    maintenance(
      'Status',
      rpc.StatusRequest,
      (_message, options) => backend.status(options),
      (status) => rpc.StatusResponse.encode(convert.writeStatus(status)),
    ),
    // etcd's covers its whole file; the two agree among members exactly when the data does, which is what they are for.
    maintenance(
      'Hash',
      rpc.HashRequest,
      (_message, options) => backend.hash(0, options),
      ({ header, hash }) => rpc.HashResponse.encode({ header, hash }),
    ),
    maintenance(
      'HashKV',
      rpc.HashKVRequest,
      ({ revision }, options) => backend.hash(convert.clamp(revision), options),
      (answer) => rpc.HashKVResponse.encode(convert.writeHash(answer)),
    ),
    maintenance(
      'Alarm',
      rpc.AlarmRequest,
      async (message, options) => {
        const request = readAlarmRequest(message);
        return request === null ? null : backend.alarm(request, options);
      },
      (answer) => rpc.AlarmResponse.encode(answer === null ? { header: undefined, alarms: [] } : writeAlarms(answer)),
    ),
    maintenance(
      'Defragment',
      rpc.DefragmentRequest,
      (_message, options) => backend.defragment(options),
      () => rpc.DefragmentResponse.encode({ header: undefined }),
    ),
    maintenance(
      'MoveLeader',
      rpc.MoveLeaderRequest,
      ({ targetID }, options) => backend.moveLeader(targetID, options),
      // Without a header, as etcd's.
      () => rpc.MoveLeaderResponse.encode({ header: undefined }),
    ),
    maintenance(
      'Downgrade',
      rpc.DowngradeRequest,
      async (message, options) => {
        // Only an administrator may ask: the same rule as for who the users are.
        await backend.users(options);
        throw new ApiError(downgradeFault(message));
      },
      () => rpc.DowngradeResponse.encode({ header: undefined, version: '' }),
    ),
    {
      kind: 'stream',
      service: 'etcdserverpb.Maintenance',
      name: 'Snapshot',
      async handle(requests, call, send) {
        // An empty body of the gateway is a request as well.
        for await (const bytes of requests) {
          decode(rpc.SnapshotRequest, bytes, 'SnapshotRequest');
          break;
        }
        return serveSnapshot(backend.snapshot(await optionsOf(backend, call)), call, send);
      },
    },
  ];
}

/** The data has one format, of which no release of etcd is a lower version: no target is right, and no job is ever under way. */
function downgradeFault({ action, version }: rpc.DowngradeRequest): ErrorCode {
  if (action === rpc.DowngradeRequest_DowngradeAction.CANCEL) return 'downgrade_none';
  return /^\d+\.\d+(\.\d+)?$/.test(version) ? 'downgrade_target' : 'downgrade_format';
}

/** The answer to the only operation of a transaction that was a plain put or delete. */
function only<K extends OpResponse['kind']>(answer: TxnResponse, kind: K): Extract<OpResponse, { kind: K }> {
  const first = answer.responses[0];
  assert(first !== undefined && isOp(first, kind), `a ${kind} is answered by a ${kind}`);
  return first;
}

function isOp<K extends OpResponse['kind']>(op: OpResponse, kind: K): op is Extract<OpResponse, { kind: K }> {
  return op.kind === kind;
}

/** Whether an operation, nested ones too, says nothing. `client.ts` has no word for that, so it is judged here. */
function hasHole(message: rpc.TxnRequest): boolean {
  const hollow = ({ request }: rpc.RequestOp): boolean =>
    request === undefined || (request.$case === 'requestTxn' && hasHole(request.value));
  return message.success.some(hollow) || message.failure.some(hollow);
}

/** The first thing wrong with a transaction that has a hole, in etcd's order of checks (contract 4.6). */
function firstFault(message: rpc.TxnRequest, opsMax: number): ErrorCode | null {
  const { compare, success, failure } = message;
  const ops = Math.max(compare.length, success.length, failure.length);
  if (ops > opsMax) return 'too_many_ops';
  if (compare.some(({ key }) => key.length === 0)) return 'key_empty';
  for (const { request } of [...success, ...failure]) {
    const fault = opFault(request, opsMax - ops);
    if (fault !== null) return fault;
  }
  return null;
}

function opFault(request: rpc.RequestOp['request'], opsMax: number): ErrorCode | null {
  if (request === undefined) return 'key_not_found';
  if (request.$case === 'requestTxn') return firstFault(request.value, opsMax);
  if (request.value.key.length === 0) return 'key_empty';
  if (request.$case !== 'requestPut') return null;
  if (request.value.ignoreValue && request.value.value.length > 0) return 'value_provided';
  return request.value.ignoreLease && request.value.lease !== 0n ? 'lease_provided' : null;
}

// The unary calls that are compared: path, and how their bytes are read and written. Bytes are what the harness keeps,
// because everything a client may send is bytes; they become messages to be translated, compared and shown.

import type { BinaryReader } from '@bufbuild/protobuf/wire';
import { deepReader } from '../../../core/wire/deep-reader.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import type { Ids } from './ids.js';

/** A decoded message, of whatever kind. */
export type Message = Readonly<Record<string, unknown>>;

export interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(input: BinaryReader | Uint8Array): T;
}

/** One kind of message, its type forgotten. */
export interface Form {
  read(bytes: Uint8Array): Message;
  /** The bytes again, with each 64-bit number that `ids` knows replaced. */
  translate(bytes: Uint8Array, ids: Ids): Uint8Array;
  /** What the generated code makes of its own reading: equal to the bytes of a server that writes the canonical form. */
  rewrite(bytes: Uint8Array): Uint8Array;
}

export interface Call {
  readonly path: string;
  readonly request: Form;
  readonly answer: Form;
}

export function formOf<T extends object>(codec: Codec<T>): Form {
  const read = (bytes: Uint8Array): T => codec.decode(deepReader(bytes));
  return {
    read: (bytes) => Object.fromEntries(Object.entries(read(bytes))),
    translate: (bytes, ids) => (ids.mayBeIn(bytes) ? codec.encode(replaced(read(bytes), ids) as T).finish() : bytes),
    rewrite: (bytes) => codec.encode(read(bytes)).finish(),
  };
}

function replaced(x: unknown, ids: Ids): unknown {
  if (typeof x === 'bigint') return ids.get(x) ?? x;
  if (typeof x !== 'object' || x === null || x instanceof Uint8Array) return x;
  if (Array.isArray(x)) return x.map((each) => replaced(each, ids));
  return Object.fromEntries(Object.entries(x).map(([name, each]) => [name, replaced(each, ids)]));
}

function call<Q extends object, A extends object>(path: string, request: Codec<Q>, answer: Codec<A>): Call {
  return { path: `/etcdserverpb.${path}`, request: formOf(request), answer: formOf(answer) };
}

export const CALLS = {
  range: call('KV/Range', rpc.RangeRequest, rpc.RangeResponse),
  put: call('KV/Put', rpc.PutRequest, rpc.PutResponse),
  delete: call('KV/DeleteRange', rpc.DeleteRangeRequest, rpc.DeleteRangeResponse),
  txn: call('KV/Txn', rpc.TxnRequest, rpc.TxnResponse),
  compact: call('KV/Compact', rpc.CompactionRequest, rpc.CompactionResponse),
  grant: call('Lease/LeaseGrant', rpc.LeaseGrantRequest, rpc.LeaseGrantResponse),
  revoke: call('Lease/LeaseRevoke', rpc.LeaseRevokeRequest, rpc.LeaseRevokeResponse),
  ttl: call('Lease/LeaseTimeToLive', rpc.LeaseTimeToLiveRequest, rpc.LeaseTimeToLiveResponse),
  leases: call('Lease/LeaseLeases', rpc.LeaseLeasesRequest, rpc.LeaseLeasesResponse),
  hash: call('Maintenance/HashKV', rpc.HashKVRequest, rpc.HashKVResponse),
  auth_enable: call('Auth/AuthEnable', rpc.AuthEnableRequest, rpc.AuthEnableResponse),
  auth_disable: call('Auth/AuthDisable', rpc.AuthDisableRequest, rpc.AuthDisableResponse),
  authenticate: call('Auth/Authenticate', rpc.AuthenticateRequest, rpc.AuthenticateResponse),
  user_add: call('Auth/UserAdd', rpc.AuthUserAddRequest, rpc.AuthUserAddResponse),
  user_get: call('Auth/UserGet', rpc.AuthUserGetRequest, rpc.AuthUserGetResponse),
  user_list: call('Auth/UserList', rpc.AuthUserListRequest, rpc.AuthUserListResponse),
  user_delete: call('Auth/UserDelete', rpc.AuthUserDeleteRequest, rpc.AuthUserDeleteResponse),
  user_password: call('Auth/UserChangePassword', rpc.AuthUserChangePasswordRequest, rpc.AuthUserChangePasswordResponse),
  user_grant: call('Auth/UserGrantRole', rpc.AuthUserGrantRoleRequest, rpc.AuthUserGrantRoleResponse),
  user_revoke: call('Auth/UserRevokeRole', rpc.AuthUserRevokeRoleRequest, rpc.AuthUserRevokeRoleResponse),
  role_add: call('Auth/RoleAdd', rpc.AuthRoleAddRequest, rpc.AuthRoleAddResponse),
  role_get: call('Auth/RoleGet', rpc.AuthRoleGetRequest, rpc.AuthRoleGetResponse),
  role_list: call('Auth/RoleList', rpc.AuthRoleListRequest, rpc.AuthRoleListResponse),
  role_delete: call('Auth/RoleDelete', rpc.AuthRoleDeleteRequest, rpc.AuthRoleDeleteResponse),
  role_grant: call('Auth/RoleGrantPermission', rpc.AuthRoleGrantPermissionRequest, rpc.AuthRoleGrantPermissionResponse),
  role_revoke: call('Auth/RoleRevokePermission', rpc.AuthRoleRevokePermissionRequest, rpc.AuthRoleRevokePermissionResponse),
} as const;

export type CallName = keyof typeof CALLS;

export const KEEP_ALIVE: Call = call('Lease/LeaseKeepAlive', rpc.LeaseKeepAliveRequest, rpc.LeaseKeepAliveResponse);
export const WATCH: Call = call('Watch/Watch', rpc.WatchRequest, rpc.WatchResponse);

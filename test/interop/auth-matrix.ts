// The matrix of rights: every method, by every kind of caller, on every form of range, as deep as transactions nest, over gRPC
// and over the JSON gateway, against an oracle that knows the contract and not the product (test/model/auth-oracle.ts). A case is
// one request in the gateway's words and what it means in the oracle's; gRPC is sent the same as bytes.

import { jsonMappings } from '../../core/wire/json-mapping.js';
import { METHODS, judge, type Deed, type Grant, type Verdict, type Who, type World } from '../model/auth-oracle.js';

export interface Case {
  /** Service and name. */
  readonly method: string;
  readonly json: string;
  readonly deed: Deed;
  readonly who: string;
  readonly transport: 'grpc' | 'gateway';
}

/** In the oracle's words, and the gateway's path. */
export const ROUTES: Readonly<Record<string, string>> = {
  'KV/Range': 'kv/range', 'KV/Put': 'kv/put', 'KV/DeleteRange': 'kv/deleterange', 'KV/Txn': 'kv/txn',
  'KV/Compact': 'kv/compaction',
  'Watch/Watch': 'watch', 'Lease/LeaseGrant': 'lease/grant', 'Lease/LeaseRevoke': 'lease/revoke',
  'Lease/LeaseKeepAlive': 'lease/keepalive', 'Lease/LeaseTimeToLive': 'lease/timetolive', 'Lease/LeaseLeases': 'lease/leases',
  'Cluster/MemberAdd': 'cluster/member/add', 'Cluster/MemberRemove': 'cluster/member/remove',
  'Cluster/MemberUpdate': 'cluster/member/update', 'Cluster/MemberList': 'cluster/member/list',
  'Cluster/MemberPromote': 'cluster/member/promote', 'Maintenance/Alarm': 'maintenance/alarm',
  'Maintenance/Status': 'maintenance/status', 'Maintenance/Defragment': 'maintenance/defragment',
  'Maintenance/Hash': 'maintenance/hash', 'Maintenance/HashKV': 'maintenance/hashkv',
  'Maintenance/Snapshot': 'maintenance/snapshot', 'Maintenance/MoveLeader': 'maintenance/transfer-leadership',
  'Maintenance/Downgrade': 'maintenance/downgrade',
  'Auth/AuthEnable': 'auth/enable', 'Auth/AuthDisable': 'auth/disable', 'Auth/AuthStatus': 'auth/status',
  'Auth/Authenticate': 'auth/authenticate', 'Auth/UserAdd': 'auth/user/add', 'Auth/UserGet': 'auth/user/get',
  'Auth/UserList': 'auth/user/list', 'Auth/UserDelete': 'auth/user/delete', 'Auth/UserChangePassword': 'auth/user/changepw',
  'Auth/UserGrantRole': 'auth/user/grant', 'Auth/UserRevokeRole': 'auth/user/revoke', 'Auth/RoleAdd': 'auth/role/add',
  'Auth/RoleGet': 'auth/role/get', 'Auth/RoleList': 'auth/role/list', 'Auth/RoleDelete': 'auth/role/delete',
  'Auth/RoleGrantPermission': 'auth/role/grant', 'Auth/RoleRevokePermission': 'auth/role/revoke',
};

export const STREAMS: readonly string[] = ['Watch/Watch', 'Lease/LeaseKeepAlive', 'Maintenance/Snapshot'];

function grant(kind: Grant['kind'], key: string, end = ''): Grant {
  return { kind, key, end };
}

const GRANTS: ReadonlyMap<string, readonly Grant[]> = new Map([
  ['reader', [grant('read', 'ab')]],
  ['writer', [grant('write', 'a', 'b')]],
  ['neighbours', [
    grant('readwrite', 'a', 'b'), grant('readwrite', 'b', 'c'), grant('readwrite', 'c'), grant('read', 'c\0', 'ca'),
  ]],
  ['open', [grant('readwrite', 'b', '\0'), grant('read', 'a')]],
  ['mixed', [grant('read', 'a', 'c'), grant('write', 'ab', 'ac'), grant('readwrite', 'b'), grant('write', 'a', 'aa')]],
]);

export const WORLD: World = {
  grants: GRANTS,
  users: new Map([
    ['root', ['root']], ['reader', ['reader']], ['writer', ['writer']], ['neighbours', ['neighbours']], ['open', ['open']],
    ['mixed', ['mixed']], ['both', ['reader', 'writer']], ['idle', []], ['cn', ['neighbours']],
  ]),
  leases: new Map([['11', ['ab']], ['12', ['aa', 'bb']], ['13', []]]),
};

/** Who comes with a certificate only. */
export const CERTIFIED = 'cn';
const CALLERS: readonly string[] = ['', '?', ...WORLD.users.keys()];

const KEYS: readonly string[] = ['a', 'aa', 'ab', 'b', 'bb', 'c', 'cb', '\0'];
const ENDS: readonly string[] = ['', '\0', 'a', 'ab', 'ab\0', 'ac', 'b', 'bb', 'c', 'c\0', 'ca', 'd'];

interface Wish {
  readonly method: string;
  readonly body: object;
  readonly deed: Deed;
}

/** Of these there are very many: ranges, nested as deep as they go. */
const MANY: ReadonlySet<Deed['kind']> = new Set(['range', 'watch', 'put', 'delete', 'txn']);
/** Of the others a slice takes more. Like any stride, it has no factor in common with 22. */
const FEW_EVERY = 7;
/** By what these two are told a method is seen to be anybody's, a user's or an administrator's; they are left out nowhere. */
const TELLING: readonly string[] = ['', 'idle'];

/** All cases, or about every n-th of them, spread evenly over all kinds. */
export function cases(every: number): readonly Case[] {
  const wishes = [...plainWishes(), ...watchWishes(), ...leaseWishes(), ...authWishes(), ...methodWishes(), ...txnWishes()];
  const all: Case[] = [];
  let n = 0;
  for (const { method, body, deed } of wishes) {
    const json = JSON.stringify(body);
    for (const who of CALLERS) {
      for (const transport of ['grpc', 'gateway'] as const) {
        n += 1;
        const isTelling = deed.kind === 'method' && transport === 'grpc' && TELLING.includes(who);
        const isTaken = isTelling || n % (MANY.has(deed.kind) ? every : Math.min(every, FEW_EVERY)) === 0;
        const endsAuth = method === 'Auth/AuthDisable' && who === 'root';
        if (isTaken && !endsAuth) all.push({ method, json, deed, who, transport });
      }
    }
  }
  return all;
}

export function expected({ who, transport, deed }: Case): Verdict {
  return judge(WORLD, whoIs(who, transport), deed);
}

/** The gateway's own connection is nobody's certificate (contract 8.2). */
function whoIs(who: string, transport: Case['transport']): Who {
  if (who === '?') return 'unknown';
  return who === '' || (who === CERTIFIED && transport === 'gateway') ? null : { user: who };
}

export function bytesOf({ method, json }: Case): Uint8Array {
  const [service = '', name = ''] = method.split('/');
  return mapping(`etcdserverpb.${service}`, name).toBytes(json);
}

const mapping = jsonMappings();

function b64(text: string): string {
  return Buffer.from(text, 'latin1').toString('base64');
}

function ranged(key: string, end: string): object {
  return { key: b64(key), ...(end === '' ? {} : { range_end: b64(end) }) };
}

function pairs(): readonly (readonly [string, string])[] {
  return KEYS.flatMap((key) => ENDS.map((end) => [key, end] as const));
}

function opWishes(): readonly { readonly op: object; readonly deed: Deed; readonly wish: Wish }[] {
  const ops: { op: object; deed: Deed; wish: Wish }[] = [];
  const add = (method: string, field: string, body: object, deed: Deed): void => {
    ops.push({ op: { [field]: body }, deed, wish: { method, body, deed } });
  };
  for (const [key, end] of pairs()) {
    add('KV/Range', 'request_range', ranged(key, end), { kind: 'range', key, end });
    for (const prevKv of [false, true]) {
      const body = { ...ranged(key, end), prev_kv: prevKv };
      add('KV/DeleteRange', 'request_delete_range', body, { kind: 'delete', key, end, prevKv });
    }
  }
  for (const key of KEYS) {
    for (const [prevKv, lease] of [[false, null], [true, null], [false, '11'], [false, '12'], [true, '13']] as const) {
      const body = { key: b64(key), value: b64('v'), prev_kv: prevKv, ...(lease === null ? {} : { lease }) };
      add('KV/Put', 'request_put', body, { kind: 'put', key, prevKv, lease });
    }
  }
  return ops;
}

function plainWishes(): readonly Wish[] {
  return opWishes().map(({ wish }) => wish);
}

function watchWishes(): readonly Wish[] {
  // An empty range is refused for what it is; which of the two is said first is no matter of rights.
  return pairs().filter(([key, end]) => end === '' || end === '\0' || end > key).map(([key, end]) => {
    return { method: 'Watch/Watch', body: { create_request: ranged(key, end) }, deed: { kind: 'watch', key, end } };
  });
}

function leaseWishes(): readonly Wish[] {
  const each = [...WORLD.leases.keys(), '99'].flatMap((ID): Wish[] => {
    const deed = (what: 'revoke' | 'renew' | 'list_keys' | 'look'): Deed => ({ kind: 'lease', what, lease: ID });
    return [
      { method: 'Lease/LeaseRevoke', body: { ID }, deed: deed('revoke') },
      { method: 'Lease/LeaseKeepAlive', body: { ID }, deed: deed('renew') },
      { method: 'Lease/LeaseTimeToLive', body: { ID, keys: true }, deed: deed('list_keys') },
      { method: 'Lease/LeaseTimeToLive', body: { ID }, deed: deed('look') },
    ];
  });
  return [...each, { method: 'Lease/LeaseLeases', body: {}, deed: { kind: 'all_leases' } }];
}

function authWishes(): readonly Wish[] {
  const users = ['root', 'reader', 'idle', 'none'].map((name): Wish => {
    return { method: 'Auth/UserGet', body: { name }, deed: { kind: 'user_get', name } };
  });
  const roles = ['reader', 'writer', 'none'].map((role): Wish => {
    return { method: 'Auth/RoleGet', body: { role }, deed: { kind: 'role_get', name: role } };
  });
  return [...users, ...roles];
}

/** What an administrator may is asked for in a form that changes nothing. */
const BODIES: Readonly<Record<string, object>> = {
  'KV/Compact': { revision: '1000000000' }, 'Maintenance/Alarm:raise': { action: 1, memberID: '1' },
  'Maintenance/MoveLeader': { targetID: '1' }, 'Cluster/MemberAdd': { peerURLs: ['ftp://nowhere'] },
  'Cluster/MemberRemove': { ID: '1' }, 'Cluster/MemberUpdate': { ID: '1', peerURLs: ['http://127.0.0.1:9'] },
  'Cluster/MemberPromote': { ID: '1' }, 'Auth/UserAdd': { name: 'root' }, 'Auth/UserDelete': { name: 'none' },
  'Auth/UserChangePassword': { name: 'none' }, 'Auth/UserGrantRole': { user: 'none' }, 'Auth/UserRevokeRole': { name: 'none' },
  'Auth/RoleAdd': { name: 'reader' }, 'Auth/RoleDelete': { role: 'none' }, 'Auth/RoleGrantPermission': { name: 'none' },
  'Auth/RoleRevokePermission': { role: 'none' }, 'Lease/LeaseGrant': { TTL: '60', ID: '11' },
  'Auth/Authenticate': { name: 'none' },
};

function methodWishes(): readonly Wish[] {
  return Object.keys(METHODS).map((name) => {
    return { method: name.split(':')[0] ?? name, body: BODIES[name] ?? {}, deed: { kind: 'method', name } };
  });
}

/** Each operation, and each compare, one to three deep, in the branch that is taken and in the one that never is. */
function txnWishes(): readonly Wish[] {
  const wishes: Wish[] = [];
  for (const { op, deed } of opWishes()) {
    for (const isTaken of [true, false]) for (const depth of [1, 2, 3]) wishes.push(nested(op, deed, { isTaken, depth }));
  }
  for (const [key, end] of pairs()) {
    const body = { compare: [{ ...ranged(key, end), target: 0, result: 0, version: '7' }] };
    const deed: Deed = { kind: 'txn', compare: [{ key, end }], success: [], failure: [] };
    wishes.push({ method: 'KV/Txn', body, deed });
    for (const depth of [2, 3]) wishes.push(nested({ request_txn: body }, deed, { isTaken: depth === 2, depth: depth - 1 }));
  }
  return wishes;
}

function nested(op: object, deed: Deed, { isTaken, depth }: { isTaken: boolean; depth: number }): Wish {
  let [body, inner] = [op, deed];
  for (let n = 0; n < depth; n++) {
    const isInner = n < depth - 1;
    const txn = isTaken ? { success: [body] } : { failure: [body] };
    inner = { kind: 'txn', compare: [], success: isTaken ? [inner] : [], failure: isTaken ? [] : [inner] };
    body = isInner ? { request_txn: txn } : txn;
  }
  return { method: 'KV/Txn', body, deed: inner };
}

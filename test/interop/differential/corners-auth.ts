// A user and a role as they come, are given something and go, and a short while of auth: by chance a short run has none of it.

import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import type { CallName } from './calls.js';
import { STALE } from './generate-auth.js';
import type { Operation } from './operation.js';

type CallOperation = Extract<Operation, { kind: 'call' }>;

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));
const call = (name: CallName, encoded: { finish(): Uint8Array }): CallOperation =>
  ({ kind: 'call', call: name, bytes: encoded.finish() });

const [NAME, ROLE] = ['somebody', 'something'];
const RIGHTS = { key: bytes('a'), rangeEnd: bytes('c') };

const addUser = (name: string): CallOperation =>
  call('user_add', rpc.AuthUserAddRequest.encode({ name, password: name, options: undefined, hashedPassword: '' }));
const grantRole = (user: string, role: string): CallOperation =>
  call('user_grant', rpc.AuthUserGrantRoleRequest.encode({ user, role }));
const login = (name: string, password: string): CallOperation =>
  call('authenticate', rpc.AuthenticateRequest.encode({ name, password }));
const put = (key: string, more: Partial<rpc.PutRequest> = {}): CallOperation =>
  call('put', rpc.PutRequest.encode({ ...rpc.PutRequest.decode(bytes('')), key: bytes(key), ...more }));
const range = (key: string, end: string): CallOperation =>
  call('range', rpc.RangeRequest.encode({ ...rpc.RangeRequest.decode(bytes('')), key: bytes(key), rangeEnd: bytes(end) }));
const del = (key: string, end: string): CallOperation =>
  call('delete', rpc.DeleteRangeRequest.encode({ key: bytes(key), rangeEnd: bytes(end), prevKv: true }));

const grant = call('role_grant', rpc.AuthRoleGrantPermissionRequest.encode({ name: ROLE, perm: { permType: 2, ...RIGHTS } }));
const addRole = call('role_add', rpc.AuthRoleAddRequest.encode({ name: ROLE }));
const deleteRole = call('role_delete', rpc.AuthRoleDeleteRequest.encode({ role: ROLE }));
const deleteUser = (name: string): CallOperation => call('user_delete', rpc.AuthUserDeleteRequest.encode({ name }));

/** Each step is seen before the next. */
function comingAndGoing(): Operation[] {
  const user = call('user_get', rpc.AuthUserGetRequest.encode({ name: NAME }));
  const role = call('role_get', rpc.AuthRoleGetRequest.encode({ role: ROLE }));
  return [
    addUser(NAME), addRole, user, grantRole(NAME, ROLE), user, grant, role,
    call('role_revoke', rpc.AuthRoleRevokePermissionRequest.encode({ role: ROLE, ...RIGHTS })), role,
    call('user_revoke', rpc.AuthUserRevokeRoleRequest.encode({ name: NAME, role: ROLE })), user,
    grantRole(NAME, ROLE), deleteRole, user, deleteUser(NAME),
    call('user_list', rpc.AuthUserListRequest.encode({})), call('role_list', rpc.AuthRoleListRequest.encode({})),
  ];
}

/** What somebody may and may not, until the password is another one. */
function underAuth(): Operation[] {
  const deeds = [put('a'), put('d'), put('b', { prevKv: true }), range('a', 'c'), range('a', 'd'), del('b', 'c'), del('a', 'd')];
  const changed = { name: NAME, password: 'another', hashedPassword: '' };
  return [
    addUser('root'), grantRole('root', 'root'), addUser(NAME), addRole, grant, grantRole(NAME, ROLE), { kind: 'part' },
    call('auth_enable', rpc.AuthEnableRequest.encode({})), login('root', 'root'), { kind: 'rejoin', as: 'root' },
    login(NAME, NAME), ...deeds.map((deed) => ({ ...deed, as: NAME })), ...deeds,
    { ...call('user_password', rpc.AuthUserChangePasswordRequest.encode(changed)), as: 'root' },
    { ...put('a'), as: STALE }, login(NAME, NAME), login(NAME, 'another'), { ...put('a'), as: NAME },
    { kind: 'part' }, { ...call('auth_disable', rpc.AuthDisableRequest.encode({})), as: 'root' }, { kind: 'rejoin', as: null },
    deleteRole, deleteUser(NAME), deleteUser('root'),
  ];
}

export function authCorners(): Operation[] {
  return [...comingAndGoing(), ...underAuth()];
}

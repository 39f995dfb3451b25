// Messages of users, roles and alarms <-> client.ts types, in the manner of convert.ts. A password stays in the request it
// came in: nothing here copies it anywhere else.

import type * as api from '../client.js';
import { readHeader } from './convert.js';
import { Permission_Type, type Permission } from './schema/generated/auth.js';
import * as rpc from './schema/generated/rpc.js';

const KINDS: readonly api.Permission['kind'][] = ['read', 'write', 'readwrite'];

/** An unknown kind gives nothing to read or write, and is carried as the least: read. */
export function readPermission({ permType, key, rangeEnd }: Permission): api.Permission {
  return { kind: KINDS[permType] ?? 'read', key, rangeEnd };
}

export function writePermission({ kind, key, rangeEnd }: api.Permission): Permission {
  const types = { read: Permission_Type.READ, write: Permission_Type.WRITE, readwrite: Permission_Type.READWRITE };
  return { permType: types[kind], key, rangeEnd };
}

/** A bcrypt hash counts only where there is no plain password, as in etcd from 3.5 on. */
export function readPassword(message: { password: string; hashedPassword: string }): api.Password {
  const { password, hashedPassword } = message;
  return password === '' && hashedPassword !== '' ? { bcrypt: hashedPassword } : { plain: password };
}

function writePassword(password: api.Password | null): { password: string; hashedPassword: string } {
  if (password === null) return { password: '', hashedPassword: '' };
  return 'bcrypt' in password
    ? { password: '', hashedPassword: password.bcrypt }
    : { password: password.plain, hashedPassword: '' };
}

/** The method of the Auth service that makes this change, and its request. */
export function writeAuthChange(change: api.AuthChange): { name: string; bytes: Uint8Array } {
  switch (change.kind) {
    case 'enable':
      return { name: 'AuthEnable', bytes: rpc.AuthEnableRequest.encode({}).finish() };
    case 'disable':
      return { name: 'AuthDisable', bytes: rpc.AuthDisableRequest.encode({}).finish() };
    case 'user_add': {
      const options = { noPassword: change.password === null };
      const message = { name: change.name, ...writePassword(change.password), options };
      return { name: 'UserAdd', bytes: rpc.AuthUserAddRequest.encode(message).finish() };
    }
    case 'user_delete':
      return { name: 'UserDelete', bytes: rpc.AuthUserDeleteRequest.encode({ name: change.name }).finish() };
    case 'user_password': {
      const message = { name: change.name, ...writePassword(change.password) };
      return { name: 'UserChangePassword', bytes: rpc.AuthUserChangePasswordRequest.encode(message).finish() };
    }
    case 'user_grant': {
      const message = { user: change.name, role: change.role };
      return { name: 'UserGrantRole', bytes: rpc.AuthUserGrantRoleRequest.encode(message).finish() };
    }
    case 'user_revoke':
      return { name: 'UserRevokeRole', bytes: rpc.AuthUserRevokeRoleRequest.encode(change).finish() };
    default:
      return writeRoleChange(change);
  }
}

type RoleChange = Extract<api.AuthChange, { kind: 'role_add' | 'role_delete' | 'role_grant' | 'role_revoke' }>;

function writeRoleChange(change: RoleChange): { name: string; bytes: Uint8Array } {
  switch (change.kind) {
    case 'role_delete':
      return { name: 'RoleDelete', bytes: rpc.AuthRoleDeleteRequest.encode({ role: change.name }).finish() };
    case 'role_grant': {
      const perm = change.permission === null ? undefined : writePermission(change.permission);
      const message = { name: change.name, perm };
      return { name: 'RoleGrantPermission', bytes: rpc.AuthRoleGrantPermissionRequest.encode(message).finish() };
    }
    case 'role_revoke': {
      const message = { role: change.name, key: change.key, rangeEnd: change.rangeEnd };
      return { name: 'RoleRevokePermission', bytes: rpc.AuthRoleRevokePermissionRequest.encode(message).finish() };
    }
    default:
      return { name: 'RoleAdd', bytes: rpc.AuthRoleAddRequest.encode({ name: change.name }).finish() };
  }
}

// Alarms

const ACTIONS: readonly api.AlarmRequest['action'][] = ['list', 'raise', 'clear'];
const ALARMS: readonly (api.AlarmKind | null)[] = [null, 'no_space', 'corrupt'];

/** Null: an action etcd does not know, which it answers with nothing. */
export function readAlarmRequest(message: rpc.AlarmRequest): api.AlarmRequest | null {
  const action = ACTIONS[message.action];
  if (action === undefined) return null;
  return { action, memberId: message.memberID, kind: ALARMS[message.alarm] ?? null };
}

export function writeAlarmRequest({ action, memberId, kind }: api.AlarmRequest): rpc.AlarmRequest {
  const actions = {
    list: rpc.AlarmRequest_AlarmAction.GET,
    raise: rpc.AlarmRequest_AlarmAction.ACTIVATE,
    clear: rpc.AlarmRequest_AlarmAction.DEACTIVATE,
  };
  return { action: actions[action], memberID: memberId, alarm: alarmType(kind) };
}

export function readAlarms(message: rpc.AlarmResponse): api.AlarmsResponse {
  const alarms = message.alarms.flatMap(({ memberID, alarm }) => {
    const kind = ALARMS[alarm] ?? null;
    return kind === null ? [] : [{ memberId: memberID, kind }];
  });
  return { header: readHeader(message.header), alarms };
}

export function writeAlarms({ header, alarms }: api.AlarmsResponse): rpc.AlarmResponse {
  return { header, alarms: alarms.map(({ memberId, kind }) => ({ memberID: memberId, alarm: alarmType(kind) })) };
}

function alarmType(kind: api.AlarmKind | null): rpc.AlarmType {
  if (kind === null) return rpc.AlarmType.NONE;
  return kind === 'no_space' ? rpc.AlarmType.NOSPACE : rpc.AlarmType.CORRUPT;
}

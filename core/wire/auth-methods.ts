// The Auth service of the table: users, roles, permissions and tokens (contract 8). Who may do what is the backend's to
// judge; here bytes become `AuthChange`s and questions, and back.

import type { AuthChange, Backend } from '../client.js';
import type { Method } from './call.js';
import { readPassword, readPermission, writePermission } from './convert-auth.js';
import * as rpc from './schema/generated/rpc.js';
import type { UnaryOf } from './unary.js';

export function authMethods(backend: Backend, auth: UnaryOf): Method[] {
  return [...tokenMethods(backend, auth), ...userMethods(backend, auth), ...roleMethods(backend, auth)];
}

function tokenMethods(backend: Backend, auth: UnaryOf): Method[] {
  return [
    auth(
      'AuthEnable', rpc.AuthEnableRequest,
      (_message, options) => backend.changeAuth({ kind: 'enable' }, options),
      (header) => rpc.AuthEnableResponse.encode({ header }),
    ),
    auth(
      'AuthDisable', rpc.AuthDisableRequest,
      (_message, options) => backend.changeAuth({ kind: 'disable' }, options),
      (header) => rpc.AuthDisableResponse.encode({ header }),
    ),
    auth(
      'AuthStatus', rpc.AuthStatusRequest,
      (_message, options) => backend.authStatus(options),
      (status) => rpc.AuthStatusResponse.encode(status),
    ),
    auth(
      'Authenticate', rpc.AuthenticateRequest,
      ({ name, password }, options) => backend.authenticate(name, password, options),
      (answer) => rpc.AuthenticateResponse.encode(answer),
    ),
  ];
}

function userMethods(backend: Backend, auth: UnaryOf): Method[] {
  return [
    auth(
      'UserAdd', rpc.AuthUserAddRequest,
      (message, options) => {
        const password = message.options?.noPassword === true ? null : readPassword(message);
        return backend.changeAuth({ kind: 'user_add', name: message.name, password }, options);
      },
      (header) => rpc.AuthUserAddResponse.encode({ header }),
    ),
    auth(
      'UserGet', rpc.AuthUserGetRequest,
      ({ name }, options) => backend.user(name, options),
      ({ header, roles }) => rpc.AuthUserGetResponse.encode({ header, roles: [...roles] }),
    ),
    auth(
      'UserList', rpc.AuthUserListRequest,
      (_message, options) => backend.users(options),
      ({ header, names }) => rpc.AuthUserListResponse.encode({ header, users: [...names] }),
    ),
    auth(
      'UserDelete', rpc.AuthUserDeleteRequest,
      ({ name }, options) => backend.changeAuth({ kind: 'user_delete', name }, options),
      (header) => rpc.AuthUserDeleteResponse.encode({ header }),
    ),
    auth(
      'UserChangePassword', rpc.AuthUserChangePasswordRequest,
      (message, options) => {
        const change: AuthChange = { kind: 'user_password', name: message.name, password: readPassword(message) };
        return backend.changeAuth(change, options);
      },
      (header) => rpc.AuthUserChangePasswordResponse.encode({ header }),
    ),
    auth(
      'UserGrantRole', rpc.AuthUserGrantRoleRequest,
      ({ user, role }, options) => backend.changeAuth({ kind: 'user_grant', name: user, role }, options),
      (header) => rpc.AuthUserGrantRoleResponse.encode({ header }),
    ),
    auth(
      'UserRevokeRole', rpc.AuthUserRevokeRoleRequest,
      ({ name, role }, options) => backend.changeAuth({ kind: 'user_revoke', name, role }, options),
      (header) => rpc.AuthUserRevokeRoleResponse.encode({ header }),
    ),
  ];
}

function roleMethods(backend: Backend, auth: UnaryOf): Method[] {
  return [
    auth(
      'RoleAdd', rpc.AuthRoleAddRequest,
      ({ name }, options) => backend.changeAuth({ kind: 'role_add', name }, options),
      (header) => rpc.AuthRoleAddResponse.encode({ header }),
    ),
    auth(
      'RoleGet', rpc.AuthRoleGetRequest,
      ({ role }, options) => backend.role(role, options),
      ({ header, permissions }) => rpc.AuthRoleGetResponse.encode({ header, perm: permissions.map(writePermission) }),
    ),
    auth(
      'RoleList', rpc.AuthRoleListRequest,
      (_message, options) => backend.roles(options),
      ({ header, names }) => rpc.AuthRoleListResponse.encode({ header, roles: [...names] }),
    ),
    auth(
      'RoleDelete', rpc.AuthRoleDeleteRequest,
      ({ role }, options) => backend.changeAuth({ kind: 'role_delete', name: role }, options),
      (header) => rpc.AuthRoleDeleteResponse.encode({ header }),
    ),
    auth(
      'RoleGrantPermission', rpc.AuthRoleGrantPermissionRequest,
      ({ name, perm }, options) => {
        const permission = perm === undefined ? null : readPermission(perm);
        return backend.changeAuth({ kind: 'role_grant', name, permission }, options);
      },
      (header) => rpc.AuthRoleGrantPermissionResponse.encode({ header }),
    ),
    auth(
      'RoleRevokePermission', rpc.AuthRoleRevokePermissionRequest,
      ({ role, key, rangeEnd }, options) => backend.changeAuth({ kind: 'role_revoke', name: role, key, rangeEnd }, options),
      (header) => rpc.AuthRoleRevokePermissionResponse.encode({ header }),
    ),
  ];
}

// `coterie user`, `role` and `auth`: words, answers and formats are etcdctl's. Passwords are asked for without being shown, or
// come from a file or from standard input; they stand in no answer and in no error.

import { isOpenEnd, prefixEnd } from '../base/bytes.js';
import type { AuthChange, Header, Password, Permission } from '../client.js';
import { isApiError } from '../errors.js';
import * as convert from '../wire/convert.js';
import { writePermission } from '../wire/convert-auth.js';
import * as rpc from '../wire/schema/generated/rpc.js';
import { runGroup, type ClientCommand, type CommandFlag, type Invocation } from './client-command.js';
import { passwordIn } from './connection-tls.js';
import { quote } from './go-text.js';
import { base64, bytesDecoded } from './kv-output.js';
import { keysOf, RANGE_FLAGS } from './operations.js';
import { fields, headerFields, headerJson, unlessEmpty, type Format, type Json } from './output.js';
import { Refusal } from './refusal.js';
import type { Terminal } from './terminal.js';

const CHANGED: readonly Format[] = ['simple', 'json', 'fields', 'protobuf', 'decoded'];
const LISTED: readonly Format[] = ['simple', 'json', 'protobuf', 'decoded'];

/** What is done, in a sentence; in JSON the header it was answered with. */
async function change(invocation: Invocation, what: AuthChange, done: string): Promise<number> {
  const header = await invocation.connect().changeAuth(what);
  return said(invocation, header, done);
}

function said(invocation: Invocation, header: Header, done: string): number {
  const { format } = invocation;
  if (format === 'json') invocation.printJson({ header: headerJson(header) });
  else if (format === 'decoded') invocation.printJson({ done, revision: header.revision });
  else if (format === 'fields') invocation.print(fields(headerFields(header)));
  else if (format === 'protobuf') {
    invocation.print(rpc.AuthEnableResponse.encode({ header: convert.writeHeader(header) }).finish());
  } else invocation.print(`${done}\n`);
  return 0;
}

// Users

const PASSWORD_FLAGS: readonly CommandFlag[] = [
  { name: 'interactive', help: 'ask for the password (default); --interactive=false reads it from standard input' },
  { name: 'new-password-file', value: 'FILE', help: 'its first line is the new password' },
];

const USER_ADD: ClientCommand = {
  words: 'user add', usage: 'NAME[:PASSWORD]', summary: 'a new user', takes: [1, 1], formats: CHANGED,
  flags: [
    ...PASSWORD_FLAGS,
    { name: 'new-user-password', value: 'PASSWORD', help: 'of the new user; better in a file, or asked for' },
    { name: 'no-password', help: 'logs in by the common name of its certificate only' },
  ],
  async run(invocation) {
    const [word = ''] = invocation.args;
    const colon = word.indexOf(':');
    const name = colon < 0 ? word : word.slice(0, colon);
    if (name === '') throw new Refusal(`${word === '' ? '\'\'' : ':…'}: not a user`, 'write coterie user add NAME');
    const given = colon < 0 ? invocation.text('new-user-password') : word.slice(colon + 1);
    if (invocation.isSet('no-password')) {
      if (given !== null) throw new Refusal('a password with --no-password', 'leave one of them out');
      return change(invocation, { kind: 'user_add', name, password: null }, `User ${name} created`);
    }
    const password = given === null ? await newPassword(invocation, name) : { plain: given };
    return change(invocation, { kind: 'user_add', name, password }, `User ${name} created`);
  },
};

const USER_PASSWD: ClientCommand = {
  words: 'user passwd', usage: 'NAME', summary: 'another password for a user', takes: [1, 1], flags: PASSWORD_FLAGS,
  formats: CHANGED,
  async run(invocation) {
    const [name = ''] = invocation.args;
    const password = await newPassword(invocation, name);
    return change(invocation, { kind: 'user_password', name, password }, 'Password updated');
  },
};

async function newPassword(invocation: Invocation, name: string): Promise<Password> {
  const plain = await wordFor(invocation, name);
  if (plain !== '') return { plain };
  throw new Refusal('empty password', 'give one, or --no-password for a user with a certificate');
}

async function wordFor(invocation: Invocation, name: string): Promise<string> {
  const { terminal, flags } = invocation;
  const file = flags.text('new-password-file');
  if (file !== null) return passwordIn(file, '--new-password-file');
  if (flags.isOff('interactive') || !terminal.isInteractive) {
    for await (const line of terminal.lines()) return line;
    return '';
  }
  const first = await terminal.secret(`Password of ${name}: `);
  const again = await terminal.secret(`Type password of ${name} again for confirmation: `);
  if (first === again) return first;
  throw new Refusal('the two passwords differ', 'try again');
}

const USER_GET: ClientCommand = {
  words: 'user get', usage: 'NAME', summary: 'the roles of a user', takes: [1, 1], formats: LISTED,
  flags: [{ name: 'detail', help: 'and what each of them may do' }],
  async run(invocation) {
    const [name = ''] = invocation.args;
    const client = invocation.connect();
    const { header, roles } = await client.user(name);
    const { format } = invocation;
    if (invocation.isSet('detail')) {
      const found = await Promise.all(roles.map(async (role) => ({ role, ...await client.role(role) })));
      if (format === 'decoded') {
        const list = found.map(({ role, permissions }): Json => ({ role, permissions: permissions.map(permissionDecoded) }));
        invocation.printJson({ user: name, roles: list });
        return 0;
      }
      invocation.print(`User: ${name}\n`);
      for (const one of found) {
        invocation.print('\n');
        showRole(invocation, one.role, one);
      }
    } else if (format === 'json') invocation.printJson({ header: headerJson(header), roles: unlessEmpty(roles) });
    else if (format === 'decoded') invocation.printJson({ user: name, roles });
    else if (format === 'protobuf') {
      invocation.print(rpc.AuthUserGetResponse.encode({ header: convert.writeHeader(header), roles: [...roles] }).finish());
    } else invocation.print(`User: ${name}\nRoles:${roles.map((role) => ` ${role}`).join('')}\n`);
    return 0;
  },
};

const USER_LIST: ClientCommand = {
  words: 'user list', usage: '', summary: 'all users', takes: [0, 0], flags: [], formats: LISTED,
  async run(invocation) {
    const { header, names } = await invocation.connect().users();
    const { format } = invocation;
    if (format === 'json') invocation.printJson({ header: headerJson(header), users: unlessEmpty(names) });
    else if (format === 'decoded') invocation.printJson({ users: names });
    else if (format === 'protobuf') {
      invocation.print(rpc.AuthUserListResponse.encode({ header: convert.writeHeader(header), users: [...names] }).finish());
    } else invocation.print(names.map((name) => `${name}\n`).join(''));
    return 0;
  },
};

const USER_DELETE: ClientCommand = {
  words: 'user delete', usage: 'NAME', summary: 'remove a user', takes: [1, 1], flags: [], formats: CHANGED,
  run(invocation) {
    const [name = ''] = invocation.args;
    return change(invocation, { kind: 'user_delete', name }, `User ${name} deleted`);
  },
};

const USER_GRANT: ClientCommand = {
  words: 'user grant-role', usage: 'NAME ROLE', summary: 'let a user do what a role may', takes: [2, 2], flags: [],
  formats: CHANGED,
  run(invocation) {
    const [name = '', role = ''] = invocation.args;
    return change(invocation, { kind: 'user_grant', name, role }, `Role ${role} is granted to user ${name}`);
  },
};

const USER_REVOKE: ClientCommand = {
  words: 'user revoke-role', usage: 'NAME ROLE', summary: 'take a role from a user', takes: [2, 2], flags: [], formats: CHANGED,
  run(invocation) {
    const [name = '', role = ''] = invocation.args;
    return change(invocation, { kind: 'user_revoke', name, role }, `Role ${role} is revoked from user ${name}`);
  },
};

// Roles

const ROLE_ADD: ClientCommand = {
  words: 'role add', usage: 'NAME', summary: 'a new role, which may do nothing yet', takes: [1, 1], flags: [], formats: CHANGED,
  run(invocation) {
    const [name = ''] = invocation.args;
    return change(invocation, { kind: 'role_add', name }, `Role ${name} created`);
  },
};

const ROLE_DELETE: ClientCommand = {
  words: 'role delete', usage: 'NAME', summary: 'remove a role, from its users as well', takes: [1, 1], flags: [],
  formats: CHANGED,
  run(invocation) {
    const [name = ''] = invocation.args;
    return change(invocation, { kind: 'role_delete', name }, `Role ${name} deleted`);
  },
};

const ROLE_LIST: ClientCommand = {
  words: 'role list', usage: '', summary: 'all roles', takes: [0, 0], flags: [], formats: CHANGED,
  async run(invocation) {
    const { header, names } = await invocation.connect().roles();
    const { format } = invocation;
    if (format === 'json') invocation.printJson({ header: headerJson(header), roles: unlessEmpty(names) });
    else if (format === 'decoded') invocation.printJson({ roles: names });
    else if (format === 'protobuf') {
      invocation.print(rpc.AuthRoleListResponse.encode({ header: convert.writeHeader(header), roles: [...names] }).finish());
    } else if (format === 'fields') {
      invocation.print(`${fields(headerFields(header))}"Roles" :${names.map((name) => ` ${quote(name)}`).join('')}\n`);
    } else invocation.print(names.map((name) => `${name}\n`).join(''));
    return 0;
  },
};

const ROLE_GET: ClientCommand = {
  words: 'role get', usage: 'NAME', summary: 'what a role may do', takes: [1, 1], flags: [], formats: CHANGED,
  async run(invocation) {
    const [name = ''] = invocation.args;
    showRole(invocation, name, await invocation.connect().role(name));
    return 0;
  },
};

const KINDS = ['read', 'write', 'readwrite'] as const;

const ROLE_GRANT: ClientCommand = {
  words: 'role grant-permission', usage: 'ROLE read|write|readwrite KEY [END]', summary: 'let a role read or write keys',
  takes: [3, 4], flags: RANGE_FLAGS, formats: CHANGED,
  run(invocation) {
    const [name = '', word = '', ...keys] = invocation.args;
    const kind = KINDS.find((known) => known === word.toLowerCase());
    if (kind === undefined) throw new Refusal(`invalid permission type: ${word}`, `give one of ${KINDS.join(', ')}`);
    const permission = { kind, ...keysOf(invocation.flags, keys) };
    return change(invocation, { kind: 'role_grant', name, permission }, `Role ${name} updated`);
  },
};

const ROLE_REVOKE: ClientCommand = {
  words: 'role revoke-permission', usage: 'ROLE KEY [END]', summary: 'take from a role what it was granted, range by range',
  takes: [2, 3], flags: RANGE_FLAGS, formats: CHANGED,
  run(invocation) {
    const [name = '', ...keys] = invocation.args;
    const { key, rangeEnd } = keysOf(invocation.flags, keys);
    const [word = ''] = keys;
    const end = isOpenEnd(rangeEnd) ? '<open ended>' : `${Buffer.from(rangeEnd).toString()})`;
    const what = rangeEnd.length === 0 ? `key ${word}` : `range [${word}, ${end}`;
    return change(invocation, { kind: 'role_revoke', name, key, rangeEnd }, `Permission of ${what} is revoked from role ${name}`);
  },
};

interface Role {
  readonly header: Header;
  readonly permissions: readonly Permission[];
}

const TYPES = { read: 0, write: 1, readwrite: 2 } as const;

function showRole(invocation: Invocation, name: string, { header, permissions }: Role): void {
  const { format } = invocation;
  if (format === 'json') {
    const perm = permissions.map(({ kind, key, rangeEnd }): Json => {
      return { permType: unlessEmpty(TYPES[kind]), key: base64(key), range_end: base64(rangeEnd) };
    });
    invocation.printJson({ header: headerJson(header), perm: unlessEmpty(perm) });
  } else if (format === 'decoded') {
    invocation.printJson({ role: name, permissions: permissions.map(permissionDecoded) });
  } else if (format === 'protobuf') {
    const perm = permissions.map((one) => writePermission(one));
    invocation.print(rpc.AuthRoleGetResponse.encode({ header: convert.writeHeader(header), perm }).finish());
  } else if (format === 'fields') {
    const rows = permissions.map(({ kind, key, rangeEnd }) => {
      return `"PermType" :  ${kind.toUpperCase()}\n"Key" : ${quote(key)}\n"RangeEnd" : ${quote(rangeEnd)}\n`;
    });
    invocation.print(`${fields(headerFields(header))}${rows.join('')}`);
  } else {
    const of = (kind: 'read' | 'write'): string => {
      return permissions.filter((one) => one.kind === kind || one.kind === 'readwrite').map(rangeText).join('');
    };
    invocation.print(`Role ${name}\nKV Read:\n${of('read')}KV Write:\n${of('write')}`);
  }
}

function rangeText({ key, rangeEnd }: Permission): string {
  const [from, to] = [Buffer.from(key).toString(), Buffer.from(rangeEnd).toString()];
  if (rangeEnd.length === 0) return `\t${from}\n`;
  if (isOpenEnd(rangeEnd)) return `\t[${from}, <open ended>\n`;
  const isPrefix = Buffer.compare(prefixEnd(key), rangeEnd) === 0;
  return `\t[${from}, ${to})${isPrefix ? ` (prefix ${from})` : ''}\n`;
}

function permissionDecoded({ kind, key, rangeEnd }: Permission): Json {
  const end = rangeEnd.length === 0 || isOpenEnd(rangeEnd) ? {} : bytesDecoded('rangeEnd', rangeEnd);
  const all = isOpenEnd(rangeEnd) ? { openEnded: true } : {};
  return { kind, ...bytesDecoded('key', key), ...end, ...all };
}

// Switching it on and off

/** etcdctl says the same in all of its. */
const SWITCHED: readonly Format[] = ['simple', 'json', 'fields', 'table', 'protobuf', 'decoded'];

const AUTH_ENABLE: ClientCommand = {
  words: 'auth enable', usage: '', summary: 'from now on users are asked who they are; needs a user root', takes: [0, 0],
  flags: [], formats: SWITCHED,
  async run(invocation) {
    const client = invocation.connect();
    const enable = (): Promise<Header> => client.changeAuth({ kind: 'enable' });
    let header: Header;
    try {
      header = await enable();
    } catch (error) {
      if (!isApiError(error, 'root_role_missing')) throw error;
      // What etcdctl does, too: the user root is of no use without the role of that name.
      try {
        await client.changeAuth({ kind: 'role_add', name: 'root' });
      } catch (reason) {
        if (!isApiError(reason, 'role_exists')) throw reason;
      }
      await client.changeAuth({ kind: 'user_grant', name: 'root', role: 'root' });
      header = await enable();
    }
    return authSaid(invocation, header, 'Authentication Enabled', true);
  },
};

const AUTH_DISABLE: ClientCommand = {
  words: 'auth disable', usage: '', summary: 'from now on everybody may do everything', takes: [0, 0], flags: [],
  formats: SWITCHED,
  async run(invocation) {
    return authSaid(invocation, await invocation.connect().changeAuth({ kind: 'disable' }), 'Authentication Disabled', false);
  },
};

function authSaid(invocation: Invocation, header: Header, done: string, enabled: boolean): number {
  if (invocation.format === 'decoded') invocation.printJson({ enabled, revision: header.revision });
  else invocation.print(`${done}\n`);
  return 0;
}

const AUTH_STATUS: ClientCommand = {
  words: 'auth status', usage: '', summary: 'whether users are asked who they are', takes: [0, 0], flags: [],
  formats: ['simple', 'json', 'fields', 'decoded'],
  async run(invocation) {
    const { header, enabled, authRevision } = await invocation.connect().authStatus();
    const { format } = invocation;
    if (format === 'json') {
      const said = { enabled: unlessEmpty(enabled), authRevision: unlessEmpty(authRevision) };
      invocation.printJson({ header: headerJson(header), ...said });
    } else if (format === 'decoded') invocation.printJson({ enabled, authRevision });
    else if (format === 'fields') {
      invocation.print(fields([...headerFields(header), ['Enabled', enabled], ['AuthRevision', authRevision]]));
    } else invocation.print(`Authentication Status: ${enabled}\nAuthRevision: ${authRevision}\n`);
    return 0;
  },
};

export const COMMANDS: readonly ClientCommand[] = [
  USER_ADD, USER_DELETE, USER_GET, USER_LIST, USER_PASSWD, USER_GRANT, USER_REVOKE,
  ROLE_ADD, ROLE_DELETE, ROLE_GET, ROLE_LIST, ROLE_GRANT, ROLE_REVOKE, AUTH_ENABLE, AUTH_DISABLE, AUTH_STATUS,
];

export function main(group: 'user' | 'role' | 'auth', argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup(group, COMMANDS.filter(({ words }) => words.startsWith(`${group} `)), argv, terminal);
}

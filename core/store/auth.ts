// Users, roles, permissions and tokens (contract 8.1 to 8.5). Written only by applying entries, so that every replica agrees
// on who may do what at each of them; part of every snapshot that has any of it. Pure: it knows no password, only hashes, and
// no time: when a token has gone unused for too long is each member's own to judge (node/token-times.ts).
//
// Invariant: the auth revision rises with each change of users and roles, so whatever was established at an older one may
// not hold any more. Tokens of a user who is deleted, or whose password changes, are gone with that entry.

import { assert } from '../base/assert.js';
import type { Permission } from '../client.js';
import type { ErrorCode } from '../errors.js';
import {
  compareNames, comparePermissions, readMany, readRole, readToken, readUser, writeRole, writeToken, writeUser,
  type RoleRecord, type StoredChange, type TokenRecord, type UserRecord,
} from './auth-records.js';
import type { ByteReader, ByteWriter } from './binary.js';
import { intervalOf, KeySet } from './key-set.js';
import { TOKENS_MAX, TOKENS_PER_USER_MAX } from './limits.js';

/** Both the user that may do everything and the role that makes one so. */
export const ROOT = 'root';

/** What a user may touch. */
export interface Reach {
  readonly isRoot: boolean;
  readonly read: KeySet;
  readonly write: KeySet;
}

const FORM = 1;

export class AuthTable {
  #isEnabled = false;
  #revision = 1;
  readonly #users = new Map<string, UserRecord>();
  readonly #roles = new Map<string, RoleRecord>();
  /** By the entry that made them, ascending. */
  readonly #tokens = new Map<number, TokenRecord>();
  /** The same by user. */
  readonly #tokensOf = new Map<string, Set<number>>();
  /** What was worked out for users at this revision. */
  readonly #reaches = new Map<string, Reach>();

  get isEnabled(): boolean {
    return this.#isEnabled;
  }

  get revision(): number {
    return this.#revision;
  }

  user(name: string): UserRecord | null {
    return this.#users.get(name) ?? null;
  }

  role(name: string): RoleRecord | null {
    return this.#roles.get(name) ?? null;
  }

  /** Ascending. */
  get userNames(): readonly string[] {
    return [...this.#users.keys()].sort(compareNames);
  }

  get roleNames(): readonly string[] {
    return [...this.#roles.keys()].sort(compareNames);
  }

  get userCount(): number {
    return this.#users.size;
  }

  get roleCount(): number {
    return this.#roles.size;
  }

  /** The token that the entry at `index` made. */
  token(index: number): TokenRecord | null {
    return this.#tokens.get(index) ?? null;
  }

  tokens(): Iterable<TokenRecord> {
    return this.#tokens.values();
  }

  get tokenCount(): number {
    return this.#tokens.size;
  }

  /** Null: there is no such user. */
  reach(name: string): Reach | null {
    const known = this.#reaches.get(name);
    if (known !== undefined) return known;
    const user = this.#users.get(name);
    if (user === undefined) return null;
    const permissions = user.roles.flatMap((role) => this.#roles.get(role)?.permissions ?? []);
    const union = (without: Permission['kind']): KeySet => {
      return new KeySet(permissions.filter(({ kind }) => kind !== without).map(({ key, rangeEnd }) => intervalOf(key, rangeEnd)));
    };
    const reach = { isRoot: user.roles.includes(ROOT), read: union('write'), write: union('read') };
    this.#reaches.set(name, reach);
    return reach;
  }

  /** Why the change cannot be made, whoever wishes it; null: it was made. */
  change(change: StoredChange): ErrorCode | null {
    switch (change.kind) {
      case 'enable':
        return this.#enable();
      case 'disable':
        return this.#disable();
      case 'user_add':
        return this.#addUser(change.name, change.hash);
      case 'user_delete':
        return this.#deleteUser(change.name);
      case 'user_password':
        return this.#changePassword(change.name, change.hash);
      case 'user_grant':
      case 'user_revoke':
        return this.#changeRoles(change);
      case 'role_add':
        if (change.name === '') return 'role_empty';
        if (this.#roles.has(change.name)) return 'role_exists';
        return this.#setRole({ name: change.name, permissions: [] });
      case 'role_delete':
        return this.#deleteRole(change.name);
      case 'role_grant':
        return this.#grant(change.name, change.permission);
      default:
        return this.#revoke(change.name, change.key, change.rangeEnd);
    }
  }

  /** Whose password was right at `authRevision` gets a token; the entry's index is part of it. */
  addToken(token: TokenRecord, authRevision: number): ErrorCode | null {
    if (!this.#isEnabled) return 'auth_disabled';
    if (!this.#users.has(token.user)) return 'auth_failed';
    // The password may have been changed since it was found right.
    if (authRevision !== this.#revision) return 'auth_revision_old';
    const own = this.#tokensOf.get(token.user);
    if (own !== undefined && own.size >= TOKENS_PER_USER_MAX) this.#dropOldest(own);
    else if (this.#tokens.size >= TOKENS_MAX) this.#dropOldest(this.#tokens.keys());
    this.#setToken(token);
    return null;
  }

  /** The same password with another cost: nothing that was established before is worth less for it. */
  rehash(name: string, from: string, to: string): void {
    const user = this.#users.get(name);
    if (user?.hash === from) this.#users.set(name, { ...user, hash: to });
  }

  /** Nothing is written of a table that was never touched: such snapshots are as they were before there were users. */
  write(writer: ByteWriter): void {
    if (this.#revision === 1 && !this.#isEnabled) return;
    writer.byte(FORM);
    writer.byte(this.#isEnabled ? 1 : 0);
    writer.varint(this.#revision);
    writer.varint(this.#users.size);
    for (const name of this.userNames) writeUser(writer, this.#users.get(name) ?? missing(name));
    writer.varint(this.#roles.size);
    for (const name of this.roleNames) writeRole(writer, this.#roles.get(name) ?? missing(name));
    writer.varint(this.#tokens.size);
    for (const token of this.#tokens.values()) writeToken(writer, token);
  }

  /** Nobody is logged in. Names of roles and permissions are put in order. */
  static of(told: {
    isEnabled: boolean; revision: number; users: readonly UserRecord[]; roles: readonly RoleRecord[];
  }): AuthTable {
    const table = new AuthTable();
    table.#isEnabled = told.isEnabled;
    table.#revision = told.revision;
    for (const user of told.users) table.#users.set(user.name, { ...user, roles: [...user.roles].sort(compareNames) });
    for (const { name, permissions } of told.roles) {
      table.#roles.set(name, { name, permissions: [...permissions].sort(comparePermissions) });
    }
    return table;
  }

  static read(reader: ByteReader): AuthTable {
    const table = new AuthTable();
    const form = reader.byte();
    assert(form === FORM, `users in form ${form}: this release reads form ${FORM} only, so a newer one wrote it`);
    table.#isEnabled = reader.byte() === 1;
    table.#revision = reader.varint();
    for (const user of readMany(reader, () => readUser(reader))) table.#users.set(user.name, user);
    for (const role of readMany(reader, () => readRole(reader))) table.#roles.set(role.name, role);
    for (const token of readMany(reader, () => readToken(reader))) table.#setToken(token);
    return table;
  }

  #enable(): ErrorCode | null {
    const root = this.#users.get(ROOT);
    if (root === undefined) return 'root_missing';
    if (!root.roles.includes(ROOT)) return 'root_role_missing';
    this.#isEnabled = true;
    return null;
  }

  #disable(): null {
    if (!this.#isEnabled) return null;
    this.#isEnabled = false;
    this.#tokens.clear();
    this.#tokensOf.clear();
    return this.#changed();
  }

  #addUser(name: string, hash: string | null): ErrorCode | null {
    if (name === '') return 'user_empty';
    if (this.#users.has(name)) return 'user_exists';
    this.#users.set(name, { name, hash: hash ?? '', noPassword: hash === null, roles: [] });
    return this.#changed();
  }

  #deleteUser(name: string): ErrorCode | null {
    if (this.#isEnabled && name === ROOT) return 'auth_invalid_change';
    if (!this.#users.delete(name)) return 'user_not_found';
    this.#dropTokens(name);
    return this.#changed();
  }

  #changePassword(name: string, hash: string | null): ErrorCode | null {
    const user = this.#users.get(name);
    if (user === undefined) return 'user_not_found';
    this.#users.set(name, { ...user, hash: hash ?? '' });
    this.#dropTokens(name);
    return this.#changed();
  }

  #changeRoles({ kind, name, role }: Extract<StoredChange, { kind: 'user_grant' | 'user_revoke' }>): ErrorCode | null {
    const isLastAdmin = kind === 'user_revoke' && this.#isEnabled && name === ROOT && role === ROOT;
    if (isLastAdmin) return 'auth_invalid_change';
    const user = this.#users.get(name);
    if (user === undefined) return 'user_not_found';
    const isHeld = user.roles.includes(role);
    if (kind === 'user_revoke') {
      if (!isHeld) return 'role_not_granted';
      this.#users.set(name, { ...user, roles: user.roles.filter((each) => each !== role) });
      return this.#changed();
    }
    // The role root needs no record: it is what it is.
    if (role !== ROOT && !this.#roles.has(role)) return 'role_not_found';
    if (isHeld) return null;
    this.#users.set(name, { ...user, roles: [...user.roles, role].sort(compareNames) });
    return this.#changed();
  }

  #deleteRole(name: string): ErrorCode | null {
    if (this.#isEnabled && name === ROOT) return 'auth_invalid_change';
    if (!this.#roles.delete(name)) return 'role_not_found';
    for (const user of this.#users.values()) {
      if (!user.roles.includes(name)) continue;
      this.#users.set(user.name, { ...user, roles: user.roles.filter((each) => each !== name) });
    }
    return this.#changed();
  }

  #grant(name: string, permission: Permission | null): ErrorCode | null {
    if (permission === null) return 'permission_empty';
    const { start, end } = intervalOf(permission.key, permission.rangeEnd);
    // As etcd from 3.5 on: what selects nothing could only be a mistake.
    if (start === '' || (end !== null && end <= start)) return 'auth_invalid_change';
    const role = this.#roles.get(name);
    if (role === undefined) return 'role_not_found';
    const at = placeOf(role.permissions, permission);
    const present = role.permissions[at];
    const replaced = present !== undefined && comparePermissions(present, permission) === 0 ? 1 : 0;
    return this.#setRole({ name, permissions: role.permissions.toSpliced(at, replaced, permission) });
  }

  #revoke(name: string, key: Uint8Array, rangeEnd: Uint8Array): ErrorCode | null {
    const role = this.#roles.get(name);
    if (role === undefined) return 'role_not_found';
    const meant: Permission = { kind: 'read', key, rangeEnd };
    const at = placeOf(role.permissions, meant);
    const present = role.permissions[at];
    if (present === undefined || comparePermissions(present, meant) !== 0) return 'permission_not_granted';
    return this.#setRole({ name, permissions: role.permissions.toSpliced(at, 1) });
  }

  #setRole(role: RoleRecord): null {
    this.#roles.set(role.name, role);
    return this.#changed();
  }

  #setToken(token: TokenRecord): void {
    this.#tokens.set(token.index, token);
    const own = this.#tokensOf.get(token.user) ?? new Set<number>();
    this.#tokensOf.set(token.user, own.add(token.index));
  }

  #dropOldest(ascending: Iterable<number>): void {
    for (const index of ascending) {
      this.#tokensOf.get(this.#tokens.get(index)?.user ?? '')?.delete(index);
      this.#tokens.delete(index);
      return;
    }
  }

  #dropTokens(name: string): void {
    for (const index of this.#tokensOf.get(name) ?? []) this.#tokens.delete(index);
    this.#tokensOf.delete(name);
  }

  #changed(): null {
    this.#revision += 1;
    this.#reaches.clear();
    return null;
  }
}

/** Where a permission of this key and range end is, or would have to be. */
function placeOf(permissions: readonly Permission[], permission: Permission): number {
  let low = 0;
  let high = permissions.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const there = permissions[middle];
    if (there !== undefined && comparePermissions(there, permission) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function missing(name: string): never {
  assert(false, `${name} was listed and is not there`);
}

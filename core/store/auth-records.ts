// What the store keeps of users, roles and tokens, and its byte form in commands and snapshots. A password is a bcrypt hash
// here and never anything else; of a token there is only a digest.

import { assert, present, unreachable } from '../base/assert.js';
import { text, utf8 } from '../base/bytes.js';
import type { AuthChange, Permission } from '../client.js';
import type { ByteReader, ByteWriter } from './binary.js';

/** A change as it stands in the log: with a hash where the caller gave a password; null: no password. */
export type StoredChange =
  | Exclude<AuthChange, { kind: 'user_add' | 'user_password' }>
  | { readonly kind: 'user_add' | 'user_password'; readonly name: string; readonly hash: string | null };

export interface UserRecord {
  readonly name: string;
  /** Empty: none was ever given. */
  readonly hash: string;
  /** Logs in by certificate only, also after somebody has set a password. */
  readonly noPassword: boolean;
  /** Ascending. */
  readonly roles: readonly string[];
}

export interface RoleRecord {
  readonly name: string;
  /** Ascending by key, then by range end; no two of the same key and range end. */
  readonly permissions: readonly Permission[];
}

export interface TokenRecord {
  /** SHA-256 of the token's letters, in hexadecimal. */
  readonly digest: string;
  readonly user: string;
  /** The entry that made it: what follows the point in the token. */
  readonly index: number;
}

const CHANGES: readonly StoredChange['kind'][] = [
  'enable', 'disable', 'user_add', 'user_delete', 'user_password', 'user_grant', 'user_revoke',
  'role_add', 'role_delete', 'role_grant', 'role_revoke',
];
/** As they are numbered here and by etcd. */
export const PERMISSION_KINDS: readonly Permission['kind'][] = ['read', 'write', 'readwrite'];

/**
 * Byte order, as etcd lists names, without making the bytes: it is the order of code points. That of UTF-16 differs from it
 * only where one of two units that differ is a surrogate, which stands for something above all that others stand for.
 */
export function compareNames(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [left, right] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (left === right) continue;
    return isSurrogate(left) === isSurrogate(right) ? left - right : Number(isSurrogate(left)) - Number(isSurrogate(right));
  }
  return a.length - b.length;
}

export function comparePermissions(a: Permission, b: Permission): number {
  return Buffer.compare(a.key, b.key) || Buffer.compare(a.rangeEnd, b.rangeEnd);
}

export function writeChange(writer: ByteWriter, change: StoredChange): void {
  writer.byte(CHANGES.indexOf(change.kind));
  switch (change.kind) {
    case 'enable':
    case 'disable':
      return;
    case 'user_add':
    case 'user_password':
      writeText(writer, change.name);
      writer.byte(change.hash === null ? 0 : 1);
      return writeText(writer, change.hash ?? '');
    case 'user_grant':
    case 'user_revoke':
      writeText(writer, change.name);
      return writeText(writer, change.role);
    case 'role_grant':
      writeText(writer, change.name);
      writer.byte(change.permission === null ? 0 : 1);
      if (change.permission !== null) writePermission(writer, change.permission);
      return;
    case 'role_revoke':
      writeText(writer, change.name);
      writer.bytes(change.key);
      return writer.bytes(change.rangeEnd);
    case 'user_delete':
    case 'role_add':
    case 'role_delete':
      return writeText(writer, change.name);
    default:
      return unreachable(change);
  }
}

export function readChange(reader: ByteReader): StoredChange {
  const kind = present(CHANGES[reader.byte()], 'the kind of a change of users and roles');
  switch (kind) {
    case 'enable':
    case 'disable':
      return { kind };
    case 'user_add':
    case 'user_password': {
      const name = readText(reader);
      const isGiven = reader.byte() === 1;
      const hash = readText(reader);
      return { kind, name, hash: isGiven ? hash : null };
    }
    case 'user_grant':
    case 'user_revoke':
      return { kind, name: readText(reader), role: readText(reader) };
    case 'role_grant': {
      const name = readText(reader);
      return { kind, name, permission: reader.byte() === 1 ? readPermission(reader) : null };
    }
    case 'role_revoke':
      return { kind, name: readText(reader), key: reader.bytes(), rangeEnd: reader.bytes() };
    case 'user_delete':
    case 'role_add':
    case 'role_delete':
      return { kind, name: readText(reader) };
    default:
      return unreachable(kind);
  }
}

export function writeUser(writer: ByteWriter, { name, hash, noPassword, roles }: UserRecord): void {
  writeText(writer, name);
  writeText(writer, hash);
  writer.byte(noPassword ? 1 : 0);
  writer.varint(roles.length);
  for (const role of roles) writeText(writer, role);
}

export function readUser(reader: ByteReader): UserRecord {
  const [name, hash, noPassword] = [readText(reader), readText(reader), reader.byte() === 1];
  return { name, hash, noPassword, roles: readMany(reader, () => readText(reader)) };
}

export function writeRole(writer: ByteWriter, { name, permissions }: RoleRecord): void {
  writeText(writer, name);
  writer.varint(permissions.length);
  for (const permission of permissions) writePermission(writer, permission);
}

export function readRole(reader: ByteReader): RoleRecord {
  return { name: readText(reader), permissions: readMany(reader, () => readPermission(reader)) };
}

export function writeToken(writer: ByteWriter, { digest, user, index }: TokenRecord): void {
  writer.bytes(Buffer.from(digest, 'hex'));
  writeText(writer, user);
  writer.varint(index);
}

export function readToken(reader: ByteReader): TokenRecord {
  return { digest: Buffer.from(reader.bytes()).toString('hex'), user: readText(reader), index: reader.varint() };
}

/** Each item has at least one byte, so that no count is believed beyond what is there. */
export function readMany<T>(reader: ByteReader, read: () => T): T[] {
  const count = reader.varint();
  assert(count <= reader.rest, `${count} items are announced in ${reader.rest} bytes`);
  return Array.from({ length: count }, read);
}

function writePermission(writer: ByteWriter, { kind, key, rangeEnd }: Permission): void {
  writer.byte(PERMISSION_KINDS.indexOf(kind));
  writer.bytes(key);
  writer.bytes(rangeEnd);
}

/** The record outlives the bytes it was read from. */
function readPermission(reader: ByteReader): Permission {
  const kind = present(PERMISSION_KINDS[reader.byte()], 'the kind of a permission');
  return { kind, key: new Uint8Array(reader.bytes()), rangeEnd: new Uint8Array(reader.bytes()) };
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff;
}

function writeText(writer: ByteWriter, value: string): void {
  writer.bytes(utf8(value));
}

function readText(reader: ByteReader): string {
  return text(reader.bytes());
}

// The commands a log entry can carry, and their byte form. The first byte is the version of the form, the second the kind.
// A lone put or delete, which is nearly every entry there is, has a form of its own: written with one allocation, read
// with two views and no intermediate object. Entries outlive releases: a form once released is read for ever.

import { assert, present, unreachable } from '../base/assert.js';
import type {
  Alarm, Compare, CompareResult, DeleteRequest, LeaseId, Op, PutRequest, RangeRequest, Revision, SortOrder, SortTarget,
  TxnRequest,
} from '../client.js';
import { text, utf8 } from '../base/bytes.js';
import { readChange, writeChange, type StoredChange } from './auth-records.js';
import { ByteReader, ByteWriter, varintBytes, writeVarint } from './binary.js';
import { TXN_DEPTH_MAX } from './limits.js';

export type Command =
  /** A put or a delete is a transaction of one op. */
  | { readonly kind: 'txn'; readonly request: TxnRequest }
  | { readonly kind: 'lease_grant'; readonly id: LeaseId; readonly ttlSeconds: number }
  /**
   * `term` 0: a client asked for it. Else expiry, as the leader of that term saw it: void unless the entry is of that term
   * and the lease is still the one that entry `granted` granted.
   */
  | { readonly kind: 'lease_revoke'; readonly id: LeaseId; readonly term: number; readonly granted: number }
  /** What is left of long leases, as the leader of `term` saw it: void unless the entry is of that term. */
  | {
      readonly kind: 'lease_checkpoint';
      readonly term: number;
      readonly leases: readonly { readonly id: LeaseId; readonly remainingSeconds: number }[];
    }
  /** A member says, or is told, how it is called and reached. Null: as it was. `incarnation` 0n: as it was. */
  | {
      readonly kind: 'member_update';
      readonly id: bigint;
      readonly name: string | null;
      readonly peerUrls: readonly string[] | null;
      readonly clientUrls: readonly string[] | null;
      readonly incarnation: bigint;
    }
  | { readonly kind: 'compact'; readonly revision: Revision }
  | { readonly kind: 'alarm'; readonly action: 'raise' | 'clear'; readonly alarm: Alarm }
  /**
   * On whose behalf, and at which auth revision that was established: what auth.ts is asked before it is carried out.
   * `user` null: this process's own. Written around commands while auth is on; one without was written by a member that did
   * not know yet that it is, and is refused then.
   */
  | { readonly kind: 'as_user'; readonly user: string | null; readonly authRevision: number; readonly command: Command }
  | { readonly kind: 'auth_change'; readonly change: StoredChange }
  /** A password was found right at that auth revision: a token with this digest is good from now on. */
  | { readonly kind: 'authenticate'; readonly user: string; readonly digest: string; readonly authRevision: number }
  /** The password that `from` is of was given, so it is kept with the cost that is wanted now. */
  | { readonly kind: 'rehash'; readonly name: string; readonly from: string; readonly to: string };

const FORM = 1;
const PUT = 1;
const DELETE = 2;
const TXN = 3;
const LEASE_GRANT = 4;
const LEASE_REVOKE = 5;
const COMPACT = 6;
const LEASE_CHECKPOINT = 7;
const MEMBER_UPDATE = 8;
const ALARM = 9;
const AS_USER = 16;
const AUTH_CHANGE = 17;
const AUTHENTICATE = 18;
const REHASH = 19;

const PUT_LEASE = 1;
const PUT_PREV = 2;
const PUT_IGNORE_VALUE = 4;
const PUT_IGNORE_LEASE = 8;

const DELETE_END = 1;
const DELETE_PREV = 2;

// Ops inside a transaction, and the two bits that say which optional parts a range request has.
const OP_RANGE = 1;
const OP_PUT = 2;
const OP_DELETE = 3;
const OP_TXN = 4;
const RANGE_SERIALIZABLE = 1;
const RANGE_KEYS_ONLY = 2;
const RANGE_COUNT_ONLY = 4;
const RANGE_BOUNDS = 8;
const RANGE_SORT = 16;

const RESULTS: readonly (CompareResult | 'any')[] = ['=', '>', '<', '!=', 'any'];
const TARGETS: readonly Compare['target'][] = ['version', 'create', 'mod', 'value', 'lease'];
const ORDERS: readonly SortOrder[] = ['none', 'ascend', 'descend'];
const SORT_TARGETS: readonly SortTarget[] = ['key', 'version', 'create', 'mod', 'value'];
const ALARM_ACTIONS: readonly ('raise' | 'clear')[] = ['raise', 'clear'];
/** As they are numbered here and in snapshots, and listed. */
export const ALARM_KINDS: readonly Alarm['kind'][] = ['no_space', 'corrupt'];

const NOTHING: readonly never[] = Object.freeze([]);

/** The byte form. The result is a piece of memory of its own, unless small: then a piece of a shared pool. */
export function encodeCommand(command: Command): Uint8Array {
  switch (command.kind) {
    case 'txn': {
      const lone = loneOp(command.request);
      if (lone?.kind === 'put') return encodePut(lone.request);
      if (lone?.kind === 'delete') return encodeDelete(lone.request);
      return encodeWith(TXN, (writer) => writeTxn(writer, command.request));
    }
    case 'lease_grant':
      return encodeWith(LEASE_GRANT, (writer) => {
        writer.i64(command.id);
        writer.integer(command.ttlSeconds);
      });
    case 'lease_revoke':
      return encodeWith(LEASE_REVOKE, (writer) => {
        writer.i64(command.id);
        writer.varint(command.term);
        writer.varint(command.granted);
      });
    case 'lease_checkpoint':
      return encodeWith(LEASE_CHECKPOINT, (writer) => {
        writer.varint(command.term);
        writer.varint(command.leases.length);
        for (const { id, remainingSeconds } of command.leases) {
          writer.i64(id);
          writer.integer(remainingSeconds);
        }
      });
    case 'member_update':
      return encodeWith(MEMBER_UPDATE, (writer) => {
        writer.i64(BigInt.asIntN(64, command.id));
        writer.i64(BigInt.asIntN(64, command.incarnation));
        writeTexts(writer, command.name === null ? null : [command.name]);
        writeTexts(writer, command.peerUrls);
        writeTexts(writer, command.clientUrls);
      });
    case 'compact':
      return encodeWith(COMPACT, (writer) => writer.integer(command.revision));
    case 'alarm':
      return encodeWith(ALARM, (writer) => {
        writer.byte(codeOf(ALARM_ACTIONS, command.action));
        writer.byte(codeOf(ALARM_KINDS, command.alarm.kind));
        writer.i64(BigInt.asIntN(64, command.alarm.memberId));
      });
    default:
      return encodeAuth(command);
  }
}

function encodeAuth(command: Extract<Command, { kind: 'as_user' | 'auth_change' | 'authenticate' | 'rehash' }>): Uint8Array {
  switch (command.kind) {
    case 'as_user':
      return encodeWith(AS_USER, (writer) => {
        writer.varint(command.authRevision);
        writer.byte(command.user === null ? 0 : 1);
        writer.bytes(utf8(command.user ?? ''));
        writer.raw(encodeCommand(command.command));
      });
    case 'auth_change':
      return encodeWith(AUTH_CHANGE, (writer) => writeChange(writer, command.change));
    case 'authenticate':
      return encodeWith(AUTHENTICATE, (writer) => {
        writer.bytes(utf8(command.user));
        writer.bytes(Buffer.from(command.digest, 'hex'));
        writer.varint(command.authRevision);
      });
    case 'rehash':
      return encodeWith(REHASH, (writer) => {
        for (const each of [command.name, command.from, command.to]) writer.bytes(utf8(each));
      });
    default:
      return unreachable(command);
  }
}

/** Asserts on bytes `encodeCommand` cannot have written. Keys and values are views into `bytes`. */
export function decodeCommand(bytes: Uint8Array): Command {
  assert(bytes[0] === FORM, `a command in form ${bytes[0]}: this release reads form ${FORM} only, so a newer one wrote it`);
  const kind = bytes[1];
  if (kind === PUT) return readPut(bytes);
  const reader = new ByteReader(bytes, 2);
  const command = readCommand(reader, kind);
  assert(reader.rest === 0, `a command of kind ${kind} has ${reader.rest} bytes too many`);
  return command;
}

/** What is to be done, whoever wishes it. */
export function deedOf(command: Command): Exclude<Command, { kind: 'as_user' }> {
  return command.kind === 'as_user' ? deedOf(command.command) : command;
}

/**
 * The op of a request that is a plain call: one op on success, and no compares or other ops named, be they none. To etcd a
 * transaction of one op is another thing: judged in another order (contract 4.3), and larger.
 */
export function loneOp(request: TxnRequest): Op | null {
  const { compare, success, failure } = request;
  return success?.length === 1 && compare === undefined && failure === undefined ? (success[0] ?? null) : null;
}

function encodeWith(kind: number, write: (writer: ByteWriter) => void): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(FORM);
  writer.byte(kind);
  write(writer);
  return writer.take();
}

// form, PUT, flags, key length, key, [lease], value to the end.
function encodePut(request: PutRequest): Uint8Array {
  const { key, value } = request;
  const flags = putFlags(request);
  const leaseBytes = (flags & PUT_LEASE) === 0 ? 0 : 8;
  const bytes = Buffer.allocUnsafe(3 + varintBytes(key.length) + key.length + leaseBytes + value.length);
  bytes[0] = FORM;
  bytes[1] = PUT;
  bytes[2] = flags;
  let at = writeVarint(bytes, 3, key.length);
  bytes.set(key, at);
  at += key.length;
  if (leaseBytes > 0) at = bytes.writeBigInt64LE(request.lease ?? 0n, at);
  bytes.set(value, at);
  return bytes;
}

// form, DELETE, flags, key length, key, range end to the end.
function encodeDelete(request: DeleteRequest): Uint8Array {
  return encodeWith(DELETE, (writer) => writeDelete(writer, request));
}

/** Of a key of less than 128 bytes without a lease, which nearly every put has, in one look. */
function readPut(bytes: Uint8Array): Command {
  const flags = bytes[2] ?? 0;
  const length = bytes[3] ?? 128;
  if (length < 128 && (flags & PUT_LEASE) === 0 && bytes.length >= 4 + length) {
    const { buffer, byteOffset } = bytes;
    const key = new Uint8Array(buffer, byteOffset + 4, length);
    const value = new Uint8Array(buffer, byteOffset + 4 + length, bytes.length - 4 - length);
    return lone({ kind: 'put', request: putRequest(flags, key, 0n, value) });
  }
  const reader = new ByteReader(bytes, 3);
  const key = reader.bytes();
  const lease = (flags & PUT_LEASE) === 0 ? 0n : reader.i64();
  return lone({ kind: 'put', request: putRequest(flags, key, lease, reader.raw(reader.rest)) });
}

function readCommand(reader: ByteReader, kind: number | undefined): Command {
  switch (kind) {
    case DELETE:
      return lone({ kind: 'delete', request: readDelete(reader) });
    case TXN:
      return { kind: 'txn', request: readTxn(reader, 0) };
    case LEASE_GRANT:
      return { kind: 'lease_grant', id: reader.i64(), ttlSeconds: reader.integer() };
    case LEASE_REVOKE:
      return { kind: 'lease_revoke', id: reader.i64(), term: reader.varint(), granted: reader.varint() };
    case LEASE_CHECKPOINT: {
      const term = reader.varint();
      const leases: { id: LeaseId; remainingSeconds: number }[] = [];
      for (let n = reader.varint(); n > 0; n--) leases.push({ id: reader.i64(), remainingSeconds: reader.integer() });
      return { kind: 'lease_checkpoint', term, leases };
    }
    case MEMBER_UPDATE: {
      const id = BigInt.asUintN(64, reader.i64());
      const incarnation = BigInt.asUintN(64, reader.i64());
      const name = readTexts(reader)?.[0] ?? null;
      return { kind: 'member_update', id, name, peerUrls: readTexts(reader), clientUrls: readTexts(reader), incarnation };
    }
    case COMPACT:
      return { kind: 'compact', revision: reader.integer() };
    case ALARM: {
      const action = present(ALARM_ACTIONS[reader.byte()], 'what happens to an alarm');
      const kind = present(ALARM_KINDS[reader.byte()], 'the kind of an alarm');
      return { kind: 'alarm', action, alarm: { memberId: BigInt.asUintN(64, reader.i64()), kind } };
    }
    default:
      return readAuth(reader, kind);
  }
}

function readAuth(reader: ByteReader, kind: number | undefined): Command {
  switch (kind) {
    case AS_USER: {
      const authRevision = reader.varint();
      const isOwn = reader.byte() === 0;
      const user = text(reader.bytes());
      const command = decodeCommand(reader.raw(reader.rest));
      assert(command.kind !== 'as_user', 'a command has two authors');
      return { kind: 'as_user', user: isOwn ? null : user, authRevision, command };
    }
    case AUTH_CHANGE:
      return { kind: 'auth_change', change: readChange(reader) };
    case AUTHENTICATE: {
      const user = text(reader.bytes());
      const digest = Buffer.from(reader.bytes()).toString('hex');
      return { kind: 'authenticate', user, digest, authRevision: reader.varint() };
    }
    case REHASH:
      return { kind: 'rehash', name: text(reader.bytes()), from: text(reader.bytes()), to: text(reader.bytes()) };
    default:
      assert(false, `${kind} is no kind of command`);
  }
}

function lone(op: Op): Command {
  return { kind: 'txn', request: { success: [op] } };
}

function putFlags(request: PutRequest): number {
  let flags = 0;
  if (request.lease !== undefined && request.lease !== 0n) flags |= PUT_LEASE;
  if (request.prevKv === true) flags |= PUT_PREV;
  if (request.ignoreValue === true) flags |= PUT_IGNORE_VALUE;
  if (request.ignoreLease === true) flags |= PUT_IGNORE_LEASE;
  return flags;
}

function putRequest(flags: number, key: Uint8Array, lease: LeaseId, value: Uint8Array): PutRequest {
  return {
    key,
    value,
    lease,
    prevKv: (flags & PUT_PREV) !== 0,
    ignoreValue: (flags & PUT_IGNORE_VALUE) !== 0,
    ignoreLease: (flags & PUT_IGNORE_LEASE) !== 0,
  };
}

function writeTxn(writer: ByteWriter, request: TxnRequest): void {
  const { compare = NOTHING, success = NOTHING, failure = NOTHING } = request;
  writer.varint(compare.length);
  for (const each of compare) writeCompare(writer, each);
  for (const branch of [success, failure]) {
    writer.varint(branch.length);
    for (const op of branch) writeOp(writer, op);
  }
}

function readTxn(reader: ByteReader, depth: number): TxnRequest {
  assert(depth <= TXN_DEPTH_MAX, `a transaction nested more than ${TXN_DEPTH_MAX} deep`);
  const compare: Compare[] = [];
  for (let n = reader.varint(); n > 0; n--) compare.push(readCompare(reader));
  const success: Op[] = [];
  for (let n = reader.varint(); n > 0; n--) success.push(readOp(reader, depth));
  const failure: Op[] = [];
  for (let n = reader.varint(); n > 0; n--) failure.push(readOp(reader, depth));
  return { compare, success, failure };
}

function writeOp(writer: ByteWriter, op: Op): void {
  switch (op.kind) {
    case 'range':
      writer.byte(OP_RANGE);
      return writeRange(writer, op.request);
    case 'put': {
      const flags = putFlags(op.request);
      writer.byte(OP_PUT);
      writer.byte(flags);
      writer.bytes(op.request.key);
      if ((flags & PUT_LEASE) !== 0) writer.i64(op.request.lease ?? 0n);
      return writer.bytes(op.request.value);
    }
    case 'delete':
      writer.byte(OP_DELETE);
      return writeDelete(writer, op.request);
    case 'txn':
      writer.byte(OP_TXN);
      return writeTxn(writer, op.request);
    default:
      return unreachable(op);
  }
}

function readOp(reader: ByteReader, depth: number): Op {
  const kind = reader.byte();
  switch (kind) {
    case OP_RANGE:
      return { kind: 'range', request: readRange(reader) };
    case OP_PUT: {
      const flags = reader.byte();
      const key = reader.bytes();
      const lease = (flags & PUT_LEASE) === 0 ? 0n : reader.i64();
      return { kind: 'put', request: putRequest(flags, key, lease, reader.bytes()) };
    }
    case OP_DELETE:
      return { kind: 'delete', request: readDelete(reader) };
    case OP_TXN:
      return { kind: 'txn', request: readTxn(reader, depth + 1) };
    default:
      assert(false, `${kind} is no kind of op`);
  }
}

function writeDelete(writer: ByteWriter, request: DeleteRequest): void {
  const end = request.rangeEnd;
  writer.byte((end !== undefined && end.length > 0 ? DELETE_END : 0) | (request.prevKv === true ? DELETE_PREV : 0));
  writer.bytes(request.key);
  if (end !== undefined && end.length > 0) writer.bytes(end);
}

function readDelete(reader: ByteReader): DeleteRequest {
  const flags = reader.byte();
  const key = reader.bytes();
  const prevKv = (flags & DELETE_PREV) !== 0;
  return (flags & DELETE_END) === 0 ? { key, prevKv } : { key, prevKv, rangeEnd: reader.bytes() };
}

function writeRange(writer: ByteWriter, request: RangeRequest): void {
  const bounds = [
    request.minModRevision ?? 0, request.maxModRevision ?? 0, request.minCreateRevision ?? 0, request.maxCreateRevision ?? 0,
  ];
  const bounded = bounds.some((bound) => bound !== 0);
  const sorted = (request.sortOrder ?? 'none') !== 'none' || (request.sortTarget ?? 'key') !== 'key';
  let flags = 0;
  if (request.serializable === true) flags |= RANGE_SERIALIZABLE;
  if (request.keysOnly === true) flags |= RANGE_KEYS_ONLY;
  if (request.countOnly === true) flags |= RANGE_COUNT_ONLY;
  if (bounded) flags |= RANGE_BOUNDS;
  if (sorted) flags |= RANGE_SORT;
  writer.byte(flags);
  writer.bytes(request.key);
  writer.bytes(request.rangeEnd ?? new Uint8Array(0));
  writer.integer(request.limit ?? 0);
  writer.integer(request.revision ?? 0);
  if (bounded) for (const bound of bounds) writer.integer(bound);
  if (!sorted) return;
  writer.byte(codeOf(ORDERS, request.sortOrder ?? 'none'));
  writer.byte(codeOf(SORT_TARGETS, request.sortTarget ?? 'key'));
}

function readRange(reader: ByteReader): RangeRequest {
  const flags = reader.byte();
  const request: RangeRequest = {
    key: reader.bytes(),
    rangeEnd: reader.bytes(),
    limit: reader.integer(),
    revision: reader.integer(),
    serializable: (flags & RANGE_SERIALIZABLE) !== 0,
    keysOnly: (flags & RANGE_KEYS_ONLY) !== 0,
    countOnly: (flags & RANGE_COUNT_ONLY) !== 0,
  };
  const bounded =
    (flags & RANGE_BOUNDS) === 0
      ? request
      : {
          ...request,
          minModRevision: reader.integer(),
          maxModRevision: reader.integer(),
          minCreateRevision: reader.integer(),
          maxCreateRevision: reader.integer(),
        };
  if ((flags & RANGE_SORT) === 0) return bounded;
  return {
    ...bounded,
    sortOrder: present(ORDERS[reader.byte()], 'the sort order'),
    sortTarget: present(SORT_TARGETS[reader.byte()], 'the sort target'),
  };
}

function writeCompare(writer: ByteWriter, compare: Compare): void {
  writer.byte(codeOf(TARGETS, compare.target) * 16 + codeOf(RESULTS, compare.result));
  writer.bytes(compare.key);
  writer.bytes(compare.rangeEnd ?? new Uint8Array(0));
  if (compare.target === 'value') writer.bytes(compare.operand);
  else if (compare.target === 'lease') writer.i64(compare.operand);
  else writer.integer(compare.operand);
}

function readCompare(reader: ByteReader): Compare {
  const code = reader.byte();
  const target = present(TARGETS[code >> 4], 'the target of a compare');
  const result = present(RESULTS[code & 15], 'the result of a compare');
  const key = reader.bytes();
  const rangeEnd = reader.bytes();
  if (target === 'value') return { key, rangeEnd, result, target, operand: reader.bytes() };
  if (target === 'lease') return { key, rangeEnd, result, target, operand: reader.i64() };
  return { key, rangeEnd, result, target, operand: reader.integer() };
}

/** Null is written as 0, a list as its length plus one. */
function writeTexts(writer: ByteWriter, texts: readonly string[] | null): void {
  writer.varint(texts === null ? 0 : texts.length + 1);
  for (const each of texts ?? NOTHING) writer.bytes(utf8(each));
}

function readTexts(reader: ByteReader): readonly string[] | null {
  const count = reader.varint();
  if (count === 0) return null;
  const texts: string[] = [];
  for (let n = count - 1; n > 0; n--) texts.push(text(reader.bytes()));
  return texts;
}

function codeOf<T>(names: readonly T[], name: T): number {
  const code = names.indexOf(name);
  assert(code >= 0, `${String(name)} has no code`);
  return code;
}

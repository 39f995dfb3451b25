// Who may do what (contract 8.3), asked twice of every wish that goes through the log: by the member that takes it in, so
// that what is refused costs no entry, and by every replica as it applies it, because permissions may have changed between.
// Each function answers with why not; null: it may be.
//
// What is refused is refused as a whole: a transaction whose branch not taken, or whose innermost nested one, touches what
// it must not, does nothing at all.

import { unreachable } from '../base/assert.js';
import { EMPTY } from '../base/bytes.js';
import type { Caller, LeaseId, Op, PutRequest, TxnRequest } from '../client.js';
import type { ErrorCode } from '../errors.js';
import type { AuthTable, Reach } from './auth.js';
import type { Command } from './command.js';
import { intervalOf, type KeySet } from './key-set.js';

/** A caller as far as the store is concerned. */
export type Asker = Pick<Caller, 'user' | 'authRevision'>;

/** The keys on a lease, in no order; none of a lease there is not. */
export type LeaseKeys = (lease: LeaseId) => Iterable<Uint8Array>;

export interface KeyRange {
  readonly key: Uint8Array;
  readonly rangeEnd?: Uint8Array;
}

/** Anybody whom the cluster knows. */
export function refuseStranger(auth: AuthTable, { user }: Asker): ErrorCode | null {
  if (!auth.isEnabled) return null;
  if (user === null) return 'user_empty';
  return auth.user(user) === null ? 'permission_denied' : null;
}

/** Whoever holds the role root; as in etcd, whatever the revision of the token. */
export function refuseCommoner(auth: AuthTable, { user }: Asker): ErrorCode | null {
  if (!auth.isEnabled) return null;
  if (user === null) return 'user_empty';
  return auth.reach(user)?.isRoot === true ? null : 'permission_denied';
}

export function refuseRead(auth: AuthTable, asker: Asker, range: KeyRange): ErrorCode | null {
  return refuseUnless(auth, asker, ({ read }) => holds(read, range));
}

/**
 * As `refuseRead`, but for one who is there already: that permissions have changed since it asked is the reason to look, and no
 * reason to turn it away. The range is the one that was asked for, so that an open end is never taken for a single key.
 */
export function refuseWatch(auth: AuthTable, { user }: Asker, range: KeyRange): ErrorCode | null {
  return refuseRead(auth, { user, authRevision: auth.revision }, range);
}

/** `keys` is asked for only where it matters. */
export function refuseReadOfAll(auth: AuthTable, asker: Asker, keys: () => Iterable<Uint8Array>): ErrorCode | null {
  return refuseUnless(auth, asker, ({ read }) => holdsAll(read, keys()));
}

export function refuseWriteOfAll(auth: AuthTable, asker: Asker, keys: () => Iterable<Uint8Array>): ErrorCode | null {
  return refuseUnless(auth, asker, ({ write }) => holdsAll(write, keys()));
}

export function refuseTxn(auth: AuthTable, asker: Asker, request: TxnRequest, leaseKeys: LeaseKeys): ErrorCode | null {
  return refuseUnless(auth, asker, (reach) => mayRun(reach, request, lookedAtOnce(reach, leaseKeys)));
}

/** A user may ask what roles it has itself, and an administrator of anybody. */
export function refuseUserQuestion(auth: AuthTable, asker: Asker, name: string): ErrorCode | null {
  return asker.user === name && name !== '' ? refuseStranger(auth, asker) : refuseCommoner(auth, asker);
}

/** Whoever holds a role may see what is in it. */
export function refuseRoleQuestion(auth: AuthTable, asker: Asker, name: string): ErrorCode | null {
  const isHolder = asker.user !== null && auth.user(asker.user)?.roles.includes(name) === true;
  return isHolder ? refuseStranger(auth, asker) : refuseCommoner(auth, asker);
}

/** What each kind of command asks of its author. There is no kind without an answer: it would not compile. */
export function refuseCommand(auth: AuthTable, asker: Asker, command: Command, leaseKeys: LeaseKeys): ErrorCode | null {
  switch (command.kind) {
    case 'txn':
      return refuseTxn(auth, asker, command.request, leaseKeys);
    case 'lease_grant':
      return refuseStranger(auth, asker);
    case 'lease_revoke':
      return refuseWriteOfAll(auth, asker, () => leaseKeys(command.id));
    case 'compact':
    case 'alarm':
    case 'auth_change':
    case 'member_update':
      return refuseCommoner(auth, asker);
    case 'lease_checkpoint':
    case 'authenticate':
    case 'rehash':
    case 'as_user':
      // Members make these of their own accord; nobody asks for one.
      return 'permission_denied';
    default:
      return unreachable(command);
  }
}

/** In etcd's order: who is it, is what it knows still so, is there such a user, may it. */
function refuseUnless(auth: AuthTable, { user, authRevision }: Asker, may: (reach: Reach) => boolean): ErrorCode | null {
  if (!auth.isEnabled) return null;
  if (user === null) return 'user_empty';
  if (authRevision < auth.revision) return 'auth_revision_old';
  const reach = auth.reach(user);
  return reach !== null && (reach.isRoot || may(reach)) ? null : 'permission_denied';
}

function holds(set: KeySet, { key, rangeEnd = EMPTY }: KeyRange): boolean {
  return set.covers(intervalOf(key, rangeEnd));
}

function holdsAll(set: KeySet, keys: Iterable<Uint8Array>): boolean {
  for (const key of keys) if (!holds(set, { key })) return false;
  return true;
}

/** Whether a lease is the caller's to put on. */
type MayUse = (lease: LeaseId) => boolean;

/** All puts of a transaction together look at the keys of a lease once: there may be very many of both. */
function lookedAtOnce({ write }: Reach, leaseKeys: LeaseKeys): MayUse {
  const known = new Map<LeaseId, boolean>();
  return (lease) => {
    const isHeld = known.get(lease) ?? holdsAll(write, leaseKeys(lease));
    known.set(lease, isHeld);
    return isHeld;
  };
}

function mayRun(reach: Reach, { compare = [], success = [], failure = [] }: TxnRequest, mayUse: MayUse): boolean {
  return compare.every((each) => holds(reach.read, each))
    && success.every((op) => mayDo(reach, op, mayUse))
    && failure.every((op) => mayDo(reach, op, mayUse));
}

function mayDo(reach: Reach, op: Op, mayUse: MayUse): boolean {
  switch (op.kind) {
    case 'range':
      return holds(reach.read, op.request);
    case 'put':
      return mayPut(reach, op.request, mayUse);
    case 'delete':
      return holds(reach.write, op.request) && (op.request.prevKv !== true || holds(reach.read, op.request));
    case 'txn':
      return mayRun(reach, op.request, mayUse);
    default:
      return unreachable(op);
  }
}

/** Who puts a key on a lease may end it, and with it every key that hangs there already. */
function mayPut(reach: Reach, { key, prevKv, lease = 0n }: PutRequest, mayUse: MayUse): boolean {
  if (!holds(reach.write, { key })) return false;
  if (prevKv === true && !holds(reach.read, { key })) return false;
  return lease === 0n || mayUse(lease);
}

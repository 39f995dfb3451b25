// The store as etcd's database file: what `etcdctl snapshot save` is sent, so that etcd's tools read it and a real etcd starts
// on it, with the same keys, history and revisions. That is how one leaves for etcd, and it is a snapshot of ours as well
// (etcd-load.ts reads it back). What etcd has no place for is not in it: tokens of users who are logged in.
//
// As in our own snapshots only what can be seen is written. Within a revision records are numbered in their order.

import { EMPTY, utf8 } from '../base/bytes.js';
import { Alarms } from './alarms.js';
import { AuthTable } from './auth.js';
import { PERMISSION_KINDS } from './auth-records.js';
import { ByteReader } from './binary.js';
import { boltFile, type Item, type Items } from './bolt-pages.js';
import {
  eight, markTombstone, message, numberBytes, piecesBytes, REVISION_BYTES, revisionKey, writeNumber, writePiece, writeRevision,
} from './etcd-records.js';
import { SNAPSHOT_STEPS } from './limits.js';
import { MemberTable } from './members.js';
import type { Frozen } from './snapshot.js';

/** The least release of etcd that finds all it needs. */
const CLUSTER_VERSION = '3.4.0';

type Pair = readonly [key: Uint8Array, value: Uint8Array];

/** An empty piece carries nothing: it gives the driver's other work a turn. */
export function* etcdFileOf(frozen: Frozen): Iterable<Uint8Array> {
  const auth = frozen.auth.length === 0 ? new AuthTable() : AuthTable.read(new ByteReader(frozen.auth));
  const members = MemberTable.read(new ByteReader(frozen.members));
  const buckets = [
    { name: 'alarm', items: pairs(alarmPairs(Alarms.read(new ByteReader(frozen.alarms)))) },
    { name: 'auth', items: pairs(authPairs(auth)) },
    { name: 'authRoles', items: pairs(rolePairs(auth)) },
    { name: 'authUsers', items: pairs(userPairs(auth)) },
    { name: 'cluster', items: pairs([[utf8('clusterVersion'), utf8(CLUSTER_VERSION)]]) },
    { name: 'key', items: () => rowItems(frozen) },
    { name: 'lease', items: leaseItems(frozen) },
    { name: 'members', items: pairs(memberPairs(members)) },
    { name: 'members_removed', items: pairs(removedPairs(members)) },
    { name: 'meta', items: pairs(metaPairs(frozen)) },
  ];
  for (const piece of boltFile(buckets)) yield piece ?? EMPTY;
}

function pairs(list: readonly Pair[]): Items {
  const sorted = [...list].sort(([a], [b]) => Buffer.compare(a, b));
  return () => sorted.map(([key, value]) => ({ key, valueBytes: value.length, write: (target, at) => target.set(value, at) }));
}

function* rowItems(frozen: Frozen): Iterable<Item | null> {
  const { table, compacted, rowsEnd } = frozen;
  const { rows, keys } = table;
  const name = Buffer.alloc(REVISION_BYTES + 1);
  const short = name.subarray(0, REVISION_BYTES);
  let [last, sub, steps] = [0, 0, 0];
  let row = 0;
  const numbers = (): readonly [number, number, number] => [rows.create(row), rows.main(row), rows.version(row)];
  const write = (target: Buffer, from: number): void => {
    let at = writePiece(target, from, 1, keys.bytes(rows.slot(row)));
    if (rows.version(row) === 0) return;
    numbers().forEach((n, i) => {
      at = writeNumber(target, at, 2 + i, n);
    });
    at = writePiece(target, at, 5, table.value(row));
    writeNumber(target, at, 6, rows.lease(row));
  };
  for (row = rows.first(0); row < rowsEnd; row = rows.after(row)) {
    if (++steps % SNAPSHOT_STEPS === 0) yield null;
    if (table.isSuperseded(row, compacted)) continue;
    const main = rows.main(row);
    sub = main === last ? sub + 1 : 0;
    last = main;
    writeRevision(name, main, sub);
    const isTombstone = rows.version(row) === 0;
    if (isTombstone) markTombstone(name);
    let valueBytes = piecesBytes(keys.length(rows.slot(row)));
    if (!isTombstone) {
      for (const n of numbers()) valueBytes += numberBytes(n);
      valueBytes += piecesBytes(rows.valueLength(row)) + numberBytes(rows.lease(row));
    }
    yield { key: isTombstone ? name : short, valueBytes, write };
  }
}

function leaseItems({ leases }: Frozen): Items {
  const unsigned = (id: bigint): bigint => BigInt.asUintN(64, id);
  const sorted = [...leases].sort((a, b) => (unsigned(a.id) < unsigned(b.id) ? -1 : 1));
  return function* items() {
    for (const [i, { id, ttlSeconds, remainingSeconds }] of sorted.entries()) {
      if (i % SNAPSHOT_STEPS === SNAPSHOT_STEPS - 1) yield null;
      const value = message([[1, id], [2, ttlSeconds], [3, remainingSeconds < ttlSeconds ? remainingSeconds : 0]]);
      yield { key: eight(id), valueBytes: value.length, write: (target, at) => target.set(value, at) };
    }
  };
}

/** `consistent_index` is the last entry that is in; -1: never compacted. */
function metaPairs({ applied, compacted }: Frozen): Pair[] {
  const told: Pair[] = [[utf8('consistent_index'), eight(applied.index)], [utf8('term'), eight(applied.term)]];
  if (compacted < 0) return told;
  return [...told, [utf8('finishedCompactRev'), revisionKey(compacted)], [utf8('scheduledCompactRev'), revisionKey(compacted)]];
}

function alarmPairs(alarms: Alarms): Pair[] {
  return alarms.list(0n, null).map(({ memberId, kind }) => [message([[1, memberId], [2, kind === 'no_space' ? 1 : 2]]), EMPTY]);
}

function authPairs(auth: AuthTable): Pair[] {
  const told: Pair[] = [[utf8('authRevision'), eight(auth.revision)]];
  return auth.isEnabled ? [[utf8('authEnabled'), Uint8Array.of(1)], ...told] : told;
}

function userPairs(auth: AuthTable): Pair[] {
  return auth.userNames.map((name) => {
    const { hash = '', noPassword = false, roles = [] } = auth.user(name) ?? {};
    const granted = roles.map((role) => [3, utf8(role)] as const);
    const options = noPassword ? [[4, message([[1, 1]])] as const] : [];
    return [utf8(name), message([[1, utf8(name)], [2, utf8(hash)], ...granted, ...options])];
  });
}

function rolePairs(auth: AuthTable): Pair[] {
  return auth.roleNames.map((name) => {
    const permissions = (auth.role(name)?.permissions ?? []).map(({ kind, key, rangeEnd }) => {
      return [2, message([[1, PERMISSION_KINDS.indexOf(kind)], [2, key], [3, rangeEnd]])] as const;
    });
    return [utf8(name), message([[1, utf8(name)], ...permissions])];
  });
}

/** In etcd's JSON; ids are numbers beyond what JSON readers usually keep. */
function memberPairs(members: MemberTable): Pair[] {
  return members.records.map(({ id, name, peerUrls, clientUrls, isLearner }) => {
    const rest = {
      peerURLs: peerUrls,
      ...(isLearner ? { isLearner } : {}),
      ...(name === '' ? {} : { name }),
      ...(clientUrls.length === 0 ? {} : { clientURLs: clientUrls }),
    };
    return [utf8(id.toString(16)), utf8(`{"id":${id},${JSON.stringify(rest).slice(1)}`)];
  });
}

function removedPairs(members: MemberTable): Pair[] {
  return [...members.removed].map((id) => [utf8(id.toString(16)), utf8('removed')]);
}

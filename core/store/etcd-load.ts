// A store from etcd's database file: of a snapshot that `etcdctl snapshot save` wrote, from etcd or from here (etcd-file.ts).
// Keys with all their history, leases, users and roles, alarms. Members are not taken over: who restores says who they are.

import { assert } from '../base/assert.js';
import { EMPTY, text } from '../base/bytes.js';
import type { Revision } from '../client.js';
import { Alarms } from './alarms.js';
import { AuthTable } from './auth.js';
import { PERMISSION_KINDS, type RoleRecord, type UserRecord } from './auth-records.js';
import { BoltReader, type PageSource } from './bolt-reader.js';
import { countIn, countOf, fieldsOf, numberIn, pieceIn, piecesIn, readRevision, type Fields } from './etcd-records.js';
import { MemberTable } from './members.js';
import { NONE } from './rows.js';
import type { Loaded } from './snapshot.js';
import { Table } from './table.js';

const NEVER_COMPACTED = -1;

/** Throws when something in the file is not what it should be. */
export function loadEtcdFile(source: PageSource): Loaded {
  const reader = new BoltReader(source);
  const meta = new Map<string, Buffer>();
  for (const { key, value } of reader.bucket('meta')) meta.set(text(key), value);
  const index = meta.get('consistent_index');
  const term = meta.get('term');
  // A compaction that was begun is decided on.
  const compactions = ['finishedCompactRev', 'scheduledCompactRev'].map((name) => meta.get(name));
  const compacted = Math.max(NEVER_COMPACTED, ...compactions.map((key) => (key === undefined ? -1 : readRevision(key).main)));
  const applied = { term: term === undefined ? 1 : countOf(term), index: index === undefined ? 1 : Math.max(1, countOf(index)) };
  const table = new Table();
  readLeases(reader, table, applied.index);
  const last = readRows(reader, table);
  return {
    table,
    members: new MemberTable(),
    alarms: readAlarms(reader),
    auth: readAuth(reader),
    applied,
    revision: Math.max(1, last, compacted),
    compacted,
  };
}

function readLeases(reader: BoltReader, table: Table, granted: number): void {
  for (const { value } of reader.bucket('lease')) {
    const fields = fieldsOf(value);
    const id = BigInt.asIntN(64, numberIn(fields, 1));
    const ttlSeconds = countIn(fields, 2);
    const remaining = countIn(fields, 3);
    table.leases.grant(id, ttlSeconds, granted, remaining > 0 ? Math.min(remaining, ttlSeconds) : ttlSeconds);
  }
}

/** The last revision there is; 0: none. */
function readRows(reader: BoltReader, table: Table): Revision {
  const { rows, keys, leases } = table;
  let last = 0;
  for (const { key, value } of reader.bucket('key')) {
    const { main, isTombstone } = readRevision(key);
    assert(main >= last, `revision ${main} stands behind ${last}`);
    last = main;
    const fields = fieldsOf(value);
    const name = pieceIn(fields, 1);
    assert(name.length > 0, `revision ${main} has no key`);
    const found = keys.find(name);
    const slot = found === NONE ? keys.add(name) : found;
    if (isTombstone) readTombstone(table, slot, main);
    else readPut(table, slot, main, fields);
  }
  for (let slot = 0; slot < keys.slotsEnd; slot++) {
    const row = keys.newest(slot);
    if (!rows.hasLease(row)) continue;
    // etcd, too, keeps such a key without its lease.
    if (leases.get(rows.lease(row)) === null) rows.fill(row, rows.create(row), rows.version(row), 0n);
    else leases.attach(rows.lease(row), slot);
  }
  return last;
}

function readPut(table: Table, slot: number, main: Revision, fields: Fields): void {
  const { rows, keys } = table;
  const [create, version] = [countIn(fields, 2), countIn(fields, 4)];
  assert(version > 0 && create > 0 && create <= main, `revision ${main} has a version that cannot be`);
  const old = keys.newest(slot);
  const row = table.append(slot, main, pieceIn(fields, 5));
  rows.fill(row, create, version, BigInt.asIntN(64, numberIn(fields, 6)));
  if (old !== NONE && rows.version(old) === 0) keys.changeLive(slot, 1);
}

function readTombstone(table: Table, slot: number, main: Revision): void {
  const { rows, keys } = table;
  const old = keys.newest(slot);
  rows.fill(table.append(slot, main, EMPTY), 0, 0, 0n);
  // What was added counts as live until it is said that it is not.
  if (old === NONE || rows.version(old) > 0) keys.changeLive(slot, -1);
}

function readAlarms(reader: BoltReader): Alarms {
  const alarms = new Alarms();
  for (const { key } of reader.bucket('alarm')) {
    const fields = fieldsOf(key);
    const kind = countIn(fields, 2);
    if (kind === 1 || kind === 2) alarms.raise({ memberId: numberIn(fields, 1), kind: kind === 1 ? 'no_space' : 'corrupt' });
  }
  return alarms;
}

function readAuth(reader: BoltReader): AuthTable {
  let [isEnabled, revision] = [false, 1];
  for (const { key, value } of reader.bucket('auth')) {
    if (text(key) === 'authEnabled') isEnabled = value[0] === 1;
    if (text(key) === 'authRevision') revision = Math.max(1, countOf(value));
  }
  const users = Array.from(reader.bucket('authUsers'), ({ value }): UserRecord => {
    const fields = fieldsOf(value);
    const noPassword = countIn(fieldsOf(pieceIn(fields, 4)), 1) === 1;
    return { name: text(pieceIn(fields, 1)), hash: text(pieceIn(fields, 2)), noPassword, roles: piecesIn(fields, 3).map(text) };
  });
  const roles = Array.from(reader.bucket('authRoles'), ({ value }): RoleRecord => {
    const fields = fieldsOf(value);
    const permissions = piecesIn(fields, 2).map((bytes) => {
      const permission = fieldsOf(bytes);
      const kind = PERMISSION_KINDS[countIn(permission, 1)] ?? 'read';
      // A record is a view into its page, which need not stay in memory for it.
      return { kind, key: Uint8Array.from(pieceIn(permission, 2)), rangeEnd: Uint8Array.from(pieceIn(permission, 3)) };
    });
    return { name: text(pieceIn(fields, 1)), permissions };
  });
  return AuthTable.of({ isEnabled, revision, users, roles });
}

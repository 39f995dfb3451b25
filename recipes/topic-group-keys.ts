// What a group of consumers writes, and where.
//
// Keys under coterie/topics/<topic>/groups/<group>/:
//   state/cursor              { after }: up to here everything was handed out at least once
//   state/pending/<position>  { attempt, missedFrom }: handed out and not acknowledged; stays whoever is lost
//   state/claims/<position>   { by, name }: which consumer of which session has it; on the session's lease
//   turn/…                    a line (see line.ts): whoever stands first takes the next message, everybody else sleeps

import { text, utf8 } from '../core/base/bytes.js';
import type { KeyValue, LeaseId, Revision } from '../core/client.js';
import type { TopicNames } from './topic-names.js';
import { checkName, isPosition, positionText, readJson, readPosition } from './topic-names.js';

export interface GroupKeys {
  readonly state: string;
  readonly cursor: Uint8Array;
  readonly pending: string;
  readonly claims: string;
  readonly root: string;
}

export interface MessageKeys {
  readonly message: Uint8Array;
  readonly pending: Uint8Array;
  readonly claim: Uint8Array;
}

export function groupKeys({ groups }: TopicNames, name: string): GroupKeys {
  const root = `${groups}${checkName('group', name)}/`;
  const state = `${root}state/`;
  return { root, state, cursor: utf8(`${state}cursor`), pending: `${state}pending/`, claims: `${state}claims/` };
}

export function messageKeys({ log }: TopicNames, { pending, claims }: GroupKeys, position: number): MessageKeys {
  const digits = positionText(position);
  return { message: utf8(`${log}${digits}`), pending: utf8(`${pending}${digits}`), claim: utf8(`${claims}${digits}`) };
}

export interface Cursor {
  /** Null: the topic did not exist yet. */
  readonly after: number | null;
  readonly mod: Revision;
}

export interface Pending {
  readonly position: number;
  readonly attempt: number;
  /** The first position missing before this one; null: none. */
  readonly missedFrom: number | null;
  readonly mod: Revision;
}

export function writePending(attempt: number, missedFrom: number | null): string {
  return JSON.stringify(missedFrom === null ? { attempt } : { attempt, missedFrom });
}

/** Null: not a pending record's key. What others wrote there counts as handed out once. */
export function readPending(kv: KeyValue, prefix: string): Pending | null {
  if (!text(kv.key).startsWith(prefix)) return null;
  const position = readPosition(kv.key, prefix);
  if (position === null) return null;
  const found = readJson(kv.value);
  const [attempt, missedFrom] = [found?.['attempt'], found?.['missedFrom']];
  return {
    position,
    attempt: isPosition(attempt) ? attempt : 1,
    missedFrom: isPosition(missedFrom) ? missedFrom : null,
    mod: kv.modRevision,
  };
}

export function writeClaim(by: string, name: string): string {
  return JSON.stringify({ by, name });
}

/** Two consumers may share a session, so the lease alone does not say whose it is. */
export function isClaimOf(kv: KeyValue, { by, lease }: { by: string; lease: LeaseId }): boolean {
  return kv.lease === lease && readJson(kv.value)?.['by'] === by;
}

export function readCursor(kv: KeyValue): Cursor {
  const after = readJson(kv.value)?.['after'];
  return { after: isPosition(after) ? after : null, mod: kv.modRevision };
}

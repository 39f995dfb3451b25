// What the store really did to the keys of recipes, revision by revision, for the judges: replayed from what was committed, not
// from what anybody was told.

import { text } from '../../core/base/bytes.js';
import type { KeyValue, LeaseId, Revision } from '../../core/client.js';
import { Replay } from '../model/course.js';
import type { LogEntry } from '../model/history.js';

/** One existence of a key, from its creation to its deletion. */
export interface Stay {
  readonly key: string;
  /** The create revision. */
  readonly fence: Revision;
  readonly lease: LeaseId;
  readonly madeAt: number;
  /** Infinity: it is still there. */
  goneRevision: Revision;
  goneAt: number;
  /** By the end of its lease, because nobody had renewed that. */
  hasExpired: boolean;
}

export interface Change {
  readonly key: string;
  /** Null: deleted. */
  readonly kv: KeyValue | null;
  readonly before: KeyValue | null;
}

export interface Step {
  readonly revision: Revision;
  /** When it was known to be committed. */
  readonly at: number;
  readonly changes: readonly Change[];
}

export interface RecipeCourse {
  readonly steps: readonly Step[];
  /** By key and fence. */
  readonly stays: ReadonlyMap<string, Stay>;
  readonly expiries: readonly { readonly lease: LeaseId; readonly at: number }[];
}

export function stayName(key: string, fence: Revision): string {
  return `${fence} ${key}`;
}

export function courseOf(log: readonly LogEntry[]): RecipeCourse {
  const replay = new Replay();
  for (const entry of log) replay.take(entry);
  const { timeline, made, deeds } = replay;
  const steps: Step[] = [];
  const stays = new Map<string, Stay>();
  for (const [revision, deed] of made) {
    const changes: Change[] = [];
    for (const { kind, kv, prevKv = null } of timeline.events.get(revision) ?? []) {
      const key = text(kv.key);
      if (!/^(coterie|fenced|effects)\//.test(key)) continue;
      changes.push({ key, kv: kind === 'put' ? kv : null, before: prevKv });
    }
    if (changes.length === 0) continue;
    const at = deed.at ?? 0;
    steps.push({ revision, at, changes });
    for (const change of changes) note(stays, change, { revision, at, isEnd: deed.request === null });
  }
  const expiries = deeds.filter(({ kind }) => kind === 'expired').map(({ lease, at }) => ({ lease, at: at ?? 0 }));
  return { steps, stays, expiries };
}

interface When {
  readonly revision: Revision;
  readonly at: number;
  readonly isEnd: boolean;
}

function note(stays: Map<string, Stay>, { key, kv, before }: Change, when: When): void {
  if (kv !== null) {
    if (before !== null) return;
    const { createRevision: fence, lease } = kv;
    stays.set(stayName(key, fence), {
      key, fence, lease, madeAt: when.at, goneRevision: Infinity, goneAt: Infinity, hasExpired: false,
    });
    return;
  }
  const stay = stays.get(stayName(key, before?.createRevision ?? 0));
  if (stay === undefined) return;
  stay.goneRevision = when.revision;
  stay.goneAt = when.at;
  stay.hasExpired = when.isEnd;
}

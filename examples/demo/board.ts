// What is known of the run at any moment, and nothing else: the services, the traffic, what happened and why. The story and
// the balancers write it; the screen and the summary read it.

export type ServiceState = 'starting' | 'up' | 'draining' | 'gone' | 'killed';
export type Who = 'demo' | 'store' | 'service' | 'registry' | 'sidecar' | 'proxy' | 'traffic';

export interface Note {
  readonly atMs: number;
  readonly who: Who;
  readonly text: string;
}

export interface ServiceRow {
  readonly id: string;
  pid: number;
  port: number;
  state: ServiceState;
  /** Answers given, as the clients see it. */
  requests: number;
  /** Answers per slot of time, the newest last. */
  readonly slots: number[];
}

/** One outcome of one request, as its client saw it. */
export interface Outcome {
  readonly startedAt: number;
  readonly endedAt: number;
  /** Who answered, by the answer's own word; null for failures. */
  readonly servedBy: string | null;
  /** Null: answered as it should be. */
  readonly failure: string | null;
}

export const SLOT_MS = 500;
const SLOTS_MAX = 240;
const NOTES_MAX = 500;
const FAILURES_MAX = 10_000;

export class Board {
  readonly startedAt = Date.now();
  readonly services = new Map<string, ServiceRow>();
  readonly notes: Note[] = [];
  readonly slots: { ok: number; failed: number }[] = [{ ok: 0, failed: 0 }];
  readonly failures: Outcome[] = [];
  readonly failuresByKind = new Map<string, number>();
  requests = 0;
  /** Never sent, because the machine was too busy (traffic.ts). */
  heldBack = 0;
  /** From the kill until the process was known to be dead: what was in flight then may be lost. */
  crash: { readonly killedAt: number; readonly deadAt: number } | null = null;
  timeToLiveMs: number | null = null;
  timeToQuietMs: number | null = null;
  act = 'starting';
  /** What changed in the registry at which revision: why a balancer is given a new configuration. */
  readonly reasons = new Map<number, string[]>();
  store = { state: 'starting', url: '', detail: '' };
  balancer = { name: '', state: 'starting', url: '', detail: '' };
  readonly #onNote: (note: Note) => void;

  constructor(onNote: (note: Note) => void) {
    this.#onNote = onNote;
  }

  get elapsedMs(): number {
    return Date.now() - this.startedAt;
  }

  note(who: Who, text: string): void {
    const note = { atMs: this.elapsedMs, who, text };
    this.notes.push(note);
    if (this.notes.length > NOTES_MAX) this.notes.shift();
    this.#onNote(note);
  }

  /** A change in the registry, which will be the reason for others. */
  change(revision: number, what: string): void {
    const known = this.reasons.get(revision);
    if (known === undefined) this.reasons.set(revision, [what]);
    else known.push(what);
    this.note('registry', `revision ${revision}: ${what}`);
  }

  /** Why revision `to` differs from revision `from`. */
  why(from: number, to: number): string {
    const between = [...this.reasons].filter(([revision]) => revision > from && revision <= to);
    return between.flatMap(([, what]) => what).join(', ');
  }

  service(id: string): ServiceRow {
    const known = this.services.get(id);
    if (known !== undefined) return known;
    const row: ServiceRow = { id, pid: 0, port: 0, state: 'starting', requests: 0, slots: [0] };
    this.services.set(id, row);
    return row;
  }

  count(outcome: Outcome): void {
    this.requests += 1;
    const slot = this.slots.at(-1);
    if (slot === undefined) return;
    if (outcome.failure === null) {
      slot.ok += 1;
      if (outcome.servedBy === null) return;
      const row = this.service(outcome.servedBy);
      row.requests += 1;
      row.slots[row.slots.length - 1] = (row.slots.at(-1) ?? 0) + 1;
      return;
    }
    slot.failed += 1;
    if (this.failures.length < FAILURES_MAX) this.failures.push(outcome);
    this.failuresByKind.set(outcome.failure, (this.failuresByKind.get(outcome.failure) ?? 0) + 1);
  }

  /** Begins the next slot of time. */
  turn(): void {
    this.slots.push({ ok: 0, failed: 0 });
    if (this.slots.length > SLOTS_MAX) this.slots.shift();
    for (const row of this.services.values()) {
      row.slots.push(0);
      if (row.slots.length > SLOTS_MAX) row.slots.shift();
    }
  }

  get failed(): number {
    return [...this.failuresByKind.values()].reduce((sum, count) => sum + count, 0);
  }

  /**
   * Failures of requests that were under way when the instance was killed: begun before it was known to be dead, and ended
   * after the kill. A client cannot know which instance a request without an answer was on, so this is counted by time.
   * Everything that began later has no such excuse and is not in here.
   */
  get failedDuringCrash(): number {
    const { crash } = this;
    if (crash === null) return 0;
    return this.failures.filter(({ startedAt, endedAt }) => startedAt <= crash.deadAt && endedAt >= crash.killedAt).length;
  }
}

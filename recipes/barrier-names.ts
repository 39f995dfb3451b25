// Where a barrier has its keys, what it writes there, and what it rejects with.
//
// Keys, under coterie/barriers/<name>/ or coterie/double-barriers/<name>/, for the generation g, as 16 digits:
//   tally/<g>                     { parties }; its version is the number of those who have ever arrived
//   in/<g>/<lease hex><mark>      one who has arrived, on its session's lease
//   left/<g>                      double: its version is the number of those who have asked to leave
//   outcome/<g>                   the decision: absent while there is none, then for ever the same for everybody
// Generations only grow, for ever: the first is numbered by the store's revision, each later one is the next. What belongs
// to the newest stays; what belongs to an older one goes with the last who was in it, or with a later opening.

import { compareBytes, prefixEnd, text, utf8 } from '../core/base/bytes.js';
import type { Compare, KeyValue, Op } from '../core/client.js';
import { created, opDelete, opTxn, prefixRange } from '../core/client.js';
import type { Range } from './deletion.js';
import { nameStep, readRecord } from './coordination-names.js';

const ROOTS = { single: 'coterie/barriers/', double: 'coterie/double-barriers/' } as const;
export const PARTIES_MAX = 1_000;

export type Phase = 'enter' | 'leave';

/**
 * Why a generation is broken, for everybody in it alike. `lost`: somebody's session was lost, or its entry deleted.
 * `timed_out`, `canceled`: somebody gave up. `reset`: by `resetBarrier`. `deleted`: somebody deleted the barrier's keys.
 */
export type BreakReason = 'lost' | 'timed_out' | 'canceled' | 'reset' | 'deleted';

/** `over`: the next generation may begin. */
export type Outcome =
  | { readonly kind: 'passed' | 'entered' }
  | { readonly kind: 'broken'; readonly phase: Phase; readonly reason: BreakReason; readonly over: boolean };

const EXPLANATION: Readonly<Record<BreakReason, string>> = Object.freeze({
  lost: 'somebody who had arrived was lost',
  timed_out: 'somebody who had arrived waited no longer',
  canceled: 'somebody who had arrived gave up',
  reset: 'it was reset',
  deleted: 'somebody deleted its keys',
});

/** Everybody who was in this generation ends with this, for the same reason. */
export class BarrierBroken extends Error {
  override readonly name = 'BarrierBroken';
  readonly code = 'barrier_broken';
  readonly generation: number;
  readonly reason: BreakReason;

  constructor(what: string, generation: number, broken: { readonly reason: BreakReason; readonly cause?: unknown }) {
    const { reason, cause } = broken;
    super(
      `${what} is broken in generation ${generation}: ${EXPLANATION[reason]}; reset it, and everybody can come again`,
      cause === undefined ? undefined : { cause },
    );
    this.generation = generation;
    this.reason = reason;
  }
}

/** `full`: as many as were configured are in already. `parties`: the others were told another number. Nothing was changed. */
export class BarrierRefused extends Error {
  override readonly name = 'BarrierRefused';
  readonly code = 'barrier_refused';
  readonly why: 'full' | 'parties';
  readonly parties: number;
  /** What the others were told. */
  readonly present: number;

  constructor(what: string, why: 'full' | 'parties', numbers: { readonly parties: number; readonly present: number }) {
    const { parties, present } = numbers;
    super(why === 'full'
      ? `${what} has its ${parties} parties already; more come than it is configured for`
      : `${what} is for ${present} parties here, not ${parties}; agree on one number, or take another name`);
    this.why = why;
    this.parties = parties;
    this.present = present;
  }
}

export class BarrierNames {
  /** For messages: 'barrier x'. */
  readonly what: string;
  readonly prefix: string;
  readonly outcomes: Range;
  readonly tallies: Range;

  constructor(kind: 'single' | 'double', name: string) {
    const what = kind === 'single' ? 'barrier' : 'double barrier';
    this.prefix = `${ROOTS[kind]}${nameStep(`${what}'s name`, name)}/`;
    this.what = `${what} ${name}`;
    this.outcomes = prefixRange(utf8(`${this.prefix}outcome/`));
    this.tallies = prefixRange(utf8(`${this.prefix}tally/`));
  }

  outcome(generation: number): Uint8Array {
    return utf8(`${this.prefix}outcome/${digits(generation)}`);
  }

  tally(generation: number): Uint8Array {
    return utf8(`${this.prefix}tally/${digits(generation)}`);
  }

  left(generation: number): Uint8Array {
    return utf8(`${this.prefix}left/${digits(generation)}`);
  }

  line(generation: number): string {
    return `${this.prefix}in/${digits(generation)}/`;
  }

  /** Everybody in this generation. */
  members(generation: number): Required<Range> {
    const range = prefixRange(utf8(this.line(generation)));
    return { key: range.key, rangeEnd: range.rangeEnd };
  }

  /** This generation and all after it. */
  from(generation: number): Required<Range> {
    return { key: this.tally(generation), rangeEnd: prefixEnd(utf8(`${this.prefix}tally/`)) };
  }

  /** Deletes what is left of a generation; `unless` somebody but `own` is in it. */
  forget(generation: number, own: Uint8Array | null, also: readonly Compare[] = []): Op {
    const { key, rangeEnd } = this.members(generation);
    const others = own === null ? [{ key, rangeEnd }] : [{ key, rangeEnd: own }, { key: after(own), rangeEnd }];
    const empty = others.filter((range) => compareBytes(range.key, range.rangeEnd) < 0);
    return opTxn({
      compare: [...also, ...empty.map((range) => ({ ...created(range.key, '=', 0), rangeEnd: range.rangeEnd }))],
      success: [opDelete(this.tally(generation)), opDelete(this.outcome(generation)), opDelete(this.left(generation))],
    });
  }
}

/** Of an outcome's or a tally's key; null: not one of ours. */
export function generationOf(key: Uint8Array): number | null {
  const [, number] = /\/(\d{16})$/.exec(text(key)) ?? [];
  return number === undefined ? null : Number(number);
}

export function writeTally(parties: number): Uint8Array {
  return utf8(JSON.stringify({ parties }));
}

/** 0: not legible, and so nobody's number. */
export function partiesIn(kv: KeyValue): number {
  const { parties } = readRecord(kv.value) ?? {};
  return typeof parties === 'number' ? parties : 0;
}

export function writeOutcome(outcome: Outcome): Uint8Array {
  if (outcome.kind !== 'broken') return utf8(JSON.stringify({ kind: outcome.kind }));
  const { kind, phase, reason, over } = outcome;
  return utf8(JSON.stringify({ kind, phase, reason, over }));
}

/** What is not legible was written by somebody else: then it is broken. */
export function readOutcome(value: Uint8Array): Outcome {
  const { kind, phase, reason, over } = readRecord(value) ?? {};
  if (kind === 'passed' || kind === 'entered') return { kind };
  const known = typeof reason === 'string' && isReason(reason) ? reason : 'deleted';
  return { kind: 'broken', phase: phase === 'leave' ? 'leave' : 'enter', reason: known, over: over === true };
}

function isReason(reason: string): reason is BreakReason {
  return Object.hasOwn(EXPLANATION, reason);
}

function digits(generation: number): string {
  return String(generation).padStart(16, '0');
}

function after(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

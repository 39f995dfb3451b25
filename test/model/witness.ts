// Judges a history by the witness that etcd's contract gives: every change has a revision, every answer names the revision it
// was made at. So there is one order that explains everything, or the history is wrong; checking it is near linear, where
// searching for an order is not. What really happened comes from the committed entries, from a watch that saw everything,
// or, when there is neither, from the answers themselves (course.ts).
//
//   1 each revision has one maker   2 time and revisions agree   3 every answer is what a replay gives   4 watches, leases

import type { RangeRequest, RangeResponse, Revision, TxnRequest, TxnResponse } from '../../core/client.js';
import { reconstruct, type Course } from './course.js';
import { checkLeases } from './lease-check.js';
import { difference } from './same.js';
import type { History, Operation, Violation } from './history.js';
import { bytesOf, isMutation, isTxn, named, revisionOf, type Tell, type TxnOperation } from './operations.js';
import { checkWatches } from './watch-check.js';

/** More say nothing new. */
const VIOLATIONS_MAX = 20;

export function checkHistory(history: History): readonly Violation[] {
  const found: Violation[] = [];
  const tell = (invariant: string, message: string): void => {
    if (found.length < VIOLATIONS_MAX) found.push({ invariant, message });
  };
  const course = reconstruct(history, tell);
  new Makers(history, course, tell).check();
  new Answers(history, course, tell).check();
  checkWatches(history, course, tell);
  checkLeases(history, course, tell);
  return found;
}

/** Each revision was made by one operation that was asked for, and each operation made at most one. */
class Makers {
  readonly #history: History;
  readonly #course: Course;
  readonly #tell: Tell;

  constructor(history: History, course: Course, tell: Tell) {
    this.#history = history;
    this.#course = course;
    this.#tell = tell;
  }

  check(): void {
    const { made } = this.#course;
    const claimed = new Map<Revision, Operation>();
    const loose = new Map<string, Operation[]>();
    for (const operation of this.#history.operations) {
      if (!isTxn(operation)) continue;
      if (isMutation(operation)) this.#claim(operation, claimed);
      else if (operation.outcome.kind === 'error') this.#keep(operation, loose);
    }
    for (const [revision, deed] of made) {
      if (deed.request === null || claimed.has(revision)) continue;
      if (deed.maker !== null) {
        deed.calledAt = deed.maker.calledAt;
        continue;
      }
      const same = loose.get(bytesOf(deed.request));
      const unknown = same?.findIndex(({ outcome }) => outcome.kind === 'error' && outcome.outcome === 'unknown') ?? -1;
      const [maker] = same?.splice(Math.max(0, unknown), 1) ?? [];
      if (maker === undefined) this.#unasked(revision, deed.request, claimed);
      else if (unknown < 0) {
        this.#tell('aborted',
          `${named(maker)} failed with an error that says it never happened, yet it made revision ${revision}`);
      } else if (deed.at !== null && deed.at < maker.calledAt) {
        this.#tell('I19', `revision ${revision} was committed at ${deed.at.toFixed(1)} ms, before ${named(maker)} asked for it`);
      } else deed.calledAt = maker.calledAt;
    }
  }

  #claim(operation: TxnOperation, claimed: Map<Revision, Operation>): void {
    const revision = revisionOf(operation) ?? 0;
    const other = claimed.get(revision);
    const deed = this.#course.made.get(revision);
    if (other !== undefined) {
      this.#tell('I19', `revision ${revision} was given twice: to ${named(other)} and to ${named(operation)}`);
    } else if (deed === undefined) {
      this.#tell('lost', `${named(operation)} was told that it made revision ${revision}, but nothing was changed there`);
    } else if (deed.request === null) {
      this.#tell('lost', `${named(operation)} was told that it made revision ${revision}, but the end of a lease did`);
    } else if (deed.maker !== operation && bytesOf(deed.request) !== bytesOf(operation.request.request)) {
      this.#tell('lost', `${named(operation)} was told that it made revision ${revision}, but another transaction did`);
    } else deed.calledAt = operation.calledAt;
    claimed.set(revision, operation);
  }

  #keep(operation: TxnOperation, loose: Map<string, Operation[]>): void {
    // Only who could have written is ever looked for.
    if (!writes(operation.request.request) || isRefusal(operation)) return;
    const name = bytesOf(operation.request.request);
    const same = loose.get(name);
    if (same === undefined) loose.set(name, [operation]);
    else same.push(operation);
  }

  #unasked(revision: Revision, request: TxnRequest, claimed: ReadonlyMap<Revision, Operation>): void {
    const name = bytesOf(request);
    for (const [other, operation] of claimed) {
      if (other === revision || !isTxn(operation) || bytesOf(operation.request.request) !== name) continue;
      return this.#tell('I19', `${named(operation)} was executed twice: it made revision ${other} and revision ${revision}`);
    }
    this.#tell('I19', `revision ${revision} is a phantom: nobody asked for what made it`);
  }
}

function writes(request: TxnRequest): boolean {
  return [...(request.success ?? []), ...(request.failure ?? [])].some((op) =>
    op.kind === 'txn' ? writes(op.request) : op.kind !== 'range');
}

/** Refused before it was looked at; its bytes may have no form. */
function isRefusal({ outcome }: Operation): boolean {
  return outcome.kind === 'error' && ['invalid_request', 'too_many_ops', 'request_too_large', 'key_empty'].includes(outcome.code);
}

/** Time and content of every answer. */
class Answers {
  readonly #history: History;
  readonly #course: Course;
  readonly #tell: Tell;
  readonly #shownAt: number[] = [];
  readonly #shown: Revision[] = [];
  /** By revision: when the last of the operations that made it and those before was called. */
  readonly #calledBy: number[] = [];

  constructor(history: History, course: Course, tell: Tell) {
    this.#history = history;
    this.#course = course;
    this.#tell = tell;
  }

  check(): void {
    this.#sweep();
    this.#forward();
    const newest = this.#course.timeline.revision;
    for (const operation of this.#history.operations) {
      const { outcome, request } = operation;
      if (outcome.kind === 'error') {
        if (request.kind === 'range') this.#refused(operation, request.request, outcome.code);
        continue;
      }
      const revision = revisionOf(operation) ?? 0;
      if (revision > newest) {
        this.#tell('I22', `${named(operation)} shows revision ${revision}, but the newest there ever was is ${newest}`);
        continue;
      }
      this.#inTime(operation, revision);
      const wrong = this.#wrong(operation, revision);
      if (wrong !== null) this.#tell('I22', `${named(operation)} at revision ${revision}: ${wrong}`);
    }
  }

  #sweep(): void {
    const shows: { at: number; revision: Revision }[] = [];
    for (const operation of this.#history.operations) {
      const revision = revisionOf(operation);
      if (revision !== null) shows.push({ at: operation.returnedAt, revision });
    }
    for (const { batches } of this.#history.watches) {
      for (const { at, batch } of batches) {
        const last = batch.events.at(-1)?.kv.modRevision;
        shows.push({ at, revision: last ?? batch.header.revision });
      }
    }
    shows.sort((a, b) => a.at - b.at);
    let low = 0;
    for (const { at, revision } of shows) {
      if (revision <= low) continue;
      low = revision;
      this.#shownAt.push(at);
      this.#shown.push(revision);
    }
    let latest = -Infinity;
    for (let revision = 0; revision <= this.#course.timeline.revision; revision++) {
      latest = Math.max(latest, this.#course.made.get(revision)?.calledAt ?? -Infinity);
      this.#calledBy.push(latest);
    }
  }

  /** One life of one member never shows a client less than it showed it before, not even where it may be behind. */
  #forward(): void {
    const shown = new Map<string, Operation>();
    for (const operation of this.#history.operations) {
      const { client, member, life } = operation;
      const revision = revisionOf(operation);
      if (life === undefined || revision === null) continue;
      const where = `${client} ${member} ${life}`;
      const before = shown.get(where);
      if (before === undefined || revision > (revisionOf(before) ?? 0)) shown.set(where, operation);
      else if (revision < (revisionOf(before) ?? 0) && before.returnedAt <= operation.calledAt) {
        const newer = `${named(before)} had shown ${revisionOf(before) ?? 0}`;
        this.#tell('I13', `${named(operation)} goes back: it shows revision ${revision}, and ${newer}`);
      }
    }
  }

  /** The newest revision that anybody had been shown before a moment. */
  #low(time: number): Revision {
    let from = 0;
    let to = this.#shownAt.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      if ((this.#shownAt[middle] ?? 0) < time) from = middle + 1;
      else to = middle;
    }
    return this.#shown[from - 1] ?? 0;
  }

  #inTime(operation: Operation, revision: Revision): void {
    const { calledAt, returnedAt } = operation;
    if ((this.#calledBy[revision] ?? 0) > returnedAt) {
      this.#tell('real time', `${named(operation)} shows revision ${revision}, which had not been asked for when it returned`);
    }
    if (!isLinearizable(operation)) return;
    const low = this.#low(calledAt);
    if (isMutation(operation) && revision <= low) {
      this.#tell('real time',
        `${named(operation)} made revision ${revision}, though revision ${low} had been shown before it was called`);
    } else if (revision < low) {
      this.#tell('I13',
        `${named(operation)} is stale: it shows revision ${revision}, though revision ${low} `
          + 'had been shown before it was called');
    }
  }

  #wrong(operation: Operation, revision: Revision): string | null {
    const { outcome, request } = operation;
    const { timeline, made } = this.#course;
    if (outcome.kind !== 'ok') return null;
    if (request.kind === 'range') {
      const { header: _, ...told } = outcome.response as RangeResponse;
      if ((request.request.revision ?? 0) > revision) return `it was answered for a revision that was still to come`;
      return difference(timeline.range(request.request, revision), told);
    }
    if (request.kind !== 'txn') return null;
    const { succeeded, responses } = outcome.response as TxnResponse;
    const deed = made.get(revision);
    const isMaker = isMutation(operation);
    const due = isMaker ? deed?.evaluated : timeline.look(request.request, revision);
    // Whoever claims what it did not make has been told of.
    if (due === undefined) return null;
    if (due === null) return 'it would have changed something, and was answered as if it had not';
    return difference({ succeeded: due.succeeded, responses: due.responses }, { succeeded, responses });
  }

  #refused(operation: Operation, request: RangeRequest, code: string): void {
    const { revision = 0 } = request;
    if (code === 'future_revision' && request.serializable !== true && revision <= this.#low(operation.calledAt)) {
      this.#tell('I22',
        `${named(operation)} was told that revision ${revision} is still to come, though it had been shown before`);
    }
    if (code !== 'compacted') return;
    const isCompacted = this.#history.operations.some((other) =>
      other.request.kind === 'compact' && other.request.revision > revision && other.calledAt < operation.returnedAt);
    if (!isCompacted)
      this.#tell('I22', `${named(operation)} was told that revision ${revision} is compacted, though nobody asked for that`);
  }
}

function isLinearizable({ request }: Operation): boolean {
  if (request.kind === 'range') return request.request.serializable !== true;
  // What a renewal shows is the store of whoever was asked. A transaction of serializable reads alone is one.
  return request.kind === 'txn' ? !isLocal(request.request) : request.kind !== 'keep_alive';
}

function isLocal(request: TxnRequest): boolean {
  return [...(request.success ?? []), ...(request.failure ?? [])].every((op) =>
    op.kind === 'txn' ? isLocal(op.request) : op.kind === 'range' && op.request.serializable === true);
}

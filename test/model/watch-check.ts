// Judges what watches were told: I23, a prefix of what happened, in order, none twice, no revision split, filtered, with the
// right previous pairs; I24, no progress before what it covers; I25, an end that says why and from where to go on.

import { text } from '../../core/base/bytes.js';
import type { Event, Revision, WatchBatch } from '../../core/client.js';
import { sameEvent, type Course } from './course.js';
import type { History, WatchRecord } from './history.js';
import { difference } from './same.js';
import { covers } from './timeline.js';
import type { Tell } from './operations.js';

export function checkWatches(history: History, course: Course, tell: Tell): void {
  const compactions = history.operations.flatMap(({ request, calledAt }) =>
    request.kind === 'compact' ? [{ at: calledAt, revision: request.revision }] : []);
  for (const watch of history.watches) new Follower(watch, course, compactions, tell).check();
}

class Follower {
  readonly #watch: WatchRecord;
  readonly #course: Course;
  readonly #compactions: readonly { at: number; revision: Revision }[];
  readonly #tell: Tell;
  /** The revision from which on nothing has been delivered. */
  #next = 0;
  /** Told as progress: what it covers is over. */
  #isBroken = false;

  constructor(watch: WatchRecord, course: Course, compactions: readonly { at: number; revision: Revision }[], tell: Tell) {
    this.#watch = watch;
    this.#course = course;
    this.#compactions = compactions;
    this.#tell = tell;
  }

  check(): void {
    const { batches, end, request } = this.#watch;
    let isCreated = false;
    for (const { at, batch } of batches) {
      if (this.#isBroken) return;
      if (batch.kind === 'created') {
        if (isCreated) this.#break('I23', 'was created twice');
        isCreated = true;
        const { startRevision = 0 } = request;
        this.#next = startRevision > 0 ? startRevision : batch.header.revision + 1;
        if (batch.events.length > 0) this.#break('I23', 'was told of events together with its creation');
      } else if (!isCreated) this.#break('I23', `was told of ${batch.kind} before it was created`);
      else if (batch.kind === 'progress') this.#progress(batch);
      else this.#events(batch, at);
    }
    if (typeof end === 'object' && end.code === 'compacted') this.#compacted(end.compactRevision);
    if (isCreated && !this.#isBroken) this.#quiet(this.#watch.quietAt ?? 0);
  }

  /** I25: silence is a fault. */
  #quiet(revision: Revision): void {
    for (let each = this.#next; each <= revision; each++) {
      if (this.#due(each).length === 0) continue;
      return this.#break('I25',
        `is silent, though its member is long at revision ${revision}: it never told of revision ${each}`);
    }
  }

  #break(invariant: string, what: string): void {
    this.#isBroken = true;
    const { key, rangeEnd, startRevision = 0 } = this.#watch.request;
    const range = rangeEnd === undefined ? `"${text(key)}"` : `"${text(key)}" to "${text(rangeEnd)}"`;
    this.#tell(invariant, `the watch of ${this.#watch.client} on ${range} from revision ${startRevision} ${what}`);
  }

  /** What it should see of a revision. */
  #due(revision: Revision): readonly Event[] {
    const { request } = this.#watch;
    const all = this.#course.timeline.events.get(revision) ?? [];
    return all.filter(({ kind, kv }) => covers(request, kv.key) && !(request.exclude ?? []).includes(kind));
  }

  #progress(batch: WatchBatch): void {
    const { revision } = batch.header;
    if (revision > this.#course.timeline.revision)
      return this.#break('I24', `was told of progress to revision ${revision}, which never was`);
    for (let each = this.#next; each <= revision; each++) {
      if (this.#due(each).length > 0) return this.#break('I24',
        `was told of progress to revision ${revision} before the events of revision ${each}`);
    }
    this.#next = Math.max(this.#next, revision + 1);
  }

  #events(batch: WatchBatch, at: number): void {
    const { events } = batch;
    if (events.length === 0) return this.#break('I23', 'was told of no events at all');
    for (let i = 0; i < events.length && !this.#isBroken;) {
      const revision = events[i]?.kv.modRevision ?? 0;
      let to = i;
      while (to < events.length && events[to]?.kv.modRevision === revision) to++;
      this.#revision(revision, events.slice(i, to), at);
      i = to;
    }
    const last = events.at(-1)?.kv.modRevision ?? 0;
    if (batch.header.revision < last) this.#break('I23',
      `was told of revision ${last} by an answer of revision ${batch.header.revision}`);
  }

  #revision(revision: Revision, events: readonly Event[], at: number): void {
    if (revision < this.#next) {
      return this.#break('I23',
        `was told of revision ${revision} again, or out of order: it had come to revision ${this.#next - 1}`);
    }
    const past = this.#course.timeline.revision;
    if (revision > past) return this.#break('I23', `was told of revision ${revision}, but the newest there ever was is ${past}`);
    for (let each = this.#next; each < revision; each++) {
      if (this.#due(each).length > 0) return this.#break('I23',
        `has a gap: it was told of revision ${revision}, but never of revision ${each}`);
    }
    this.#next = revision + 1;
    const all = this.#due(revision);
    // From the compacted revision itself only the last word on each key may be left.
    const last = all.filter((event, i) => !all.slice(i + 1).some(({ kv }) => Buffer.compare(kv.key, event.kv.key) === 0));
    const isCompacted = this.#compactedBy(at) >= revision;
    if (!this.#same(all, events, at) && !(isCompacted && this.#same(last, events, at))) {
      const [wrong] = all.flatMap((event, i) => (events[i] === undefined
        ? [] : (difference(event.kv, events[i].kv, 'a pair') ?? [])));
      this.#break('I23',
        `was told of ${events.length} events of revision ${revision}, due are ${all.length}`
          + (wrong === undefined ? '' : `: ${wrong}`));
    }
  }

  #same(due: readonly Event[], told: readonly Event[], at: number): boolean {
    if (due.length !== told.length) return false;
    return due.every((event, i) => {
      const other = told[i];
      if (other === undefined || !sameEvent(event, other)) return false;
      if (this.#watch.request.prevKv !== true) return other.prevKv === null;
      // The pair as of the revision before; nobody remembers it once that is compacted.
      const before = this.#course.timeline.pairAt(event.kv.key, event.kv.modRevision - 1);
      if (other.prevKv === null) return before === null || this.#compactedBy(at) >= event.kv.modRevision;
      return before !== null && difference(before, other.prevKv) === null;
    });
  }

  /** The highest revision that may have been compacted to by then. */
  #compactedBy(at: number): Revision {
    return this.#compactions.reduce((highest, each) => (each.at <= at ? Math.max(highest, each.revision) : highest), -1);
  }

  #compacted(revision: Revision): void {
    const start = Math.max(1, this.#watch.request.startRevision ?? 0);
    if (revision <= start && revision <= this.#next)
      this.#break('I25', `ended as compacted to revision ${revision}, which is not above its start`);
    if (this.#compactedBy(Infinity) < revision) this.#break('I25',
      `ended as compacted to revision ${revision}, to which nobody compacted`);
  }
}

// What the world outside a node knows for sure, over many lives of it: every event a watch has shown, every answer a caller
// got. The events, fed to the naive store of test/model, say what each revision must look like; the answers are held
// against that. Whatever once was known must be so for ever.

import { strict as assert } from 'node:assert';
import { isDeepStrictEqual } from 'node:util';
import type { Event, KeyValue, LeaseId, Op, RangeRequest, RangeResponse, Revision } from '../../../core/client.js';
import type { Command } from '../../../core/store/command.js';
import { plain } from '../../model/store-arbitrary.js';
import { StoreModel } from '../../model/store-model.js';

type LeaseState = 'asked' | 'granted' | 'dying' | 'gone';

export class KnownHistory {
  readonly model = new StoreModel();
  readonly leases = new Map<LeaseId, { state: LeaseState; readonly ttlSeconds: number; lifeUntilMs: number }>();
  compactedAtLeast = 0;
  compactedAtMost = 0;
  /** The largest revision anybody was told. */
  told: Revision = 1;
  readonly #reads: { request: RangeRequest; response: RangeResponse }[] = [];
  readonly #writes: { revision: Revision; has: (events: readonly Event[]) => boolean; what: string }[] = [];
  checkedReads = 0;
  checkedWrites = 0;

  /** Every event up to here is known. */
  get revision(): Revision {
    return this.model.revision;
  }

  /** All events of one revision, as a watch on everything showed them. */
  learn(revision: Revision, events: readonly Event[]): void {
    this.tell(revision);
    const known = this.model.events[revision];
    if (known !== undefined) {
      if (revision > this.model.compacted) same(events, known, `the events of revision ${revision}`);
      return;
    }
    assert.equal(revision, this.revision + 1, `a watch goes from revision ${this.revision} to ${revision}`);
    this.model.apply(1, { kind: 'txn', request: { success: events.map((event) => this.#opOf(event)) } });
    same(events, this.model.events[revision] ?? [], `the events of revision ${revision}`);
  }

  tell(revision: Revision): void {
    this.told = Math.max(this.told, revision);
  }

  compacted(revision: Revision): void {
    const command: Command = { kind: 'compact', revision };
    if (revision > this.model.compacted) this.model.apply(1, command);
  }

  wrote(revision: Revision, what: string, has: (events: readonly Event[]) => boolean): void {
    this.tell(revision);
    this.#writes.push({ revision, has, what });
  }

  read(request: RangeRequest, response: RangeResponse): void {
    this.tell(response.header.revision);
    this.#reads.push({ request, response });
  }

  /** Once everything up to `told` is known: were all answers right? */
  judgeAnswers(): void {
    for (const { revision, has, what } of this.#writes.splice(0)) {
      assert.ok(has(this.model.events[revision] ?? []), `${what}, acknowledged at revision ${revision}, is not there`);
      this.checkedWrites += 1;
    }
    for (const { request, response } of this.#reads.splice(0)) {
      const expected = this.#at(request, response.header.revision);
      same(response.kvs, expected, `the read ${JSON.stringify(plain(request))} at revision ${response.header.revision}`);
      this.checkedReads += 1;
    }
  }

  #at(request: RangeRequest, current: Revision): KeyValue[] {
    const revision = request.revision ?? 0;
    const state = this.model.states[revision <= 0 ? current : revision] ?? [];
    const end = request.rangeEnd;
    const inside = (key: Uint8Array): boolean =>
      end === undefined ? Buffer.compare(key, request.key) === 0
        : Buffer.compare(key, request.key) >= 0 && (end.length === 1 && end[0] === 0 || Buffer.compare(key, end) < 0);
    return state.filter((kv) => inside(kv.key));
  }

  /** The op that makes this event; its lease is as good as granted. */
  #opOf(event: Event): Op {
    if (event.kind === 'delete') return { kind: 'delete', request: { key: event.kv.key } };
    const { key, value, lease } = event.kv;
    if (lease !== 0n) this.model.leases.set(lease, 1);
    return { kind: 'put', request: { key, value, lease } };
  }
}

export function same(found: unknown, expected: unknown, what: string): void {
  const [left, right] = [plain(found), plain(expected)];
  if (isDeepStrictEqual(left, right)) return;
  assert.fail(`${what}: found ${JSON.stringify(left)}, expected ${JSON.stringify(right)}`);
}

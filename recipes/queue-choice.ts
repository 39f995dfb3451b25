// Which of the ready items are tried, by whom, and in which order: a decision from what was read, without the store.
//
// Each consumer gets a chain of candidates; a chain misses only if all of its candidates were taken meanwhile. Then they are
// drawn from a wider stretch of what is ready, and from a narrower one again as conflicts become rare: many consumers
// spread, one alone keeps the order.
//
// Fair turns: a group stands in ready once, at the place it got when its last item was done; items without a group take
// turns with the groups as if they were one.

import type { KeyValue, Revision } from '../core/client.js';
import type { Prng } from '../core/base/prng.js';
import type { QueueKeys, Ready } from './queue-keys.js';
import { placeAt } from './queue-keys.js';

/** Takes in one transaction; each brings a body. */
const BATCH_MAX = 8;
/** Candidates for each take: while there are no conflicts, and while there are. */
const CHAIN = 2;
const CHAIN_MAX = 6;
/** Ready entries that an answer brings. */
const READ_MIN = 8;
const READ_MAX = 256;
const SPREAD_MAX = READ_MAX - CHAIN_MAX * BATCH_MAX;
/** After every place there is. */
const SERVED_NOW = 'g';

export interface Candidate extends Ready {
  readonly key: Uint8Array;
  readonly modRevision: Revision;
}

/** Items without a group, and groups; each in the order of the keys. */
export type Pools = readonly [readonly Candidate[], readonly Candidate[]];

export class Choice {
  readonly #keys: QueueKeys;
  readonly #prng: Prng;
  #spread = 1;
  /** Where items without a group have had their last turn. */
  #servedAt = '';

  constructor(keys: QueueKeys, prng: Prng) {
    this.#keys = keys;
    this.#prng = prng;
  }

  /** Null: it is no entry of ours. */
  candidate(kv: KeyValue): Candidate | null {
    const ready = this.#keys.readReady(kv.key);
    return ready === null ? null : { ...ready, key: kv.key, modRevision: kv.modRevision };
  }

  /** How many ready entries to read for so many who wait. */
  limit(wanted: number): number {
    return Math.min(READ_MAX, READ_MIN + 2 * wanted + 2 * this.#spread);
  }

  /** In the order of turns: by priority; among equals groups and the others take turns. */
  inOrder([loose, groups]: Pools): readonly Candidate[] {
    const order: Candidate[] = [];
    let [i, j, servedAt] = [0, 0, this.#servedAt];
    while (i < loose.length || j < groups.length) {
      const [single, group] = [loose[i], groups[j]];
      const groupFirst = group !== undefined && (single === undefined || group.priority > single.priority
        || (group.priority === single.priority && group.place < servedAt));
      if (groupFirst) j += 1;
      else i += 1;
      const chosen = groupFirst ? group : single;
      if (chosen === undefined) break;
      if (!groupFirst) servedAt = SERVED_NOW;
      order.push(chosen);
    }
    return order;
  }

  /** Who of `waiting` may take what, disjoint: dealt out like cards, so that the first of each chain are the first in order. */
  chains(candidates: readonly Candidate[], waiting: number): readonly (readonly Candidate[])[] {
    const wanted = Math.min(waiting, BATCH_MAX, candidates.length);
    const each = this.#spread > 1 ? CHAIN_MAX : CHAIN;
    const drawn = this.#drawn(candidates.slice(0, wanted * each + this.#spread - 1), wanted * each);
    return Array.from({ length: wanted }, (_, i) => drawn.filter((__, at) => at % wanted === i));
  }

  /** `taken` was, in this revision. */
  served(taken: Candidate, revision: Revision): void {
    if (taken.pool === 0) this.#servedAt = placeAt(revision, 0);
  }

  /** How far down its chain each take has come; null: it missed. */
  adapt(depths: readonly (number | null)[]): void {
    for (const depth of depths) {
      if (depth === null) this.#spread = Math.min(SPREAD_MAX, 2 * this.#spread + CHAIN_MAX);
      else if (depth > 1) this.#spread = Math.min(SPREAD_MAX, this.#spread + depth);
      else this.#spread = Math.max(1, Math.floor(this.#spread * 0.95));
    }
  }

  /** `count` of them by chance, in their order. */
  #drawn(candidates: readonly Candidate[], count: number): readonly Candidate[] {
    let left = count;
    return candidates.filter((_, i) => {
      const chosen = this.#prng.below(candidates.length - i) < left;
      if (chosen) left -= 1;
      return chosen;
    });
  }
}

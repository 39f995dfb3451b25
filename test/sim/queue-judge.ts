// Whether a queue kept its word, by what was committed (I35): what was put ends exactly once, in the end everything has; after
// each revision an item is in one place, in the hands of one consumer; of a group one item is out, the oldest; what was done
// together with an end was done once; and what a program was told of its puts and ends is so.

import type { KeyValue, Revision } from '../../core/client.js';
import { readEnd, readItem, type End } from '../../recipes/queue-keys.js';
import type { Objection } from './holder-judge.js';
import { EFFECTS, QUEUE_KEYS, type QueueBeliefs } from './queues.js';
import type { Change, RecipeCourse, Step } from './recipe-course.js';

const PLACE = /^(ready\/[01]|line\/[^/]+|out\/item|dead)\/(?:.*\/)?([^/]+)$/;
const HOLD = /^out\/hold\/([^/]+)\/([^/]+)$/;

interface Item {
  readonly id: string;
  readonly group: string | null;
  readonly place: string;
  readonly places: Set<string>;
  readonly holds: Set<string>;
  readonly ends: End[];
  /** It came from the line of its group at this revision. */
  promotedAt: Revision;
}

export function judgeQueue({ steps }: RecipeCourse, told: QueueBeliefs, isOver: boolean): Objection | null {
  const court = new QueueCourt();
  for (const step of steps) {
    const wrong = court.take(step);
    if (wrong !== null) return { invariant: 'I35', message: `revision ${step.revision}: ${wrong}` };
  }
  const wrong = court.finish(told, isOver);
  return wrong === null ? null : { invariant: 'I35', message: wrong };
}

class QueueCourt {
  readonly #items = new Map<string, Item>();
  readonly #groups = new Map<string, Set<Item>>();

  take(step: Step): string | null {
    const touched = new Set<Item>();
    const ends: End[] = [];
    const effects: string[] = [];
    for (const change of step.changes) {
      if (change.key.startsWith(EFFECTS)) {
        effects.push(change.key.slice(EFFECTS.length));
        continue;
      }
      if (!change.key.startsWith(QUEUE_KEYS.root)) continue;
      const item = this.#note(change.key.slice(QUEUE_KEYS.root.length), change, step.revision, ends);
      if (item !== null) touched.add(item);
    }
    for (const end of ends) {
      const wrong = this.#ended(end);
      if (wrong !== null) return wrong;
    }
    for (const id of effects) {
      if (!ends.some((end) => end.id === id && end.outcome === 'done')) return `the effect of ${id} was done without its end`;
    }
    for (const item of touched) {
      const wrong = this.#look(item, step.revision);
      if (wrong !== null) return wrong;
    }
    return null;
  }

  finish(told: QueueBeliefs, isOver: boolean): string | null {
    for (const id of told.put) if (!this.#items.has(id)) return `${id} was put, its producer was told, and it never was there`;
    for (const { id, fence, how } of told.settled) {
      const ends = this.#items.get(id)?.ends ?? [];
      if (!ends.some((end) => end.fence === fence && end.outcome === how)) {
        return `a consumer was told that it ended ${id} with fence ${fence} as ${how}; nothing says so`;
      }
    }
    if (!isOver) return null;
    for (const { id, ends, places } of this.#items.values()) {
      if (ends.length === 0) return `${id} never ended; it is in ${[...places].join(' and ') || 'no place'}`;
    }
    return null;
  }

  #note(key: string, { kv, before }: Change, revision: Revision, ends: End[]): Item | null {
    if (key === 'done') {
      const end = kv === null ? null : readEnd(kv);
      if (end !== null) ends.push(end);
      return end === null ? null : (this.#items.get(end.id) ?? null);
    }
    const [, itemId] = /^items\/(.+)$/.exec(key) ?? [];
    if (itemId !== undefined) return this.#itemNoted(itemId, kv ?? before);
    const [, place, placed] = PLACE.exec(key) ?? [];
    const [, who, held] = HOLD.exec(key) ?? [];
    const item = this.#items.get(placed ?? held ?? '');
    if (item === undefined) return null;
    const [set, name] = place === undefined ? [item.holds, who ?? ''] : [item.places, place];
    if (kv === null) set.delete(name);
    else set.add(name);
    if (kv === null && name.startsWith('line/')) item.promotedAt = revision;
    return item;
  }

  /** Keys of a transaction come in the order of its operations: the item comes before its place. */
  #itemNoted(id: string, kv: KeyValue | null): Item | null {
    const known = this.#items.get(id);
    const head = kv === null ? null : readItem(kv.value)?.head;
    if (known !== undefined || head === null || head === undefined) return known ?? null;
    const { group, place } = head;
    const item: Item = { id, group, place, places: new Set(), holds: new Set(), ends: [], promotedAt: 0 };
    this.#items.set(id, item);
    if (group !== null) {
      const others = this.#groups.get(group) ?? new Set();
      this.#groups.set(group, others.add(item));
    }
    return item;
  }

  #ended(end: End): string | null {
    const item = this.#items.get(end.id);
    if (item === undefined) return `${end.id} ended, and never was there`;
    item.ends.push(end);
    return item.ends.length > 1 ? `${end.id} ended twice: ${item.ends.map(({ outcome }) => outcome).join(' and ')}` : null;
  }

  #look(item: Item, revision: Revision): string | null {
    const { id, places, holds, ends, group } = item;
    const [place] = places;
    const isDone = ends.some(({ outcome }) => outcome === 'done');
    if (isDone && places.size + holds.size > 0) return `${id} is done, and still in ${[...places, ...holds].join(' and ')}`;
    if (!isDone && (place === undefined || places.size > 1)) return `${id} is in ${[...places].join(' and ') || 'no place'}`;
    if (holds.size > 1) return `${id} is held by ${[...holds].join(' and ')}`;
    if (holds.size === 1 && place !== 'out/item') return `${id} is held by ${[...holds].join()} while it is in ${place}`;
    if (group === null) return null;
    const isFirst = place === 'ready/1' || place === 'out/item';
    if (!isFirst) return null;
    for (const other of this.#groups.get(group) ?? []) {
      if (other === item || other.ends.length > 0) continue;
      const [elsewhere] = other.places;
      if (elsewhere === 'ready/1' || elsewhere === 'out/item') return `of group ${group} both ${id} and ${other.id} are out`;
      // Of two that were put at the same time either may come first.
      if (item.promotedAt === revision && other.place < item.place) {
        return `of group ${group} ${id} is out before ${other.id}, which was put earlier`;
      }
    }
    return null;
  }
}

// Looking after a queue: whatever is out and whose hold has gone by itself (its consumer died, its delay is over) becomes
// ready again. One of the queue's consumers does it, the first in a line; the others do nothing for it. It polls nothing:
// holds go with their leases, and it watches them go. What went before it came it finds by one look at all that is out.
//
// Every step compares what it is based on, so two who look after it at once would do no harm.

import { utf8 } from '../core/base/bytes.js';
import type { Revision, TxnResponse, WatchBatch } from '../core/client.js';
import { created, modified, opDelete, opRange, opTxn } from '../core/client.js';
import { isApiError } from '../core/errors.js';
import type { Range } from './deletion.js';
import { asError } from './deletion.js';
import { acquire, behindAll } from './line.js';
import { pause } from './pause.js';
import { call, either, fanned, follow, kvsOf, persist, retries } from './queue-call.js';
import type { Desk } from './queue-delivery.js';
import type { Out } from './queue-keys.js';
import { idOf, readItem, readOut } from './queue-keys.js';
import type { Named } from './queue-moves.js';
import { ending, entering, nextOf, returning } from './queue-moves.js';

const PAGE = 500;
/** Items brought back at the same time. */
const WIDTH = 8;

/** Until `over`; never rejects. */
export async function care(desk: Desk, over: AbortSignal): Promise<void> {
  const line = desk.keys.care;
  const backoff = retries(desk.clock, line);
  const place = {
    name: desk.keys.name,
    what: `the care of queue ${desk.keys.name}`,
    line,
    value: utf8(desk.session.name),
    rule: behindAll(line),
  };
  while (!over.aborted) {
    try {
      await using held = await acquire(desk.session, place, { signal: over });
      const both = either(over, held.signal);
      try {
        await tend(desk, both.signal);
      } finally {
        both.forget();
      }
    } catch (error) {
      if (over.aborted) return;
      desk.observe({ kind: 'attempt_failed', error: asError(error) });
      if (isApiError(error, 'closed')) return;
      await pause(desk.clock, backoff.next(), over);
    }
  }
}

async function tend(desk: Desk, stop: AbortSignal): Promise<void> {
  for (;;) {
    const { revision, items } = await lookAtAll(desk, stop);
    await bringBackAll(desk, items, stop);
    await follow(desk, [desk.keys.out], { revision }, stop, async (batch) => {
      await bringBackAll(desk, departed(desk, batch), stop);
      return false;
    });
    await pause(desk.clock, PAGE, stop);
  }
}

/** Items that are out without a hold, at one revision. */
async function lookAtAll(desk: Desk, stop: AbortSignal): Promise<{ revision: Revision; items: readonly string[] }> {
  const { keys } = desk;
  const { header } = await call(desk, stop, { success: [opRange(keys.in, { keysOnly: true })] });
  const { revision } = header;
  const held = new Set<string>();
  for await (const kv of paged(desk, keys.holds, revision, stop)) held.add(idOf(kv.key));
  const items: string[] = [];
  for await (const kv of paged(desk, keys.outItems, revision, stop)) {
    const id = idOf(kv.key);
    if (!held.has(id)) items.push(id);
  }
  return { revision, items };
}

/** The keys of a range at a revision, a page at a time. */
export async function* paged(
  desk: Pick<Desk, 'client' | 'clock' | 'observe'>,
  range: Range,
  revision: Revision,
  stop: AbortSignal,
  keysOnly = true,
) {
  let from = range.key;
  for (;;) {
    const rest = { ...(range.rangeEnd === undefined ? {} : { rangeEnd: range.rangeEnd }), limit: PAGE, revision, keysOnly };
    const key = from;
    const { answer } = await persist(desk, stop, () => ({ success: [opRange(key, rest)] }), 'page');
    const kvs = kvsOf(answer.responses[0]);
    yield* kvs;
    const last = kvs.at(-1);
    if (last === undefined || kvs.length < PAGE) return;
    from = Buffer.concat([last.key, utf8('\0')]);
  }
}

/** Whose hold went by itself: nothing else was done to the item at that revision. */
function departed(desk: Desk, { events }: WatchBatch): readonly string[] {
  const { keys } = desk;
  const touched = new Set(events.flatMap(({ kv }) => keys.whoOf(kv.key) === null ? [`${kv.modRevision} ${idOf(kv.key)}`] : []));
  const gone = events.filter(({ kind, kv }) => {
    return kind === 'delete' && keys.whoOf(kv.key) !== null && !touched.has(`${kv.modRevision} ${idOf(kv.key)}`);
  });
  return [...new Set(gone.map(({ kv }) => idOf(kv.key)))];
}

async function bringBackAll(desk: Desk, ids: readonly string[], stop: AbortSignal): Promise<void> {
  for (let from = 0; from < ids.length; from += WIDTH) {
    const piece = ids.slice(from, from + WIDTH);
    const { signals, forget } = fanned(stop, piece.length);
    try {
      await Promise.all(piece.map((id, i) => bringBack(desk, id, signals[i] ?? stop)));
    } finally {
      forget();
    }
  }
}

async function bringBack(desk: Desk, id: string, stop: AbortSignal): Promise<void> {
  const { keys } = desk;
  const look = await persist(desk, stop, () => ({ success: [opRange(keys.outItem(id)), opRange(keys.item(id))] }), id);
  desk.note(look.answer.header.revision);
  const [outKv] = kvsOf(look.answer.responses[0]);
  const [itemKv] = kvsOf(look.answer.responses[1]);
  if (outKv === undefined) return;
  const out = readOut(outKv);
  const item = itemKv === undefined ? null : readItem(itemKv.value);
  const still = [
    modified(keys.outItem(id), '=', outKv.modRevision),
    ...(out === null ? [] : [created(keys.hold(out.by, id), '=', 0)]),
  ];
  if (out === null || item === null) {
    // There is nothing that could be delivered.
    await persist(desk, stop, () => ({ compare: still, success: [opDelete(keys.outItem(id))] }), id);
    return;
  }
  const named = { id, head: item.head };
  const dead = out.entered && out.attempts >= item.head.maxAttempts;
  const moved = dead ? await buried(desk, named, out, still, stop)
    : (await persist(desk, stop, () => ({ compare: still, success: back(desk, named, out) }), id)).answer.succeeded;
  if (!moved) return;
  desk.observe({ kind: 'came_back', id, dead });
  if (dead) desk.trim();
}

function back(desk: Desk, named: Named, out: Out) {
  const { keys } = desk;
  return [
    opDelete(keys.outItem(named.id)),
    ...(out.entered ? returning(keys, named, out, desk.place()) : entering(keys, named)),
  ];
}

/** Its consumers died as often as it may be delivered. */
async function buried(
  desk: Desk,
  named: Named,
  out: Out,
  still: ReturnType<typeof modified>[],
  stop: AbortSignal,
): Promise<boolean> {
  const { keys } = desk;
  const { group } = named.head;
  let next = null;
  for (;;) {
    const { compare, ops } = ending(keys, named, {
      outcome: 'dead', attempts: out.attempts, fence: null, next, place: desk.place(), turns: 0,
      reason: `its consumer was lost in each of ${out.attempts} deliveries, or at the last of them`,
    });
    const inner = opTxn({
      compare: [...compare],
      success: [opDelete(keys.outItem(named.id)), ...ops],
      failure: group === null ? [] : [nextOf(keys, group)],
    });
    const { answer }: { answer: TxnResponse } = await persist(desk, stop, () => ({ compare: still, success: [inner] }), named.id);
    const [first] = answer.responses;
    if (!answer.succeeded || first?.kind !== 'txn') return false;
    if (first.response.succeeded) return true;
    next = kvsOf(first.response.responses[0])[0] ?? null;
  }
}

// A queue in the worst weather: links that freeze, break, delay and refuse, transactions that land late or without an
// answer, processes that stand still, consumers that fail, give back and vanish, an operator who removes and puts back. A
// checker that follows the store itself judges every single revision: an item is in exactly one place, a group has one
// item out, the counters are right. In the end every item has ended once, and what was done with its end was done once.

import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { opPut, prefixRange } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost } from '../../recipes/held.js';
import type { Delivery } from '../../recipes/queue-delivery.js';
import type { End } from '../../recipes/queue-keys.js';
import { QueueKeys, readEnd, readItem, readOut } from '../../recipes/queue-keys.js';
import { Queue } from '../../recipes/queue.js';
import { Session, SessionLost } from '../../recipes/session.js';
import type { Fate } from './ghosts.js';
import { haunted } from './ghosts.js';
import type { Link } from './link.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

const CONSUMERS = 5;
const PRODUCERS = 3;
const KEYS = new QueueKeys('storm');

interface Storm {
  readonly t: ExecutionContext;
  readonly w: World;
  readonly put: Set<string>;
  readonly ends: End[];
  readonly errors: Record<string, number>;
  revisions: number;
  wild: boolean;
  over: boolean;
  number: number;
}

function fate(storm: Storm): Fate {
  const dice = storm.wild ? storm.w.prng.below(100) : 100;
  if (dice < 5) return { kind: 'late', delayMs: storm.w.prng.below(6_000) };
  if (dice < 10) return { kind: 'unanswered' };
  return { kind: dice < 15 ? 'unsent' : 'normal' };
}

function sleep(w: World, ms: number): Promise<void> {
  return new Promise((resolve) => {
    w.clock.schedule(Math.max(1, ms), resolve);
  });
}

function queueOf(storm: Storm, link: Link): Queue<number> {
  const client = haunted(link, storm.w.clock, () => fate(storm));
  return new Queue<number>(client, 'storm', { clock: storm.w.clock, itemsMax: 60, maxAttempts: 40, backoffMs: () => 1_000 });
}

async function produce(storm: Storm, link: Link): Promise<void> {
  const { w } = storm;
  const queue = queueOf(storm, link);
  while (!storm.over) {
    const id = `i${(storm.number += 1)}`;
    const dice = w.prng.below(10);
    const group = dice < 5 ? { group: `g${w.prng.below(3)}` } : {};
    const delayMs = w.prng.below(8) === 0 ? 1_000 : 0;
    try {
      await queue.put(storm.number, { id, ...group, delayMs, priority: w.prng.below(2), timeoutMs: 8_000 });
      storm.put.add(id);
    } catch (error) {
      count(storm, error);
    }
    await sleep(w, w.prng.below(300));
  }
}

async function consume(storm: Storm, link: Link): Promise<void> {
  const { w } = storm;
  const queue = queueOf(storm, link);
  while (!storm.over) {
    try {
      await using session = await Session.open(queue.client, { ttlSeconds: 4, clock: w.clock, timeoutMs: 3_000 });
      const tasks = Array.from({ length: 3 }, async () => {
        while (!storm.over && session.live) await step(storm, queue, session);
      });
      await Promise.all(tasks);
    } catch (error) {
      count(storm, error);
      await sleep(w, 50);
    }
  }
}

async function step(storm: Storm, queue: Queue<number>, session: Session): Promise<void> {
  const { w, t } = storm;
  const leaseMs = w.prng.below(10) === 0 ? { leaseMs: 3_000 } : {};
  try {
    const item = await queue.take(session, { timeoutMs: 1 + w.prng.below(3_000), ...leaseMs });
    t.true(item.attempt <= item.maxAttempts);
    await sleep(w, w.prng.below(200));
    await settle(storm, queue, item);
  } catch (error) {
    count(storm, error);
    if (session.live) await sleep(w, 5);
  }
}

async function settle(storm: Storm, queue: Queue<number>, item: Delivery<number>): Promise<void> {
  const { w } = storm;
  const dice = storm.wild ? w.prng.below(20) : 0;
  if (dice < 11) await item.ack({ also: [opPut(utf8(`effects/${item.id}`), utf8(String(item.fence)))] });
  else if (dice < 14) await item.nack(dice === 11 ? {} : { delayMs: 0 });
  else if (dice < 15) await item.nack({ dead: true });
  else if (dice < 17) await item.release();
  else if (dice < 18) await queue.remove(item.id, { held: true, timeoutMs: 3_000 });
  else if (dice < 19) await extended(storm, item);
  else await item[Symbol.asyncDispose]();
}

async function operate(storm: Storm): Promise<void> {
  const { w } = storm;
  const queue = queueOf(storm, w.link());
  while (!storm.over) {
    await sleep(w, 200 + w.prng.below(1_000));
    try {
      const id = `i${1 + w.prng.below(Math.max(1, storm.number))}`;
      const dice = w.prng.below(6);
      if (dice < 2) await queue.remove(id, { timeoutMs: 3_000 });
      if (dice === 2 && storm.wild) {
        await queue.pause({ timeoutMs: 3_000 });
        await sleep(w, w.prng.below(2_000));
      }
      if (dice === 2) await queue.resume({ timeoutMs: 10_000 });
      if (dice > 2) for await (const dead of queue.dead()) await queue.putBack(dead.id, { timeoutMs: 3_000 });
    } catch (error) {
      count(storm, error);
    }
  }
  await queue.resume();
}

/** What was asked a lease for is ended by whoever has it, whatever comes of the asking. */
async function extended(storm: Storm, item: Delivery<number>): Promise<void> {
  try {
    await item.extend(2_000 + storm.w.prng.below(3_000));
    await sleep(storm.w, storm.w.prng.below(6_000));
  } finally {
    await item.release();
  }
}

function count(storm: Storm, error: unknown): void {
  const code = error instanceof ApiError || error instanceof SessionLost || error instanceof FencedOut
    || error instanceof EntryLost || (error instanceof Error && 'code' in error) ? String(error.code) : null;
  if (code === null) throw error;
  storm.errors[code] = (storm.errors[code] ?? 0) + 1;
}

/** What the store holds of the queue, kept up from the watch, and judged after each revision. */
async function judge(storm: Storm, stop: AbortSignal): Promise<void> {
  const keys = new Map<string, Stored>();
  const watch = storm.w.store.watch({ ...prefixRange(utf8(KEYS.root)), startRevision: 1 });
  stop.addEventListener('abort', () => watch.close(), { once: true });
  for await (const { events } of watch) {
    for (let i = 0; i < events.length;) {
      const revision = events[i]?.kv.modRevision ?? 0;
      for (; events[i]?.kv.modRevision === revision; i += 1) {
        const event = events[i];
        if (event === undefined) break;
        const key = text(event.kv.key).slice(KEYS.root.length);
        if (event.kind === 'delete') keys.delete(key);
        else keys.set(key, event.kv);
        const end = key === 'done' && event.kind === 'put' ? readEnd(event.kv) : null;
        if (end !== null) storm.ends.push(end);
      }
      storm.revisions += 1;
      check(storm, keys, revision);
    }
  }
}

interface Stored {
  readonly value: Uint8Array;
  readonly version: number;
}

function check(storm: Storm, keys: ReadonlyMap<string, Stored>, at: number): void {
  const places = new Map<string, string[]>();
  const first = new Map<string, string[]>();
  const lines = new Set<string>();
  const complain = (what: string): void => storm.t.fail(`revision ${at}: ${what}`);
  const groupOf = (id: string): string | null => {
    const item = keys.get(`items/${id}`);
    return item === undefined ? null : readItem(item.value)?.head.group ?? null;
  };
  for (const [key, { value }] of keys) {
    const found = /^(ready\/[01]|line\/[^/]+|out\/item|dead)\/(?:.*\/)?([^/]+)$/.exec(key);
    if (found === null) continue;
    const [, place = '', id = ''] = found;
    places.set(id, [...(places.get(id) ?? []), place]);
    const group = groupOf(id);
    if (place.startsWith('line/')) lines.add(place.slice(5));
    const numbers = { createRevision: 0, modRevision: 0, version: 0, lease: 0n };
    const out = place === 'out/item' ? readOut({ key: utf8(key), value, ...numbers }) : null;
    const stands = place === 'ready/1' || (out?.entered === true && group !== null);
    if (stands && group !== null) first.set(group, [...(first.get(group) ?? []), id]);
    if (place === 'ready/0' && group !== null) complain(`${key} has a group`);
  }
  let dead = 0;
  for (const [id, all] of places) {
    if (all.length !== 1) complain(`${id} is in ${all.join(' and ')}`);
    if (!keys.has(`items/${id}`)) complain(`${id} is in ${all.join()} without an item`);
    if (all[0] === 'dead') dead += 1;
  }
  const items = [...keys.keys()].filter((key) => key.startsWith('items/'));
  for (const key of items) if (!places.has(key.slice(6))) complain(`${key} is nowhere`);
  for (const [group, ids] of first) if (ids.length > 1) complain(`${group} has ${ids.join(' and ')} out`);
  const active = [...keys.keys()].filter((key) => key.startsWith('active/')).map((key) => key.slice(7)).sort();
  const out = [...first.keys()].sort();
  if (active.join() !== out.join()) complain(`active ${active.join()}, out ${out.join()}`);
  for (const group of lines) if (!first.has(group)) complain(`nobody is before the line of ${group}`);
  const size = (keys.get('in')?.version ?? 0) - (keys.get('done')?.version ?? 0);
  if (size !== items.length - dead) complain(`size ${size}, items ${items.length}, dead ${dead}`);
  // A dead one that is put back asks for no room.
  if (size > 60 + 20) complain(`${size} items`);
}

async function trouble(storm: Storm, link: Link): Promise<void> {
  const { w } = storm;
  const ms = 1 + w.prng.below(w.prng.below(4) === 0 ? 7_000 : 1_000);
  const kind = w.prng.below(4);
  if (kind === 0) link.freeze();
  if (kind === 1) link.down();
  if (kind === 2) link.answerMs = () => w.prng.below(1_500);
  if (kind === 3) link.refuse = () => w.prng.below(2) === 0;
  await sleep(w, ms);
  link.thaw();
  link.up();
  link.answerMs = () => w.prng.below(10);
  link.refuse = () => false;
}

async function storm(t: ExecutionContext, seed: number): Promise<void> {
  const w = await world(seed);
  const it: Storm = {
    t, w, put: new Set(), ends: [], errors: {},
    revisions: 0, wild: true, over: false, number: 0,
  };
  const stop = new AbortController();
  const judging = judge(it, stop.signal);
  const links = Array.from({ length: CONSUMERS + PRODUCERS }, () => w.link());
  for (const link of links) link.requestMs = () => w.prng.below(10);
  const work = [...links.map((link, i) => (i < CONSUMERS ? consume(it, link) : produce(it, link))), operate(it)];
  const gusts: Promise<void>[] = [];
  for (let i = 0; i < 120; i += 1) {
    await w.clock.advance(200);
    const link = links[w.prng.below(links.length)];
    if (link !== undefined && w.prng.below(5) === 0) gusts.push(trouble(it, link));
    if (w.prng.below(60) === 0) w.clock.jump(w.prng.below(6_000));
  }
  it.wild = false;
  await w.clock.until(Promise.all(gusts));
  const before = it.ends.length;
  await w.clock.advance(10_000);
  t.true(it.ends.length > before + 20, `after the storm ${it.ends.length - before} ended in 10 s`);
  it.over = true;
  await w.clock.until(Promise.all(work), 60_000);
  await w.clock.until(drain(it), 120_000);
  await w.clock.advance(20_000);
  stop.abort();
  await judging;
  await verdict(it);
  await w.end();
}

/** What is left is done by somebody on a good link. */
async function drain(storm: Storm): Promise<void> {
  const { w } = storm;
  const queue = new Queue<number>(w.store, 'storm', { clock: w.clock });
  await using session = await Session.open(w.store, { ttlSeconds: 60, clock: w.clock });
  for (let stats = await queue.stats(); stats.size > 0; stats = await queue.stats()) {
    try {
      const item = await queue.take(session, { timeoutMs: 10_000 });
      await item.ack({ also: [opPut(utf8(`effects/${item.id}`), utf8(String(item.fence)))] });
    } catch (error) {
      count(storm, error);
      storm.t.fail(`${String(error)}; ${JSON.stringify(stats)}`);
      return;
    }
  }
  queue.close();
}

async function verdict(storm: Storm): Promise<void> {
  const { t, w, ends } = storm;
  const effects = await w.clock.until(keysUnder(w.store, 'effects/'));
  const done = ends.filter(({ outcome }) => outcome === 'done');
  t.is(new Set(done.map(({ id }) => id)).size, done.length, 'nothing is done twice');
  t.deepEqual(effects.map(({ key }) => text(key).slice(8)).sort(), done.map(({ id }) => id).sort());
  for (const { key, version } of effects) t.is(version, 1, text(key));
  const ended = new Set(ends.map(({ id }) => id));
  for (const id of storm.put) t.true(ended.has(id), `${id} was put and never ended`);
  const left = (await w.clock.until(keysUnder(w.store, KEYS.root))).map(({ key }) => text(key).slice(KEYS.root.length));
  t.deepEqual(left.filter((key) => !/^(in|done|ids\/|dead\/|items\/|care\/)/.test(key)), []);
  t.log(`${storm.revisions} revisions judged, ${storm.put.size} put, ${ends.length} ends`, storm.errors);
}

for (const seed of [1, 2]) {
  test(`a storm over a queue, seed ${seed}: one place, one end, one effect for each item`, async (t) => {
    t.timeout(120_000);
    await storm(t, seed);
  });
}

// Locks in the worst weather: links that freeze, break, delay and refuse, transactions that land late or without an answer,
// processes that stand still, waits given up at any moment. A checker that reads the store itself judges: never two
// holders, fences only grow, nothing of ours is left, and nobody waits for ever.

import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { get, opDelete } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost } from '../../recipes/held.js';
import { move } from '../../recipes/line.js';
import type { HeldLock, LockOptions } from '../../recipes/lock.js';
import { lock, tryLock } from '../../recipes/lock.js';
import { Session, SessionLost } from '../../recipes/session.js';
import type { Fate } from './ghosts.js';
import { haunted } from './ghosts.js';
import type { Link } from './link.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

const CLIENTS = 6;
const NAMES = ['a', 'b'];

interface Storm {
  readonly t: ExecutionContext;
  readonly w: World;
  readonly held: Map<string, HeldLock[]>;
  readonly fences: Map<string, number>;
  readonly options: LockOptions;
  /** Somebody deletes and moves entries by hand; then a holder may be told a moment later than the store knows. */
  readonly vandal: boolean;
  over: boolean;
  wild: boolean;
  acquired: number;
  readonly ends: Record<string, number>;
}

function fate(storm: Storm): Fate {
  const dice = storm.wild ? storm.w.prng.below(100) : 100;
  if (dice < 5) return { kind: 'late', delayMs: storm.w.prng.below(8_000) };
  if (dice < 10) return { kind: 'unanswered' };
  return { kind: dice < 15 ? 'unsent' : 'normal' };
}

/** Opens sessions and does one thing after the other under locks, until the storm is over. */
async function worker(storm: Storm, link: Link): Promise<void> {
  const { w } = storm;
  const client = haunted(link, w.clock, () => fate(storm));
  while (!storm.over) {
    try {
      await using session = await Session.open(client, { ttlSeconds: 4, clock: w.clock, timeoutMs: 3_000 });
      const tasks = Array.from({ length: 2 }, async () => {
        while (!storm.over && session.live) await step(storm, session);
      });
      await Promise.all(tasks);
    } catch (error) {
      count(storm, error);
      await sleep(w, 50);
    }
  }
}

async function step(storm: Storm, session: Session): Promise<void> {
  const { w, t } = storm;
  const name = NAMES[w.prng.below(NAMES.length)] ?? 'a';
  const abort = new AbortController();
  const options = w.prng.below(3) === 0 ? { ...storm.options, signal: abort.signal } : { ...storm.options, timeoutMs: 10_000 };
  w.clock.schedule(1 + w.prng.below(2_000), () => abort.abort());
  try {
    const held = w.prng.below(5) === 0 ? await tryLock(session, name, options) : await lock(session, name, options);
    if (held === null) return await sleep(w, 5 + w.prng.below(50));
    try {
      enter(storm, name, held);
      await sleep(w, w.prng.below(100));
      await record(storm, name, held);
    } finally {
      leave(storm, name, held);
      await held.release();
    }
  } catch (error) {
    count(storm, error);
    const cause = error instanceof FencedOut ? error.cause : error;
    const robbed = storm.vandal && (cause === undefined || cause instanceof EntryLost);
    t.true(robbed || !(cause instanceof EntryLost || (cause === undefined && session.live)), String(cause ?? error));
    if (session.live) await sleep(w, 5);
  }
  t.pass();
}

function enter(storm: Storm, name: string, held: HeldLock): void {
  const { t } = storm;
  const all = storm.held.get(name) ?? [];
  storm.held.set(name, [...all, held]);
  t.true(held.isHeld, 'no dead handle is handed out');
  if (!storm.vandal) {
    t.true(held.fence > (storm.fences.get(name) ?? 0), `${name}: fence ${held.fence} after ${storm.fences.get(name)}`);
  }
  storm.fences.set(name, held.fence);
  storm.acquired += 1;
  check(storm);
}

function leave(storm: Storm, name: string, held: HeldLock): void {
  storm.held.set(name, (storm.held.get(name) ?? []).filter((other) => other !== held));
}

/** What is written under a fence never goes back: the store itself is the resource. */
async function record(storm: Storm, name: string, held: HeldLock): Promise<void> {
  const before = await get(storm.w.store, utf8(`effects/${name}`));
  await held.txn().put(`effects/${name}`, String(held.fence)).commit();
  storm.t.true(before === null || Number(text(before.value)) <= held.fence, 'a newer holder wrote before an older one');
}

function check(storm: Storm): void {
  for (const [name, all] of storm.held) {
    const now = all.filter(({ isHeld }) => isHeld);
    const who = now.map(({ key, fence }) => `${text(key)} (${fence})`).join(' and ');
    if (!storm.vandal) storm.t.true(now.length <= 1, `${name} is held by ${who}`);
  }
}

function count(storm: Storm, error: unknown): void {
  const known = [ApiError, SessionLost, FencedOut, EntryLost].find((kind) => error instanceof kind);
  if (known === undefined || !(error instanceof Error) || !('code' in error)) throw error;
  const code = String(error.code);
  storm.ends[code] = (storm.ends[code] ?? 0) + 1;
}

function sleep(w: World, ms: number): Promise<void> {
  return new Promise((resolve) => {
    w.clock.schedule(Math.max(1, ms), resolve);
  });
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

/** Deletes or moves an entry that is none of its business. */
async function vandalize(storm: Storm): Promise<void> {
  const { w } = storm;
  const entries = await keysUnder(w.store, 'coterie/locks/');
  const entry = entries[w.prng.below(Math.max(1, entries.length))];
  if (entry === undefined) return;
  await w.store.txn(w.prng.below(2) === 0 ? move(entry) : { success: [opDelete(entry.key)] });
}

async function storm(t: ExecutionContext, seed: number, options: LockOptions = {}, vandal = false): Promise<Storm> {
  const w = await world(seed);
  const it: Storm = {
    t, w, held: new Map(), fences: new Map(), options, vandal, over: false, wild: true, acquired: 0, ends: {},
  };
  const links = Array.from({ length: CLIENTS }, () => w.link());
  for (const link of links) link.requestMs = () => w.prng.below(10);
  const work = links.map((link) => worker(it, link));
  const gusts: Promise<void>[] = [];
  for (let i = 0; i < 120; i += 1) {
    await w.clock.advance(200);
    check(it);
    const link = links[w.prng.below(links.length)];
    if (link !== undefined && w.prng.below(5) === 0) gusts.push(trouble(it, link));
    if (vandal && w.prng.below(3) === 0) await w.clock.until(vandalize(it));
    if (w.prng.below(60) === 0) w.clock.jump(w.prng.below(6_000));
    check(it);
  }
  it.wild = false;
  await w.clock.until(Promise.all(gusts));
  const before = it.acquired;
  await w.clock.advance(15_000);
  t.true(it.acquired > before + 20, `after the storm ${it.acquired - before} were acquired in 15 s`);
  it.over = true;
  await w.clock.until(Promise.all(work), 30_000);
  await w.clock.advance(20_000);
  const left = (await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key));
  t.deepEqual(left.filter((key) => !key.startsWith('coterie/delayed/')), []);
  t.deepEqual((await w.clock.until(keysUnder(w.store, 'plain/'))).map(({ key }) => text(key)), []);
  await w.end();
  return it;
}

for (const seed of [1, 2]) {
  test(`a storm over two locks, seed ${seed}: never two holders, no entry left, nobody stuck`, async (t) => {
    const { acquired, ends } = await storm(t, seed);
    t.log({ acquired, ...ends });
    t.true(acquired > 100);
  });
}

test('a storm over locks that hold the plain key too', async (t) => {
  const { acquired, ends } = await storm(t, 11, { root: 'plain/', plainKey: true });
  t.log({ acquired, ...ends });
});

test('a storm with somebody who deletes and moves entries: effects keep their order, no entry left, nobody stuck', async (t) => {
  const { acquired, ends } = await storm(t, 13, {}, true);
  t.log({ acquired, ...ends });
});

test('a storm over locks with a delay after a loss', async (t) => {
  const { acquired, ends } = await storm(t, 12, { lossDelayMs: 2_000 });
  t.log({ acquired, ...ends });
});

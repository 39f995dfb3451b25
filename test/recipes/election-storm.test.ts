// Elections in the worst weather: links that freeze, break and delay, transactions that land late or without an answer,
// processes that stand still, hand-overs, priorities, candidacies given up at any moment, entries deleted by hand. A
// checker that reads every change in the store itself judges.

import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { get, opDelete, prefixRange } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import type { Leader } from '../../recipes/election-state.js';
import { observe } from '../../recipes/election-state.js';
import type { Leadership } from '../../recipes/election.js';
import { campaign, HandOverFailed } from '../../recipes/election.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost, Released } from '../../recipes/held.js';
import { Session, SessionLost } from '../../recipes/session.js';
import type { Fate } from './ghosts.js';
import { haunted } from './ghosts.js';
import type { Link } from './link.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

const LINE = 'coterie/elections/x/';
const CLIENTS = 6;

interface Storm {
  readonly t: ExecutionContext;
  readonly w: World;
  readonly offices: Leadership[];
  /** Somebody deletes entries by hand: then a leader may be told a moment later than the store knows. */
  readonly vandal: boolean;
  /** The terms of everybody who was ever first in the store's line, in order. */
  readonly truth: number[];
  newest: number;
  elected: number;
  over: boolean;
  wild: boolean;
  readonly ends: Record<string, number>;
}

function fate(storm: Storm): Fate {
  const dice = storm.wild ? storm.w.prng.below(100) : 100;
  if (dice < 5) return { kind: 'late', delayMs: storm.w.prng.below(8_000) };
  if (dice < 10) return { kind: 'unanswered' };
  return { kind: dice < 15 ? 'unsent' : 'normal' };
}

function sleep(w: World, ms: number): Promise<void> {
  return new Promise((resolve) => {
    w.clock.schedule(Math.max(1, ms), resolve);
  });
}

/** Who is first at each revision, from the store itself. */
async function chronicle(storm: Storm, stop: AbortSignal): Promise<void> {
  const line = new Map<string, number>();
  const watch = storm.w.store.watch({ ...prefixRange(utf8(LINE)), startRevision: 1 });
  stop.addEventListener('abort', () => watch.close(), { once: true });
  const note = (): void => {
    const first = Math.min(...line.values());
    if (Number.isFinite(first) && storm.truth.at(-1) !== first) storm.truth.push(first);
  };
  for await (const { events } of watch) {
    let revision = 0;
    for (const { kind, kv } of events) {
      if (revision !== kv.modRevision) note();
      revision = kv.modRevision;
      if (kind === 'delete') line.delete(text(kv.key));
      else line.set(text(kv.key), kv.createRevision);
    }
    note();
  }
}

async function candidate(storm: Storm, link: Link): Promise<void> {
  const { w } = storm;
  const client = haunted(link, w.clock, () => fate(storm));
  while (!storm.over) {
    try {
      await using session = await Session.open(client, { ttlSeconds: 4, clock: w.clock, timeoutMs: 3_000 });
      const tasks = Array.from({ length: 2 }, async () => {
        while (!storm.over && session.live) await term(storm, session);
      });
      await Promise.all(tasks);
    } catch (error) {
      count(storm, error);
      await sleep(w, 50);
    }
  }
}

async function term(storm: Storm, session: Session): Promise<void> {
  const { w } = storm;
  const abort = new AbortController();
  const patience = w.prng.below(4) === 0 ? { signal: abort.signal } : { timeoutMs: 10_000 };
  w.clock.schedule(1 + w.prng.below(3_000), () => abort.abort());
  try {
    const office = await campaign(session, 'x', 'v', { ...patience, priority: w.prng.below(3) });
    try {
      enter(storm, office);
      for (let i = w.prng.below(3); i > 0; i -= 1) {
        await sleep(w, w.prng.below(80));
        if (w.prng.below(2) === 0) await office.proclaim(`v${w.prng.below(9)}`, { timeoutMs: 2_000 });
        else await record(storm, office);
      }
      const heir = w.prng.below(4);
      if (w.prng.below(3) === 0) await office.resign({ handTo: () => w.prng.below(heir + 1) === 0, timeoutMs: 3_000 });
    } finally {
      await office.release();
    }
  } catch (error) {
    count(storm, error);
    if (session.live) await sleep(w, 5);
  }
  storm.t.pass();
}

function enter(storm: Storm, office: Leadership): void {
  const { t } = storm;
  t.true(office.isLeader, 'no dead office is handed out');
  t.true(storm.vandal || office.term > storm.newest, `term ${office.term} after ${storm.newest}`);
  storm.newest = Math.max(storm.newest, office.term);
  storm.elected += 1;
  storm.offices.push(office);
  check(storm);
}

async function record(storm: Storm, office: Leadership): Promise<void> {
  const { t, w } = storm;
  await office.txn().put('effects/x', String(office.term)).commit();
  const now = await get(w.store, utf8('effects/x'));
  t.true(Number(text(now?.value ?? utf8('0'))) >= office.term, 'an older term wrote over a newer one');
}

function check(storm: Storm): void {
  const now = storm.offices.filter(({ isLeader }) => isLeader);
  storm.offices.splice(0, storm.offices.length, ...now);
  const names = now.map(({ key, term: of }) => `${text(key)} (${of})`);
  storm.t.true(storm.vandal || now.length <= 1, `leaders: ${names.join(' and ')}`);
}

function count(storm: Storm, error: unknown): void {
  const known = error instanceof ApiError || error instanceof SessionLost || error instanceof FencedOut
    || error instanceof EntryLost || error instanceof HandOverFailed || error instanceof Released;
  if (!known) throw error;
  storm.t.true(storm.vandal || !(error instanceof EntryLost), 'nobody deletes anything by hand here');
  storm.ends[error.code] = (storm.ends[error.code] ?? 0) + 1;
}

async function trouble(storm: Storm, link: Link): Promise<void> {
  const { w } = storm;
  const kind = w.prng.below(4);
  if (kind === 0) link.freeze();
  if (kind === 1) link.down();
  if (kind === 2) link.answerMs = () => w.prng.below(1_500);
  if (kind === 3) link.refuse = () => w.prng.below(2) === 0;
  await sleep(w, 1 + w.prng.below(w.prng.below(4) === 0 ? 7_000 : 1_000));
  link.thaw();
  link.up();
  link.answerMs = () => w.prng.below(10);
  link.refuse = () => false;
}

async function vandalize(storm: Storm): Promise<void> {
  const entries = await keysUnder(storm.w.store, LINE);
  const one = entries[storm.w.prng.below(Math.max(1, entries.length))];
  const { key, rangeEnd } = prefixRange(utf8(LINE));
  const all = one === undefined || storm.w.prng.below(3) === 0;
  await storm.w.store.txn({ success: [all ? opDelete(key, { rangeEnd }) : opDelete(one.key)] });
}

function checkObserved(storm: Storm, told: readonly (Leader | null)[]): void {
  let at = 0;
  let last = 0;
  for (const now of told) {
    if (now === null || now.term === last) continue;
    const found = storm.truth.indexOf(now.term, at);
    storm.t.true(found >= at, `an observer saw term ${now.term}, which is not a later one of the store's`);
    at = found + 1;
    last = now.term;
  }
}

async function storm(t: ExecutionContext, seed: number, vandal: boolean): Promise<void> {
  const w = await world(seed);
  const it: Storm = {
    t, w, offices: [], vandal, truth: [], newest: 0, elected: 0, over: false, wild: true, ends: {},
  };
  const stop = new AbortController();
  const writing = chronicle(it, stop.signal);
  const links = Array.from({ length: CLIENTS }, () => w.link());
  for (const link of links) link.requestMs = () => w.prng.below(10);
  const observers = [w.link(), w.link()];
  const told: (Leader | null)[][] = [[], []];
  const looking = observers.map(async (link, i) => {
    for await (const now of observe(link, 'x', { clock: w.clock, signal: stop.signal, livenessMs: 1_000 })) {
      told[i]?.push(now);
      if (i === 1) await sleep(w, w.prng.below(1_000));
    }
  });
  const work = links.map((link) => candidate(it, link));
  const gusts: Promise<void>[] = [];
  for (let i = 0; i < 80; i += 1) {
    await w.clock.advance(200);
    check(it);
    const all = [...links, ...observers];
    const link = all[w.prng.below(all.length)];
    if (link !== undefined && w.prng.below(4) === 0) gusts.push(trouble(it, link));
    if (w.prng.below(60) === 0) w.clock.jump(w.prng.below(6_000));
    if (vandal && w.prng.below(4) === 0) await w.clock.until(vandalize(it));
    check(it);
  }
  it.wild = false;
  await w.clock.until(Promise.all(gusts));
  const before = it.elected;
  await w.clock.advance(15_000);
  if (it.elected <= before + 20) {
    const kvs = await w.clock.until(keysUnder(w.store, 'coterie/'));
    t.log(kvs.map(({ key, createRevision, value, version }) => `${text(key)} ${createRevision} v${version} ${text(value)}`));
  }
  t.true(it.elected > before + 20, `after the storm ${it.elected - before} were elected in 15 s`);
  it.over = true;
  await w.clock.until(Promise.all(work), 60_000);
  await w.clock.advance(20_000);
  t.deepEqual((await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key)), []);
  t.deepEqual(told.map((all) => all.at(-1)), [null, null]);
  for (const all of told) checkObserved(it, all);
  stop.abort();
  await w.clock.until(Promise.all([writing, ...looking]));
  t.log({ elected: it.elected, firsts: it.truth.length, seen: told.map(({ length }) => length), ...it.ends });
  await w.end();
}

for (const seed of [1, 2]) {
  test(`I36 a storm of candidates, seed ${seed}: one leader at a time, observers see them in order, nobody stuck`, async (t) => {
    await storm(t, seed, false);
  });
}

test('I36 a storm with somebody who deletes entries: effects keep their order, nothing is left, nobody stuck', async (t) => {
  await storm(t, 11, true);
});

// Leading for as long as one leads, and looking on, on a simulated clock: `lead` and `observe`.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { del, opPut } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { startNode } from '../../core/index.js';
import type { Leader } from '../../recipes/election-state.js';
import { leader, observe } from '../../recipes/election-state.js';
import { campaign } from '../../recipes/election.js';
import { EntryLost, Released } from '../../recipes/held.js';
import type { LeadEvent } from '../../recipes/lead.js';
import { lead } from '../../recipes/lead.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { Link } from './link.js';
import type { World } from './world.js';
import { keysUnder, switching, world } from './world.js';

const LINE = 'coterie/elections/x/';

function open(w: World, link: Client = w.link(), ttlSeconds = 10): Promise<Session> {
  return w.clock.until(Session.open(link, { ttlSeconds, clock: w.clock }));
}

function sleep(w: World, ms: number): Promise<void> {
  return new Promise((resolve) => {
    w.clock.schedule(ms, resolve);
  });
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** What an observer has been told so far; with `pace`, one that takes its time. */
function looker(w: World, client: Client, options: { signal?: AbortSignal; paceMs?: number } = {}): {
  readonly told: (Leader | null)[];
  readonly done: Promise<void>;
} {
  const told: (Leader | null)[] = [];
  const { paceMs = 0, ...rest } = options;
  const done = (async () => {
    for await (const now of observe(client, 'x', { ...rest, clock: w.clock })) {
      told.push(now);
      if (paceMs > 0) await sleep(w, paceMs);
    }
  })();
  done.catch(() => undefined);
  return { told, done };
}

function words(told: readonly (Leader | null)[]): readonly string[] {
  return told.map((now) => (now === null ? 'nobody' : `${now.value}${now.staleSince === null ? '' : ' (stale)'}`));
}

test('lead resolves with what the work returned, having resigned', async (t) => {
  const w = await world(1);
  const session = await open(w);
  const value = await w.clock.until(lead(session, 'x', 'a', async (leadership) => {
    t.true(leadership.isLeader);
    await sleep(w, 100);
    return 42;
  }));
  t.is(value, 42);
  t.deepEqual(await w.clock.until(keysUnder(w.store, 'coterie/')), []);
  await t.throwsAsync(w.clock.until(lead(session, 'x', 'a', () => {
    throw new Error('mine');
  })), { message: 'mine' });
  t.is(await w.clock.until(leader(w.store, 'x')), null);
  await w.end();
});

test('lead rejects with the reason when the leadership was lost before the work was done', async (t) => {
  const w = await world(1);
  const session = await open(w);
  const work = lead(session, 'x', 'a', async ({ signal }) => {
    await ended(signal);
    return 'too late';
  });
  await w.clock.advance(100);
  const entry = await w.clock.until(leader(w.store, 'x'));
  await w.clock.until(del(w.store, utf8(`${LINE}${entry?.id}`)));
  await t.throwsAsync(w.clock.until(work), { instanceOf: EntryLost });
  await w.end();
});

test('aborting lead while it waits rejects it; while it leads the work is waited for before anybody else leads', async (t) => {
  const w = await world(1);
  const [a, b] = [await open(w), await open(w)];
  const abort = new AbortController();
  let stopped = 0;
  const leading = lead(a, 'x', 'a', async ({ signal }) => {
    await ended(signal);
    t.true(signal.reason instanceof Released);
    await sleep(w, 1_000);
    stopped = w.clock.now();
    return 'clean';
  }, { signal: abort.signal });
  await w.clock.advance(10);
  const early = new AbortController();
  const waiting = lead(b, 'x', 'b', () => 'never', { signal: early.signal });
  await w.clock.advance(10);
  early.abort();
  t.true(isApiError(await t.throwsAsync(w.clock.until(waiting)), 'canceled'));
  const next = campaign(b, 'x', 'b');
  await w.clock.advance(100);
  abort.abort();
  await w.clock.until(next);
  t.true(stopped > 0 && w.clock.now() >= stopped);
  t.is(await w.clock.until(leading), 'clean');
  await w.end();
});

test('with again a candidate comes back after a deletion, a revocation, and its work\'s end; runs never overlap', async (t) => {
  const w = await world(2);
  const abort = new AbortController();
  const events: LeadEvent[] = [];
  let running = 0;
  const terms: number[] = [];
  const leading = lead(
    () => Session.open(w.link(), { ttlSeconds: 5, clock: w.clock }), 'x', 'a',
    async (leadership) => {
      running += 1;
      t.is(running, 1);
      terms.push(leadership.term);
      if (terms.length !== 3) await ended(leadership.signal);
      await sleep(w, 200);
      running -= 1;
      if (terms.length === 1) throw new Error('interrupted');
      return terms.length;
    },
    { again: true, signal: abort.signal, clock: w.clock, observe: (event) => events.push(event) },
  );
  await w.clock.advance(500);
  const first = await w.clock.until(leader(w.store, 'x'));
  await w.clock.until(del(w.store, utf8(`${LINE}${first?.id}`)));
  await w.clock.advance(2_000);
  const second = await w.clock.until(leader(w.store, 'x'));
  await w.clock.until(w.store.revoke(second?.lease ?? 0n));
  await w.clock.advance(5_000);
  t.is(terms.length, 4, 'the third returned by itself');
  t.deepEqual(terms, terms.toSorted((a, b) => a - b));
  t.is(events.filter(({ kind }) => kind === 'work_failed').length, 1);
  abort.abort();
  t.is(await w.clock.until(leading), 4);
  t.deepEqual(await w.clock.until(keysUnder(w.store, 'coterie/')), []);
  t.deepEqual((await w.clock.until(w.store.leases())).ids, [], 'the sessions it opened are closed');
  await w.end();
});

test('with again the store may be away for long; a session that was handed in ends it', async (t) => {
  const w = await world(2);
  const link = w.link();
  const abort = new AbortController();
  let terms = 0;
  const leading = lead(
    () => Session.open(link, { ttlSeconds: 3, clock: w.clock, timeoutMs: 1_000 }), 'x', 'a',
    async ({ signal }) => {
      terms += 1;
      await ended(signal);
    },
    { again: true, signal: abort.signal, clock: w.clock },
  );
  await w.clock.advance(500);
  link.down();
  await w.clock.advance(60_000);
  link.up();
  await w.clock.advance(4_000);
  t.is(terms, 2);
  abort.abort();
  await w.clock.until(leading);
  const session = await open(w);
  const given = lead(session, 'x', 'a', ({ signal }) => ended(signal), { again: true });
  await w.clock.advance(100);
  await w.clock.until(session.close());
  await t.throwsAsync(w.clock.until(given), { instanceOf: SessionLost });
  await w.end();
});

test('a work that ends at once does not make lead spin', async (t) => {
  const w = await world(2);
  const abort = new AbortController();
  const session = await open(w);
  let terms = 0;
  const leading = lead(session, 'x', 'a', () => (terms += 1), { again: true, signal: abort.signal });
  await w.clock.advance(10_000);
  abort.abort();
  t.true(isApiError(await t.throwsAsync(w.clock.until(leading)), 'canceled'));
  t.true(terms >= 10 && terms <= 16, `${terms} terms in 10 s`);
  await w.end();
});

test('E8 an observer is told of leaders in order, of nobody, of proclamations, and never twice of the same', async (t) => {
  const w = await world(8);
  const abort = new AbortController();
  const seen = looker(w, w.store, { signal: abort.signal });
  await w.clock.advance(10);
  const [a, b] = [await open(w), await open(w)];
  const first = await w.clock.until(campaign(a, 'x', 'a'));
  const next = campaign(b, 'x', 'b');
  await w.clock.advance(100);
  await w.clock.until(first.proclaim('a2'));
  await w.clock.advance(100);
  await w.clock.until(first.resign());
  const second = await w.clock.until(next);
  await w.clock.advance(100);
  await w.clock.until(second.resign());
  await w.clock.advance(100);
  t.deepEqual(words(seen.told), ['nobody', 'a', 'a2', 'b', 'nobody']);
  abort.abort();
  await w.clock.until(seen.done);
  await w.end();
});

test('E8 an observer survives reconnections and compaction, is told what is stale, and ends only by its signal', async (t) => {
  const w = await world(8);
  const link = w.link();
  const abort = new AbortController();
  const seen = looker(w, link, { signal: abort.signal });
  const session = await open(w);
  let office = await w.clock.until(campaign(session, 'x', 'a0'));
  await w.clock.advance(100);
  for (let i = 1; i <= 10; i += 1) {
    if (i % 2 === 0) link.down();
    else link.freeze();
    await w.clock.until(office.resign());
    for (let n = 0; n < 20; n += 1) await w.clock.until(w.store.txn({ success: [opPut(utf8('noise'), utf8(String(n)))] }));
    office = await w.clock.until(campaign(session, 'x', `a${i}`));
    const { revision } = (await w.clock.until(w.store.status())).header;
    await w.clock.until(w.store.compact(revision));
    await w.clock.advance(12_000);
    link.up();
    link.thaw();
    await w.clock.advance(5_000);
    t.like(seen.told.at(-1), { value: `a${i}`, term: office.term, staleSince: null });
  }
  t.true(words(seen.told).some((word) => word.endsWith('(stale)')));
  const terms = seen.told.flatMap((now) => (now === null ? [] : [now.term]));
  t.deepEqual(terms, terms.toSorted((a, b) => a - b));
  let over = false;
  const done = seen.done.then(() => (over = true));
  t.false(over);
  abort.abort();
  await w.clock.until(done);
  await w.end();
});

test('E8 the leader resigns and stands again under its old key while nobody looks: the one before it is told', async (t) => {
  const w = await world(8);
  const link = w.link();
  const abort = new AbortController();
  const [a, b] = [await open(w), await open(w)];
  const first = await w.clock.until(campaign(a, 'x', 'a'));
  const next = campaign(b, 'x', 'b');
  const seen = looker(w, link, { signal: abort.signal });
  await w.clock.advance(100);
  link.down();
  await w.clock.until(first.resign());
  await w.clock.until(next);
  void campaign(a, 'x', 'a again').catch(() => undefined);
  await w.clock.advance(100);
  link.up();
  await w.clock.advance(5_000);
  t.is(words(seen.told).at(-1), 'b');
  t.false(words(seen.told).includes('a again'));
  abort.abort();
  await w.clock.until(seen.done);
  await w.end();
});

test('E8 a slow observer skips leaders, never goes back, and gets to the last one', async (t) => {
  const w = await world(8);
  const abort = new AbortController();
  const seen = looker(w, w.link(), { signal: abort.signal, paceMs: 500 });
  const truth: (number | null)[] = [null];
  const sessions = [await open(w), await open(w), await open(w)];
  for (let i = 0; i < 30; i += 1) {
    const session = sessions[i % 3] ?? sessions[0];
    if (session === undefined) return t.fail();
    const office = await w.clock.until(campaign(session, 'x', `c${i}`));
    truth.push(office.term);
    await w.clock.advance(w.prng.below(200));
    await w.clock.until(office.resign());
    truth.push(null);
    if (w.prng.below(2) === 0) await w.clock.advance(w.prng.below(700));
  }
  await w.clock.advance(2_000);
  t.is(seen.told.at(-1), null);
  t.true(seen.told.length < truth.length);
  let at = 0;
  for (const now of seen.told) {
    const found = truth.indexOf(now?.term ?? null, at);
    t.true(found >= at, `${now?.value ?? 'nobody'} is out of order`);
    at = found + 1;
  }
  abort.abort();
  await w.clock.until(seen.done);
});

test('E8 an observer may break off; closing the client ends it; a store in another one\'s place is believed', async (t) => {
  const w = await world(8);
  const node = await w.clock.until(startNode({ name: 'other', dataDir: null, clock: w.clock }));
  const stores: { now: Client } = { now: w.store };
  const link = new Link(switching(stores), w.clock);
  const seen = looker(w, link);
  const other = await w.clock.until(campaign(await open(w, node.client), 'x', 'other'));
  await w.clock.until(w.store.txn({ success: [opPut(utf8('noise'), utf8(''))] }));
  const office = await w.clock.until(campaign(await open(w), 'x', 'a'));
  await w.clock.advance(100);
  for await (const now of observe(w.store, 'x', { clock: w.clock })) {
    t.is(now?.value, 'a');
    break;
  }
  t.deepEqual(words(seen.told).slice(-1), ['a']);
  t.true(other.term < office.term);
  link.down();
  stores.now = node.client;
  link.up();
  await w.clock.advance(15_000);
  t.deepEqual(words(seen.told).slice(-1), ['other']);
  await w.clock.until(node.close());
  await w.clock.until(seen.done);
  await w.end();
});

// What elections promise, as claims that are made of every place over real sockets: one member of coterie, one of etcd, and
// three whose leader is killed in the middle. Each function is the claim of the names that its comment begins with.

import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { Prng } from '../../core/base/prng.js';
import type { Backend, Client } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import type { Leader } from '../../recipes/election-state.js';
import { leader, observe } from '../../recipes/election-state.js';
import type { Leadership } from '../../recipes/election.js';
import { campaign } from '../../recipes/election.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost } from '../../recipes/held.js';
import { lead } from '../../recipes/lead.js';
import { Session, SessionLost } from '../../recipes/session.js';
import type { Claim } from './claims.js';
import { aborted, entries, insist, isPending, opened, patient, removeAll, revoke, until, withinMs } from './claims.js';
import type { Place } from './homes.js';
import { clients, start, urlsOf } from './homes.js';

const ROOT = 'coterie/elections/';

async function stands(client: Client, name: string, count: number): Promise<void> {
  await until(async () => await entries(client, `${ROOT}${name}/`) === count);
}

/** E1 E2. */
export const noPhantoms: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const open = (): Promise<Session> => opened(near);
  const [a, b, c, d] = await Promise.all([open(), open(), open(), open()]);
  const office = await campaign(a, 'e1', 'a');
  const abort = new AbortController();
  const aborting = t.throwsAsync(campaign(b, 'e1', 'b', { signal: abort.signal }));
  await stands(near, 'e1', 2);
  const revoked = t.throwsAsync(campaign(c, 'e1', 'c'), { instanceOf: SessionLost });
  await stands(near, 'e1', 3);
  const next = campaign(d, 'e1', 'd');
  await stands(near, 'e1', 4);
  const trouble = place.trouble();
  abort.abort();
  t.true(isApiError(await aborting, 'canceled'));
  await revoke(near, c.lease);
  t.is((await revoked)?.reason, 'revoked', place.name);
  await office.resign();
  const second = await next;
  t.true(second.term > office.term);
  await stands(near, 'e1', 1);
  await trouble;
  t.true(second.isLeader);
  await second.resign();
  await Promise.all([a, b, d].map((session) => session.close()));
};

/** Candidates that stand again and again; looks at every election whether anybody else leads still. */
class Rivals {
  readonly offices: Leadership[] = [];
  readonly #over = new AbortController();
  readonly #work: readonly Promise<unknown>[];

  constructor(t: ExecutionContext, far: readonly Client[], name: string, options: { ttlSeconds: number; keepMs: () => number }) {
    this.#work = far.map((client, i) => lead(
      () => Session.open(client, { ttlSeconds: options.ttlSeconds, timeoutMs: 2_000 }), name, `c${i}`,
      async (office) => {
        // Asked now: whoever led before knows of its end, whatever has run by then and what not.
        t.deepEqual(this.offices.filter(({ isLeader }) => isLeader).map(({ term }) => term), [], `besides ${office.term}`);
        t.true(office.term > (this.offices.at(-1)?.term ?? 0));
        this.offices.push(office);
        await Promise.race([aborted(office.signal), sleep(options.keepMs(), undefined, { ref: false })]);
      },
      { again: true, signal: this.#over.signal },
    ));
  }

  async end(): Promise<void> {
    this.#over.abort();
    await Promise.allSettled(this.#work);
  }
}

type Link = Awaited<ReturnType<typeof clients>>;

async function linksOf(t: ExecutionContext, place: Place, count: number): Promise<readonly Link[]> {
  return await Promise.all(Array.from({ length: count }, () => clients(t, place)));
}

/** E3. Away for half a TTL, and for more than one. */
export const storeAway: Claim = async (t, place) => {
  const links = await linksOf(t, place, 5);
  const ttlSeconds = patient(place);
  const rivals = new Rivals(t, links.map(({ far }) => far), 'e3', { ttlSeconds, keepMs: () => 600_000 });
  await until(() => rivals.offices.length > 0);
  for (const share of [0.5, place.ports.length > 1 ? 1.2 : 2]) {
    const before = rivals.offices.length;
    for (const { proxy } of links) proxy[share > 1 ? 'refuse' : 'freeze']();
    await Promise.all([sleep(share * ttlSeconds * 1_000), share > 1 ? undefined : place.trouble()]);
    for (const { proxy } of links) {
      proxy.accept();
      proxy.thaw();
    }
    if (share > 1) await until(() => rivals.offices.length > before);
    await sleep(500);
  }
  const [link] = links;
  await until(async () => {
    const seen = link === undefined ? null : await insist(() => leader(link.near, 'e3'));
    return seen !== null && seen.term === rivals.offices.at(-1)?.term;
  });
  t.log(`${place.name}: ${rivals.offices.length} leaderships`);
  await rivals.end();
};

/** E4. Each candidate's link has weather of its own. */
export const reconnectStorms: Claim = async (t, place) => {
  const links = await linksOf(t, place, 5);
  const prng = new Prng(4);
  const ttlSeconds = patient(place);
  const rivals = new Rivals(t, links.map(({ far }) => far), 'e4', { ttlSeconds, keepMs: () => 20 + prng.below(300) });
  await until(() => rivals.offices.length > 0);
  const trouble = place.trouble();
  let isTroubled = true;
  void trouble.finally(() => (isTroubled = false));
  for (let gust = 0; gust < 120 || isTroubled; gust += 1) {
    const proxy = links[prng.below(5)]?.proxy;
    const dice = prng.below(7);
    if (dice === 0) proxy?.refuse();
    if (dice === 1) proxy?.freeze();
    if (dice === 2) proxy?.cut();
    if (dice > 2) {
      proxy?.accept();
      proxy?.thaw();
    }
    await sleep(20 + prng.below(80));
  }
  await trouble;
  const during = rivals.offices.length;
  for (const { proxy } of links) {
    proxy.accept();
    proxy.thaw();
  }
  await until(() => rivals.offices.length > during + 2);
  t.log(`${place.name}: ${during} leaderships in the storm`);
  await rivals.end();
  // What was on its way when all ended goes with its session, at the latest.
  const [link] = links;
  if (link !== undefined) await until(async () => await entries(link.near, `${ROOT}e4/`) === 0);
};

/** E5. In calm weather somebody leads within two seconds; a busy machine is given more. */
export const deletedPrefix: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const sessions = await Promise.all([1, 2, 3].map(() => opened(near)));
  const [a, b, c] = sessions;
  if (a === undefined || b === undefined || c === undefined) throw new Error('three sessions');
  const office = await campaign(a, 'e5', 'a');
  const waiting = [campaign(b, 'e5', 'b'), campaign(c, 'e5', 'c')];
  await stands(near, 'e5', 3);
  const trouble = place.trouble();
  await removeAll(near, `${ROOT}e5/`);
  const from = performance.now();
  const next = await Promise.race(waiting);
  const ms = performance.now() - from;
  t.true(ms < (place.ports.length > 1 ? 20_000 : 5_000), `${place.name}: ${ms} ms`);
  await aborted(office.signal);
  t.true(office.signal.reason instanceof EntryLost, place.name);
  await stands(near, 'e5', 2);
  await next.resign();
  const offices: Leadership[] = await Promise.all(waiting);
  t.is(offices.filter(({ isLeader }) => isLeader).length, 1);
  t.log(`${place.name}: led again after ${Math.round(ms)} ms`);
  await trouble;
  await Promise.all(sessions.map((session) => session.close()));
};

/** E6 E7. */
export const frozenLeader: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const [short, long] = [await opened(far, patient(place)), await opened(near, 300)];
  const office = await campaign(short, 'e6', 'short');
  const order: string[] = [];
  office.signal.addEventListener('abort', () => order.push(`signal, leads: ${office.isLeader}`));
  office.onEnd((reason) => {
    order.push(`hook: ${reason.name}`);
  });
  const waiting = campaign(long, 'e6', 'long').then((next) => {
    // Asked in the very turn in which it is elected.
    order.push(`elected, the other one leads: ${office.isLeader}`);
    return next;
  });
  await stands(near, 'e6', 2);
  const from = performance.now();
  proxy.freeze();
  const trouble = place.trouble();
  const next = await waiting;
  const ms = performance.now() - from;
  t.true(ms < withinMs(place, short.ttlMs), `${place.name}: by its own TTL, after ${ms} ms`);
  await until(() => order.includes('hook: SessionLost'));
  t.is(order[0], 'signal, leads: false', place.name);
  t.true(order.includes('elected, the other one leads: false'), place.name);
  await t.throwsAsync(office.txn().put('e6-effect', '1').commit(), { instanceOf: FencedOut });
  proxy.thaw();
  await trouble;
  t.true(next.isLeader);
  // An end of one's own has the same order, and the entry goes last.
  const last: string[] = [];
  next.signal.addEventListener('abort', () => last.push('signal'));
  next.onEnd(async () => {
    last.push(`hook, the entry stands: ${await entries(near, `${ROOT}e6/`) === 1}`);
  });
  await next.resign();
  t.deepEqual(last, ['signal', 'hook, the entry stands: true'], place.name);
  t.is(await entries(near, `${ROOT}e6/`), 0);
  await long.close();
};

async function forget(store: Backend): Promise<void> {
  await insist(async () => {
    const { header } = await store.range({ key: utf8('x') });
    await store.compact(header.revision).catch((error: unknown) => {
      if (!isApiError(error, 'compacted')) throw error;
    });
  });
}

/** E8. */
export const survivingObserver: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const stop = new AbortController();
  const told: (Leader | null)[] = [];
  const observing = (async () => {
    for await (const now of observe(far, 'e8', { signal: stop.signal, livenessMs: 2_000 })) told.push(now);
  })();
  const session = await opened(near);
  const trouble = place.trouble();
  for (let i = 0; i < 6; i += 1) {
    const office = await campaign(session, 'e8', `a${i}`);
    if (i % 2 === 1) proxy.cut();
    if (i === 4) proxy.freeze();
    await insist(() => office.proclaim(`b${i}`));
    // What it missed while it was away is not in the store's history any more.
    if (i === 4) await forget(near);
    await sleep(i === 4 ? 3_000 : 100);
    if (i === 4) proxy.thaw();
    await until(() => told.at(-1)?.value === `b${i}` && told.at(-1)?.staleSince === null);
    t.like(told.at(-1), { value: `b${i}`, term: office.term, staleSince: null }, place.name);
    await office.resign();
  }
  await until(() => told.at(-1) === null);
  await trouble;
  const terms = told.flatMap((now) => (now === null ? [] : [now.term]));
  t.deepEqual(terms, terms.toSorted((a, b) => a - b));
  t.true(await isPending(observing, 200));
  stop.abort();
  await observing;
  await session.close();
};

/** E9. */
export const coldStart: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const ttlSeconds = patient(place);
  const args = (i: number): string[] => [urlsOf(place).join(','), 'e9', `dead${i}`, String(ttlSeconds)];
  const dead = await Promise.all([1, 2].map((i) => start(t, 'election-main.js', args(i))));
  await stands(near, 'e9', 2);
  for (const { child } of dead) child.kill('SIGKILL');
  const from = performance.now();
  const session = await opened(near);
  const trouble = place.trouble();
  const office = await campaign(session, 'e9', 'restarted');
  const ms = performance.now() - from;
  t.log(`${place.name}: ${Math.round(ms)} ms after the crash, at a TTL of ${ttlSeconds} s`);
  t.true(ms < withinMs(place, ttlSeconds * 1_000), place.name);
  await trouble;
  t.true(office.isLeader);
  await office.resign();
  await session.close();
};

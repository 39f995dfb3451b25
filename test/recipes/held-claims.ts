// What everything that is held by standing in a line promises alike, over real sockets: L11, L12 and L13.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { EntryLost, EntryMayRemain } from '../../recipes/held.js';
import type { HeldLock } from '../../recipes/lock.js';
import { lock } from '../../recipes/lock.js';
import { SessionLost } from '../../recipes/session.js';
import type { Claim } from './claims.js';
import { aborted, entries, opened, patient, revoke, until } from './claims.js';
import type { Place } from './homes.js';
import { clients } from './homes.js';
import type { Kind } from './kinds.js';
import { kindsOf } from './kinds.js';

type Counted = Record<'txn' | 'range' | 'watch', number>;

const HANDS = 10;
/** One to release and one to look, and the watches of who holds next. */
const OPERATIONS_MAX = 4;

/** Every kind, on a resource of its own. */
function kinds(x: string): readonly Kind[] {
  return kindsOf(x).map((kind, i) => kindsOf(`${x}-${i}`)[i] ?? kind);
}

/** L11. */
export async function constantHandOvers(t: Parameters<Claim>[0], place: Place, numbers: readonly number[]): Promise<void> {
  const { near } = await clients(t, place);
  const results: string[] = [];
  for (const waiters of numbers) {
    const name = `l11-${waiters}`;
    const counted = { txn: 0, range: 0, watch: 0 };
    const session = await opened(counting(near, counted));
    const first = await lock(session, name);
    const order: HeldLock[] = [];
    const waits = Array.from({ length: waiters }, () => lock(session, name).then((one) => order.push(one)));
    for (const wait of waits) wait.catch(() => undefined);
    // The holder watches its entry, each waiter its own and the one before.
    await until(() => counted.watch >= 2 * waiters + 1, 50);
    if (place.ports.length > 1) await place.trouble();
    const { operations, ms } = await place.calm(() => handOver(first, order, counted));
    results.push(`${waiters}: ${operations} operations in ${ms.toFixed(1)} ms`);
    t.true(operations <= OPERATIONS_MAX, `${place.name}: ${operations} operations per hand-over with ${waiters} waiters`);
    await session.close();
  }
  t.log(`${place.name}, waiters and hand-overs: ${results.join(', ')}`);
}

interface HandOvers {
  readonly operations: number;
  readonly ms: number;
}

async function handOver(first: HeldLock, order: readonly HeldLock[], counted: Counted): Promise<HandOvers> {
  const sum = (): number => counted.txn + counted.range + counted.watch;
  // Whoever has missed something has looked again by then.
  for (let before = -1; before !== sum(); await sleep(1_000)) before = sum();
  const before = sum();
  const from = performance.now();
  let held = first;
  for (let i = 0; i < HANDS; i += 1) {
    await held.release();
    // In the store's order, which is not that of the calls.
    await until(() => order.length > i, 1);
    held = order[i] ?? held;
  }
  return { operations: (sum() - before) / HANDS, ms: (performance.now() - from) / HANDS };
}

function counting(client: Client, counted: Counted): Client {
  return {
    range: (request, options) => ((counted.range += 1), client.range(request, options)),
    txn: (request, options) => ((counted.txn += 1), client.txn(request, options)),
    watch: (request, options) => ((counted.watch += 1), client.watch(request, options)),
    grant: (ttl, options) => client.grant(ttl, options),
    keepAlive: (lease, options) => client.keepAlive(lease, options),
    revoke: (lease, options) => client.revoke(lease, options),
    close: () => client.close(),
  };
}

/** L12. */
export const everyKind: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const next = await opened(near);
  const suites = (['revoked', 'closed', 'unreachable'] as const).flatMap((way) => kinds(`l12-${way}`).map(async (kind) => {
    const session = await opened(way === 'unreachable' ? far : near, patient(place));
    const held = await kind.acquire(session);
    return { way, kind, session, held };
  }));
  const all = await Promise.all(suites);
  t.true(all.every(({ held }) => held.isHeld));
  const trouble = place.trouble();
  proxy.freeze();
  await Promise.all(all.map(async ({ way, kind, session, held }) => {
    const what = `${place.name}: ${kind.name}, ${way}`;
    if (way === 'revoked') await revoke(near, session.lease);
    if (way === 'closed') {
      const closing = session.close();
      t.false(held.isHeld, `${what}: at once`);
      await closing;
    }
    await aborted(held.signal);
    const reason: unknown = held.signal.reason;
    t.true(reason instanceof SessionLost || (way === 'revoked' && reason instanceof EntryLost), what);
    t.false(held.isHeld, what);
    const after = await kind.acquire(next);
    t.true(after.fence > held.fence, what);
    t.is(held.signal.reason, reason);
    t.is(held.remaining, 0);
    t.throws(() => held.assertHeld());
    await held.release();
    await after.release();
    await until(async () => await entries(near, kind.prefix) === 0);
  }));
  await trouble;
  proxy.thaw();
  await next.close();
};

/** L13. */
export const boundedWaits: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const [a, b] = [await opened(near), await opened(near)];
  const trouble = place.trouble();
  await Promise.all(kinds('l13').map(async (kind) => {
    const blocking = await kind.block(a);
    const alone = await entries(near, kind.prefix);
    const refused = async (work: Promise<unknown>, code: 'canceled' | 'deadline_exceeded'): Promise<void> => {
      const error = await t.throwsAsync(work);
      t.true(isApiError(error, code), `${place.name}, ${kind.name}: ${String(error)}`);
      // Where nobody leads for so long, it says so and goes on.
      const mayRemain = error instanceof EntryMayRemain && place.ports.length > 1;
      if (mayRemain) await until(async () => await entries(near, kind.prefix) === alone);
      t.is(await entries(near, kind.prefix), alone, `${place.name}, ${kind.name}: it has left the line`);
    };
    await refused(kind.acquire(b, { signal: AbortSignal.abort() }), 'canceled');
    await refused(kind.acquire(b, { timeoutMs: 300 }), 'deadline_exceeded');
    await refused(kind.acquire(b, { signal: AbortSignal.timeout(300) }), 'canceled');
    const told: string[] = [];
    const observe = ({ kind: what }: { kind: string }): unknown => what === 'still_waiting' && told.push(what);
    await refused(kind.acquire(b, { tellAfterMs: 100, timeoutMs: 500, observe }), 'deadline_exceeded');
    t.deepEqual(told, []);
    const waiting = kind.acquire(b, { tellAfterMs: 300, observe });
    await until(() => told.length > 0);
    await sleep(500);
    t.deepEqual(told, ['still_waiting'], `${place.name}, ${kind.name}: once, and only of what nothing bounds`);
    await blocking.release();
    await (await waiting).release();
    t.is(await entries(near, kind.prefix), 0);
  }));
  await trouble;
  await Promise.all([a.close(), b.close()]);
};

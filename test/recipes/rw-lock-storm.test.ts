// Read/write locks and permits in bad weather: whoever holds is looked at all the time, the store judges at the end. Never a
// writer beside anybody, never more permits than the limit, nothing of ours left, and nobody waits for ever.

import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { EntryLost } from '../../recipes/held.js';
import type { HeldLock } from '../../recipes/lock.js';
import { readLock, tryReadLock, tryWriteLock, writeLock } from '../../recipes/rw-lock.js';
import { acquirePermits, tryPermits } from '../../recipes/semaphore.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { Weather } from './weather.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

const WORKERS = 6;
const PERMITS = 4;

interface Holder {
  readonly held: HeldLock;
  /** How much of it: all for a writer. */
  readonly weight: number;
}

type Take = (session: Session, signal: AbortSignal) => Promise<Holder | null>;

function readersAndWriters({ prng }: World): Take {
  return async (session, signal) => {
    const [isWriter, isTry] = [prng.below(3) === 0, prng.below(4) === 0];
    const [wait, once] = isWriter ? [writeLock, tryWriteLock] : [readLock, tryReadLock];
    const held = await (isTry ? once : wait)(session, 'x', { signal });
    return held === null ? null : { held, weight: isWriter ? PERMITS : 1 };
  };
}

function permits({ prng }: World): Take {
  return async (session, signal) => {
    const weight = 1 + prng.below(PERMITS);
    const options = { limit: PERMITS, permits: weight, signal };
    const held = await (prng.below(4) === 0 ? tryPermits : acquirePermits)(session, 'x', options);
    return held === null ? null : { held, weight };
  };
}

async function storm(t: ExecutionContext, seed: number, taking: (w: World) => Take, readersMax: number): Promise<void> {
  const w = await world(seed);
  const weather = new Weather(w);
  const take = taking(w);
  const holders = new Set<Holder>();
  let [isOver, taken, most] = [false, 0, 0];
  const check = (): void => {
    const now = [...holders].filter(({ held }) => held.isHeld);
    const isAlone = now.length === 1 || now.every(({ weight }) => weight < PERMITS);
    const weight = now.reduce((sum, each) => sum + each.weight, 0);
    most = Math.max(most, now.length);
    t.true(isAlone && weight <= readersMax, now.map(({ held, weight: each }) => `${text(held.key)} x ${each}`).join(' and '));
  };
  const step = async (session: Session): Promise<void> => {
    const abort = new AbortController();
    w.clock.schedule(1 + w.prng.below(6_000), () => abort.abort());
    const holder = await take(session, abort.signal);
    if (holder === null) return weather.sleep(20);
    t.true(holder.held.isHeld, 'no dead handle is handed out');
    holders.add(holder);
    taken += 1;
    check();
    await weather.sleep(w.prng.below(150));
    holders.delete(holder);
    await holder.held.release();
  };
  const worker = async (client: Client): Promise<void> => {
    while (!isOver) {
      try {
        await using session = await Session.open(client, { ttlSeconds: 4, clock: w.clock, timeoutMs: 3_000 });
        while (!isOver && session.live) {
          await step(session).catch((error: unknown) => {
            t.false(error instanceof EntryLost && session.live, 'nobody deletes what is held');
            if (!(error instanceof ApiError) && !(error instanceof EntryLost)) throw error;
          });
          if (session.live) await weather.sleep(5);
        }
      } catch (error) {
        if (!(error instanceof ApiError) && !(error instanceof SessionLost)) throw error;
        await weather.sleep(50);
      }
    }
  };
  const workers = Array.from({ length: WORKERS }, () => worker(weather.client()));
  await weather.blow(12_000, check);
  const before = taken;
  await w.clock.advance(15_000);
  t.true(taken > before + 20, `after the storm ${taken - before} were taken in 15 s`);
  isOver = true;
  await w.clock.until(Promise.all(workers), 60_000);
  await w.clock.advance(20_000);
  const left = (await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key));
  t.deepEqual(left.filter((key) => !key.includes('/limit/')), []);
  t.true(most > 1, 'some shared it');
  t.log({ taken, most });
  await w.end();
}

test('readers and writers in a storm: a writer is alone, no entry is left, nobody is stuck', async (t) => {
  await storm(t, 1, readersAndWriters, WORKERS);
});

test('permits of all sizes in a storm: never more than the limit, none is lost, nobody is stuck', async (t) => {
  await storm(t, 2, permits, PERMITS);
});

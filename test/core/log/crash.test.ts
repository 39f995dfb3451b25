// The log on a disk that loses what was not synced: power cut before and in the middle of every effect of random histories,
// and again during recovery. What was acknowledged is there, what was never written is not, and the log goes on.

import test from 'ava';
import { Prng } from '../../../core/base/prng.js';
import { whenDone } from '../../../core/base/done.js';
import { WalStorage } from '../../../core/log/wal.js';
import type { Persist, Resumed } from '../../../core/raft/types.js';
import { SimClock } from '../../sim/clock.js';
import { SimDisk, type DiskOptions } from '../../sim/disk.js';
import { History, checkSnapshot, describe, judge } from './history.js';

const HISTORIES = 12;
const ROUNDS = 12;
const SEGMENT_BYTES = 2500;
const RESERVES = [0, 400, 5000];
const EMPTY_BATCH: Persist = { seq: 1, hard: null, truncateAfter: null, snapshot: null, entries: [] };

const KILLED = Object.assign(new Error('the program is gone'), { code: 'KILLED' });

type Fault = NonNullable<DiskOptions['fault']>;

/** `which`: how much is reserved ahead, nothing among them. */
function open(disk: SimDisk, clock: SimClock, which: number): WalStorage {
  const identity = { clusterId: 5n, memberId: 1n, incarnation: 7n };
  const reserveBytes = RESERVES[which % RESERVES.length] ?? 0;
  return new WalStorage({ files: disk, clock, directory: 'data', identity, segmentBytes: SEGMENT_BYTES, reserveBytes });
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Waits for `work`, or until the fault has struck; null: it never came. */
async function unlessStruck<T>(work: Promise<T>, struck: () => boolean): Promise<T | null> {
  let over = false;
  const watched = work.finally(() => {
    over = true;
  });
  watched.catch(() => undefined);
  while (!over && !struck()) await turn();
  return over ? watched : null;
}

interface Life {
  readonly log: WalStorage;
  readonly history: History;
  readonly struck: boolean;
  readonly effects: number;
}

/** One life: open, go through a random history, and be struck or not. */
async function live(disk: SimDisk, seed: number, fault: Fault): Promise<Life> {
  const prng = new Prng(seed);
  const history = new History(prng);
  let struck = false;
  disk.setFault((effect, number) => {
    const verdict = struck ? null : fault(effect, number);
    if (verdict !== null) struck = true;
    return verdict;
  });
  const count = (): number => disk.effects.length;
  const clock = new SimClock();
  const log = open(disk, clock, seed);
  const opened = await unlessStruck(whenDone<Resumed>((done) => log.open(done)).catch(() => null), () => struck);
  if (opened === null) return { log, history, struck: true, effects: count() };
  for (let round = 0; round < ROUNDS && !struck; round++) {
    for (let i = prng.below(4); i >= 0; i--) history.append(log);
    if (prng.below(3) === 0) history.snapshotAndCompact(log);
    for (let wait = prng.below(40); wait >= 0 && !struck; wait--) await turn();
    if (prng.below(4) === 0 && !struck) await clock.advance(60);
  }
  while (!struck && !history.isSettled) await turn();
  if (!struck) await unlessStruck(whenDone<void>((done) => log.close(done)).catch(() => null), () => struck);
  for (let i = 0; i < 30; i++) await turn();
  return { log, history, struck, effects: count() };
}

/** Opens what the cut has left, the first time with another cut on the way, and checks it. */
async function checkRecovery(disk: SimDisk, history: History, prng: Prng): Promise<number> {
  let struck = false;
  const at = prng.below(30);
  disk.setFault((_effect, number) => {
    if (struck || number !== at) return null;
    struck = true;
    return 'cut';
  });
  const first = open(disk, new SimClock(), prng.below(3));
  const early = await unlessStruck(whenDone<Resumed>((done) => first.open(done)), () => struck);
  if (early !== null) judge(history, early);
  disk.kill();
  disk.setFault(() => null);
  const clock = new SimClock();
  const log = open(disk, clock, prng.below(3));
  const resumed = await whenDone<Resumed>((done) => log.open(done));
  const count = judge(history, resumed);
  await checkSnapshot(log, resumed.snapshot);
  const state = history.states[count];
  if (state === undefined) throw new Error('a history without states');
  const next = new History(prng, { state, snapshot: resumed.snapshot });
  for (let i = 0; i < 5; i++) next.append(log);
  while (!next.isSettled) await turn();
  disk.powerCut();
  const again = open(disk, clock, prng.below(3));
  judge(next, await whenDone<Resumed>((done) => again.open(done)));
  return count;
}

test('a power cut at any effect loses nothing acknowledged and invents nothing', async (t) => {
  let cuts = 0;
  for (let seed = 1; seed <= HISTORIES; seed++) {
    const { effects } = await live(new SimDisk({ seed }), seed, () => null);
    for (let at = 0; at < effects; at++) {
      const disk = new SimDisk({ seed: seed * 1000 + at });
      const { history, struck } = await live(disk, seed, (_effect, number) => (number === at ? 'cut' : null));
      t.true(struck);
      try {
        await checkRecovery(disk, history, new Prng(at));
      } catch (error) {
        t.fail(`seed ${seed}, power cut at effect ${at}: ${error instanceof Error ? error.message : String(error)}`);
        return;
      }
      cuts++;
    }
  }
  t.true(cuts > HISTORIES * 40, `only ${cuts} cuts`);
  t.log(`${cuts} power cuts`);
});

test('what open has shown once is there for ever, even if the power goes before anything else is written', async (t) => {
  for (let seed = 1; seed <= 3; seed++) {
    const { effects } = await live(new SimDisk({ seed }), seed, () => null);
    for (let at = 0; at < effects; at++) {
      const disk = new SimDisk({ seed: at });
      // The program dies before the effect; what it wrote and did not sync is still in the system's cache.
      await live(disk, seed, (_effect, number) => (number === at ? KILLED : null));
      disk.kill();
      disk.setFault(() => null);
      const log = open(disk, new SimClock(), at);
      const shown = describe(await whenDone<Resumed>((done) => log.open(done)));
      disk.powerCut();
      const again = open(disk, new SimClock(), at);
      t.is(describe(await whenDone<Resumed>((done) => again.open(done))), shown, `seed ${seed}, killed at effect ${at}`);
    }
  }
});

test('an error of the disk at any effect ends all acknowledgement, and what was acknowledged is there', async (t) => {
  const { effects } = await live(new SimDisk({ seed: 7 }), 7, () => null);
  for (let at = 0; at < effects; at++) {
    const disk = new SimDisk({ seed: at });
    const error = Object.assign(new Error('EIO: injected'), { code: 'EIO' });
    const failed = await live(disk, 7, (_effect, number) => (number === at ? error : null));
    const { history } = failed;
    await t.throwsAsync(whenDone<void>((done) => failed.log.append(EMPTY_BATCH, done)), undefined, `error at effect ${at}`);
    await t.throwsAsync(whenDone<void>((done) => failed.log.compact(1, done)));
    disk.kill();
    disk.setFault(() => null);
    const log = open(disk, new SimClock(), at);
    const resumed = await whenDone<Resumed>((done) => log.open(done));
    t.notThrows(() => judge(history, resumed), `error at effect ${at}`);
    await whenDone<void>((done) => log.close(done));
  }
});

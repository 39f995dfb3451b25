// What the recipes cost, with coterie and with real etcd as the home: locks, queues, topics; elections are in fail-over.ts.
// The holders, consumers and subscribers live in this process, each on a session of its own where it has one, and share one
// connection, so that the processes that would hold them are not what is measured. Operations are calls of the client.

import { setTimeout as sleep } from 'node:timers/promises';
import { utf8 } from '../../core/base/bytes.js';
import { prefixRange } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { lock } from '../../recipes/lock.js';
import { Queue } from '../../recipes/queue.js';
import type { Session } from '../../recipes/session.js';
import type { Subscription } from '../../recipes/topic-read.js';
import { Topic } from '../../recipes/topic.js';
import { connected, must, opened, quantile } from './counting.js';
import { failOver } from './fail-over.js';
import type { Figure } from './report.js';
import type { Survey } from './survey.js';
import type { Target } from './targets.js';

/** A server or a client that is young still compiles; the figures are of those that have settled. */
const WARM_UP_MS = 1_500;
const MEASURED_MS = 2_000;
/** Until a line that has begun to move is in its stride. */
const SETTLE_MS = 500;
const LANES = 32;
const WAITERS = [10, 100, 1_000] as const;
const CONSUMERS = [1, 100] as const;
/** Items put and not yet ended: enough that nobody idles, few enough that the queue is not measured full. */
const AHEAD = 200;
const FILLING_MS = 4_000;
const SUBSCRIBERS = 1_000;
const MESSAGES = { alone: 100, together: 100 } as const;
const BODY = 'x'.repeat(256);

async function first(session: Session, name: string): Promise<void> {
  const held = await lock(session, name);
  must(held.isHeld, 'a lock that was acquired is not held');
  await held.release();
}

async function forMs(ms: number, work: () => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  while (performance.now() - startedAt < ms) await work();
  return performance.now() - startedAt;
}

/** Pairs of lock and unlock a second, many names at once. */
async function atOnce(session: Session, ms: number): Promise<number> {
  let pairs = 0;
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: LANES }, (_, lane) => forMs(ms, async () => {
    await first(session, `lane ${lane}`);
    pairs += 1;
  })));
  return pairs / ((performance.now() - startedAt) / 1000);
}

/** That, and the median of one pair at a time, in milliseconds. */
async function freeLock(target: Target): Promise<readonly number[]> {
  return await connected(target, (client) => opened(client, 1, async ([session]) => {
    must(session !== undefined, 'no session');
    await atOnce(session, WARM_UP_MS);
    const perSecond = await atOnce(session, MEASURED_MS);
    const alone: number[] = [];
    await forMs(MEASURED_MS, async () => {
      const startedAt = performance.now();
      await first(session, 'alone');
      alone.push(performance.now() - startedAt);
    });
    return [perSecond, quantile(alone, 0.5)];
  }));
}

/** For each number of waiters; the server has been warmed by locks that are free. */
async function contended(target: Target): Promise<readonly (number | Figure)[]> {
  await connected(target, (client) => opened(client, 1, async ([session]) => {
    must(session !== undefined, 'no session');
    await atOnce(session, WARM_UP_MS);
  }));
  const answers: (number | Figure)[] = [];
  for (const waiters of WAITERS) answers.push(...(await handOvers(target, waiters)));
  return answers;
}

/**
 * So many wait all the time: whoever has held stands at the end again. Hand-overs a second and what each costs the server, how
 * long from the call of `release` until the next one holds, and operations for each.
 */
async function handOvers(target: Target, waiters: number): Promise<readonly (number | Figure)[]> {
  const name = `line of ${waiters}`;
  return await connected(target, (client) => opened(client, waiters + 1, async ([before, ...sessions]) => {
    must(before !== undefined, 'no session');
    const stopper = await lock(before, name);
    const done: Standing = { count: 0, holders: 0, fence: 0, releasedAt: NaN, late: [], over: false, fault: null };
    const waits = sessions.map((session) => standing(session, name, done));
    const line = { ...prefixRange(utf8(`coterie/locks/${name}/`)), countOnly: true };
    // A watch on what each waits for, and one on its own entry; the holder has one too.
    while (client.calls.watch < 2 * waiters + 1 && done.fault === null) await sleep(20);
    check(done);
    must((await client.range(line)).count === waiters + 1, 'somebody does not stand in line');
    await stopper.release();
    await sleep(SETTLE_MS);
    const [from, operations, startedAt, cpuBefore] = [done.count, client.total, performance.now(), target.cpuMicros()];
    done.late = [];
    await sleep(MEASURED_MS);
    const [handed, spent, seconds] = [done.count - from, client.total - operations, (performance.now() - startedAt) / 1000];
    const [late, cpuMicros] = [quantile(done.late, 0.5), (target.cpuMicros() - cpuBefore) / handed];
    done.over = true;
    await Promise.all(sessions.map((session) => session.close()));
    await Promise.all(waits);
    check(done);
    return [{ value: handed / seconds, cpuMicros }, late, spent / handed];
  }));
}

interface Standing {
  count: number;
  holders: number;
  fence: number;
  releasedAt: number;
  /** Milliseconds. */
  late: number[];
  over: boolean;
  /** The first of whoever could not go on: on a loaded machine a session may be lost. The row fails by it, not the bench. */
  fault: Error | null;
}

function check({ fault }: Standing): void {
  if (fault !== null) throw fault;
}

/** Never rejects: nobody listens while the line moves. */
async function standing(session: Session, name: string, done: Standing): Promise<void> {
  try {
    for (;;) {
      const held = await lock(session, name);
      const now = performance.now();
      if (!Number.isNaN(done.releasedAt)) done.late.push(now - done.releasedAt);
      done.holders += 1;
      must(done.holders === 1 && held.fence > done.fence, 'two hold one lock');
      done.fence = held.fence;
      done.count += 1;
      done.holders -= 1;
      done.releasedAt = performance.now();
      await held.release();
    }
  } catch (error) {
    if (!done.over) done.fault ??= error instanceof Error ? error : new Error(String(error));
  }
}

/** Items put, taken and acknowledged in each second, while they are put; and operations for each. */
async function queued(target: Target, consumers: number): Promise<readonly number[]> {
  return await connected(target, (client) => opened(client, consumers, async (sessions) => {
    const name = `for ${consumers}`;
    const state = { put: 0, over: false };
    const seen = new Set<number>();
    const room: (() => void)[] = [];
    const queues = sessions.map(() => new Queue<{ n: number; body: string }>(client, name));
    const consuming = sessions.map(async (session, i) => {
      try {
        for (;;) {
          const item = await queues[i]?.take(session);
          if (item === undefined) return;
          await item.ack();
          must(!seen.has(item.body.n), `item ${item.body.n} ended twice`);
          seen.add(item.body.n);
          room.shift()?.();
        }
      } catch (error) {
        if (!isApiError(error, 'closed')) throw error;
      }
    });
    const producer = new Queue<{ n: number; body: string }>(client, name);
    const putting = Array.from({ length: LANES }, async () => {
      while (!state.over) {
        if (state.put - seen.size >= AHEAD) await new Promise<void>((resolve) => room.push(resolve));
        else await producer.put({ n: state.put += 1, body: BODY });
      }
    });
    // As many ahead as there will be, or the puts of the filling would count; where takers are faster there are never so many.
    const fullBy = performance.now() + FILLING_MS;
    await sleep(WARM_UP_MS);
    while (state.put - seen.size < AHEAD && performance.now() < fullBy) await sleep(1);
    const [from, operations, startedAt] = [seen.size, client.total, performance.now()];
    await sleep(MEASURED_MS);
    const [done, spent, seconds] = [seen.size - from, client.total - operations, (performance.now() - startedAt) / 1000];
    state.over = true;
    for (const enter of room) enter();
    await Promise.all(putting);
    for (const until = performance.now() + 20_000; seen.size < state.put && performance.now() < until;) await sleep(5);
    must(seen.size === state.put, `${state.put} items were put, ${seen.size} ended`);
    for (const queue of queues) queue.close();
    await Promise.all(consuming);
    return [done / seconds, spent / done];
  }));
}

/** Who has what: resolves when all subscribers have had so many messages. */
class Readers {
  readonly #waits = new Map<number, () => void>();
  readonly #had = new Map<number, number>();

  async follow(subscription: Subscription, count: number): Promise<void> {
    let last = 0;
    let had = 0;
    for await (const { position } of subscription) {
      must(last === 0 || position === last + 1, 'a subscriber missed a message');
      last = position;
      had += 1;
      const reached = (this.#had.get(had) ?? 0) + 1;
      this.#had.set(had, reached);
      if (reached === SUBSCRIBERS) this.#waits.get(had)?.();
      if (had === count) break;
    }
  }

  /** Until everybody has had `count` messages. */
  all(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waits.set(count, resolve);
      if (this.#had.get(count) === SUBSCRIBERS) resolve();
    });
  }
}

/** Latency until the last of a thousand has a message, one at a time; then messages and deliveries a second. */
async function published(target: Target): Promise<readonly number[]> {
  return await connected(target, (reading) => connected(target, async (client) => {
    const readers = new Readers();
    const count = MESSAGES.alone + MESSAGES.together;
    const subscriptions = Array.from({ length: SUBSCRIBERS }, () => new Topic(reading, 'wide').subscribe());
    await Promise.all(subscriptions.map((subscription) => subscription.ready()));
    const following = Promise.all(subscriptions.map((subscription) => readers.follow(subscription, count)));
    const topic = new Topic(client, 'wide');
    const latencies: number[] = [];
    for (let i = 1; i <= MESSAGES.alone; i += 1) {
      const everybody = readers.all(i);
      const startedAt = performance.now();
      await topic.publish(BODY);
      await everybody;
      latencies.push(performance.now() - startedAt);
    }
    const settled = latencies.slice(MESSAGES.alone / 4);
    const startedAt = performance.now();
    let left: number = MESSAGES.together;
    await Promise.all(Array.from({ length: LANES / 4 }, async () => {
      while (left > 0) {
        left -= 1;
        await topic.publish(BODY);
      }
    }));
    const publishedAt = performance.now();
    await following;
    const [publishing, delivering] = [(publishedAt - startedAt) / 1000, (performance.now() - startedAt) / 1000];
    const deliveries = SUBSCRIBERS * MESSAGES.together;
    return [MESSAGES.together / publishing, deliveries / delivering, quantile(settled, 0.5), quantile(settled, 0.99)];
  }));
}

export const recipeSurveys: readonly Survey[] = [
  {
    rows: [
      { name: `recipes: lock and unlock, free, ${LANES} names at once`, unit: 'pairs/s', better: 'more' },
      { name: 'recipes: lock and unlock, free, one at a time, p50', unit: 'ms', better: 'less' },
    ],
    ask: freeLock,
  },
  {
    rows: WAITERS.flatMap((waiters): Survey['rows'] => {
      const what = `recipes: lock, ${waiters.toLocaleString('en-US')} waiters`;
      return [
        { name: `${what}, hand-overs`, unit: 'hand-overs/s', better: 'more' },
        { name: `${what}, from release to the next holder, p50`, unit: 'ms', better: 'less' },
        { name: `${what}, operations`, unit: 'a hand-over', better: 'less' },
      ];
    }),
    ask: contended,
  },
  ...failOver,
  {
    rows: CONSUMERS.flatMap((consumers): Survey['rows'] => {
      const what = `recipes: queue, ${consumers} consumer${consumers === 1 ? '' : 's'}`;
      return [
        { name: `${what}, put, taken and ended`, unit: 'items/s', better: 'more' },
        { name: `${what}, operations`, unit: 'an item', better: 'less' },
      ];
    }),
    ask: async (target) => {
      const answers: number[] = [];
      for (const consumers of CONSUMERS) answers.push(...(await queued(target, consumers)));
      return answers;
    },
  },
  {
    rows: [
      { name: 'recipes: publish, 1,000 subscribers, 8 at once', unit: 'messages/s', better: 'more' },
      { name: 'recipes: publish, 1,000 subscribers, delivered to all', unit: 'deliveries/s', better: 'more' },
      { name: 'recipes: publish, 1,000 subscribers, until the last has it, p50', unit: 'ms', better: 'less' },
      { name: 'recipes: publish, 1,000 subscribers, until the last has it, p99', unit: 'ms', better: 'less' },
    ],
    ask: published,
  },
];

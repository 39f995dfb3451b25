// Everything behind the public door, used again and again on one long-lived session with one long-lived signal, as a server
// does for months: what is over leaves no timer, no watch, no listener, no lease and no key behind. And no wait outlives what
// it waits with.

import { getEventListeners } from 'node:events';
import test from 'ava';
import { text } from '../../core/base/bytes.js';
import type { Client, Watch } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import * as recipes from '../../recipes/index.js';
import type { World } from './world.js';
import { keysUnder, leaseIds, world } from './world.js';

interface Bench {
  readonly w: World;
  readonly client: Client;
  readonly session: recipes.Session;
  /** Lives for ever, and is handed to every call. */
  readonly signal: AbortSignal;
}

/** Made once, and what is done with it over and over. */
type Use = (bench: Bench) => (round: number) => Promise<unknown>;

const { Session } = recipes;
const spec = { service: 'api', id: 'a', address: '10.0.0.1', port: 80 };

const HELD: Readonly<Record<string, Use>> = {
  'a lock': ({ session, signal }) => () => recipes.withLock(session, 'a', () => 1, { signal }),
  'a lock held for long, and asked for': ({ w, session, signal }) => async () => {
    const held = await recipes.lock(session, 'a', { signal });
    held.wanted.throwIfAborted();
    await sleep(w, 50);
    await held.release();
  },
  'a wait that is given up': ({ session, signal }) => async () => {
    const held = await recipes.lock(session, 'a', { signal });
    await Promise.allSettled([recipes.lock(session, 'a', { signal, timeoutMs: 20 })]);
    await held.release();
  },
  'several locks': ({ session, signal }) => async () => (await recipes.lockAll(session, ['a', 'b', 'c'], { signal })).release(),
  'readers and a writer': ({ session, signal }) => async () => {
    const reader = await recipes.readLock(session, 'x', { signal });
    const writer = recipes.writeLock(session, 'x', { signal });
    await reader.release();
    await (await writer).release();
  },
  'permits': ({ session, signal }) => async () => {
    const all = await recipes.acquirePermits(session, 'x', { limit: 2, permits: 2, signal });
    const one = recipes.acquirePermits(session, 'x', { limit: 2, signal });
    await all.release();
    await (await one).release();
  },
  'an office': ({ session, signal }) => async () => {
    const office = await recipes.campaign(session, 'e', 'v', { signal });
    office.onEnd(() => undefined);
    await office.proclaim('w', { signal });
    await office.resign({ signal });
  },
  'leading on sessions of its own': ({ w: { clock }, client, signal }) => {
    return () => recipes.lead(() => Session.open(client, { ttlSeconds: 5, clock }), 'e', 'v', () => 1, { clock, signal });
  },
  'observing an election': ({ w: { clock }, client, signal }) => async () => {
    for await (const leader of recipes.observe(client, 'e', { clock, signal })) if (leader === null) break;
  },
};

const QUEUES: Readonly<Record<string, Use>> = {
  'an item': ({ w: { clock }, client, session, signal }) => {
    const queue = new recipes.Queue<number>(client, 'q', { clock });
    return async (round) => {
      await queue.put(round, { signal });
      await (await queue.take(session, { signal })).ack();
    };
  },
  'an item on a lease of its own': ({ w: { clock }, client, session, signal }) => {
    const queue = new recipes.Queue<number>(client, 'q', { clock });
    return async (round) => {
      await queue.put(round, { signal });
      const item = await queue.take(session, { leaseMs: 3_000, signal });
      await item.extend(5_000);
      await item.nack({ delayMs: 0 });
      await (await queue.take(session, { signal })).ack();
    };
  },
  'consuming for a while': ({ w: { clock }, client, signal }) => {
    const queue = new recipes.Queue<number>(client, 'q', { clock });
    return async (round) => {
      await queue.put(round, { signal });
      const over = new AbortController();
      await queue.consume(() => over.abort(), { signal: over.signal, concurrency: 3 });
    };
  },
  'a subscription': ({ w: { clock }, client, signal }) => {
    const topic = new recipes.Topic(client, 't', { clock, retain: { count: 1 } });
    return async (round) => {
      const messages = topic.subscribe({ signal });
      await messages.ready({ signal });
      await topic.publish(String(round), { signal });
      for await (const { body } of messages) if (text(body) === String(round)) break;
    };
  },
  'a group of a topic': ({ w: { clock }, client, session, signal }) => {
    const topic = new recipes.Topic(client, 't', { clock, retain: { count: 1 } });
    return async (round) => {
      await using group = await topic.group(session, 'g', { signal });
      await topic.publish(String(round), { signal });
      await (await group.take({ signal })).ack({ signal });
    };
  },
};

const SHARED: Readonly<Record<string, Use>> = {
  'a configuration': ({ w: { clock }, client, signal }) => {
    const space = new recipes.ConfigSpace<number>(client, 'c', { parse: Number, clock });
    const first = space.publish(1, { expect: 0 });
    return async () => {
      await first;
      await using config = await space.follow().ready({ signal });
      for await (const { to } of config.changes({ signal })) if (to === 1) break;
    };
  },
  'a barrier': ({ session, signal }) => () => {
    return Promise.all([1, 2].map(() => recipes.arriveAt(session, 'b', { parties: 2, signal })));
  },
  'a double barrier': ({ session, signal }) => () => {
    return Promise.all([1, 2].map(() => recipes.withBarrier(session, 'd', () => 1, { parties: 2, signal })));
  },
  'a latch': ({ client, session, signal }) => async () => {
    await using gate = await recipes.latch(session, 'l', { count: 1, signal });
    await Promise.all([gate.wait({ signal }), gate.countDown({ signal })]);
    await recipes.removeLatch(client, 'l', { signal });
  },
  'counting': ({ session, signal }) => () => recipes.counter(session, 'n').add(1, { signal }),
  'ids': ({ w: { clock }, client, signal }) => () => recipes.ids(client, 'n', { clock }).reserve(3, { signal }),
  'a transaction': ({ session, signal }) => (round) => recipes.stm(session, async (tx) => {
    await Promise.all([tx.get('a'), tx.get('b')]);
    tx.put('a', String(round));
  }, { signal }),
  'a group and its view': ({ w: { clock }, client, session, signal }) => async () => {
    await using view = await recipes.members(client, 'g', { clock }).ready({ signal });
    await using member = await recipes.join(session, 'g', { signal });
    await member.update('x');
    for await (const { members } of view.changes) if (members.length > 0) break;
  },
  'a registration and its view': ({ w: { clock }, client, session, signal }) => {
    const first = recipes.register(session, spec);
    return async () => {
      await (await first).update({ weight: 2 });
      await using view = await recipes.discover(client, 'api', { clock }).ready({ signal });
      for await (const { instances } of view.changes) if (instances.length === 1) break;
    };
  },
};

for (const [what, use] of Object.entries({ ...HELD, ...QUEUES, ...SHARED })) {
  test(`${what}, over and over, leaves nothing behind`, async (t) => {
    const w = await world(1);
    const { client, open } = counting(w.store);
    const session = await w.clock.until(Session.open(client, { ttlSeconds: 600, clock: w.clock }));
    const { signal } = new AbortController();
    const round = use({ w, client, session, signal });
    const left = async (): Promise<unknown> => {
      await w.clock.advance(3_000);
      return {
        timers: w.clock.pending,
        watches: open(),
        listeners: [signal, session.signal].map((each) => getEventListeners(each, 'abort').length),
        leases: (await leaseIds(w.store)).length,
        // Ids are remembered for their time.
        keys: (await keysUnder(w.store, '')).filter(({ key }) => !text(key).includes('/ids/')).length,
      };
    };
    for (let i = 0; i < 3; i += 1) await w.clock.until(round(i));
    const before = await left();
    for (let i = 3; i < 23; i += 1) await w.clock.until(round(i));
    t.deepEqual(await left(), before);
    await w.clock.until(session.close());
    await w.clock.advance(100);
    await w.end();
  });
}

/** Waits for what does not come. `session`: it ends with it. */
const WAITS: Readonly<Record<string, { readonly session: boolean; readonly wait: (bench: Bench) => Promise<unknown> }>> = {
  'for a lock': { session: true, wait: ({ session, signal }) => recipes.lock(session, 'a', { signal }) },
  'for several locks': { session: true, wait: ({ session, signal }) => recipes.lockAll(session, ['0', 'a'], { signal }) },
  'to read': { session: true, wait: ({ session, signal }) => recipes.readLock(session, 'x', { signal }) },
  'for permits': { session: true, wait: ({ session, signal }) => recipes.acquirePermits(session, 'x', { limit: 1, signal }) },
  'to lead': { session: true, wait: ({ session, signal }) => recipes.lead(session, 'e', 'v', () => 1, { signal }) },
  'to lead again and again': { session: false, wait: ({ w: { clock }, client, signal }) => {
    return recipes.lead(() => Session.open(client, { ttlSeconds: 5, clock }), 'e', 'v', () => 1, { again: true, clock, signal });
  } },
  'for another leader': { session: false, wait: ({ w: { clock }, client, signal }) => {
    return drained(recipes.observe(client, 'e', { clock, signal }));
  } },
  'for an item': { session: true, wait: ({ w: { clock }, client, session, signal }) => {
    return new recipes.Queue(client, 'q', { clock }).take(session, { signal });
  } },
  'to consume': { session: false, wait: ({ w: { clock }, client, signal }) => {
    return new recipes.Queue(client, 'q', { clock }).consume(() => undefined, { concurrency: 2, signal });
  } },
  'for an end': { session: false, wait: ({ w: { clock }, client, signal }) => {
    return drained(new recipes.Queue(client, 'q', { clock }).ends({ signal }));
  } },
  'for room in a queue': { session: false, wait: ({ w: { clock }, client, signal }) => {
    return new recipes.Queue(client, 'full', { clock, itemsMax: 1 }).put('b', { signal });
  } },
  'for a message': { session: false, wait: ({ w: { clock }, client, signal }) => {
    return drained(new recipes.Topic(client, 't', { clock }).subscribe({ signal }));
  } },
  'for a live message': { session: false, wait: ({ w: { clock }, client, signal }) => {
    return drained(new recipes.LiveTopic(client, 't', { clock }).subscribe({ signal }));
  } },
  'for a message of a group': { session: true, wait: async ({ w: { clock }, client, session, signal }) => {
    return (await new recipes.Topic(client, 't', { clock }).group(session, 'g')).take({ signal });
  } },
  'for a configuration': { session: false, wait: ({ w: { clock }, client, signal }) => {
    return new recipes.ConfigSpace(client, 'c', { parse: Number, clock }).follow().ready({ signal });
  } },
  'for another configuration': { session: false, wait: ({ w: { clock }, client, signal }) => {
    return drained(new recipes.ConfigSpace(client, 'c', { parse: Number, clock }).follow().changes({ signal }));
  } },
  'at a barrier': { session: true, wait: ({ session, signal }) => recipes.arriveAt(session, 'b', { parties: 2, signal }) },
  'to be inside': { session: true, wait: ({ session, signal }) => recipes.enterBarrier(session, 'b', { parties: 2, signal }) },
  'for a latch': { session: false, wait: async ({ session, signal }) => {
    return (await recipes.latch(session, 'l', { count: 1, signal })).wait({ signal });
  } },
  'in a transaction': { session: true, wait: ({ session, signal }) => {
    return recipes.stm(session, () => new Promise(() => undefined), { signal });
  } },
};

for (const [what, { session: endsWithIt, wait }] of Object.entries(WAITS)) {
  test(`waiting ${what} ends by a signal, with the client${endsWithIt ? ' and with the session' : ''}`, async (t) => {
    for (const how of ['signal', 'client', ...(endsWithIt ? ['session'] as const : [])] as const) {
      const w = await world(1);
      const holder = await w.clock.until(Session.open(w.store, { ttlSeconds: 600, clock: w.clock }));
      await w.clock.until(Promise.all([
        recipes.lock(holder, 'a'), recipes.writeLock(holder, 'x'), recipes.acquirePermits(holder, 'x', { limit: 1 }),
        recipes.campaign(holder, 'e', 'first'), new recipes.Queue(w.store, 'full', { clock: w.clock, itemsMax: 1 }).put('a'),
      ]));
      const client = closable(w.store);
      const session = await w.clock.until(Session.open(client, { ttlSeconds: 5, clock: w.clock }));
      const control = new AbortController();
      let outcome: unknown = 'waiting';
      const settled = (value: unknown): void => void (outcome = value);
      wait({ w, client, session, signal: control.signal }).then(() => settled('over'), settled);
      await w.clock.advance(1_000);
      t.is(outcome, 'waiting');
      if (how === 'signal') control.abort();
      if (how === 'client') await client.close();
      if (how === 'session') await w.clock.until(session.close());
      await w.clock.advance(7_000);
      t.true(outcome === 'over' || (outcome instanceof Error && 'code' in outcome), `${how}: ${String(outcome)}`);
      await w.end();
    }
  });
}

async function drained(steps: AsyncIterable<unknown>): Promise<void> {
  let seen = 0;
  for await (const step of steps) if (step !== undefined) seen += 1;
  if (seen > 10) throw new Error('there was nothing to see');
}

/** Closing it is nothing to the store. */
function closable(inner: Client): Client {
  const watches = new Set<Watch>();
  let isClosed = false;
  const unless = <T>(call: () => Promise<T>): Promise<T> => (isClosed ? Promise.reject(new ApiError('closed')) : call());
  return {
    range: (request, options) => unless(() => inner.range(request, options)),
    txn: (request, options) => unless(() => inner.txn(request, options)),
    grant: (ttlSeconds, options) => unless(() => inner.grant(ttlSeconds, options)),
    keepAlive: (lease, options) => unless(() => inner.keepAlive(lease, options)),
    revoke: (lease, options) => unless(() => inner.revoke(lease, options)),
    watch: (request, options) => {
      const watch = inner.watch(request, options);
      watches.add(watch);
      if (isClosed) watch.close();
      return watch;
    },
    close: () => {
      isClosed = true;
      for (const watch of watches) watch.close();
      return Promise.resolve();
    },
  };
}

function sleep({ clock }: World, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.schedule(ms, resolve);
  });
}

/** Counts the watches that are open. */
function counting(inner: Client): { readonly client: Client; readonly open: () => number } {
  const open = new Set<Watch>();
  const client: Client = {
    range: (request, options) => inner.range(request, options),
    txn: (request, options) => inner.txn(request, options),
    grant: (ttlSeconds, options) => inner.grant(ttlSeconds, options),
    keepAlive: (lease, options) => inner.keepAlive(lease, options),
    revoke: (lease, options) => inner.revoke(lease, options),
    close: () => inner.close(),
    watch: (request, options) => {
      const watch = inner.watch(request, options);
      open.add(watch);
      return {
        requestProgress: () => watch.requestProgress(),
        close: () => {
          open.delete(watch);
          watch.close();
        },
        [Symbol.asyncIterator]: () => watch[Symbol.asyncIterator](),
      };
    },
  };
  return { client, open: () => open.size };
}

// A view under a simulated clock and a bad network: what it holds, what it says about itself, and what it delivers.

import test from 'ava';
import { latin1, text, utf8 } from '../../core/base/bytes.js';
import type { Backend, Client, Event, KeyValue, WatchBatch } from '../../core/client.js';
import { del, get, put } from '../../core/client.js';
import { ApiError, isApiError } from '../../core/errors.js';
import type { ViewChange, ViewEvent } from '../../recipes/view.js';
import { View } from '../../recipes/view.js';
import { Link } from './link.js';
import { guarded, keysUnder, switching, world } from './world.js';

function plain(kvs: readonly KeyValue[]): Record<string, string> {
  return Object.fromEntries(kvs.map((kv) => [text(kv.key), `${text(kv.value)}@${kv.modRevision}`]));
}

test('R14 a half-open connection: stale within the liveness interval, then a new watch and the difference', async (t) => {
  const w = await world(14);
  const link = w.link();
  const events: ViewEvent[] = [];
  const { clock } = w;
  await clock.until(put(w.store, utf8('r14/kept'), utf8('1')));
  await clock.until(put(w.store, utf8('r14/removed'), utf8('1')));
  const view = View.follow(link, { prefix: 'r14/' }, { clock, livenessMs: 3_000, observe: (event) => events.push(event) });
  await clock.until(view.ready());
  await clock.advance(20_000);
  t.is(view.staleSince, null, 'an idle view that hears progress is current');
  t.deepEqual(events.map((event) => event.kind), ['listed']);

  link.freeze();
  const frozenAt = clock.now();
  await clock.until(put(w.store, utf8('r14/added'), utf8('1')));
  await clock.until(del(w.store, utf8('r14/removed')));
  await clock.advance(4_100);
  const { staleSince } = view;
  t.not(staleSince, null);
  t.true(Math.abs((staleSince ?? 0) - frozenAt) <= 3_000, `stale since ${staleSince}, frozen at ${frozenAt}`);
  t.deepEqual(Object.keys(plain(view.entries())), ['r14/kept', 'r14/removed'], 'what it held stays readable');

  link.down();
  link.thaw();
  link.up();
  await clock.advance(3_000);
  t.is(view.staleSince, null);
  t.deepEqual(plain(view.entries()), plain(await clock.until(keysUnder(w.store, 'r14/'))));
  t.true(events.some((event) => event.kind === 'current'));
  await clock.until(view.close());
  await w.end();
});

test('R14 silence is seen at the time of the call, before any timer has run', async (t) => {
  const w = await world(14);
  const view = View.follow(w.link(), { prefix: 'x/' }, { clock: w.clock, livenessMs: 3_000 });
  await w.clock.until(view.ready());
  await w.clock.advance(1_000);
  t.is(view.staleSince, null);
  w.clock.jump(10_000);
  t.not(view.staleSince, null);
  await w.clock.advance(1_000);
  t.is(view.staleSince, null, 'the stall itself proves nothing against the watch');
  t.is(view.synced, true);
  await w.clock.until(view.close());
  await w.end();
});

test('R15 10,000 random changes under flaps: the cache equals the store, every last value was delivered', async (t) => {
  const w = await world(15);
  const { clock, prng } = w;
  const link = w.link();
  const relists: number[] = [];
  const view = View.follow(link, { prefix: 'r15/' }, {
    clock,
    livenessMs: 3_000,
    observe: (event) => {
      if (event.kind === 'listed') relists.push(event.changed);
    },
  });
  const fast = consume(view, () => 0);
  const slow = consume(view, () => 2_000);
  await clock.until(view.ready());
  let writes = 0;
  while (writes < 10_000) {
    const burst = Array.from({ length: 20 }, () => {
      const key = utf8(`r15/${prng.below(150)}`);
      return prng.below(4) === 0 ? del(w.store, key) : put(w.store, key, utf8(String(prng.u32())));
    });
    await clock.until(Promise.all(burst));
    writes += burst.length;
    const dice = prng.below(20);
    if (dice === 0) link.down();
    else if (dice === 1) link.up();
    else if (dice === 2) link.freeze();
    else if (dice === 3) link.thaw();
    if (prng.below(25) === 0) await clock.until(compactNow(w.store));
    await clock.advance(prng.below(100));
  }
  link.thaw();
  link.up();
  await clock.advance(10_000);
  const expected = plain(await clock.until(keysUnder(w.store, 'r15/')));
  t.is(view.staleSince, null);
  t.deepEqual(plain(view.entries()), expected);
  t.deepEqual(plain([...fast.state.values()]), expected, 'a fast consumer that only applies changes');
  t.deepEqual(plain([...slow.state.values()]), expected, 'a slow consumer that only applies changes');
  t.true(slow.steps < fast.steps, `${slow.steps} steps for the slow one, ${fast.steps} for the fast one`);
  t.true(slow.largest <= 300, `a slow consumer never got more than ${slow.largest} keys at once`);
  t.true(relists.length > 1, `${relists.length} reads, of which compaction forced some`);
  await clock.until(view.close());
  await clock.until(Promise.all([fast.done, slow.done]));
  await w.end();
});

async function compactNow(store: Backend): Promise<void> {
  const { revision } = (await store.range({ key: utf8('r15/') })).header;
  try {
    await store.compact(revision);
  } catch (error) {
    if (!isApiError(error, 'compacted')) throw error;
  }
}

interface Consumer {
  readonly state: Map<string, KeyValue>;
  steps: number;
  largest: number;
  done: Promise<void>;
}

/** Rebuilds the state from changes alone, dawdling between them. */
function consume(view: View, dawdleMs: () => number): Consumer {
  const consumer: Consumer = { state: new Map<string, KeyValue>(), steps: 0, largest: 0, done: Promise.resolve() };
  const apply = (change: ViewChange): void => {
    consumer.steps += 1;
    consumer.largest = Math.max(consumer.largest, change.puts.length + change.deletes.length);
    for (const kv of change.deletes) consumer.state.delete(latin1(kv.key));
    for (const kv of change.puts) consumer.state.set(latin1(kv.key), kv);
  };
  consumer.done = (async () => {
    for await (const change of view.changes) {
      apply(change);
      const ms = dawdleMs();
      if (ms > 0) {
        await new Promise<void>((resolve) => {
          view.clock.schedule(ms, resolve);
        });
      }
    }
  })();
  return consumer;
}

test('a consumer is given the whole state, then only what changed; keys that came and went are not mentioned', async (t) => {
  const w = await world(1);
  const { clock } = w;
  await clock.until(put(w.store, utf8('c/1'), utf8('a')));
  const view = View.follow(w.store, { prefix: 'c/' }, { clock });
  await clock.until(view.ready());
  const changes = view.changes[Symbol.asyncIterator]();
  const first = (await clock.until(changes.next())).value;
  t.deepEqual(first?.puts.map((kv) => text(kv.key)), ['c/1']);
  await clock.until(put(w.store, utf8('c/2'), utf8('b')));
  await clock.until(put(w.store, utf8('c/1'), utf8('a2')));
  await clock.until(del(w.store, utf8('c/2')));
  await clock.until(put(w.store, utf8('c/1'), utf8('a3')));
  await clock.settle();
  const second = (await clock.until(changes.next())).value;
  t.deepEqual(second?.puts.map((kv) => text(kv.value)), ['a3']);
  t.deepEqual(second?.deletes, []);
  await clock.until(del(w.store, utf8('c/1')));
  await clock.settle();
  const third = (await clock.until(changes.next())).value;
  t.deepEqual(third?.deletes.map((kv) => text(kv.key)), ['c/1']);
  t.is(third?.revision, view.revision);
  const waiting = changes.next();
  await clock.until(view.close());
  t.is((await waiting).done, true, 'a waiting consumer ends with the view');
  await w.end();
});

test('a consumer that never reads does not grow with the number of changes', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const view = View.follow(w.store, { prefix: 'g/' }, { clock });
  await clock.until(view.ready());
  const changes = view.changes[Symbol.asyncIterator]();
  for (let i = 0; i < 300; i += 1) {
    const key = utf8(`g/${i}`);
    await put(w.store, key, utf8('x'));
    await del(w.store, key);
  }
  await put(w.store, utf8('g/last'), utf8('x'));
  await clock.settle();
  const change = (await clock.until(changes.next())).value;
  t.deepEqual(change?.puts.map((kv) => text(kv.key)), ['g/last']);
  t.deepEqual(change?.deletes, []);
  await clock.until(view.close());
  await w.end();
});

test('a store replaced by an older copy is read again, whether its revisions are lower or merely do not follow', async (t) => {
  const one = await world(1);
  const two = await world(2);
  const { clock } = one;
  const settleBoth = async (): Promise<void> => {
    await two.clock.settle();
    await clock.advance(8_000);
    await two.clock.settle();
    await clock.advance(8_000);
  };
  for (let i = 0; i < 10; i += 1) await clock.until(put(one.store, utf8(`o/${i}`), utf8('new')));
  await two.clock.until(put(two.store, utf8('o/1'), utf8('old')));
  const stores = { now: one.store as Client };
  const client = switching(stores);
  const link = new Link(client, clock);
  const view = View.follow(link, { prefix: 'o/' }, { clock, livenessMs: 3_000 });
  await clock.until(view.ready());
  t.is(view.size, 10);
  link.down();
  stores.now = two.store;
  link.up();
  await settleBoth();
  t.deepEqual(view.entries().map((kv) => `${text(kv.key)}=${text(kv.value)}`), ['o/1=old']);
  t.true(view.revision < 10, `the revision went back to ${view.revision}`);
  t.is(view.staleSince, null);
  // Now forward again, to a store whose revisions are higher, but whose history is not the one that was followed.
  link.down();
  stores.now = one.store;
  link.up();
  await clock.until(put(one.store, utf8('o/1'), utf8('newer')));
  await settleBoth();
  const values = view.entries().map((kv) => text(kv.value)).sort();
  t.deepEqual(values, [...Array.from({ length: 9 }, () => 'new'), 'newer']);
  await clock.until(view.close());
  await two.end();
  await one.end();
});

test('ready waits while the store is away, names the cause when its time is up, and the view recovers by itself', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const link = w.link();
  link.down();
  const view = View.follow(link, { prefix: 'a/' }, { clock });
  t.false(view.synced);
  t.not(view.staleSince, null);
  const late = await t.throwsAsync(clock.until(view.ready({ timeoutMs: 2_000 })), { instanceOf: ApiError });
  t.is(late.code, 'deadline_exceeded');
  t.true(late.message.includes('unavailable'), late.message);
  const abort = new AbortController();
  const waiting = view.ready({ signal: abort.signal });
  abort.abort();
  t.is((await t.throwsAsync(waiting, { instanceOf: ApiError })).code, 'canceled');
  link.up();
  await clock.until(view.ready());
  t.is(view.staleSince, null);
  await clock.until(view.close());
  await t.throwsAsync(closedAtOnce(link, clock), { message: /closed/ });
  await w.end();
});

async function closedAtOnce(link: Link, clock: View['clock']): Promise<void> {
  const view = View.follow(link, { prefix: 'a/' }, { clock });
  const ready = view.ready();
  await Promise.all([ready, view.close()]);
}

test('more entries than allowed leave the view stale with a reason, and it recovers when there are fewer', async (t) => {
  const w = await world(1);
  const { clock } = w;
  for (let i = 0; i < 5; i += 1) await clock.until(put(w.store, utf8(`m/${i}`), utf8('x')));
  const view = View.follow(w.link(), { prefix: 'm/' }, { clock, entriesMax: 5 });
  await clock.until(view.ready());
  await clock.until(put(w.store, utf8('m/5'), utf8('x')));
  await clock.advance(5_000);
  t.not(view.staleSince, null);
  t.regex(String(view.lastError), /more than 5 entries/);
  await clock.until(del(w.store, utf8('m/0')));
  await clock.advance(5_000);
  t.is(view.staleSince, null);
  t.is(view.size, 5);
  t.is(view.lastError, null);
  await clock.until(view.close());
  await w.end();
});

test('a prefix larger than one page is read at one revision', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const writes = Array.from({ length: 2_500 }, (_, i) => put(w.store, utf8(`p/${i}`), utf8('0')));
  await clock.until(Promise.all(writes));
  const link = w.link();
  link.answerMs = (method) => (method === 'range' ? 50 : 0);
  const view = View.follow(link, { prefix: 'p/' }, { clock });
  const reading = view.ready();
  await clock.advance(60);
  await clock.until(put(w.store, utf8('p/99999'), utf8('1')));
  await clock.until(reading);
  t.is(view.size >= 2_500, true);
  await clock.advance(200);
  t.is(view.size, 2_501);
  t.is(text((await clock.until(get(w.store, utf8('p/99999'))))?.value ?? utf8('')), '1');
  await clock.until(view.close());
  await w.end();
});

test('a view whose client is closed ends by itself', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const view = View.follow(w.store, { prefix: 'e/' }, { clock });
  await clock.until(view.ready());
  const changes = view.changes[Symbol.asyncIterator]();
  await clock.until(changes.next());
  const waiting = changes.next();
  await w.end();
  await clock.advance(10_000);
  t.not((await clock.until(waiting)).value?.staleSince, null, 'first it says that it knows nothing any more');
  t.is((await clock.until(changes.next())).done, true);
  await clock.until(view.close());
});

test('a watch that ends as soon as it is created does not have everything read again and again without a pause', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const link = w.link();
  const watch: Client['watch'] = (request, options) => {
    const inner = link.watch(request, options);
    clock.schedule(1, () => inner.close());
    return inner;
  };
  const view = View.follow({ ...switching({ now: link }), watch }, { prefix: 's/' }, { clock });
  await clock.until(view.ready());
  await clock.advance(30_000);
  t.true(link.sent.range >= 15 && link.sent.range <= 50, `read ${link.sent.range} times in 30 s`);
  await clock.until(view.close());
  await w.end();
});

test('events that do not follow from what is held change nothing until everything has been read again', async (t) => {
  const w = await world(1);
  const { clock } = w;
  await clock.until(put(w.store, utf8('f/a'), utf8('1')));
  await clock.until(put(w.store, utf8('f/b'), utf8('1')));
  const link = w.link();
  let skip = true;
  // Loses the first change of all and hands out the others in one batch.
  const watch: Client['watch'] = (request, options) => {
    const inner = link.watch(request, options);
    if (!skip) return inner;
    const batches = async function* (): AsyncGenerator<WatchBatch> {
      const events: Event[] = [];
      for await (const batch of inner) {
        events.push(...batch.events);
        if (batch.kind !== 'events') yield batch;
        else if (events.length === 3) yield { ...batch, events: events.slice(1) };
      }
    };
    return { [Symbol.asyncIterator]: batches, requestProgress: () => inner.requestProgress(), close: () => inner.close() };
  };
  const view = View.follow({ ...switching({ now: link }), watch }, { prefix: 'f/' }, { clock });
  await clock.until(view.ready());
  const held = view.revision;
  const changes = view.changes[Symbol.asyncIterator]();
  await clock.until(changes.next());
  skip = false;
  link.answerMs = (method) => (method === 'range' ? 500 : 0);
  await clock.until(put(w.store, utf8('f/a'), utf8('2')));
  await clock.until(put(w.store, utf8('f/b'), utf8('2')));
  await clock.until(put(w.store, utf8('f/a'), utf8('3')));
  await clock.advance(100);
  t.not(view.staleSince, null);
  t.is(view.revision, held);
  t.deepEqual(view.entries().map((kv) => text(kv.value)), ['1', '1']);
  t.is(text(view.get('f/b')?.value ?? utf8('')), '1');
  const stale = (await clock.until(changes.next())).value;
  t.deepEqual([stale?.puts, stale?.revision], [[], held]);
  await clock.advance(2_000);
  t.deepEqual(view.entries().map((kv) => text(kv.value)), ['3', '2']);
  t.is(view.staleSince, null);
  await clock.until(view.close());
  await w.end();
});

test('an observer that throws does not end a view, and options that would make it spin are refused', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const { clock: watched, thrown } = guarded(clock);
  const link = w.link();
  const view = View.follow(link, { prefix: 't/' }, {
    clock: watched,
    livenessMs: 3_000,
    observe: ({ kind }) => {
      throw new Error(kind);
    },
  });
  await clock.until(view.ready());
  link.down();
  await clock.advance(5_000);
  t.not(view.staleSince, null);
  await clock.until(put(w.store, utf8('t/a'), utf8('1')));
  link.up();
  await clock.advance(5_000);
  t.is(view.staleSince, null);
  t.is(view.size, 1);
  t.deepEqual(thrown.map((error) => (error instanceof Error ? error.message : '')), ['listed', 'stale', 'current']);
  await clock.until(view.close());
  for (const options of [{ livenessMs: 0 }, { livenessMs: Number.NaN }, { entriesMax: 0 }]) {
    const follow = (): View => View.follow(link, { prefix: 't/' }, { clock, ...options });
    t.throws(follow, { instanceOf: ApiError, message: /is (?:0|NaN); give/ });
  }
  await w.end();
});

test('compaction between the pages of a read has it begin anew', async (t) => {
  const w = await world(1);
  const { clock } = w;
  await clock.until(Promise.all(Array.from({ length: 1_500 }, (_, i) => put(w.store, utf8(`p/${i}`), utf8('0')))));
  const link = w.link();
  link.answerMs = (method) => (method === 'range' ? 50 : 0);
  const view = View.follow(link, { prefix: 'p/' }, { clock });
  await clock.advance(40);
  await clock.until(del(w.store, utf8('p/0')));
  await clock.until(w.store.compact((await w.store.range({ key: utf8('p/') })).header.revision));
  await clock.until(view.ready());
  t.is(view.size, 1_499);
  t.is(link.sent.range, 4);
  await clock.until(view.close());
  await w.end();
});

test('R14 a watch that died alone, while reads are answered: found out by any change, and opened anew', async (t) => {
  const w = await world(14);
  const { clock } = w;
  await clock.until(put(w.store, utf8('d/a'), utf8('1')));
  const link = w.link();
  let dead = true;
  const watch: Client['watch'] = (request, options) => {
    const inner = link.watch(request, options);
    if (!dead) return inner;
    const batches = async function* (): AsyncGenerator<WatchBatch> {
      for await (const batch of inner) if (batch.kind === 'created') yield batch;
    };
    return { [Symbol.asyncIterator]: batches, requestProgress: () => undefined, close: () => inner.close() };
  };
  const changes: (() => Promise<unknown>)[] = [
    () => put(w.store, utf8('d/b'), utf8('1')),
    () => put(w.store, utf8('d/a'), utf8('2')),
    () => del(w.store, utf8('d/a')),
  ];
  for (const change of changes) {
    dead = true;
    const kinds: string[] = [];
    const view = View.follow({ ...switching({ now: link }), watch }, { prefix: 'd/' }, {
      clock,
      livenessMs: 3_000,
      observe: (event) => kinds.push(event.kind),
    });
    await clock.until(view.ready());
    await clock.advance(20_000);
    t.deepEqual(kinds, ['listed'], 'as long as nothing changes, reading proves that nothing is missed');
    await clock.until(put(w.store, utf8('elsewhere'), utf8('1')));
    await clock.advance(3_000);
    t.is(view.revision, (await clock.until(get(w.store, utf8('elsewhere'))))?.modRevision ?? 0);
    dead = false;
    await clock.until(change());
    await clock.advance(8_000);
    t.deepEqual(kinds, ['listed', 'stale', 'current']);
    t.deepEqual(plain(view.entries()), plain(await clock.until(keysUnder(w.store, 'd/'))));
    await clock.until(view.close());
  }
  await w.end();
});

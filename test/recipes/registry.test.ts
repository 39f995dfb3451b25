// Registration and discovery under a simulated clock and a bad network. Long because each claim of the design has its test
// here, under its id. R6 and the parts of others that are about real
// processes and real servers are in registry-homes.test.ts.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import type { Client, Event } from '../../core/client.js';
import { del, get, prefixRange, put } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { startNode } from '../../core/index.js';
import type { RegistrationEvent } from '../../recipes/registry.js';
import { discover, evict, readServices, register, RegistrationEnded } from '../../recipes/registry.js';
import { Session } from '../../recipes/session.js';
import { exists, keysUnder, leaseIds, switching, type World, world } from './world.js';

const spec = { service: 'api', id: 'a1', address: '10.0.0.1', port: 8080 };

function instanceAt(id: string, service = 'api'): string {
  return `coterie/services/${service}/instances/${id}`;
}

async function stored(w: World, id: string, service = 'api'): Promise<Record<string, unknown> | null> {
  const kv = await w.clock.until(get(w.store, utf8(instanceAt(id, service))));
  return kv === null ? null : JSON.parse(Buffer.from(kv.value).toString('utf8'));
}

async function reasons(w: World, service = 'api'): Promise<Record<string, string>> {
  const read = await w.clock.until(readServices(w.store, [service]));
  return Object.fromEntries((read.departed.get(service) ?? []).map((departure) => [departure.id, departure.reason]));
}

test('R1 update during an outage that costs the session: the latest data come back, under a fresh lease', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const link = w.link();
  const events: RegistrationEvent[] = [];
  const api = await clock.until(
    register(link, { ...spec, weight: 10 }, { clock, ttlSeconds: 5, observe: (event) => events.push(event) }),
  );
  await clock.until(api.update({ weight: 20 }));
  const before = await clock.until(get(w.store, utf8(instanceAt('a1'))));
  link.freeze();
  await clock.advance(2_000);
  const late = api.update({ weight: 30, tags: ['late'] });
  await clock.advance(6_000);
  t.is(await stored(w, 'a1'), null, 'the lease has expired');
  t.false(api.registered);
  t.deepEqual(await reasons(w), { a1: 'expired' });
  const later = api.update({ weight: 40 });
  link.down();
  link.thaw();
  link.up();
  await clock.until(Promise.all([late, later]), 5_000);
  const after = await clock.until(get(w.store, utf8(instanceAt('a1'))));
  t.not(after?.lease, before?.lease);
  const value = await stored(w, 'a1');
  t.is(value?.weight, 40);
  t.deepEqual(value?.tags, ['late']);
  t.true(api.registered);
  t.true(events.some((event) => event.kind === 'session_lost'));
  await clock.until(api.close());
  await w.end();
});

test('R1 an update made while another one is on its way is written too, before it resolves', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const link = w.link();
  const api = await clock.until(register(link, { ...spec, weight: 10 }, { clock }));
  link.requestMs = () => 20;
  const first = api.update({ weight: 20 });
  await clock.advance(10);
  const second = api.update({ weight: 30 });
  await clock.until(first);
  await clock.until(second);
  t.is((await stored(w, 'a1'))?.weight, 30);
  await clock.until(api.close());
  await w.end();
});

test('R2 close during reconnect, in 1,000 interleavings: absent, and nothing brings it back', async (t) => {
  const w = await world(2);
  const { clock, prng } = w;
  const resurrected: string[] = [];
  const closed = new Map<string, number>();
  const watch = w.store.watch(prefixRange(utf8('coterie/services/r2/instances/')));
  const judge = (async () => {
    for await (const batch of watch) {
      for (const event of batch.events) {
        const id = Buffer.from(event.kv.key).toString('utf8').slice(instanceAt('', 'r2').length);
        if (event.kind === 'put' && closed.has(id)) resurrected.push(id);
      }
    }
  })();
  let leftBehind = 0;
  const runs = Array.from({ length: 1_000 }, async (_, run) => {
    const id = `i${run}`;
    const link = w.link();
    link.requestMs = () => prng.below(40);
    link.answerMs = () => prng.below(40);
    const observe = (event: RegistrationEvent): void => {
      if (event.kind === 'left_behind') leftBehind += 1;
    };
    const api = await register(link, { ...spec, service: 'r2', id }, { clock, ttlSeconds: 2, observe });
    const sleep = (ms: number): Promise<void> => new Promise((resolve) => {
      clock.schedule(ms, resolve);
    });
    // Half of them lose the connection, half are frozen; the session is lost for most, and in doubt for the rest.
    const fault = run % 2 === 0 ? 'down' : 'freeze';
    await sleep(prng.below(700));
    link[fault]();
    await sleep(500 + prng.below(4_000));
    const back = (async () => {
      if (fault === 'down') link.up();
      else link.thaw();
      await sleep(prng.below(300));
    })();
    await back;
    if (run % 5 === 0) void api.update({ weight: 2 }).catch(() => undefined);
    await api.close();
    closed.set(id, clock.now());
    t.is(api.state, 'gone');
  });
  await clock.until(Promise.all(runs));
  await clock.advance(10_000);
  t.deepEqual(await clock.until(keysUnder(w.store, 'coterie/services/r2/instances/')), []);
  t.deepEqual(resurrected, []);
  t.is(leftBehind, 0);
  const departed = Object.values(await reasons(w, 'r2'));
  t.is(departed.length, 1_000);
  t.true(departed.every((reason) => reason === 'closed'), 'the reason is readable for every one of them');
  watch.close();
  await judge;
  await w.end();
});

test('R2 a write on its way while close gives up on the store cannot bring the instance back', async (t) => {
  const w = await world(2);
  const { clock } = w;
  const link = w.link();
  const api = await clock.until(register(link, spec, { clock, ttlSeconds: 10, closeTimeoutMs: 500 }));
  link.freeze();
  const update = api.update({ weight: 99 });
  await clock.advance(100);
  await clock.until(api.close());
  await t.throwsAsync(update, { instanceOf: RegistrationEnded });
  // Everything that lay in the frozen link arrives now: the update, the removal, the revocation, in any order.
  link.thaw();
  await clock.advance(1_000);
  t.is(await stored(w, 'a1'), null);
  await clock.advance(20_000);
  t.is(await stored(w, 'a1'), null);
  await w.end();
});

test('R2 a late re-registration on a lease that still lives is refused: close has changed what it compares', async (t) => {
  const w = await world(2);
  const { clock } = w;
  const link = w.link();
  const session = await clock.until(Session.open(link, { ttlSeconds: 60, clock }));
  const api = await clock.until(register(session, spec, { clock }));
  // The key goes; the registration reads both keys at once and puts it back, but that write takes its time.
  let txns = 0;
  link.requestMs = (method) => {
    if (method === 'txn') txns += 1;
    return txns === 2 ? 2_000 : 0;
  };
  await clock.until(del(w.store, utf8(instanceAt('a1'))));
  await clock.advance(1_000);
  const inFlight = txns === 2 && (await stored(w, 'a1')) === null;
  await clock.until(api.close());
  t.is(await stored(w, 'a1'), null);
  await clock.advance(10_000);
  t.true(session.live, 'its lease was there to be written on');
  t.is(await stored(w, 'a1'), null);
  t.true(inFlight, 'a write was on its way when close was called');
  t.deepEqual(await reasons(w), { a1: 'closed' });
  await clock.until(session.close());
  await w.end();
});

test('R3 an outage of 3 TTL: registered again within 2 s of the store\'s return, not all in one instant', async (t) => {
  const w = await world(3);
  const { clock } = w;
  const links = Array.from({ length: 50 }, () => w.link());
  const apis = await clock.until(Promise.all(
    links.map((link, i) => register(link, { ...spec, service: 'r3', id: `i${i}` }, { clock, ttlSeconds: 5 })),
  ));
  for (const link of links) link.down();
  await clock.advance(15_000);
  t.deepEqual(await clock.until(keysUnder(w.store, 'coterie/services/r3/instances/')), []);
  for (const link of links) link.up();
  const backAt = clock.now();
  const moments = new Set<number>();
  let last = 0;
  while (apis.some((api) => !api.registered) && clock.now() - backAt < 5_000) {
    const before = apis.filter((api) => api.registered).length;
    await clock.advance(10);
    if (apis.filter((api) => api.registered).length > before) {
      moments.add(clock.now());
      last = clock.now() - backAt;
    }
  }
  t.is((await clock.until(keysUnder(w.store, 'coterie/services/r3/instances/'))).length, 50);
  t.true(last <= 2_000, `the last one was back after ${last} ms`);
  t.true(moments.size >= 10, `they came back at ${moments.size} different moments`);
  await clock.until(Promise.all(apis.map((api) => api.close())));
  await w.end();
});

test('R4 watchers see only puts on update, one for each', async (t) => {
  const w = await world(4);
  const { clock } = w;
  const api = await clock.until(register(w.link(), spec, { clock }));
  const events: Event[] = [];
  const watch = w.store.watch(prefixRange(utf8('coterie/services/api/')));
  const reader = (async () => {
    for await (const batch of watch) events.push(...batch.events);
  })();
  await clock.settle();
  for (let i = 0; i < 100; i += 1) await clock.until(api.update({ weight: i }));
  await clock.until(api.maintenance(true, 'new disk'));
  await clock.until(api.maintenance(false));
  await clock.settle();
  t.is(events.length, 102);
  t.true(events.every((event) => event.kind === 'put'));
  watch.close();
  await reader;
  await clock.until(api.close());
  await w.end();
});

test('R4 a session lost while its key is still there: it moves to the new lease with one put', async (t) => {
  const w = await world(4);
  const { clock } = w;
  const link = w.link();
  const session = await clock.until(Session.open(link, { ttlSeconds: 5, clock }));
  const api = await clock.until(register(session, spec));
  const kinds: string[] = [];
  const watch = w.store.watch(prefixRange(utf8('coterie/services/api/instances/')));
  const reader = (async () => {
    for await (const batch of watch) kinds.push(...batch.events.map((event) => event.kind));
  })();
  await clock.settle();
  // Renewals reach the store, but their answers come too late to be believed.
  link.answerMs = (method) => (method === 'keepAlive' ? 4_800 : 0);
  await clock.advance(7_000);
  t.is(session.state, 'lost');
  link.answerMs = () => 0;
  await clock.advance(20_000);
  t.true(api.registered);
  t.deepEqual(kinds, ['put']);
  watch.close();
  await reader;
  await clock.until(api.close());
  await w.end();
});

test('an instance deleted by hand is put back; one evicted on purpose stays away and its registration ends', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const api = await clock.until(register(w.link(), spec, { clock }));
  await clock.until(del(w.store, utf8(instanceAt('a1'))));
  await clock.advance(3_000);
  t.not(await stored(w, 'a1'), null);
  await clock.until(put(w.store, utf8(instanceAt('a1')), utf8('garbage')));
  await clock.advance(3_000);
  t.is((await stored(w, 'a1'))?.port, 8080, 'nor does a raw write stay');
  t.true(await clock.until(evict(w.store, 'api', 'a1', { why: 'on fire' })));
  await clock.advance(30_000);
  t.is(await stored(w, 'a1'), null);
  t.is(api.state, 'gone');
  t.true(api.signal.aborted);
  await t.throwsAsync(api.update({ weight: 1 }), { instanceOf: RegistrationEnded, message: /evicted/ });
  const read = await clock.until(readServices(w.store, ['api']));
  t.deepEqual(read.departed.get('api')?.map(({ id, reason, why }) => ({ id, reason, why })), [
    { id: 'a1', reason: 'evicted', why: 'on fire' },
  ]);
  t.false(await clock.until(evict(w.store, 'api', 'a1')));
  await clock.until(api.close());
  await w.end();
});

test('who takes over while its predecessor is being evicted is evicted in its place, and told so', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const older = await clock.until(register(w.link(), spec, { clock }));
  const leases = (await clock.until(leaseIds(w.store))).length;
  const slow = w.link();
  slow.requestMs = () => 20;
  const evicting = evict(slow, 'api', 'a1');
  await clock.advance(30);
  const newer = await clock.until(register(w.link(), spec, { clock }), 20);
  t.true(await clock.until(evicting));
  await clock.advance(3_000);
  t.like(older.signal.reason, { reason: 'superseded' });
  t.like(newer.signal.reason, { reason: 'evicted' });
  t.is(await stored(w, 'a1'), null);
  await clock.until(Promise.all([older.close(), newer.close()]));
  t.is((await clock.until(leaseIds(w.store))).length, leases - 1, 'of all leases one is left, that of the epitaph');
  await w.end();
});

test('a key that is deleted again and again is restored at a bounded rate', async (t) => {
  const w = await world(1);
  const { clock } = w;
  let restored = -1;
  const observe = (event: RegistrationEvent): void => {
    if (event.kind === 'registered') restored += 1;
  };
  const api = await clock.until(register(w.link(), spec, { clock, observe }));
  for (let i = 0; i < 300; i += 1) {
    await clock.until(del(w.store, utf8(instanceAt('a1'))));
    await clock.advance(100);
  }
  t.true(restored >= 20 && restored <= 30 + 5 + 1, `${restored} times in 30 s`);
  await clock.until(api.close());
  await w.end();
});

test('a store replaced by an empty one: registered there after the next renewal', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const empty = await clock.until(startNode({ name: 't', dataDir: null, clock }));
  const stores = { now: w.store as Client };
  const api = await clock.until(register(switching(stores), spec, { clock, ttlSeconds: 6 }));
  await clock.until(api.update({ weight: 9 }));
  stores.now = empty.client;
  await clock.advance(6_000);
  t.true(api.registered);
  const there = await clock.until(readServices(empty.client, ['api']));
  t.is(there.services.get('api')?.[0]?.weight, 9);
  await clock.until(api.close());
  t.deepEqual((await clock.until(readServices(empty.client, ['api']))).services.get('api'), []);
  await clock.until(empty.close());
  await w.end();
});

test('two processes with one id: the newer one takes over with one put, the older one ends and never fights back', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const older = await clock.until(register(w.link(), spec, { clock, ttlSeconds: 5 }));
  const events: string[] = [];
  const watch = w.store.watch(prefixRange(utf8('coterie/services/api/instances/')));
  const reader = (async () => {
    for await (const batch of watch) events.push(...batch.events.map((event) => event.kind));
  })();
  await clock.settle();
  const newer = await clock.until(register(w.link(), { ...spec, port: 9090 }, { clock, ttlSeconds: 5 }));
  await clock.advance(30_000);
  t.is(older.state, 'gone');
  t.is((older.signal.reason as RegistrationEnded).reason, 'superseded');
  t.is(newer.state, 'up');
  t.is((await stored(w, 'a1'))?.port, 9090);
  t.deepEqual(events, ['put']);
  await clock.until(older.close());
  t.is((await stored(w, 'a1'))?.port, 9090, 'closing the older one does not touch the newer one\'s entry');
  await clock.until(newer.close());
  t.is(await stored(w, 'a1'), null);
  watch.close();
  await reader;
  await w.end();
});

test('two processes with one id, the older one cut off: it does not come back, even when the newer one has gone', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const link = w.link();
  const older = await clock.until(register(link, spec, { clock, ttlSeconds: 5 }));
  link.down();
  await clock.advance(8_000);
  const newer = await clock.until(register(w.link(), { ...spec, port: 9090 }, { clock, ttlSeconds: 5 }));
  await clock.until(newer.close());
  link.up();
  await clock.advance(30_000);
  t.is(await stored(w, 'a1'), null);
  t.is(older.state, 'gone');
  t.deepEqual(await reasons(w), { a1: 'closed' });
  await clock.until(older.close());
  await w.end();
});

test('who wrote the entry with a tool that knows no epitaphs is not overwritten by an update on its way', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const link = w.link();
  const older = await clock.until(register(link, spec, { clock }));
  link.requestMs = () => 20;
  const update = t.throwsAsync(older.update({ weight: 7 }), { instanceOf: RegistrationEnded, message: /superseded/ });
  await clock.advance(10);
  const theirs = JSON.stringify({ ...await stored(w, 'a1'), owner: 'abc', weight: 9 });
  await clock.until(put(w.store, utf8(instanceAt('a1')), utf8(theirs)));
  await clock.until(update);
  t.is((await stored(w, 'a1'))?.owner, 'abc');
  await clock.until(older.close());
  t.is((await stored(w, 'a1'))?.weight, 9);
  await w.end();
});

test('draining is published, then the instance leaves after the grace with the reason drained', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const api = await clock.until(register(w.link(), spec, { clock, epitaphSeconds: 60 }));
  const draining = api.drain({ graceMs: 3_000 });
  await clock.advance(100);
  t.is(api.state, 'draining');
  t.is((await stored(w, 'a1'))?.state, 'draining');
  await t.throwsAsync(api.maintenance(false), { instanceOf: ApiError });
  await clock.advance(2_800);
  t.not(await stored(w, 'a1'), null);
  await clock.until(draining);
  t.is(await stored(w, 'a1'), null);
  t.deepEqual(await reasons(w), { a1: 'drained' });
  t.is(api.state, 'gone');
  const leases = await clock.until(leaseIds(w.store));
  t.is(leases.length, 1, 'only the epitaph\'s lease is left');
  await clock.advance(62_000);
  t.deepEqual(await clock.until(keysUnder(w.store, 'coterie/services/')), [], 'and it does not stay for ever');
  await w.end();
});

test('close during a drain cuts it short', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const api = await clock.until(register(w.link(), spec, { clock }));
  const draining = api.drain({ graceMs: 60_000 });
  await clock.advance(100);
  const from = clock.now();
  await clock.until(api.close());
  await clock.until(draining);
  t.true(clock.now() - from < 1_000);
  t.deepEqual(await reasons(w), { a1: 'closed' });
  await w.end();
});

test('the epitaph outlives its lease as long as the instance lives, so that a late crash still leaves its reason', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const link = w.link();
  const api = await clock.until(register(link, spec, { clock, ttlSeconds: 10, epitaphSeconds: 60 }));
  await clock.advance(600_000);
  t.true(await clock.until(exists(w.store, 'coterie/services/api/departed/a1')));
  t.deepEqual(await reasons(w), {}, 'it says nothing while the instance is there');
  link.freeze();
  await clock.advance(12_000);
  t.is(await stored(w, 'a1'), null);
  t.deepEqual(await reasons(w), { a1: 'expired' });
  link.thaw();
  await clock.advance(5_000);
  t.not(await stored(w, 'a1'), null);
  await clock.until(api.close());
  await w.end();
});

test('closing the session that was handed in closes the registration; losing it does not', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const session = await clock.until(Session.open(w.link(), { ttlSeconds: 5, clock }));
  const api = await clock.until(register(session, spec));
  await clock.until(session.close());
  await clock.advance(10_000);
  t.is(api.state, 'gone');
  t.is(await stored(w, 'a1'), null);
  t.deepEqual(await reasons(w), { a1: 'closed' });
  const second = await clock.until(Session.open(w.link(), { ttlSeconds: 5, clock }));
  const again = await clock.until(register(second, spec));
  await clock.until(w.store.revoke(second.lease));
  await clock.advance(5_000);
  t.true(again.registered);
  await clock.until(again.close());
  await w.end();
});

test('a registration that cannot reach the store is given up in time, names the cause, and leaves nothing', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const link = w.link();
  link.down();
  const error = await t.throwsAsync(clock.until(register(link, spec, { clock, timeoutMs: 3_000 })), { instanceOf: ApiError });
  t.is(error.code, 'deadline_exceeded');
  t.true(error.message.includes('unavailable'), error.message);
  link.up();
  link.freeze();
  const abort = new AbortController();
  const waiting = register(link, spec, { clock, signal: abort.signal, ttlSeconds: 5 });
  await clock.advance(1_000);
  abort.abort();
  await t.throwsAsync(clock.until(waiting), { instanceOf: ApiError, message: /canceled/ });
  link.thaw();
  await clock.advance(20_000);
  t.is(await stored(w, 'a1'), null);
  await w.end();
});

test('what others wrote and is malformed is reported and never passed on', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const good = { address: '10.0.0.1', port: 80, state: 'up', owner: 'ab' };
  const bad: Record<string, string> = {
    text: 'hello',
    host: JSON.stringify({ ...good, address: 'a b;' }),
    quote: JSON.stringify({ ...good, address: '10.0.0.1"; }' }),
    line: JSON.stringify({ ...good, zone: 'a\nb' }),
    port: JSON.stringify({ ...good, port: 0 }),
    'port-text': JSON.stringify({ ...good, port: '80' }),
    weight: JSON.stringify({ ...good, weight: 257 }),
    state: JSON.stringify({ ...good, state: 'online' }),
    owner: JSON.stringify({ ...good, owner: '' }),
    tags: JSON.stringify({ ...good, tags: ['a', 3] }),
    meta: JSON.stringify({ ...good, meta: { a: { b: 1 } } }),
    proto: '{"address":"10.0.0.1","port":80,"state":"up","owner":"ab","meta":{"__proto__":"x"}}',
    constructor: JSON.stringify({ ...good, meta: { constructor: 'x' } }),
    list: '[]',
    null: 'null',
    large: JSON.stringify({ ...good, meta: { a: 'x'.repeat(20_000) } }),
  };
  await clock.until(put(w.store, utf8(instanceAt('good', 'raw')), utf8(JSON.stringify(good))));
  for (const [id, value] of Object.entries(bad)) await clock.until(put(w.store, utf8(instanceAt(id, 'raw')), utf8(value)));
  await clock.until(put(w.store, utf8(instanceAt('bytes', 'raw')), new Uint8Array([0x7b, 0xff, 0x7d])));
  await clock.until(put(w.store, utf8('coterie/services/raw/instances/a/b'), utf8(JSON.stringify(good))));
  await clock.until(put(w.store, utf8('coterie/services/raw/instances/a b'), utf8(JSON.stringify(good))));
  await clock.until(put(w.store, utf8('coterie/services/raw/else/a'), utf8(JSON.stringify(good))));
  await clock.until(put(w.store, utf8('coterie/services/raw/departed/x'), utf8('{"reason":"bored","owner":"ab"}')));
  const read = await clock.until(readServices(w.store, ['raw']));
  t.deepEqual(read.services.get('raw')?.map((instance) => instance.id), ['good']);
  t.is(read.invalid.length, Object.keys(bad).length + 5);
  for (const entry of read.invalid) t.notRegex(`${entry.key} ${entry.problem}`, /\p{Cc}/u);
  const view = discover(w.store, 'raw', { clock });
  await clock.until(view.ready());
  t.deepEqual(view.instances.map((instance) => instance.id), ['good']);
  t.is(view.invalid.length, read.invalid.length);
  t.true(Object.isFrozen(view.instances) && Object.isFrozen(view.instances[0]) && Object.isFrozen(view.instances[0]?.meta));
  await clock.until(view.close());
  await w.end();
});

test('what breaks the rules cannot be registered, and the message names the value', async (t) => {
  const w = await world(1);
  const wrong: [object, RegExp][] = [
    [{ service: 'a/b' }, /service is "a\/b"/],
    [{ service: '' }, /service is ""/],
    [{ id: 'x\ny' }, /id is "x\\ny"/],
    [{ id: `${'x'.repeat(129)}` }, /id is/],
    [{ address: '10.0.0.256' }, /address is "10\.0\.0\.256"/],
    [{ address: '1.2.3' }, /address/],
    [{ address: '[::1]' }, /address/],
    [{ address: 'fe80::1%eth0' }, /address/],
    [{ address: '-a.example' }, /address/],
    [{ address: 'a..b' }, /address/],
    [{ address: 'localhost;' }, /address/],
    [{ port: 65_536 }, /port is 65536/],
    [{ port: 80.5 }, /port is 80\.5/],
    [{ weight: -1 }, /weight is -1/],
    [{ zone: 'a"b' }, /zone/],
    [{ tags: ['a b'] }, /tag is "a b"/],
    [{ meta: { 'a b': 'x' } }, /meta name/],
    [{ meta: { a: 'x\u2028y' } }, /meta\.a/],
    [{ meta: { a: 'x'.repeat(1_025) } }, /meta\.a/],
    [{ meta: Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`m${i}`, 'x'.repeat(1_000)])) }, /15360/],
  ];
  for (const [part, message] of wrong) {
    await t.throwsAsync(register(w.store, { ...spec, ...part }, { clock: w.clock }), { instanceOf: ApiError, message });
  }
  t.deepEqual(await w.clock.until(keysUnder(w.store, 'coterie/')), []);
  for (const address of ['10.0.0.1', '::1', '2001:db8::1', 'a', 'a.example', 'my_host-1.example.org', 'localhost']) {
    const api = await w.clock.until(register(w.store, { ...spec, id: 'ok', address }, { clock: w.clock }));
    t.is((await stored(w, 'ok'))?.address, address);
    await w.clock.until(api.close());
  }
  await w.end();
});

test('several services are read at one revision, more than fit one transaction too', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const names = Array.from({ length: 200 }, (_, i) => `s${String(i).padStart(3, '0')}`);
  await clock.until(Promise.all(names.map((service) => register(w.store, { ...spec, service }, { clock }))));
  const link = w.link();
  let changed = false;
  link.answerMs = (method) => (method === 'txn' ? 100 : 0);
  const reading = readServices(link, names);
  await clock.advance(50);
  await clock.until(del(w.store, utf8(instanceAt('a1', 's199')))).then(() => (changed = true));
  const read = await clock.until(reading);
  t.true(changed);
  t.is([...read.services.values()].flat().length, 200, 'the second transaction still sees the first one\'s revision');
  t.is(read.services.get('s199')?.[0]?.port, 8080);
  await w.end();
});

test('discovery follows registrations of all services, sorted, with departures and their reasons', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const all = discover(w.store, undefined, { clock });
  await clock.until(all.ready());
  t.deepEqual(all.instances, []);
  const changes = all.changes[Symbol.asyncIterator]();
  t.deepEqual((await clock.until(changes.next())).value?.instances, []);
  const web = await clock.until(register(w.store, { ...spec, service: 'web', id: 'w1' }, { clock }));
  const api = await clock.until(register(w.store, { ...spec, zone: 'z1', tags: ['b', 'a', 'b'], meta: { v: '"1"' } }, { clock }));
  await clock.settle();
  const change = (await clock.until(changes.next())).value;
  t.deepEqual(change?.instances.map(({ service, id }) => `${service}/${id}`), ['api/a1', 'web/w1']);
  t.like(all.instances[0], { address: '10.0.0.1', weight: 1, zone: 'z1', tags: ['a', 'b'], meta: { v: '"1"' }, state: 'up' });
  t.is(all.instances[0], change?.instances[0], 'unchanged entries are the same objects');
  await clock.until(web.close());
  await clock.settle();
  const gone = (await clock.until(changes.next())).value;
  t.deepEqual(gone?.instances.map(({ id }) => id), ['a1']);
  t.like(gone?.departures[0], { service: 'web', id: 'w1', reason: 'closed' });
  t.is(gone?.staleSince, null);
  await clock.until(api.close());
  await clock.until(all.close());
  await w.end();
});

test('R5 1,000 clients after an outage come back at a bounded rate, spread over the time they have', async (t) => {
  const w = await world(5);
  const { clock } = w;
  const links = Array.from({ length: 1_000 }, () => w.link());
  const apis = await clock.until(Promise.all(
    links.map((link, i) => register(link, { ...spec, service: 'r5', id: `i${i}` }, { clock, ttlSeconds: 5 })),
  ));
  const total = (): number => links.reduce((sum, { sent }) => sum + Object.values(sent).reduce((a, b) => a + b, 0), 0);
  for (const link of links) link.down();
  await clock.advance(15_000);
  for (const link of links) link.up();
  const before = total();
  let last = before;
  let peak = 0;
  let backAfterMs = 0;
  for (let ms = 100; ms <= 4_000; ms += 100) {
    await clock.advance(100);
    const now = total();
    peak = Math.max(peak, now - last);
    last = now;
    if (backAfterMs === 0 && apis.every((api) => api.registered)) backAfterMs = ms;
  }
  t.log(`${last - before} calls in all, at most ${peak} in 100 ms, everybody back after ${backAfterMs} ms`);
  t.true(backAfterMs > 0 && backAfterMs <= 2_000);
  t.true(last - before <= 8 * links.length, `${last - before} calls`);
  t.true(peak <= 1.5 * links.length, `${peak} calls in 100 ms`);
  for (const link of links) link.down();
  await clock.until(Promise.all(apis.map((api) => api.close())));
  await w.end();
});

test('discovery is after every change what reading everything anew would give, in the same order', async (t) => {
  const w = await world(7);
  const { clock, prng, store } = w;
  const link = w.link();
  const names = ['a', 'a-b', 'a.b', 'a0', 'B'];
  const views = [discover(link, undefined, { clock }), discover(link, 'a', { clock })];
  for (const view of views) await clock.until(view.ready());
  const good = { address: '10.0.0.1', port: 80, state: 'up', owner: 'ab' };
  for (let step = 0; step < 200; step += 1) {
    const burst = prng.below(50) === 0 ? 300 : 1 + prng.below(3);
    for (let i = 0; i < burst; i += 1) {
      const room = prng.below(2) === 0 ? 'instances' : 'departed';
      const key = utf8(`coterie/services/${names[prng.below(5)]}/${room}/i${prng.below(40)}`);
      const value = room === 'instances' ? { ...good, weight: prng.below(9) } : { reason: 'closed', why: '', owner: 'ab' };
      if (prng.below(3) === 0) await clock.until(del(store, key));
      else await clock.until(put(store, key, utf8(prng.below(10) === 0 ? 'garbage' : JSON.stringify(value))));
    }
    if (prng.below(30) === 0) {
      link.down();
      link.up();
      await clock.advance(5_000);
    }
    await clock.settle();
    const read = await clock.until(readServices(store, names));
    const order = [...names].sort((x, y) => (`${x}/` < `${y}/` ? -1 : 1));
    t.deepEqual(views[0]?.instances, order.flatMap((name) => read.services.get(name) ?? []));
    t.deepEqual(views[0]?.departures, order.flatMap((name) => read.departed.get(name) ?? []));
    t.is(views[0]?.invalid.length, read.invalid.length);
    t.deepEqual(views[1]?.instances, read.services.get('a'));
  }
  for (const view of views) await clock.until(view.close());
  await w.end();
});

test('with 10,000 instances a change costs a small part of what reading them costs', async (t) => {
  const w = await world(8);
  const { clock, store } = w;
  const write = (i: number, weight: number): Promise<unknown>[] => {
    const address = `10.0.${i >> 8}.${i & 255}`;
    const value = { address, port: 80, weight, state: 'up', owner: 'abcdef0123456789', meta: { v: '1' } };
    const at = `coterie/services/s${i % 100}`;
    return [
      put(store, utf8(`${at}/instances/i${i}`), utf8(JSON.stringify(value))),
      put(store, utf8(`${at}/departed/i${i}`), utf8('{"reason":"expired","why":"","owner":"ab"}')),
    ];
  };
  for (let i = 0; i < 10_000; i += 500) {
    await clock.until(Promise.all(Array.from({ length: 500 }, (_, j) => write(i + j, 1)).flat()));
  }
  const view = discover(store, undefined, { clock });
  await clock.until(view.ready());
  const lookMs = (): number => {
    const from = process.cpuUsage();
    t.is(view.instances.length, 10_000);
    const { user, system } = process.cpuUsage(from);
    return (user + system) / 1_000;
  };
  const first = lookMs();
  const changes: number[] = [];
  for (let i = 0; i < 50; i += 1) {
    await clock.until(Promise.all(write(i, 2)));
    await clock.settle();
    changes.push(lookMs());
  }
  const median = changes.sort((a, b) => a - b)[25] ?? Infinity;
  t.log(`the first look takes ${first.toFixed(1)} ms of the processor, one after a change ${median.toFixed(1)} ms`);
  t.true(median < first / 20);
  await clock.until(view.close());
  await w.end();
});

test('services that do not fit one transaction are read again when compaction comes between its parts', async (t) => {
  const w = await world(9);
  const { clock, store } = w;
  const names = Array.from({ length: 130 }, (_, i) => `s${i}`);
  const value = utf8(JSON.stringify({ address: '10.0.0.1', port: 80, state: 'up', owner: 'ab' }));
  for (const name of names) await clock.until(put(store, utf8(instanceAt('a', name)), value));
  const link = w.link();
  link.answerMs = (method) => (method === 'txn' ? 100 : 0);
  const reading = readServices(link, names);
  await clock.advance(50);
  await clock.until(put(store, utf8(instanceAt('b', 's0')), value));
  await clock.until(store.compact((await store.range({ key: utf8('x') })).header.revision));
  const read = await clock.until(reading);
  t.is(link.sent.txn, 4, 'two parts, twice');
  t.is([...read.services.values()].flat().length, 131);
  t.is(read.services.get('s0')?.length, 2, 'what came before the new revision is in it');
  await w.end();
});

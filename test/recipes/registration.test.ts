// What a registration does when things go wrong in less usual ways. The required claims (R1 to R6) are in registry.test.ts.

import test from 'ava';
import { getEventListeners } from 'node:events';
import { utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { get, put } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import type { RegistrationEvent } from '../../recipes/registry.js';
import { evict, readServices, register } from '../../recipes/registry.js';
import { Session } from '../../recipes/session.js';
import { Link } from './link.js';
import { guarded, leaseIds, switching, type World, world } from './world.js';

const spec = { service: 'api', id: 'a1', address: '10.0.0.1', port: 8080 };
const KEY = utf8('coterie/services/api/instances/a1');

async function weightOf(w: World): Promise<number | undefined> {
  const read = await w.clock.until(readServices(w.store, ['api']));
  return read.services.get('api')?.[0]?.weight;
}

test('closed while the store is away, on a session handed in that lives on: removed once the store is back', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const link = w.link();
  const session = await clock.until(Session.open(link, { ttlSeconds: 5, clock }));
  const events: string[] = [];
  const observe = (event: RegistrationEvent): void => {
    events.push(event.kind);
  };
  const api = await clock.until(register(session, spec, { closeTimeoutMs: 1_000, observe }));
  // Renewals pass, writes do not.
  link.refuse = (method) => method === 'txn';
  await clock.until(api.close());
  t.is(api.state, 'gone');
  t.true(events.includes('left_behind'));
  await clock.advance(30_000);
  t.true(session.live, 'the session keeps what nobody wants any more');
  link.refuse = () => false;
  await clock.advance(3_000);
  t.is(await clock.until(get(w.store, KEY)), null);
  const { departed } = await clock.until(readServices(w.store, ['api']));
  t.is(departed.get('api')?.[0]?.reason, 'closed');
  t.true(session.live);
  const sent = link.sent.txn;
  await clock.advance(30_000);
  t.is(link.sent.txn, sent, 'and then nothing is tried any more');
  await clock.until(session.close());
  await w.end();
});

test('trying to remove what was left behind ends with the session', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const link = w.link();
  const session = await clock.until(Session.open(link, { ttlSeconds: 5, clock }));
  const api = await clock.until(register(session, spec, { closeTimeoutMs: 1_000 }));
  link.refuse = (method) => method === 'txn';
  await clock.until(api.close());
  await clock.until(session.close());
  await clock.advance(2_000);
  link.refuse = () => false;
  const sent = link.sent.txn;
  await clock.advance(30_000);
  t.is(link.sent.txn, sent);
  t.is(await clock.until(get(w.store, KEY)), null, 'its lease took it along');
  await w.end();
});

test('registrations that come and go on one session leave no listener behind', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const session = await clock.until(Session.open(w.store, { ttlSeconds: 5, clock }));
  const before = getEventListeners(session.signal, 'abort').length;
  for (let i = 0; i < 20; i += 1) {
    const api = await clock.until(register(session, spec));
    await clock.until(api.close());
  }
  t.is(getEventListeners(session.signal, 'abort').length, before);
  const warnings: string[] = [];
  const warn = (warning: Error): void => void warnings.push(warning.message);
  process.on('warning', warn);
  const all = await clock.until(Promise.all(Array.from({ length: 20 }, (_, i) => register(session, { ...spec, id: `i${i}` }))));
  await clock.advance(1_000);
  process.off('warning', warn);
  t.deepEqual(warnings, [], 'and many at once are no leak either');
  t.true(all.every(({ state }) => state === 'up'));
  await clock.until(session.close());
  await w.end();
});

test('whatever was accepted can be put into maintenance and drained: the size of a spec leaves room for its state', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const metaOf = (last: number): Record<string, string> => Object.fromEntries(
    Array.from({ length: 16 }, (_, i) => [`m${i}`, 'x'.repeat(i < 15 ? 1_000 : last)]),
  );
  let largest = 0;
  for (let last = 1_000; last >= 0 && largest === 0; last -= 1) {
    try {
      const api = await clock.until(register(w.store, { ...spec, meta: metaOf(last) }, { clock, timeoutMs: 2_000 }));
      largest = last;
      await clock.until(api.maintenance(true, '"\u00e9\u{1f525}'.repeat(64)), 5_000);
      t.true(api.registered);
      await clock.until(api.maintenance(false), 5_000);
      await t.throwsAsync(api.update({ meta: metaOf(1_000) }), { instanceOf: ApiError, message: /bytes of JSON/ });
      await clock.until(api.drain({ graceMs: 0 }));
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 'invalid_request') throw error;
    }
  }
  t.true(largest > 0);
  const { departed } = await clock.until(readServices(w.store, ['api']));
  t.is(departed.get('api')?.[0]?.reason, 'drained');
  await w.end();
});

test('a store restored from an older copy in which the lease still lives: the latest state is put back', async (t) => {
  const one = await world(1);
  const two = await world(2);
  const { clock } = one;
  const stores = { now: one.store as Client };
  const link = new Link(switching(stores), clock);
  for (let i = 0; i < 20; i += 1) await clock.until(put(one.store, utf8('x'), utf8(String(i))));
  const session = await clock.until(Session.open(link, { ttlSeconds: 60, clock }));
  const api = await clock.until(register(session, { ...spec, weight: 1 }));
  const old = await clock.until(get(one.store, KEY));
  await clock.until(api.update({ weight: 9 }));
  await two.clock.until(two.store.grant(60, { id: session.lease }));
  await two.clock.until(put(two.store, KEY, old?.value ?? utf8(''), { lease: session.lease }));
  link.down();
  stores.now = two.store;
  link.up();
  for (let i = 0; i < 20; i += 1) {
    await two.clock.settle();
    await clock.advance(1_000);
  }
  t.is(session.state, 'live');
  t.is(await weightOf(two), 9);
  t.true(api.registered);
  const closing = api.close();
  for (let i = 0; i < 20; i += 1) await clock.settle();
  await clock.until(closing);
  await clock.until(session.close());
  await two.end();
  await one.end();
});

test('what cannot be asked of a lease or a wait is refused at once and names the value', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const wrong: [object, RegExp][] = [
    [{ ttlSeconds: 0 }, /ttlSeconds is 0/],
    [{ ttlSeconds: Number.NaN }, /ttlSeconds is NaN/],
    [{ epitaphSeconds: -1 }, /epitaphSeconds is -1/],
    [{ epitaphSeconds: Infinity }, /epitaphSeconds is Infinity/],
    [{ closeTimeoutMs: Number.NaN }, /closeTimeoutMs is NaN/],
  ];
  const from = clock.now();
  for (const [options, message] of wrong) {
    await t.throwsAsync(clock.until(register(w.store, spec, { clock, ...options })), { instanceOf: ApiError, message });
  }
  t.is(clock.now(), from);
  const api = await clock.until(register(w.store, spec, { clock }));
  await t.throwsAsync(api.drain({ graceMs: Number.NaN }), { instanceOf: ApiError, message: /graceMs is NaN/ });
  t.is(api.state, 'up');
  await clock.until(api.close());
  await w.end();
});

test('an observer that throws breaks nothing: the instance is registered, restored and removed', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const { clock: watched, thrown } = guarded(clock);
  const link = w.link();
  const observe = (): never => {
    throw new Error('a broken observer');
  };
  const api = await clock.until(register(link, spec, { clock: watched, ttlSeconds: 5, observe }));
  link.down();
  await clock.advance(8_000);
  t.is(await clock.until(get(w.store, KEY)), null);
  link.up();
  await clock.advance(3_000);
  t.true(api.registered);
  await clock.until(api.close());
  t.is(await clock.until(get(w.store, KEY)), null);
  t.true(thrown.length >= 4 && thrown.every((error) => error instanceof Error && error.message === 'a broken observer'));
  await w.end();
});

test('who was superseded or evicted, or never came in, leaves no lease for an epitaph behind', async (t) => {
  const w = await world(1);
  const { clock } = w;
  const older = await clock.until(register(w.link(), spec, { clock }));
  const newer = await clock.until(register(w.link(), spec, { clock }));
  await clock.advance(1_000);
  t.is(older.state, 'gone');
  t.is((await clock.until(leaseIds(w.store))).length, 2, 'the newer one\'s session and epitaph');
  t.true(await clock.until(evict(w.store, 'api', 'a1')));
  await clock.advance(1_000);
  t.is(newer.state, 'gone');
  t.is((await clock.until(leaseIds(w.store))).length, 1, 'the epitaph that evict wrote');
  const link = w.link();
  link.refuse = (method) => method === 'txn';
  await t.throwsAsync(clock.until(register(link, { ...spec, id: 'a2' }, { clock, timeoutMs: 2_000 })));
  await clock.advance(1_000);
  t.is((await clock.until(leaseIds(w.store))).length, 1);
  await w.end();
});

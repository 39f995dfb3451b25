// L12: whatever is held by standing in a line keeps the same claims about its session: locks, read and write locks, permits
// and offices run the same suite, on a simulated clock and a bad network.

import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { del, opDelete, prefixRange } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost, EntryMayRemain } from '../../recipes/held.js';
import type { LossReason } from '../../recipes/session.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { creates, haunted } from './ghosts.js';
import type { Kind } from './kinds.js';
import { kindsOf } from './kinds.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

const KINDS = kindsOf('x');

function open(w: World, link: Client = w.link(), ttlSeconds = 10): Promise<Session> {
  return w.clock.until(Session.open(link, { ttlSeconds, clock: w.clock }));
}

/** Everything recipes have written, but for a semaphore's limit, which is meant to stay. */
async function traces(w: World): Promise<readonly string[]> {
  const keys = (await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key));
  return keys.filter((key) => !key.includes('/limit/'));
}

async function entries(w: World, kind: Kind): Promise<number> {
  return (await w.clock.until(keysUnder(w.store, kind.prefix))).length;
}

for (const kind of KINDS) {
  const { name } = kind;

  test(`L12 L1 L2 ${name}: a waiter whose lease is revoked, or whose link freezes, rejects while the other holds`, async (t) => {
    const w = await world(1);
    const frozen = w.link();
    const [a, b, c] = [await open(w), await open(w), await open(w, frozen, 5)];
    const held = await w.clock.until(kind.block(a));
    const first = t.throwsAsync(kind.acquire(b), { instanceOf: SessionLost });
    const second = t.throwsAsync(kind.acquire(c), { instanceOf: SessionLost });
    await w.clock.advance(1_000);
    await w.clock.until(w.store.revoke(b.lease));
    t.is((await w.clock.until(first))?.reason, 'revoked');
    const from = w.clock.now();
    frozen.freeze();
    await w.clock.until(second);
    t.true(w.clock.now() - from <= 5_000);
    t.true(held.isHeld);
    await w.clock.until(held.release());
    frozen.thaw();
    await w.clock.advance(10_000);
    t.deepEqual(await traces(w), []);
    await w.end();
  });

  test(`L12 L2 ${name}: a grant that comes after the session's end is not believed`, async (t) => {
    const w = await world(2);
    const slow = w.link();
    const [a, b] = [await open(w), await open(w, slow, 3)];
    const held = await w.clock.until(kind.block(a));
    const waiting = t.throwsAsync(kind.acquire(b), { instanceOf: SessionLost });
    await w.clock.advance(500);
    slow.answerMs = (method) => (method === 'txn' ? 8_000 : 0);
    slow.refuse = (method) => method === 'keepAlive';
    await w.clock.until(held.release());
    await w.clock.until(waiting);
    await w.clock.advance(20_000);
    t.deepEqual(await traces(w), []);
    await w.end();
  });

  test(`L12 L3 ${name}: a deleted entry ends it, with a typed reason, and fences out what comes after`, async (t) => {
    const w = await world(3);
    const [a, b] = [await open(w), await open(w)];
    const held = await w.clock.until(kind.acquire(a));
    await w.clock.advance(100);
    await w.clock.until(del(w.store, held.key));
    await w.clock.advance(50);
    t.true(held.signal.reason instanceof EntryLost);
    t.false(held.isHeld);
    t.true(a.live);
    await t.throwsAsync(w.clock.until(held.txn().put('effect', '1').commit()), { instanceOf: FencedOut });
    const next = await w.clock.until(kind.acquire(b));
    t.true(next.fence > held.fence);
    await w.clock.until(next.txn().put('effect', '2').commit());
    await w.clock.until(Promise.all([held.release(), next.release()]));
    t.deepEqual(await traces(w), []);
    await w.end();
  });

  test(`L12 L4 L6 ${name}: lost answers to creations and releases leave one entry, then none`, async (t) => {
    const w = await world(4);
    for (const fate of ['unanswered', 'late'] as const) {
      let drop = 2;
      const session = await open(w, haunted(w.link(), w.clock, (request) => {
        const first = request.success?.[0]?.kind;
        if (drop === 0 || !(creates(request, 'coterie/') || first === 'delete')) return { kind: 'normal' };
        drop -= 1;
        return fate === 'late' ? { kind: 'late', delayMs: 3_000 } : { kind: 'unanswered' };
      }), 60);
      const held = await w.clock.until(kind.acquire(session));
      t.is(await entries(w, kind), 1, fate);
      drop = 1;
      await w.clock.until(held.release());
      t.is(await entries(w, kind), 0, fate);
      await w.clock.advance(10_000);
      t.is(await entries(w, kind), 0, `${fate}: nor later`);
      await w.clock.until(session.close());
    }
    t.deepEqual(await traces(w), []);
    await w.end();
  });

  test(`L12 L5 ${name}: aborted at any point nothing is left, and the wait has left the line when it rejects`, async (t) => {
    const w = await world(5);
    const ends = { held: 0, canceled: 0, deadline_exceeded: 0 };
    const sessions: Session[] = [];
    for (let i = 0; i < 8; i += 1) {
      const link = w.link();
      link.requestMs = () => w.prng.below(20);
      link.answerMs = () => w.prng.below(20);
      sessions.push(await open(w, link, 30));
    }
    const walks = sessions.map(async (session) => {
      for (let round = 0; round < 15; round += 1) {
        const abort = new AbortController();
        const at = w.prng.below(300);
        w.clock.schedule(Math.max(1, at), () => abort.abort());
        try {
          const held = await kind.acquire(session, w.prng.below(2) === 0 ? { timeoutMs: at } : { signal: abort.signal });
          ends.held += 1;
          await new Promise<void>((resolve) => {
            w.clock.schedule(1 + w.prng.below(30), resolve);
          });
          await held.release();
        } catch (error) {
          if (!isApiError(error) || (error.code !== 'canceled' && error.code !== 'deadline_exceeded')) throw error;
          t.false(error instanceof EntryMayRemain, 'the store can be reached');
          ends[error.code] += 1;
          const mine = (await keysUnder(w.store, kind.prefix)).filter(({ lease }) => lease === session.lease);
          t.is(mine.length, 0, 'gone before the promise rejects');
        }
      }
    });
    await w.clock.until(Promise.all(walks));
    t.log(ends);
    t.true(ends.held > 10 && ends.canceled + ends.deadline_exceeded > 5);
    t.deepEqual(await traces(w), []);
    await w.end();
  });

  test(`L12 L7 ${name}: the entry of our previous session counts as somebody else's`, async (t) => {
    const w = await world(7);
    const link = w.link();
    const first = await w.clock.until(kind.block(await open(w, link, 6)));
    link.freeze();
    const waiting = kind.acquire(await open(w));
    await w.clock.advance(3_000);
    t.true(first.isHeld);
    const held = await w.clock.until(waiting);
    t.false(first.isHeld);
    t.true(first.signal.reason instanceof SessionLost);
    t.true(held.fence > first.fence);
    await w.end();
  });

  test(`L12 L9 ${name}: whatever way the session ends, it ends with it and never comes back`, async (t) => {
    const w = await world(12);
    const ways: Record<LossReason, (session: Session, link: ReturnType<World['link']>) => Promise<void> | void> = {
      unreachable: (_, link) => link.freeze(),
      expired: (_, link) => {
        link.answerMs = (method) => (method === 'keepAlive' ? 3_000 : 0);
      },
      stalled: () => w.clock.jump(6_000),
      revoked: (session) => w.store.revoke(session.lease).then(() => undefined),
      closed: (session) => session.close(),
    };
    for (const reason of Object.keys(ways) as LossReason[]) {
      const link = w.link();
      const session = await open(w, link, 4);
      const held = await w.clock.until(kind.acquire(session));
      await w.clock.until(Promise.resolve(ways[reason](session, link)));
      if (reason === 'stalled' || reason === 'closed') t.true(held.signal.aborted, `${reason}: seen at once`);
      await w.clock.advance(4_000);
      t.false(held.isHeld, reason);
      const ended: unknown = held.signal.reason;
      t.true(reason === 'revoked' ? ended instanceof EntryLost : ended instanceof SessionLost, reason);
      link.thaw();
      await w.clock.advance(8_000);
      t.false(held.isHeld, reason);
      t.is(held.signal.reason, ended);
      t.is(held.remaining, 0);
      t.is(await entries(w, kind), 0, reason);
      await w.clock.until(held.release());
    }
    t.deepEqual(await traces(w), []);
    await w.end();
  });

  test(`L12 ${name}: everything is deleted under holder and waiters; somebody holds within 2 s`, async (t) => {
    const w = await world(14);
    const held = await w.clock.until(kind.block(await open(w)));
    const waiting = [kind.acquire(await open(w)), kind.acquire(await open(w))];
    await w.clock.advance(500);
    const { key, rangeEnd } = prefixRange(utf8('coterie/'));
    const from = w.clock.now();
    await w.clock.until(w.store.txn({ success: [opDelete(key, { rangeEnd })] }));
    const next = await w.clock.until(Promise.race(waiting));
    t.true(w.clock.now() - from < 2_000, `${w.clock.now() - from} ms`);
    t.true(held.signal.reason instanceof EntryLost);
    await w.clock.until(next.release());
    const all = await w.clock.until(Promise.all(waiting));
    await w.clock.until(Promise.all(all.map((each) => each.release())));
    t.deepEqual(await traces(w), []);
    await w.end();
  });
}

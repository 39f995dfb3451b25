// Group membership on a simulated clock and in bad weather.

import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { del } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost, Released } from '../../recipes/held.js';
import type { GroupChange } from '../../recipes/group.js';
import { join, members } from '../../recipes/group.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { Weather } from './weather.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

function open(w: World, client: Client, ttlSeconds = 10, name = 's'): Promise<Session> {
  return w.clock.until(Session.open(client, { ttlSeconds, clock: w.clock, name }));
}

const names = (change: { readonly data: Uint8Array }[] | readonly { readonly data: Uint8Array }[]): string => {
  return change.map(({ data }) => text(data)).join(' ');
};

test('members are seen in the order in which they joined, whatever they are called and however they change', async (t) => {
  const w = await world(1);
  const view = await w.clock.until(members(w.store, 'g', { clock: w.clock }).ready());
  const changes = view.changes[Symbol.asyncIterator]();
  const next = async (): Promise<GroupChange> => {
    const step = await w.clock.until(Promise.resolve(changes.next()));
    if (step.done === true) throw new Error('ended');
    return step.value;
  };
  t.deepEqual((await next()).members, []);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const z = await w.clock.until(join(a, 'g', { data: 'z' }));
  t.is(names((await next()).joined), 'z');
  const y = await w.clock.until(join(b, 'g', { data: 'y' }));
  const x = await w.clock.until(join(a, 'g', { data: 'x' }));
  await w.clock.advance(100);
  t.is(names((await next()).joined), 'y x');
  t.is(names(view.members), 'z y x');
  t.deepEqual(view.members.map(({ id, since, lease }) => [id, since, lease]), [
    [z.id, z.fence, a.lease], [y.id, y.fence, b.lease], [x.id, x.fence, a.lease],
  ]);
  await w.clock.until(z.update('zz'));
  const updated = await next();
  t.is(names(updated.updated), 'zz');
  t.is(names(updated.members), 'zz y x', 'an update changes no place');
  await w.clock.until(y.release());
  const left = await next();
  t.is(names(left.left), 'y');
  t.is(names(left.members), 'zz x');
  await w.clock.until(a.close());
  t.is(names((await next()).left), 'zz x');
  await w.clock.until(view.close());
  t.true((await changes.next()).done);
  t.deepEqual(await w.clock.until(keysUnder(w.store, 'coterie/')), []);
  await w.end();
});

test('a membership ends with its session, by release and by deletion, is told, and never comes back', async (t) => {
  const w = await world(2);
  const [a, b] = [await open(w, w.link()), await open(w, w.link())];
  const released = await w.clock.until(join(a, 'g'));
  await w.clock.until(released.release());
  t.true(released.signal.reason instanceof Released);
  const deleted = await w.clock.until(join(a, 'g'));
  t.true(deleted.fence > released.fence);
  await w.clock.advance(2_000);
  await w.clock.until(del(w.store, deleted.key));
  await w.clock.advance(1_000);
  t.true(deleted.signal.reason instanceof EntryLost);
  await t.throwsAsync(w.clock.until(deleted.update('ghost')), { instanceOf: FencedOut });
  const lost = await w.clock.until(join(b, 'g'));
  await w.clock.until(b.close());
  t.true(lost.signal.reason instanceof SessionLost);
  await t.throwsAsync(w.clock.until(lost.update('ghost')), { instanceOf: FencedOut });
  await t.throwsAsync(w.clock.until(join(b, 'g')), { instanceOf: SessionLost });
  t.deepEqual(await w.clock.until(keysUnder(w.store, 'coterie/groups/')), []);
  await w.end();
});

test('data that is too long and names that are none are refused', async (t) => {
  const w = await world(3);
  const session = await open(w, w.link());
  await t.throwsAsync(join(session, 'g', { data: 'x'.repeat(70_000) }), { message: /70000 bytes/ });
  await t.throwsAsync(join(session, ''), { message: /name is ""/ });
  await w.end();
});

test('a crashed member is gone within the TTL, and a slow reader is told of it once', async (t) => {
  const w = await world(4);
  const link = w.link();
  const [a, b] = [await open(w, link, 5), await open(w, w.link())];
  await w.clock.until(join(a, 'g', { data: 'crashes' }));
  await w.clock.until(join(b, 'g', { data: 'stays' }));
  const view = await w.clock.until(members(w.store, 'g', { clock: w.clock }).ready());
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { left, staleSince } of view.changes) if (left.length > 0) seen.push(`${names(left)} ${staleSince}`);
  })();
  link.freeze();
  await w.clock.advance(5_000 + 1_000);
  t.is(names(view.members), 'stays');
  t.deepEqual(seen, ['crashes null']);
  await w.clock.until(view.close());
  await reading;
  await w.end();
});

test('in bad weather the view ends up with exactly the members there are, in order', async (t) => {
  const w = await world(5);
  const weather = new Weather(w);
  const view = members(weather.client(), 'g', { clock: w.clock, livenessMs: 2_000 });
  const replayed = new Map<number, string>();
  const reading = (async () => {
    for await (const { joined, left, updated } of view.changes) {
      for (const { since } of left) t.true(replayed.delete(since), 'only who was told of can leave');
      for (const { since, data } of [...joined, ...updated]) replayed.set(since, text(data));
    }
  })();
  let over = false;
  const worker = async (client: Client, number: number): Promise<void> => {
    for (let serial = 0; !over; ) {
      try {
        await using session = await Session.open(client, { ttlSeconds: 3, clock: w.clock, timeoutMs: 3_000 });
        while (!over && session.live) {
          serial += 1;
          const member = await join(session, 'g', { data: `${number}-${serial}`, timeoutMs: 4_000 });
          await weather.sleep(w.prng.below(300));
          await member.update(`${number}-${serial}+`, { timeoutMs: 500 }).catch((error: unknown) => {
            if (!(error instanceof ApiError || error instanceof FencedOut)) throw error;
          });
          if (w.prng.below(3) > 0) await member.release();
          else await weather.sleep(500);
        }
      } catch (error) {
        if (!(error instanceof ApiError || error instanceof SessionLost)) throw error;
        await weather.sleep(50);
      }
    }
  };
  const work = Promise.all(Array.from({ length: 4 }, (_, number) => worker(weather.client(), number)));
  await weather.blow(10_000);
  const stays = await open(w, w.link());
  await w.clock.until(join(stays, 'g', { data: 'stays' }));
  over = true;
  await w.clock.until(work, 60_000);
  await w.clock.advance(10_000);
  const truth = await w.clock.until(keysUnder(w.store, 'coterie/groups/g/'));
  t.deepEqual(truth.map(({ value }) => text(value)), ['stays']);
  t.is(names(view.members), 'stays');
  t.deepEqual([...replayed.values()], ['stays']);
  t.is(view.staleSince, null);
  await w.clock.until(view.close());
  await reading;
  t.is(utf8(names(view.members)).length, 5);
  await w.end();
});

// Barriers, counters, transactions, latches and groups over three real members whose leader is killed while all of them are
// at work. The tests share the members and run side by side.

import test from 'ava';
import { text } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { connect } from '../../core/index.js';
import { arriveAt } from '../../recipes/barrier.js';
import { counter, ids } from '../../recipes/counter.js';
import { enterBarrier } from '../../recipes/double-barrier.js';
import { join, members } from '../../recipes/group.js';
import { latch } from '../../recipes/latch.js';
import { stm } from '../../recipes/stm.js';
import { earlyAndLate, lostWaiting, manyRuns, reconnecting, timedOut, tooMany } from './barrier-claims.js';
import { insist, opened, readAll, until, write } from './claims.js';
import { urlsOf } from './homes.js';
import { membersOfFile } from './three-members.js';

const place = membersOfFile(test);

const number = (value: Uint8Array | null): number => (value === null ? 0 : Number(text(value)));

test('B1 over three members: one of three reconnects and the leader is killed: nobody passes, and then all do', async (t) => {
  t.timeout(180_000);
  await reconnecting(t, place());
});

test('B2 over three members: two run out of time after a kill of the leader, all are told the same', async (t) => {
  t.timeout(180_000);
  await timedOut(t, place());
});

test('B2 over three members: one is lost and the leader killed: who waits and who comes is told the same', async (t) => {
  t.timeout(180_000);
  await lostWaiting(t, place());
});

test('B3 over three members: another number, or one too many, is refused, also when the leader is killed', async (t) => {
  t.timeout(180_000);
  await tooMany(t, place());
});

test('B4 over three members: runs of n with random delays pass together, the leader killed in the middle', async (t) => {
  t.timeout(180_000);
  await manyRuns(t, place());
});

test('B5 over three members: early ones go on while a late one has not noticed, and the leader is killed', async (t) => {
  t.timeout(180_000);
  await earlyAndLate(t, place());
});

test('B4 over three members: at work while the leader is killed: all pass together, count once, conserve sums', async (t) => {
  t.timeout(180_000);
  const urls = urlsOf(place());
  const near: Client[] = [1, 2, 3].map(() => connect(urls));
  const [first = connect(urls)] = near;
  await write(first, 'accounts/0', '100');
  await write(first, 'accounts/1', '100');
  const passages: number[][] = [];
  const blocks: number[] = [];
  let over = -1;
  let stopping = false;
  let added = 0;
  const workers = near.map(async (client, me) => {
    const session = await opened(client);
    const member = await join(session, 'workers', { data: String(me) });
    const ready = await latch(session, 'ready', { count: 3 });
    await ready.countDown({ id: String(me) });
    await ready.wait();
    const [hits, orders] = [counter(session, 'hits'), ids(client, 'orders')];
    for (let round = 0; over < 0 || round < over; round += 1) {
      const passage = await arriveAt(session, 'round', { parties: 3 });
      (passages[round] ??= []).push(passage.generation, passage.index);
      await hits.add(1, round % 2 === 0 ? { id: `${me}-${round}` } : {});
      added += 1;
      blocks.push((await orders.reserve(10)).from);
      await stm(session, async (tx) => {
        const [from, to] = [`accounts/${round % 2}`, `accounts/${(round + 1) % 2}`];
        const [a, b] = [number(await tx.get(from)), number(await tx.get(to))];
        tx.put(from, String(a - 1));
        tx.put(to, String(b + 1));
      });
      const inside = await enterBarrier(session, 'round', { parties: 3 });
      // Decided by one of them, between two barriers, so that all stop after the same round.
      if (me === 0 && stopping && over < 0) over = round + 1;
      await inside.leave();
    }
    t.true(member.isHeld);
    return session;
  });
  const all = Promise.all(workers);
  await using view = await members(first, 'workers').ready();
  await until(() => passages.length > 2);
  const before = passages.length;
  await place().trouble();
  await until(() => passages.length > before + 5);
  stopping = true;
  const sessions = await all;
  for (const [round, [g1, i1, g2, i2, g3, i3]] of passages.entries()) {
    t.true(g1 === g2 && g2 === g3, `round ${round}`);
    t.deepEqual([i1, i2, i3].toSorted((a, b) => Number(a) - Number(b)), [0, 1, 2]);
  }
  const [hits] = sessions.map((session) => counter(session, 'hits'));
  t.is(await insist(async () => hits?.value()), added);
  t.is(new Set(blocks).size, blocks.length);
  t.is((await readAll(first, 'accounts/')).reduce((sum, { value }) => sum + number(value), 0), 200);
  t.is(view.members.length, 3);
  t.log(`${before} rounds before, ${passages.length - before} after; ${added} counted`);
  await Promise.all(sessions.map((session) => session.close()));
  await Promise.all(near.map((client) => client.close()));
});

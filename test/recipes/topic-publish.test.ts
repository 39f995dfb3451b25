// What publishers of one topic owe each other and their callers: a turn for everybody, and the truth about a lost answer.

import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { get, put } from '../../core/client.js';
import { Topic } from '../../recipes/topic.js';
import { creates, haunted } from './ghosts.js';
import type { Fate } from './ghosts.js';
import { keysUnder, world } from './world.js';
import type { World } from './world.js';

const ROOT = 'coterie/topics/';

async function bodies(w: World): Promise<string[]> {
  return (await w.clock.until(keysUnder(w.store, `${ROOT}news/log/`))).map(({ value }) => text(value));
}

/** A publisher so far away, which publishes all the time until `isOver`; how many there were. */
async function busy(w: World, rttMs: number, isOver: () => boolean): Promise<number> {
  const link = w.link();
  link.requestMs = () => rttMs * (0.4 + w.prng.below(20) / 100);
  link.answerMs = () => rttMs * (0.4 + w.prng.below(20) / 100);
  const topic = new Topic(link, 'news', { clock: w.clock });
  let count = 0;
  for (; !isOver(); count += 1) await topic.publish(`${rttMs}`);
  return count;
}

for (const near of [1, 3, 20]) {
  test(`a publisher far away gets its turn among busy ones near by: ${near}`, async (t) => {
    const w = await world(70 + near);
    let isOver = false;
    const others = Array.from({ length: near }, () => busy(w, 2, () => isOver));
    const far = w.link();
    far.requestMs = () => 25;
    far.answerMs = () => 25;
    const topic = new Topic(far, 'news', { clock: w.clock });
    const times: number[] = [];
    for (let n = 0; n < 20; n += 1) {
      const from = w.clock.now();
      await w.clock.until(topic.publish(`far ${n}`), 10_000);
      times.push(w.clock.now() - from);
    }
    isOver = true;
    const counts = await w.clock.until(Promise.all(others));
    const total = counts.reduce((sum, count) => sum + count, 0);
    const seconds = times.reduce((sum, ms) => sum + ms, 0) / 1_000;
    t.log(`far away: ${Math.round(seconds * 50)} ms each, at most ${Math.round(Math.max(...times))} ms; near by: `
      + `${Math.round(total / seconds)} a second, the least of them ${Math.min(...counts)}, the most ${Math.max(...counts)}`);
    t.true(Math.min(...counts) > 0);
    t.is(await w.clock.until(get(w.store, utf8(`${ROOT}news/turn`))), null, 'nobody\'s turn is left');
    await w.end();
  });
}

test('a publisher that is gone with the turn in its hands holds up the others for a second, not for longer', async (t) => {
  const w = await world(90);
  const topic = new Topic(w.link(), 'news', { clock: w.clock });
  await w.clock.until(topic.publish('before'));
  await w.clock.until(put(w.store, utf8(`${ROOT}news/turn`), utf8('gone')));
  const from = w.clock.now();
  await w.clock.until(topic.publish('after'));
  const waited = w.clock.now() - from;
  t.true(waited >= 1_000 && waited < 1_200, `${waited} ms`);
  t.deepEqual(await bodies(w), ['before', 'after']);
  t.is(await w.clock.until(get(w.store, utf8(`${ROOT}news/turn`))), null);
  await w.end();
});

test('a lost answer is found also when the lease for such knowledge has been changed since: nothing twice', async (t) => {
  const w = await world(91);
  const fates: Fate['kind'][] = [];
  const client = haunted(w.link(), w.clock, (request) => {
    const kind = creates(request, ROOT) ? fates.shift() : undefined;
    return kind === 'late' ? { kind, delayMs: 1_000 } : { kind: kind ?? 'normal' };
  });
  const topic = new Topic(client, 'news', { clock: w.clock, windowSeconds: 60 });
  await w.clock.until(topic.publish('first'));
  for (const kind of ['unanswered', 'late'] as const) {
    // A lease serves for an eighth of the window.
    await w.clock.advance(7_490);
    fates.push(kind, ...(kind === 'late' ? ['unsent', 'unsent', 'unsent', 'unsent', 'unsent', 'unsent'] as const : []));
    const { duplicate } = await w.clock.until(topic.publish(kind));
    t.false(duplicate);
    await w.clock.advance(3_000);
  }
  t.deepEqual(await bodies(w), ['first', 'unanswered', 'late']);
  await w.end();
});

test('whoever learns late that all is published takes no turn it has no use for', async (t) => {
  const w = await world(92);
  const fates: Fate['kind'][] = [];
  const client = haunted(w.link(), w.clock, (request) => {
    const kind = creates(request, ROOT) ? fates.shift() : undefined;
    return { kind: kind === 'unanswered' ? kind : 'normal' };
  });
  const [topic, other] = [new Topic(client, 'news', { clock: w.clock }), new Topic(w.link(), 'news', { clock: w.clock })];
  await w.clock.until(topic.publish('1'));
  await w.clock.until(other.publish('2'));
  // Too late by the second message, then done without an answer, then told so.
  fates.push('normal', 'unanswered');
  await w.clock.until(topic.publish('3'));
  t.deepEqual(await bodies(w), ['1', '2', '3']);
  t.is(await w.clock.until(get(w.store, utf8(`${ROOT}news/turn`))), null);
  await w.end();
});

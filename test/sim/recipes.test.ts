// The recipes in the simulated world: they really run there, a process that stood still goes on in Node's order, and the judges
// object to what must not be. That they find it in a world is shown by planted bugs: npm run sim -- --mutants.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import type { KeyValue } from '../../core/client.js';
import { writeEnd, writeItem } from '../../recipes/queue-keys.js';
import type { Sight } from './campaigners.js';
import { judgeHolders, judgeSessions, judgeSights } from './holder-judge.js';
import { ClientProcess } from './process.js';
import { Beliefs, type Claim } from './programs.js';
import { judgeQueue } from './queue-judge.js';
import { QUEUE_KEYS, QueueBeliefs } from './queues.js';
import type { Change, RecipeCourse, Stay, Step } from './recipe-course.js';
import { stayName } from './recipe-course.js';
import type { CallEntry } from './recorder.js';
import { runSeed } from './run.js';
import { drawSwarm, type Swarm } from './swarm.js';
import { World } from './world.js';

function busy(swarm: Swarm): Swarm {
  const recipes = { lockers: 2, candidates: 2, producers: 1, consumers: 2, stalls: 4 };
  return { ...swarm, recipes, faultMs: swarm.faultMs / 4 };
}

test.serial('locks, an office and a queue are used in a world, and all of it comes to rest', async (t) => {
  const verdict = await runSeed(12, { alter: busy });
  t.is(verdict.violation, null, verdict.violation?.message);
  const held = (...kinds: readonly string[]): number => {
    return kinds.reduce((sum, kind) => sum + (verdict.coverage[`held: ${kind}`] ?? 0), 0);
  };
  t.true(held('lock') > 0);
  t.true(held('read', 'write', 'permits') > 0);
  t.true(held('office') > 0);
  t.true((verdict.counts['delivered'] ?? 0) > 0);
  const again = await runSeed(12, { alter: busy });
  t.is(again.hash, verdict.hash);
});

test.serial('what blocked a process goes on before its timers, and they before what arrived', async (t) => {
  const world = new World(drawSwarm(1));
  const process = new ClientProcess(world, 1);
  const told: string[] = [];
  process.schedule(10, () => told.push('timer'));
  world.scheduler.after(5, 2, 1, () => process.arrive(() => told.push('input')));
  void process.block(100).then(() => told.push('blocked'));
  await world.runUntil(99);
  t.deepEqual(told, []);
  await world.runUntil(200);
  t.deepEqual(told, ['blocked', 'timer', 'input']);
  process.die();
  process.arrive(() => told.push('dead'));
  await world.runUntil(300);
  t.is(told.length, 3);
});

const HEADER = Object.freeze({ clusterId: 1n, memberId: 1n, revision: 2, raftTerm: 1 });

function stay(key: string, fence: number, times: { madeAt: number; goneAt: number }): Stay {
  return { key, fence, lease: 7n, goneRevision: times.goneAt, hasExpired: false, ...times };
}

function courseWith(stays: readonly Stay[], steps: readonly Step[] = []): RecipeCourse {
  return { steps, stays: new Map(stays.map((each) => [stayName(each.key, each.fence), each])), expiries: [] };
}

function claiming(claim: Partial<Claim>): Beliefs {
  const beliefs = new Beliefs(() => 0);
  beliefs.claims.push({
    who: 'a', kind: 'lock', name: 'x', key: 'coterie/locks/x/2', fence: 2, at: 50, believedAt: 60, permits: 0, limit: 0, ...claim,
  });
  return beliefs;
}

test('a lock that somebody else had at that time is objected to', (t) => {
  const own = stay('coterie/locks/x/2', 2, { madeAt: 20, goneAt: 100 });
  const before = (goneAt: number): Stay => stay('coterie/locks/x/1', 1, { madeAt: 10, goneAt });
  t.is(judgeHolders(courseWith([before(40), own]), claiming({})), null);
  t.is(judgeHolders(courseWith([before(51), own]), claiming({}))?.invariant, 'I33');
  t.is(judgeHolders(courseWith([own]), claiming({ fence: 3 }))?.invariant, 'I33');
});

test('whoever counts on what is gone is objected to', (t) => {
  const own = stay('coterie/locks/x/2', 2, { madeAt: 20, goneAt: 59 });
  t.is(judgeHolders(courseWith([own]), claiming({}))?.invariant, 'I37');
  const beliefs = new Beliefs(() => 0);
  beliefs.sessions.set(7n, { who: 'a', believedAt: 60, counts: [] });
  t.is(judgeHolders({ ...courseWith([]), expiries: [{ lease: 7n, at: 59 }] }, beliefs)?.invariant, 'I37');
  t.is(judgeHolders({ ...courseWith([]), expiries: [{ lease: 7n, at: 60 }] }, beliefs), null);
});

test('a session that counts on more than it was promised is objected to', (t) => {
  const beliefs = new Beliefs(() => 0);
  beliefs.sessions.set(7n, { who: 'a', believedAt: 60, counts: [{ at: 60, until: 1040 }] });
  const asked = (calledAt: number): CallEntry => ({
    client: 'a', member: 1n, calledAt, returnedAt: 55, request: { kind: 'keep_alive', lease: 7n },
    outcome: { kind: 'ok', response: { header: HEADER, ttlSeconds: 1 } },
  });
  t.is(judgeSessions(beliefs, [asked(40)]), null);
  t.is(judgeSessions(beliefs, [asked(39)])?.invariant, 'I37');
});

test('permits beyond the limit are objected to', (t) => {
  const entries = [1, 2].map((fence) => {
    return stay(`coterie/semaphores/x/permits/${fence}~2`, fence, { madeAt: 10, goneAt: 100 });
  });
  const claim = { kind: 'permits', key: 'coterie/semaphores/x/permits/2~2', permits: 2 } as const;
  t.is(judgeHolders(courseWith(entries), claiming({ ...claim, limit: 4 })), null);
  t.is(judgeHolders(courseWith(entries), claiming({ ...claim, limit: 3 }))?.invariant, 'I33');
});

test('what comes back after it was given back is objected to', (t) => {
  const beliefs = new Beliefs(() => 0);
  beliefs.idles.push({ who: 'a', line: 'coterie/locks/x/', lease: 7n, from: 50, until: 80 });
  const made = (madeAt: number, goneAt: number): RecipeCourse => courseWith([stay('coterie/locks/x/7', 2, { madeAt, goneAt })]);
  t.is(judgeHolders(made(20, 50), beliefs), null);
  t.is(judgeHolders(made(80, 90), beliefs), null);
  t.is(judgeHolders(made(60, 70), beliefs)?.invariant, 'I43');
  t.is(judgeHolders(made(20, 70), beliefs)?.invariant, 'I43');
});

function pair(key: string, value: Uint8Array, revision: number): KeyValue {
  return { key: utf8(key), value, createRevision: revision, modRevision: revision, version: 1, lease: 0n };
}

function put(key: string, value: Uint8Array, revision: number): Change {
  return { key, kv: pair(key, value, revision), before: null };
}

function gone(key: string): Change {
  return { key, kv: null, before: pair(key, utf8(''), 1) };
}

function steps(...all: readonly (readonly Change[])[]): readonly Step[] {
  return all.map((changes, i) => ({ revision: i + 2, at: 10 * (i + 2), changes }));
}

test('leaders that never were, or in another order, are objected to', (t) => {
  const [a, b] = ['coterie/elections/boss/1', 'coterie/elections/boss/2'];
  const course = courseWith([], steps([put(a, utf8('A'), 2)], [put(b, utf8('B'), 3)], [gone(a)]));
  const sight = (term: number | null, at: number, value = term === 2 ? 'A' : 'B'): Sight => {
    return { who: 'ob', at, term, revision: term ?? 0, value };
  };
  t.is(judgeSights(course, [sight(2, 20), sight(3, 40)]), null);
  t.is(judgeSights(course, [sight(null, 5), sight(3, 40)]), null);
  t.is(judgeSights(course, [sight(3, 30)])?.invariant, 'I36');
  t.is(judgeSights(course, [sight(3, 40), sight(2, 50)])?.invariant, 'I36');
  t.is(judgeSights(course, [sight(2, 20), sight(null, 50)])?.invariant, 'I36');
  t.is(judgeSights(course, [sight(2, 20, 'B')])?.invariant, 'I36');
});

const { root } = QUEUE_KEYS;

function item(id: string, group: string | null, place = '0'): Uint8Array {
  return writeItem({ place, priority: 0, maxAttempts: 3, group }, utf8(id));
}

function done(id: string): Change {
  return put(`${root}done`, writeEnd({ id, outcome: 'done', attempts: 1, fence: 3 }), 4);
}

test('an item that ends twice, never, or is in two places is objected to', (t) => {
  const told = new QueueBeliefs();
  const [entered, ready, out] = [put(`${root}items/i`, item('i', null), 2), `${root}ready/0/ff0.0000/i`, `${root}out/item/i`];
  const put1 = [entered, put(ready, utf8(''), 2)];
  const taken = [gone(ready), put(out, utf8(''), 3), put(`${root}out/hold/7/i`, utf8(''), 3)];
  const ended = [gone(`${root}out/hold/7/i`), gone(out), done('i'), gone(`${root}items/i`)];
  const judged = (isOver: boolean, ...all: readonly (readonly Change[])[]): string | undefined => {
    return judgeQueue(courseWith([], steps(...all)), told, isOver)?.message;
  };
  t.is(judged(true, put1, taken, ended), undefined);
  t.regex(judged(true, put1, taken) ?? '', /never ended/);
  t.is(judged(false, put1, taken), undefined);
  t.regex(judged(true, put1, taken, ended, [done('i')]) ?? '', /ended twice/);
  t.regex(judged(true, put1, [put(out, utf8(''), 3)]) ?? '', /is in ready\/0 and out\/item/);
  t.regex(judged(true, put1, taken, [put(`${root}out/hold/8/i`, utf8(''), 4)]) ?? '', /held by 7 and 8/);
  t.regex(judged(true, put1, taken, [put('effects/i', utf8(''), 4)]) ?? '', /without its end/);
  told.put.add('lost');
  t.regex(judged(true, put1, taken, ended) ?? '', /lost was put/);
});

test('of a group, a later item before an earlier one is objected to', (t) => {
  const entered = (id: string, place: string): Change[] => [
    put(`${root}items/${id}`, item(id, 'g', place), 2), put(`${root}line/g/${place}/${id}`, utf8('0'), 2),
  ];
  const promoted = (id: string, place: string): Change[] => [
    gone(`${root}line/g/${place}/${id}`), put(`${root}ready/1/ff1.0000/${id}`, utf8(''), 3),
  ];
  const judged = (id: string, place: string): string | undefined => {
    const course = courseWith([], steps(entered('a', '1'), entered('b', '2'), promoted(id, place)));
    return judgeQueue(course, new QueueBeliefs(), false)?.message;
  };
  t.is(judged('a', '1'), undefined);
  t.regex(judged('b', '2') ?? '', /b is out before a/);
});

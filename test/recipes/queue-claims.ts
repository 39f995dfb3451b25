// What queues promise, as claims that are made of every place over real sockets: one member of coterie, one of etcd, and
// three whose leader is killed in the middle. Each function is the claim of the name that its comment begins with.

import { setTimeout as sleep } from 'node:timers/promises';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { opPut } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost } from '../../recipes/held.js';
import type { QueueEvent } from '../../recipes/queue-call.js';
import type { Delivery } from '../../recipes/queue-delivery.js';
import { ItemTooLarge, QueueFull } from '../../recipes/queue-put.js';
import type { QueueStats } from '../../recipes/queue-state.js';
import { Queue } from '../../recipes/queue.js';
import { block, type Claim, counting, insist, opened, readAll, read, readText, removeAll, revoke, until } from './claims.js';
import { clients, start, urlsOf } from './homes.js';

function rootOf(name: string): string {
  return `coterie/queues/${name}/`;
}

/** Keys of items, beside what a queue keeps for itself. */
async function left(client: Client, name: string): Promise<readonly string[]> {
  const keys = (await readAll(client, rootOf(name))).map(({ key }) => text(key));
  return keys.filter((key) => !/\/(ids|in|done|care|turn|guard)\b/.test(key));
}

function stats(queue: Queue<never> | Queue<string> | Queue<number>): Promise<QueueStats> {
  return insist(() => queue.stats());
}

/** Q1. The worker is a process that is stopped, so its lease alone can take the item away. */
export const stalled: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const queue = new Queue<string>(near, 'q1');
  await queue.put('x');
  const { child, line } = await start(t, 'queue-main.js', [urlsOf(place).join(), 'q1', '3', 'q1-effects']);
  t.regex(line, /^took \d+$/);
  const said = new Promise<string>((resolve) => {
    child.stdout?.once('data', (bytes: Buffer) => resolve(bytes.toString()));
  });
  const session = await opened(near);
  const waiting = queue.take(session);
  child.kill('SIGSTOP');
  await place.trouble();
  const item = await waiting;
  t.is(item.attempt, 2, place.name);
  t.true(item.fence > Number(line.split(' ')[1]));
  await item.ack({ also: [opPut(utf8('q1-effects'), utf8('second'))] });
  child.kill('SIGCONT');
  t.regex(await said, /^ack fenced_out/, place.name);
  const effect = await read(near, 'q1-effects');
  t.deepEqual([text(effect?.value ?? utf8('')), effect?.version], ['second', 1]);
  t.deepEqual(await left(near, 'q1'), []);
  await session.close();
};

/** Q2. */
export const sessionKilled: Claim = async (t, place) => {
  const { far, near } = await clients(t, place);
  const queue = new Queue<string>(near, 'q2');
  const [a, b] = [await opened(far), await opened(near)];
  await queue.put('x');
  const first = await queue.take(a);
  await insist(() => first.txn().put('q2-effects', 'before').commit());
  const waiting = queue.take(b);
  const trouble = place.trouble();
  await revoke(near, a.lease);
  const second = await waiting;
  await trouble;
  t.deepEqual([second.id, second.attempt], [first.id, 2], place.name);
  t.true(second.fence > first.fence);
  // What may have been done is done again: it is refused, or the same.
  await t.throwsAsync(insist(() => first.txn().put('q2-effects', 'a').commit()), { instanceOf: FencedOut });
  await t.throwsAsync(first.ack({ also: [opPut(utf8('q2-effects'), utf8('a'))] }), { instanceOf: FencedOut });
  await insist(() => second.txn().put('q2-effects', 'b').commit());
  await second.ack({ also: [opPut(utf8('q2-effects'), utf8('ended'))] });
  t.is(await readText(near, 'q2-effects'), 'ended', place.name);
  t.deepEqual(await left(near, 'q2'), []);
  await b.close();
};

/** Counts the time in which this process ran: while others have the processors for long, nobody renews anything. */
function attendance(): () => number {
  let [ms, at] = [0, performance.now()];
  const timer = setInterval(() => {
    const now = performance.now();
    ms += Math.min(now - at, 100);
    at = now;
  }, 50);
  return () => {
    clearInterval(timer);
    return ms;
  };
}

/** Q3. The one knob is `leaseMs`. A stall is told as far as it has kept a renewal waiting. */
export const oneKnob: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const counted = counting(near);
  const gaps: number[] = [];
  const observe = (event: QueueEvent): void => void (event.kind === 'stalled' && gaps.push(event.gapMs));
  const queue = new Queue<string>(counted, 'q3', { observe });
  const over = new AbortController();
  // What stands still here stands still with every other place, and on a machine that is busy besides.
  const leaseMs = Math.max(12_000, place.ttlSeconds * 1_000);
  let [delivered, isDone] = [0, false];
  const consuming = queue.consume(async ({ signal }) => {
    delivered += 1;
    await until(() => isDone || signal.aborted);
  }, { leaseMs, signal: over.signal });
  await queue.put('long');
  await until(() => delivered > 0);
  const [from, before] = [performance.now(), counted.sent.renewals];
  const attended = attendance();
  while (!gaps.some((gap) => gap > 200)) {
    const { renewals } = counted.sent;
    await until(() => counted.sent.renewals > renewals, 5);
    await sleep(leaseMs / 3 - 400);
    block(700);
    await sleep(20);
  }
  t.true(Math.max(...gaps) < performance.now() - from, `${place.name}: ${String(gaps)}`);
  await place.trouble();
  await sleep(leaseMs / 2);
  const thirds = 3 * (performance.now() - from) / leaseMs;
  const fewest = 3 * attended() / leaseMs / 2;
  const renewals = counted.sent.renewals - before;
  t.true(renewals > fewest && renewals < 2 * thirds + 2, `${place.name}: ${renewals} renewals in ${thirds} thirds, ${fewest}`);
  t.is(delivered, 1, 'neither a stall nor a change of leader shorter than the lease takes anything away');
  isDone = true;
  await until(async () => (await stats(queue)).ended === 1);
  over.abort();
  await consuming;
};

/** Q4. */
export const requeues: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const queue = new Queue<string>(near, 'q4');
  const session = await opened(near);
  await queue.put('x', { id: 'one', maxAttempts: 200, group: 'g' });
  const lengths = new Set<number>();
  let trouble = Promise.resolve();
  for (let i = 1; i <= 100; i += 1) {
    if (i === 50) trouble = place.trouble();
    const item = await queue.take(session);
    t.deepEqual([item.id, item.attempt], ['one', i], place.name);
    await item.nack({ delayMs: 0 });
    if (i % 10 === 0) for (const { key } of await readAll(near, `${rootOf('q4')}ready/`)) lengths.add(key.length);
  }
  await trouble;
  t.is(lengths.size, 1, place.name);
  const last = await queue.take(session);
  t.is(last.attempt, 101);
  await last.ack();
  t.deepEqual(await left(near, 'q4'), []);
  await session.close();
};

/** Q5. */
export const deleted: Claim = async (t, place) => {
  const { far, near } = await clients(t, place);
  const queue = new Queue<string>(near, 'q5');
  const [a, b] = [await opened(near), await opened(far)];
  await queue.put('first');
  const held = await queue.take(a);
  const waiting = [queue.take(a), queue.take(b)];
  await sleep(300);
  const trouble = place.trouble();
  await removeAll(near, rootOf('q5'));
  await until(() => held.signal.aborted);
  t.true(held.signal.reason instanceof EntryLost, place.name);
  await trouble;
  await queue.put('x');
  await queue.put('y');
  const items = await Promise.all(waiting);
  t.deepEqual(items.map(({ body }) => body).sort(), ['x', 'y']);
  for (const item of items) await item.ack();
  t.is((await stats(queue)).size, 0);
  await Promise.all([a.close(), b.close()]);
};

/** Q6. */
export const disconnected: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  // However often it is lost with its session: what counts here is that it ends.
  const queue = new Queue<number>(near, 'q6', { maxAttempts: 50, backoffMs: () => 0 });
  const done = new Set<number>();
  const over = new AbortController();
  const consuming = new Queue<number>(far, 'q6', { backoffMs: () => 0 }).consume(async ({ body }) => {
    await sleep(5);
    done.add(body);
  }, { concurrency: 4, leaseMs: 2_000, signal: over.signal });
  for (let i = 0; i < 20; i += 1) await queue.put(i);
  await until(() => done.size > 0);
  proxy.freeze();
  await Promise.all([sleep(5_000), place.trouble()]);
  proxy.cut();
  proxy.thaw();
  for (let i = 20; i < 40; i += 1) await queue.put(i);
  await until(async () => (await stats(queue)).size === 0, 100);
  t.deepEqual([done.size, (await stats(queue)).dead], [40, 0], place.name);
  over.abort();
  await consuming;
};

/** Q7. With ten thousand items, and with a hundred consumers: on the simulated clock. */
export const constantCost: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const session = await opened(near);
  const costs: number[] = [];
  for (const backlog of [10, 1_000]) {
    const queue = new Queue<number>(near, `q7-${backlog}`);
    await Promise.all(Array.from({ length: 50 }, async (_, p) => {
      for (let i = p; i < backlog; i += 50) await queue.put(i);
    }));
    if (backlog > 10) await place.trouble();
    const counted = counting(near);
    const counter = new Queue<number>(counted, `q7-${backlog}`);
    const own = await opened(counted);
    for (let i = 0; i < 10; i += 1) await (await counter.take(own)).ack();
    costs.push((counted.sent.txns + counted.sent.ranges) / 10);
    await own.close();
  }
  t.log(`${place.name}: ${costs.join(' and ')} requests for each of ten items, of 10 and of 1,000`);
  // Where a member may be killed meanwhile, something is sent again.
  for (const cost of costs) t.true(cost < (place.ports.length === 1 ? 4 : 8), `${place.name}: ${costs.join()}`);
  await session.close();
};

/** Q8. */
export const committed: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const [queue, plain] = [new Queue<number>(far, 'q8'), new Queue<number>(near, 'q8')];
  const session = await opened(far);
  let trouble = Promise.resolve();
  for (let run = 0; run < 15; run += 1) {
    if (run === 7) trouble = place.trouble();
    const putting = queue.put(run, run % 2 === 0 ? {} : { group: 'g' });
    if (run > 0) await sleep(run / 4);
    proxy.cut();
    const { id } = await putting;
    t.not(await read(near, `${rootOf('q8')}items/${id}`), null, `${place.name}: put ${run}`);
  }
  await trouble;
  t.is((await stats(plain)).size, 15, place.name);
  const seen: number[] = [];
  for (let run = 0; run < 15; run += 1) {
    if (run === 7) trouble = place.trouble();
    const taking = queue.take(session);
    if (run > 0) await sleep(run / 4);
    if (run % 2 === 0) proxy.cut();
    const item = await taking;
    seen.push(item.body);
    const ending = item.ack({ also: [opPut(utf8(`q8-done/${item.body}`), utf8(''))] });
    if (run % 2 === 1) proxy.cut();
    await ending;
  }
  await trouble;
  t.deepEqual(seen.toSorted((a, b) => a - b), Array.from({ length: 15 }, (_, i) => i), place.name);
  t.is((await stats(plain)).size, 0);
  const effects = await readAll(near, 'q8-done/');
  t.true(effects.length === 15 && effects.every(({ version }) => version === 1));
  await session.close();
};

/** Why nothing can be put. Where its time runs out in the middle of a change of leader, the queue cannot know, and says so. */
async function refusal(queue: Queue<string>): Promise<unknown> {
  for (;;) {
    const outcome: unknown = await queue.put('late', { timeoutMs: 2_000 }).catch((error: unknown) => error);
    if (!isApiError(outcome, 'deadline_exceeded')) return outcome;
  }
}

/** Q9. */
export const bounded: Claim = async (t, place) => {
  const { far, near } = await clients(t, place);
  const options = { itemsMax: 10, bodyBytesMax: 1_000 };
  const queue = new Queue<string>(near, 'q9', options);
  const putting = Promise.all(Array.from({ length: 20 }, async (_, p) => {
    const mine = new Queue<string>(p % 2 === 0 ? near : far, 'q9', options);
    for (let i = 0; i < 3; i += 1) await mine.put(`${p} ${i}`);
  }));
  await until(async () => (await stats(queue)).size === 10);
  t.true(await refusal(queue) instanceof QueueFull, place.name);
  await t.throwsAsync(queue.put('x'.repeat(2_000)), { instanceOf: ItemTooLarge });
  const session = await opened(far);
  let most = 0;
  let trouble = Promise.resolve();
  for (let i = 0; i < 60; i += 1) {
    if (i === 20) trouble = place.trouble();
    if (i % 2 === 0) most = Math.max(most, (await stats(queue)).size);
    await (await queue.take(session)).ack();
  }
  await Promise.all([putting, trouble]);
  t.is(most, 10, place.name);
  t.is((await stats(queue)).put, 60);
  await session.close();
};

/** Q10. */
export const retention: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const queue = new Queue<string>(near, 'q10', { deadMax: 3, windowMs: 1_000 });
  const session = await opened(near);
  for (let i = 0; i < 8; i += 1) await queue.put('x', { id: `i${i}` });
  const held: Delivery<string>[] = [];
  for (let i = 0; i < 8; i += 1) held.push(await queue.take(session));
  await held[0]?.nack({ dead: true, error: new Error('first') });
  // Alive again, and in somebody's hands, when the dead before and after it are dropped.
  t.true(await queue.putBack('i0'));
  const back = await queue.take(session);
  t.deepEqual([back.id, back.attempt], ['i0', 1], place.name);
  const trouble = place.trouble();
  for (const item of held.slice(1, 7)) await item.nack({ dead: true });
  await trouble;
  await until(async () => (await stats(queue)).dead === 3);
  const dead: string[] = [];
  for await (const { id } of queue.dead()) dead.push(id);
  t.deepEqual(dead, ['i4', 'i5', 'i6'], `${place.name}: the newest three`);
  t.true(back.isHeld);
  t.deepEqual([await queue.remove('i0'), await queue.remove('i7')], ['held', 'held']);
  const items = (await readAll(near, `${rootOf('q10')}items/`)).map(({ key }) => text(key).slice(rootOf('q10').length));
  t.deepEqual(items, ['items/i0', 'items/i4', 'items/i5', 'items/i6', 'items/i7'], place.name);
  await back.ack();
  await held[7]?.ack();
  await session.close();
};

async function collected(queue: Queue<string>, count: number): Promise<string[]> {
  const seen: string[] = [];
  for await (const { id, outcome } of queue.ends({ from: 1 })) {
    if (seen.push(`${id}: ${outcome}`) === count) break;
  }
  return seen.sort();
}

/** Q11. */
export const oneEnd: Claim = async (t, place) => {
  const { far, near } = await clients(t, place);
  const queue = new Queue<string>(near, 'q11', { maxAttempts: 2, backoffMs: () => 0 });
  const ends = collected(queue, 6);
  const [session, lost] = [await opened(far), await opened(far)];
  await queue.put('x', { id: 'crashed', maxAttempts: 1 });
  t.is((await queue.take(lost)).id, 'crashed');
  await revoke(near, lost.lease);
  for (const id of ['done', 'fails', 'gone', 'back']) await queue.put('x', { id, group: id });
  const trouble = place.trouble();
  t.is(await queue.remove('gone'), 'removed');
  for (let i = 0; i < 5; i += 1) {
    const item = await queue.take(session);
    if (item.id === 'done') await item.ack();
    else if (item.id === 'back') await (item.attempt === 1 ? item.nack() : item.ack());
    else await item.nack({ error: new Error('no') });
  }
  await trouble;
  await until(async () => (await stats(queue)).dead === 2);
  const dead: string[] = [];
  for await (const item of queue.dead()) if (item.id === 'fails') dead.push(`${item.id} ${item.attempts} ${item.reason}`);
  t.deepEqual(dead, ['fails 2 no'], place.name);
  t.true(await queue.putBack('fails'));
  const item = await queue.take(session);
  t.deepEqual([item.id, item.attempt], ['fails', 1]);
  await item.ack();
  const all = ['back: done', 'crashed: dead', 'done: done', 'fails: dead', 'fails: done', 'gone: removed'];
  t.deepEqual(await ends, all, place.name);
  await session.close();
};

/** Q12. A hundred thousand items: on the simulated clock. */
export const fairTurns: Claim = async (t, place) => {
  const { far, near } = await clients(t, place);
  const queue = new Queue<string>(near, 'q12', { weights: { c: 2 } });
  const session = await opened(far);
  for (let i = 0; i < 60; i += 1) await queue.put(`a${i}`, { group: 'a' });
  const order: string[] = [];
  const next = async (): Promise<void> => {
    const item = await queue.take(session);
    order.push(item.body);
    await item.ack();
  };
  await next();
  await queue.put('b0', { group: 'b' });
  await next();
  await next();
  t.true(order.slice(1).includes('b0'), `${place.name}: ${order.join()}`);
  const trouble = place.trouble();
  for (let i = 0; i < 9; i += 1) await queue.put(`c${i}`, { group: 'c' });
  await trouble;
  const from = order.length;
  for (let i = 0; i < 14; i += 1) await next();
  const groups = order.slice(from).map(([group]) => group).join('');
  t.regex(groups, /^a?(?:cca){4}/, `${place.name}: ${groups}`);
  // Of one group only one is out at a time, and what backs off keeps its place.
  const failing = await queue.take(session);
  await failing.nack({ delayMs: 0 });
  const ofA = (): number[] => order.filter((body) => body.startsWith('a')).map((body) => Number(body.slice(1)));
  for (let i = 0; i < 5; i += 1) await next();
  t.deepEqual(ofA(), ofA().map((_, i) => i), place.name);
  await session.close();
};

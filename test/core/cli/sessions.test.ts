// `coterie sessions`, `locks` and `services`: what they show of a store in which much goes on, to people and to programs,
// and that nothing written there by others can talk to the terminal.

import test from 'ava';
import { text, utf8 } from '../../../core/base/bytes.js';
import { get, put } from '../../../core/client.js';
import { campaign } from '../../../recipes/election.js';
import { lock } from '../../../recipes/lock.js';
import { Queue } from '../../../recipes/queue.js';
import { register } from '../../../recipes/registry.js';
import { readLock, writeLock } from '../../../recipes/rw-lock.js';
import { acquirePermits } from '../../../recipes/semaphore.js';
import { Session } from '../../../recipes/session.js';
import { becomes, begin, startStores, type Store } from './running.js';

let stores: readonly [Store, ...Store[]];

test.before('stores start', async (t) => {
  stores = await startStores((line) => t.log(line));
});

test.after.always('all end', async () => {
  await Promise.all(stores.map((store) => store.close()));
});

const LEFT = /\b(?:[4-9]|10)s of 10s\b/g;

test.serial('who holds what, for how long without a sign of life, and who waits', async (t) => {
  for (const { url, client, countOf } of stores) {
    const shown = async (...words: string[]): Promise<string> => (await begin(t, url, words).ended).stdout.replace(LEFT, 'LEFT');
    const first = await Session.open(client, { ttlSeconds: 10, name: 'first' });
    const second = await Session.open(client, { ttlSeconds: 10, name: 'second' });
    const held = await lock(first, 'a/b', { info: { host: 'h', pid: 7, info: 'by hand' } });
    const waiting = lock(second, 'a/b');
    const office = await campaign(second, 'boss', 'me, myself');
    const instance = await register(first, { service: 'api', id: 'one', address: '::1', port: 80, tags: ['x', 'y'] });
    await put(client, utf8('loose'), utf8(''), { lease: first.lease });
    t.true(await becomes(async () => await countOf('coterie/locks/') === 2));
    const [one, two] = [first, second].map(({ lease }) => lease.toString(16));
    const table = (await shown('locks')).replace(/ {2,}/g, '|');
    t.is(table, `NAME|HOLDER|INFO|FENCE|LEFT|WAITING\na/b|first (pid 7 on h)|by hand|${held.fence}|LEFT|1\n`);
    const rows = (await shown('locks', 'a/b')).split('\n').map((row) => row.split(/ {2,}/));
    t.deepEqual(rows.slice(1, 3).map((row) => [row[1], row[2], row[5], row[6]]), [
      ['holds', 'first (pid 7 on h)', 'LEFT', one], ['waits (1)', 'second', 'LEFT', two],
    ]);
    const seen = JSON.parse((await begin(t, url, ['locks', '--json']).ended).stdout) as { locks: Record<string, unknown>[] };
    t.deepEqual(Object.keys(seen), ['revision', 'locks']);
    t.like(seen.locks[0]?.['holder'], {
      key: text(held.key), fence: held.fence, lease: one, grantedTtlSeconds: 10, name: 'first', host: 'h', pid: 7,
      info: 'by hand',
    });
    const sessions = await shown('sessions', `${one}`, `${two}`);
    t.regex(sessions, new RegExp(`${one} +LEFT +first \\(pid 7 on h\\) +lock a/b, api/one, 1 other key +-\n`));
    t.regex(sessions, new RegExp(`${two} +LEFT +(?:second|me, myself) +election boss +lock a/b \\(1\\)\n`));
    const json = JSON.parse((await begin(t, url, ['sessions', '--json']).ended).stdout) as { sessions: { lease: string }[] };
    t.like(json.sessions.find(({ lease }) => lease === two), {
      holds: [{ kind: 'election', name: 'boss', fence: office.fence, value: 'me, myself' }],
      waits: [{ kind: 'lock', name: 'a/b', place: 1 }], instances: [], departures: [], otherKeys: 0,
    });
    t.is(json.sessions.length, 3, 'the two, and the one that the last word of the instance hangs on');
    t.regex(await shown('sessions'), / last word of api\/one +-\n/);
    t.regex(await shown('services'), /^SERVICE +ID .*\napi +one +\[::1\]:80 +up +1 +- +x,y +LEFT\n$/);
    t.regex(await shown('services', 'api', '-w', 'table'), /\| *api *\| *one *\| *\[::1\]:80 *\|/);
    await instance.close();
    t.regex(await shown('services', 'api', '--departed'), /^SERVICE .*\napi +one +closed +-\n$/);
    const services = JSON.parse((await begin(t, url, ['services', '--json']).ended).stdout) as Record<string, unknown[]>;
    t.deepEqual(Object.entries(services).map(([name, list]) => [name, list.length]), [
      ['instances', 0], ['departures', 1], ['invalid', 0],
    ]);
    await first.close();
    await (await waiting).release();
    await second.close();
    t.is(await shown('locks'), 'NAME  HOLDER  INFO  FENCE  LEFT  WAITING\n');
  }
});

test.serial('who shares what with whom, and who waits for it, is told of every recipe', async (t) => {
  for (const { url, client, countOf } of stores) {
    const a = await Session.open(client, { ttlSeconds: 10, name: 'a' });
    const b = await Session.open(client, { ttlSeconds: 10, name: 'b' });
    await readLock(a, 'x/y');
    const queue = new Queue<string>(client, 'jobs');
    await queue.put('body', { id: 'one' });
    await queue.take(a);
    await acquirePermits(a, 'exports', { limit: 3, permits: 2 });
    const waits = [writeLock(b, 'x/y'), acquirePermits(b, 'exports', { limit: 3, permits: 2 })];
    for (const wait of waits) wait.catch(() => undefined);
    const standing = ['coterie/rwlocks/', 'coterie/semaphores/exports/permits/'];
    t.true(await becomes(async () => (await Promise.all(standing.map(countOf))).every((count) => count === 2)));
    const { stdout } = await begin(t, url, ['sessions', ...[a, b].map(({ lease }) => lease.toString(16))]).ended;
    const rows = stdout.split('\n').slice(1, 3).map((row) => row.split(/ {2,}/).slice(2).join('|')).sort();
    t.deepEqual(rows, [
      'a|read lock x/y, permits exports, consumer of queue jobs, item one of queue jobs|-',
      'b|-|write lock x/y (1), permits exports (1)',
    ]);
    await Promise.all([a.close(), b.close()]);
    await Promise.allSettled(waits);
  }
});

test.serial('what others wrote cannot talk to the terminal, and is no lock because it looks like one', async (t) => {
  const [{ url, client }] = stores;
  const session = await Session.open(client, { ttlSeconds: 10, name: 'x\u001b[31m\u202e\ny' });
  await lock(session, 'evil \u2028', { info: { info: '\u001b]0;title\u0007' } });
  await put(client, utf8('coterie/locks/fake/123'), utf8('{"name":"nobody"}'), { lease: session.lease });
  await put(client, utf8('coterie/locks/fake/'), utf8(''));
  await put(client, utf8('coterie/services/api/instances/bad'), utf8('\u001b[2J'));
  for (const words of [['locks'], ['locks', '-w', 'table'], ['sessions'], ['services']]) {
    const { code, stdout } = await begin(t, url, words).ended;
    t.is(code, 0);
    t.notRegex(stdout, /[\u0000-\u0009\u000b-\u001f\u202e\u2028]/);
    t.notRegex(stdout, /fake|nobody/);
  }
  const { stdout } = await begin(t, url, ['services']).ended;
  t.regex(stdout, /\nnot an instance: "coterie\/services\/api\/instances\/bad": /);
  t.not(await get(client, utf8('coterie/locks/fake/')), null);
  await session.close();
});

test.serial('a lease that is not there, or a word that is none, is said', async (t) => {
  const [{ url }] = stores;
  const none = await begin(t, url, ['sessions', '123']).ended;
  t.deepEqual([none.code, none.stdout], [0, 'LEASE  LEFT  WHO  HOLDS  WAITS FOR\n']);
  const wrong = await begin(t, url, ['sessions', 'x']).ended;
  t.is(wrong.code, 2);
  t.is(wrong.stderr, 'coterie sessions: x: not a lease\n  leases are hex, as coterie lease list prints them\n');
  const gone = await begin(t, 'http://127.0.0.1:1', ['locks', '--dial-timeout', '200ms']).ended;
  t.deepEqual([gone.code, gone.stdout], [1, '']);
  t.regex(gone.stderr, /^coterie locks: unavailable: .*\n {2}say whom to ask/);
});

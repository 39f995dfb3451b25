// `coterie queue` as processes: an item is done exactly when its command has ended well, whatever ends it otherwise.

import { spawn } from 'node:child_process';
import test from 'ava';
import { Queue } from '../../../recipes/queue.js';
import { Session } from '../../../recipes/session.js';
import { environment, MAIN } from './binary.js';
import { begin, isAlive, useStores } from './running.js';

const { stores, fresh } = useStores('q');

function run(url: string, args: readonly string[], input: string): Promise<string> {
  const env = environment({ COTERIE_ENDPOINTS: url });
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['pipe', 'pipe', 'inherit'], env });
  let stdout = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stdin.end(input);
  return new Promise((resolve) => child.once('close', () => resolve(stdout)));
}

test.serial('what one puts another takes: as JSON, as text, as bytes', async (t) => {
  for (const { url, client, name: home } of stores()) {
    const name = fresh();
    const say = async (...words: string[]): Promise<string> => (await begin(t, url, ['queue', ...words]).ended).stdout;
    t.is(await say('put', name, 'two words', '--id', 'one'), 'one\n', home);
    t.is(await say('put', name, 'again', '--id', 'one', '--json'), '{"id":"one","duplicate":true}\n');
    await say('put', name, '{"a":[1]}');
    await say('put', name, 'bytes', '--raw', '--group', 'g');
    await run(url, ['queue', 'put', name, '-'], 'from a pipe');
    t.like(JSON.parse(await say('take', name, '--json')), { id: 'one', body: 'two words', attempt: 1 });
    const others = [await say('take', name), await say('take', name), await say('take', name)];
    t.deepEqual(others.toSorted(), ['bytes\n', 'from a pipe\n', '{"a":[1]}\n']);
    const queue = new Queue<{ b: number }>(client, name);
    const session = await Session.open(client, { ttlSeconds: 10 });
    await say('put', name, '{"b":2}');
    const delivery = await queue.take(session);
    t.deepEqual(delivery.body, { b: 2 });
    await delivery.ack();
    await queue.put({ b: 3 });
    t.is(await say('take', name), '{"b":3}\n');
    await session.close();
    const stats = JSON.parse(await say('stats', name, '--json')) as { queues: object[] };
    t.like(stats.queues[0], { name, size: 0, ready: 0, held: 0, dead: 0, put: 6, ended: 6, paused: false });
  }
});

test.serial('an item is done when its command ends with 0, tried again when not, and dead at last', async (t) => {
  for (const { url } of stores()) {
    const name = fresh();
    const script = 'read line; echo "$COTERIE_ITEM_ID $COTERIE_ITEM_ATTEMPT $line"; exit $1';
    const take = ['queue', 'take', name, '--', 'sh', '-c', script, 'sh'];
    await begin(t, url, ['queue', 'put', name, 'work', '--id', 'x', '--attempts', '2']).ended;
    const failed = await begin(t, url, [...take, '5']).ended;
    t.deepEqual([failed.code, failed.stdout], [5, 'x 1 work\n']);
    const again = await begin(t, url, [...take, '6']).ended;
    t.deepEqual([again.code, again.stdout], [6, 'x 2 work\n'], 'after its back-off');
    const dead = await begin(t, url, ['queue', 'dead', name]).ended;
    t.regex(dead.stdout, /^ID +GROUP +ATTEMPTS +REASON +BODY\nx +- +2 +.*sh ended with exit code 6.* +work\n$/);
    t.is((await begin(t, url, ['queue', 'put-back', name, 'x']).ended).code, 0);
    const done = await begin(t, url, [...take, '0']).ended;
    t.deepEqual([done.code, done.stdout], [0, 'x 1 work\n']);
    const gone = await begin(t, url, ['queue', 'put-back', name, 'x']).ended;
    t.is(gone.code, 1);
    t.regex(gone.stderr, /x: no dead item of queue q\d+\n {2}coterie queue dead q\d+ shows them/);
  }
});

test.serial('a worker goes on until asked to end; what it was asked to leave is not held against the item', async (t) => {
  for (const { url, client } of stores()) {
    const name = fresh();
    const queue = new Queue<string>(client, name);
    const script = 'read line; echo "$line $$"; [ "$line" != slow ] || sleep 1000';
    const worker = begin(t, url, ['queue', 'take', name, '--follow', '--', 'sh', '-c', script]);
    for (const body of ['a', 'b', 'slow']) await queue.put(body, { id: body });
    const [, pid = ''] = await worker.says(/^a \d+\nb \d+\nslow (\d+)\n/);
    worker.signal('SIGTERM');
    t.is((await worker.ended).code, 0);
    t.false(isAlive(Number(pid)));
    const next = await begin(t, url, ['queue', 'take', name, '--json', '--timeout', '10s']).ended;
    t.like(JSON.parse(next.stdout), { id: 'slow', attempt: 1 });
    const idle = begin(t, url, ['queue', 'take', name, '--follow', '--', 'cat']);
    await queue.put('last');
    await idle.says(/last/);
    idle.signal('SIGINT');
    t.is((await idle.ended).code, 0);
  }
});

test.serial('of a worker that is killed the command ends, and another gets the item', async (t) => {
  const [{ url, client }] = stores();
  const name = fresh();
  await new Queue<string>(client, name).put('work', { id: 'x' });
  const script = 'trap "" TERM; echo $$; while :; do sleep 0.1; done';
  const worker = begin(t, url, ['queue', 'take', name, '--ttl', '3', '--', 'sh', '-c', script]);
  const [, pid = ''] = await worker.says(/^(\d+)\n/);
  worker.signal('SIGKILL');
  const other = await begin(t, url, ['queue', 'take', name, '--json']).ended;
  t.like(JSON.parse(other.stdout), { id: 'x', attempt: 2 });
  t.false(isAlive(Number(pid)));
});

test.serial('what is removed from under a worker ends its command', async (t) => {
  const [{ url, client }] = stores();
  const name = fresh();
  await new Queue<string>(client, name).put('work', { id: 'x' });
  const worker = begin(t, url, ['queue', 'take', name, '--', 'sh', '-c', 'echo here; sleep 1000']);
  await worker.says(/here/);
  const refused = await begin(t, url, ['queue', 'remove', name, 'x']).ended;
  t.is(refused.code, 1);
  t.is(refused.stderr, 'coterie queue remove: x is being worked on\n  wait, or take it away with --held\n');
  t.is((await begin(t, url, ['queue', 'remove', name, 'x', '--held']).ended).code, 0);
  const { code, stderr } = await worker.ended;
  t.is(code, 1);
  t.regex(stderr, /^coterie queue take: the item is lost: .*\n {2}its command has ended/);
});

test.serial('an item that nobody reads is not done, a command that does not exist does not count', async (t) => {
  const [{ url, client }] = stores();
  const name = fresh();
  const mute = begin(t, url, ['queue', 'take', name]);
  mute.child.stdout?.destroy();
  await new Queue<string>(client, name).put('x'.repeat(60_000), { id: 'x' });
  t.is((await mute.ended).code, 0);
  const missing = await begin(t, url, ['queue', 'take', name, '--', 'coterie-no-such-program']).ended;
  t.is(missing.code, 1);
  t.regex(missing.stderr, /the command cannot be run: spawn coterie-no-such-program ENOENT/);
  const seen = JSON.parse((await begin(t, url, ['queue', 'take', name, '--json']).ended).stdout) as object;
  t.like(seen, { id: 'x', attempt: 1 });
});

test.serial('nothing to take, a pause, and words that are wrong', async (t) => {
  const [{ url, client }] = stores();
  const name = fresh();
  for (const flags of [['--try'], ['--timeout', '200ms']]) {
    const none = await begin(t, url, ['queue', 'take', name, ...flags]).ended;
    t.deepEqual([none.code, none.stdout], [1, '']);
    t.regex(none.stderr, /^coterie queue take: there was nothing to take in queue q\d+.*\n {2}coterie queue stats shows/);
  }
  await new Queue<string>(client, name).put('a');
  await begin(t, url, ['queue', 'pause', name]).ended;
  t.regex((await begin(t, url, ['queue', 'stats', name]).ended).stdout, /^QUEUE +READY .*\nq\d+ +1 +0 +0 +0 +0 +1 +0 +paused\n$/);
  t.is((await begin(t, url, ['queue', 'take', name, '--try']).ended).code, 1);
  await begin(t, url, ['queue', 'resume', name]).ended;
  t.is((await begin(t, url, ['queue', 'take', name, '--try']).ended).stdout, 'a\n');
  const wrong: readonly (readonly [words: string, says: string])[] = [
    ['queue tke x', 'tke: no such command\n  did you mean coterie queue take?'],
    ['queue put x', 'a word is missing\n  usage: coterie queue put QUEUE BODY'],
    ['queue put x y --priority 256', '--priority 256: not such a number\n  give a whole number from 0 to 255'],
    ['queue take x --grace 9s', '--grace 9s: the command could outlive what it runs under\n  give at most 4s'],
  ];
  for (const [words, says] of wrong) {
    const { code, stderr } = await begin(t, url, words.split(' ')).ended;
    t.deepEqual([code, stderr.includes(says)], [2, true], stderr);
  }
});

// `coterie lock` and `coterie elect` as processes, against coterie and etcd, and in one line with etcdctl: whoever runs a
// command under a lock can rely on it, whatever the command, the store, the terminal or another person does.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { del, get } from '../../../core/client.js';
import { isInstalled } from '../../interop/real-etcd.js';
import { Proxy } from '../../recipes/homes.js';
import { temporaryDirectory } from './binary.js';
import { becomes, begin, isAlive, launch, useStores, type Running } from './running.js';

const { stores, fresh } = useStores('n');

/** Says its own number, cannot be talked into ending, and has a child of its own that cannot either. */
const STUBBORN = ['sh', '-c', 'trap "" TERM; sh -c "while :; do sleep 0.1; done" & echo $! $$; while :; do sleep 0.1; done'];

function numbersIn(running: Running): Promise<readonly number[]> {
  return running.says(/^(\d+) (\d+)\n/).then((found) => found.slice(1).map(Number));
}

test.serial('the command runs while the lock is held, knows its fence, and its exit code is ours', async (t) => {
  for (const { url, countOf, name: home } of stores()) {
    const name = fresh();
    const script = 'echo "$COTERIE_LOCK_KEY $COTERIE_FENCE $ETCD_LOCK_KEY $ETCD_LOCK_REV"; exit 7';
    const [first, second] = await Promise.all([1, 2].map(() => begin(t, url, ['lock', name, '--', 'sh', '-c', script]).ended));
    const fences = [first, second].map((ended) => {
      t.deepEqual([ended?.code, ended?.stderr], [7, ''], home);
      const [key = '', fence = '', ...etcdctls] = (ended?.stdout ?? '').trim().split(' ');
      t.regex(key, /^coterie\/locks\/n\d+\/[0-9a-f]+$/);
      t.deepEqual(etcdctls, [key, fence]);
      return Number(fence);
    });
    t.not(fences[0], fences[1]);
    t.is(await countOf(`coterie/locks/${name}/`), 0, 'given back');
  }
});

test.serial('without a command it prints the key and holds until asked to end; the next one comes when it has', async (t) => {
  for (const { url, client, countOf } of stores()) {
    const name = fresh();
    const holder = begin(t, url, ['lock', name]);
    const [, key = ''] = await holder.says(/^(coterie\/locks\/n\d+\/[0-9a-f]+)\n$/);
    t.not(await get(client, utf8(key)), null);
    const next = begin(t, url, ['lock', name, '--json']);
    t.true(await becomes(async () => await countOf(`coterie/locks/${name}/`) === 2));
    t.is(next.stdout(), '');
    holder.signal('SIGTERM');
    t.is((await holder.ended).code, 0);
    const [line] = await next.says(/^.*\n/);
    const facts = JSON.parse(line) as Record<string, unknown>;
    t.deepEqual(Object.keys(facts), ['name', 'key', 'fence']);
    next.signal('SIGINT');
    t.is((await next.ended).code, 0);
    t.is(await countOf(`coterie/locks/${name}/`), 0);
  }
});

test.serial('signals go to the command, and the lock is held until that has ended', async (t) => {
  const [{ url, countOf }] = stores();
  const name = fresh();
  const end = path.join(await temporaryDirectory(t), 'end');
  const ending = `echo term; until [ -e ${end} ]; do sleep 0.05; done; exit 9`;
  const script = `trap "echo usr" USR1; trap "${ending}" TERM; echo ready; while :; do sleep 0.05; done`;
  const running = begin(t, url, ['lock', name, '--', 'sh', '-c', script]);
  await running.says(/ready/);
  running.signal('SIGUSR1');
  await running.says(/usr/);
  running.signal('SIGTERM');
  await running.says(/term/);
  await sleep(200);
  t.is(await countOf(`coterie/locks/${name}/`), 1);
  writeFileSync(end, '');
  t.is((await running.ended).code, 9);
  t.is(await countOf(`coterie/locks/${name}/`), 0);
  t.is((await begin(t, url, ['lock', name, '--', 'sh', '-c', 'kill -9 $$']).ended).code, 137);
});

test.serial('a command that ignores SIGTERM is gone with all it has started before others get the lock', async (t) => {
  for (const { port, countOf, name: home } of stores()) {
    const name = fresh();
    const proxy = await Proxy.start(t, port);
    const running = begin(t, `http://127.0.0.1:${proxy.port}`, ['lock', name, '--ttl', '6', '--', ...STUBBORN]);
    const pids = await numbersIn(running);
    t.true(pids.every(isAlive));
    proxy.freeze();
    const isFree = async (): Promise<boolean> => await countOf(`coterie/locks/${name}/`) === 0;
    t.true(await becomes(isFree), 'the lease runs out');
    t.deepEqual(pids.filter(isAlive), [], home);
    const { code, stderr } = await running.ended;
    t.is(code, 1);
    t.regex(stderr, /^coterie lock: lock n\d+ is lost: session .* is lost: .*\n {2}the command is ended: SIGTERM, and /);
    t.regex(stderr, /the store could not be told of the end; others get it when the lease has run out, in 6 s at most\n$/);
  }
});

test.serial('when somebody deletes the key, or revokes the lease, the command is ended and it is said why', async (t) => {
  for (const { url, client } of stores()) {
    const name = fresh();
    const running = begin(t, url, ['lock', name, '--', 'sh', '-c', 'echo $COTERIE_LOCK_KEY; sleep 1000']);
    const [, key = ''] = await running.says(/^(.*)\n/);
    await sleep(100);
    await del(client, utf8(key));
    const { code, stderr } = await running.ended;
    t.is(code, 1);
    t.regex(stderr, /^coterie lock: lock n\d+ is lost: lock n\d+ is not held any more: somebody deleted our entry/);
    const other = begin(t, url, ['lock', name]);
    const [, its = ''] = await other.says(/^(.*)\n/);
    await client.revoke((await get(client, utf8(its)))?.lease ?? 0n);
    t.is((await other.ended).code, 1);
    t.regex(other.stderr(), /^coterie lock: lock n\d+ is lost: .*\n {2}acquire it anew\n/);
  }
});

test.serial('when it is killed itself, the command and what that has started end before others get the lock', async (t) => {
  const [{ url, countOf }] = stores();
  const name = fresh();
  const running = begin(t, url, ['lock', name, '--ttl', '6', '--', ...STUBBORN]);
  const pids = await numbersIn(running);
  const next = begin(t, url, ['lock', name, '--', 'echo', 'mine']);
  t.true(await becomes(async () => await countOf(`coterie/locks/${name}/`) === 2));
  running.signal('SIGKILL');
  await next.says(/mine/);
  t.deepEqual(pids.filter(isAlive), []);
});

test.serial('a process that stood still ends its command as soon as it goes on', async (t) => {
  const [{ url, countOf }] = stores();
  const name = fresh();
  const running = begin(t, url, ['lock', name, '--ttl', '3', '--', 'sh', '-c', 'echo $$; sleep 1000']);
  const [, pid = ''] = await running.says(/^(\d+)\n/);
  running.signal('SIGSTOP');
  t.true(await becomes(async () => await countOf(`coterie/locks/${name}/`) === 0), 'the lease runs out');
  running.signal('SIGCONT');
  const { code, stderr } = await running.ended;
  t.is(code, 1);
  t.regex(stderr, /lock n\d+ is lost: session .* is lost: /);
  t.false(isAlive(Number(pid)));
});

test.serial('asked to end while it waits, it leaves the line', async (t) => {
  const [{ url, countOf }] = stores();
  const name = fresh();
  const holder = begin(t, url, ['lock', name]);
  await holder.says(/locks/);
  for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]] as const) {
    const waiting = begin(t, url, ['lock', name, '--', 'echo', 'never']);
    t.true(await becomes(async () => await countOf(`coterie/locks/${name}/`) === 2));
    waiting.signal(signal);
    t.deepEqual(await waiting.ended, { code, stdout: '', stderr: '' });
    t.is(await countOf(`coterie/locks/${name}/`), 1);
  }
});

test.serial('who does not want to wait is told who has it, with the exit code of their choice', async (t) => {
  const [{ url }] = stores();
  const name = fresh();
  const holder = begin(t, url, ['lock', name, '--info', 'x']);
  await holder.says(/locks/);
  const had = new RegExp(`coterie \\(pid ${holder.pid} on .*\\) has it\n {2}coterie sessions shows who has what`);
  const refused = await begin(t, url, ['lock', name, '--try', '--', 'echo', 'never']).ended;
  t.deepEqual([refused.code, refused.stdout], [1, '']);
  t.regex(refused.stderr, /^coterie lock: lock n\d+ is not free: /);
  t.regex(refused.stderr, had);
  const words = ['lock', name, '--timeout', '200ms', '--conflict-exit-code', '75', '--', 'echo', 'never'];
  const late = await begin(t, url, words).ended;
  t.deepEqual([late.code, late.stdout], [75, '']);
  t.regex(late.stderr, /^coterie lock: lock n\d+ was not to be had within 200ms: /);
  t.regex(late.stderr, had);
});

test.serial('a command that cannot be run has a shell\'s exit code, and the lock is given back', async (t) => {
  const [{ url, countOf }] = stores();
  const name = fresh();
  const directory = mkdtempSync(path.join(tmpdir(), 'coterie-cli-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const file = path.join(directory, 'no-program');
  writeFileSync(file, 'text', { mode: 0o600 });
  for (const [program, code] of [['coterie-no-such-program', 127], [file, 126]] as const) {
    const ended = await begin(t, url, ['lock', name, '--', program]).ended;
    t.is(ended.code, code);
    t.regex(ended.stderr, /^coterie lock: the command cannot be run: spawn .* (?:ENOENT|EACCES)\n {2}name a program/);
    t.is(await countOf(`coterie/locks/${name}/`), 0);
  }
});

test.serial('words after -- are the command\'s, ours or not', async (t) => {
  const [{ url }] = stores();
  const name = fresh();
  const command = ['sh', '-c', 'echo "$@"', 'sh', '--help', '--ttl', '-w'];
  const { code, stdout } = await begin(t, url, ['lock', name, '--', ...command]).ended;
  t.deepEqual([code, stdout], [0, '--help --ttl -w\n']);
});

test.serial('when nobody reads what it would say it gives the lock back', async (t) => {
  const [{ url, countOf }] = stores();
  const name = fresh();
  const holder = begin(t, url, ['lock', name]);
  await holder.says(/locks/);
  const mute = begin(t, url, ['lock', name]);
  t.true(await becomes(async () => await countOf(`coterie/locks/${name}/`) === 2));
  mute.child.stdout?.destroy();
  holder.signal('SIGTERM');
  t.is((await mute.ended).code, 0);
  t.is(await countOf(`coterie/locks/${name}/`), 0, 'not only when its lease has run out');
});

test.serial('without a store it says so, runs nothing, and does not wait for ever', async (t) => {
  for (const words of [['lock', 'a', '--', 'echo', 'never'], ['elect', 'a', 'me', '--', 'echo', 'never'], ['elect', '-l', 'a']]) {
    const flags = ['--dial-timeout', '300ms'];
    const ended = await begin(t, 'http://127.0.0.1:1', [...words.slice(0, 1), ...flags, ...words.slice(1)]).ended;
    t.deepEqual([ended.code, ended.stdout], [1, '']);
    t.regex(ended.stderr, /unavailable: no endpoint could be reached.*\n {2}say whom to ask with --endpoints, or start/);
  }
});

test.serial('etcdctl lock and ours exclude each other, and coterie locks shows both', async (t) => {
  if (!isInstalled('etcdctl', (line) => t.log(line))) {
    t.pass();
    return;
  }
  for (const { url, countOf } of stores()) {
    const name = fresh();
    const env = { ETCDCTL_API: '3', ETCDCTL_ENDPOINTS: url };
    const theirs = launch(t, 'etcdctl', ['lock', name], env);
    await theirs.says(/^n\d+\/[0-9a-f]+\n/);
    const ours = begin(t, url, ['lock', '--root', '', name, '--', 'sh', '-c', 'echo got $ETCD_LOCK_KEY; sleep 0.5']);
    t.true(await becomes(async () => await countOf(`${name}/`) === 2));
    const seen = JSON.parse((await begin(t, url, ['locks', '--root', '', '--json']).ended).stdout) as {
      locks: { name: string; holder: { key: string }; waiters: { name: string; pid: number }[] }[];
    };
    const line = seen.locks.find((one) => one.name === name);
    t.is(line?.holder.key, theirs.stdout().split('\n')[0]);
    t.deepEqual(line?.waiters.map(({ name, pid }) => [name, pid]), [['sh', ours.pid]]);
    t.is(ours.stdout(), '');
    theirs.signal('SIGINT');
    await ours.says(/^got n\d+\/[0-9a-f]+\n/);
    const again = launch(t, 'etcdctl', ['lock', name, 'echo', 'theirs again'], env);
    t.is((await ours.ended).code, 0);
    t.regex((await again.ended).stdout, /theirs again/);
    t.is(await countOf(`${name}/`), 0);
  }
});

test.serial('etcdctl elect and ours lead one after the other, and each follows the other', async (t) => {
  if (!isInstalled('etcdctl', (line) => t.log(line))) {
    t.pass();
    return;
  }
  for (const { url, countOf, name: home } of stores()) {
    const name = fresh();
    const env = { ETCDCTL_API: '3', ETCDCTL_ENDPOINTS: url };
    const followed = launch(t, 'etcdctl', ['elect', '-l', name], env);
    const following = begin(t, url, ['elect', '-l', name, '--root', '']);
    const theirs = launch(t, 'etcdctl', ['elect', name, 'theirs'], env);
    const [, key = ''] = await theirs.says(/^(n\d+\/[0-9a-f]+)\ntheirs\n/);
    await following.says(new RegExp(`^${key}\ntheirs\n$`));
    const ours = begin(t, url, ['elect', '--root', '', name, 'ours']);
    t.true(await becomes(async () => await countOf(`${name}/`) === 2));
    t.is(ours.stdout(), '', home);
    theirs.signal('SIGINT');
    const [, own = ''] = await ours.says(/^(n\d+\/[0-9a-f]+~0)\nours\n$/);
    await following.says(new RegExp(`${own}\nours\n$`));
    await followed.says(new RegExp(`${own}\nours\n$`));
    const again = launch(t, 'etcdctl', ['elect', name, 'again'], env);
    t.true(await becomes(async () => await countOf(`${name}/`) === 2));
    ours.signal('SIGTERM');
    t.is((await ours.ended).code, 0);
    await again.says(/^n\d+\/[0-9a-f]+\nagain\n/);
    await following.says(/\nagain\n$/);
    following.signal('SIGINT');
    t.is((await following.ended).code, 130);
  }
});

test.serial('a command runs while it leads, and is ended when the leadership is lost', async (t) => {
  for (const { url, client, countOf, name: home } of stores()) {
    const name = fresh();
    const quick = await begin(t, url, ['elect', name, 'me', '--', 'sh', '-c', 'echo $COTERIE_FENCE; exit 3']).ended;
    t.is(quick.code, 3, home);
    t.regex(quick.stdout, /^\d+\n$/);
    const first = begin(t, url, ['elect', name, 'first', '--', 'sh', '-c', 'echo $COTERIE_ELECTION_KEY; sleep 1000']);
    const [, key = ''] = await first.says(/^(.*)\n/);
    const second = begin(t, url, ['elect', name, 'second']);
    t.true(await becomes(async () => await countOf(`coterie/elections/${name}/`) === 2));
    const late = await begin(t, url, ['elect', name, 'third', '--timeout', '200ms']).ended;
    t.deepEqual([late.code, late.stdout], [1, '']);
    t.regex(late.stderr, /^coterie elect: leadership of n\d+ was not to be had within 200ms: first has it\n/);
    await sleep(100);
    await del(client, utf8(key));
    t.is((await first.ended).code, 1);
    t.regex(first.stderr(), /^coterie elect: leadership of n\d+ is lost: /);
    await second.says(/\nsecond\n$/);
    second.signal('SIGTERM');
    t.is((await second.ended).code, 0);
  }
});

test.serial('a follower in JSON hears of a leader, of none, and of the next', async (t) => {
  const [{ url }] = stores();
  const name = fresh();
  const following = begin(t, url, ['elect', '--listen', name, '--json']);
  await following.says(/^\{"leader":false\}\n$/);
  const leading = begin(t, url, ['elect', name, 'a "b"']);
  const [line] = await following.says(/\{"leader":true.*\n$/);
  t.like(JSON.parse(line) as object, { leader: true, value: 'a "b"', priority: 0, stale: false });
  await leading.says(/elections/);
  leading.signal('SIGTERM');
  await following.says(/true.*\n\{"leader":false\}\n$/);
});

test.serial('the guard of a command that ends goes with it', async (t) => {
  const [{ url }] = stores();
  const name = fresh();
  const goOn = path.join(await temporaryDirectory(t), 'go on');
  const running = begin(t, url, ['lock', name, '--', 'sh', '-c', 'echo $PPID; until [ -e "$0" ]; do sleep 0.1; done', goOn]);
  const [, pid = ''] = await running.says(/^(\d+)\n/);
  const now = (): number[] => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
  // The command may speak before its guard is there.
  t.true(await becomes(() => now().length === 2), 'the command and its guard');
  const children = now();
  writeFileSync(goOn, '');
  t.is((await running.ended).code, 0);
  t.true(await becomes(() => !children.some(isAlive)));
  t.is(running.stderr(), '');
});

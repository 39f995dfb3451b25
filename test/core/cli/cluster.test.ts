// `coterie cluster` as somebody runs it: three members, told of as text and as JSON; the leader is killed and another one is
// named; Ctrl-C ends all in order and leaves nothing, not even when its owner is killed. And the Procfile says the same.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { standardPlan } from '../../../core/cli/cluster.js';
import { coterie, MAIN, temporaryDirectory } from './binary.js';

const ROOT = new URL('../../../../', import.meta.url);
const WAIT_MS = 60_000;

interface Running {
  readonly child: ChildProcess;
  /** Its place for temporary files. */
  readonly directory: string;
  /** The first JSON line of this event after those already taken. */
  next(event: string): Promise<Record<string, unknown>>;
  text(): string;
  readonly ended: Promise<number | null>;
}

interface MemberLine {
  readonly name: string;
  readonly clientUrl: string;
  readonly pid: number;
}

async function start(t: ExecutionContext, flags: readonly string[]): Promise<Running> {
  const directory = await temporaryDirectory(t);
  const env = { ...process.env, TMPDIR: directory, NO_COLOR: '1' };
  const child = spawn(process.execPath, [MAIN, 'cluster', '--free-ports', ...flags], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  let text = '';
  let taken = 0;
  let wake = (): void => undefined;
  const take = (chunk: Buffer): void => {
    text += chunk.toString();
    wake();
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      resolve(code);
      wake();
    });
  });
  const next = async (event: string): Promise<Record<string, unknown>> => {
    for (const end = Date.now() + WAIT_MS; Date.now() < end;) {
      const lines = text.split('\n').slice(0, -1);
      while (taken < lines.length) {
        const said = lines[taken++] ?? '';
        if (!said.startsWith('{')) throw new Error(`it does not go on:\n${text}`);
        const line = JSON.parse(said) as Record<string, unknown>;
        if (line['event'] === event) return line;
      }
      if (child.exitCode !== null) break;
      await Promise.race([new Promise<void>((resolve) => (wake = resolve)), new Promise((resolve) => setTimeout(resolve, 1000))]);
    }
    throw new Error(`no ${event}:\n${text}`);
  };
  return { child, directory, next, text: () => text, ended };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false; // No such process.
  }
}

async function gone(pids: readonly number[]): Promise<boolean> {
  for (const end = Date.now() + WAIT_MS; Date.now() < end;) {
    if (!pids.some(isAlive)) return true;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return false;
}

test.serial('three members start, the leader is followed through a kill, and SIGINT leaves nothing', async (t) => {
  t.timeout(120_000);
  const cluster = await start(t, ['--json']);
  const { members, dataDir, temporary } = (await cluster.next('started')) as never as {
    members: MemberLine[]; dataDir: string; temporary: boolean;
  };
  t.deepEqual(members.map(({ name }) => name), ['a', 'b', 'c']);
  t.true(temporary && dataDir.startsWith(cluster.directory));
  const { name: first } = await cluster.next('leader');
  const leader = members.find(({ name }) => name === first);
  const other = members.find(({ name }) => name !== first);
  if (leader === undefined || other === undefined) return t.fail();
  process.kill(leader.pid, 'SIGKILL');
  t.like(await cluster.next('ended'), { name: leader.name, signal: 'SIGKILL', againInMs: 10_000 });
  const { name: second } = await cluster.next('leader');
  t.true(members.some(({ name }) => name === second) && second !== first);
  const put = await fetch(`${other.clientUrl}/v3/kv/put`, { method: 'POST', body: '{"key":"YQ==","value":"YQ=="}' });
  t.is(put.status, 200);
  const { name: back, pid } = (await cluster.next('back')) as never as { name: string; pid: number };
  t.is(back, leader.name, 'started again by itself');
  t.not(pid, leader.pid);
  cluster.child.kill('SIGINT');
  await cluster.next('stopping');
  await cluster.next('stopped');
  t.is(await cluster.ended, 0);
  t.false([...members.map((member) => member.pid), pid].some(isAlive));
  t.deepEqual(readdirSync(cluster.directory), []);
});

test.serial('a person is told where each serves, what to try, and who leads; a named directory is kept', async (t) => {
  t.timeout(120_000);
  const dataDir = path.join(await temporaryDirectory(t), 'kept');
  const cluster = await start(t, ['--data-dir', dataDir]);
  for (const end = Date.now() + WAIT_MS; !/ leads /.test(cluster.text()) && Date.now() < end;) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const text = cluster.text();
  const rows = text.matchAll(/^ {4}([abc]) {2}http:\/\/127\.0\.0\.1:\d+ +members meet at port \d+ +pid \d+$/gm);
  const places = [...rows].map(([, name]) => name);
  t.deepEqual(places, ['a', 'b', 'c']);
  t.regex(text, /try {3}etcdctl --endpoints [\d.:]+ member list -w table/);
  t.regex(text, /\d\d:\d\d:\d\d {2}[abc] leads \(term \d+\)/);
  cluster.child.kill('SIGTERM');
  t.is(await cluster.ended, 0);
  t.regex(cluster.text(), /ending the members, the leader last[\s\S]*all ended/);
  t.deepEqual(readdirSync(dataDir).sort(), ['a.coterie', 'b.coterie', 'c.coterie']);
  t.deepEqual(readdirSync(cluster.directory), []);
});

test.serial('a member that says why it cannot go on is not started again, and its words are shown', async (t) => {
  t.timeout(120_000);
  const cluster = await start(t, []);
  for (const end = Date.now() + WAIT_MS; !/ leads /.test(cluster.text()) && Date.now() < end;) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(cluster.text())?.[0] ?? '';
  const id = async (): Promise<string> => {
    const { stdout } = await coterie(['member', 'list', '--endpoints', url]);
    return /^([0-9a-f]+), started, c/m.exec(stdout)?.[1] ?? '';
  };
  // Strict, the leader waits until all have been connected for five seconds.
  for (const end = Date.now() + WAIT_MS; !/c .*ended/.test(cluster.text()) && Date.now() < end;) {
    await coterie(['member', 'remove', await id(), '--endpoints', url]);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  t.regex(cluster.text(), /c ended \(exit code 1\); a and b go on\n +coterie serve: .*was removed from the cluster/);
  cluster.child.kill('SIGINT');
  t.is(await cluster.ended, 0);
});

test.serial('when their owner is killed, the members end by themselves', async (t) => {
  t.timeout(120_000);
  const cluster = await start(t, ['--json']);
  const { members } = (await cluster.next('started')) as never as { members: MemberLine[] };
  cluster.child.kill('SIGKILL');
  t.true(await gone(members.map(({ pid }) => pid)));
});

test.serial('when nobody reads any more what it says, it ends and leaves nothing', async (t) => {
  t.timeout(120_000);
  const cluster = await start(t, ['--json']);
  const { members } = (await cluster.next('started')) as never as { members: MemberLine[] };
  cluster.child.stdout?.destroy();
  const [first] = members;
  if (first === undefined) return t.fail();
  process.kill(first.pid, 'SIGKILL');
  t.is(await cluster.ended, 0);
  t.true(await gone(members.map(({ pid }) => pid)));
  t.deepEqual(readdirSync(cluster.directory), []);
});

test('a port in use is refused before anything is started', async (t) => {
  const holder = createServer();
  const isMine = await new Promise<boolean>((resolve) => {
    holder.once('error', () => resolve(false));
    holder.listen(32_379, '127.0.0.1', () => resolve(true));
  });
  const directory = await temporaryDirectory(t);
  const { code, stderr } = await coterie(['cluster'], { env: { TMPDIR: directory } });
  if (isMine) holder.close();
  t.is(code, 1);
  t.regex(stderr, /^coterie cluster: port \d+ is in use by another process\n {2}stop that process, or take any free ports/);
  t.deepEqual(readdirSync(directory), []);
});

test('a member that cannot start ends the whole, with its words', async (t) => {
  const directory = await temporaryDirectory(t);
  mkdirSync(path.join(directory, 'data', 'b.coterie', 'member'), { recursive: true });
  const { code, stderr } = await coterie(['cluster', '--free-ports', '--data-dir', path.join(directory, 'data')]);
  t.is(code, 1);
  t.regex(stderr, /^coterie cluster: member b did not start:\ncoterie serve: .*holds etcd's data/);
});

test('the Procfile starts the same three', (t) => {
  const file = new URL('Procfile', ROOT);
  t.true(existsSync(file));
  const lines = readFileSync(file, 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  t.deepEqual(lines, standardPlan().map(({ name, flags }) => `${name}: node dist/core/main.js serve ${flags.join(' ')}`));
});

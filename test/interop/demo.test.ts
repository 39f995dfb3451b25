// The demo is the first thing a stranger runs, so it is run here as a stranger would: on real processes, with each balancer,
// to its end, and cut short in both ways. What it counts and how it draws is tested on its own.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

import test from 'ava';
import type { ExecutionContext } from 'ava';

import { BALANCERS, findBalancer } from '../../examples/demo/balancers.js';
import { Board } from '../../examples/demo/board.js';
import { frame, painter } from '../../examples/demo/screen.js';
import type { Summary } from '../../examples/demo/summary.js';

/** What the demo gives itself, and some time to end in. On a machine that is not busy it takes half a minute. */
const LIMIT_MS = 150_000;

interface Run {
  readonly child: ChildProcess;
  /** Its own place for temporary files, which everything it starts inherits: how we know what is its. */
  readonly directory: string;
  readonly ended: Promise<{ code: number | null; stdout: string; stderr: string; tookMs: number }>;
}

function startDemo(t: ExecutionContext, words: readonly string[]): Run {
  const directory = mkdtempSync(join(tmpdir(), 'coterie-demo-test-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const script = fileURLToPath(new URL('../../examples/demo/main.js', import.meta.url));
  const startedAt = Date.now();
  const env = { ...process.env, TMPDIR: directory };
  const child = spawn(process.execPath, [script, ...words], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = once(child, 'exit').then(([code]) => {
    return { code: code as number | null, stdout, stderr, tookMs: Date.now() - startedAt };
  });
  t.teardown(() => void child.kill('SIGKILL'));
  return { child, directory, ended };
}

/** Processes that were started below the demo, however far: by the place for temporary files in their environment. */
function processesOf(directory: string): string[] {
  if (!existsSync('/proc/self/environ')) return [];
  const mine = `TMPDIR=${directory}`;
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && read(`/proc/${name}/environ`).split('\0').includes(mine))
    .map((name) => `${name} ${read(`/proc/${name}/cmdline`).replaceAll('\0', ' ')}`);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // It has ended, or is not ours.
  }
}

async function assertNothingLeft(t: ExecutionContext, directory: string): Promise<void> {
  const end = Date.now() + 60_000;
  while ((processesOf(directory).length > 0 || readdirSync(directory).length > 0) && Date.now() < end) await sleep(50);
  t.deepEqual(processesOf(directory), []);
  t.deepEqual(readdirSync(directory), []);
}

for (const balancer of BALANCERS) {
  test.serial(`the demo with ${balancer} loses nothing to planned changes, ends in time and leaves nothing behind`, async (t) => {
    t.timeout(2 * LIMIT_MS);
    if (findBalancer(balancer) === null) {
      t.log(`${balancer} is not installed: not run`);
      return void t.not(process.env['CI'], 'true', `${balancer} must be installed here`);
    }
    const { directory, ended } = startDemo(t, ['--balancer', balancer, '--json']);
    const { code, stdout, stderr, tookMs } = await ended;
    t.is(stderr, '');
    const summary = JSON.parse(stdout) as Summary;
    t.log(`${summary.requests} requests, ${summary.failed} failed, of these ${summary.failedDuringCrash} at the kill`);
    t.log(`live after ${summary.timeToLiveMs} ms, quiet after ${summary.timeToQuietMs} ms, ended after ${tookMs} ms`);
    const story = summary.events.map((event) => `${event.who}: ${event.text}`).join('\n');
    t.is(summary.failed - summary.failedDuringCrash, 0, story);
    t.is(code, 0, story);
    t.true(tookMs < LIMIT_MS, `took ${tookMs} ms`);
    t.deepEqual(Object.keys(summary), [
      'requests', 'failed', 'failedDuringCrash', 'events', 'timeToLiveMs', 'timeToQuietMs', 'balancer',
    ]);
    t.is(summary.balancer, balancer);
    t.true(summary.requests > 300, `${summary.requests} requests`);
    t.true((summary.timeToLiveMs ?? Infinity) < 30_000 && (summary.timeToQuietMs ?? Infinity) < 30_000);
    for (const part of [
      /web-4 serves/, /web-2 is gone \(drained\)/, /kill -9 web-3/, /web-3 is gone \(expired\)/, /back after .* with its data/,
      /web-5 joins/,
    ]) {
      t.regex(story, part);
    }
    await assertNothingLeft(t, directory);
  });
}

test.serial('Ctrl-C ends the demo at once, with its summary and nothing left behind', async (t) => {
  t.timeout(LIMIT_MS);
  const balancer = findBalancer('nginx') === null ? 'builtin' : 'nginx';
  const { child, directory, ended } = startDemo(t, ['--balancer', balancer, '--keep']);
  await waitFor(child, /requests a second/);
  child.kill('SIGINT');
  const { code, stdout } = await ended;
  t.is(code, 0, 'with --keep that is the way to end it');
  t.regex(stdout, /coterie demo/);
  await assertNothingLeft(t, directory);
});

test.serial('even when the demo itself is killed nothing stays behind', async (t) => {
  t.timeout(LIMIT_MS);
  const balancer = findBalancer('haproxy') === null ? 'builtin' : 'haproxy';
  const { child, directory, ended } = startDemo(t, ['--balancer', balancer]);
  await waitFor(child, /requests a second/);
  if (existsSync('/proc/self/environ')) t.true(processesOf(directory).length >= 5, 'the store, three services, the balancer');
  child.kill('SIGKILL');
  await ended;
  await assertNothingLeft(t, directory);
});

test.serial('a terminal or a pipe that goes away ends the demo like Ctrl-C, without a stack', async (t) => {
  t.timeout(LIMIT_MS);
  const { child, directory, ended } = startDemo(t, ['--balancer', 'builtin']);
  await waitFor(child, /ready on/);
  child.stdout?.destroy();
  const { code, stderr } = await ended;
  t.is(stderr, 'demo: stopped\n');
  t.is(code, 130);
  await assertNothingLeft(t, directory);
});

test('words the demo does not know are refused with what it knows', async (t) => {
  for (const words of [['--balancer', 'apache'], ['--fast']]) {
    const { code, stdout, stderr } = await startDemo(t, words).ended;
    t.is(code, 2);
    t.is(stdout, '');
    t.regex(stderr, /^demo: (--balancer apache: expected one of nginx, haproxy, builtin|Unknown option '--fast')/);
    t.regex(stderr, /--json +print one summary object/);
  }
});

test('only requests under way at the kill are put down to it', (t) => {
  const board = new Board(() => undefined);
  board.crash = { killedAt: 1_000, deadAt: 1_010 };
  const fails = (startedAt: number, endedAt: number): void => {
    board.count({ startedAt, endedAt, servedBy: null, failure: 'ECONNRESET' });
  };
  fails(900, 990); // Ended before the kill.
  t.is(board.failedDuringCrash, 0);
  fails(990, 1_001); // In flight.
  fails(1_005, 1_020); // Begun while the process was dying.
  t.is(board.failedDuringCrash, 2);
  fails(1_011, 1_015); // Begun when it was known to be dead: the balancer should have known a way.
  t.is(board.failedDuringCrash, 2);
  t.is(board.failed, 4);
});

test('the screen fits its terminal at every size, and is plain text without colour', (t) => {
  const board = new Board(() => undefined);
  board.balancer = { name: 'built-in proxy', state: 'up', url: 'http://127.0.0.1:65535', detail: 'x'.repeat(60) };
  board.act = 'doing something that takes many words to say';
  for (let i = 0; i < 200; i += 1) {
    board.turn();
    for (const id of ['web-1', 'web-2', 'web-3']) board.count({ startedAt: 0, endedAt: 0, servedBy: id, failure: null });
    board.note('registry', `${'a long line of what happened '.repeat(5)}${i}`);
  }
  board.count({ startedAt: 0, endedAt: 0, servedBy: null, failure: 'ECONNREFUSED' });
  const sizes = [[80, 24], [110, 50], [60, 16], [40, 12], [12, 3]] as const;
  for (const size of sizes.map(([columns, rows]) => ({ columns, rows }))) {
    const lines = frame(board, size, painter(true));
    t.true(lines.length < size.rows);
    const seen = lines.map((line) => stripVTControlCharacters(line));
    t.deepEqual(seen.filter((line) => line.length > size.columns), []);
  }
  const plain = frame(board, { columns: 80, rows: 24 }, painter(false)).join('\n');
  t.is(stripVTControlCharacters(plain), plain);
  t.regex(plain, /web-1 +○ starting/);
  t.regex(plain, /1 failed/);
});

async function waitFor(child: ChildProcess, pattern: RegExp): Promise<void> {
  let text = '';
  const seen = new Promise<void>((resolve) => {
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (pattern.test(text)) resolve();
    });
  });
  const over = once(child, 'exit').then(() => Promise.reject(new Error(`ended too early: ${text}`)));
  await Promise.race([seen, over]);
  over.catch(() => undefined);
}

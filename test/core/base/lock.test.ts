// The lock on a data directory, between real processes: a living holder is respected, a dead one is not.

import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import test from 'ava';
import { whenDone } from '../../../core/base/done.js';
import { systemLock, type Release } from '../../../core/base/lock.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'coterie-lock-'));
let count = 0;

test.after.always(() => fs.rmSync(root, { recursive: true }));

function fresh(): string {
  const directory = path.join(root, `${++count}`);
  fs.mkdirSync(directory);
  return path.join(directory, 'lock');
}

function acquire(file: string): Promise<Release> {
  return whenDone((done) => systemLock(file, done));
}

function holderIn(file: string): Record<string, unknown> {
  return JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>;
}

test('a lock is held until it is released, leaves nothing behind, and can be taken again', async (t) => {
  const file = fresh();
  for (let i = 0; i < 2; i++) {
    const release = await acquire(file);
    t.is(holderIn(file).pid, process.pid);
    await whenDone<void>((done) => release(done));
    t.deepEqual(fs.readdirSync(path.dirname(file)), []);
  }
});

test('a second taker is refused, with the holder\'s number, the path and the remedy', async (t) => {
  const file = fresh();
  await acquire(file);
  const error = await t.throwsAsync(acquire(file));
  t.true(error?.message.includes(`process ${process.pid} on ${os.hostname()} holds ${file}`), error?.message);
  t.regex(error?.message ?? '', /Stop that process first/);
});

test('of many who come at once for a stale lock exactly one gets it', async (t) => {
  const file = fresh();
  await acquire(file);
  fs.writeFileSync(file, JSON.stringify({ ...holderIn(file), pid: 2 ** 22 + 1 }));
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => acquire(file)));
  t.is(results.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('the lock of a process that was killed is taken over', async (t) => {
  const file = fresh();
  const module = new URL('../../../core/base/lock.js', import.meta.url).href;
  const script = `const { systemLock } = await import(${JSON.stringify(module)});
    systemLock(${JSON.stringify(file)}, (error) => process.stdout.write(error === null ? 'held' : String(error)));
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const said = await new Promise<string>((resolve) => child.stdout.once('data', (data) => resolve(String(data))));
  t.is(said, 'held');
  await t.throwsAsync(acquire(file), { message: new RegExp(`process ${child.pid} `) });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
  await acquire(file);
  t.is(holderIn(file).pid, process.pid);
});

test('a number that now belongs to another process, or to an earlier boot, is not the holder', async (t) => {
  for (const change of [{ started: '1' }, { boot: 'an earlier one' }]) {
    const file = fresh();
    await acquire(file);
    fs.writeFileSync(file, JSON.stringify({ ...holderIn(file), ...change }));
    await t.notThrowsAsync(acquire(file), JSON.stringify(change));
  }
});

test('a holder in another container of this machine is refused; this container before its restart is not', async (t) => {
  const file = fresh();
  await acquire(file);
  const inside = { ...holderIn(file), namespace: 'pid:[4026530000]', pid: 1 };
  fs.writeFileSync(file, JSON.stringify({ ...inside, host: 'elsewhere' }));
  await t.throwsAsync(acquire(file), { message: /process 1 on elsewhere holds/ });
  fs.writeFileSync(file, JSON.stringify(inside));
  await t.notThrowsAsync(acquire(file));
});

test('a holder on another host cannot be judged and is refused', async (t) => {
  const file = fresh();
  await acquire(file);
  fs.writeFileSync(file, JSON.stringify({ ...holderIn(file), boot: 'another', host: 'elsewhere' }));
  await t.throwsAsync(acquire(file), { message: /on elsewhere holds/ });
});

test('a lock that does not say who holds it is nobody\'s', async (t) => {
  for (const content of ['', 'half a li', '{"pid":-1}']) {
    const file = fresh();
    fs.writeFileSync(file, content);
    await t.notThrowsAsync(acquire(file), JSON.stringify(content));
  }
});

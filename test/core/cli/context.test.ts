// Contexts: what is saved is used, by nobody but whom it was saved for, and no password is ever shown or left readable.

import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { play, type Printed } from './in-process.js';

const SECRET = 'm4rker-pa55word';

function fresh(t: { teardown(run: () => void): void }): { file: string; run(line: string, more?: object): Promise<Printed> } {
  const directory = mkdtempSync(path.join(tmpdir(), 'coterie-contexts-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const file = path.join(directory, 'deep', 'contexts.json');
  return { file, run: (line, more = {}) => play(line, { ...more, env: { COTERIE_CONTEXTS: file } }) };
}

test('a context is saved for its owner alone, used, listed without its password, and removed', async (t) => {
  const { file, run } = fresh(t);
  const added = await run(`context add prod --endpoints 127.0.0.1:1 --user ann:${SECRET}`);
  t.deepEqual([added.code, added.stdout.includes(SECRET)], [0, false]);
  t.deepEqual([statSync(file).mode & 0o777, statSync(path.dirname(file)).mode & 0o777], [0o600, 0o700]);
  await run('context add test --endpoints 127.0.0.1:2');
  const list = await run('context list');
  t.regex(list.stdout, /^\* +prod +127\.0\.0\.1:1 +ann:… +-$/m);
  t.regex(list.stdout, /^- +test +127\.0\.0\.1:2 +-/m);
  for (const line of ['context list', 'context list --json', 'get a --debug --dial-timeout 50ms']) {
    const { stdout, stderr } = await run(line);
    t.false(`${stdout}${stderr}`.includes(SECRET), line);
  }
  t.regex((await run('get a --dial-timeout 50ms --debug')).stderr, /asks 127\.0\.0\.1:1 as ann/);
  t.regex((await run('get a --dial-timeout 50ms --debug --context test')).stderr, /asks 127\.0\.0\.1:2 as nobody/);
  await run('context use test');
  t.regex((await run('get a --dial-timeout 50ms --debug')).stderr, /asks 127\.0\.0\.1:2 as nobody/);
  await run('context remove test');
  t.is((await run('context list --names')).stdout, 'prod\n');
  t.regex((await run('get a --context test')).stderr, /there is no such context\n {2}there are prod/);
});

test('credentials go to no other endpoint, and halves of them to nobody', async (t) => {
  const { run } = fresh(t);
  await run(`context add prod --endpoints 127.0.0.1:1 --user ann:${SECRET}`);
  const ask = async (flags: string): Promise<string> => (await run(`get a --dial-timeout 50ms --debug ${flags}`)).stderr;
  t.regex(await ask('--endpoints 127.0.0.1:3'), /asks 127\.0\.0\.1:3 as nobody/);
  t.regex(await ask('--endpoints 127.0.0.1:3 --context prod'), /asks 127\.0\.0\.1:3 as ann/);
  t.regex(await ask('--user bob'), /--user bob without a password/);
  t.regex(await ask('--user bob:x'), /asks 127\.0\.0\.1:1 as bob/);
  t.regex(await ask('--password other'), /asks 127\.0\.0\.1:1 as ann/);
});

test('a file that others can read is refused while it holds a password; one that cannot be read is named', async (t) => {
  const { file, run } = fresh(t);
  await run(`context add prod --endpoints 127.0.0.1:1 --user ann:${SECRET}`);
  chmodSync(file, 0o644);
  const open = await run('get a');
  t.is(open.code, 1);
  t.regex(open.stderr, /holds a password and can be read by others\n {2}chmod 600 /);
  t.false(open.stderr.includes(SECRET));
  chmodSync(file, 0o600);
  writeFileSync(file, '{"version":1,');
  t.regex((await run('get a')).stderr, /cannot be read: it is not JSON/);
  t.is(readFileSync(file, 'utf8'), '{"version":1,');
});

test('a password is asked for without being shown, and may stay unsaved', async (t) => {
  const { file, run } = fresh(t);
  await run('context add a --endpoints 127.0.0.1:1 --user ann', { secrets: [SECRET] });
  t.true(readFileSync(file, 'utf8').includes(SECRET));
  await run('context add b --endpoints 127.0.0.1:1 --user ann', { secrets: [''] });
  const asked = await run('get k --context b --dial-timeout 50ms', { secrets: [SECRET] });
  t.regex(asked.stderr, /^Password of ann: /);
  t.false(asked.stderr.includes(SECRET));
});

const WRONG: readonly (readonly [line: string, says: RegExp])[] = [
  ['context add x', /--endpoints is missing/],
  ['context add a/b --endpoints h:1', /a\/b: not a name for a context/],
  ['context use none', /none: there is no such context/],
  ['context remove none', /none: there is no such context/],
  ['context', /context needs a word that says what to do/],
];

for (const [line, says] of WRONG) {
  test(`refused: coterie ${line}`, async (t) => {
    const { code, stderr } = await fresh(t).run(line);
    t.is(code, 2);
    t.regex(stderr, says);
  });
}

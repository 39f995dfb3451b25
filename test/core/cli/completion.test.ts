// Completion, asked of real shells: bash always, zsh and fish where they are installed. A press of Tab offers what fits there.

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { commandTree } from '../../../core/cli/command-tree.js';
import { completionScript, type Shell } from '../../../core/cli/completion-scripts.js';
import { SUBCOMMANDS } from '../../../core/cli/commands.js';
import { temporaryDirectory } from './binary.js';
import { play } from './in-process.js';

/** What stands on the line, the cursor at its end; what is offered, at least; what is not. */
const OFFERED: readonly (readonly [line: string, offered: readonly string[], not: readonly string[]])[] = [
  ['coterie ', ['get', 'put', 'member', 'serve', 'completion'], ['list', '--prefix']],
  ['coterie me', ['member'], ['get']],
  ['coterie member ', ['list', 'add', 'remove', 'update', 'promote'], ['get']],
  ['coterie -w json member l', ['list'], ['get']],
  ['coterie --endpoints get member l', ['list'], []],
  ['coterie get --pre', ['--prefix'], ['--prev-kv']],
  ['coterie get k --order ', ['ASCEND', 'DESCEND'], ['--prefix']],
  ['coterie get k --order=D', ['DESCEND'], ['ASCEND']],
  ['coterie get k -w ', ['simple', 'json', 'protobuf'], []],
  ['coterie member list --pe', [], ['--peer-urls']],
  ['coterie member add x --pe', ['--peer-urls'], []],
  ['coterie role grant-permission r read k --', ['--prefix', '--from-key', '--user'], ['--rev']],
  ['coterie serve --data', ['--data-dir'], []],
  ['coterie cluster --', ['--data-dir', '--free-ports', '--json'], ['--user', '--name']],
  ['coterie completion ', ['bash', 'zsh', 'fish'], []],
  ['coterie help sna', ['snapshot'], []],
];

async function scriptIn(t: ExecutionContext, shell: Shell): Promise<string> {
  const file = path.join(await temporaryDirectory(t), `coterie.${shell}`);
  writeFileSync(file, completionScript(shell, await commandTree()));
  return file;
}

/** Splits as readline does: at spaces, and before and behind `=`. */
function wordsOf(line: string): string[] {
  return line.split(' ').flatMap((word) => word.split(/(?==)|(?<==)/));
}

test('bash offers what fits where the cursor stands', async (t) => {
  const file = await scriptIn(t, 'bash');
  const asks = OFFERED.map(([line]) => {
    const words = wordsOf(line).map((word) => `'${word}'`);
    return `COMP_WORDS=(${words.join(' ')}); COMP_CWORD=${words.length - 1}; COMPREPLY=(); _coterie; echo "\${COMPREPLY[*]}"`;
  });
  const script = `source ${file} || exit 9; complete -p coterie\n${asks.join('\n')}`;
  const { stdout, stderr, status } = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
  t.deepEqual([status, stderr], [0, '']);
  const [registered, ...answers] = stdout.split('\n');
  t.is(registered, 'complete -o default -F _coterie coterie');
  OFFERED.forEach(([line, offered, not], i) => {
    const found = (answers[i] ?? '').split(' ');
    t.deepEqual(offered.filter((word) => !found.includes(word)), [], line);
    t.deepEqual(not.filter((word) => found.includes(word)), [], line);
  });
});

test('bash offers files where a file is named', async (t) => {
  const file = await scriptIn(t, 'bash');
  const directory = path.dirname(file);
  for (const words of ['coterie snapshot save ', 'coterie get k --cacert ', 'coterie get k --password-file ']) {
    const list = [...words.trim().split(' '), `${directory}/cot`].map((word) => `'${word}'`);
    const ask = `COMP_WORDS=(${list.join(' ')}); COMP_CWORD=${list.length - 1}; _coterie; echo "\${COMPREPLY[*]}"`;
    t.is(spawnSync('bash', ['-c', `source ${file}; ${ask}`], { encoding: 'utf8' }).stdout, `${file}\n`, words);
  }
});

for (const shell of ['zsh', 'fish'] as const) {
  test(`${shell} reads its script, where it is installed`, async (t) => {
    const file = await scriptIn(t, shell);
    const { error, status, stderr } = spawnSync(shell, ['-n', file], { encoding: 'utf8' });
    if (error !== undefined) {
      if (process.env['CI'] === 'true') t.fail(`${shell} is not on the path, but CI must have it`);
      t.log(`${shell} is not on the path: its completion is not checked here`);
      t.pass();
      return;
    }
    t.deepEqual([status, stderr], [0, '']);
  });
}

test('fish is asked itself what it offers, where it is installed', async (t) => {
  const file = await scriptIn(t, 'fish');
  const asks = OFFERED.map(([line]) => `echo (complete -C '${line}' | string replace -r '\\t.*' '')`);
  const { error, stdout, stderr } = spawnSync('fish', ['-N', '-c', `source ${file}\n${asks.join('\n')}`], { encoding: 'utf8' });
  if (error !== undefined) {
    t.pass();
    return;
  }
  t.is(stderr, '');
  OFFERED.forEach(([line, offered], i) => {
    const found = (stdout.split('\n')[i] ?? '').split(' ').map((word) => word.replace(/^--\w+=/, ''));
    t.deepEqual(offered.filter((word) => !found.includes(word)), [], line);
  });
});

test('the tree has every command of the help, with its flags', async (t) => {
  const tree = await commandTree();
  const words = new Set(tree.map((command) => command.words));
  t.deepEqual(Object.keys(SUBCOMMANDS).filter((word) => !words.has(word)), []);
  const bare = tree.filter((one) => one.flags.length === 0 && !tree.some((other) => other.words.startsWith(`${one.words} `)));
  t.deepEqual(bare.map((one) => one.words), ['sidecar', 'proxy', 'completion', 'version', 'help']);
  t.true(['member add', 'lease keep-alive', 'role grant-permission', 'context use'].every((word) => words.has(word)));
});

test('another shell is refused with those there are', async (t) => {
  const { code, stderr } = await play('completion powershell');
  t.is(code, 2);
  t.regex(stderr, /powershell: no such shell here\n {2}give one of bash, zsh, fish/);
});

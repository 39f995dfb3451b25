// The binary itself: subcommands, exit codes, and how little it loads before it knows what is wanted.

import { spawnSync } from 'node:child_process';
import test from 'ava';
import { coterie, MAIN } from './cli/binary.js';

test('help and versions go to stdout with exit code 0', async (t) => {
  for (const args of [[], ['--help'], ['help'], ['-h']]) {
    const { code, stdout, stderr } = await coterie(args);
    t.deepEqual([code, stderr], [0, '']);
    t.regex(stdout, /coterie serve/);
  }
  t.regex((await coterie(['--version'])).stdout, /^coterie Version: \d+\.\d+\.\d+\netcd API: 3\.4\.\d+\n/);
  t.like(JSON.parse((await coterie(['version', '--json'])).stdout), { api: '3.4.23', node: process.version });
  t.regex((await coterie(['help', 'serve'])).stdout, /--listen-client-urls/);
  t.regex((await coterie(['serve', '--version'])).stdout, /^coterie Version: /);
});

test('an unknown word is refused with a guess and exit code 2', async (t) => {
  const stderr = 'coterie: sevre: no such command\n  did you mean coterie serve?\n';
  t.deepEqual(await coterie(['sevre']), { code: 2, stdout: '', stderr });
  t.regex((await coterie(['banana'])).stderr, /coterie --help lists the commands/);
  t.regex((await coterie(['--name', 'x'])).stderr, /flags follow the command: coterie serve --name x/);
  t.is((await coterie(['toString'])).code, 2);
});

test('a reader that stops reading is no error', (t) => {
  const script = `'${process.execPath}' '${MAIN}' serve --help | head -n 1`;
  const { status, stderr } = spawnSync('bash', ['-o', 'pipefail', '-c', script], { encoding: 'utf8' });
  t.is(status, 0, stderr);
});

test('--help and --version cost little more than starting Node', (t) => {
  const best = (args: readonly string[]): number => {
    const times = Array.from({ length: 5 }, () => {
      const startedAt = performance.now();
      spawnSync(process.execPath, args);
      return performance.now() - startedAt;
    });
    return Math.min(...times);
  };
  const bare = best(['-e', '0']);
  for (const args of [['--version'], ['--help'], ['serve', '--help']]) {
    const cost = best([MAIN, ...args]) - bare;
    t.true(cost < 100, `coterie ${args.join(' ')}: ${Math.round(cost)} ms more than the bare ${Math.round(bare)} ms`);
  }
});

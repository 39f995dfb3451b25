// The binary itself: subcommands, exit codes, and how little it loads before it knows what is wanted.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { coterie, MAIN, temporaryDirectory } from './cli/binary.js';

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
  t.regex((await coterie(['sidecar', '--help'])).stdout, /--config/);
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

test('--help and --version load next to nothing, and the help of serve loads no server', async (t) => {
  t.deepEqual(await packagesLoaded(t, ['--version']), []);
  t.deepEqual(await packagesLoaded(t, ['--help']), []);
  t.deepEqual(await packagesLoaded(t, ['serve', '--help']), ['commander', 'yaml']);
});

/** The packages whose code ran; V8's coverage report lists every script. A count of milliseconds would lie under load. */
async function packagesLoaded(t: ExecutionContext, args: readonly string[]): Promise<string[]> {
  const directory = await temporaryDirectory(t);
  const { code } = await coterie(args, { env: { NODE_V8_COVERAGE: directory } });
  t.is(code, 0);
  const reports = readdirSync(directory).map((name) => readFileSync(path.join(directory, name), 'utf8'));
  const names = reports.join('\n').matchAll(/"url":"file:[^"]*\/node_modules\/((?:@[^/]+\/)?[^/"]+)/g);
  return [...new Set([...names].map((match) => match[1] ?? ''))].toSorted();
}

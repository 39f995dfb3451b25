// The table of etcdctl command lines leaves nothing out: what etcdctl itself says it has, occurs in it. Whatever does not, is
// listed here with its reason.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import test from 'ava';
import { commandOf, rowsOf, type Row } from './etcdctl-rows.js';
import { TABLES } from './etcdctl-tables.js';
import { isInstalled } from './real-etcd.js';

const FORMATS = ['simple', 'json', 'fields', 'table', 'protobuf'] as const;

/** Commands, flags (`get --rev`) and formats (`get -w json`) that no row has. */
const EXCEPTIONS: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/^(member add|lock|elect) -w protobuf$/, 'bytes with a random id in them, of any length'],
  [/ --help$/, 'the client answers it alone, and this test asks it of every command'],
  [/^(version|help|completion \w+|migrate|check \w+|make-mirror) -w /, 'says the same in every form, and nothing of the server'],
];

interface Known {
  readonly commands: readonly string[];
  /** By command, without those that every command has. */
  readonly flags: ReadonlyMap<string, readonly string[]>;
  readonly global: readonly string[];
}

async function help(words: readonly string[]): Promise<string> {
  const env = { ...process.env, ETCDCTL_API: '3' };
  const { stdout } = await promisify(execFile)('etcdctl', [...words, '--help'], { env });
  return stdout;
}

function flagsIn(text: string): string[] {
  return [...text.matchAll(/^ +(?:-(\w), )?--([\w-]+)(?:\[?=|\t)/gm)].map(([, , long]) => `--${long ?? ''}`);
}

async function ask(): Promise<Known> {
  const root = await help([]);
  const [, list = ''] = root.split('COMMANDS:');
  const commands = [...list.matchAll(/^\t([a-z][a-z -]*?)\t/gm)].map(([, name = '']) => name);
  const global = flagsIn(list);
  const own = await Promise.all(commands.map(async (name) => {
    const flags = flagsIn(await help(name.split(' '))).filter((flag) => flag === '--help' || !global.includes(flag));
    return [name, flags] as const;
  }));
  return { commands, flags: new Map(own), global };
}

const ROWS: readonly Row[] = TABLES.flatMap(({ groups }) => groups).flatMap((group) => group.rows.flatMap(rowsOf));

function rowsBy(commands: readonly string[]): Map<string, Row[]> {
  const rows = new Map<string, Row[]>(commands.map((name) => [name, []]));
  for (const row of ROWS) {
    const words = commandOf(row);
    (rows.get(words.slice(0, 2).join(' ')) ?? rows.get(words[0] ?? ''))?.push(row);
  }
  return rows;
}

function hasFlag(row: Row, flag: string): boolean {
  const short = { '--write-out': '-w', '--discovery-srv': '-d', '--listen': '-l', '--interactive': '-i' }[flag] ?? flag;
  return row.words.map((word) => word.split('=', 1)[0]).some((name) => name === flag || name === short);
}

function formatOf(row: Row): string {
  const at = row.words.indexOf('-w');
  return at < 0 ? 'simple' : (row.words[at + 1] ?? '');
}

test('every command, flag and form of etcdctl occurs in the table, or has a reason not to', async (t) => {
  if (!isInstalled('etcdctl', (line) => t.log(line))) {
    t.pass();
    return;
  }
  const { commands, flags, global } = await ask();
  t.true(commands.length >= 48, `${commands.length} commands`);
  const rows = rowsBy(commands);
  const missing: string[] = [];
  for (const [name, own] of rows) {
    if (own.length === 0) missing.push(name);
    for (const flag of flags.get(name) ?? []) if (!own.some((row) => hasFlag(row, flag))) missing.push(`${name} ${flag}`);
    for (const form of FORMATS) if (!own.some((row) => formatOf(row) === form)) missing.push(`${name} -w ${form}`);
  }
  for (const flag of global) if (!ROWS.some((row) => hasFlag(row, flag))) missing.push(flag);
  t.deepEqual(missing.filter((what) => !EXCEPTIONS.some(([pattern]) => pattern.test(what))), []);
  const idle = EXCEPTIONS.filter(([pattern]) => !missing.some((what) => pattern.test(what)));
  t.deepEqual(idle, [], 'an exception that excepts nothing is taken out');
  t.log(`${commands.length} commands, ${ROWS.length} cases`);
});

test('a command whose answer differs is named among the differences', (t) => {
  const text = readFileSync(new URL('../../../test/interop/DIFFERENCES.md', import.meta.url), 'utf8');
  const names = ROWS.filter(({ differs }) => differs).map((row) => commandOf(row).slice(0, 2).join(' '));
  t.true(names.length > 0);
  t.deepEqual(names.filter((name) => !text.includes(`\`${name}`)), []);
});

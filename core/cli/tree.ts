// `coterie ls` and `coterie tree`: keys as if they were files, split at slashes. Only keys are read, never values.

import { get } from '../client.js';
import { utf8 } from '../base/bytes.js';
import { runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { plainKey } from './go-text.js';
import { listKeys, stepsOf, type Entry } from './key-tree.js';
import { EXIT_CODE, NOTHING_FOUND } from './kv.js';
import { bytesDecoded } from './kv-output.js';
import { columns, hex, json, type Json } from './output.js';
import type { Terminal } from './terminal.js';

const DEPTH_MAX = 100;

const LS: ClientCommand = {
  words: 'ls', usage: '[FOLDER]', summary: 'what is under a folder of keys, one level; folders end in a slash', takes: [0, 1],
  flags: [
    { name: 'long', short: 'l', help: 'revisions, version and lease of each key' }, EXIT_CODE,
  ],
  formats: ['simple', 'json', 'decoded'],
  async run(invocation) {
    const [word = ''] = invocation.args;
    const client = invocation.connect();
    const folder = word === '' || word.endsWith('/') ? word : `${word}/`;
    const { entries, revision } = await listKeys(client, folder, 1);
    // A key that is called like the folder is shown with it, as in a shell.
    const own = folder === word ? null : await get(client, utf8(word), { revision });
    const all = own === null ? entries : [{ path: own.key, kv: own }, ...entries];
    invocation.print(listText(invocation, all, revision));
    return all.length === 0 && invocation.isSet('exit-code') ? NOTHING_FOUND : 0;
  },
};

function listText(invocation: Invocation, entries: readonly Entry[], revision: number): string {
  if (invocation.format !== 'simple') return `${json({ revision, entries: entries.map(entryJson) })}\n`;
  if (!invocation.isSet('long')) return entries.map(({ path }) => `${plainKey(path)}\n`).join('');
  const rows = entries.map(({ path, kv }) => {
    if (kv === null) return ['', '', '', '', plainKey(path)];
    const { createRevision, modRevision, version, lease } = kv;
    return [String(createRevision), String(modRevision), String(version), lease === 0n ? '' : hex(lease), plainKey(path)];
  });
  return entries.length === 0 ? '' : columns(['CREATED', 'CHANGED', 'VERSION', 'LEASE', 'KEY'], rows);
}

function entryJson({ path, kv }: Entry): Json {
  if (kv === null) return { ...bytesDecoded('folder', path) };
  const { createRevision, modRevision, version, lease } = kv;
  const rest = { createRevision, modRevision, version, lease: lease === 0n ? undefined : hex(lease) };
  return { ...bytesDecoded('key', path), ...rest };
}

const TREE: ClientCommand = {
  words: 'tree', usage: '[PREFIX]', summary: 'keys as a tree, split at slashes', takes: [0, 1],
  flags: [{ name: 'depth', value: 'NUMBER', help: 'levels shown; default: all' }, EXIT_CODE],
  formats: ['simple', 'json', 'decoded'],
  async run(invocation) {
    const [prefix = ''] = invocation.args;
    const depth = invocation.whole('depth', DEPTH_MAX, { min: 1, max: DEPTH_MAX });
    const { entries, revision } = await listKeys(invocation.connect(), prefix, depth);
    const root = treeOf(entries, utf8(prefix).length);
    if (invocation.format === 'simple') invocation.print(drawn(root, prefix, entries));
    else invocation.printJson({ revision, prefix, children: branchesJson(root) });
    return entries.length === 0 && invocation.isSet('exit-code') ? NOTHING_FOUND : 0;
  },
};

interface Branch {
  /** A step of the path, as people read it; of a folder with its slash. */
  readonly name: string;
  readonly branches: Map<string, Branch>;
  /** The key that ends here; null: none does. */
  entry: Entry | null;
}

function treeOf(entries: readonly Entry[], from: number): Branch {
  const root: Branch = { name: '', branches: new Map(), entry: null };
  for (const entry of entries) {
    let at = root;
    for (const step of stepsOf(entry.path, from)) {
      const name = plainKey(step);
      const next = at.branches.get(name) ?? { name, branches: new Map<string, Branch>(), entry: null };
      at.branches.set(name, next);
      at = next;
    }
    at.entry = entry;
  }
  return root;
}

function drawn(root: Branch, prefix: string, entries: readonly Entry[]): string {
  const keys = entries.filter(({ kv }) => kv !== null).length;
  const closed = entries.length - keys;
  const more = closed === 0 ? '' : `, ${closed} ${closed === 1 ? 'folder' : 'folders'} not opened`;
  const top = prefix === '' ? '.' : plainKey(utf8(prefix));
  return `${top}\n${branchLines(root, '').join('')}\n${keys} ${keys === 1 ? 'key' : 'keys'}${more}\n`;
}

function branchLines({ branches }: Branch, indent: string): string[] {
  const all = [...branches.values()];
  return all.flatMap((branch, i) => {
    const isLast = i === all.length - 1;
    const closed = branch.entry !== null && branch.entry.kv === null ? ' …' : '';
    const line = `${indent}${isLast ? '└── ' : '├── '}${branch.name}${closed}\n`;
    return [line, ...branchLines(branch, `${indent}${isLast ? '    ' : '│   '}`)];
  });
}

function branchesJson({ branches }: Branch): Json {
  return [...branches.values()].map((branch): Json => {
    const isClosed = branch.entry !== null && branch.entry.kv === null;
    const about = branch.entry === null || isClosed ? {} : { entry: entryJson(branch.entry) };
    const inner = branch.branches.size === 0 ? {} : { children: branchesJson(branch) };
    return { name: branch.name, closed: isClosed ? true : undefined, ...about, ...inner };
  });
}

export const COMMANDS: readonly ClientCommand[] = [LS, TREE];

export function list(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('ls', COMMANDS, argv, terminal);
}

export function tree(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('tree', COMMANDS, argv, terminal);
}

// The configuration file of `coterie serve`: YAML whose keys are the flags' names. Only reads and locates; what a value
// means is the business of values.ts. Every entry keeps its line and column, so that a message can point at it.

import { readFileSync } from 'node:fs';
import { isMap, isScalar, isSeq, LineCounter, parseDocument, type Node, type Pair, type Scalar } from 'yaml';
import { Refusal } from './refusal.js';

export interface FileEntry {
  readonly key: string;
  /** As it would be typed on the command line. */
  readonly word: string;
  /** `file:line:column`, counted from 1. */
  readonly place: string;
}

const FILE_BYTES_MAX = 1024 * 1024;

export function readConfigFile(file: string): FileEntry[] {
  return parseConfig(readText(file), file);
}

function readText(file: string): string {
  try {
    const bytes = readFileSync(file);
    if (bytes.length <= FILE_BYTES_MAX) return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const [wrong, remedy] = code === 'ENOENT'
      ? ['no such file', 'check the path, or leave the flag out']
      : [`cannot be read (${code})`, 'it must be a readable file of UTF-8 text'];
    throw new Refusal(`--config-file=${file}: ${wrong}`, remedy, { cause: error });
  }
  throw new Refusal(`--config-file=${file}: larger than ${FILE_BYTES_MAX} bytes`, 'this is not a configuration file');
}

export function parseConfig(text: string, file: string): FileEntry[] {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: false });
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  const [error] = document.errors;
  if (error !== undefined) {
    throw new Refusal(`${place(error.pos[0])}: ${error.message}`, 'repair the YAML; write each entry as `name: value`');
  }
  const root = document.contents;
  if (root === null) return [];
  if (!isMap<Node, Node | null>(root)) {
    throw new Refusal(`${place(root.range[0])}: not a list of names and values`, 'write each entry as `name: value`');
  }
  return root.items.flatMap((pair) => readGroup(pair, place) ?? [readEntry(pair, place)]);
}

/**
 * etcd's files keep certificates in two groups: `cert-file` in the one of members is the flag `peer-cert-file`, in the other
 * one `cert-file`. Some names in them are short for what no rule would give.
 */
const GROUPS: ReadonlyMap<unknown, { readonly prefix: string; readonly short: Readonly<Record<string, string>> }> = new Map([
  ['peer-transport-security', {
    prefix: 'peer-',
    short: { 'allowed-cn': 'cert-allowed-cn', 'allowed-hostname': 'cert-allowed-hostname' },
  }],
  ['client-transport-security', {
    prefix: '',
    short: { 'allowed-hostname': 'client-cert-allowed-hostname', 'crl-file': 'client-crl-file' },
  }],
]);

function readGroup(pair: Pair<Node, Node | null>, place: (offset: number) => string): FileEntry[] | null {
  const group = isScalar(pair.key) ? GROUPS.get(pair.key.value) : undefined;
  if (group === undefined) return null;
  // A group with nothing in it, as in etcd's sample file.
  if (pair.value === null || (isScalar(pair.value) && pair.value.value === null)) return [];
  if (!isMap<Node, Node | null>(pair.value)) return null;
  return pair.value.items.map((inner) => {
    const entry = readEntry(inner, place);
    return { ...entry, key: `${group.prefix}${group.short[entry.key] ?? entry.key}` };
  });
}

function readEntry(pair: Pair<Node, Node | null>, place: (offset: number) => string): FileEntry {
  const key = isScalar(pair.key) ? String(pair.key.value) : '';
  const at = place(pair.value?.range?.[0] ?? pair.key.range?.[0] ?? 0);
  const { value } = pair;
  if (value === null) return { key, word: '', place: at };
  if (isScalar(value)) return { key, word: wordOf(value), place: at };
  if (isSeq<Node>(value) && value.items.every((item) => isScalar(item))) {
    return { key, word: value.items.map((item) => (isScalar(item) ? wordOf(item) : '')).join(','), place: at };
  }
  throw new Refusal(`${at}: ${key}: a group of values`, 'give one value, or a list of plain values');
}

/** The word as it stands in the file, not as YAML counts it: the name 007 is not 7. */
function wordOf(scalar: Scalar): string {
  if (scalar.value === null || scalar.value === undefined) return '';
  return typeof scalar.value === 'string' ? scalar.value : (scalar.source ?? '');
}

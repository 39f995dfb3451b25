// `coterie snapshot save|status|restore`. Save and status are etcdctl's in words and forms, restore is etcdutl's: a new data
// directory for one member of a new cluster, founded on what the snapshot holds.

import { openSnapshot, loadStore, SnapshotWriter } from './snapshot-file.js';
import { runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { bytesText, fields, json, table } from './output.js';
import { Refusal } from './refusal.js';
import { RESTORE } from './restore.js';
import type { Terminal } from './terminal.js';

const SAVE: ClientCommand = {
  words: 'snapshot save', usage: 'FILE', summary: 'the data of one member, as it is now, into a file', takes: [1, 1], flags: [],
  formats: ['simple', 'json'],
  async run(invocation) {
    const [file = ''] = invocation.args;
    if (invocation.endpoints.length > 1) {
      const problem = `snapshot must be requested to one selected node, not multiple [${invocation.endpoints.join(' ')}]`;
      throw new Refusal(problem, 'name one with --endpoints; any voting member will do');
    }
    const sizeBytes = await save(invocation, file);
    const text = invocation.format === 'json' ? json({ file, size: sizeBytes }) : `Snapshot saved at ${file}`;
    invocation.print(`${text}\n`);
    return 0;
  },
};

async function save(invocation: Invocation, file: string): Promise<number> {
  const writer = new SnapshotWriter(file);
  try {
    for await (const { bytes } of invocation.connect().snapshot()) writer.write(bytes);
  } catch (error) {
    writer.discard();
    throw error;
  }
  writer.finish();
  return writer.sizeBytes;
}

const STATUS: ClientCommand = {
  words: 'snapshot status', usage: 'FILE', summary: 'what a file holds: hash, revision, keys, size', takes: [1, 1], flags: [],
  formats: ['simple', 'table', 'json', 'fields'], offline: true,
  run(invocation) {
    const [file = ''] = invocation.args;
    const bytes = openSnapshot(file);
    try {
      const store = loadStore(file, bytes);
      const hashed = store.hash(0);
      const hash = typeof hashed === 'string' ? 0 : hashed.hash;
      const facts = { hash, revision: store.revision, totalKey: store.keyCount, totalSize: bytes.sizeBytes };
      invocation.print(statusText(facts, invocation));
    } finally {
      bytes.close();
    }
    return Promise.resolve(0);
  },
};

interface SnapshotFacts {
  /** Equal to what coterie endpoint hashkv says of the member it was taken from, at that revision. */
  readonly hash: number;
  readonly revision: number;
  readonly totalKey: number;
  readonly totalSize: number;
}

function statusText(facts: SnapshotFacts, { format }: Invocation): string {
  const { hash, revision, totalKey, totalSize } = facts;
  if (format === 'json') return `${json({ ...facts })}\n`;
  if (format === 'fields') return fields([['Hash', hash], ['Revision', revision], ['Keys', totalKey], ['Size', totalSize]]);
  const row = [hash.toString(16), String(revision), String(totalKey), bytesText(totalSize)];
  return format === 'table' ? table(['HASH', 'REVISION', 'TOTAL KEYS', 'TOTAL SIZE'], [row]) : `${row.join(', ')}\n`;
}

export const COMMANDS: readonly ClientCommand[] = [SAVE, STATUS, RESTORE];

export function main(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('snapshot', COMMANDS, argv, terminal);
}

// `coterie snapshot restore`: a data directory for one member of a new cluster, founded on what a snapshot holds. Every member
// of that cluster is restored from the same file with the same --initial-cluster, each with its own --name; then they are
// started as usual. Ids follow from the flags (contract 1.6), so members of the old cluster are strangers to the new one.
//
// Nothing is written unless all of it can be: the directory must not hold anything, the file must be whole, and the words
// must fit each other.

import { existsSync, readdirSync, rmSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { systemClock } from '../base/clock.js';
import { whenDone } from '../base/done.js';
import { systemFiles } from '../base/files.js';
import { clusterId, memberId } from '../identity.js';
import { createLog } from '../log/create-log.js';
import type { MemberRecord } from '../store/members.js';
import type { Store } from '../store/store.js';
import type { ClientCommand, Invocation } from './client-command.js';
import { json } from './output.js';
import { Refusal } from './refusal.js';
import { clusterOf, listOf, settle, textOf, type Setting } from './settings.js';
import { loadStore, openSnapshot } from './snapshot-file.js';

/** The words that found a cluster: those of coterie serve. */
const FOUNDING = ['name', 'initial-cluster', 'initial-cluster-token', 'initial-advertise-peer-urls'] as const;

export const RESTORE: ClientCommand = {
  words: 'snapshot restore', usage: 'FILE [--data-dir DIR] [--name NAME --initial-cluster MEMBERS …]',
  summary: 'a data directory for one member of a new cluster', takes: [1, 1], formats: ['simple', 'json'], offline: true,
  flags: [
    { name: 'data-dir', value: 'DIR', help: 'where to; must not exist or be empty; default: the name, then .coterie' },
    { name: 'name', value: 'NAME', help: 'of this member; default: default' },
    { name: 'initial-cluster', value: 'MEMBERS', help: 'all members of the new cluster, as for coterie serve' },
    { name: 'initial-cluster-token', value: 'TOKEN', help: 'another one than the old cluster had, if that may still be running' },
    { name: 'initial-advertise-peer-urls', value: 'URLS', help: 'where the other members reach this one' },
    { name: 'skip-hash-check', help: 'take a file whose SHA-256 is missing or wrong, if its own checksums hold' },
    { name: 'bump-revision', value: 'N', help: 'let revisions go on N later, so that none is used twice; with --mark-compacted' },
    { name: 'mark-compacted', help: 'history ends at the restored revision, so that watchers of the old cluster are told' },
  ],
  run: restore,
};

async function restore(invocation: Invocation): Promise<number> {
  const [file = ''] = invocation.args;
  const all = foundingOf(invocation);
  const bump = bumpOf(invocation);
  const founders = foundersOf(all);
  const dataDir = invocation.text('data-dir') ?? `${textOf(all, 'name')}.coterie`;
  const isNew = refuseUsed(dataDir);
  const bytes = openSnapshot(file, invocation.isSet('skip-hash-check'));
  let store: Store;
  try {
    store = loadStore(file, bytes);
  } finally {
    bytes.close();
  }
  const self = founders.find(({ name }) => name === textOf(all, 'name'))?.id ?? 0n;
  const identity = { clusterId: clusterId(founders.map(({ id }) => id)), memberId: self, incarnation: incarnation() };
  const configuration = { voters: founders.map(({ id }) => id), outgoing: [], learners: [] };
  store.refound({ configuration, members: founders, revisionsSkipped: bump });
  const frozen = store.freeze();
  const { term, index } = frozen.meta;
  const seed = {
    hard: { term: Math.max(1, term), vote: 0n, commit: index },
    snapshot: { meta: { term, index, configuration }, chunks: frozen.chunks() },
    entries: [],
  };
  try {
    await whenDone((done) => createLog({ files: systemFiles, clock: systemClock, directory: dataDir, identity }, seed, done));
  } catch (error) {
    if (isNew) rmSync(dataDir, { recursive: true, force: true });
    const message = error instanceof Error ? error.message : String(error);
    const remedy = 'give a directory this user may write to, on a disk with room';
    throw new Refusal(`--data-dir ${dataDir}: ${message}`, remedy, { exitCode: 1, cause: error });
  } finally {
    frozen.release();
  }
  invocation.print(saidOf(invocation, { file, dataDir, store, ...identity }));
  return 0;
}

interface Restored {
  readonly file: string;
  readonly dataDir: string;
  readonly store: Store;
  readonly memberId: bigint;
  readonly clusterId: bigint;
}

function saidOf({ format }: Invocation, { file, dataDir, store, memberId: member, clusterId: cluster }: Restored): string {
  const [id, clusterHex] = [member.toString(16), cluster.toString(16)];
  const { revision, keyCount } = store;
  if (format === 'json') {
    return `${json({ file, dataDir, memberId: id, clusterId: clusterHex, revision, keys: keyCount })}\n`;
  }
  const keys = `${keyCount} ${keyCount === 1 ? 'key' : 'keys'}`;
  return `Restored ${file} into ${dataDir}: member ${id} of cluster ${clusterHex}, revision ${revision}, ${keys}\n`;
}

/** Judged as coterie serve judges them, so that what is restored here starts there. */
function foundingOf(invocation: Invocation): ReadonlyMap<string, Setting> {
  const words = new Map<string, string>();
  for (const flag of FOUNDING) {
    const word = invocation.text(flag);
    if (word !== null) words.set(flag, word);
  }
  const { all, bootstrapFault } = settle(words, {});
  if (bootstrapFault !== null) throw bootstrapFault;
  return all;
}

/** Of the new cluster, in ascending order of ids; none has a life yet. */
function foundersOf(all: ReadonlyMap<string, Setting>): MemberRecord[] {
  const token = textOf(all, 'initial-cluster-token');
  const cluster = clusterOf(all);
  const named = cluster.size > 0 ? cluster : new Map([[textOf(all, 'name'), listOf(all, 'initial-advertise-peer-urls')]]);
  return [...named]
    .map(([name, peerUrls]) => {
      return { id: memberId(peerUrls, token), name, peerUrls, clientUrls: [], isLearner: false, incarnation: 0n };
    })
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

function bumpOf(invocation: Invocation): number {
  const word = invocation.text('bump-revision');
  const marked = invocation.isSet('mark-compacted');
  if (word === null) {
    if (marked) throw new Refusal('--mark-compacted without --bump-revision', 'say by how much: --bump-revision 1000000000');
    return 0;
  }
  if (!/^[1-9]\d{0,14}$/.test(word)) {
    const remedy = 'give a whole number above 0, for instance 1000000000';
    throw new Refusal(`--bump-revision ${word}: not a number of revisions`, remedy);
  }
  if (!marked) {
    const remedy = 'add --mark-compacted: without it a watcher would wait in vain for revisions that never were';
    throw new Refusal(`--bump-revision ${word} without --mark-compacted`, remedy);
  }
  return Number(word);
}

/** Whether it is not there yet. */
function refuseUsed(dataDir: string): boolean {
  if (!existsSync(dataDir)) return true;
  let names: readonly string[];
  try {
    names = readdirSync(dataDir);
  } catch (error) {
    const problem = `--data-dir ${dataDir} is not a directory that can be read`;
    throw new Refusal(problem, 'give one that does not exist yet', { exitCode: 1, cause: error });
  }
  if (names.length === 0) return false;
  const remedy = 'give one that does not exist yet: what is in it would be mixed with what is restored';
  throw new Refusal(`--data-dir ${dataDir} exists and is not empty`, remedy, { exitCode: 1 });
}

/** 63 random bits: the life of this directory. */
function incarnation(): bigint {
  return BigInt.asUintN(63, randomBytes(8).readBigUInt64BE(0)) | 1n;
}

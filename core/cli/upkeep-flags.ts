// The flags for what a member does without being asked, and for how much it may hold: etcd's words, judged as etcd judges
// them, errors included (contract 14.4). Pure.

import type { AutoCompaction } from '../node/compactor.js';
import type { UpkeepSettings } from '../node/upkeep.js';
import { Refusal } from './refusal.js';
import { readDuration, readTruth } from './values.js';

/** What was settled for a flag, by name. */
export interface Given {
  text(flag: string): string;
  number(flag: string): number;
  isSet(flag: string): boolean;
}

export interface Upkeep extends UpkeepSettings {
  /** Infinity: none. */
  readonly quotaBytes: number;
  /** Compare with the others before serving. */
  readonly verifyAtStart: boolean;
  readonly warnings: readonly string[];
}

const GIB = 2 ** 30;
const QUOTA_BYTES = 2 * GIB;
/** etcd warns above this; here it is memory, which is dearer than disk. */
const QUOTA_SANE_BYTES = 8 * GIB;

/** Gates of etcd that mean something here, and those that do not, or that stand on anyway. */
const GATES: readonly string[] = ['InitialCorruptCheck', 'CompactHashCheck'];
const IDLE_GATES: readonly string[] = [
  'StopGRPCServiceOnDefrag', 'TxnModeWriteWithSharedBuffer', 'LeaseCheckpoint', 'LeaseCheckpointPersist', 'SetMemberLocalAddr',
  'FastLeaseKeepAlive', 'PriorityRequest', 'AllAlpha', 'AllBeta',
];

/** Throws a Refusal. */
export function upkeepOf(given: Given): Upkeep {
  const quota = given.number('quota-backend-bytes');
  const gates = gatesOf(given.text('feature-gates'));
  const isCompactionCompared = gates.get('CompactHashCheck') ?? given.isSet('experimental-compact-hash-check-enabled');
  const warnings: string[] = [];
  if (quota > QUOTA_SANE_BYTES) {
    const reason = 'all of it may be held in memory; above 8 GiB neither etcd nor this is at ease';
    warnings.push(`--quota-backend-bytes ${quota}: ${reason}`);
  }
  return {
    autoCompaction: autoCompactionOf(given.text('auto-compaction-mode'), given.text('auto-compaction-retention')),
    corruptCheckMs: given.number('corrupt-check-time'),
    compactHashCheckMs: isCompactionCompared ? given.number('compact-hash-check-time') : 0,
    quotaBytes: quota < 0 ? Infinity : quota || QUOTA_BYTES,
    verifyAtStart: gates.get('InitialCorruptCheck') ?? given.isSet('experimental-initial-corrupt-check'),
    warnings,
  };
}

function autoCompactionOf(mode: string, retention: string): AutoCompaction | null {
  if (!['', 'periodic', 'revision'].includes(mode)) {
    throw new Refusal(`unknown auto-compaction-mode "${mode}"`, 'give --auto-compaction-mode periodic or revision');
  }
  if (/^\+?\d{1,15}$/.test(retention)) {
    const count = Number(retention);
    if (count === 0) return null;
    return mode === 'revision' ? { mode: 'revision', keep: count } : { mode: 'periodic', periodMs: count * 3_600_000 };
  }
  const ms = retention === '' ? 0 : readDuration(retention);
  if (typeof ms !== 'number') {
    const remedy = mode === 'revision'
      ? 'give a number of revisions to keep: --auto-compaction-retention 1000'
      : 'give hours, or a duration: --auto-compaction-retention 30m';
    throw new Refusal(`error parsing CompactionRetention: ${durationFault(retention)}`, remedy);
  }
  if (ms === 0) return null;
  if (mode === 'revision') {
    const problem = `--auto-compaction-retention ${retention} is a time, and --auto-compaction-mode revision counts revisions`;
    throw new Refusal(problem, 'give a number, for instance 1000, or use --auto-compaction-mode periodic');
  }
  return { mode: 'periodic', periodMs: ms };
}

/** In Go's words. */
function durationFault(word: string): string {
  const number = /^[-+]?(?:\d+(?:\.\d*)?|\.\d+)/.exec(word)?.[0];
  if (number === undefined) return `time: invalid duration "${word}"`;
  const unit = /^[^\d.]+/.exec(word.slice(number.length))?.[0];
  if (unit === undefined) return `time: missing unit in duration "${word}"`;
  if (['ns', 'us', 'µs', 'μs', 'ms', 's', 'm', 'h'].includes(unit)) return `time: invalid duration "${word}"`;
  return `time: unknown unit "${unit}" in duration "${word}"`;
}

/** `Name=true,Other=false`, as etcd has it since 3.6. */
function gatesOf(word: string): ReadonlyMap<string, boolean> {
  const gates = new Map<string, boolean>();
  for (const part of word.split(',').map((each) => each.trim()).filter((each) => each !== '')) {
    const [name = '', value] = part.split('=', 2);
    const remedy = `write name=true or name=false; gates with a meaning here are ${GATES.join(' and ')}`;
    if (value === undefined) throw new Refusal(`missing bool value for feature gate ${name}`, remedy);
    if (!GATES.includes(name) && !IDLE_GATES.includes(name)) throw new Refusal(`unrecognized feature gate: ${name}`, remedy);
    const isOn = readTruth(value);
    if (isOn === null) throw new Refusal(`invalid value of ${name}=${value}, err: not a bool`, remedy);
    gates.set(name, isOn);
  }
  return gates;
}

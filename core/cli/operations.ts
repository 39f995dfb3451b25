// get, put and del as words: their flags, and what these mean as requests. The same words are a command and a line of a
// transaction, so nothing here knows of either.

import { EMPTY, OPEN_END, utf8 } from '../base/bytes.js';
import { prefixRange, type DeleteRequest, type LeaseId, type PutRequest, type RangeRequest, type SortTarget } from '../client.js';
import type { CommandFlag, FlagValues } from './flags.js';
import { Refusal } from './refusal.js';

/** What `KEY` may stand for; keysOf reads them. */
export const RANGE_FLAGS: readonly CommandFlag[] = [
  { name: 'prefix', help: 'every key that begins with KEY' },
  { name: 'from-key', help: 'every key from KEY on, in the order of their bytes' },
];
export const PREV_KV: CommandFlag = { name: 'prev-kv', help: 'print what was there before as well' };

export const CONSISTENCY: CommandFlag = {
  name: 'consistency', value: 'HOW', words: ['l', 's'],
  help: 'l: after asking a majority (default); s: what the member asked knows',
};

export const GET_FLAGS: readonly CommandFlag[] = [
  ...RANGE_FLAGS,
  { name: 'rev', value: 'REVISION', help: 'as it was then; default: now' },
  { name: 'keys-only', help: 'no values' },
  { name: 'print-value-only', help: 'values alone, in simple output' },
  { name: 'count-only', help: 'how many there are, and nothing of them' },
  { name: 'limit', value: 'NUMBER', help: 'at most so many; default: all' },
  { name: 'order', value: 'ORDER', help: 'ASCEND or DESCEND', words: ['ASCEND', 'DESCEND'] },
  {
    name: 'sort-by', value: 'WHAT', help: 'CREATE, KEY, MODIFY, VALUE or VERSION',
    words: ['CREATE', 'KEY', 'MODIFY', 'VALUE', 'VERSION'],
  },
  CONSISTENCY,
  { name: 'min-create-rev', value: 'REVISION', help: 'only keys created at it or later' },
  { name: 'max-create-rev', value: 'REVISION', help: 'only keys created at it or earlier' },
  { name: 'min-mod-rev', value: 'REVISION', help: 'only keys changed last at it or later' },
  { name: 'max-mod-rev', value: 'REVISION', help: 'only keys changed last at it or earlier' },
];

export const PUT_FLAGS: readonly CommandFlag[] = [
  { name: 'lease', value: 'ID', help: 'the key goes with this lease; hex, as coterie lease grant prints it' },
  PREV_KV,
  { name: 'ignore-value', help: 'keep the value that is there' },
  { name: 'ignore-lease', help: 'keep the lease that is there' },
];

export const DEL_FLAGS: readonly CommandFlag[] = [
  ...RANGE_FLAGS, PREV_KV, { name: 'range', help: 'said for END, as later etcdctl has it' },
];

/** What `KEY [END]` select, with `--prefix` and `--from-key`. */
export function keysOf(flags: FlagValues, [key = '', end]: readonly string[]): { key: Uint8Array; rangeEnd: Uint8Array } {
  const [isPrefix, isFromKey] = [flags.isSet('prefix'), flags.isSet('from-key')];
  if (isPrefix && isFromKey) {
    throw new Refusal('`--prefix` and `--from-key` cannot be set at the same time', 'leave one of them out');
  }
  if (end !== undefined && (isPrefix || isFromKey)) {
    throw new Refusal(`${end}: an end with --${isPrefix ? 'prefix' : 'from-key'}`, 'leave out the end, or the flag');
  }
  if (isPrefix) return prefixRange(utf8(key));
  if (isFromKey) return { key: key === '' ? OPEN_END : utf8(key), rangeEnd: OPEN_END };
  return { key: utf8(key), rangeEnd: end === undefined ? EMPTY : utf8(end) };
}

const ORDERS = { ASCEND: 'ascend', DESCEND: 'descend' } as const;
const TARGETS: Readonly<Record<string, SortTarget>> = {
  CREATE: 'create', KEY: 'key', MODIFY: 'mod', VALUE: 'value', VERSION: 'version',
};

export function rangeRequest(flags: FlagValues, args: readonly string[]): RangeRequest {
  const order = flags.choice('order', ['ASCEND', 'DESCEND']);
  const target = flags.choice('sort-by', ['CREATE', 'KEY', 'MODIFY', 'VALUE', 'VERSION']);
  return {
    ...keysOf(flags, args),
    limit: flags.number('limit'),
    revision: flags.number('rev'),
    sortOrder: order === null ? 'none' : ORDERS[order],
    sortTarget: TARGETS[target ?? 'KEY'] ?? 'key',
    serializable: isSerializable(flags),
    keysOnly: flags.isSet('keys-only'),
    countOnly: flags.isSet('count-only'),
    minCreateRevision: flags.number('min-create-rev'),
    maxCreateRevision: flags.number('max-create-rev'),
    minModRevision: flags.number('min-mod-rev'),
    maxModRevision: flags.number('max-mod-rev'),
  };
}

/** What `--consistency` says. */
export function isSerializable(flags: FlagValues): boolean {
  return flags.choice('consistency', ['l', 's']) === 's';
}

/** `input` is asked for the value when none stands there. */
export function putRequest(flags: FlagValues, [key = '', word]: readonly string[], input: () => Uint8Array): PutRequest {
  const [ignoreValue, ignoreLease] = [flags.isSet('ignore-value'), flags.isSet('ignore-lease')];
  if (ignoreValue && word !== undefined) {
    throw new Refusal(`${word}: a value with --ignore-value`, 'leave out the value, or the flag');
  }
  const given = word === undefined ? null : utf8(word);
  return {
    key: utf8(key), value: ignoreValue ? EMPTY : given ?? input(), lease: readLease(flags.text('lease') ?? '0', '--lease '),
    prevKv: flags.isSet('prev-kv'), ignoreValue, ignoreLease,
  };
}

export function deleteRequest(flags: FlagValues, args: readonly string[]): DeleteRequest {
  return { ...keysOf(flags, args), prevKv: flags.isSet('prev-kv') };
}

/** A lease's id, in hex as it is printed everywhere. */
export function readLease(word: string, before = ''): LeaseId {
  const id = /^[0-9a-f]{1,16}$/i.test(word) ? BigInt(`0x${word}`) : -1n;
  if (id >= 0n && id < 1n << 63n) return id;
  throw new Refusal(`${before}${word}: not a lease`, 'leases are hex, as coterie lease list prints them');
}

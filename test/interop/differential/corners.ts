// What chance seldom finds: put to every world first, while revisions are small and nothing was ever compacted.

import { opDelete, opPut, opRange, opTxn, type Op, type TxnRequest } from '../../../core/client.js';
import * as convert from '../../../core/wire/convert.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import type { CallName } from './calls.js';
import { authCorners } from './corners-auth.js';
import type { Operation } from './operation.js';

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));
const put = (key: string): Op => opPut(bytes(key), bytes('v'));
const del = (key: string, end = ''): Op => opDelete(bytes(key), { rangeEnd: bytes(end) });
const nested = (...success: Op[]): Op => opTxn({ success });
const either = (success: Op, failure: Op): Op => opTxn({ success: [success], failure: [failure] });
const deep = (depth: number): Op => (depth === 0 ? put('deep') : nested(deep(depth - 1)));
const many = (count: number): Op[] => Array.from({ length: count }, (_, i) => put(`many${i}`));

/** How a key may be written twice, rightly and wrongly, and in the holes of etcd's rule against it. */
const TWICE: readonly Op[][] = [
  [],
  [put('k'), put('k')],
  [put('k'), del('k')],
  [del('k'), put('k')],
  [put('k'), del('a', 'z')],
  [del('a', '\0'), put('k')],
  [put('k'), del('a', '\0')],
  [nested(put('k')), nested(del('k'))],
  [nested(del('k')), nested(put('k'))],
  [nested(del('a', '\0')), nested(put('k'))],
  [nested(put('k')), del('k')],
  [nested(del('k')), put('k')],
  [nested(put('k')), nested(put('k'))],
  [nested(put('k')), put('k')],
  [either(put('k'), put('k'))],
  [either(put('k'), del('k')), put('m')],
  [either(put('m'), put('k')), put('k')],
  [either(put('m'), del('k')), put('k')],
  [either(put('k'), put('m')), either(put('m'), put('k'))],
  [del('a', 'c'), del('b', 'd'), put('d')],
  [del('a', 'c'), del('c', 'd'), put('c')],
  [del('c', 'a'), put('b')],
];

const SIZES: readonly Op[][] = [[deep(126)], [deep(127)], [deep(128)], many(128), many(129), [del('many', 'manz')]];

const lease = (flags: Partial<rpc.PutRequest>): Op =>
  ({ kind: 'put', request: { key: bytes('none'), value: bytes(''), ...flags } });

const FAULTS: readonly Op[][] = [
  [lease({ lease: 77n })],
  [lease({ ignoreValue: true, lease: 77n })],
  [lease({ ignoreValue: true, lease: 77n }), put('z')],
  [lease({ ignoreLease: true, lease: 77n })],
  [lease({ ignoreValue: true, value: bytes('x') })],
  [lease({ ignoreValue: true })],
  [opRange(bytes('a'), { revision: -1 })],
  [opRange(bytes('a'), { revision: 1_000_000 })],
  [put('k'), opRange(bytes('a'), { revision: 1 })],
  [put('')],
  [del('')],
];

function call(name: CallName, encoded: { finish(): Uint8Array }): Operation {
  return { kind: 'call', call: name, bytes: encoded.finish() };
}

function txn(request: TxnRequest): Operation {
  return call('txn', rpc.TxnRequest.encode(convert.writeTxnRequest(request)));
}

/** A plain put and the transaction of that put are judged in different orders. */
function lone([op, ...rest]: readonly Op[]): Operation[] {
  if (rest.length > 0 || op === undefined) return [];
  if (op.kind === 'put') return [call('put', rpc.PutRequest.encode(convert.writePutRequest(op.request)))];
  if (op.kind === 'range') return [call('range', rpc.RangeRequest.encode(convert.writeRangeRequest(op.request)))];
  if (op.kind === 'delete') return [call('delete', rpc.DeleteRangeRequest.encode(convert.writeDeleteRequest(op.request)))];
  return [];
}

const hash = (revision: bigint): Operation => call('hash', rpc.HashKVRequest.encode({ revision }));
const watch = (requestUnion: rpc.WatchRequest['requestUnion']): Operation =>
  ({ kind: 'watch', stream: 0, bytes: rpc.WatchRequest.encode({ requestUnion }).finish() });
const compact = (revision: bigint): Operation => call('compact', rpc.CompactionRequest.encode({ revision, physical: false }));

const NO_WATCH = rpc.WatchCreateRequest.decode(bytes(''));
/** Revisions as a plain range and one in a transaction take them. */
const AT: readonly Op[][] = [-1, 1, 2].map((revision) => [opRange(bytes('a'), { revision })]);
/** There are few keys by then: one of the limits is their very number. */
const LIMITED: readonly Op[][] = Array.from({ length: 12 }, (_, i) => {
  return [opRange(bytes('\0'), { rangeEnd: bytes('\0'), limit: i + 1 })];
});

export function corners(): Operation[] {
  const all = [...TWICE, ...SIZES, ...FAULTS];
  const noKey = { key: bytes(''), target: 'mod', result: '=', operand: 0 } as const;
  return [
    hash(0n), hash(1n), hash(2n), hash(-1n),
    ...all.flatMap((success) => [txn({ success }), ...lone(success)]),
    txn({ compare: [noKey] }),
    ...[1_000_000n, -1n, 0n, 0n, -1n, 1n, 1n].map(compact),
    hash(0n), hash(1n),
    ...[...AT, ...LIMITED].flatMap((success) => [txn({ success }), ...lone(success)]),
    compact(3n),
    // The id of a watch that compaction has ended is still taken, until it is canceled.
    watch({ $case: 'createRequest', value: { ...NO_WATCH, key: bytes('a'), startRevision: 2n, watchId: 7n } }),
    watch({ $case: 'cancelRequest', value: { watchId: 7n } }),
    ...authCorners(),
    { kind: 'sync' },
  ];
}

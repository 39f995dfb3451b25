// What property tests of the store are fed with: few keys, values, leases and revisions, so that everything meets
// everything; and `plain`, the form in which answers are compared.

import fc from 'fast-check';
import type { Compare, Op, PutRequest, RangeRequest, TxnRequest, WatchRequest } from '../../core/client.js';
import type { Command } from '../../core/store/command.js';

const latin = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));

export const key = fc.constantFrom('a', 'aa', 'ab', 'b', 'b\0', 'b\xff', 'c', '\0', '\xff').map(latin);
export const rangeEnd = fc.constantFrom('', '\0', 'b', 'c', 'ab', '\xff', '\xff\xff').map(latin);
export const value = fc.constantFrom('', '1', '2', 'two', '\xff\0').map(latin);
export const lease = fc.constantFrom(0n, 0n, 0n, 1n, 2n, -3n);
const sometimes = fc.constantFrom(false, false, false, true);
const revision = fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.integer({ min: -1, max: 25 }) });
const bound = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 20 }) });

export const rangeRequest: fc.Arbitrary<RangeRequest> = fc.record({
  key,
  rangeEnd,
  limit: fc.constantFrom(0, 0, 0, -1, 1, 2, 3),
  revision,
  sortOrder: fc.constantFrom('none', 'none', 'ascend', 'descend'),
  sortTarget: fc.constantFrom('key', 'key', 'version', 'create', 'mod', 'value'),
  keysOnly: sometimes,
  countOnly: sometimes,
  serializable: sometimes,
  minModRevision: bound,
  maxModRevision: bound,
  minCreateRevision: bound,
  maxCreateRevision: bound,
});

const flags = fc.constantFrom('', '', '', '', '', 'value', 'lease', 'both');

export const putRequest: fc.Arbitrary<PutRequest> = fc
  .record({ key, value, lease, prevKv: sometimes, flags })
  .map(({ flags: keep, ...put }) => ({
    ...put,
    ...(keep === 'value' || keep === 'both' ? { ignoreValue: true, value: new Uint8Array(0) } : {}),
    ...(keep === 'lease' || keep === 'both' ? { ignoreLease: true, lease: 0n } : {}),
  }));

export const deleteRequest = fc.record({ key, rangeEnd, prevKv: sometimes });

const result = fc.constantFrom('=', '>', '<', '!=', 'any');
export const compare: fc.Arbitrary<Compare> = fc.oneof(
  fc.record({
    key, rangeEnd, result,
    target: fc.constantFrom('version', 'create', 'mod'),
    operand: fc.integer({ min: -1, max: 12 }),
  }),
  fc.record({ key, rangeEnd, result, target: fc.constant('lease' as const), operand: lease }),
  fc.record({ key, rangeEnd, result, target: fc.constant('value' as const), operand: value }),
);

export const op = (depth: number): fc.Arbitrary<Op> =>
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('put' as const), request: putRequest }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('range' as const), request: rangeRequest }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), request: deleteRequest }) },
    ...(depth === 0 ? [] : [{ weight: 2, arbitrary: nested(depth - 1) }]),
  );

const nested = (depth: number): fc.Arbitrary<Op> => fc.record({ kind: fc.constant('txn' as const), request: txnRequest(depth) });

export function txnRequest(depth: number): fc.Arbitrary<TxnRequest> {
  const ops = fc.array(op(depth), { maxLength: 4 });
  return fc.record({ compare: fc.array(compare, { maxLength: 2 }), success: ops, failure: ops });
}

const lone = (each: Op): TxnRequest => ({ success: [each] });

export const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: putRequest.map((request): Command => ({ kind: 'txn', request: lone({ kind: 'put', request }) })) },
  {
    weight: 2,
    arbitrary: deleteRequest.map((request): Command => ({ kind: 'txn', request: lone({ kind: 'delete', request }) })),
  },
  { weight: 6, arbitrary: txnRequest(2).map((request): Command => ({ kind: 'txn', request })) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('lease_grant' as const), id: fc.constantFrom(1n, 2n, -3n), ttlSeconds: fc.nat(9) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('lease_revoke' as const),
      id: fc.constantFrom(1n, 2n, -3n),
      term: fc.constantFrom(0, 0, 1, 2),
      granted: fc.integer({ min: 1, max: 12 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('lease_checkpoint' as const),
      term: fc.constantFrom(1, 2),
      leases: fc.array(fc.record({ id: fc.constantFrom(1n, 2n, -3n), remainingSeconds: fc.nat(9) }), { maxLength: 2 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('member_update' as const),
      id: fc.constantFrom(1n, 2n ** 63n + 1n),
      name: fc.option(fc.constantFrom('', 'anna', 'Größe')),
      peerUrls: fc.option(fc.array(fc.constantFrom('http://a:1', 'http://b:2'), { maxLength: 2 })),
      clientUrls: fc.option(fc.array(fc.constantFrom('http://a:3'), { maxLength: 2 })),
      incarnation: fc.constantFrom(0n, 1n, 2n ** 63n - 1n),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('compact' as const), revision: fc.integer({ min: -1, max: 25 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('alarm' as const),
      // Mostly cleared, or little else would happen.
      action: fc.constantFrom('raise' as const, 'clear' as const, 'clear' as const, 'clear' as const),
      alarm: fc.record({
        memberId: fc.constantFrom(1n, 2n ** 63n + 1n),
        kind: fc.constantFrom('no_space' as const, 'no_space' as const, 'corrupt' as const),
      }),
    }),
  },
);

export const watchRequest: fc.Arbitrary<WatchRequest> = fc.record({
  key,
  rangeEnd,
  startRevision: fc.oneof(fc.constant(0), fc.integer({ min: -1, max: 25 })),
  prevKv: fc.boolean(),
  exclude: fc.constantFrom([], [], ['put'], ['delete'], ['put', 'delete']),
});

/** Bytes as latin1 text, lease ids as text: what can be compared deeply and read in a report. */
export function plain(x: unknown): unknown {
  if (x instanceof Uint8Array) return JSON.stringify(Buffer.from(x).toString('latin1'));
  if (typeof x === 'bigint') return `${x}n`;
  if (Array.isArray(x)) return x.map(plain);
  if (typeof x !== 'object' || x === null) return x;
  return Object.fromEntries(Object.entries(x).map(([name, each]) => [name, plain(each)]));
}

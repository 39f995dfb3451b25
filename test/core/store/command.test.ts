// The byte form of commands: what survives it, what is refused.

import test from 'ava';
import fc from 'fast-check';
import { opPut, opRange } from '../../../core/client.js';
import type { Op, TxnRequest } from '../../../core/client.js';
import { decodeCommand, encodeCommand, loneOp, type Command } from '../../../core/store/command.js';
import { TXN_DEPTH_MAX } from '../../../core/store/limits.js';
import { command, plain } from '../../model/store-arbitrary.js';
import { bytes } from './script.js';

const DEFAULTS: Readonly<Record<string, unknown>> = {
  compare: [], success: [], failure: [], rangeEnd: new Uint8Array(0), limit: 0, revision: 0, sortOrder: 'none', sortTarget: 'key',
  serializable: false, keysOnly: false, countOnly: false, prevKv: false, ignoreValue: false, ignoreLease: false, lease: 0n,
  minModRevision: 0, maxModRevision: 0, minCreateRevision: 0, maxCreateRevision: 0,
};

/** Without what says no more than its absence would. */
function lean(x: unknown): unknown {
  if (Array.isArray(x)) return x.map(lean);
  if (typeof x !== 'object' || x === null || x instanceof Uint8Array) return plain(x);
  const told = Object.entries(x).filter(([name, each]) => JSON.stringify(plain(each)) !== JSON.stringify(plain(DEFAULTS[name])));
  return Object.fromEntries(told.map(([name, each]) => [name, lean(each)]));
}

test('a command survives its byte form', (t) => {
  fc.assert(
    fc.property(command, (each) => {
      const copy = decodeCommand(encodeCommand(each));
      // A revision to compact to is no default.
      if (each.kind === 'compact') t.deepEqual(copy, each);
      else t.deepEqual(lean(copy), lean(each));
    }),
    { numRuns: 2000 },
  );
});

test('keys and values of a put are views, not copies', (t) => {
  const encoded = encodeCommand({ kind: 'txn', request: { success: [opPut(bytes('key'), bytes('value'), { lease: -5n })] } });
  const decoded = decodeCommand(encoded);
  const op = decoded.kind === 'txn' ? loneOp(decoded.request) : null;
  t.deepEqual(op?.kind === 'put' ? plain(op.request) : null, {
    key: '"key"', value: '"value"', lease: '-5n', prevKv: false, ignoreValue: false, ignoreLease: false,
  });
  t.is(op?.kind === 'put' ? op.request.value.buffer : null, encoded.buffer);
  t.is(Object.getPrototypeOf(op?.kind === 'put' ? op.request.key : null), Uint8Array.prototype);
});

test('a put costs four bytes more than its key and value', (t) => {
  t.is(encodeCommand({ kind: 'txn', request: { success: [opPut(bytes('key'), bytes('value'))] } }).length, 4 + 3 + 5);
});

test('damaged bytes are refused or mean something, but nothing else happens', (t) => {
  const numRuns = 3000;
  fc.assert(
    fc.property(command, fc.nat(), fc.nat(255), (each, at, byte) => {
      const damaged = Uint8Array.from(encodeCommand(each));
      damaged[at % damaged.length] = byte;
      try {
        decodeCommand(damaged);
      } catch (error) {
        t.is((error as Error).name, 'AssertionError');
      }
    }),
    { numRuns },
  );
});

test('a command cut short is refused', (t) => {
  const each: Command = { kind: 'txn', request: { success: [opRange(bytes('a')), opPut(bytes('b'), bytes('c'))] } };
  const encoded = encodeCommand(each);
  for (let length = 0; length < encoded.length; length++) t.throws(() => decodeCommand(encoded.subarray(0, length)));
  t.throws(() => decodeCommand(Buffer.concat([encoded, Buffer.alloc(1)])), { message: /1 bytes too many/ });
});

test('a command of a newer form is refused with the reason', (t) => {
  t.throws(() => decodeCommand(Uint8Array.of(2, 1)), { message: /form 2: this release reads form 1 only/ });
});

test('nesting is bounded when read', (t) => {
  let request: TxnRequest = {};
  for (let i = 0; i < TXN_DEPTH_MAX; i++) request = { success: [{ kind: 'txn', request } satisfies Op] };
  t.notThrows(() => decodeCommand(encodeCommand({ kind: 'txn', request })));
  const deeper: TxnRequest = { success: [{ kind: 'txn', request }] };
  t.throws(() => decodeCommand(encodeCommand({ kind: 'txn', request: deeper })), { message: /nested more than/ });
});

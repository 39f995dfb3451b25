// The rules for what may be registered, at their edges: addresses, names that mean something to JavaScript, text that
// looks like other text, and sizes.

import test from 'ava';
import { EMPTY, utf8 } from '../../core/base/bytes.js';
import type { KeyValue } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import type { InstanceSpec } from '../../recipes/instance.js';
import { checkId, checkService, checkSpec, checkWhy, isHost, readEntry } from '../../recipes/instance.js';

const spec: InstanceSpec = { service: 'api', id: 'a1', address: '10.0.0.1', port: 8080 };

function pair(key: string, value: string | Uint8Array): KeyValue {
  const bytes = typeof value === 'string' ? utf8(value) : value;
  return { key: utf8(key), value: bytes, createRevision: 2, modRevision: 3, version: 1, lease: 0n };
}

test('a host is an address or a name that everybody reads alike', (t) => {
  const good = [
    '10.0.0.1', '0.0.0.0', '255.255.255.255', '::', '::1', '2001:db8::1', '2001:DB8:0:0:0:0:0:1', '::ffff:10.0.0.1', 'a', 'a.b',
    'localhost', 'my_host', 'xn--bcher-kva.example', '_srv.example', 'a1.1a', `${'a'.repeat(63)}.b`,
  ];
  const bad = [
    '', '.', 'a.', 'a.b.', '.a', 'a..b', '-a', 'a-', 'a-.b', 'bücher.example', 'a b', 'a\n', 'a\0', '127.1', '0x7f.0.0.1',
    '0x7f000001', '2130706433', '010.0.0.1', '1.2.3.4.5', '256.0.0.1', '1.2.3.0x4', '10.0.0.1.', '１２７.0.0.1', '[::1]',
    '::1%eth0', 'fe80::1%25eth0', ':::', '1::2::3', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '::ffff:256.0.0.1',
    '::1]', '::1/64', ':', '12345::',
    '10.0.0.1:80', 'a:80', 'user@a', 'a/b', 'a;', '"a"', '{a}', '$a', `${'a'.repeat(64)}.b`, `${'a.'.repeat(127)}bb`,
  ];
  for (const address of good) t.true(isHost(address), address);
  for (const address of bad) t.false(isHost(address), JSON.stringify(address));
});

test('names: the ends are letters or digits, so neither paths nor prototypes can be named', (t) => {
  for (const name of ['a', 'A1', 'a.b_c-d', 'constructor', 'x'.repeat(63)]) t.is(checkService(name), name);
  t.is(checkId('host:8080'), 'host:8080');
  for (const name of ['', '.', '..', '__proto__', '_a', 'a_', 'a/b', 'a b', 'a\n', 'é', 'x'.repeat(64), null, 3, ['a']]) {
    t.throws(() => checkService(name), { instanceOf: ApiError, message: /service is/ });
  }
  for (const id of ['__proto__', ':', 'a:', '../a', 'x'.repeat(129), undefined, 5n]) {
    t.throws(() => checkId(id), { instanceOf: ApiError, message: /id is/ });
  }
});

test('meta has no name that every object has, however it is written', (t) => {
  for (const name of Object.getOwnPropertyNames(Object.prototype)) {
    const meta: unknown = JSON.parse(`{${JSON.stringify(name)}:"x"}`);
    t.throws(() => checkSpec({ ...spec, meta: meta as Record<string, string> }), { message: /meta name is/ }, name);
    const entry = readEntry(pair('coterie/services/api/instances/a', JSON.stringify({ ...spec, state: 'up', owner: 'a', meta })));
    t.is(entry.kind, 'invalid', name);
  }
});

test('free text holds nothing that is not seen or that makes it read in another order', (t) => {
  t.is(checkWhy('"quotes", é, 火, \u{1f525}'), '"quotes", é, 火, \u{1f525}');
  const bad = ['\0', '\n', '\r', '\t', '\u007f', '\u0085', '\u2028', '\u2029', '\ud83d', '\udd25', '\u061c', '\u200e', '\u200f',
    '\u202a', '\u202e', '\u2066', '\u2069'];
  for (const mark of bad) {
    t.throws(() => checkWhy(`a${mark}b`), { instanceOf: ApiError }, JSON.stringify(mark));
    t.throws(() => checkSpec({ ...spec, meta: { a: `${mark}` } }), { instanceOf: ApiError }, JSON.stringify(mark));
  }
});

test('whatever is wrong with a spec is refused as an invalid request, and shown without harm', (t) => {
  const cyclic: Record<string, unknown> = {};
  cyclic['self'] = cyclic;
  const wrong: unknown[] = [
    { port: cyclic }, { port: 5n }, { port: [5n] }, { port: '80' }, { port: Infinity }, { weight: Number.NaN },
    { weight: 1.5 },
    { tags: 'a' }, { tags: ['a'.repeat(129)] }, { tags: ['a'.repeat(1_000_000)] },
    { tags: Array.from({ length: 65 }, () => 'a') },
    { tags: [cyclic] }, { meta: [] }, { meta: { a: cyclic } }, { zone: {} }, { zone: `z\u202ex` },
    { address: { toString: null } },
    { id: `${'x'.repeat(79)}\u{1f525}` },
  ];
  for (const part of wrong) {
    const error = t.throws(() => checkSpec({ ...spec, ...(part as object) }), { instanceOf: ApiError });
    t.is(error.code, 'invalid_request');
    t.notRegex(error.message, /[\p{Cc}\p{Surrogate}\u202a-\u202e]/u);
    t.true(error.message.length < 400, error.message);
  }
});

test('an entry of any shape is read without throwing, and shown without harm', (t) => {
  const key = 'coterie/services/api/instances/a';
  const deep = `${'['.repeat(5_000)}${']'.repeat(5_000)}`;
  const values: (string | Uint8Array)[] = [
    EMPTY, '{', deep, `{"meta":${deep}}`, '{"address":{}}', '1e999', '"\\ud83d"', new Uint8Array([0xff]),
    new Uint8Array(1_000_000),
    JSON.stringify({ ...spec, state: '__proto__', owner: 'a' }), JSON.stringify({ ...spec, state: 'up', owner: 'a\n' }),
    JSON.stringify({ ...spec, state: 'up', owner: 'a', why: '\u200f' }),
  ];
  for (const value of values) {
    const entry = readEntry(pair(key, value));
    t.is(entry.kind, 'invalid');
    if (entry.kind === 'invalid') t.notRegex(`${entry.invalid.key}${entry.invalid.problem}`, /[\p{Cc}\p{Surrogate}]/u);
  }
  const odds = ['coterie/services/', 'coterie/services/a', `${key}/b`, 'coterie/services/__proto__/instances/a', `${key}\n`];
  for (const odd of odds) {
    t.is(readEntry(pair(odd, '{}')).kind, 'invalid', odd);
  }
});

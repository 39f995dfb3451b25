// The grammar of transactions: what etcdctl reads is read alike, what it cannot read is said, with the form it should have.

import test from 'ava';
import { Refusal } from '../../../core/cli/refusal.js';
import { readCompare, readOp, readTxn, splitWords } from '../../../core/cli/txn-words.js';

const key = Buffer.from('k');

test('comparisons name what they compare, in long or in short', (t) => {
  const number = { key, result: '=', operand: 5 };
  for (const [short, target] of [['ver', 'version'], ['c', 'create'], ['m', 'mod']]) {
    t.deepEqual(readCompare(`${short}("k") = "5"`), readCompare(`${target}("k") = "5"`));
    t.like(readCompare(`${short}("k") = "5"`), { ...number, target });
  }
  t.deepEqual(readCompare(' value ( "k" )!="a b" '), { key, result: '!=', target: 'value', operand: Buffer.from('a b') });
  const odd = { key: Buffer.from('k\0'), result: '<', target: 'value', operand: Buffer.from('\n') } as const;
  t.deepEqual(readCompare('val("k\\x00") < "\\n"'), odd);
  t.deepEqual(readCompare('lease("k") = "7fff"'), { key, result: '=', target: 'lease', operand: 0x7fffn });
  t.like(readCompare('mod("k") > "-1"'), { operand: -1 });
});

const WRONG: readonly (readonly [line: string, says: RegExp])[] = [
  ['nonsense', /malformed comparison: nonsense/],
  ['foo("a") = "1"', /unknown target foo/],
  ['value(a) = "1"', /malformed comparison/],
  ['value("a") ~ "1"', /malformed comparison/],
  ['value("a") = 1', /malformed comparison/],
  ['value("a") = "1" more', /malformed comparison/],
  ['version("a") = "x"', /invalid txn compare request/],
  ['lease("a") = "zz"', /zz: not a lease/],
];

for (const [line, says] of WRONG) {
  test(`a comparison that cannot be read is said: ${line}`, (t) => {
    const error = t.throws(() => readCompare(line), { instanceOf: Refusal, message: says });
    t.not(error.remedy, '');
  });
}

/** Bytes as text, which they are here. */
function shown(line: string): Record<string, unknown> {
  const { kind, request } = readOp(line);
  const show = (value: unknown): unknown => (value instanceof Uint8Array ? Buffer.from(value).toString() : value);
  return { kind, ...Object.fromEntries(Object.entries(request).map(([name, value]) => [name, show(value)])) };
}

test('operations are commands with their flags', (t) => {
  t.like(shown('put "a key" "two words" --lease=1f --prev-kv'), {
    kind: 'put', key: 'a key', value: 'two words', lease: 31n, prevKv: true,
  });
  t.like(shown('put k \'\''), { kind: 'put', value: '' });
  t.like(shown('put -- -k -v'), { key: '-k', value: '-v' });
  t.like(shown('get a --prefix --limit 3 --order descend --sort-by=MODIFY'), {
    kind: 'range', rangeEnd: 'b', limit: 3, sortOrder: 'descend', sortTarget: 'mod',
  });
  t.like(shown('del a b --prev-kv'), { kind: 'delete', rangeEnd: 'b', prevKv: true });
  for (const [line, says] of [
    ['foo a', /invalid txn request: foo a/], ['put k', /there is no value/], ['get a b c', /c is one word too many/],
    ['get', /a word is missing/], ['put a --foo b', /--foo: no such flag/], ['get a -w json', /-w: no such flag/],
    ['put a 1 --lease=zz', /zz: not a lease/], ['put "open b', /does not end/], ['get a b --prefix', /b: an end with --prefix/],
  ] as const) {
    t.throws(() => readOp(line), { instanceOf: Refusal, message: says });
  }
});

test('words are split at spaces, and quotes keep them together', (t) => {
  t.deepEqual(splitWords('  a  "b c"\td\'e f\'g `h\\n` "" '), ['a', 'b c', 'de fg', 'h\\n', '']);
});

async function* given(text: string): AsyncGenerator<string> {
  yield* text.split('\n');
}

test('three blocks make a transaction; what stands behind them is not read; too few are said', async (t) => {
  const prompts: string[] = [];
  const request = await readTxn(given('mod("a") = "1"\n\nget a\nput a 2\n  \ndel a\n\nnonsense'), (text) => prompts.push(text));
  t.deepEqual([request.compare?.length, request.success?.length, request.failure?.length], [1, 2, 1]);
  t.deepEqual(prompts, ['compares:', 'success requests (get, put, del):', 'failure requests (get, put, del):']);
  const unended = await readTxn(given('\nget a\n\ndel a'), () => undefined);
  t.is(unended.failure?.length, 1);
  await t.throwsAsync(readTxn(given('mod("a") = "1"'), () => undefined), { message: /the input ends in block 1 of 3/ });
});

// Formats are etcdctl's byte for byte; what each helper makes was read off etcdctl 3.4.

import test from 'ava';
import { bytesText, durationText, fields, hex16, json, table, unlessEmpty } from '../../../core/cli/output.js';

test('JSON has numbers of any size as they are, Go\'s escapes, and nothing that is absent', (t) => {
  const value = { id: 2n ** 64n - 1n, none: undefined, list: [1, 'a<b>&"\u2028', true], inner: {} };
  t.is(json(value), '{"id":18446744073709551615,"list":[1,"a\\u003cb\\u003e\\u0026\\"\\u2028",true],"inner":{}}');
  t.deepEqual([0, 0n, '', false, []].map(unlessEmpty), [undefined, undefined, undefined, undefined, undefined]);
  t.deepEqual([1, 1n, 'a', true, [0]].map((one) => unlessEmpty(one)), [1, 1n, 'a', true, [0]]);
});

test('a table has headings in the middle, a little to the left, and cells on the right', (t) => {
  t.is(table(['ID', 'STATUS'], [['616abbb1f714f40f', 'unstarted'], ['1', 'x']]), [
    '+------------------+-----------+',
    '|        ID        |  STATUS   |',
    '+------------------+-----------+',
    '| 616abbb1f714f40f | unstarted |',
    '|                1 |         x |',
    '+------------------+-----------+',
    '',
  ].join('\n'));
});

test('fields are quoted when they are text', (t) => {
  t.is(fields([['Name', 'a"b'], ['ID', 5n], ['IsLearner', false]]), '"Name" : "a\\"b"\n"ID" : 5\n"IsLearner" : false\n');
});

test('sizes are rounded as etcdctl rounds them', (t) => {
  const sizes = [0, 9, 10, 999, 1000, 1234, 9949, 9950, 9999, 20_480, 21_500, 32_768, 999_999, 1_000_000, 2 ** 31];
  t.deepEqual(sizes.map(bytesText), [
    '0 B', '9 B', '10 B', '999 B', '1.0 kB', '1.2 kB', '9.9 kB', '10 kB', '10 kB', '20 kB', '22 kB', '33 kB', '1000 kB', '1.0 MB',
    '2.1 GB',
  ]);
});

test('durations and ids look as Go prints them', (t) => {
  const shown = ['500µs', '1.488413ms', '1.88443ms', '5.000718803s', '2s'];
  t.deepEqual([0.5, 1.488413, 1.88443, 5000.718803, 2000].map(durationText), shown);
  t.is(hex16(0xab80ecd8e07c1f5n), ' ab80ecd8e07c1f5');
});

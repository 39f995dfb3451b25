// How the gateway cuts a body into its values. What it makes of a value is tested with the gateway itself, beside etcd's.

import test from 'ava';
import { JsonSplitter } from '../../../core/wire/json-text.js';
import { takesLess } from '../../takes-less.js';

const BODY = '  {"a":"}\\"]{"} [1,[2]]"x" 12 \n{"b":{"c":"\\\\"}}';
const VALUES = ['{"a":"}\\"]{"}', '[1,[2]]', '"x"', '12 ', '{"b":{"c":"\\\\"}}'];

test('a body is cut into the same values wherever its pieces end', (t) => {
  for (let size = 1; size <= BODY.length; size++) {
    const splitter = new JsonSplitter();
    const values: string[] = [];
    for (let at = 0; at < BODY.length; at += size) values.push(...splitter.push(BODY.slice(at, at + size)));
    t.deepEqual(values, VALUES, `pieces of ${size}`);
    t.is(splitter.rest(), '');
    t.is(splitter.pendingLength, 0);
  }
});

test('what is not complete is what is left, and space between values is not kept', (t) => {
  const splitter = new JsonSplitter();
  t.deepEqual([...splitter.push('{} \n  '), ...splitter.push('   {"a":')], ['{}']);
  t.is(splitter.pendingLength, 5);
  t.is(splitter.rest(), '{"a":');
});

test('a long value in single characters is not gone through again with each of them', (t) => {
  t.true(takesLess(20_000, () => {
    const splitter = new JsonSplitter();
    t.deepEqual([...splitter.push('"')], []);
    for (let i = 0; i < 2_000_000; i++) for (const _ of splitter.push('x')) t.fail();
    t.is([...splitter.push('"')][0]?.length, 2_000_002);
  }));
});

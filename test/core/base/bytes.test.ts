// What the conversions of keys promise beyond what their types say.

import test from 'ava';
import { OPEN_END, prefixEnd, utf8 } from '../../../core/base/bytes.js';

test('the end of a prefix is the next key that does not begin with it, and the prefix is left as it was', (t) => {
  const prefixes = [utf8('a/'), Buffer.from('a/'), Buffer.from([1, 0xff, 0xff]), Buffer.from([0xff])];
  const before = prefixes.map((prefix) => Buffer.from(prefix).toString('hex'));
  t.deepEqual(prefixes.map((prefix) => Buffer.from(prefixEnd(prefix)).toString('hex')), ['6130', '6130', '02', '00']);
  t.is(prefixEnd(Buffer.from([0xff])), OPEN_END);
  t.deepEqual(prefixes.map((prefix) => Buffer.from(prefix).toString('hex')), before);
});

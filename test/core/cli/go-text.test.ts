// Quoted as Go quotes; what is expected here was read off etcdctl 3.4 and Go's strconv.

import test from 'ava';
import { hexText, plainKey, quote, unquote, validText } from '../../../core/cli/go-text.js';

const QUOTED: readonly (readonly [bytes: readonly number[] | string, quoted: string])[] = [
  ['plain', '"plain"'],
  ['a"b\\c', '"a\\"b\\\\c"'],
  ['\u0007\b\f\n\r\t\u000b', '"\\a\\b\\f\\n\\r\\t\\v"'],
  ['\u0000\u0001\u007f', '"\\x00\\x01\\x7f"'],
  ['ü 日 😀', '"ü 日 😀"'],
  ['\u00a0\u200b\u2028\ufeff\u{e0001}', '"\\u00a0\\u200b\\u2028\\ufeff\\U000e0001"'],
  ['\ufffd', '"\ufffd"'],
  [[0x76, 1, 0xff], '"v\\x01\\xff"'],
  [[0xe6, 0x97], '"\\xe6\\x97"'],
  [[0xed, 0xa0, 0x80], '"\\xed\\xa0\\x80"'],
  [[0xc0, 0x80], '"\\xc0\\x80"'],
];

test('bytes are quoted as Go quotes them, and read back', (t) => {
  for (const [given, quoted] of QUOTED) {
    const bytes = typeof given === 'string' ? Buffer.from(given) : Buffer.from(given);
    t.is(quote(bytes), quoted);
    t.deepEqual(unquote(quoted, 0), { bytes, end: quoted.length });
  }
});

test('a quoted string may stand anywhere, ends at its own quote, and must end', (t) => {
  t.deepEqual(unquote('x "a\'b" y', 2), { bytes: Buffer.from('a\'b'), end: 7 });
  t.deepEqual(unquote('`a\\n"`', 0), { bytes: Buffer.from('a\\n"'), end: 6 });
  t.deepEqual(unquote('\'a\\n"\'', 0), { bytes: Buffer.from('a\\n"'), end: 6 });
  t.deepEqual(unquote('"\\101\\u00fc\\U0001F600"', 0)?.bytes, Buffer.from('Aü😀'));
  for (const wrong of ['"open', 'bare', '"\\q"', '"\\x4"', '"\\Uffffffff"', '']) t.is(unquote(wrong, 0), null, wrong);
});

test('what is no text is told from text, and never reaches a terminal as it is', (t) => {
  t.deepEqual(['é', '\ufeffa'].map((text) => validText(Buffer.from(text))), ['é', '\ufeffa']);
  t.is(validText(Buffer.of(0xff)), null);
  t.is(hexText(Buffer.from('a\u0000')), '\\x61\\x00');
  t.deepEqual(['a/b c', 'a\u001b[31m', 'a\nb'].map((key) => plainKey(Buffer.from(key))), ['a/b c', '"a\\x1b[31m"', '"a\\nb"']);
});

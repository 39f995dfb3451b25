// HPACK, the reading half: the examples of RFC 7541, appendix C, byte by byte; what must be refused; and a table that stays
// right through anything, against a model of section 4.

import test from 'ava';
import { Prng } from '../../../../core/base/prng.js';
import { HeaderDecoder } from '../../../../core/wire/http2/header-decoder.js';
import { collect } from '../../../collect.js';
import { block, integer, type Fields } from './kit.js';

type Field = readonly [name: string, value: string];

function decode(decoder: HeaderDecoder, bytes: Buffer): { fields: Field[]; isSmall: boolean } {
  const fields: Field[] = [];
  const isSmall = decoder.decode(bytes, 0, bytes.length, { onField: (name, value) => void fields.push([name, value]) });
  return { fields, isSmall };
}

function fieldsOf(decoder: HeaderDecoder, hex: string): Field[] {
  return decode(decoder, Buffer.from(hex.replaceAll(' ', ''), 'hex')).fields;
}

/** The dynamic table, newest first. */
function tableOf(decoder: HeaderDecoder, count: number): Field[] {
  return decode(decoder, Buffer.concat(Array.from({ length: count }, (_, i) => integer(62 + i, 7, 0x80)))).fields;
}

function isBeyond(decoder: HeaderDecoder, index: number): boolean {
  try {
    decode(decoder, integer(index, 7, 0x80));
    return false;
  } catch {
    return true;
  }
}

const CUSTOM_HEADER: Field = ['custom-key', 'custom-header'];
const GET: Fields = [[':method', 'GET'], [':scheme', 'http'], [':path', '/']];
const EXAMPLE: Field = [':authority', 'www.example.com'];
const NO_CACHE: Field = ['cache-control', 'no-cache'];
const CUSTOM: Field = ['custom-key', 'custom-value'];
const GET_INDEX: Fields = [[':method', 'GET'], [':scheme', 'https'], [':path', '/index.html']];

test('RFC 7541 C.2: each way to write a field', (t) => {
  const kept = new HeaderDecoder();
  t.deepEqual(fieldsOf(kept, '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572'), [CUSTOM_HEADER]);
  t.deepEqual(tableOf(kept, 1), [CUSTOM_HEADER]);
  const decoder = new HeaderDecoder();
  t.deepEqual(fieldsOf(decoder, '040c 2f73 616d 706c 652f 7061 7468'), [[':path', '/sample/path']]);
  t.deepEqual(fieldsOf(decoder, '1008 7061 7373 776f 7264 0673 6563 7265 74'), [['password', 'secret']]);
  t.deepEqual(fieldsOf(decoder, '82'), [[':method', 'GET']]);
  t.true(isBeyond(decoder, 62));
});

const REQUESTS: readonly (readonly [section: string, blocks: readonly string[]])[] = [
  ['C.3', [
    '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d', '8286 84be 5808 6e6f 2d63 6163 6865',
    '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
  ]],
  ['C.4', [
    '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff', '8286 84be 5886 a8eb 1064 9cbf',
    '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
  ]],
];

for (const [section, [first = '', second = '', third = '']] of REQUESTS) {
  test(`RFC 7541 ${section}: requests one behind the other`, (t) => {
    const decoder = new HeaderDecoder();
    t.deepEqual(fieldsOf(decoder, first), [...GET, EXAMPLE]);
    t.deepEqual(tableOf(decoder, 1), [EXAMPLE]);
    t.deepEqual(fieldsOf(decoder, second), [...GET, EXAMPLE, NO_CACHE]);
    t.deepEqual(tableOf(decoder, 2), [NO_CACHE, EXAMPLE]);
    t.deepEqual(fieldsOf(decoder, third), [...GET_INDEX, EXAMPLE, CUSTOM]);
    t.deepEqual(tableOf(decoder, 3), [CUSTOM, NO_CACHE, EXAMPLE]);
    t.true(isBeyond(decoder, 65));
  });
}

const PRIVATE: Field = ['cache-control', 'private'];
const DATE: Field = ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'];
const LATER: Field = ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'];
const LOCATION: Field = ['location', 'https://www.example.com'];
const COOKIE: Field = ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'];

const ANSWERS: readonly (readonly [section: string, blocks: readonly string[]])[] = [
  ['C.5', [
    `4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768
     7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
    '4803 3330 37c1 c0bf',
    `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153
     444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e
     3d31`,
  ]],
  ['C.6', [
    `4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8
     e9ae 82ae 43d3`,
    '4883 640e ffc1 c0bf',
    `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b
     3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07`,
  ]],
];

for (const [section, blocks] of ANSWERS) {
  test(`RFC 7541 ${section}: answers one behind the other, with a table of 256 bytes`, (t) => {
    const [first = '', second = '', third = ''] = blocks.map((hex) => hex.replaceAll(/\s+/g, ''));
    const decoder = new HeaderDecoder();
    t.deepEqual(fieldsOf(decoder, `3fe101${first}`), [[':status', '302'], PRIVATE, DATE, LOCATION]);
    t.deepEqual(tableOf(decoder, 4), [LOCATION, DATE, PRIVATE, [':status', '302']]);
    t.deepEqual(fieldsOf(decoder, second), [[':status', '307'], PRIVATE, DATE, LOCATION]);
    t.deepEqual(tableOf(decoder, 4), [[':status', '307'], LOCATION, DATE, PRIVATE]);
    t.deepEqual(fieldsOf(decoder, third), [[':status', '200'], PRIVATE, LATER, LOCATION, ['content-encoding', 'gzip'], COOKIE]);
    t.deepEqual(tableOf(decoder, 3), [COOKIE, ['content-encoding', 'gzip'], LATER]);
    t.true(isBeyond(decoder, 65));
  });
}

test('RFC 7541 appendix A: the static table has 61 fields, and its last is www-authenticate', (t) => {
  const { fields } = decode(new HeaderDecoder(), Buffer.from(Array.from({ length: 61 }, (_, i) => 0x81 + i)));
  t.deepEqual([fields[0], fields[1], fields[7], fields[15], fields[60]], [
    [':authority', ''], [':method', 'GET'], [':status', '200'], ['accept-encoding', 'gzip, deflate'], ['www-authenticate', ''],
  ]);
  // In the order of the alphabet, but for `accept` behind `accept-ranges`.
  t.is(fields[18]?.[0], 'accept');
  const names = fields.slice(19).map(([name]) => name);
  t.deepEqual(names, [...names].toSorted());
  t.deepEqual(fields.filter(([, value]) => value !== '').length, 14);
});

const FAULTS: readonly (readonly [claim: string, hex: string])[] = [
  ['field 0 does not exist', '80'],
  ['a place beyond both tables does not exist', 'be'],
  ['a name beyond both tables does not exist', '7e 00'],
  ['a place far beyond does not exist', 'ff 80 01'],
  ['a number that ends too early is refused', 'ff'],
  ['a number that ends too early behind one byte is refused', 'ff 80'],
  ['a number of five bytes is refused, even if it is small', 'ff 80 80 80 80 00'],
  ['a number beyond all bounds is refused', 'ff ff ff ff ff ff ff ff ff 7f'],
  ['a name that ends too early is refused', '40 0a 63'],
  ['a field without its value is refused', '40 01 61'],
  ['a value that ends too early is refused', '00 01 61 02 62'],
  ['a value without its bytes is refused', '00 01 61 01'],
  ['a coded value that is padded wrongly is refused', '00 01 61 81 18'],
  ['a coded value with the end of the string is refused', '00 01 61 84 ff ff ff ff'],
  ['a table size behind a field is refused', '82 20'],
  ['a table size between fields is refused', '82 20 82'],
  ['a table of 4,097 bytes was not agreed on', '3f e2 1f'],
  ['a table size that ends too early is refused', '3f'],
];

for (const [claim, hex] of FAULTS) {
  test(claim, (t) => {
    t.throws(() => fieldsOf(new HeaderDecoder(), hex), { name: 'ConnectionFault' });
  });
}

test('a table of 4,096 bytes is what was agreed on, and two sizes may begin a block', (t) => {
  const decoder = new HeaderDecoder();
  t.deepEqual(fieldsOf(decoder, '3f e1 1f 82'), [[':method', 'GET']]);
  decode(decoder, block([['a', 'b']], 0x40));
  t.deepEqual(tableOf(decoder, 1), [['a', 'b']]);
  t.deepEqual(fieldsOf(decoder, '20 3f e1 1f 82'), [[':method', 'GET']]);
  t.true(isBeyond(decoder, 62));
});

test('a field larger than the table empties it and is told of', (t) => {
  const decoder = new HeaderDecoder();
  decode(decoder, block([['a', 'b']], 0x40));
  const large: Field = ['large', 'x'.repeat(4096 - 32 - 4)];
  t.deepEqual(decode(decoder, block([large], 0x40)).fields, [large]);
  t.true(isBeyond(decoder, 62));
  const fits: Field = ['large', 'x'.repeat(4096 - 32 - 5)];
  decode(decoder, block([fits], 0x40));
  t.deepEqual(tableOf(decoder, 1), [fits]);
});

test('a field may take its name from the place that it is about to push out', (t) => {
  const decoder = new HeaderDecoder();
  decode(decoder, block([['name', 'x'.repeat(4000)]], 0x40));
  const [field] = decode(decoder, Buffer.concat([integer(62, 6, 0x40), integer(200, 7), Buffer.alloc(200, 'y')])).fields;
  t.deepEqual(field, ['name', 'y'.repeat(200)]);
  t.deepEqual(tableOf(decoder, 1), [['name', 'y'.repeat(200)]]);
});

test('a list beyond 128 fields or 16 KiB is counted and not told, and the table is right behind it', (t) => {
  const decoder = new HeaderDecoder();
  const many: Fields = Array.from({ length: 129 }, (_, i) => [`n${i}`, '']);
  const { fields, isSmall } = decode(decoder, block(many, 0x40));
  t.false(isSmall);
  t.is(fields.length, 128);
  t.deepEqual(tableOf(decoder, 3), [['n128', ''], ['n127', ''], ['n126', '']]);
  t.true(decode(decoder, block(many.slice(0, 128))).isSmall);
  const bytes = Buffer.concat([block([['big', 'z'.repeat(3900)]], 0x40), Buffer.alloc(4, 0xbe), block([['last', '1']], 0x40)]);
  const large = decode(decoder, bytes);
  t.false(large.isSmall);
  t.deepEqual(large.fields.map(([name]) => name), ['big', 'big', 'big', 'big']);
  t.deepEqual(tableOf(decoder, 2), [['last', '1'], ['big', 'z'.repeat(3900)]]);
});

test('a block of bytes that each name a field of 4 KiB is read without making them', (t) => {
  const decoder = new HeaderDecoder();
  decode(decoder, block([['bomb', 'z'.repeat(4000)]], 0x40));
  const { fields, isSmall } = decode(decoder, Buffer.alloc(60_000, 0xbe));
  t.false(isSmall);
  t.is(fields.length, 4);
});

/** Section 4, as plainly as can be. */
class Model {
  table: Field[] = [];
  max = 4096;

  evict(): void {
    while (this.table.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0) > this.max) this.table.pop();
  }
}

/** One field or size in some way; the model does what the decoder ought to. */
function randomStep(chance: Prng, model: Model, expected: Field[]): Buffer {
  const size = [3, 30, 300, 3000][chance.below(4)] ?? 3;
  const fresh: Field = [`n${chance.below(50)}`, 'v'.repeat(chance.below(size))];
  const place = model.table.length === 0 ? -1 : chance.below(model.table.length);
  const known = model.table[place] ?? fresh;
  const kind = chance.below(4);
  if (kind === 0 && place >= 0) {
    expected.push(known);
    return integer(62 + place, 7, 0x80);
  }
  if (kind === 1 && place >= 0) {
    const isKept = chance.below(2) === 0;
    const field: Field = [known[0], fresh[1]];
    expected.push(field);
    if (isKept) model.table.unshift(field);
    model.evict();
    const name = isKept ? integer(62 + place, 6, 0x40) : integer(62 + place, 4, 0x10);
    return Buffer.concat([name, integer(field[1].length, 7), Buffer.from(field[1])]);
  }
  expected.push(fresh);
  if (kind === 2) return block([fresh]);
  model.table.unshift(fresh);
  model.evict();
  return block([fresh], 0x40);
}

test('the table is that of section 4, whatever is put into it, taken from it and however large it may be', (t) => {
  const chance = new Prng(11);
  const decoder = new HeaderDecoder();
  const model = new Model();
  for (let round = 0; round < 400; round++) {
    const parts: Buffer[] = [];
    const expected: Field[] = [];
    if (chance.below(5) === 0) {
      model.max = chance.below(4097);
      model.evict();
      parts.push(integer(model.max, 5, 0x20));
    }
    const { version } = decoder;
    const before = JSON.stringify(model.table);
    for (let i = chance.below(5); i > 0; i--) parts.push(randomStep(chance, model, expected));
    const { fields } = decode(decoder, Buffer.concat(parts));
    const told = expected.slice(0, fields.length);
    t.deepEqual(fields, told);
    // The same version promises the same meaning.
    if (decoder.version === version) t.is(JSON.stringify(model.table), before);
    t.true(isBeyond(decoder, 62 + model.table.length));
    t.deepEqual(tableOf(decoder, Math.min(4, model.table.length)), model.table.slice(0, Math.min(4, model.table.length)));
  }
});

test('what was evicted from the table is let go of, however much has passed through it', (t) => {
  const used = (): number => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = used();
  const decoders = Array.from({ length: 20 }, () => new HeaderDecoder());
  for (const decoder of decoders) {
    for (let i = 0; i < 250; i++) decode(decoder, block([['x', String(i % 10).repeat(4000)]], 0x40));
  }
  // 250 values of each decoder would be 20 MB.
  const after = used();
  t.true(after - before < 5_000_000, String(after - before));
  for (const decoder of decoders) t.deepEqual(tableOf(decoder, 1), [['x', '9'.repeat(4000)]]);
});

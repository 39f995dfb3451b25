// The short way between JSON and messages against the long one, on generated requests, answers and damage to both: where the
// short way says something, the long one says the same, and where it says nothing, the long one is asked.

import { fromBinary, toBinary, ScalarType, type DescMessage } from '@bufbuild/protobuf';
import test from 'ava';
import { present } from '../../../core/base/assert.js';
import { Prng } from '../../../core/base/prng.js';
import { descriptorOf, jsonMappings, longMappings } from '../../../core/wire/json-mapping.js';
import { AnswerWriter, RequestReader, shapes } from '../../../core/wire/quick-json.js';

const METHODS: readonly (readonly [service: string, method: string])[] = [
  ['etcdserverpb.KV', 'Put'], ['etcdserverpb.KV', 'Range'], ['etcdserverpb.KV', 'Txn'], ['etcdserverpb.KV', 'DeleteRange'],
  ['etcdserverpb.Lease', 'LeaseGrant'], ['etcdserverpb.Cluster', 'MemberList'], ['etcdserverpb.Auth', 'UserAdd'],
];

// Read once: the descriptors are long.
const SHORT = jsonMappings();
const LONG = longMappings();
const DESCRIPTOR = descriptorOf();
const SHAPE = shapes();

/** Requests as clients write them, and as nobody should. */
class Texts {
  readonly #random: Prng;

  constructor(seed: number) {
    this.#random = new Prng(seed);
  }

  one<T>(of: readonly T[]): T {
    return present(of[this.#random.below(of.length)], 'one of several');
  }

  /** A message of `desc`, its members in any order. `oddity`: how many of a hundred values are unusual. */
  message(desc: DescMessage, oddity: number, depth = 0): string {
    const members: string[] = [];
    // One of those that exclude each other, but now and then two.
    const chosen = new Set(desc.oneofs.map(({ fields }) => this.one(fields)));
    for (const field of desc.fields) {
      if (this.#random.below(3) === 0 || (depth > 3 && field.fieldKind !== 'scalar')) continue;
      if (field.oneof !== undefined && !chosen.has(field) && this.#random.below(100) >= oddity) continue;
      const name = this.#random.below(4) === 0 ? field.jsonName : field.name;
      const member = `"${name}"${this.#space()}:${this.#space()}${this.#field(field, oddity, depth)}`;
      members.splice(this.#random.below(members.length + 1), 0, member);
    }
    if (this.#random.below(100) < oddity) members.push(this.one(['"who":1', '"key":null', members[0] ?? '"k\\u0065y":""', '']));
    return `{${this.#space()}${members.join(`${this.#space()},`)}${this.#space()}}`;
  }

  #space(): string {
    return this.one(['', '', '', ' ', '\n\t\r']);
  }

  #field(field: DescMessage['fields'][number], oddity: number, depth: number): string {
    if (this.#random.below(100) < oddity) return this.one(ODD);
    if (field.fieldKind === 'list') {
      const item = (): string => (field.listKind === 'message' ? this.message(field.message, oddity, depth + 1) : this.one(ODD));
      return `[${Array.from({ length: this.#random.below(3) }, item).join(this.one([',', ' , ']))}]`;
    }
    if (field.fieldKind === 'message') return this.message(field.message, oddity, depth + 1);
    if (field.fieldKind === 'enum') return `"${this.one(field.enum.values).name}"`;
    if (field.fieldKind !== 'scalar') return this.one(ODD);
    if (field.scalar === ScalarType.BYTES && this.#random.below(2) === 0) return this.#bytes();
    return this.one(SCALARS.get(field.scalar) ?? INTEGERS);
  }

  #bytes(): string {
    const bytes = Buffer.from(Array.from({ length: this.#random.below(200) }, () => this.#random.below(256)));
    return `"${bytes.toString('base64')}"`;
  }

  /** One character is another, one more or gone. */
  damaged(text: string): string {
    const at = this.#random.below(text.length + 1);
    const into = this.one(['', '"', '{', '}', ',', ':', '\\', '-', '_', '=', '0', '1e3', '.', 'é', '\u0000', ' ', 'null']);
    return text.slice(0, at) + into + text.slice(at + this.#random.below(2));
  }

  damagedBytes(bytes: Uint8Array): Uint8Array {
    const damaged = Uint8Array.from(bytes);
    const at = this.#random.below(Math.max(1, damaged.length));
    if (at < damaged.length) damaged[at] = this.#random.below(256);
    return this.#random.below(4) === 0 ? damaged.subarray(0, at) : damaged;
  }
}

const BYTES = ['""', '"YQ=="', '"YWI="', '"YWJj"', '"AA=="', '"/+8="', '"YR=="'];
const SCALARS: ReadonlyMap<ScalarType, readonly string[]> = new Map([
  [ScalarType.BYTES, BYTES],
  [ScalarType.BOOL, ['true', 'false']],
  [ScalarType.STRING, ['""', '"root"', '"a b~"', '"{\'}"']],
]);
const INTEGERS = [
  '0', '1', '"0"', '"127"', '128', '"16384"', '999999999999999', '"1000000000000000"', '9007199254740993',
  '"7587862094650823681"', '9223372036854775807',
];
const ODD = [
  'null', '-1', '"-1"', '"9223372036854775808"', '18446744073709551615', '"18446744073709551616"', '1.0', '1e3', '"1e3"',
  '007', '"01"', '+1', '" 1"', '', '"YQ"', '"YQ="', '"Y==="', '"YQ==YQ=="', '"-_8="', '"Y\\u0051=="', '"YQ\\n=="', '"é"',
  '"a\\"b"', '[1,2]', '["YQ=="]', '{}', '[]', '{"key":', 'TRUE', 'truefalse', '7', '"SIDEWAYS"', '"KEY"', '"EQUAL"', '"\u007f"',
  '"\u0001"',
];

/** Its length and its bytes in the order of the fields, or the fault. */
function outcome(desc: DescMessage, toBytes: () => Uint8Array): string {
  try {
    const bytes = toBytes();
    return `${bytes.length} ${Buffer.from(toBinary(desc, fromBinary(desc, bytes))).toString('hex')}`;
  } catch (error) {
    return String(error);
  }
}

function textOf(toText: () => string): string {
  try {
    return toText();
  } catch (error) {
    return String(error).replaceAll(/\d+/g, '');
  }
}

const ROUNDS = 300;

for (const [service, method] of METHODS) {
  test(`${service}/${method}: a request means the same by the short way as by the long one`, (t) => {
    const [short, long] = [SHORT(service, method), LONG(service, method)];
    const { input } = DESCRIPTOR(service, method);
    const texts = new Texts(1);
    const reader = new RequestReader();
    const shape = present(SHAPE(input), 'a shape');
    let usual = 0;
    for (let i = 0; i < ROUNDS; i++) {
      const plain = texts.message(input, i % 3 === 0 ? 10 : 0);
      for (const text of [plain, texts.damaged(plain), `${plain}${texts.one([' ', 'x', '{}'])}`]) {
        if (reader.read(shape, text) !== null) usual += 1;
        const [got, wanted] = [outcome(input, () => short.toBytes(text)), outcome(input, () => long.toBytes(text))];
        if (got !== wanted) t.is(got, wanted, text);
      }
    }
    t.true(usual > ROUNDS / 2, `${usual} of ${3 * ROUNDS} take the short way`);
  });

  test(`${service}/${method}: an answer is the same text by the short way as by the long one`, (t) => {
    const [short, long] = [SHORT(service, method), LONG(service, method)];
    const { output } = DESCRIPTOR(service, method);
    const texts = new Texts(2);
    const writer = new AnswerWriter();
    const shape = present(SHAPE(output), 'a shape');
    const usual = answers(texts, output).filter((bytes) => {
      for (const sent of [bytes, texts.damagedBytes(bytes)]) {
        const [got, wanted] = [textOf(() => short.toText(sent)), textOf(() => long.toText(sent))];
        if (got !== wanted) t.is(got, wanted, Buffer.from(sent).toString('hex'));
      }
      return writer.write(shape, bytes) !== null;
    });
    t.true(usual.length > ROUNDS / 2, `${usual.length} of ${ROUNDS} take the short way`);
  });
}

/** Answers in the form in which generated code writes them. */
function answers(texts: Texts, output: DescMessage): Uint8Array[] {
  const reader = new RequestReader();
  const shape = present(SHAPE(output), 'a shape');
  const made: Uint8Array[] = [];
  while (made.length < ROUNDS) {
    const bytes = reader.read(shape, texts.message(output, 0));
    if (bytes !== null) made.push(toBinary(output, fromBinary(output, bytes)));
  }
  return made;
}

test('a number of a million digits is refused unread: to read it takes seconds', (t) => {
  const real = globalThis.BigInt;
  let longest = 0;
  globalThis.BigInt = new Proxy(real, {
    apply: (target, self, args: unknown[]) => {
      longest = Math.max(longest, String(args[0]).length);
      return Reflect.apply(target, self, args);
    },
  });
  try {
    const digits = '1'.repeat(1_000_000);
    for (const number of [digits, `-${digits}`, `"${digits}"`, `[${digits}]`]) {
      for (const member of ['key', 'lease', 'who']) {
        const [service, method] = ['etcdserverpb.KV', 'Put'];
        const asked = (): unknown => SHORT(service, method).toBytes(`{"${member}":${number}}`);
        if (member === 'who' || (member === 'key' && number.startsWith('"'))) t.notThrows(asked);
        else t.throws(asked, { message: /^json: cannot unmarshal / });
      }
    }
  } finally {
    globalThis.BigInt = real;
  }
  t.true(longest <= 20, `${longest} digits were read`);
});

test('messages inside each other mean the same by either way, however deep', (t) => {
  const mappings = [SHORT, LONG].map((of) => of('etcdserverpb.KV', 'Txn'));
  const { input } = DESCRIPTOR('etcdserverpb.KV', 'Txn');
  for (const depth of [1, 8, 9, 16, 17, 48, 60, 100_000]) {
    const text = `${'{"success":[{"request_txn":'.repeat(depth)}{}${'}]}'.repeat(depth)}`;
    const [got, wanted] = mappings.map((mapping) => outcome(input, () => mapping.toBytes(text)));
    t.is(got, wanted, `${depth} deep`);
  }
});

test('ids beyond a double are written as they are, however often and in whatever order they come', (t) => {
  const [short, long] = [SHORT, LONG].map((of) => of('etcdserverpb.Lease', 'LeaseGrant'));
  const { output } = DESCRIPTOR('etcdserverpb.Lease', 'LeaseGrant');
  const shape = present(SHAPE(output), 'a shape');
  const writer = new AnswerWriter();
  for (let i = 0; i < 100; i++) {
    const id = 2n ** 63n - 1n - (BigInt(i % 23) << 49n);
    const bytes = toBinary(output, fromBinary(output, idBytes(id)));
    const text = `{"ID":"${id}"}`;
    t.deepEqual([writer.write(shape, bytes), short?.toText(bytes), long?.toText(bytes)], [text, text, text]);
  }
});

test('an answer that our own writers would not make is written as by the long way', (t) => {
  const mappings = [SHORT, LONG].map((of) => of('etcdserverpb.Lease', 'LeaseGrant'));
  const most = 'ff'.repeat(9);
  const hexes = [
    // The same bits of an unsigned and a signed number, in either order.
    '0a0b08fbffffffffffffffff0110fbffffffffffffffff01', '10fbffffffffffffffff010a0b08fbffffffffffffffff01',
    // A field after one that follows it; more than 64 bits; no end; an end within the number.
    '10010a020801', `10${most}7f`, `10${most}02`, `10${most}ff01`, `10${most}ff`, `10${'80'.repeat(9)}00`, '0a0308ffff', '1080',
  ];
  for (const hex of hexes) {
    const [got, wanted] = mappings.map((mapping) => textOf(() => mapping.toText(Buffer.from(hex, 'hex'))));
    t.is(got, wanted, hex);
  }
});

function idBytes(id: bigint): Uint8Array {
  const bytes = [16];
  let rest = id;
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Uint8Array.from([...bytes, Number(rest)]);
}

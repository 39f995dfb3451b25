// The Huffman code of HPACK: against the examples of RFC 7541, appendix C, against what Node's own coder sends, and where it
// must be refused.

import { connect as connectHttp2 } from 'node:http2';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import test from 'ava';
import { Prng } from '../../../../core/base/prng.js';
import { HeaderDecoder } from '../../../../core/wire/http2/header-decoder.js';
import { readHuffman } from '../../../../core/wire/http2/huffman.js';
import { FLAG, FRAME, PREFACE } from '../../../../core/wire/http2/protocol.js';
import { framesIn } from './kit.js';

function read(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  return readHuffman(bytes, 0, bytes.length);
}

const EXAMPLES: readonly (readonly [hex: string, text: string])[] = [
  ['f1e3c2e5f23a6ba0ab90f4ff', 'www.example.com'], ['a8eb10649cbf', 'no-cache'], ['25a849e95ba97d7f', 'custom-key'],
  ['25a849e95bb8e8b4bf', 'custom-value'], ['6402', '302'], ['aec3771a4b', 'private'],
  ['d07abe941054d444a8200595040b8166e082a62d1bff', 'Mon, 21 Oct 2013 20:13:21 GMT'],
  ['9d29ad171863c78f0b97c8e9ae82ae43d3', 'https://www.example.com'], ['640eff', '307'], ['9bd9ab', 'gzip'],
  [
    '94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
    'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
  ],
];

test('RFC 7541 C.4 and C.6: each string of the examples is read', (t) => {
  for (const [hex, text] of EXAMPLES) t.is(read(hex), text);
  t.is(read(''), '');
});

const FAULTS: readonly (readonly [claim: string, hex: string])[] = [
  ['padding of zeroes is refused', '18'],
  ['padding that is no beginning of the end of the string is refused', '1a'],
  ['padding of eight bits is refused', '1fff'],
  ['padding of a whole string is refused', 'ff'],
  ['the end of the string is refused', 'ffffffff'],
  ['the end of the string behind a symbol is refused', '1fffffffff'],
  ['a symbol that is not whole is refused', 'fffe'],
];

for (const [claim, hex] of FAULTS) test(claim, (t) => void t.throws(() => read(hex), { name: 'ConnectionFault' }));

test('up to seven bits of padding are taken', (t) => {
  // `0` is five bits, `;` and `X` are eight: each count of bits that is left over comes about.
  t.is(read('07'), '0');
  t.is(read('fb'), ';');
  for (let count = 1; count <= 16; count++) {
    const bits = '00000'.repeat(count).padEnd(Math.ceil((count * 5) / 8) * 8, '1');
    const bytes = Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
    t.is(readHuffman(bytes, 0, bytes.length), '0'.repeat(count));
  }
});

test('no bytes make it do anything but read or refuse', (t) => {
  const chance = new Prng(7);
  let refused = 0;
  for (let i = 0; i < 2000; i++) {
    const bytes = Buffer.from(Array.from({ length: chance.below(40) }, () => chance.below(256)));
    try {
      t.true(readHuffman(bytes, 0, bytes.length).length <= (bytes.length * 8) / 5);
    } catch (error) {
      refused += 1;
      t.is(error instanceof Error ? error.name : error, 'ConnectionFault');
    }
  }
  t.true(refused > 1000 && refused < 2000);
});

/** The blocks that Node's client sends for requests with these values of one header. */
async function blocksOfNode(values: readonly string[]): Promise<Buffer[]> {
  const pieces: Buffer[] = [];
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('data', (bytes: Buffer) => pieces.push(bytes)).on('error', () => undefined);
    socket.write(Buffer.from('000000040000000000', 'hex'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  session.on('error', () => undefined);
  const blocks = (): Buffer[] => {
    const bytes = Buffer.concat(pieces).subarray(PREFACE.length);
    let whole = 0;
    for (let end = 0; end <= bytes.length; ) {
      whole = end;
      end = end + 9 <= bytes.length ? end + 9 + bytes.readUIntBE(end, 3) : Infinity;
    }
    return framesIn(bytes.subarray(0, whole)).flatMap(({ type, flags, payload }) => {
      return type === FRAME.headers ? [payload.subarray((flags & FLAG.priority) === 0 ? 0 : 5)] : [];
    });
  };
  try {
    for (const x of values) {
      session.request({ ':method': 'POST', ':path': '/', x }, { endStream: true }).on('error', () => undefined);
    }
    while (blocks().length < values.length) await new Promise((resolve) => setTimeout(resolve, 5));
    return blocks();
  } finally {
    session.destroy();
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

test('what Node codes is read back: every character that a value may hold, alone and among others', async (t) => {
  const all = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code));
  const characters = all.filter((one) => /[\t -~\u0080-\u00ff]/.test(one));
  // A coded string is sent only where it is shorter, so each stands among many that are.
  const values = [...characters.map((one) => `aeiost${one.repeat(3)}${'0'.repeat(64)}`), ...EXAMPLES.map(([, text]) => text)];
  const decoder = new HeaderDecoder();
  const read: string[] = [];
  const blocks = await blocksOfNode(values);
  for (const block of blocks) {
    decoder.decode(block, 0, block.length, { onField: (name, value) => void (name === 'x' && read.push(value)) });
  }
  t.deepEqual(read, values);
  t.is(characters.length, 224);
});

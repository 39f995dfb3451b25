// The repair of `:authority`, on bytes as etcdctl 3.4 sends them, whole and in pieces of any size.

import { once } from 'node:events';
import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import test from 'ava';
import { FrameScanner, mayNeedRepair, OPENING_BYTES, repairAuthority } from '../../../core/wire/authority.js';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const EMPTY_SETTINGS = Buffer.from('000000040000000000', 'hex');

function frame(type: number, flags: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header[8] = 1;
  return Buffer.concat([header, payload]);
}

/** A literal with incremental indexing, name `:authority` from the static table, value as given. */
function authority(value: Buffer, huffman: boolean): Buffer {
  return Buffer.concat([Buffer.from([0x83, 0x86, 0x41, (huffman ? 0x80 : 0) | value.length]), value]);
}

// `http://a/` in the Huffman code of RFC 7541, appendix B: h 100111, t 01001, p 101011, : 1011100, / 011000, a 00011.
const HUFFMAN_CODES: Readonly<Record<string, string>> = {
  h: '100111',
  t: '01001',
  p: '101011',
  ':': '1011100',
  '/': '011000',
  a: '00011',
  '-': '010110',
};

function huffman(text: string): Buffer {
  const bits = text.replace(/./g, (char) => HUFFMAN_CODES[char] ?? '');
  const padded = bits.padEnd(Math.ceil(bits.length / 8) * 8, '1');
  return Buffer.from(padded.match(/.{8}/g)?.map((byte) => Number.parseInt(byte, 2)) ?? []);
}

function repaired(input: Buffer, pieceBytes: number): Buffer {
  const scanner = new FrameScanner();
  const output: Buffer[] = [];
  for (let at = 0; at < input.length; at += pieceBytes) {
    for (const piece of scanner.push(Buffer.from(input.subarray(at, at + pieceBytes)))) output.push(Buffer.from(piece));
  }
  return Buffer.concat(output);
}

test('each slash of a plain or Huffman-coded authority becomes a dash, and nothing else changes', (t) => {
  const forms = [
    [authority(Buffer.from('http://a/'), false), authority(Buffer.from('http:--a-'), false)],
    [authority(huffman('http://a/'), true), authority(huffman('http:--a-'), true)],
  ] as const;
  for (const [before, after] of forms) {
    const around = (block: Buffer): Buffer =>
      Buffer.concat([PREFACE, EMPTY_SETTINGS, frame(1, 4, block), frame(0, 1, Buffer.from('http://stays/as/it/is'))]);
    for (const pieceBytes of [1, 2, 7, 33, 1000]) {
      t.deepEqual(repaired(around(before), pieceBytes).toString('hex'), around(after).toString('hex'));
    }
  }
});

test('padding and priority of a HEADERS frame are stepped over', (t) => {
  const wrap = (block: Buffer): Buffer => {
    const payload = Buffer.concat([Buffer.from([2]), Buffer.alloc(5), block, Buffer.alloc(2)]);
    return Buffer.concat([PREFACE, EMPTY_SETTINGS, frame(1, 0x2c, payload)]);
  };
  const result = repaired(wrap(authority(Buffer.from('http://a'), false)), 1000);
  t.is(result.toString('hex'), wrap(authority(Buffer.from('http:--a'), false)).toString('hex'));
});

test('garbage passes through as it came', (t) => {
  for (let seed = 1; seed < 200; seed++) {
    const junk = Buffer.from(Array.from({ length: 60 }, (_, i) => (seed * 7919 * (i + 3)) % 251));
    const input = Buffer.concat([PREFACE, EMPTY_SETTINGS, frame(1, 4, junk), frame(0, 0, junk)]);
    t.is(repaired(input, 1000).length, input.length);
  }
});

test('only a connection that opens with empty settings is looked at', (t) => {
  t.true(mayNeedRepair(Buffer.concat([PREFACE, EMPTY_SETTINGS])));
  t.false(mayNeedRepair(Buffer.concat([PREFACE, frame(4, 0, Buffer.alloc(6))])));
  t.false(mayNeedRepair(PREFACE));
  t.is(OPENING_BYTES, PREFACE.length + 9);
});

test('an answer that comes as the caller ends his side ends his connection, and not the process', async (t) => {
  const sessions = createHttp2Server();
  const streams: ServerHttp2Stream[] = [];
  sessions.on('stream', (stream) => streams.push(stream.on('error', () => undefined)));
  const listener = createServer({ allowHalfOpen: true }, (socket: Socket) => {
    socket.on('error', () => undefined);
    // The end of this side takes a while, as on a machine with much to do; in it comes the answer.
    const end = socket.end.bind(socket);
    Reflect.set(socket, 'end', (done: () => void) => {
      for (const stream of streams) stream.respond({ ':status': 200 }, { endStream: true });
      setTimeout(() => end(done), 50);
    });
    sessions.emit('connection', repairAuthority(socket));
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  t.teardown(() => listener.close());
  const caller = connect((listener.address() as AddressInfo).port, '127.0.0.1');
  caller.on('error', () => undefined).resume();
  // POST, http and the authority; then the path `/`.
  const request = frame(1, 5, Buffer.concat([authority(Buffer.from('a'), false), Buffer.from([0x84])]));
  caller.write(Buffer.concat([PREFACE, EMPTY_SETTINGS, request]));
  await once(sessions, 'stream');
  const [stream] = streams;
  caller.end();
  if (stream?.closed === false) await once(stream, 'close');
  t.true(stream?.destroyed);
});

// One connection, against a socket that says when it takes more, and what it answers.

import { createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import test from 'ava';
import { UnaryConnection } from './unary-connection.js';

const PREFACE_BYTES = 24;
const WINDOW_BYTES = 65_535;

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

function framesOf(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = PREFACE_BYTES; at + 9 <= bytes.length;) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    if (end > bytes.length) break;
    const [type = 0, flags = 0] = bytes.subarray(at + 3);
    frames.push({ type, flags, stream: bytes.readUInt32BE(at + 5), payload: bytes.subarray(at + 9, end) });
    at = end;
  }
  return frames;
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

interface Other {
  readonly url: string;
  readonly socket: Promise<Socket>;
  /** Once so many bytes of messages have come. */
  hears(dataBytes: number): Promise<Frame[]>;
}

async function withOther(use: (other: Other) => Promise<void>): Promise<void> {
  let bytes = Buffer.alloc(0);
  let check = (): void => undefined;
  let connected: (socket: Socket) => void = () => undefined;
  const socket = new Promise<Socket>((resolve) => (connected = resolve));
  const server = createServer((each) => {
    connected(each);
    each.on('data', (more: Buffer) => {
      bytes = Buffer.concat([bytes, more]);
      check();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const dataBytes = (frames: readonly Frame[]): number =>
    frames.reduce((sum, { type, payload }) => sum + (type === 0 ? payload.length : 0), 0);
  try {
    await use({
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      socket,
      hears: (wanted) => new Promise((resolve) => {
        check = () => {
          const frames = framesOf(bytes);
          if (dataBytes(frames) >= wanted) resolve(frames);
        };
        check();
      }),
    });
  } finally {
    (await socket).destroy();
    server.close();
  }
}

test('no more is sent than the other side takes, and the rest when it takes more, in order', async (t) => {
  await withOther(async ({ url, socket, hears }) => {
    const connection = await UnaryConnection.open(url, '/a/B', () => undefined, (why) => t.fail(why));
    const message = Buffer.alloc(30_000, 'x');
    for (let i = 0; i < 5; i++) connection.send(message, i);
    connection.flush();
    const sent = (frames: readonly Frame[]): number[] => frames.filter(({ type }) => type === 1).map(({ stream }) => stream);
    // A ping's answer comes behind everything that was sent.
    (await socket).write(frame(6, 0, 0, Buffer.from('12345678')));
    const first = await hears(2 * message.length);
    t.deepEqual(sent(first), [1, 3]);
    const more = Buffer.alloc(4);
    more.writeUInt32BE(WINDOW_BYTES * 2);
    (await socket).write(frame(8, 0, 0, more));
    const all = await hears(5 * message.length);
    t.deepEqual(sent(all), [1, 3, 5, 7, 9]);
    t.true(all.every(({ payload }) => payload.length <= 16_384));
    const data = all.filter(({ type, stream }) => type === 0 && stream === 9);
    t.deepEqual(data.map(({ flags }) => flags), [0, 1]);
    connection.close();
  });
});

test('answers are told with what was given to send, however they are cut, and an error is not a good one', async (t) => {
  await withOther(async ({ url, socket, hears }) => {
    const answers: [number, boolean][] = [];
    let told = (): void => undefined;
    const three = new Promise<void>((resolve) => (told = resolve));
    const connection = await UnaryConnection.open(url, '/a/B', (at, isGood) => {
      answers.push([at, isGood]);
      if (answers.length === 3) told();
    }, (why) => t.fail(why));
    for (const at of [10, 20, 30]) connection.send(Buffer.alloc(8), at);
    connection.flush();
    await hears(24);
    const fields = Buffer.from('fields that nobody reads');
    const bytes = Buffer.concat([
      frame(4, 0, 0, Buffer.alloc(0)),
      frame(1, 4, 3, fields), frame(0, 0, 3, Buffer.alloc(300)), frame(1, 5, 5, fields), frame(1, 5, 3, fields),
      frame(3, 0, 1, Buffer.alloc(4)),
    ]);
    for (const byte of bytes) (await socket).write(Buffer.from([byte]));
    await three;
    t.deepEqual(answers, [[30, false], [20, true], [10, false]]);
    t.is(connection.underWay, 0);
    t.is(connection.bodyBytes, 300);
    connection.close();
  });
});

test('a connection that is sent away or hung up says so once', async (t) => {
  await withOther(async ({ url, socket }) => {
    const faults: string[] = [];
    let told = (): void => undefined;
    const fault = new Promise<void>((resolve) => (told = resolve));
    await UnaryConnection.open(url, '/a/B', () => undefined, (why) => {
      faults.push(why);
      told();
    });
    (await socket).end(frame(7, 0, 0, Buffer.from('\0\0\0\0\0\0\0\0too many pings')));
    await fault;
    t.deepEqual(faults, ['the server sends the load away: too many pings']);
  });
});

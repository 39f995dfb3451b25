// One connection, against a socket that says when it takes more, and what it answers.

import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import test from 'ava';
import { FLAG, FRAME } from '../../core/wire/http2/protocol.js';
import { frame, framesSoFar, ping, windowUpdate, type Frame } from '../core/wire/http2/kit.js';
import { UnaryConnection } from './unary-connection.js';

const PREFACE_BYTES = 24;
const WINDOW_BYTES = 65_535;

interface Other {
  readonly url: string;
  readonly socket: Promise<Socket>;
  /** All frames, once that is so. */
  hears(isEnough: (frames: readonly Frame[]) => boolean): Promise<Frame[]>;
}

/** So many bytes of messages have come. */
function brought(wanted: number): (frames: readonly Frame[]) => boolean {
  return (frames) => frames.reduce((sum, { type, payload }) => sum + (type === FRAME.data ? payload.length : 0), 0) >= wanted;
}

function hasPong(frames: readonly Frame[]): boolean {
  return frames.some(({ type, flags }) => type === FRAME.ping && flags === FLAG.ack);
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
  try {
    await use({
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      socket,
      hears: (isEnough) => new Promise((resolve) => {
        check = () => {
          const frames = framesSoFar(bytes.subarray(PREFACE_BYTES));
          if (isEnough(frames)) resolve(frames);
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
    const sent = (frames: readonly Frame[]): number[] =>
      frames.filter(({ type }) => type === FRAME.headers).map(({ stream }) => stream);
    // A ping's answer comes behind everything that was sent.
    (await socket).write(ping());
    const first = await hears(hasPong);
    t.deepEqual(sent(first), [1, 3]);
    t.true(brought(2 * message.length)(first));
    (await socket).write(windowUpdate(0, WINDOW_BYTES * 2));
    const all = await hears(brought(5 * message.length));
    t.deepEqual(sent(all), [1, 3, 5, 7, 9]);
    t.true(all.every(({ payload }) => payload.length <= 16_384));
    const data = all.filter(({ type, stream }) => type === FRAME.data && stream === 9);
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
    await hears(brought(24));
    const fields = Buffer.from('fields that nobody reads');
    const bytes = Buffer.concat([
      frame(FRAME.settings, 0, 0),
      frame(FRAME.headers, FLAG.endHeaders, 3, fields), frame(FRAME.data, 0, 3, Buffer.alloc(300)),
      frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 5, fields),
      frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 3, fields), frame(FRAME.rstStream, 0, 1, Buffer.alloc(4)),
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
    await UnaryConnection.open(url, '/a/B', () => undefined, (why) => void faults.push(why));
    const closed = once(await socket, 'close');
    (await socket).end(frame(FRAME.goaway, 0, 0, Buffer.from('\0\0\0\0\0\0\0\0too many pings')));
    // This end is closed when the other is, which hears of that in one of its next turns.
    await closed;
    await new Promise((resolve) => void setImmediate(resolve));
    t.deepEqual(faults, ['the server sends the load away: too many pings']);
  });
});

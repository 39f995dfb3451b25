// HTTP over HTTP/2, frame by frame: what exactly a caller is told and when, with a clock that stands still, and what the HTTP
// server behind is asked. Nothing here is a socket.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { duplexPair, type Duplex } from 'node:stream';
import test, { type ExecutionContext } from 'ava';
import { PLAIN_STREAMS_MAX, PLAIN_TOTAL_MAX } from '../../../../core/wire/http2/limits.js';
import { CODE, FLAG, FRAME, SETTING } from '../../../../core/wire/http2/protocol.js';
import type { ServeHttp } from '../../../../core/wire/http2/plain-stream.js';
import { Http2Server } from '../../../../core/wire/http2/server.js';
import { HeaderDecoder } from '../../../../core/wire/http2/header-decoder.js';
import { UnsentAnswers } from '../../../../core/wire/unsent.js';
import {
  block, data, frame, framesIn, headers, HELLO, reset, settings, StillClock, windowUpdate, type Fields, type Frame,
} from './kit.js';

/** Turns of the loop in which whatever happens within one process has happened. */
const TURNS_MAX = 2000;
/** As core/wire/http2/plain-stream.ts has it. */
const UNHEARD_MS = 100;

function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

class Server {
  readonly clock = new StillClock();
  readonly #http2 = new Http2Server(new Map(), {
    unsent: new UnsentAnswers(1_000_000, () => undefined), requestBytesMax: 1_000_000, observe: () => undefined,
    clock: this.clock, version: '0', nameOf: null,
  });

  accept(serve: ServeHttp): Peer {
    const [ours, theirs] = duplexPair();
    this.#http2.accept(Object.assign(theirs, { remoteAddress: '127.0.0.1', remotePort: 1 }), serve);
    return new Peer(ours, this.clock);
  }

  close(): void {
    this.#http2.close();
  }
}

class Peer {
  readonly #end: Duplex;
  readonly #clock: StillClock;
  readonly #decoder = new HeaderDecoder();
  readonly #heard: Buffer[] = [];

  constructor(end: Duplex, clock: StillClock) {
    this.#end = end;
    this.#clock = clock;
    end.on('data', (bytes: Buffer) => this.#heard.push(bytes));
    this.say(HELLO);
  }

  say(...bytes: readonly Uint8Array[]): void {
    this.#end.write(Buffer.concat(bytes));
  }

  /** Of one stream, as text: `200`, `"body"`, `end`, `reset 0`; waits until that is so. */
  async hears(t: ExecutionContext, stream: number, expected: readonly string[]): Promise<void> {
    for (let i = 0; i < TURNS_MAX && this.#told(stream).length < expected.length; i++) {
      await turn();
      this.#clock.pass(0);
    }
    t.deepEqual(this.#told(stream), expected);
  }

  /** Lets happen what can without more time. */
  async settle(): Promise<void> {
    for (let i = 0; i < 20; i++) {
      await turn();
      this.#clock.pass(0);
    }
  }

  /** Of the bodies of all answers so far. */
  get bodyBytes(): number {
    const frames = framesIn(Buffer.concat(this.#heard));
    return frames.reduce((sum, { type, payload }) => sum + (type === FRAME.data ? payload.length : 0), 0);
  }

  /** What the last frame of a stream says. */
  lastWords(stream: number): readonly string[] {
    const last = framesIn(Buffer.concat(this.#heard)).findLast((one) => one.stream === stream);
    return last === undefined ? [] : this.#wordsOf(last);
  }

  readonly #words: (readonly [stream: number, word: string])[] = [];
  #read = 0;

  #told(stream: number): readonly string[] {
    const frames = framesIn(Buffer.concat(this.#heard));
    for (const one of frames.slice(this.#read)) for (const word of this.#wordsOf(one)) this.#words.push([one.stream, word]);
    this.#read = frames.length;
    return this.#words.filter(([id]) => id === stream).map(([, word]) => word);
  }

  #wordsOf({ type, flags, payload }: Frame): readonly string[] {
    const end = (type === FRAME.data || type === FRAME.headers) && (flags & FLAG.endStream) !== 0 ? ['end'] : [];
    if (type === FRAME.data) return payload.length === 0 ? end : [JSON.stringify(payload.toString()), ...end];
    if (type === FRAME.rstStream) return [`reset ${payload.readUInt32BE(0)}`];
    if (type !== FRAME.headers) return [];
    let status = '';
    const onField = (name: string, value: string): void => {
      if (name === ':status') status = value;
    };
    this.#decoder.decode(payload, 0, payload.length, { onField });
    return [status, ...end];
  }
}

type Listener = (request: IncomingMessage, response: ServerResponse) => void;

function serving(listener: Listener): ServeHttp {
  const http = createServer(listener);
  return (stream) => void http.emit('connection', stream);
}

function open(t: ExecutionContext, listener: Listener): { readonly peer: Peer; readonly clock: StillClock } {
  const server = new Server();
  t.teardown(() => server.close());
  return { peer: server.accept(serving(listener)), clock: server.clock };
}

function post(stream: number, more: Fields = [], flags: number = FLAG.endHeaders): Buffer {
  return asked('POST', stream, [[':authority', 'here'], ...more], flags);
}

function asked(method: string, stream: number, more: Fields, flags: number = FLAG.endHeaders): Buffer {
  return headers(stream, flags, [[':method', method], [':scheme', 'http'], [':path', '/'], ...more]);
}

const WHOLE = FLAG.endHeaders | FLAG.endStream;

/** Says back what the server has seen. */
const echo: Listener = (request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => response.end(Buffer.concat(parts)));
};

test('an answer to what is not whole is there before the reset behind it', async (t) => {
  const { peer, clock } = open(t, (_request, response) => void response.end('no'));
  peer.say(post(1));
  await peer.hears(t, 1, ['200', '"no"']);
  clock.pass(UNHEARD_MS - 1);
  await peer.settle();
  await peer.hears(t, 1, ['200', '"no"']);
  clock.pass(1);
  await peer.hears(t, 1, ['200', '"no"', 'end', `reset ${CODE.noError}`]);
});

test('it ends with its request, if that does so before, and nothing is reset', async (t) => {
  const { peer, clock } = open(t, (_request, response) => void response.end('no'));
  peer.say(post(1));
  await peer.hears(t, 1, ['200', '"no"']);
  peer.say(data(1, 0, Buffer.from('rest')), data(1, FLAG.endStream, Buffer.from('end')));
  await peer.hears(t, 1, ['200', '"no"', 'end']);
  clock.pass(UNHEARD_MS);
  await peer.settle();
  await peer.hears(t, 1, ['200', '"no"', 'end']);
});

test('a caller who leaves while its end is held back leaves nothing behind', async (t) => {
  const { peer, clock } = open(t, (_request, response) => void response.end('no'));
  peer.say(post(1));
  await peer.hears(t, 1, ['200', '"no"']);
  const { scheduled } = clock;
  peer.say(reset(1));
  await peer.settle();
  t.is(clock.scheduled, scheduled - 1);
  await peer.hears(t, 1, ['200', '"no"']);
});

test('what is refused here is refused in the same way', async (t) => {
  const { peer, clock } = open(t, (_request, response) => void response.end('not asked'));
  peer.say(asked('get', 1, [[':authority', 'here']]), data(1, 0, Buffer.from('body')));
  await peer.settle();
  await peer.hears(t, 1, ['405']);
  clock.pass(UNHEARD_MS);
  await peer.hears(t, 1, ['405', 'end', `reset ${CODE.noError}`]);
  peer.say(asked('get', 3, [[':authority', 'here']], WHOLE));
  await peer.hears(t, 3, ['405', 'end']);
});

test('a request begins with its head: the server times what is to come', async (t) => {
  const seen: string[] = [];
  const { peer } = open(t, (request) => void seen.push(request.method ?? ''));
  peer.say(post(1));
  await peer.settle();
  t.deepEqual(seen, ['POST']);
});

test('who asks before he sends a body is told to, unless he has sent it', async (t) => {
  const asks: unknown[] = [];
  const { peer } = open(t, (request, response) => {
    asks.push(request.headers.expect);
    echo(request, response);
  });
  peer.say(post(1, [['expect', '100-Continue']]));
  await peer.hears(t, 1, ['100']);
  peer.say(data(1, FLAG.endStream, Buffer.from('body')));
  await peer.hears(t, 1, ['100', '200', '"body"', 'end']);
  peer.say(post(3, [['expect', '100-continue']], WHOLE));
  peer.say(post(5, [['expect', 'much']]), data(5, FLAG.endStream, Buffer.from('b')));
  await peer.hears(t, 3, ['200', 'end']);
  await peer.hears(t, 5, ['200', '"b"', 'end']);
  t.deepEqual(asks, [undefined, undefined, undefined]);
});

test('a body may end with trailers, and an answer to HEAD has a length and no body', async (t) => {
  const { peer } = open(t, (request, response) => {
    if (request.method !== 'HEAD') return echo(request, response);
    response.setHeader('Content-Length', 7);
    response.end();
  });
  peer.say(post(1), data(1, 0, Buffer.from('body')), frame(FRAME.headers, WHOLE, 1, block([['a', '1']])));
  await peer.hears(t, 1, ['200', '"body"', 'end']);
  peer.say(asked('HEAD', 3, [[':authority', 'here']], WHOLE));
  await peer.hears(t, 3, ['200', 'end']);
});

test('a caller who leaves within a body, or within an answer, is gone for the server too', async (t) => {
  const gone: string[] = [];
  const { peer } = open(t, (request, response) => {
    if (request.headers.answer !== undefined) response.write('part');
    request.on('error', () => gone.push('request'));
    response.on('close', () => gone.push('answer'));
  });
  peer.say(post(1), data(1, 0, Buffer.from('body')));
  await peer.settle();
  t.deepEqual(gone, []);
  peer.say(reset(1));
  await peer.settle();
  t.deepEqual(gone.toSorted(), ['answer', 'request']);
  gone.length = 0;
  peer.say(post(3, [['answer', '1']], WHOLE));
  await peer.hears(t, 3, ['200', '"part"']);
  peer.say(reset(3));
  await peer.settle();
  t.deepEqual(gone.toSorted(), ['answer', 'request']);
});

test('an answer that breaks off is not ended as if it were whole', async (t) => {
  const { peer } = open(t, (request, response) => {
    if (request.headers.now !== undefined) return void response.destroy();
    response.setHeader('Content-Length', 9);
    response.write('part', () => response.destroy());
  });
  const more = Array.from({ length: 10 }, () => data(3, 0, Buffer.alloc(16_000)));
  peer.say(post(1, [], WHOLE), post(3), ...more, post(5, [['now', '1']], WHOLE));
  await peer.hears(t, 1, ['200', '"part"', `reset ${CODE.internal}`]);
  await peer.hears(t, 3, ['200', '"part"', `reset ${CODE.internal}`]);
  await peer.hears(t, 5, [`reset ${CODE.internal}`]);
});

test('of the names of the host the authority counts, then the first; to say none is allowed, as in etcd', async (t) => {
  const { peer } = open(t, (request, response) => void response.end(request.headers.host));
  peer.say(asked('GET', 1, [[':authority', 'a'], ['host', 'b']], WHOLE));
  await peer.hears(t, 1, ['200', '"a"', 'end']);
  peer.say(asked('GET', 3, [['host', 'b'], ['host', 'c']], WHOLE));
  await peer.hears(t, 3, ['200', '"b"', 'end']);
  peer.say(asked('GET', 5, [], WHOLE), asked('GET', 7, [[':authority', ''], ['host', 'b']], WHOLE));
  await peer.hears(t, 5, ['200', 'end']);
  await peer.hears(t, 7, ['200', '"b"', 'end']);
});

test('on all connections so many are served at once; who is refused may come again when others have left', async (t) => {
  const server = new Server();
  t.teardown(() => server.close());
  const ends: Duplex[] = [];
  const never: ServeHttp = (stream) => void ends.push(stream);
  const peers = Array.from({ length: PLAIN_TOTAL_MAX / PLAIN_STREAMS_MAX }, () => server.accept(never));
  for (const peer of peers) peer.say(...Array.from({ length: PLAIN_STREAMS_MAX }, (_, i) => post(2 * i + 1, [], WHOLE)));
  const last = server.accept(never);
  await last.settle();
  t.is(ends.length, PLAIN_TOTAL_MAX);
  last.say(post(1, [], WHOLE));
  await last.hears(t, 1, [`reset ${CODE.refusedStream}`]);
  peers[0]?.say(reset(1), reset(3));
  await last.settle();
  last.say(post(3, [], WHOLE), post(5, [], WHOLE), post(7, [], WHOLE));
  await last.hears(t, 7, [`reset ${CODE.refusedStream}`]);
  t.is(ends.length, PLAIN_TOTAL_MAX + 2);
});

test('a large answer that is whole before its caller takes it is there when he does', async (t) => {
  const { peer } = open(t, (_request, response) => {
    response.write('x');
    // What comes while the rest is read already is told of at once, and nobody stops the end behind it.
    setImmediate(() => response.end(Buffer.alloc(300_000, 'x')));
  });
  peer.say(settings([SETTING.initialWindowSize, 0]), post(1, [], WHOLE));
  await peer.hears(t, 1, ['200']);
  await peer.settle();
  await peer.hears(t, 1, ['200']);
  peer.say(windowUpdate(1, 1_000_000), windowUpdate(0, 1_000_000));
  await peer.settle();
  t.is(peer.bodyBytes, 300_001);
  t.deepEqual(peer.lastWords(1), ['end']);
});

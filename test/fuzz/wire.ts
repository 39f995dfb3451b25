// Bytes nobody's client would send, at every layer of a port: messages inside frames, frames inside HTTP/2, HTTP/2 itself,
// HTTP/1, JSON and WebSockets. Everything is drawn from one seed. What is promised: nothing ends the server, nothing keeps
// it from answering an honest caller, and memory does not grow. Answers to garbage are nobody's matter.

import { connect, type Socket } from 'node:net';
import { Prng } from '../../core/base/prng.js';
import { connect as connectClient } from '../../core/wire/remote-client.js';

export interface FuzzReport {
  readonly cases: Readonly<Record<string, number>>;
  /** Of the honest caller, the slowest answer. */
  readonly slowestMs: number;
}

export interface FuzzOptions {
  readonly url: string;
  readonly seed: number;
  /** `/service/method` of what is served. */
  readonly paths: readonly string[];
  /** False: stop. Asked between rounds. */
  readonly goOn: () => boolean;
}

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const ANSWER_MS = 20_000;

/** Rejects when an honest caller is not answered. */
export async function fuzz({ url, seed, paths, goOn }: FuzzOptions): Promise<FuzzReport> {
  const chance = new Prng(seed);
  const client = connectClient(url);
  const cases: Record<string, number> = {};
  let slowestMs = 0;
  const kinds: readonly (readonly [string, () => Promise<void>])[] = [
    ['message', () => rawCase(url, chance, grpcCalls(chance, paths, (body) => framed(body, 0, body.length)))],
    ['frame', () => rawCase(url, chance, grpcCalls(chance, paths, (body) => brokenFrame(chance, body)))],
    ['http2', () => rawCase(url, chance, Buffer.concat([PREFACE, settings(), ...http2Frames(chance)]))],
    ['preface', () => rawCase(url, chance, mutated(chance, PREFACE))],
    ['http1', () => rawCase(url, chance, http1(chance))],
    ['json', () => rawCase(url, chance, jsonRequest(chance))],
    ['websocket', () => rawCase(url, chance, Buffer.concat([UPGRADE, ...webSocketFrames(chance)]))],
    ['noise', () => rawCase(url, chance, bytes(chance, chance.below(2000)))],
  ];
  try {
    while (goOn()) {
      for (const [kind, run] of kinds) {
        await Promise.all(Array.from({ length: 8 }, run));
        cases[kind] = (cases[kind] ?? 0) + 8;
      }
      const before = performance.now();
      await client.range({ key: Buffer.from('honest') }, { timeoutMs: ANSWER_MS });
      slowestMs = Math.max(slowestMs, performance.now() - before);
    }
  } finally {
    await client.close();
  }
  return { cases, slowestMs };
}

function pick<T>(chance: Prng, values: readonly T[]): T {
  const value = values[chance.below(values.length)];
  if (value === undefined) throw new Error('nothing to choose from');
  return value;
}

function bytes(chance: Prng, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => chance.below(256)));
}

/** A few bytes changed, taken away, doubled or put in. */
function mutated(chance: Prng, original: Buffer): Buffer {
  let result = Buffer.from(original);
  for (let i = 0; i <= chance.below(4); i++) {
    const at = chance.below(result.length + 1);
    const to = Math.min(result.length, at + chance.below(8));
    result = pick(chance, [
      () => Buffer.concat([result.subarray(0, at), bytes(chance, to - at), result.subarray(to)]),
      () => Buffer.concat([result.subarray(0, at), result.subarray(to)]),
      () => Buffer.concat([result.subarray(0, to), result.subarray(at)]),
      () => Buffer.concat([result.subarray(0, at), bytes(chance, 1 + chance.below(5)), result.subarray(at)]),
    ])();
  }
  return result;
}

/** Fields of every wire type, nested, with lengths and numbers at their ends. */
function protobuf(chance: Prng, depth = 0): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i < chance.below(6); i++) {
    const field = pick(chance, [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 15, 16, 1000, 536_870_911]);
    const type = chance.below(8);
    parts.push(varint(BigInt(field) * 8n + BigInt(type)));
    if (type === 0) parts.push(varint(pick(chance, [0n, 1n, 127n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n])));
    else if (type === 1) parts.push(bytes(chance, 8));
    else if (type === 5) parts.push(bytes(chance, 4));
    else if (type === 2) {
      const inner = depth < 30 && chance.below(2) === 0 ? protobuf(chance, depth + 1) : bytes(chance, chance.below(20));
      parts.push(varint(BigInt(chance.below(10) === 0 ? pick(chance, [0, 2 ** 31, 2 ** 40]) : inner.length)), inner);
    }
  }
  const whole = Buffer.concat(parts);
  return chance.below(3) === 0 ? mutated(chance, whole) : whole;
}

function varint(value: bigint): Buffer {
  const digits: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...digits, Number(rest)]);
    digits.push(Number(rest & 127n) | 128);
  }
}

function framed(body: Buffer, flag: number, length: number): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(length >>> 0, 1);
  return Buffer.concat([head, body]);
}

function brokenFrame(chance: Prng, body: Buffer): Buffer {
  const length = pick(chance, [body.length, body.length + 1, Math.max(0, body.length - 1), 0, 2 ** 31, 2 ** 32 - 1, 2_097_153]);
  const whole = framed(body, pick(chance, [0, 0, 1, 2, 255]), length);
  return pick(chance, [whole, whole.subarray(0, chance.below(5)), Buffer.concat([whole, whole]), mutated(chance, whole)]);
}

/**
 * A few calls on one connection; some are broken off in the same packet. Written by hand, since a client's library would
 * not send most of this.
 */
function grpcCalls(chance: Prng, paths: readonly string[], body: (message: Buffer) => Buffer): Buffer {
  const calls = Array.from({ length: 4 }, (_, i) => {
    const id = 2 * i + 1;
    const path = Buffer.from(pick(chance, paths));
    const headers: readonly (readonly [string, Buffer | string])[] = [
      [':method', pick(chance, ['POST', 'POST', 'POST', 'GET', 'PUT'])],
      [':path', chance.below(5) === 0 ? mutated(chance, path) : path],
      [':scheme', 'http'],
      [':authority', pick(chance, ['localhost', '', 'http://127.0.0.1:1', '\u00ff'])],
      ['content-type', pick(chance, ['application/grpc', 'application/grpc', 'application/grpc+proto', 'text/plain', ''])],
      ['te', 'trailers'],
      ['grpc-timeout', pick(chance, ['1S', '100m', '0n', '99999999H', 'x', ''])],
      ['grpc-encoding', pick(chance, ['identity', 'identity', 'gzip', 'deflate', 'nonsense'])],
      ['hasleader', pick(chance, ['true', 'false', 'x'])],
      ['token', chance.below(3) === 0 ? bytes(chance, chance.below(40)) : 'x'],
      ['x-bin', pick(chance, ['YQ', '', '!!!'])],
    ];
    const data = body(protobuf(chance)).subarray(0, 16_000);
    const end = chance.below(5) === 0 ? [h2Frame(3, 0, id, Buffer.from([0, 0, 0, 8]))] : [];
    return [h2Frame(1, 4, id, hpack(headers)), h2Frame(0, chance.below(4) === 0 ? 0 : 1, id, data), ...end];
  });
  return Buffer.concat([PREFACE, settings(), ...calls.flat()]);
}

export function h2Frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Literal, without a table and without Huffman (RFC 7541 6.2.2). */
export function hpack(headers: readonly (readonly [string, Buffer | string])[]): Buffer {
  const string = (value: Buffer | string): Buffer[] => {
    const raw = typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
    const length = raw.length < 127 ? [raw.length] : [127, ...varint(BigInt(raw.length - 127))];
    return [Buffer.from(length), raw];
  };
  return Buffer.concat(headers.flatMap(([name, value]) => [Buffer.from([0]), ...string(name), ...string(value)]));
}

export function settings(): Buffer {
  return Buffer.from('000000040000000000', 'hex');
}

/** Frames of every type, known or not, with flags, streams and lengths that do not fit. */
function http2Frames(chance: Prng): Buffer[] {
  return Array.from({ length: 1 + chance.below(30) }, () => {
    const payload = bytes(chance, pick(chance, [0, 1, 4, 5, 6, 8, 20, 200]));
    const length = chance.below(8) === 0 ? chance.below(2 ** 24) : payload.length;
    const head = Buffer.alloc(9);
    head.writeUIntBE(length, 0, 3);
    head[3] = chance.below(12);
    head[4] = pick(chance, [0, 1, 4, 5, 8, 32, 255]);
    head.writeUInt32BE(pick(chance, [0, 1, 1, 3, 2, 2 ** 31 - 1, 2 ** 32 - 1]), 5);
    return Buffer.concat([head, payload]);
  });
}

function http1(chance: Prng): Buffer {
  const long = 'X'.repeat(chance.below(9000));
  const method = pick(chance, ['GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'CONNECT', 'TRACE', 'PRI', long]);
  const path = pick(chance, [
    '/', '/health', '/v3/kv/range', '/v3/watch', '//v3/kv/range', '/v3/%00', '/v3/..%2f', '*', 'http://x/v3/kv/put',
  ]);
  const version = pick(chance, ['HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/9', '']);
  const lines = Array.from({ length: chance.below(12) }, () => pick(chance, [
    'Content-Length: 10', 'Content-Length: -1', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked, identity',
    'Upgrade: websocket', 'Upgrade: h2c', 'Connection: Upgrade, HTTP2-Settings', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA',
    'Expect: 100-continue', 'Host: a', 'Host: b', `X: ${'y'.repeat(chance.below(20_000))}`, 'Bad Header', ': empty', 'X:\tz\r',
    `Authorization: ${bytes(chance, 20).toString('latin1')}`, 'Origin: null',
  ]));
  const body = pick(chance, [
    '', '{"key":"YQ=="}', '5\r\nhello\r\n0\r\n\r\n', 'ffffffffffffffff\r\n', 'GET /health HTTP/1.1\r\n\r\n',
  ]);
  const whole = Buffer.from([`${method} ${path} ${version}`, ...lines, '', body].join('\r\n'), 'latin1');
  return chance.below(2) === 0 ? mutated(chance, whole) : whole;
}

const BODIES = [
  '{"key":"YQ==","range_end":"AA==","limit":"5","sort_order":"DESCEND"}',
  '{"compare":[{"key":"YQ==","target":"VALUE","value":"YQ=="}],"success":[{"request_put":{"key":"YQ==","value":"Yg=="}}]}',
  '{"create_request":{"key":"YQ==","start_revision":"1","filters":["NOPUT"]}}{"cancel_request":{"watch_id":"0"}}',
  '{"__proto__":{"key":"YQ=="},"constructor":{"prototype":{}},"toString":1}',
] as const;
const ROUTES = [
  'kv/range', 'kv/txn', 'watch', 'lease/keepalive', 'lease/grant', 'lock/unlock', 'election/leader', 'maintenance/alarm',
];

function jsonRequest(chance: Prng): Buffer {
  const deep = (): string => '['.repeat(chance.below(50_000));
  const text = chance.below(20) === 0 ? deep() : mutated(chance, Buffer.from(pick(chance, BODIES))).toString('latin1');
  const body = Buffer.from(text, 'latin1');
  const lines = [`POST /v3/${pick(chance, ROUTES)} HTTP/1.1`, 'Host: x', `Content-Length: ${body.length}`, 'Connection: close'];
  return Buffer.concat([Buffer.from([...lines, '', ''].join('\r\n')), body]);
}

const UPGRADE = Buffer.from([
  'GET /v3/watch HTTP/1.1', 'Host: x', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', '', '',
].join('\r\n'));

function webSocketFrames(chance: Prng): Buffer[] {
  return Array.from({ length: chance.below(10) }, () => {
    const mask = bytes(chance, 4);
    const text = Buffer.from(pick(chance, BODIES));
    const payload = text.map((byte, i) => byte ^ (mask[i % 4] ?? 0));
    const head = Buffer.from([0x81, 0x80 | 126, text.length >> 8, text.length & 255]);
    const whole = Buffer.concat([head, mask, payload]);
    return chance.below(2) === 0 ? mutated(chance, whole) : whole;
  });
}

/** Written in one piece or several, and left after a moment, whatever is answered. */
function rawCase(url: string, chance: Prng, whole: Buffer): Promise<void> {
  return new Promise((resolve) => {
    const { port, hostname } = new URL(url);
    const socket: Socket = connect(Number(port), hostname);
    const cut = chance.below(whole.length + 1);
    socket.on('error', () => undefined).on('data', () => undefined).on('close', () => resolve());
    socket.on('connect', () => {
      socket.write(whole.subarray(0, cut));
      setTimeout(() => void (socket.destroyed || socket.write(whole.subarray(cut))), chance.below(5));
      setTimeout(() => (chance.below(2) === 0 ? socket.end() : socket.destroy()), 20);
      setTimeout(() => socket.destroy(), 200);
    });
  });
}

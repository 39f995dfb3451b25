// What the server says back of a caller's own words, what it tells of those it cuts off, and what it counts of those who take
// nothing. Raw frames, no socket, and a clock that stands still.

import { duplexPair } from 'node:stream';
import test from 'ava';
import type { Method } from '../../../../core/wire/call.js';
import { HeaderDecoder } from '../../../../core/wire/http2/header-decoder.js';
import { PIECE_OVERHEAD_BYTES } from '../../../../core/wire/http2/limits.js';
import { FLAG, FRAME, SETTING } from '../../../../core/wire/http2/protocol.js';
import { Http2Server } from '../../../../core/wire/http2/server.js';
import { REPORT_MS, SETTINGS_MAX } from '../../../../core/wire/limits.js';
import { UnsentAnswers } from '../../../../core/wire/unsent.js';
import type { WireEvent } from '../../../../core/wire/wire-events.js';
import { data, framesIn, headers, HELLO, message, request, settings, StillClock, type Fields, type Frame } from './kit.js';

const METHODS: readonly Method[] = [
  { kind: 'unary', service: 'a.A', name: 'Echo', handle: (bytes) => Promise.resolve(bytes) },
  {
    // Says a hundred small things at once.
    kind: 'stream', service: 'a.A', name: 'Many',
    handle: async (_requests, _call, send) => {
      await Promise.all(Array.from({ length: 100 }, (_, i) => send(Buffer.from([i]))));
      await new Promise(() => undefined);
    },
  },
];

class Bench {
  readonly clock = new StillClock();
  readonly events: WireEvent[] = [];
  readonly unsent = new UnsentAnswers(1_000_000, () => undefined);
  readonly server = new Http2Server(new Map(METHODS.map((method) => [`/${method.service}/${method.name}`, method])), {
    unsent: this.unsent, requestBytesMax: 1_000_000, observe: (event) => void this.events.push(event),
    clock: this.clock, version: '0', nameOf: null,
  });

  /** Says hello and this, and takes whatever it hears. */
  async say(address: string, ...bytes: readonly Uint8Array[]): Promise<readonly Frame[]> {
    const [ours, theirs] = duplexPair();
    this.server.accept(Object.assign(theirs, { remoteAddress: address, remotePort: 1 }));
    const heard: Buffer[] = [];
    ours.on('error', () => undefined).on('data', (chunk: Buffer) => void heard.push(chunk));
    ours.write(Buffer.concat([HELLO, ...bytes]));
    await this.settle();
    return framesIn(Buffer.concat(heard));
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 20; i++) {
      await new Promise((resolve) => void setImmediate(resolve));
      this.clock.pass(0);
    }
  }
}

/** With these fields instead of the usual. */
function requestWith(fields: Fields): Fields {
  const isPseudo = ([name]: Fields[number]): boolean => name.startsWith(':');
  const others = request(fields.map(([name]) => name));
  return [...fields.filter(isPseudo), ...others, ...fields.filter((field) => !isPseudo(field))];
}

/** What calls with these fields, and a message said to be compressed, hear of their failure. */
async function messagesFor(...calls: readonly Fields[]): Promise<readonly string[]> {
  const frames = await new Bench().say('10.0.0.1', ...calls.flatMap((fields, i) => [
    headers(2 * i + 1, FLAG.endHeaders, requestWith(fields)), data(2 * i + 1, FLAG.endStream, message(Buffer.from('x'), 1)),
  ]));
  const decoder = new HeaderDecoder();
  const said: string[] = [];
  const onField = (name: string, value: string): void => void (name === 'grpc-message' && said.push(value));
  for (const { type, payload } of frames) if (type === FRAME.headers) decoder.decode(payload, 0, payload.length, { onField });
  return said;
}

const ECHO = [':path', '/a.A/Echo'] as const;

test('what callers said is repeated to them as it was, where it is short', async (t) => {
  t.deepEqual(await messagesFor(
    [[':path', '/no.Such/Thing']], [[':path', '/a.A/Thing']], [[':path', 'odd']], [[':path', '/caf\u00e9%/x']],
    [ECHO, ['grpc-timeout', '5x']], [ECHO, ['grpc-encoding', 'br']],
  ), [
    'unknown service no.Such', 'unknown method Thing for service a.A', 'malformed method name: "odd"',
    'unknown service caf%C3%A9%25', 'malformed grpc-timeout: "5x"',
    'grpc: Decompressor is not installed for grpc-encoding "br"',
  ]);
});

test('of what is long they hear the beginning: the next call may ask for all of it again by one byte', async (t) => {
  const long = '\u00ff'.repeat(3900);
  const said = await messagesFor(
    [[':path', `/${long}/x`]], [[':path', `/a.A/${long}`]], [[':path', long]],
    [ECHO, ['grpc-timeout', '\u0001'.repeat(3900)]], [ECHO, ['grpc-encoding', long]],
  );
  t.is(said.length, 5);
  for (const one of said) t.true(one.length > 1000 && one.length < 2000, `${one.slice(0, 40)}: ${one.length}`);
});

test('who is cut off again and again is told of at once, then counted by address', async (t) => {
  const bench = new Bench();
  const flood = Array.from({ length: SETTINGS_MAX }, () => settings());
  const told = (): unknown[] => bench.events.splice(0).filter(({ kind }) => kind === 'connection_flooded');
  const event = { kind: 'connection_flooded', what: 'settings' };
  for (const address of ['10.0.0.1', '10.0.0.2', '10.0.0.1', '10.0.0.1']) await bench.say(address, ...flood);
  t.deepEqual(told(), [{ ...event, address: '10.0.0.1', count: 1 }, { ...event, address: '10.0.0.2', count: 1 }]);
  bench.clock.pass(REPORT_MS);
  await bench.say('10.0.0.1', ...flood);
  t.deepEqual(told(), [{ ...event, address: '10.0.0.1', count: 3 }]);
});

test('small messages that nobody takes count for what they cost among the answers that wait', async (t) => {
  const bench = new Bench();
  const asked = headers(1, FLAG.endHeaders, requestWith([[':path', '/a.A/Many']]));
  await bench.say('10.0.0.1', settings([SETTING.initialWindowSize, 0]), asked);
  t.is(bench.unsent.bytes, 100 * (6 + PIECE_OVERHEAD_BYTES));
  bench.server.close();
  t.is(bench.unsent.bytes, 0);
});

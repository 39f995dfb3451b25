// What RFC 9113 asks of a server, section by section, as bytes and what must come of them. The behaviours are those that the
// conformance tools of HTTP/2 look for; where the standard leaves a choice, the row holds the one that was made here.

import { CODE, FLAG, FRAME, PREFACE, SETTING } from '../../../../core/wire/http2/protocol.js';
import {
  block, call, continuation, data, frame, goaway, headers, HELLO, message, ping, priority, request, REQUEST, reset, settings,
  SETTINGS_ACK, u32, windowUpdate, type Fields,
} from './kit.js';

export type Must =
  | { readonly goaway: number }
  | { readonly reset: number; readonly code: number }
  | { readonly answered: number }
  /** Nothing is said about it, and the connection goes on. */
  | 'nothing';

export interface Row {
  readonly section: string;
  readonly claim: string;
  /** Of the caller, behind HELLO. */
  readonly say: readonly Uint8Array[];
  readonly must: Must;
  /** Said before, and what comes of it is not looked at. */
  readonly first?: readonly Uint8Array[];
  /** Calls are answered as soon as they are whole; otherwise never. */
  readonly answers?: true;
  /** Without HELLO. */
  readonly isBare?: true;
}

const { endStream: END, endHeaders: HEADERS_END, padded: PADDED, priority: PRIORITY } = FLAG;
const ALL = END | HEADERS_END;
const PROTOCOL: Must = { goaway: CODE.protocol };
const SIZE: Must = { goaway: CODE.frameSize };
const CLOSED: Must = { goaway: CODE.streamClosed };
const NOTHING = Buffer.alloc(0);
const OPEN = headers(1);
/** The caller has said all, the server nothing. */
const HEARD = call(1);

function malformed(section: string, claim: string, fields: Fields): Row {
  return { section, claim, say: [headers(1, HEADERS_END, fields)], must: { reset: 1, code: CODE.protocol } };
}

/** Header fields with padding of `said` bytes, of which `real` are there. */
function padded(said: number, real = said, more: Uint8Array = NOTHING): Buffer {
  return Buffer.concat([Buffer.from([said]), more, block(REQUEST), Buffer.alloc(real)]);
}

function inThree(bytes: Buffer): Buffer[] {
  const [first, second, third] = [bytes.subarray(0, 9), bytes.subarray(9, 40), bytes.subarray(40)];
  return [frame(FRAME.headers, 0, 1, first), continuation(1, 0, second), continuation(1, HEADERS_END, third)];
}

const AT_BOUNDS = settings(
  [SETTING.enablePush, 1], [SETTING.maxFrameSize, 2 ** 24 - 1], [SETTING.initialWindowSize, 2 ** 31 - 1],
  [SETTING.headerTableSize, 2 ** 32 - 1], [SETTING.maxConcurrentStreams, 0], [SETTING.maxHeaderListSize, 0],
);

const PREFACE_ROWS: readonly Row[] = [
  {
    section: '3.4', claim: 'a preface that is not HTTP/2 ends the connection', isBare: true,
    say: [Buffer.from('PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n')], must: PROTOCOL,
  },
  {
    section: '3.4', claim: 'a wrong byte ends it before the preface is whole', isBare: true, say: [Buffer.from('PRX')],
    must: PROTOCOL,
  },
  { section: '3.4', claim: 'the first frame must be SETTINGS, not PING', isBare: true, say: [PREFACE, ping()], must: PROTOCOL },
  { section: '3.4', claim: 'the first frame must be SETTINGS, not HEADERS', isBare: true, say: [PREFACE, OPEN], must: PROTOCOL },
  {
    section: '3.4', claim: 'an acknowledgement is no first SETTINGS', isBare: true, say: [PREFACE, SETTINGS_ACK], must: PROTOCOL,
  },
  {
    section: '3.4', claim: 'a call right behind the preface is answered', isBare: true, answers: true, say: [HELLO, call(1)],
    must: { answered: 1 },
  },
];

const FRAME_ROWS: readonly Row[] = [
  {
    section: '4.1', claim: 'a frame of an unknown type is passed over', say: [frame(0x16, 0, 0, Buffer.alloc(8))],
    must: 'nothing',
  },
  {
    section: '4.1', claim: 'a frame of an unknown type on a stream is passed over', first: [OPEN],
    say: [frame(0xff, 0xff, 1, Buffer.alloc(8))], must: 'nothing',
  },
  {
    section: '4.1', claim: 'flags that mean nothing are passed over', answers: true,
    say: [headers(1, HEADERS_END | 0xd2), data(1, END | 0xf6)], must: { answered: 1 },
  },
  {
    section: '4.1', claim: 'the reserved bit of a stream is passed over', answers: true,
    say: [frame(FRAME.headers, HEADERS_END, 0x80000001, block(REQUEST)), data(1, END)], must: { answered: 1 },
  },
  {
    section: '4.2', claim: 'DATA of 16,384 bytes is taken', first: [OPEN],
    say: [data(1, 0, Buffer.concat([u32(0), Buffer.from([255]), Buffer.alloc(16_379)]))], must: 'nothing',
  },
  {
    section: '4.2', claim: 'DATA of 16,385 bytes ends the connection', first: [OPEN], say: [data(1, 0, Buffer.alloc(16_385))],
    must: SIZE,
  },
  {
    section: '4.2', claim: 'HEADERS of 16,385 bytes end the connection',
    say: [frame(FRAME.headers, HEADERS_END, 1, Buffer.alloc(16_385))], must: SIZE,
  },
  {
    section: '4.2', claim: 'its header alone ends the connection, before its bytes come',
    say: [frame(FRAME.data, 0, 1, Buffer.alloc(16_385)).subarray(0, 9)], must: SIZE,
  },
  {
    section: '4.2', claim: 'a frame of an unknown type may not be larger either', say: [frame(0x16, 0, 0, Buffer.alloc(16_385))],
    must: SIZE,
  },
  {
    section: '4.3', claim: 'a header block that cannot be read ends the connection',
    say: [frame(FRAME.headers, HEADERS_END, 1, Buffer.from([0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff]))],
    must: { goaway: CODE.compression },
  },
  {
    section: '4.3', claim: 'a header block that ends within a field ends the connection',
    say: [frame(FRAME.headers, HEADERS_END, 1, block(REQUEST).subarray(0, -1))], must: { goaway: CODE.compression },
  },
  {
    section: '4.3', claim: 'trailers that cannot be read end the connection', first: [OPEN],
    say: [frame(FRAME.headers, ALL, 1, Buffer.from([0xbf]))], must: { goaway: CODE.compression },
  },
  {
    section: '4.3', claim: 'header fields of another stream may not stand within a block',
    say: [headers(1, END), headers(3, ALL)], must: PROTOCOL,
  },
  { section: '4.3', claim: 'PRIORITY may not stand within a block', say: [headers(1, END), priority(1)], must: PROTOCOL },
  { section: '4.3', claim: 'PING may not stand within a block', say: [headers(1, 0), ping()], must: PROTOCOL },
  {
    section: '4.3', claim: 'WINDOW_UPDATE may not stand within a block', say: [headers(1, 0), windowUpdate(0, 1)], must: PROTOCOL,
  },
  {
    section: '4.3', claim: 'a frame of an unknown type may not stand within a block', say: [headers(1, 0), frame(0x16, 0, 0)],
    must: PROTOCOL,
  },
  {
    section: '4.3', claim: 'DATA may not stand within trailers', first: [OPEN],
    say: [frame(FRAME.headers, END, 1, block([['x', 'y']])), data(1)], must: PROTOCOL,
  },
];

const STATE_ROWS: readonly Row[] = [
  { section: '5.1', claim: 'idle: DATA ends the connection', say: [data(1, END)], must: PROTOCOL },
  { section: '5.1', claim: 'idle: RST_STREAM ends the connection', say: [reset(1)], must: PROTOCOL },
  { section: '5.1', claim: 'idle: WINDOW_UPDATE ends the connection', say: [windowUpdate(1, 100)], must: PROTOCOL },
  {
    section: '5.1', claim: 'idle: CONTINUATION ends the connection', say: [continuation(1, HEADERS_END, block(REQUEST))],
    must: PROTOCOL,
  },
  {
    section: '5.1', claim: 'idle: PUSH_PROMISE ends the connection',
    say: [frame(FRAME.pushPromise, HEADERS_END, 1, Buffer.concat([u32(2), block(REQUEST)]))], must: PROTOCOL,
  },
  { section: '5.1', claim: 'idle: PRIORITY is taken', say: [priority(1)], must: 'nothing' },
  { section: '5.1', claim: 'idle: a stream of the server has not begun either', first: [OPEN], say: [data(2)], must: PROTOCOL },
  { section: '5.1', claim: 'open: DATA is taken', first: [OPEN], say: [data(1)], must: 'nothing' },
  {
    section: '5.1', claim: 'open: trailers end the call', first: [OPEN, data(1)], answers: true,
    say: [headers(1, ALL, [['x', 'y']])], must: { answered: 1 },
  },
  { section: '5.1', claim: 'open: WINDOW_UPDATE is taken', first: [OPEN], say: [windowUpdate(1, 100)], must: 'nothing' },
  { section: '5.1', claim: 'open: PRIORITY is taken', first: [OPEN], say: [priority(1)], must: 'nothing' },
  { section: '5.1', claim: 'open: RST_STREAM ends the stream', first: [OPEN], say: [reset(1)], must: 'nothing' },
  {
    section: '5.1', claim: 'open: CONTINUATION of nothing ends the connection', first: [OPEN],
    say: [continuation(1, HEADERS_END, NOTHING)], must: PROTOCOL,
  },
  {
    section: '5.1', claim: 'half-closed: DATA resets the stream', first: [HEARD], say: [data(1, END)],
    must: { reset: 1, code: CODE.streamClosed },
  },
  {
    section: '5.1', claim: 'half-closed: HEADERS reset the stream', first: [HEARD], say: [headers(1, ALL)],
    must: { reset: 1, code: CODE.streamClosed },
  },
  {
    section: '5.1', claim: 'half-closed: CONTINUATION ends the connection', first: [HEARD],
    say: [continuation(1, HEADERS_END, block(REQUEST))], must: PROTOCOL,
  },
  { section: '5.1', claim: 'half-closed: WINDOW_UPDATE is taken', first: [HEARD], say: [windowUpdate(1, 100)], must: 'nothing' },
  { section: '5.1', claim: 'half-closed: PRIORITY is taken', first: [HEARD], say: [priority(1)], must: 'nothing' },
  { section: '5.1', claim: 'half-closed: RST_STREAM ends the stream', first: [HEARD], say: [reset(1)], must: 'nothing' },
  {
    section: '5.1', claim: 'closed by the caller: DATA ends the connection', first: [OPEN, reset(1)], say: [data(1)],
    must: CLOSED,
  },
  {
    section: '5.1', claim: 'closed by the caller: HEADERS end the connection', first: [OPEN, reset(1)], say: [headers(1, ALL)],
    must: CLOSED,
  },
  {
    section: '5.1', claim: 'closed by the caller: CONTINUATION ends the connection', first: [OPEN, reset(1)],
    say: [continuation(1, HEADERS_END, NOTHING)], must: PROTOCOL,
  },
  {
    section: '5.1', claim: 'closed by the caller: WINDOW_UPDATE is passed over', first: [OPEN, reset(1)],
    say: [windowUpdate(1, 1)], must: 'nothing',
  },
  {
    section: '5.1', claim: 'closed by the caller: PRIORITY is passed over', first: [OPEN, reset(1)], say: [priority(1)],
    must: 'nothing',
  },
  {
    section: '5.1', claim: 'closed by the caller: another RST_STREAM is passed over', first: [OPEN, reset(1)], say: [reset(1)],
    must: 'nothing',
  },
  {
    section: '5.1', claim: 'closed by both: DATA ends the connection', first: [HEARD], answers: true, say: [data(1)],
    must: CLOSED,
  },
  {
    section: '5.1', claim: 'closed by both: HEADERS end the connection', first: [HEARD], answers: true, say: [headers(1, ALL)],
    must: CLOSED,
  },
  {
    section: '5.1', claim: 'closed by both: CONTINUATION ends the connection', first: [HEARD], answers: true,
    say: [continuation(1, HEADERS_END, NOTHING)], must: PROTOCOL,
  },
  {
    section: '5.1', claim: 'closed by both: WINDOW_UPDATE is passed over', first: [HEARD], answers: true,
    say: [windowUpdate(1, 9)], must: 'nothing',
  },
  {
    section: '5.1', claim: 'closed by both: RST_STREAM is passed over', first: [HEARD], answers: true, say: [reset(1)],
    must: 'nothing',
  },
  {
    section: '5.1', claim: 'closed by the server: DATA under way is passed over', first: [OPEN, priority(1, 1)],
    say: [data(1), data(1, END)], must: 'nothing',
  },
  {
    section: '5.1', claim: 'closed by the server: trailers under way are passed over', first: [OPEN, priority(1, 1)],
    say: [headers(1, ALL, [['x', 'y']])], must: 'nothing',
  },
  {
    section: '5.1', claim: 'closed by the server: RST_STREAM is passed over', first: [OPEN, priority(1, 1)], say: [reset(1)],
    must: 'nothing',
  },
  {
    section: '5.1', claim: 'closed by the server: WINDOW_UPDATE is passed over', first: [OPEN, priority(1, 1)],
    say: [windowUpdate(1, 9)], must: 'nothing',
  },
  { section: '5.1.1', claim: 'an even stream ends the connection', say: [headers(2, ALL)], must: PROTOCOL },
  {
    section: '5.1.1', claim: 'a stream below the last one, which never began, ends the connection', first: [headers(5)],
    say: [headers(3, ALL)], must: PROTOCOL,
  },
  {
    section: '5.1.1', claim: 'streams may be left out', answers: true, first: [call(1)], say: [call(101)],
    must: { answered: 101 },
  },
  {
    section: '5.1.1', claim: 'the last stream there is may be used', answers: true, say: [call(2 ** 31 - 1)],
    must: { answered: 2 ** 31 - 1 },
  },
  { section: '5.1.1', claim: 'header fields of stream 0 end the connection', say: [headers(0, ALL)], must: PROTOCOL },
  {
    section: '5.1.2', claim: 'a stream beyond those agreed on is refused',
    first: [headers(1), headers(3), headers(5), headers(7)], say: [headers(9)], must: { reset: 9, code: CODE.refusedStream },
  },
  {
    section: '5.1.2', claim: 'a stream that ended makes room', answers: true,
    first: [headers(1), headers(3), headers(5), headers(7), reset(3)], say: [call(9)], must: { answered: 9 },
  },
  {
    section: '5.1.2', claim: 'what was refused is let pass', first: [headers(1), headers(3), headers(5), headers(7), headers(9)],
    say: [data(9, END)], must: 'nothing',
  },
  {
    section: '5.3.1', claim: 'a stream that depends on itself by HEADERS ends the connection',
    say: [frame(FRAME.headers, ALL | PRIORITY, 1, Buffer.concat([u32(1), Buffer.from([0]), block(REQUEST)]))], must: PROTOCOL,
  },
  {
    section: '5.3.1', claim: 'a stream that depends on itself by PRIORITY is reset', first: [OPEN], say: [priority(1, 1)],
    must: { reset: 1, code: CODE.protocol },
  },
  { section: '5.3.1', claim: 'an idle stream that depends on itself ends the connection', say: [priority(3, 3)], must: PROTOCOL },
  {
    section: '5.4.1', claim: 'an error of the connection says so and names the last stream', first: [OPEN], say: [data(0)],
    must: PROTOCOL,
  },
  {
    section: '5.4.1', claim: 'GOAWAY of the caller with an error lets open calls go on', first: [OPEN],
    say: [goaway(CODE.internal)], must: { goaway: CODE.noError },
  },
  {
    section: '5.4.2', claim: 'an error of one stream leaves the others', answers: true, first: [OPEN, headers(3), priority(1, 1)],
    say: [data(3, END)], must: { answered: 3 },
  },
];

const DEFINITION_ROWS: readonly Row[] = [
  { section: '6.1', claim: 'DATA of stream 0 ends the connection', say: [data(0)], must: PROTOCOL },
  {
    section: '6.1', claim: 'padding is no part of a message', answers: true, first: [OPEN],
    say: [data(1, END | PADDED, Buffer.concat([Buffer.from([3]), message(), Buffer.alloc(3)]))], must: { answered: 1 },
  },
  {
    section: '6.1', claim: 'padding may be all there is', first: [OPEN], say: [data(1, PADDED, Buffer.from([2, 0, 0]))],
    must: 'nothing',
  },
  {
    section: '6.1', claim: 'padding as long as DATA ends the connection', first: [OPEN],
    say: [data(1, PADDED, Buffer.from([3, 0, 0]))], must: PROTOCOL,
  },
  {
    section: '6.1', claim: 'padding beyond DATA ends the connection', first: [OPEN],
    say: [data(1, END | PADDED, Buffer.from([255, 0, 0]))], must: PROTOCOL,
  },
  {
    section: '6.1', claim: 'DATA without room for the length of its padding ends the connection', first: [OPEN],
    say: [data(1, PADDED, NOTHING)], must: SIZE,
  },
  {
    section: '6.2', claim: 'padded HEADERS are read', answers: true,
    say: [frame(FRAME.headers, HEADERS_END | PADDED, 1, padded(7)), data(1, END)], must: { answered: 1 },
  },
  {
    section: '6.2', claim: 'padded HEADERS with a priority are read', answers: true,
    say: [frame(FRAME.headers, HEADERS_END | PADDED | PRIORITY, 1, padded(7, 7, Buffer.alloc(5))), data(1, END)],
    must: { answered: 1 },
  },
  {
    section: '6.2', claim: 'padding beyond HEADERS ends the connection',
    say: [frame(FRAME.headers, ALL | PADDED, 1, padded(255, 0))], must: PROTOCOL,
  },
  {
    section: '6.2', claim: 'padding beyond HEADERS with a priority ends the connection',
    say: [frame(FRAME.headers, ALL | PADDED | PRIORITY, 1, padded(255, 0, Buffer.alloc(5)))], must: PROTOCOL,
  },
  {
    section: '6.2', claim: 'HEADERS without room for the length of their padding end the connection',
    say: [frame(FRAME.headers, ALL | PADDED, 1)], must: SIZE,
  },
  {
    section: '6.2', claim: 'HEADERS without room for their priority end the connection',
    say: [frame(FRAME.headers, ALL | PRIORITY, 1, Buffer.alloc(4))], must: SIZE,
  },
  { section: '6.3', claim: 'PRIORITY of stream 0 ends the connection', say: [priority(0)], must: PROTOCOL },
  {
    section: '6.3', claim: 'PRIORITY of another length resets the stream', first: [OPEN],
    say: [frame(FRAME.priority, 0, 1, Buffer.alloc(4))], must: { reset: 1, code: CODE.frameSize },
  },
  {
    section: '6.3', claim: 'PRIORITY of an idle stream does not begin those below it', answers: true, first: [priority(7)],
    say: [call(1)], must: { answered: 1 },
  },
  { section: '6.4', claim: 'RST_STREAM of stream 0 ends the connection', say: [reset(0)], must: PROTOCOL },
  {
    section: '6.4', claim: 'RST_STREAM of another length ends the connection', first: [OPEN],
    say: [frame(FRAME.rstStream, 0, 1, Buffer.alloc(3))], must: SIZE,
  },
  {
    section: '6.4', claim: 'RST_STREAM with a code nobody knows is taken', first: [OPEN], say: [reset(1, 0xdeadbeef)],
    must: 'nothing',
  },
  {
    section: '6.5', claim: 'an acknowledgement with a payload ends the connection',
    say: [frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(6))], must: SIZE,
  },
  {
    section: '6.5', claim: 'SETTINGS of a stream end the connection', say: [frame(FRAME.settings, 0, 1, Buffer.alloc(6))],
    must: PROTOCOL,
  },
  {
    section: '6.5', claim: 'an acknowledgement of a stream ends the connection', say: [frame(FRAME.settings, FLAG.ack, 1)],
    must: PROTOCOL,
  },
  {
    section: '6.5', claim: 'SETTINGS of a length that is no multiple of 6 end the connection',
    say: [frame(FRAME.settings, 0, 0, Buffer.alloc(8))], must: SIZE,
  },
  { section: '6.5', claim: 'an acknowledgement is taken', say: [SETTINGS_ACK], must: 'nothing' },
  { section: '6.5.2', claim: 'ENABLE_PUSH of 2 ends the connection', say: [settings([SETTING.enablePush, 2])], must: PROTOCOL },
  {
    section: '6.5.2', claim: 'INITIAL_WINDOW_SIZE of 2^31 ends the connection',
    say: [settings([SETTING.initialWindowSize, 2 ** 31])], must: { goaway: CODE.flowControl },
  },
  {
    section: '6.5.2', claim: 'MAX_FRAME_SIZE of 16,383 ends the connection', say: [settings([SETTING.maxFrameSize, 2 ** 14 - 1])],
    must: PROTOCOL,
  },
  {
    section: '6.5.2', claim: 'MAX_FRAME_SIZE of 2^24 ends the connection', say: [settings([SETTING.maxFrameSize, 2 ** 24])],
    must: PROTOCOL,
  },
  {
    section: '6.5.2', claim: 'a call behind settings nobody knows is answered', answers: true,
    say: [settings([0xff, 1], [0x4d44, 2 ** 32 - 1]), call(1)], must: { answered: 1 },
  },
  {
    section: '6.5.2', claim: 'a call behind settings at their bounds is answered', answers: true,
    say: [AT_BOUNDS, call(1)],
    must: { answered: 1 },
  },
  {
    section: '6.6', claim: 'PUSH_PROMISE ends the connection', first: [OPEN],
    say: [frame(FRAME.pushPromise, HEADERS_END, 1, Buffer.concat([u32(2), block(REQUEST)]))], must: PROTOCOL,
  },
  {
    section: '6.7', claim: 'PING of a stream ends the connection', first: [OPEN], say: [frame(FRAME.ping, 0, 1, Buffer.alloc(8))],
    must: PROTOCOL,
  },
  {
    section: '6.7', claim: 'PING of another length ends the connection', say: [frame(FRAME.ping, 0, 0, Buffer.alloc(6))],
    must: SIZE,
  },
  {
    section: '6.7', claim: 'an answer to a ping that nobody sent is passed over',
    say: [frame(FRAME.ping, FLAG.ack, 0, Buffer.alloc(8))], must: 'nothing',
  },
  {
    section: '6.8', claim: 'GOAWAY of a stream ends the connection', first: [OPEN],
    say: [frame(FRAME.goaway, 0, 1, Buffer.alloc(8))], must: PROTOCOL,
  },
  {
    section: '6.8', claim: 'GOAWAY that is too short ends the connection', say: [frame(FRAME.goaway, 0, 0, Buffer.alloc(7))],
    must: SIZE,
  },
  {
    section: '6.8', claim: 'GOAWAY of the caller lets its open calls end', answers: true, first: [OPEN, goaway()],
    say: [data(1, END)], must: { answered: 1 },
  },
  { section: '6.9', claim: 'a window of the connection that grows by 0 ends it', say: [windowUpdate(0, 0)], must: PROTOCOL },
  {
    section: '6.9', claim: 'a window of a stream that grows by 0 resets it', first: [OPEN], say: [windowUpdate(1, 0)],
    must: { reset: 1, code: CODE.protocol },
  },
  {
    section: '6.9', claim: 'WINDOW_UPDATE of another length ends the connection',
    say: [frame(FRAME.windowUpdate, 0, 0, Buffer.alloc(3))], must: SIZE,
  },
  {
    section: '6.9', claim: 'the reserved bit of an increment is passed over', say: [windowUpdate(0, 0x80000001)], must: 'nothing',
  },
  {
    section: '6.9.1', claim: 'a window of the connection beyond 2^31-1 ends it', first: [windowUpdate(0, 2 ** 31 - 1 - 65_535)],
    say: [windowUpdate(0, 1)], must: { goaway: CODE.flowControl },
  },
  {
    section: '6.9.1', claim: 'a window of a stream beyond 2^31-1 resets it', first: [OPEN, windowUpdate(1, 2 ** 31 - 1 - 65_535)],
    say: [windowUpdate(1, 1)], must: { reset: 1, code: CODE.flowControl },
  },
  {
    section: '6.9.2', claim: 'settings that push a window of a stream beyond 2^31-1 end the connection',
    first: [OPEN, windowUpdate(1, 2 ** 31 - 1 - 65_535)], say: [settings([SETTING.initialWindowSize, 65_536])],
    must: { goaway: CODE.flowControl },
  },
  {
    section: '6.10', claim: 'a block in many frames is read', answers: true,
    say: [...inThree(block(REQUEST)), data(1, END)],
    must: { answered: 1 },
  },
  {
    section: '6.10', claim: 'END_STREAM counts when the block is whole', answers: true,
    say: [frame(FRAME.headers, END, 1, block(REQUEST)), continuation(1, HEADERS_END, NOTHING)], must: { answered: 1 },
  },
  {
    section: '6.10', claim: 'END_STREAM of CONTINUATION means nothing',
    say: [frame(FRAME.headers, 0, 1, block(REQUEST)), continuation(1, ALL, NOTHING), data(1)], must: 'nothing',
  },
  {
    section: '6.10', claim: 'trailers in many frames are read', answers: true, first: [OPEN],
    say: [frame(FRAME.headers, END, 1, block([['x', 'y']])), continuation(1, HEADERS_END, NOTHING)], must: { answered: 1 },
  },
  {
    section: '6.10', claim: 'CONTINUATION of stream 0 ends the connection',
    say: [headers(1, END), continuation(0, HEADERS_END, NOTHING)], must: PROTOCOL,
  },
  {
    section: '6.10', claim: 'CONTINUATION of another stream ends the connection',
    say: [headers(1, END), continuation(3, HEADERS_END, NOTHING)], must: PROTOCOL,
  },
  {
    section: '6.10', claim: 'CONTINUATION behind a whole block ends the connection',
    say: [headers(1, ALL), continuation(1, HEADERS_END, NOTHING)], must: PROTOCOL,
  },
  {
    section: '6.10', claim: 'CONTINUATION behind a whole CONTINUATION ends the connection',
    say: [headers(1, END), continuation(1, HEADERS_END, NOTHING), continuation(1, HEADERS_END, NOTHING)], must: PROTOCOL,
  },
  {
    section: '6.10', claim: 'CONTINUATION behind DATA ends the connection', first: [OPEN, data(1)],
    say: [continuation(1, HEADERS_END, NOTHING)], must: PROTOCOL,
  },
];

const EXCHANGE_ROWS: readonly Row[] = [
  malformed('8.2.1', 'an upper case letter in a name resets the stream', request([], [['X-upper', 'y']])),
  malformed('8.2.1', 'an empty name resets the stream', request([], [['', 'y']])),
  malformed('8.2.1', 'a space in a name resets the stream', request([], [['a b', 'y']])),
  malformed('8.2.1', 'a colon within a name resets the stream', request([], [['a:b', 'y']])),
  malformed('8.2.1', 'a name beyond ASCII resets the stream', request([], [['\u00e4', 'y']])),
  malformed('8.2.1', 'a value with a line feed resets the stream', request([], [['token', 'a\nb']])),
  malformed('8.2.1', 'a value with a carriage return resets the stream', request([], [['x', 'a\rb']])),
  malformed('8.2.1', 'a value with a zero byte resets the stream', request([], [['x', '\0']])),
  malformed('8.2.1', 'a value that begins with a space resets the stream', request([], [['x', ' y']])),
  malformed('8.2.1', 'a value that ends with a tab resets the stream', request([], [['x', 'y\t']])),
  malformed('8.2.2', 'connection resets the stream', request([], [['connection', 'keep-alive']])),
  malformed('8.2.2', 'transfer-encoding resets the stream', request([], [['transfer-encoding', 'chunked']])),
  malformed('8.2.2', 'upgrade resets the stream', request([], [['upgrade', 'h2c']])),
  malformed('8.2.2', 'te other than trailers resets the stream', request(['te'], [['te', 'trailers, deflate']])),
  malformed('8.3', 'a pseudo-header field nobody knows resets the stream', request([], [[':test', 'y']])),
  malformed('8.3', 'that of an answer in a request resets the stream', [[':status', '200'], ...REQUEST]),
  malformed('8.3', 'a pseudo-header field behind an ordinary one resets the stream', request([':path'], [[':path', '/a/B']])),
  malformed('8.3.1', 'no :method resets the stream', request([':method'])),
  malformed('8.3.1', 'no :scheme resets the stream', request([':scheme'])),
  malformed('8.3.1', 'no :path resets the stream', request([':path'])),
  malformed('8.3.1', 'an empty :path resets the stream', [[':path', ''], ...request([':path'])]),
  malformed('8.3.1', 'two of :method reset the stream', [[':method', 'POST'], ...REQUEST]),
  malformed('8.3.1', 'two of :scheme reset the stream', [[':scheme', 'http'], ...REQUEST]),
  malformed('8.3.1', 'two of :path reset the stream', [[':path', '/a/B'], ...REQUEST]),
  malformed('8.3.1', 'two of :authority reset the stream', [[':authority', 'here'], ...REQUEST]),
  {
    section: '8.3.1', claim: 'no :authority is no fault', answers: true,
    say: [headers(1, HEADERS_END, request([':authority'])), data(1, END)], must: { answered: 1 },
  },
  {
    section: '8.1', claim: 'header fields that neither begin nor end a request reset the stream', first: [OPEN],
    say: [headers(1, HEADERS_END, [['x', 'y']])], must: { reset: 1, code: CODE.protocol },
  },
  {
    section: '8.1', claim: 'a pseudo-header field in trailers resets the stream', first: [OPEN],
    say: [headers(1, ALL, [[':method', 'POST']])], must: { reset: 1, code: CODE.protocol },
  },
  {
    section: '8.1', claim: 'connection in trailers resets the stream', first: [OPEN],
    say: [headers(1, ALL, [['connection', 'close']])], must: { reset: 1, code: CODE.protocol },
  },
  {
    section: '8.1.1', claim: 'a content-length beyond what came resets the stream',
    first: [headers(1, HEADERS_END, request([], [['content-length', '6']]))], say: [data(1, END)],
    must: { reset: 1, code: CODE.protocol },
  },
  {
    section: '8.1.1', claim: 'a content-length below what came in many frames resets the stream',
    first: [headers(1, HEADERS_END, request([], [['content-length', '5']]))], say: [data(1), data(1, END)],
    must: { reset: 1, code: CODE.protocol },
  },
  {
    section: '8.1.1', claim: 'a content-length of a request without a body resets the stream',
    say: [headers(1, ALL, request([], [['content-length', '5']]))], must: { reset: 1, code: CODE.protocol },
  },
  {
    section: '8.1.1', claim: 'a content-length that is what came is taken', answers: true,
    first: [headers(1, HEADERS_END, request([], [['content-length', '5']]))], say: [data(1, END)], must: { answered: 1 },
  },
  malformed('8.1.1', 'a content-length that is no number resets the stream', request([], [['content-length', '-1']])),
  malformed('8.1.1', 'two lengths reset the stream', request([], [['content-length', '5'], ['content-length', '6']])),
];

export const ROWS: readonly Row[] = [...PREFACE_ROWS, ...FRAME_ROWS, ...STATE_ROWS, ...DEFINITION_ROWS, ...EXCHANGE_ROWS];

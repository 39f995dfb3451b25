// Lets old Go clients in. etcdctl, dialing `http://host:port`, sends that whole url as the HTTP/2 `:authority`; etcd never
// looks at it, but Node's HTTP/2 resets such a stream, because `/` may not stand in an authority. So for connections that
// open as such clients do, each `/` in a literal `:authority` becomes `-` before Node sees it.
//
// Both characters are one byte plain and six bits in the Huffman code of HPACK (RFC 7541, appendix B), so the change is
// made in place: no length changes, and the entry the two ends keep in their tables has the same size on both sides.

import { Duplex } from 'node:stream';
import type { ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';

/** The client's preface and the header of its first frame: enough to decide. */
export const OPENING_BYTES = 24 + 9;

/** Go opens with an empty SETTINGS frame; no other library in use does. */
export function mayNeedRepair(opening: Uint8Array): boolean {
  return opening.length >= OPENING_BYTES && opening[24] === 0 && opening[25] === 0 && opening[26] === 0;
}

/** The socket with repaired input; output passes unchanged. Closing either closes both. */
export function repairAuthority(socket: Socket): Duplex {
  const frames = new FrameScanner();
  const duplex = new Duplex({
    read: () => void socket.resume(),
    write: (chunk: Buffer, _encoding, done) => void socket.write(chunk, done),
    writev: (chunks: { chunk: Buffer }[], done) => {
      socket.cork();
      chunks.forEach(({ chunk }, i) => socket.write(chunk, i === chunks.length - 1 ? done : undefined));
      socket.uncork();
    },
    final: (done) => void socket.end(done),
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  socket.on('data', (chunk: Buffer) => {
    for (const piece of frames.push(chunk)) {
      if (!duplex.push(piece)) socket.pause();
    }
  });
  // Not passed on: Node would begin to end its side, and must not write from there to the end of that, but does when an answer
  // comes just then; it takes that for a fault of its own, which ends the process. Whoever sends no more is done with HTTP/2.
  socket.on('end', () => duplex.destroy()).on('close', () => duplex.destroy());
  // What the library asks a connection about itself.
  Object.defineProperties(duplex, {
    remoteAddress: { get: () => socket.remoteAddress },
    remotePort: { get: () => socket.remotePort },
  });
  return duplex;
}

/** Node wraps a connection that is no socket of the system's, and does not ask it where it comes from. */
export function tellAddress({ socket }: ServerHttp2Session): void {
  const inner: unknown = Reflect.get(socket, 'stream');
  if (!(inner instanceof Duplex)) return;
  const address: unknown = Reflect.get(inner, 'remoteAddress');
  const port: unknown = Reflect.get(inner, 'remotePort');
  Reflect.set(socket, '_peername', { address, port });
}

const FRAME_HEADER_BYTES = 9;
const HEADERS = 1;
const PADDED = 0x08;
const PRIORITY = 0x20;
/** The size of frame this side has agreed to; a larger one is passed on for Node to refuse. */
const FRAME_BYTES_MAX = 16_384;

/** Follows the frames of one direction; holds back only what is needed to see a HEADERS frame whole. */
export class FrameScanner {
  #pending: Buffer = Buffer.alloc(0);
  /** Bytes that are passed on unseen: the preface at first, then the payloads of other frames. */
  #skip = 24;

  push(chunk: Buffer): Buffer[] {
    const bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    let at = 0;
    for (;;) {
      const skipped = Math.min(this.#skip, bytes.length - at);
      at += skipped;
      this.#skip -= skipped;
      if (this.#skip > 0 || bytes.length - at < FRAME_HEADER_BYTES) break;
      const length = bytes.readUIntBE(at, 3);
      const end = at + FRAME_HEADER_BYTES + length;
      if (bytes[at + 3] === HEADERS && length <= FRAME_BYTES_MAX) {
        if (end > bytes.length) break;
        repairHeaders(bytes.subarray(at + FRAME_HEADER_BYTES, end), bytes[at + 4] ?? 0);
      }
      this.#skip = end - at;
    }
    this.#pending = bytes.subarray(at);
    return at === 0 ? [] : [bytes.subarray(0, at)];
  }
}

function repairHeaders(payload: Buffer, flags: number): void {
  let from = 0;
  let to = payload.length;
  if ((flags & PADDED) !== 0) {
    to -= payload[0] ?? 0;
    from += 1;
  }
  if ((flags & PRIORITY) !== 0) from += 5;
  if (from < to) repairBlock(payload.subarray(from, to));
}

/** Index of `:authority` in the static table. */
const AUTHORITY = 1;

/** Walks the header fields (RFC 7541 §6) up to the authority; anything not understood is left as it is. */
function repairBlock(block: Buffer): void {
  const cursor = { at: 0 };
  while (cursor.at < block.length) {
    const first = block[cursor.at] ?? 0;
    if ((first & 0x80) !== 0) {
      readInteger(block, cursor, 7);
    } else if ((first & 0xe0) === 0x20) {
      readInteger(block, cursor, 5);
    } else {
      const name = readInteger(block, cursor, (first & 0x40) !== 0 ? 6 : 4);
      if (name === 0) readString(block, cursor);
      const value = readString(block, cursor);
      if (value === null) return;
      if (name !== AUTHORITY) continue;
      if (value.huffman) repairHuffman(value.bytes);
      else repairPlain(value.bytes);
      return;
    }
  }
}

/** RFC 7541 §5.1. Beyond four continuation bytes nothing here is that long: the cursor is put at the end. */
function readInteger(block: Buffer, cursor: { at: number }, prefixBits: number): number {
  const max = 2 ** prefixBits - 1;
  let value = (block[cursor.at++] ?? 0) & max;
  if (value < max) return value;
  for (let shift = 0; shift <= 21; shift += 7) {
    const byte = block[cursor.at++] ?? 0;
    value += (byte & 0x7f) * 2 ** shift;
    if ((byte & 0x80) === 0) return value;
  }
  cursor.at = block.length;
  return value;
}

function readString(block: Buffer, cursor: { at: number }): { huffman: boolean; bytes: Buffer } | null {
  const huffman = ((block[cursor.at] ?? 0) & 0x80) !== 0;
  const length = readInteger(block, cursor, 7);
  const from = cursor.at;
  cursor.at += length;
  return cursor.at > block.length ? null : { huffman, bytes: block.subarray(from, cursor.at) };
}

function repairPlain(bytes: Buffer): void {
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] === 0x2f) bytes[i] = 0x2d;
  }
}

/** The codes of length n are the numbers up to this, and no shorter code begins one of them. Longer ones end the walk. */
const GREATEST_CODE: readonly (readonly [bits: number, greatest: number])[] = [
  [5, 0x09],
  [6, 0x2d],
  [7, 0x7b],
  [8, 0xfd],
];
const SLASH = 0x18;
const DASH = 0x16;

function repairHuffman(bytes: Buffer): void {
  const bitsTotal = bytes.length * 8;
  for (let at = 0; at < bitsTotal; ) {
    const found = GREATEST_CODE.find(([bits, greatest]) => at + bits <= bitsTotal && readBits(bytes, at, bits) <= greatest);
    if (found === undefined) return;
    const [bits] = found;
    if (bits === 6 && readBits(bytes, at, 6) === SLASH) writeBits(bytes, at, 6, DASH);
    at += bits;
  }
}

function readBits(bytes: Buffer, at: number, count: number): number {
  let value = 0;
  for (let i = at; i < at + count; i++) value = value * 2 + (((bytes[i >> 3] ?? 0) >> (7 - (i & 7))) & 1);
  return value;
}

function writeBits(bytes: Buffer, at: number, count: number, value: number): void {
  for (let i = 0; i < count; i++) {
    const bit = (value >> (count - 1 - i)) & 1;
    const index = (at + i) >> 3;
    const mask = 1 << (7 - ((at + i) & 7));
    bytes[index] = bit === 1 ? (bytes[index] ?? 0) | mask : (bytes[index] ?? 0) & ~mask;
  }
}

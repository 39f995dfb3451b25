// What passes over one TCP connection: records, each with a length, a kind and two checksums. The first one guards the head,
// so that a damaged length is noticed before it is waited for; the second the body. Whoever stands between two members and
// wants to see single frames uses `FrameReader` on each direction and `tagsOf` on what it yields.
//
//   length of the body u32 · kind u8 · 0 u8 u16 · checksum of the body u32 · checksum of these twelve bytes u32 · body
//
// A connection begins with one record from each side. Hello: magic · protocol u16 · group u8 · cluster u64 · from u64 ·
// to u64. Its answer is `welcome` with the same form, or `refused` with the reason as text. Somebody who has no id yet may
// send `describe` instead, and gets `description`. Afterwards: frames of the lanes, and heartbeats when idle: no body,
// or a byte that says whether an echo is wanted (0) or this is it (1), and eight bytes that come back as they are.

import { assert } from '../base/assert.js';
import { checksum } from '../base/crc.js';
import { EMPTY, view } from '../base/bytes.js';
import type { NodeId } from '../raft/types.js';
import { DecodeError } from './codec.js';
import { decodeFrame } from './frame.js';
import {
  DESCRIPTION_BYTES_MAX, FRAME_BYTES_MAX, HELLO_BYTES_MAX, OWN_BYTES_MIN, ROOM_BYTES_MAX, ROOM_BYTES_MIN,
} from './limits.js';
import type { Lane } from './transport.js';

export type RecordKind = 'heartbeat' | 'hello' | 'welcome' | 'refused' | 'describe' | 'description' | Lane;

export interface FrameRecord {
  readonly kind: RecordKind;
  /** Valid for ever; nothing writes to it. */
  readonly body: Uint8Array;
  /** Head and body as they came, for whoever passes them on. */
  readonly bytes: Uint8Array;
}

/** Which lanes share a connection: a snapshot has its own, so that it delays no heartbeat. */
export type LaneGroup = 'control' | 'bulk';

export interface Hello {
  readonly group: LaneGroup;
  readonly clusterId: bigint;
  readonly from: NodeId;
  readonly to: NodeId;
}

export const HEAD_BYTES = 16;
export const PROTOCOL = 1;
const MAGIC = 'coterie\n';
const HELLO_BYTES = 35;
const HEARTBEAT_BYTES = 9;
const GROUPS: readonly LaneGroup[] = ['control', 'bulk'];
const KINDS: readonly RecordKind[] = [
  'heartbeat', 'hello', 'welcome', 'refused', 'describe', 'description', 'raft', 'call', 'snapshot',
];
const BODY_BYTES_MAX: Readonly<Record<RecordKind, number>> = {
  heartbeat: HEARTBEAT_BYTES, hello: HELLO_BYTES_MAX, welcome: HELLO_BYTES_MAX, refused: HELLO_BYTES_MAX,
  describe: HELLO_BYTES_MAX, description: DESCRIPTION_BYTES_MAX,
  raft: FRAME_BYTES_MAX, call: FRAME_BYTES_MAX, snapshot: FRAME_BYTES_MAX,
};

export function groupOf(lane: Lane): LaneGroup {
  return lane === 'snapshot' ? 'bulk' : 'control';
}

/** The head of a record; its body follows unchanged, in one piece or in two. */
export function recordHead(kind: RecordKind, body: Uint8Array, rest: Uint8Array = EMPTY): Buffer {
  const length = body.length + rest.length;
  if (length > BODY_BYTES_MAX[kind]) assert(false, `a ${kind} record of ${length} bytes; at most ${BODY_BYTES_MAX[kind]}`);
  const head = Buffer.allocUnsafe(HEAD_BYTES);
  head.writeUInt32LE(length, 0);
  head.writeUInt32LE(KINDS.indexOf(kind), 4);
  head.writeUInt32LE(rest.length === 0 ? checksum(body) : checksum(rest, checksum(body)), 8);
  head.writeUInt32LE(checksum(head.subarray(0, 12)), 12);
  return head;
}

/**
 * Cuts a stream into records, whatever pieces it comes in. Throws `DecodeError` for what no member sends; nothing can be read
 * after that, for nobody knows where the next record begins. Keeps what has arrived of one record; because of a length alone,
 * which its checksum vouches for, it sets aside `ROOM_BYTES_MAX` at most. A large record lies in memory of its own, without its
 * neighbours, so that who keeps it keeps nothing else.
 */
export class FrameReader {
  /** What has arrived of the record under way, where it has no room. */
  #chunks: Buffer[] = [];
  /** Where the record under way is put together, once its head has been read. */
  #room: Buffer | null = null;
  #bytes = 0;
  /** Bytes of the record under way, once its head has been read. */
  #needed = HEAD_BYTES;
  #bodyBytesMax: number;

  /** `firstBytesMax`: the first record says who speaks; as long as nobody knows, nothing large is waited for. */
  constructor(firstBytesMax = FRAME_BYTES_MAX) {
    this.#bodyBytesMax = firstBytesMax;
  }

  /** Bytes held of a record that is not complete. */
  get heldBytes(): number {
    return this.#bytes;
  }

  push(chunk: Uint8Array): readonly FrameRecord[] {
    const records: FrameRecord[] = [];
    let buffer = this.#toRoom(view(chunk), records);
    if (this.#room !== null || (buffer.length === 0 && this.#bytes === 0)) return records;
    this.#chunks.push(buffer);
    this.#bytes += buffer.length;
    if (this.#bytes < this.#needed) return records;
    buffer = this.#joined();
    while (buffer.length >= HEAD_BYTES) {
      this.#needed = HEAD_BYTES + readHead(buffer, this.#bodyBytesMax);
      if (buffer.length < this.#needed) break;
      const isAmongOthers = this.#needed >= OWN_BYTES_MIN && this.#needed * 8 < buffer.buffer.byteLength * 7;
      records.push(this.#take(isAmongOthers ? ownCopy(buffer, this.#needed) : buffer));
      buffer = buffer.subarray(this.#needed);
      this.#needed = HEAD_BYTES;
    }
    this.#hold(buffer);
    return records;
  }

  /** Fills the room; what is left of `chunk` behind it. */
  #toRoom(chunk: Buffer, records: FrameRecord[]): Buffer {
    const room = this.#room;
    if (room === null) return chunk;
    const copied = chunk.copy(room, this.#bytes);
    this.#bytes += copied;
    if (this.#bytes < this.#needed) return chunk.subarray(copied);
    records.push(this.#take(room));
    this.#room = null;
    this.#bytes = 0;
    this.#needed = HEAD_BYTES;
    return chunk.subarray(copied);
  }

  /** The record that `buffer` begins with. */
  #take(buffer: Buffer): FrameRecord {
    const kind = kindOf(buffer);
    const body = buffer.subarray(HEAD_BYTES, this.#needed);
    if (checksum(body) !== buffer.readUInt32LE(8)) throw new DecodeError(`the checksum of a ${kind} record is wrong`);
    this.#bodyBytesMax = FRAME_BYTES_MAX;
    return { kind, body, bytes: buffer.subarray(0, this.#needed) };
  }

  /** The beginning of a record. */
  #hold(buffer: Buffer): void {
    this.#bytes = buffer.length;
    const hasRoom = this.#needed >= ROOM_BYTES_MIN && this.#needed <= ROOM_BYTES_MAX;
    if (!hasRoom) {
      this.#chunks = buffer.length > 0 ? [buffer] : [];
      return;
    }
    this.#chunks = [];
    this.#room = Buffer.allocUnsafeSlow(this.#needed);
    buffer.copy(this.#room);
  }

  #joined(): Buffer {
    const [first] = this.#chunks;
    return this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks, this.#bytes);
  }
}

function ownCopy(buffer: Buffer, length: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(length);
  buffer.copy(copy);
  return copy;
}

function kindOf(head: Buffer): RecordKind {
  const code = head.readUInt32LE(4);
  const kind = KINDS[code];
  if (kind === undefined) throw new DecodeError(`a record of kind ${code}; this version knows 0 to ${KINDS.length - 1}`);
  return kind;
}

/** The length of the body. */
function readHead(buffer: Buffer, bodyBytesMax: number): number {
  if (checksum(buffer.subarray(0, 12)) !== buffer.readUInt32LE(12)) throw new DecodeError('the checksum of a head is wrong');
  const length = buffer.readUInt32LE(0);
  const kind = kindOf(buffer);
  const most = Math.min(BODY_BYTES_MAX[kind], bodyBytesMax);
  if (length > most) throw new DecodeError(`a ${kind} record of ${length} bytes; at most ${most}`);
  return length;
}

/** Lane and kinds of what a record carries, such as `['raft', 'append']` or `['snapshot', 'piece']`; empty beside the lanes. */
export function tagsOf(record: FrameRecord): readonly string[] {
  const { kind, body } = record;
  if (kind !== 'raft' && kind !== 'call' && kind !== 'snapshot') return [];
  const frame = decodeFrame(body);
  if (frame.body.kind !== 'messages') return [kind, frame.body.kind];
  return [kind, ...new Set(frame.body.messages.map((message) => message.kind))];
}

export function encodeHello({ group, clusterId, from, to }: Hello, protocol = PROTOCOL): Buffer {
  const body = Buffer.alloc(HELLO_BYTES);
  body.write(MAGIC, 'latin1');
  body.writeUInt16LE(protocol, 8);
  body[10] = GROUPS.indexOf(group);
  body.writeBigUInt64LE(clusterId, 11);
  body.writeBigUInt64LE(from, 19);
  body.writeBigUInt64LE(to, 27);
  return body;
}

export function decodeHello(bytes: Uint8Array): Hello {
  const body = view(bytes);
  if (body.length < 10 || body.toString('latin1', 0, 8) !== MAGIC) throw new DecodeError('a hello that is not ours');
  const protocol = body.readUInt16LE(8);
  if (protocol !== PROTOCOL) throw new DecodeError(`protocol ${protocol} between members; this release speaks ${PROTOCOL}`);
  if (body.length !== HELLO_BYTES) throw new DecodeError(`a hello of ${body.length} bytes`);
  const group = GROUPS[body.readUInt8(10)];
  if (group === undefined) throw new DecodeError('a hello for lanes that this version does not know');
  return { group, clusterId: body.readBigUInt64LE(11), from: body.readBigUInt64LE(19), to: body.readBigUInt64LE(27) };
}

// The tag on a proposal that one member wrote and another appended: whose it is, and which. The member that wrote it finds
// its caller by it when it applies the entry. A leader's own proposals carry none: it knows their slots.
//
//   byte 0xf7 | origin (8 bytes) | session (4) | sequence (6) | the command         commands never begin with 0xf7

import { EMPTY } from '../base/bytes.js';
import type { NodeId } from '../raft/types.js';

export interface Tag {
  readonly origin: NodeId;
  /** The process start of the origin: sequences begin anew with each. */
  readonly session: number;
  readonly sequence: number;
}

const MARK = 0xf7;

export const TAG_BYTES = 19;
const SEQUENCE_AT = 13;

export function withTag(tag: Tag, command: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(TAG_BYTES + command.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = MARK;
  view.setBigUint64(1, tag.origin);
  view.setUint32(9, tag.session);
  view.setUint16(13, Math.floor(tag.sequence / 2 ** 32));
  view.setUint32(15, tag.sequence % 2 ** 32);
  bytes.set(command, TAG_BYTES);
  return bytes;
}

/** What the tags of one process start begin with. */
export function tagMark(origin: NodeId, session: number): Uint8Array {
  return withTag({ origin, session, sequence: 0 }, EMPTY).subarray(0, SEQUENCE_AT);
}

/** Of data tagged with `mark`; 0, which is no sequence: it is not. Makes no objects, for it is asked of every entry. */
export function sequenceUnder(mark: Uint8Array, data: Uint8Array): number {
  if (!isTagged(data)) return 0;
  for (let i = 0; i < SEQUENCE_AT; i++) if (data[i] !== mark[i]) return 0;
  let sequence = 0;
  for (let i = SEQUENCE_AT; i < TAG_BYTES; i++) sequence = sequence * 256 + (data[i] ?? 0);
  return sequence;
}

/** Writes the tag with this mark and sequence at `at`. */
export function writeTag(target: Uint8Array, at: number, mark: Uint8Array, sequence: number): void {
  for (let i = 0; i < SEQUENCE_AT; i++) target[at + i] = mark[i] ?? 0;
  let rest = sequence;
  for (let i = TAG_BYTES - 1; i >= SEQUENCE_AT; i--) {
    target[at + i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}

export function isTagged(data: Uint8Array): boolean {
  return data[0] === MARK && data.length > TAG_BYTES;
}

export function commandIn(data: Uint8Array): Uint8Array {
  return isTagged(data) ? data.subarray(TAG_BYTES) : data;
}

// How a connection between members opens, and who is at the other end when it opens otherwise: wrong URLs and wrong ports are
// told apart by the first bytes, so that an operator reads what to change and not that a checksum is wrong.

import { text, view } from '../base/bytes.js';
import { DecodeError } from './codec.js';
import type { FrameReader, FrameRecord } from './framing.js';

/** What to do where one end has TLS and the other one not. */
export const ONE_SCHEME = 'give all members URLs of one kind: http:// throughout, or https:// with --peer-cert-file and '
  + '--peer-key-file';

/** A request line of HTTP/1, or the preface of HTTP/2. */
export function isHttp(chunk: Uint8Array): boolean {
  return /^[A-Z]{3,7} [^ ]{1,4096} ?(?:HTTP\/)?/.test(view(chunk).toString('latin1', 0, 64));
}

/** The greeting of a client in TLS (RFC 8446 5.1). No record that a member begins with has this length. */
export function isTlsGreeting(chunk: Uint8Array): boolean {
  return chunk[0] === 0x16 && (chunk[1] ?? 3) === 3;
}

/**
 * What is answered on a connection that was dialled: the first record and those that came with it; none yet. Throws
 * `DecodeError` for a refusal and for what is no answer of a member.
 */
export function readAnswer(reader: FrameReader, chunk: Uint8Array): readonly FrameRecord[] {
  if (reader.heldBytes === 0 && view(chunk).toString('latin1', 0, 5) === 'HTTP/') {
    throw new DecodeError('it speaks HTTP; give the URL where that member listens for others (--listen-peer-urls)');
  }
  const records = reader.push(chunk);
  const [first] = records;
  if (first?.kind === 'refused') throw new DecodeError(`refused: ${text(first.body)}`);
  return records;
}

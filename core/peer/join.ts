// Before a member has an id it asks a running cluster, at any peer port, who the members are: one question, one answer, and
// the connection is over. The answer is plain data of a known form; anything else is an error that names the address.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import { EMPTY, text, utf8 } from '../base/bytes.js';
import { DecodeError, Reader } from './codec.js';
import { addressOf } from './address.js';
import { FrameReader, recordHead } from './framing.js';
import { DESCRIPTION_BYTES_MAX } from './limits.js';
import { dial, reasonOf, type PeerTls } from './tcp-transport.js';

/** What everybody knows about a member; the same fields as the store's record of it. */
export interface DescribedMember {
  readonly id: bigint;
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
  readonly incarnation: bigint;
}

export interface Description {
  readonly clusterId: bigint;
  readonly members: readonly DescribedMember[];
}

const FORM = 1;

/** form u8 · cluster u64 · count u16 · members: id u64 · incarnation u64 · learner u8 · name · peer URLs · client URLs. */
export function encodeDescription({ clusterId, members }: Description): Uint8Array {
  const parts: Buffer[] = [u8(FORM), u64(clusterId), u16(members.length)];
  for (const { id, name, peerUrls, clientUrls, isLearner, incarnation } of members) {
    parts.push(u64(id), u64(incarnation), u8(isLearner ? 1 : 0), ...words([name]), u16(peerUrls.length), ...words(peerUrls));
    parts.push(u16(clientUrls.length), ...words(clientUrls));
  }
  return Buffer.concat(parts);
}

/** Throws `DecodeError` for anything else. */
export function decodeDescription(bytes: Uint8Array): Description {
  const reader = new Reader(bytes);
  const form = reader.u8('the form');
  if (form !== FORM) throw new DecodeError(`a description of form ${form}; this release knows ${FORM}`);
  const clusterId = reader.id('a cluster');
  const count = reader.u16('the count of members');
  const members: DescribedMember[] = [];
  for (let i = 0; i < count; i++) {
    const id = reader.id('a member');
    const incarnation = reader.id('an incarnation');
    const isLearner = reader.flags(1) === 1;
    const name = readWord(reader);
    members.push({ id, incarnation, isLearner, name, peerUrls: readWords(reader), clientUrls: readWords(reader) });
  }
  reader.end();
  return { clusterId, members };
}

/** Asks the member at `url`; an error says what happened there. */
export function fetchDescription(
  url: string, tls: PeerTls | null, clock: Clock, timeoutMs: number, done: Done<Uint8Array>,
): void {
  if (addressOf(url) === null) {
    return void clock.schedule(0, () => done(new Error(`${url} is not an http:// or https:// address of a member`)));
  }
  let isOver = false;
  const reader = new FrameReader();
  const end = (error: string | null, description?: Uint8Array): void => {
    if (isOver) return;
    isOver = true;
    cancel();
    socket.destroy();
    if (error === null) done(null, description);
    else done(new Error(`asking ${url} who the members are: ${error}`));
  };
  const cancel = clock.schedule(timeoutMs, () => end(`no answer within ${timeoutMs} ms`));
  const socket = dial(url, tls ?? undefined, () => socket.write(recordHead('describe', EMPTY)));
  socket.on('error', (error) => end(reasonOf(error)));
  socket.on('close', () => end('the connection was closed before it was answered'));
  socket.on('data', (chunk: Buffer) => {
    if (isOver) return;
    try {
      const [answer] = reader.push(chunk);
      if (answer?.kind === 'description') end(null, answer.body.slice(0, DESCRIPTION_BYTES_MAX));
      else if (answer !== undefined) end(answer.kind === 'refused' ? text(answer.body) : `a ${answer.kind} record`);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      end(error.message);
    }
  });
}

function words(texts: readonly string[]): Buffer[] {
  return texts.flatMap((each) => {
    const bytes = utf8(each);
    return [u16(bytes.length), Buffer.from(bytes)];
  });
}

function readWords(reader: Reader): readonly string[] {
  const count = reader.u16('the count of URLs');
  if (count * 2 > reader.rest) throw new DecodeError(`${count} URLs in ${reader.rest} bytes`);
  return Array.from({ length: count }, () => readWord(reader));
}

function readWord(reader: Reader): string {
  return text(reader.bytes(reader.u16('the length of a text'), 'a text'));
}

function u8(value: number): Buffer {
  return Buffer.from([value]);
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

// A snapshot on the wire (contract 9): pieces of 32 KiB that count down, then the SHA-256 of all of them. Tools store the
// pieces one after another and ask that the size, without the hash, be a multiple of 512, as a page file's is. So bytes of
// another length are filled up with zeros and a trailer that says how many of them are meant:
//
//   payload · zeros · "coterie\0" · length of the payload (8 bytes, big endian)
//
// Both directions are here; `coterie snapshot` reads files with the same words.

import { createHash, type Hash } from 'node:crypto';
import { utf8, view } from '../base/bytes.js';
import type { SnapshotStream } from '../client.js';
import { ApiError } from '../errors.js';
import type { CallContext } from './call.js';
import { SNAPSHOT_BLOB_BYTES } from './limits.js';
import * as rpc from './schema/generated/rpc.js';

const PAGE_BYTES = 512;
export const SHA256_BYTES = 32;
const MARK = utf8('coterie\0');
export const TRAILER_BYTES = 16;

/** What follows a payload of this size to fill its last page; empty when it ends with one. */
export function paddingOf(payloadBytes: number): Uint8Array {
  if (payloadBytes % PAGE_BYTES === 0 && payloadBytes > 0) return new Uint8Array(0);
  const pages = Math.ceil((payloadBytes + TRAILER_BYTES) / PAGE_BYTES);
  const padding = Buffer.alloc(pages * PAGE_BYTES - payloadBytes);
  padding.set(MARK, padding.length - TRAILER_BYTES);
  padding.writeBigUInt64BE(BigInt(payloadBytes), padding.length - 8);
  return padding;
}

/** How many of `paddedBytes` are the payload; `end`: the last of them, at least 16 where there are so many. */
export function payloadBytesOf(end: Uint8Array, paddedBytes: number): number {
  const trailer = view(end.subarray(Math.max(0, end.length - TRAILER_BYTES)));
  if (trailer.length < TRAILER_BYTES || !trailer.subarray(0, MARK.length).equals(MARK)) return paddedBytes;
  const length = Number(trailer.readBigUInt64BE(MARK.length));
  return length <= paddedBytes - TRAILER_BYTES ? length : paddedBytes;
}

/** Answers one Snapshot request. */
export async function serveSnapshot(
  stream: SnapshotStream,
  call: CallContext,
  send: (answer: Uint8Array) => Promise<void>,
): Promise<void> {
  const hash = createHash('sha256');
  const pieces = new Pieces(async (blob, remainingBytes) => {
    hash.update(blob);
    await send(rpc.SnapshotResponse.encode({ header: undefined, remainingBytes, blob }).finish());
  });
  let payloadBytes = 0;
  try {
    for await (const { bytes, remainingBytes } of stream) {
      if (call.signal.aborted) break;
      payloadBytes += bytes.length;
      await pieces.push(bytes, remainingBytes + paddingOf(payloadBytes + remainingBytes).length);
    }
  } finally {
    stream.close();
  }
  if (call.signal.aborted) {
    if (call.signal.reason instanceof ApiError) throw call.signal.reason;
    return;
  }
  await pieces.push(paddingOf(payloadBytes), 0);
  await pieces.flush();
  await send(rpc.SnapshotResponse.encode({ header: undefined, remainingBytes: 0, blob: hash.digest() }).finish());
}

/** Cuts bytes into blobs of one size; the last may be shorter. */
class Pieces {
  readonly #send: (blob: Uint8Array, remainingBytes: number) => Promise<void>;
  readonly #buffer = new Uint8Array(SNAPSHOT_BLOB_BYTES);
  #filled = 0;

  constructor(send: (blob: Uint8Array, remainingBytes: number) => Promise<void>) {
    this.#send = send;
  }

  /** `remainingBytes`: what comes after `bytes`. */
  async push(bytes: Uint8Array, remainingBytes: number): Promise<void> {
    let at = 0;
    while (at < bytes.length) {
      const taken = Math.min(this.#buffer.length - this.#filled, bytes.length - at);
      this.#buffer.set(bytes.subarray(at, at + taken), this.#filled);
      this.#filled += taken;
      at += taken;
      if (this.#filled === this.#buffer.length) await this.#out(bytes.length - at + remainingBytes);
    }
  }

  async flush(): Promise<void> {
    if (this.#filled > 0) await this.#out(0);
  }

  async #out(remainingBytes: number): Promise<void> {
    const blob = this.#buffer.slice(0, this.#filled);
    this.#filled = 0;
    await this.#send(blob, remainingBytes);
  }
}

export interface SnapshotPiece {
  readonly bytes: Uint8Array;
  readonly remainingBytes: number;
}

/**
 * Reads the answers of a server. The hash is the last answer and is no piece: everything before it is handed on as it comes,
 * one answer late, and the end is an error unless the hash fits.
 */
export class SnapshotReader {
  readonly #hash: Hash = createHash('sha256');
  #held: rpc.SnapshotResponse | null = null;

  /** The piece that is certain to be one now, if any. */
  push(answer: Uint8Array): SnapshotPiece | null {
    const message = rpc.SnapshotResponse.decode(answer);
    const held = this.#held;
    this.#held = message;
    if (held === null) return null;
    this.#hash.update(held.blob);
    return { bytes: held.blob, remainingBytes: held.remainingBytes };
  }

  /** To be called when the server has said that it is done. */
  end(): void {
    const sum = this.#held?.blob;
    if (sum?.length === SHA256_BYTES && this.#hash.digest().equals(sum)) return;
    throw new ApiError('internal', { detail: 'the snapshot arrived damaged: its SHA-256 does not fit; ask for it again' });
  }
}

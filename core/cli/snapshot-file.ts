// A snapshot as a file: what `coterie snapshot save` and `etcdctl snapshot save` write, the stream's bytes one after another
// with the SHA-256 at the end (wire/snapshot-stream.ts). Writing is all or nothing; reading refuses rather than guesses.

import {
  closeSync, existsSync, fstatSync, fsyncSync, lstatSync, openSync, readSync, renameSync, rmSync, writeSync, type Stats,
} from 'node:fs';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { isBolt } from '../store/bolt-reader.js';
import { Store } from '../store/store.js';
import { payloadBytesOf, SHA256_BYTES, TRAILER_BYTES } from '../wire/snapshot-stream.js';
import { Refusal } from './refusal.js';

const PAGE_BYTES = 512;
const READ_BYTES = 1024 * 1024;
const HEAD_BYTES = 64;

/** Writes beside `file` and renames when all is there and on the disk; what was under that name is replaced. */
export class SnapshotWriter {
  readonly #file: string;
  readonly #part: string;
  readonly #fd: number;
  readonly #hash = createHash('sha256');
  sizeBytes = 0;

  constructor(file: string) {
    this.#file = file;
    this.#part = `${file}.part`;
    try {
      rmSync(this.#part, { force: true });
      this.#fd = openSync(this.#part, 'wx', 0o600);
    } catch (error) {
      const remedy = 'give a path in a directory that exists and that this user may write to';
      throw new Refusal(`could not open ${this.#part} (${messageOf(error)})`, remedy, { exitCode: 1, cause: error });
    }
  }

  write(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#append(bytes);
    this.sizeBytes += bytes.length;
  }

  finish(): void {
    this.#append(this.#hash.digest());
    fsyncSync(this.#fd);
    closeSync(this.#fd);
    renameSync(this.#part, this.#file);
    const directory = openSync(path.dirname(path.resolve(this.#file)), 'r');
    fsyncSync(directory);
    closeSync(directory);
  }

  /** Leaves nothing. */
  discard(): void {
    closeSync(this.#fd);
    rmSync(this.#part, { force: true });
  }

  #append(bytes: Uint8Array): void {
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
    } catch (error) {
      const problem = `could not write ${this.#part} (${messageOf(error)})`;
      throw new Refusal(problem, 'make room, or save it to another disk', { exitCode: 1, cause: error });
    }
  }
}

/** The bytes of the snapshot itself, checked: they have the hash that stands behind them. */
export interface SnapshotBytes {
  /** The file without the hash. */
  readonly sizeBytes: number;
  /** It is etcd's database file, whoever wrote it; else frames of the store, as earlier releases of coterie saved them. */
  readonly isEtcdFile: boolean;
  chunks(): Iterable<Uint8Array>;
  read(offset: number, length: number): Buffer;
  close(): void;
}

/** `skipHash`: for a file whose hash was cut off; the snapshot's own checksums still count. */
export function openSnapshot(file: string, skipHash = false): SnapshotBytes {
  const stats = statsOf(file);
  const again = 'save it again: coterie snapshot save';
  if (stats.isSymbolicLink()) throw refusal(`${file} is a link`, 'name the file itself, so that it is certain what is read');
  if (!stats.isFile()) throw refusal(`${file} is not a file`, 'name the file that coterie snapshot save wrote');
  if (stats.size === 0) throw refusal(`${file} is empty`, again);
  const fd = openSync(file, 'r');
  try {
    // What was named may have been replaced by something else under our hands.
    const sizeBytes = fstatSync(fd).size;
    const hashed = sizeBytes % PAGE_BYTES === SHA256_BYTES;
    if (!hashed && !skipHash) {
      throw refusal(`${file} is not a whole snapshot: ${sizeBytes} bytes are not whole pages and a hash`, again);
    }
    const paddedBytes = hashed ? sizeBytes - SHA256_BYTES : sizeBytes;
    if (hashed && !skipHash) checkHash(fd, file, paddedBytes);
    const tail = bytesAt(fd, Math.max(0, paddedBytes - TRAILER_BYTES), Math.min(TRAILER_BYTES, paddedBytes));
    const payloadBytes = payloadBytesOf(tail, paddedBytes);
    return {
      sizeBytes: paddedBytes,
      isEtcdFile: isBolt(bytesAt(fd, 0, HEAD_BYTES)),
      chunks: () => chunksOf(fd, payloadBytes),
      read: (offset, length) => bytesAt(fd, offset, length),
      close: () => closeSync(fd),
    };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** The store a snapshot holds. What a file says is checked as far as its form allows, whatever was skipped. */
export function loadStore(file: string, bytes: SnapshotBytes): Store {
  const loader = Store.load();
  try {
    if (bytes.isEtcdFile) return Store.loadEtcdFile(bytes);
    for (const chunk of bytes.chunks()) loader.push(chunk);
    return loader.finish();
  } catch (error) {
    const remedy = 'it is damaged, or a snapshot of neither coterie nor etcd: use another one, or save it again';
    throw new Refusal(`${file}: ${messageOf(error)}`, remedy, { exitCode: 1, cause: error });
  }
}

function statsOf(file: string): Stats {
  if (!existsSync(file)) throw refusal(`${file}: no such file`, 'check the path');
  return lstatSync(file);
}

function checkHash(fd: number, file: string, sizeBytes: number): void {
  const hash = createHash('sha256');
  for (const chunk of chunksOf(fd, sizeBytes)) hash.update(chunk);
  if (hash.digest().equals(bytesAt(fd, sizeBytes, SHA256_BYTES))) return;
  const remedy = 'use another one or save it again; --skip-hash-check takes it as it is, if its own checksums hold';
  throw refusal(`${file} is damaged: its SHA-256 does not fit`, remedy);
}

function* chunksOf(fd: number, sizeBytes: number): Iterable<Uint8Array> {
  for (let at = 0; at < sizeBytes; at += READ_BYTES) yield bytesAt(fd, at, Math.min(READ_BYTES, sizeBytes - at));
}

/** Fewer than asked for become zeros: a file that shrinks under our hands fails its checksums. */
function bytesAt(fd: number, at: number, count: number): Buffer {
  const bytes = Buffer.alloc(count);
  let filled = 0;
  while (filled < count) {
    const read = readSync(fd, bytes, filled, count - filled, at + filled);
    if (read === 0) break;
    filled += read;
  }
  return bytes;
}

function refusal(problem: string, remedy: string): Refusal {
  return new Refusal(problem, remedy, { exitCode: 1 });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

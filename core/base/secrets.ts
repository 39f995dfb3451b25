// The door to what must not be guessed: random bytes, digests, and passwords as bcrypt has them. Hashing a password takes a
// tenth of a second of a whole core on purpose, so it has a thread of its own: not the event loop, whose heartbeats it would
// delay, and not the pool of threads that syncs the log.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import type { Done } from './done.js';

export interface Secrets {
  /** From the system's generator, fit for keys. */
  random(length: number): Uint8Array;
  /** SHA-256, in hexadecimal. */
  digest(text: string): string;
  /** Takes as long whether or not, and wherever, they differ; of texts of one length. */
  isSame(a: string, b: string): boolean;
  /** One after the other, in the order asked. */
  hash(password: string, cost: number, done: Done<string>): void;
  /** False too for a hash that is none. */
  verify(password: string, hash: string, done: Done<boolean>): void;
  /** Ends the thread; whoever waits is told. */
  close(): void;
}

export type HashOrder =
  | { readonly id: number; readonly password: string; readonly cost: number }
  | { readonly id: number; readonly password: string; readonly hash: string };

export type HashAnswer =
  | { readonly id: number; readonly value: string | boolean }
  | { readonly id: number; readonly failure: string };

/** bcrypt looks at this many bytes of a password and at none behind them. */
export const PASSWORD_BYTES_MAX = 72;

/** What bcrypt writes: version, cost, salt and hash. */
export function isBcryptHash(hash: string): boolean {
  return /^\$2[abxy]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}$/.test(hash);
}

export function costOf(hash: string): number {
  return Number(hash.slice(4, 6));
}

/** Starts its thread with the first password; the thread does not keep the process. */
export function systemSecrets(): Secrets {
  return new SystemSecrets();
}

class SystemSecrets implements Secrets {
  #thread: Worker | null = null;
  #last = 0;
  readonly #waiting = new Map<number, Done<string | boolean>>();

  random(length: number): Uint8Array {
    return randomBytes(length);
  }

  digest(text: string): string {
    return createHash('sha256').update(text, 'utf8').digest('hex');
  }

  isSame(a: string, b: string): boolean {
    const [left, right] = [Buffer.from(a), Buffer.from(b)];
    return left.length === right.length && timingSafeEqual(left, right);
  }

  hash(password: string, cost: number, done: Done<string>): void {
    this.#ask((id) => ({ id, password, cost }), (error, value) => (error === null ? done(null, String(value)) : done(error)));
  }

  verify(password: string, hash: string, done: Done<boolean>): void {
    this.#ask((id) => ({ id, password, hash }), (error, value) => (error === null ? done(null, value === true) : done(error)));
  }

  close(): void {
    const thread = this.#thread;
    this.#thread = null;
    void thread?.terminate();
    this.#failAll(new Error('the thread that hashes passwords was ended'));
  }

  #ask(order: (id: number) => HashOrder, done: Done<string | boolean>): void {
    const thread = this.#thread ?? this.#start();
    const id = (this.#last += 1);
    this.#waiting.set(id, done);
    thread.ref();
    thread.postMessage(order(id));
  }

  #start(): Worker {
    // What Node was told of the text it runs, such as --input-type, is not true of a file.
    const thread = new Worker(new URL('./secrets-thread.js', import.meta.url), { execArgv: [] });
    this.#thread = thread;
    let cause = new Error('the thread that hashes passwords ended by itself');
    thread.on('message', (answer: HashAnswer) => {
      const done = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if (this.#waiting.size === 0) thread.unref();
      if ('failure' in answer) done?.(new Error(answer.failure));
      else done?.(null, answer.value);
    });
    thread.on('error', (error) => {
      cause = error instanceof Error ? error : new Error(String(error));
    });
    thread.on('exit', () => {
      if (this.#thread !== thread) return;
      this.#thread = null;
      this.#failAll(cause);
    });
    return thread;
  }

  #failAll(error: Error): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const done of waiting) done(error);
  }
}

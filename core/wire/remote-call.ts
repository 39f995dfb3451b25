// One call of a remote client under way, and what the library's errors say about it: above all whether it may have happened.

import { onceAborted } from '../base/abort.js';
import type { Clock } from '../base/clock.js';
import { ApiError, canceled, Status } from '../errors.js';
import { errorOf } from './status.js';

/**
 * What the library reports when a call has not left: no connection when it was to be sent, or a stream that could not be
 * opened. These texts are the library's only sign of it; the version is pinned, and a test asks for them.
 */
const NEVER_SENT = /^(?:No connection established|Name resolution failed|Failed to start HTTP\/2 stream|Resolution failed)/;

/**
 * What the library reports when a stream was reset: by a proxy whose server went away, say. It makes a status of the reset's
 * code, and some of those would blame the request. A reset says nothing about the request, only that no answer will come.
 */
const RESET = /^(?:Received RST_STREAM |Call cancelled$|Bandwidth exhausted or |Protocol not secure enough$)/;

/** The error a call failed with. */
export function failureOf(error: { code?: number; details?: string; message: string } | null): ApiError {
  if (error === null) return new ApiError('internal', { detail: 'the server answered with nothing' });
  const text = error.details ?? error.message;
  if (RESET.test(text)) return new ApiError('connection_lost', { detail: text });
  return errorOf({ code: error.code ?? Status.unknown, text }, !NEVER_SENT.test(text));
}

/** One call under way: its time-out, its signal, and whether it may have reached a server. */
export class Call {
  /** True from when the request was handed to the library. */
  sent = false;
  done = false;
  /** Stops whatever is under way for this call. */
  giveUp: (why: ApiError) => void = () => undefined;
  readonly #reject: (error: ApiError) => void;
  readonly #signal: AbortSignal | null;
  readonly #cancelTimer: () => void;
  readonly #onDone: () => void;
  readonly #onAbort = (): void => this.fail(canceled(this.#signal?.reason));

  constructor(
    signal: AbortSignal | null,
    clock: Clock,
    timeoutMs: number,
    reject: (error: ApiError) => void,
    onDone: () => void,
  ) {
    this.#signal = signal;
    this.#reject = reject;
    this.#onDone = onDone;
    onceAborted(signal ?? undefined, this.#onAbort);
    this.#cancelTimer = clock.schedule(Math.max(1, timeoutMs), () => {
      const late = new ApiError('deadline_exceeded', { detail: `${timeoutMs} ms` });
      this.fail(this.sent ? late : new ApiError('unavailable', { detail: `none took the request within ${timeoutMs} ms` }));
    });
  }

  fail(error: ApiError): void {
    if (!this.finish()) return;
    this.giveUp(error);
    this.#reject(error);
  }

  /** False when it was over already. */
  finish(): boolean {
    if (this.done) return false;
    this.done = true;
    this.#cancelTimer();
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#onDone();
    return true;
  }
}

// All keep-alives of a remote client over one stream. An answer names only the lease, so answers are matched by order
// within a lease: the server answers in the order of the requests. When the stream breaks, what is unanswered is asked
// again on the next one: renewing twice is harmless, and the caller counts its time from when it asked. So it is when the
// other end falls silent, long before the connection's own pings notice: a lease may be shorter than those.

import type { Clock } from '../base/clock.js';
import type { KeepAlive, LeaseId } from '../client.js';
import { ApiError } from '../errors.js';
import { readKeepAlive } from './convert.js';
import { CLIENT_KEEPALIVES_MAX } from './limits.js';
import { mayLoginHelp } from './remote-login.js';
import { backoffMs, isWorthReopening, type ByteStream, type OpenStream } from './remote-stream.js';
import { LeaseKeepAliveRequest, LeaseKeepAliveResponse } from './schema/generated/rpc.js';

const PATH = '/etcdserverpb.Lease/LeaseKeepAlive';

/** `settle` null: the caller has given up; the place in the order stays until the answer comes. */
interface Waiting {
  settle: ((error: ApiError | null, answer?: KeepAlive) => void) | null;
}

/** A renewal under way. */
export interface Pending {
  /** Nobody waits for it any more. `elsewhere`: for want of an answer, and there is somebody else to ask. */
  giveUp(elsewhere: boolean): void;
}

export class RemoteKeepAlives {
  readonly #open: OpenStream;
  readonly #clock: Clock;
  /** Unanswered requests, oldest first, by lease. Invariant: on an open stream each has been sent once. */
  readonly #waiting = new Map<LeaseId, Waiting[]>();
  #count = 0;
  #stream: ByteStream | null = null;
  #attempts = 0;
  /** A new token was asked for, and nothing has been answered since. */
  #isRenamed = false;
  /** Answers so far: nobody is silent who has answered since. */
  #answers = 0;
  #cancelReopen: (() => void) | null = null;

  constructor(open: OpenStream, clock: Clock) {
    this.#open = open;
    this.#clock = clock;
  }

  get isIdle(): boolean {
    return this.#count === 0;
  }

  /** Calls `settle` once, unless the caller gives up before. */
  renew(lease: LeaseId, settle: (error: ApiError | null, answer?: KeepAlive) => void): Pending {
    if (this.#count >= CLIENT_KEEPALIVES_MAX) {
      settle(new ApiError('too_many_requests'));
      return { giveUp: () => undefined };
    }
    const waiting: Waiting = { settle };
    const queue = this.#waiting.get(lease);
    if (queue === undefined) this.#waiting.set(lease, [waiting]);
    else queue.push(waiting);
    this.#count++;
    if (this.#stream !== null) this.#stream.send(request(lease));
    else if (this.#cancelReopen === null) this.#start();
    const stream = this.#stream;
    const answers = this.#answers;
    return {
      giveUp: (elsewhere) => {
        waiting.settle = null;
        if (elsewhere && stream !== null && stream === this.#stream && answers === this.#answers) this.#moveOn(stream);
      },
    };
  }

  #moveOn(silent: ByteStream): void {
    silent.forsake();
    this.#stream = null;
    this.#start();
  }

  close(): void {
    this.#cancelReopen?.();
    this.#cancelReopen = null;
    this.#stream?.cancel();
    this.#stream = null;
    this.#waiting.clear();
    this.#count = 0;
  }

  #start(): void {
    this.#dropAbandoned();
    if (this.#count === 0) return;
    const stream = this.#open(PATH, {
      onOpen: () => undefined,
      onMessage: (bytes) => this.#onAnswer(bytes),
      onEnd: (error) => this.#onEnd(error),
    });
    this.#stream = stream;
    for (const [lease, queue] of this.#waiting) {
      for (let i = 0; i < queue.length; i++) stream.send(request(lease));
    }
  }

  /** Nobody needs to hear of these any more, and a new stream has not seen them. */
  #dropAbandoned(): void {
    for (const [lease, queue] of this.#waiting) {
      const wanted = queue.filter(({ settle }) => settle !== null);
      this.#count -= queue.length - wanted.length;
      if (wanted.length === 0) this.#waiting.delete(lease);
      else this.#waiting.set(lease, wanted);
    }
  }

  #onAnswer(bytes: Uint8Array): void {
    this.#attempts = 0;
    this.#isRenamed = false;
    this.#answers += 1;
    const message = LeaseKeepAliveResponse.decode(bytes);
    const queue = this.#waiting.get(message.ID);
    const waiting = queue?.shift();
    if (queue === undefined || waiting === undefined) return;
    this.#count--;
    if (queue.length === 0) this.#waiting.delete(message.ID);
    waiting.settle?.(null, readKeepAlive(message));
  }

  #onEnd(error: ApiError): void {
    const stream = this.#stream;
    this.#stream = null;
    const mayRename = mayLoginHelp(error.code) && !this.#isRenamed && stream?.disown() === true;
    if (mayRename) this.#isRenamed = true;
    if (!mayRename && !isWorthReopening(error)) {
      const all = [...this.#waiting.values()].flat();
      this.#waiting.clear();
      this.#count = 0;
      for (const waiting of all) waiting.settle?.(error);
      return;
    }
    this.#attempts++;
    this.#cancelReopen = this.#clock.schedule(backoffMs(this.#attempts), () => {
      this.#cancelReopen = null;
      this.#start();
    });
  }
}

function request(lease: LeaseId): Uint8Array {
  return LeaseKeepAliveRequest.encode({ ID: lease }).finish();
}

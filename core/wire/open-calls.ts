// The calls a gRPC server has open, whatever carries them: told of as they begin and end, and waited for when the server goes.

import type { Clock } from '../base/clock.js';
import { Crowd, type InCrowd } from '../base/crowd.js';
import { Status } from '../errors.js';
import type { Method } from './call.js';
import type { Count } from './counted.js';
import { isFault, statusOf, type WireStatus } from './status.js';
import type { ObserveWire } from './wire-events.js';

/** A call, as whoever keeps count sees it. */
export interface OpenCall extends InCrowd {
  readonly method: Method;
  readonly count: Count;
  readonly clientVersion: string | null;
  /** The caller has left, so it hears no status. */
  readonly gone: boolean;
  /** The server goes away: what may wait for long ends with that word, a plain call is left to finish. */
  stop(): void;
}

export class OpenCalls {
  readonly #observe: ObserveWire;
  readonly #clock: Clock;
  readonly #open = new Crowd<OpenCall>();
  #isStopped = false;
  #onIdle: () => void = () => undefined;

  constructor(observe: ObserveWire, clock: Clock) {
    this.#observe = observe;
    this.#clock = clock;
  }

  get count(): number {
    return this.#open.size;
  }

  begin(call: OpenCall): void {
    this.#open.add(call);
    this.#observe({ kind: 'call_started', method: call.method, clientVersion: call.clientVersion });
    if (this.#isStopped) call.stop();
  }

  end(call: OpenCall, status: WireStatus): void {
    if (!this.#open.delete(call)) return;
    this.#observe(call.count.handled(call.method, call.gone ? Status.canceled : status.code, this.#clock.now()));
    if (this.#open.size === 0) this.#onIdle();
  }

  /** What the caller hears of an error; one that nobody foresaw is told to whoever runs the server. */
  judge({ service, name }: Method, error: unknown): WireStatus {
    if (isFault(error)) this.#observe({ kind: 'failed', where: `${service}/${name}`, error: asError(error) });
    return statusOf(error);
  }

  /** Stops what is open, and whatever begins from now on. */
  stop(): void {
    this.#isStopped = true;
    for (const call of this.#open.list()) call.stop();
  }

  /** Resolves when none is open. */
  async idle(): Promise<void> {
    if (this.#open.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
  }
}

/** What was thrown, as the error that it should be. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

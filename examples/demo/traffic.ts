// The clients. An open loop: requests start when they are due, whether or not earlier ones have been answered, so a stall
// shows as what it is. Every second one opens a connection of its own, the others keep theirs; every tenth is a POST, which
// nobody may repeat. Nothing is retried here: each failure is one a user would have seen.
//
// Only when far more requests are unanswered than ever in a healthy run are further ones held back, and said to be: then the
// machine is too busy for this rate, and piling up more would measure the machine.

import http from 'node:http';

import type { Outcome } from './board.js';

const TICK_MS = 5;
const TIMEOUT_MS = 10_000;
/** About ten times what is in flight normally. */
const IN_FLIGHT_MAX = 50;

export interface TrafficOptions {
  readonly port: number;
  readonly perSecond: number;
  readonly onOutcome: (outcome: Outcome) => void;
  readonly onHeldBack: () => void;
}

export class Traffic {
  readonly #options: TrafficOptions;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
  readonly #startedAt = performance.now();
  #timer: NodeJS.Timeout | null = null;
  #sent = 0;
  #inFlight = 0;
  #onIdle: () => void = () => undefined;

  constructor(options: TrafficOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#sendDue(), TICK_MS);
  }

  /** Starts no more requests; resolves when the last one has ended. */
  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    this.#agent.destroy();
  }

  #sendDue(): void {
    const due = Math.floor(((performance.now() - this.#startedAt) / 1000) * this.#options.perSecond);
    for (; this.#sent < due; this.#sent += 1) {
      if (this.#inFlight < IN_FLIGHT_MAX) this.#send(this.#sent);
      else this.#options.onHeldBack();
    }
  }

  #send(number: number): void {
    const startedAt = Date.now();
    const body = number % 10 === 9 ? `order ${number}` : null;
    this.#inFlight += 1;
    let over = false;
    const end = (servedBy: string | null, failure: string | null): void => {
      if (over) return;
      over = true;
      this.#inFlight -= 1;
      this.#end(startedAt, servedBy, failure);
      if (this.#inFlight === 0) this.#onIdle();
    };
    const request = http.request({
      host: '127.0.0.1',
      port: this.#options.port,
      path: `/hello/${number}`,
      method: body === null ? 'GET' : 'POST',
      agent: number % 2 === 0 ? this.#agent : false,
      timeout: TIMEOUT_MS,
    });
    request.once('timeout', () => {
      end(null, 'timed out');
      request.destroy();
    });
    request.once('error', (error: NodeJS.ErrnoException) => end(null, error.code ?? error.message));
    request.once('response', (answer) => {
      const servedBy = answer.headers['x-served-by'];
      answer.once('error', () => end(null, 'answer broke off'));
      answer.once('end', () => end(String(servedBy), answer.statusCode === 200 ? null : `status ${answer.statusCode ?? 0}`));
      answer.resume();
    });
    request.end(body ?? undefined);
  }

  #end(startedAt: number, servedBy: string | null, failure: string | null): void {
    this.#options.onOutcome({ startedAt, endedAt: Date.now(), servedBy: failure === null ? servedBy : null, failure });
  }
}

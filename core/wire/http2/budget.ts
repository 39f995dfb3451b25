// What one connection may do without end and nobody needs, counted within a window of time: streams opened to be reset
// (CVE-2023-44487), also by provoking this side to reset them (CVE-2025-8671), SETTINGS to be acknowledged (CVE-2019-9515),
// frames that carry nothing (CVE-2019-9518), priorities (CVE-2019-9513), pings (CVE-2019-9512). Whoever passes a bound is cut off.

import type { Clock } from '../../base/clock.js';
import { FLOOD_WINDOW_MS, RESETS_MAX, SETTINGS_MAX } from '../limits.js';
import { EMPTY_FRAMES_MAX, PING_MIN_MS, PING_STRIKES_MAX, PRIORITY_FRAMES_MAX } from './limits.js';
import { CODE, ConnectionFault } from './protocol.js';

/** A fault that whoever runs the server hears of. */
export class Flood extends ConnectionFault {
  constructor(what: string) {
    super(CODE.enhanceYourCalm, what);
  }
}

export class Budget {
  readonly #clock: Clock;
  readonly #pingMinMs: number;
  #since: number;
  #streams = 0;
  #resets = 0;
  #settings = 0;
  #empty = 0;
  #priorities = 0;
  #strikes = 0;
  #pingedMs = -Infinity;

  /** `pingMinMs`: etcd's --grpc-keepalive-min-time. */
  constructor(clock: Clock, pingMinMs = PING_MIN_MS) {
    this.#clock = clock;
    this.#pingMinMs = pingMinMs;
    this.#since = clock.now();
  }

  onStream(): void {
    this.#streams += 1;
  }

  /** Callers that give up now and then are honest: most of what they open they let finish. */
  onReset(): void {
    this.#resets += 1;
    if (this.#resets <= RESETS_MAX) return;
    this.#renew();
    if (this.#resets > RESETS_MAX && this.#resets * 2 > this.#streams) throw new Flood('streams opened and reset');
  }

  onSettings(): void {
    this.#settings += 1;
    if (this.#isOver(this.#settings, SETTINGS_MAX)) throw new Flood('settings');
  }

  onEmptyFrame(): void {
    this.#empty += 1;
    if (this.#isOver(this.#empty, EMPTY_FRAMES_MAX)) throw new Flood('frames that carry nothing');
  }

  onPriority(): void {
    this.#priorities += 1;
    if (this.#isOver(this.#priorities, PRIORITY_FRAMES_MAX)) throw new Flood('priorities');
  }

  /** An answer went out: who measures the line by pings between answers is right to do so (as in Go's gRPC). */
  onAnswer(): void {
    this.#strikes = 0;
  }

  onPing(): void {
    const now = this.#clock.now();
    if (now - this.#pingedMs < this.#pingMinMs) this.#strikes += 1;
    this.#pingedMs = now;
    // The words are gRPC's; its clients ping less often when they hear them.
    if (this.#strikes > PING_STRIKES_MAX) throw new Flood('too_many_pings');
  }

  #isOver(count: number, max: number): boolean {
    if (count <= max) return false;
    const before = this.#since;
    this.#renew();
    return this.#since === before;
  }

  #renew(): void {
    if (this.#clock.now() - this.#since <= FLOOD_WINDOW_MS) return;
    this.#since = this.#clock.now();
    this.#streams = 0;
    this.#resets = 0;
    this.#settings = 0;
    this.#empty = 0;
    this.#priorities = 0;
  }
}

// What one connection may do without end and nobody needs, counted within a window of time: streams opened to be reset
// (CVE-2023-44487), also by provoking this side to reset them (CVE-2025-8671), SETTINGS to be acknowledged (CVE-2019-9515),
// frames that carry nothing (CVE-2019-9518), priorities (CVE-2019-9513), pings (CVE-2019-9512). Whoever passes a bound is cut
// off.

import type { Clock } from '../../base/clock.js';
import { FLOOD_WINDOW_MS, RESETS_MAX, SETTINGS_MAX } from '../limits.js';
import {
  EMPTY_FRAMES_MAX, PING_IDLE_MIN_MS, PING_STRIKES_MAX, PINGS_MAX, PRIORITY_FRAMES_MAX, REFUSED_UNHEARD_MAX,
  SETTINGS_PER_FRAME_MAX,
} from './limits.js';
import { CODE, ConnectionFault } from './protocol.js';

export function flood(what: string): ConnectionFault {
  return new ConnectionFault(CODE.enhanceYourCalm, what, true);
}

export class Budget {
  readonly #clock: Clock;
  readonly #pingMinMs: number | null;
  #since: number;
  #streams = 0;
  #resets = 0;
  #settings = 0;
  #empty = 0;
  #priorities = 0;
  #pings = 0;
  #unheard = 0;
  #strikes = 0;
  #pingedMs = -Infinity;
  #saidBefore = 0;

  /** `pingMinMs`: etcd's --grpc-keepalive-min-time; null: pings are judged as any other frames. */
  constructor(clock: Clock, pingMinMs: number | null) {
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
    if (this.#resets > RESETS_MAX && this.#resets * 2 > this.#streams) throw flood('streams opened and reset');
  }

  /** A stream beyond those agreed on, before the caller has said that he heard of the agreement (section 6.5.3). */
  onUnheard(): void {
    this.#unheard += 1;
    if (this.#unheard > REFUSED_UNHEARD_MAX) throw flood('streams beyond those agreed on');
  }

  /** Each may change the windows of all streams, so they are bounded as well as the frames they come in. */
  onSettings(count: number): void {
    this.#settings += 1;
    if (count > SETTINGS_PER_FRAME_MAX) throw flood('settings');
    if (this.#isOver(this.#settings, SETTINGS_MAX)) throw flood('settings');
  }

  onEmptyFrame(): void {
    this.#empty += 1;
    if (this.#isOver(this.#empty, EMPTY_FRAMES_MAX)) throw flood('frames that carry nothing');
  }

  onPriority(): void {
    this.#priorities += 1;
    if (this.#isOver(this.#priorities, PRIORITY_FRAMES_MAX)) throw flood('priorities');
  }

  /**
   * `said`: frames of answers sent so far. Go's clients measure the line by a ping whenever some have come, however often
   * that is, and Go's server lets them. `calls`: open ones.
   */
  onPing(said: number, calls: number): void {
    const now = this.#clock.now();
    const sinceMs = now - this.#pingedMs;
    const isAnswered = said !== this.#saidBefore;
    this.#saidBefore = said;
    this.#pingedMs = now;
    if (isAnswered) {
      this.#strikes = 0;
      return;
    }
    if (this.#pingMinMs === null) {
      this.#pings += 1;
      if (this.#isOver(this.#pings, PINGS_MAX)) throw flood('pings');
      return;
    }
    if (sinceMs < (calls === 0 ? PING_IDLE_MIN_MS : this.#pingMinMs)) this.#strikes += 1;
    // The words are gRPC's; its clients ping less often when they hear them.
    if (this.#strikes > PING_STRIKES_MAX) throw flood('too_many_pings');
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
    this.#pings = 0;
  }
}

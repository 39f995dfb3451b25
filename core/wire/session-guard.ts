// What Node's HTTP/2 takes from one connection without end, and nobody needs: streams opened to be reset (CVE-2023-44487) and
// SETTINGS to be acknowledged (CVE-2019-9515). A connection that does either is cut off. Floods of CONTINUATION frames and of
// answers left unread Node ends by itself; PINGs are answered as they come, because clients measure the line with them.

import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Clock } from '../base/clock.js';
import { FLOOD_WINDOW_MS, RESETS_MAX, SETTINGS_MAX } from './limits.js';

export class SessionGuard {
  readonly #session: ServerHttp2Session;
  readonly #clock: Clock;
  readonly #onFlood: (what: string) => void;
  readonly #onClose: (this: ServerHttp2Stream) => void;
  #since: number;
  #streams = 0;
  #resets = 0;
  #settings = 0;

  /** `onFlood`: once, when the connection is cut off. */
  constructor(session: ServerHttp2Session, clock: Clock, onFlood: (what: string) => void) {
    this.#session = session;
    this.#clock = clock;
    this.#onFlood = onFlood;
    this.#since = clock.now();
    const onReset = (): void => {
      this.#resets += 1;
      this.#judge();
    };
    // One for all streams of the connection: each call passes here.
    this.#onClose = function onClose(this: ServerHttp2Stream): void {
      if (this.rstCode !== 0) onReset();
    };
    session.on('stream', (stream) => this.#onStream(stream));
    session.on('remoteSettings', () => {
      this.#settings += 1;
      this.#judge();
    });
  }

  #onStream(stream: ServerHttp2Stream): void {
    this.#streams += 1;
    stream.on('close', this.#onClose);
  }

  /** Callers that give up now and then are honest: most of what they open they let finish. */
  #judge(): void {
    if (this.#clock.now() - this.#since > FLOOD_WINDOW_MS) {
      this.#since = this.#clock.now();
      this.#streams = 0;
      this.#resets = 0;
      this.#settings = 0;
    }
    const isReset = this.#resets > RESETS_MAX && this.#resets * 2 > this.#streams;
    if (this.#session.destroyed || !(isReset || this.#settings > SETTINGS_MAX)) return;
    this.#onFlood(isReset ? 'streams opened and reset' : 'settings');
    this.#session.destroy();
  }
}

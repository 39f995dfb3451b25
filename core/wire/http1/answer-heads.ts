// The heads of answers over HTTP/1.1, as Node's server and the gateway write them together: the same fields in the same order.

import { calendarMs, httpDate } from '../../base/clock.js';
import { ACCESS_FIELDS, type CrossSiteRules } from '../cross-site.js';
import { HTTP_IDLE_MS } from '../limits.js';

const STAYS = `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(HTTP_IDLE_MS / 1000)}\r\n`;
const LAST = 'Connection: close\r\n';
const JSON_TYPE = 'Content-Type: application/json\r\n';
const GRPC_TYPE = 'Grpc-Metadata-Content-Type: application/grpc\r\n';

export class AnswerHeads {
  /** Which pages may read the answer. */
  readonly #access: string;
  #second = NaN;
  #date = '';
  /** Of an answer that is not the last, up to its length. */
  #usual = '';

  /** Where origins are named, these are answers for callers that name none: no page's. */
  constructor({ origins }: CrossSiteRules) {
    const fields = origins === null ? [...ACCESS_FIELDS, ['Access-Control-Allow-Origin', '*'] as const] : [];
    this.#access = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  }

  answer(bodyBytes: number, isLast: boolean): string {
    this.#look();
    const begin = isLast ? `HTTP/1.1 200 OK\r\n${this.#access}${JSON_TYPE}${GRPC_TYPE}${this.#date}${LAST}` : this.#usual;
    return `${begin}Content-Length: ${bodyBytes}\r\n\r\n`;
  }

  refusal({ status, text }: { status: number; text: string }, bodyBytes: number, isLast: boolean): string {
    this.#look();
    const begin = `HTTP/1.1 ${status} ${text}\r\n${this.#access}${JSON_TYPE}${this.#date}${isLast ? LAST : STAYS}`;
    return `${begin}Content-Length: ${bodyBytes}\r\n\r\n`;
  }

  #look(): void {
    const second = Math.floor(calendarMs() / 1000);
    if (second === this.#second) return;
    this.#second = second;
    this.#date = `Date: ${httpDate(second * 1000)}\r\n`;
    this.#usual = `HTTP/1.1 200 OK\r\n${this.#access}${JSON_TYPE}${GRPC_TYPE}${this.#date}${STAYS}`;
  }
}

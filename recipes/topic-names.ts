// Where a topic has its keys, what a message is, and how missing ones are told: for everything else of topics.
//
// Keys: coterie/topics/<topic>/head               { last, base }: the newest position, and what they started behind
//       coterie/topics/<topic>/log/<position>     a message, as published; on a lease when the topic keeps by age
//       coterie/topics/<topic>/ids/<id>           the position of the message with this id; on the window's lease
//       coterie/topics/<topic>/sent/<publisher>   { attempt, first }: what this publisher did last; on the same lease
//       coterie/topics/<topic>/turn               the publisher that lost too often and is next; on the same lease
//       coterie/topics/<topic>/groups/<group>/…   see topic-group.ts
//       coterie/topics/<topic>/live               the newest message of a live topic; its version is the position
// A slash in a name is written as %2F (and % as %25), so a topic `a` and a topic `a/b` are strangers.

import { text, utf8 } from '../core/base/bytes.js';
import type { KeyValue } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import { escapeName } from './lock-names.js';

const TOPICS = 'coterie/topics/';
const NAME_BYTES_MAX = 200;
export const ID_BYTES_MAX = 256;
/** Positions are written with as many digits as a safe integer may have, so that their order is the order of keys. */
const POSITION_DIGITS = 16;

export interface Message {
  /** Grows by one from message to message; the token to go on behind it. */
  readonly position: number;
  readonly body: Uint8Array;
  /** With `onGap: 'skip'`: what is missing right before this message; else null. */
  readonly missed: Gap | null;
}

/**
 * `trimmed`: retention, or an operator, has removed them. `compacted`: a live reader was too slow or away for too long.
 * `reset`: positions went back, because the store was replaced by an older copy or the topic was deleted.
 */
export type GapReason = 'trimmed' | 'compacted' | 'reset';

/** Messages that this reader will not see. Subscribe with `after: gap.to` to go on. */
export class Gap extends Error {
  override readonly name = 'Gap';
  readonly code = 'gap';
  readonly topic: string;
  /** First and last position missing. After a `reset` the last one is the newest there is, and may be the lower one. */
  readonly from: number;
  readonly to: number;
  readonly reason: GapReason;

  constructor(topic: string, gap: { from: number; to: number; reason: GapReason }) {
    super(`topic ${topic}: ${explanation(gap)}`);
    this.topic = topic;
    this.from = gap.from;
    this.to = gap.to;
    this.reason = gap.reason;
  }
}

function explanation({ from, to, reason }: { from: number; to: number; reason: GapReason }): string {
  if (reason === 'reset') {
    return `positions went back from ${from - 1} to ${to}, since the store was replaced or the topic deleted`;
  }
  const why = reason === 'trimmed' ? 'are not kept any more' : 'were missed, since this reader was too slow or away';
  return `messages ${from} to ${to} ${why}; subscribe with after: ${to} to go on`;
}

export interface TopicNames {
  readonly topic: string;
  readonly head: Uint8Array;
  /** Text, ends with a slash. */
  readonly log: string;
  readonly ids: string;
  readonly sent: string;
  readonly turn: Uint8Array;
  readonly groups: string;
  readonly live: Uint8Array;
}

export function topicNames(topic: string): TopicNames {
  const root = `${TOPICS}${checkName('topic', topic)}/`;
  return {
    topic,
    head: utf8(`${root}head`),
    log: `${root}log/`,
    ids: `${root}ids/`,
    sent: `${root}sent/`,
    turn: utf8(`${root}turn`),
    groups: `${root}groups/`,
    live: utf8(`${root}live`),
  };
}

/** The name as it stands in keys. Throws `invalid_request`, naming the value, unless something may be called that. */
export function checkName(what: string, name: string, bytesMax = NAME_BYTES_MAX): string {
  const { length } = typeof name === 'string' ? utf8(name) : { length: 0 };
  if (length > 0 && length <= bytesMax && !/[\p{Cc}\p{Surrogate}]/u.test(name)) return escapeName(name);
  const given = JSON.stringify(String(name)).slice(0, 80);
  const detail = `the ${what}'s name is ${given}; give 1 to ${bytesMax} bytes without control characters`;
  throw new ApiError('invalid_request', { detail });
}

export function checkPosition(name: string, position: number): void {
  if (Number.isSafeInteger(position) && position >= 0) return;
  throw new ApiError('invalid_request', { detail: `${name} is ${position}; give the position of a message, or 0` });
}

export function positionText(position: number): string {
  return String(position).padStart(POSITION_DIGITS, '0');
}

/** Null: the key is not the prefix and a position. */
export function readPosition(key: Uint8Array, prefix: string): number | null {
  const whole = text(key);
  const digits = whole.slice(prefix.length);
  return whole.startsWith(prefix) && digits.length === POSITION_DIGITS && /^\d+$/.test(digits) ? Number(digits) : null;
}

export interface Head {
  /** The newest message; `base` while there is none. */
  readonly last: number;
  /** The first message ever was the one behind it. */
  readonly base: number;
}

export function writeHead({ last, base }: Head): Uint8Array {
  return utf8(JSON.stringify({ last, base }));
}

/** Null: there is none, or it is not one. */
export function readHead(kv: KeyValue | null | undefined): Head | null {
  const found = kv === null || kv === undefined ? null : readJson(kv.value);
  if (found === null || !isPosition(found['last']) || !isPosition(found['base'])) return null;
  return { last: found['last'], base: found['base'] };
}

export function isPosition(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

/** An object, or null when it is none. What others wrote may be anything. */
export function readJson(value: Uint8Array): Record<string, unknown> | null {
  try {
    const found: unknown = JSON.parse(text(value));
    return typeof found === 'object' && found !== null ? { ...found } : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

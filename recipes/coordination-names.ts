// What coordination recipes have in common in the store: where their keys lie, and how numbers are written there.

import { text, utf8 } from '../core/base/bytes.js';
import type { KeyValue, OpResponse } from '../core/client.js';
import { assert } from '../core/base/assert.js';
import { ApiError } from '../core/errors.js';
import { escapeName, NAME_BYTES_MAX } from './lock-names.js';

/**
 * The name as one step of a key: a slash in it is written as %2F. Throws `invalid_request`, naming the value, unless
 * something may be called that.
 */
export function nameStep(what: string, name: string): string {
  const wrong = typeof name !== 'string' || name === '' || utf8(escapeName(name)).length > NAME_BYTES_MAX
    || /[\p{Cc}\p{Surrogate}]/u.test(name);
  if (!wrong) return escapeName(name);
  const given = JSON.stringify(String(name)).slice(0, 80);
  const detail = `the ${what} is ${given}; give 1 to ${NAME_BYTES_MAX} bytes, no control characters`;
  throw new ApiError('invalid_request', { detail });
}

/** Throws `invalid_request`, naming the value, unless it is a whole number from `min` to `max`. */
export function checkWhole(what: string, value: number, min: number, max: number): void {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return;
  throw new ApiError('invalid_request', { detail: `${what} is ${value}; give a whole number from ${min} to ${max}` });
}

/** A whole number as decimal text; null when it is something else. */
export function readWhole(value: Uint8Array): number | null {
  const digits = text(value);
  const number = Number(digits);
  return /^-?\d{1,16}$/.test(digits) && Number.isSafeInteger(number) ? number : null;
}

/** A JSON object; null when it is something else. */
export function readRecord(value: Uint8Array): Readonly<Record<string, unknown>> | null {
  try {
    const found: unknown = JSON.parse(text(value));
    return typeof found === 'object' && found !== null && !Array.isArray(found) ? { ...found } : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** What the range at this place of a transaction found. */
export function found(responses: readonly OpResponse[], at: number): readonly KeyValue[] {
  const answer = responses[at];
  assert(answer?.kind === 'range', 'a range is answered by a range');
  return answer.response.kvs;
}

// The requests of a job, one after the other, as bytes. Pure.

import type { Requests } from './generator.js';
import { digitsAt, fillMessage, framed, putMessage, rangeMessage, setSpaceKey, spaceKey } from './messages.js';

const FILL_KEYS = 100;
const SEED = 611_953;

/** Gives the next request, whose bytes are good until the one after it; null: there is none. */
export type Next = () => Buffer | null;

export function nextOf(requests: Requests): Next {
  switch (requests.kind) {
    case 'same': {
      const message = framed(Buffer.from(requests.base64, 'base64'));
      return () => message;
    }
    case 'fill':
      return filling(requests.keys);
    case 'any_put':
      return anyOf(framed(putMessage(spaceKey(0))), requests.keys);
    case 'any_get':
      return anyOf(framed(rangeMessage(spaceKey(0))), requests.keys);
  }
}

function filling(keys: number): Next {
  let from = 0;
  return () => {
    if (from >= keys) return null;
    const names = Array.from({ length: Math.min(FILL_KEYS, keys - from) }, (_, i) => spaceKey(from + i));
    from += names.length;
    return framed(fillMessage(names));
  };
}

/** The same walk through the space every time (a linear congruence modulo 2^32, its high bits). */
function anyOf(message: Buffer, keys: number): Next {
  const at = digitsAt(message);
  let state = SEED;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    setSpaceKey(message, at, Math.floor((state / 2 ** 32) * keys));
    return message;
  };
}

// Where a queue has its keys, what it writes there, and how an item is read back. No transactions here.
//
// Keys, under coterie/queues/<name>/ (a slash in a name, id or group is written %2F, a % is %25):
//   in, done                           counters: the VERSION of the key counts; every put writes `in`, every end writes `done`
//   paused                             while it is there nothing is taken
//   items/<id>                         the item: a line of JSON, then the body as it was given; never rewritten
//   ids/<id>                           it was put; on a lease as long as the window of de-duplication
//   ready/<0 or 1>/<priority><place>.<n>/<id>  may be taken: an item without a group, or the first of one
//   line/<group>/<place>/<id>          waits behind the first of its group
//   active/<group>                     the group has a first, ready or out, with this place in ready
//   out/item/<id>                      not ready: delivered, delayed or backing off
//   out/hold/<who>/<id>                why; on the session's lease, its own, or (who: delay) one as long as the delay
//   dead/<id>                          given up
//   care/, turn/<n>/, guard/<who>      see queue-care.ts and queue-take.ts

import { latin1, text, utf8 } from '../core/base/bytes.js';
import type { KeyValue, Revision } from '../core/client.js';
import { prefixRange } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import type { Range } from './deletion.js';
import { checkNumber } from './pause.js';

export const QUEUES_ROOT = 'coterie/queues/';
export const DELAY = 'delay';
const NAME_BYTES_MAX = 128;
export const PRIORITY_MAX = 255;
export const ATTEMPTS_MAX = 255;
export const TURNS_MAX = 255;
export const NUMBERS = 0x100_0000;

export type Pool = 0 | 1;

/** What stands in an item's first line. */
export interface Head {
  readonly place: string;
  readonly priority: number;
  readonly maxAttempts: number;
  readonly group: string | null;
}

/** An entry of ready: all of it is in its key. */
export interface Ready {
  readonly pool: Pool;
  readonly id: string;
  readonly priority: number;
  readonly place: string;
  /** Deliveries so far. */
  readonly attempts: number;
  /** How often in a row it has been the group's turn. */
  readonly turns: number;
}

/** An item that is out. */
export interface Out {
  readonly place: string;
  readonly attempts: number;
  readonly turns: number;
  /** Whose hold it is, see `hold`. */
  readonly by: string;
  /** False: put with a delay, and not yet among the others. */
  readonly entered: boolean;
}

export interface DeadRecord {
  readonly attempts: number;
  readonly reason: string;
}

export type Outcome = 'done' | 'dead' | 'removed';

/**
 * An item is in exactly one of ready, line, out/item and dead. When its hold goes by itself it becomes ready again; the
 * hold's create revision is the fence. A place is a revision and a number, so places ascend in the order of puts that did
 * not overlap. In ready, <n> is the attempts so far and the turns the group has had in a row.
 */
export class QueueKeys {
  readonly name: string;
  readonly root: string;
  readonly all: Range;
  readonly in: Uint8Array;
  readonly done: Uint8Array;
  readonly paused: Uint8Array;
  readonly ready: readonly [Range, Range];
  readonly readyAll: Range;
  readonly lines: Range;
  readonly out: Range;
  readonly outItems: Range;
  readonly holds: Range;
  readonly delays: Range;
  readonly deads: Range;
  readonly items: Range;

  constructor(name: string) {
    this.name = checkName('the queue\'s name', name);
    this.root = `${QUEUES_ROOT}${escape(name)}/`;
    this.all = this.#range('');
    this.in = this.#key('in');
    this.done = this.#key('done');
    this.paused = this.#key('paused');
    this.ready = [this.#range('ready/0/'), this.#range('ready/1/')];
    this.readyAll = this.#range('ready/');
    this.lines = this.#range('line/');
    this.out = this.#range('out/');
    this.outItems = this.#range('out/item/');
    this.holds = this.#range('out/hold/');
    this.delays = this.#range(`out/hold/${DELAY}/`);
    this.deads = this.#range('dead/');
    this.items = this.#range('items/');
  }

  item(id: string): Uint8Array {
    return this.#key(`items/${escape(id)}`);
  }

  remembered(id: string): Uint8Array {
    return this.#key(`ids/${escape(id)}`);
  }

  readyKey({ pool, priority, place, attempts, turns, id }: Ready): Uint8Array {
    const order = `${hex(PRIORITY_MAX - priority, 2)}${place}`;
    return this.#key(`ready/${pool}/${order}.${hex(attempts, 2)}${hex(turns, 2)}/${escape(id)}`);
  }

  /** Where it is in ready, whatever its attempts and turns. */
  readyAt(pool: Pool, priority: number, place: string): Range {
    return this.#range(`ready/${pool}/${hex(PRIORITY_MAX - priority, 2)}${place}.`);
  }

  readReady(key: Uint8Array): Ready | null {
    const found = READY.exec(text(key).slice(this.root.length));
    if (found === null) return null;
    const [, pool = '0', priority = '', place = '', attempts = '', turns = '', id = ''] = found;
    return {
      pool: pool === '0' ? 0 : 1,
      priority: PRIORITY_MAX - Number.parseInt(priority, 16),
      place,
      attempts: Number.parseInt(attempts, 16),
      turns: Number.parseInt(turns, 16),
      id: unescape(id),
    };
  }

  line(group: string): Range {
    return this.#range(`line/${escape(group)}/`);
  }

  lineKey(group: string, place: string, id: string): Uint8Array {
    return this.#key(`line/${escape(group)}/${place}/${escape(id)}`);
  }

  active(group: string): Uint8Array {
    return this.#key(`active/${escape(group)}`);
  }

  outItem(id: string): Uint8Array {
    return this.#key(`out/item/${escape(id)}`);
  }

  hold(who: string, id: string): Uint8Array {
    return this.#key(`out/hold/${who}/${escape(id)}`);
  }

  holdsOf(who: string): Range {
    return this.#range(`out/hold/${who}/`);
  }

  dead(id: string): Uint8Array {
    return this.#key(`dead/${escape(id)}`);
  }

  guard(who: string): Uint8Array {
    return this.#key(`guard/${who}`);
  }

  get care(): string {
    return `${this.root}care/`;
  }

  lane(number: number): string {
    return `${this.root}turn/${number}/`;
  }

  /** Who holds by this key; null: it is none of a hold. */
  whoOf(key: Uint8Array): string | null {
    return /^out\/hold\/([^/]+)\//.exec(text(key).slice(this.root.length))?.[1] ?? null;
  }

  #key(rest: string): Uint8Array {
    return utf8(this.root + rest);
  }

  #range(rest: string): Range {
    return prefixRange(utf8(this.root + rest));
  }
}

const READY = /^ready\/([01])\/([0-9a-f]{2})([0-9a-f]{19})\.([0-9a-f]{2})([0-9a-f]{2})\/([^/]+)$/;

/** The last part of a key, as it was given. */
export function idOf(key: Uint8Array): string {
  const whole = text(key);
  return unescape(whole.slice(whole.lastIndexOf('/') + 1));
}

/** Ascends with the revision, then with the number. */
export function placeAt(revision: Revision, number: number): string {
  return `${hex(revision, 13)}${hex(number % NUMBERS, 6)}`;
}

/** Throws `invalid_request`, naming the value, unless an id, a group or a queue may be called that. */
export function checkName(what: string, name: string): string {
  const length = typeof name === 'string' ? utf8(name).length : 0;
  if (length >= 1 && length <= NAME_BYTES_MAX && !/[\p{Cc}\p{Surrogate}]/u.test(name)) return name;
  const given = JSON.stringify(String(name)).slice(0, 80);
  const detail = `${what} is ${given}; give 1 to ${NAME_BYTES_MAX} bytes, no control characters`;
  throw new ApiError('invalid_request', { detail });
}

export function checkInteger(name: string, value: number, min: number, max: number): number {
  checkNumber(name, value, min, max);
  if (Number.isInteger(value)) return value;
  throw new ApiError('invalid_request', { detail: `${name} is ${value}; give a whole number` });
}

export function writeItem(head: Head, body: Uint8Array): Uint8Array {
  const { place, priority, maxAttempts, group } = head;
  return Buffer.concat([utf8(`${JSON.stringify({ place, priority, maxAttempts, group })}\n`), body]);
}

/** Null: somebody else wrote there. */
export function readItem(value: Uint8Array): { readonly head: Head; readonly body: Uint8Array } | null {
  const end = value.indexOf(0x0a);
  const head = end < 0 ? null : objectIn(value.subarray(0, end));
  if (head === null) return null;
  const { place, priority, maxAttempts, group } = head;
  const known = typeof place === 'string' && typeof priority === 'number' && typeof maxAttempts === 'number'
    && (group === null || typeof group === 'string');
  return known ? { head: { place, priority, maxAttempts, group }, body: value.subarray(end + 1) } : null;
}

export function writeOut(out: Out): Uint8Array {
  const { place, attempts, turns, by, entered } = out;
  return utf8(JSON.stringify({ place, attempts, turns, by, entered }));
}

export function readOut(kv: KeyValue | undefined): Out | null {
  const found = kv === undefined ? null : objectIn(kv.value);
  if (found === null) return null;
  const { place, attempts, turns, by, entered } = found;
  const known = typeof place === 'string' && typeof attempts === 'number' && typeof turns === 'number'
    && typeof by === 'string' && typeof entered === 'boolean';
  return known ? { place, attempts, turns, by, entered } : null;
}

export function writeDead(record: DeadRecord): Uint8Array {
  return utf8(JSON.stringify({ attempts: record.attempts, reason: record.reason }));
}

export function readDead(kv: KeyValue): DeadRecord {
  const { attempts, reason } = objectIn(kv.value) ?? {};
  return { attempts: typeof attempts === 'number' ? attempts : 0, reason: typeof reason === 'string' ? reason : '' };
}

/** The value of `done`: how the last item that ended did, once for each. `fence`: of the delivery that ended it. */
export interface End {
  readonly id: string;
  readonly outcome: Outcome;
  readonly attempts: number;
  readonly fence: Revision | null;
}

export function writeEnd(end: End): Uint8Array {
  const { id, outcome, attempts, fence } = end;
  return utf8(JSON.stringify({ id, outcome, attempts, fence }));
}

export function readEnd(kv: KeyValue | undefined): End | null {
  const found = kv === undefined ? null : objectIn(kv.value);
  if (found === null) return null;
  const { id, outcome, attempts, fence } = found;
  const known = typeof id === 'string' && (outcome === 'done' || outcome === 'dead' || outcome === 'removed')
    && typeof attempts === 'number' && (fence === null || typeof fence === 'number');
  return known ? { id, outcome, attempts, fence } : null;
}

export function sameKey(a: Uint8Array, b: Uint8Array): boolean {
  return latin1(a) === latin1(b);
}

function objectIn(value: Uint8Array): Record<string, unknown> | null {
  try {
    const found: unknown = JSON.parse(text(value));
    return typeof found === 'object' && found !== null ? { ...found } : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

function escape(name: string): string {
  return name.replace(/[%/]/g, encodeURIComponent);
}

function unescape(name: string): string {
  return name.replace(/%(2F|25)/g, decodeURIComponent);
}

// What one registered instance is, and the only way in and out of the store for it. Everything is checked in both
// directions: a spec before it is written, and an entry after it was read, because anybody may write with another tool.
// An entry that fails is reported as an `InvalidEntry` and never passed on, so what templates and proxies see is safe to
// put into an address, a file name or a comment.
//
// Keys: coterie/services/<service>/instances/<id>   the instance, on its session's lease
//       coterie/services/<service>/departed/<id>    why it last left, on a longer lease (see registry.ts)

import { assert } from '../core/base/assert.js';
import { text, utf8 } from '../core/base/bytes.js';
import type { KeyValue, Revision } from '../core/client.js';
import { ApiError } from '../core/errors.js';

export const SERVICES_PREFIX = 'coterie/services/';

export const WEIGHT_MAX = 256;
export const TAGS_MAX = 64;
export const META_MAX = 64;
export const META_VALUE_MAX = 1024;
export const WHY_MAX = 256;
export const ENTRY_BYTES_MAX = 16 * 1024;
/** What a spec may take of it. The rest is kept free for the state, so that whatever was accepted can also drain. */
export const SPEC_BYTES_MAX = 15 * 1024;

/** `up` takes traffic; `draining` finishes what it has and goes; `maintenance` is alive but wants no traffic. */
export type InstanceState = 'up' | 'draining' | 'maintenance';
export type DepartureReason = 'closed' | 'drained' | 'expired' | 'evicted';

/** Read from the store, checked and frozen. */
export interface Instance {
  readonly service: string;
  readonly id: string;
  /** An IPv4 or IPv6 address (no brackets) or a DNS name. */
  readonly address: string;
  readonly port: number;
  /** 0 to 256; 0: no new traffic. */
  readonly weight: number;
  /** '' when it has none. */
  readonly zone: string;
  /** Sorted, without repetition. */
  readonly tags: readonly string[];
  readonly meta: Readonly<Record<string, string>>;
  readonly state: InstanceState;
  /** Given with maintenance; '' otherwise. */
  readonly why: string;
  /** The incarnation that wrote it. */
  readonly owner: string;
  /** The revision at which this instance appeared: a fence. */
  readonly since: Revision;
  /** The revision of its last change. */
  readonly revision: Revision;
}

/** Of an instance that is not there any more. */
export interface Departure {
  readonly service: string;
  readonly id: string;
  readonly reason: DepartureReason;
  /** Given with the departure; '' otherwise. */
  readonly why: string;
  readonly owner: string;
  /** The revision it left at; for `expired` the revision it came at, since an expiry leaves only what was prepared. */
  readonly revision: Revision;
}

/** An entry somebody wrote that does not keep the rules. */
export interface InvalidEntry {
  /** As JSON text, so that it is printable whatever was written. */
  readonly key: string;
  readonly revision: Revision;
  readonly problem: string;
}

/** What a registration asks for. */
export interface InstanceSpec {
  readonly service: string;
  readonly id: string;
  readonly address: string;
  readonly port: number;
  /** Default 1. */
  readonly weight?: number;
  readonly zone?: string;
  readonly tags?: readonly string[];
  readonly meta?: Readonly<Record<string, string>>;
}

/** A spec with everything filled in, checked and frozen; `state`, `why` and `owner` belong to the registration. */
export type InstanceData = Pick<Instance, 'address' | 'port' | 'weight' | 'zone' | 'tags' | 'meta'>;

const SERVICE = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const ID = /^[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,126}[A-Za-z0-9])?$/;
const OWNER = /^[0-9a-f]{1,32}$/;
const ZONE = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;
const TAG = /^[A-Za-z0-9](?:[A-Za-z0-9._:=-]{0,126}[A-Za-z0-9])?$/;
const META_KEY = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const LABEL = /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$/;
const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;
const IPV6 = /^[0-9A-Fa-f:.]{2,45}$/;
/** Control characters, Unicode's line ends, halves of surrogate pairs, and what makes text read in another order. */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\p{Surrogate}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;
const UNPRINTABLES = new RegExp(UNPRINTABLE, 'gu');
const STATES: readonly InstanceState[] = ['up', 'draining', 'maintenance'];
const REASONS: readonly DepartureReason[] = ['closed', 'drained', 'expired', 'evicted'];
const SHOWN_MAX = 80;

/** Throws `invalid_request`, naming the value, unless `service` may be a service's name. */
export function checkService(service: unknown): string {
  return matching('service', service, SERVICE, '1 to 63 letters, digits, ".", "_" or "-", a letter or digit at both ends');
}

export function checkId(id: unknown): string {
  return matching('id', id, ID, '1 to 128 letters, digits, ".", "_", ":" or "-", a letter or digit at both ends');
}

/** Throws `invalid_request`, naming the field and the value, unless every part of the spec keeps the rules. */
export function checkSpec(spec: InstanceSpec): { service: string; id: string; data: InstanceData } {
  const checked = { service: checkService(spec.service), id: checkId(spec.id), data: checkData(spec) };
  const { length } = utf8(JSON.stringify(checked.data));
  if (length > SPEC_BYTES_MAX) {
    refuse('the instance', `${length} bytes of JSON`, `at most ${SPEC_BYTES_MAX}; shorten meta or tags`);
  }
  return checked;
}

export function checkWhy(why: unknown): string {
  return printable('why', why, WHY_MAX);
}

/** True for what may stand where a host is expected: IPv4, IPv6 without brackets or zone, or a DNS name. */
export function isHost(address: string): boolean {
  if (IPV4.test(address)) return true;
  if (address.includes(':')) return IPV6.test(address) && URL.canParse(`http://[${address}]/`);
  const labels = address.split('.');
  // A name ending in a number would be read as an IPv4 address by some and as a name by others.
  const last = labels.at(-1) ?? '';
  return address.length <= 253 && labels.every((label) => LABEL.test(label)) && !/^(?:\d+|0[xX][0-9A-Fa-f]*)$/.test(last);
}

export function servicePrefix(service: string): Uint8Array {
  return utf8(`${SERVICES_PREFIX}${checkService(service)}/`);
}

export function instanceKey(service: string, id: string): Uint8Array {
  return utf8(`${SERVICES_PREFIX}${checkService(service)}/instances/${checkId(id)}`);
}

export function departedKey(service: string, id: string): Uint8Array {
  return utf8(`${SERVICES_PREFIX}${checkService(service)}/departed/${checkId(id)}`);
}

export function encodeInstance(data: InstanceData, status: { state: InstanceState; why: string; owner: string }): Uint8Array {
  const bytes = utf8(JSON.stringify({ ...data, ...status }));
  assert(bytes.length <= ENTRY_BYTES_MAX, 'a checked spec leaves room for its status');
  return bytes;
}

export function encodeDeparture(departure: { reason: DepartureReason; why: string; owner: string }): Uint8Array {
  return utf8(JSON.stringify(departure));
}

/** What one pair under `coterie/services/` says. */
export type Entry =
  | { readonly kind: 'instance'; readonly instance: Instance }
  | { readonly kind: 'departed'; readonly departure: Departure }
  | { readonly kind: 'invalid'; readonly invalid: InvalidEntry };

/** Never throws: a malformed pair becomes an `invalid` entry. */
export function readEntry(kv: KeyValue): Entry {
  const key = text(kv.key);
  try {
    return readChecked(key, kv);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    const invalid = { key: shown(key), revision: kv.modRevision, problem };
    return Object.freeze({ kind: 'invalid', invalid: Object.freeze(invalid) });
  }
}

function readChecked(key: string, kv: KeyValue): Entry {
  const parts = key.startsWith(SERVICES_PREFIX) ? key.slice(SERVICES_PREFIX.length).split('/') : [];
  const [service, room, id] = parts;
  if (parts.length !== 3 || (room !== 'instances' && room !== 'departed')) {
    refuse('the key', key, `${SERVICES_PREFIX}<service>/instances/<id> or …/departed/<id>`);
  }
  const names = { service: checkService(service), id: checkId(id) };
  const value = readJson(kv.value);
  if (room === 'departed') {
    const departure: Departure = {
      ...names,
      reason: oneOf('reason', value.reason, REASONS),
      why: printable('why', value.why ?? '', WHY_MAX),
      owner: matching('owner', value.owner, OWNER, '1 to 32 hexadecimal digits'),
      revision: kv.modRevision,
    };
    return Object.freeze({ kind: 'departed', departure: Object.freeze(departure) });
  }
  const instance: Instance = {
    ...names,
    ...checkData(value),
    state: oneOf('state', value.state, STATES),
    why: printable('why', value.why ?? '', WHY_MAX),
    owner: matching('owner', value.owner, OWNER, '1 to 32 hexadecimal digits'),
    since: kv.createRevision,
    revision: kv.modRevision,
  };
  return Object.freeze({ kind: 'instance', instance: Object.freeze(instance) });
}

function readJson(bytes: Uint8Array): Record<string, unknown> {
  if (bytes.length > ENTRY_BYTES_MAX) refuse('the value', `${bytes.length} bytes`, `at most ${ENTRY_BYTES_MAX} bytes`);
  // Fatal: bytes that are not UTF-8 are refused instead of being replaced by a look-alike.
  const source = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  const value = parsed(source);
  if (!isRecord(value)) refuse('the value', source, 'a JSON object');
  return value;
}

/** Null when it is not JSON: the engine's own message would quote the text as it came, control characters included. */
function parsed(source: string): unknown {
  try {
    return JSON.parse(source);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function checkData(value: { readonly [name in keyof InstanceData]?: unknown }): InstanceData {
  const address = value.address;
  if (typeof address !== 'string' || !isHost(address)) {
    refuse('address', address, 'an IPv4 address, an IPv6 address without brackets, or a DNS name');
  }
  return Object.freeze({
    address,
    port: whole('port', value.port, 1, 65_535),
    weight: whole('weight', value.weight ?? 1, 0, WEIGHT_MAX),
    zone: matching('zone', value.zone ?? '', ZONE, 'up to 63 letters, digits, ".", "_" or "-"'),
    tags: checkTags(value.tags ?? []),
    meta: checkMeta(value.meta ?? {}),
  });
}

function checkTags(tags: unknown): readonly string[] {
  if (!Array.isArray(tags) || tags.length > TAGS_MAX) refuse('tags', tags, `a list of at most ${TAGS_MAX}`);
  const checked = tags.map((tag: unknown) => matching('tag', tag, TAG, '1 to 128 letters, digits, ".", "_", ":", "=" or "-"'));
  return Object.freeze([...new Set(checked)].sort());
}

function checkMeta(meta: unknown): Readonly<Record<string, string>> {
  if (!isRecord(meta)) refuse('meta', meta, 'an object of texts');
  const names = Object.keys(meta).sort();
  if (names.length > META_MAX) refuse('meta', `${names.length} names`, `at most ${META_MAX}`);
  const checked: Record<string, string> = {};
  for (const name of names) {
    matching('meta name', name, META_KEY, '1 to 64 letters, digits, ".", "_" or "-"');
    // Such a name would shadow what every object has, in templates too.
    if (name in Object.prototype) refuse('meta name', name, 'a name that is not part of every JavaScript object');
    checked[name] = printable(`meta.${name}`, meta[name], META_VALUE_MAX);
  }
  return Object.freeze(checked);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function matching(name: string, value: unknown, pattern: RegExp, rule: string): string {
  if (typeof value !== 'string' || !pattern.test(value)) refuse(name, value, rule);
  return value;
}

function printable(name: string, value: unknown, lengthMax: number): string {
  if (typeof value !== 'string' || value.length > lengthMax || UNPRINTABLE.test(value)) {
    refuse(name, value, `text of at most ${lengthMax} characters without control characters`);
  }
  return value;
}

function whole(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    refuse(name, value, `a whole number from ${min} to ${max}`);
  }
  return value;
}

function oneOf<T extends string>(name: string, value: unknown, known: readonly T[]): T {
  const found = known.find((candidate) => candidate === value);
  if (found === undefined) refuse(name, value, known.join(', '));
  return found;
}

function shown(value: unknown): string {
  const plain = asJson(value).replaceAll(UNPRINTABLES, '\ufffd');
  return plain.length > SHOWN_MAX ? `${plain.slice(0, SHOWN_MAX).replaceAll(UNPRINTABLES, '')}…` : plain;
}

/** Not everything that may be given has a form in JSON: a bigint has none, nor has an object that contains itself. */
function asJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch (error) {
    return `something JSON cannot hold (${error instanceof Error ? error.name : typeof value})`;
  }
}

function refuse(name: string, value: unknown, rule: string): never {
  throw new ApiError('invalid_request', { detail: `${name} is ${shown(value)}; it must be ${rule}` });
}

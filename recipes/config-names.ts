// What a configuration space has in the store, and which version an instance shall use: pure values, no waiting.
//
// Keys: coterie/config/<space>/current             the pointer: which version is for whom; the only key that changes
//       coterie/config/<space>/versions/<version>  the JSON text as it was published; never written again
//       coterie/config/<space>/history/<serial>    one record for each change of the pointer
// Who gets what, first match: the instance's pin; the roll-out under way, if the instance is named by it or falls under its
// percentage; the version for everybody. An instance's place in a roll-out is a hash of its id and the version: it stays
// in when the percentage grows, and another roll-out meets others first.

import { text, utf8 } from '../core/base/bytes.js';
import type { KeyValue } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import { checkName, isPosition, positionText, readJson } from './topic-names.js';

const SPACES = 'coterie/config/';
export const PINS_MAX = 64;
export const INSTANCES_MAX = 1_000;

/** Whom a roll-out reaches: a percentage of all instances (0 to 100, fractions too), or those named. */
export type Audience = { readonly percent: number } | { readonly instances: readonly string[] };

export interface Rollout {
  readonly version: number;
  readonly to: Audience;
}

export interface ConfigPointer {
  /** Counts the changes of the pointer. */
  readonly serial: number;
  /** For everybody who is not pinned or reached by the roll-out. */
  readonly version: number;
  /** The newest version ever published; the next one gets the next number. */
  readonly last: number;
  readonly rollout: Rollout | null;
  readonly pins: ReadonlyMap<string, number>;
}

const NO_PINS: ReadonlyMap<string, number> = new Map();
export const NOTHING: ConfigPointer = Object.freeze({ serial: 0, version: 0, last: 0, rollout: null, pins: NO_PINS });

export type ChangeKind = 'published' | 'rollout' | 'completed' | 'abandoned' | 'rolled_back' | 'pinned' | 'unpinned';

/** One change of the pointer, as the store keeps it. Versions are 0 where there was none. */
export interface ChangeRecord {
  readonly serial: number;
  readonly kind: ChangeKind;
  /** Whom it was for: everybody, a roll-out's audience, or one pinned instance. */
  readonly audience: Audience | null;
  readonly from: number;
  readonly to: number;
  readonly who: string;
  readonly note: string;
}

export interface SpaceNames {
  readonly space: string;
  readonly current: Uint8Array;
  readonly versions: string;
  readonly history: string;
}

export function spaceNames(space: string): SpaceNames {
  const root = `${SPACES}${checkName('configuration space', space)}/`;
  return { space, current: utf8(`${root}current`), versions: `${root}versions/`, history: `${root}history/` };
}

export function versionKey({ versions }: SpaceNames, version: number): Uint8Array {
  return utf8(`${versions}${positionText(version)}`);
}

export function historyKey({ history }: SpaceNames, serial: number): Uint8Array {
  return utf8(`${history}${positionText(serial)}`);
}

/** The version that this instance shall use; an instance without an id only gets what is for everybody. */
export function versionFor(pointer: ConfigPointer, instance: string | null): number {
  if (instance === null) return pointer.version;
  const pinned = pointer.pins.get(instance);
  if (pinned !== undefined) return pinned;
  const { rollout } = pointer;
  return rollout !== null && isReached(rollout, instance) ? rollout.version : pointer.version;
}

function isReached({ version, to }: Rollout, instance: string): boolean {
  if ('instances' in to) return to.instances.includes(instance);
  return placeOf(instance, version) < to.percent;
}

/** Where an instance stands in the roll-out of a version: evenly spread over 0 to 100, the same everywhere for ever. */
export function placeOf(instance: string, version: number): number {
  // FNV-1a, then a finalizer: ids that differ in one digit must not stand side by side.
  let hash = 0x811c9dc5;
  for (const byte of utf8(`${version}/${instance}`)) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32 * 100;
}

export function checkAudience(to: Audience): void {
  if ('percent' in to) {
    if (to.percent >= 0 && to.percent <= 100) return;
    throw new ApiError('invalid_request', { detail: `the roll-out's percent is ${to.percent}; give a number from 0 to 100` });
  }
  const { length } = to.instances;
  if (length > INSTANCES_MAX) {
    throw new ApiError('invalid_request', { detail: `the roll-out names ${length} instances; give at most ${INSTANCES_MAX}` });
  }
  for (const id of to.instances) checkName('instance', id);
}

export function writePointer({ serial, version, last, rollout, pins }: ConfigPointer): Uint8Array {
  return utf8(JSON.stringify({ serial, version, last, rollout, pins: Object.fromEntries(pins) }));
}

/** Null: it cannot be read. */
export function readPointer(kv: KeyValue): ConfigPointer | null {
  const found = readJson(kv.value);
  if (found === null) return null;
  const { serial, version, last, rollout = null, pins = {} } = found;
  const roll = rollout === null ? null : readRollout(rollout);
  const ok = isPosition(serial) && isPosition(version) && isPosition(last) && (rollout === null || roll !== null);
  if (!ok || typeof pins !== 'object' || pins === null) return null;
  const all = new Map<string, number>();
  for (const [instance, pinned] of Object.entries(pins)) {
    if (!isPosition(pinned)) return null;
    all.set(instance, pinned);
  }
  return { serial, version, last, rollout: roll, pins: all };
}

function readRollout(value: unknown): Rollout | null {
  if (typeof value !== 'object' || value === null || !('version' in value) || !('to' in value)) return null;
  const to = readAudience(value.to);
  return isPosition(value.version) && to !== null ? { version: value.version, to } : null;
}

function readAudience(value: unknown): Audience | null {
  if (typeof value !== 'object' || value === null) return null;
  if ('percent' in value && typeof value.percent === 'number') return { percent: value.percent };
  if (!('instances' in value) || !Array.isArray(value.instances)) return null;
  const instances = value.instances.filter((id: unknown): id is string => typeof id === 'string');
  return instances.length === value.instances.length ? { instances } : null;
}

export function writeChange(change: ChangeRecord): Uint8Array {
  return utf8(JSON.stringify(change));
}

const KINDS: readonly string[] = ['published', 'rollout', 'completed', 'abandoned', 'rolled_back', 'pinned', 'unpinned'];

/** Null: it cannot be read. */
export function readChange(kv: KeyValue): ChangeRecord | null {
  const found = readJson(kv.value);
  if (found === null) return null;
  const { serial, kind, audience, from, to, who, note } = found;
  if (!isPosition(serial) || !isPosition(from) || !isPosition(to) || !isKind(kind)) return null;
  return { serial, kind, from, to, audience: readAudience(audience), who: wordOf(who), note: wordOf(note) };
}

function isKind(kind: unknown): kind is ChangeKind {
  return typeof kind === 'string' && KINDS.includes(kind);
}

function wordOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** What a version holds cannot be used: it is not there, is no JSON, or the application's own rules refuse it. */
export class ConfigInvalid extends Error {
  override readonly name = 'ConfigInvalid';
  readonly code = 'config_invalid';
  /** 0: it has not been published. */
  readonly version: number;

  constructor(space: string, version: number, why: string, cause?: unknown) {
    const what = version === 0 ? `what was to be published in ${space}` : `version ${version} of ${space}`;
    super(`${what} is not a valid configuration: ${why}`, cause === undefined ? undefined : { cause });
    this.version = version;
  }
}

/** The pointer is not what the caller expected it to be; nothing was changed. Read again, decide again. */
export class ConfigConflict extends Error {
  override readonly name = 'ConfigConflict';
  readonly code = 'config_conflict';
  /** What everybody uses now; 0: nothing was ever published. */
  readonly version: number;
  readonly rollout: Rollout | null;

  constructor(space: string, now: ConfigPointer, expected: string) {
    const under = now.rollout === null ? '' : `, and version ${now.rollout.version} is being rolled out`;
    super(`nothing was changed in ${space}: its version is ${now.version}${under}; expected was ${expected}`);
    this.version = now.version;
    this.rollout = now.rollout;
  }
}

/** `missing`: nothing was ever published. `removed`: somebody has deleted the pointer; the last configuration stays. */
export class ConfigAbsent extends Error {
  override readonly name = 'ConfigAbsent';
  readonly code = 'config_absent';
  readonly reason: 'missing' | 'removed';

  constructor(space: string, reason: 'missing' | 'removed') {
    super(reason === 'missing' ? `nothing was published in ${space} yet`
      : `somebody has deleted the pointer of ${space}; the configuration read last stays in use`);
    this.reason = reason;
  }
}

/** The application's own rules: returns the configuration, or throws what is wrong with it. */
export type ParseConfig<C> = (value: unknown) => C;

/** Throws `ConfigInvalid`. */
export function parseContent<C>(space: string, version: number, content: Uint8Array, parse: ParseConfig<C>): C {
  let value: unknown;
  try {
    value = JSON.parse(text(content));
  } catch (error) {
    throw new ConfigInvalid(space, version, 'it is not JSON', error);
  }
  try {
    return parse(value);
  } catch (error) {
    throw new ConfigInvalid(space, version, error instanceof Error ? error.message : String(error), error);
  }
}

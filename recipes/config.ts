// The configuration centre: versions that never change, and one pointer that says which version is for whom. So whatever
// is decided, to publish, to roll out, to widen, to roll back, to pin, is one comparison with the pointer and one write of
// it, and nobody ever sees half of anything: a version is one value, however many settings it holds.
//
//   compare: the pointer is as it was read
//   success: put the pointer, the record of the change and (publishing) the version; delete what is too old
//   failure: read the pointer, and the record that stands where ours would
//
// An attempt whose result is unknown is repeated with the same comparison, so at most one lands; the record tells which.
// Keys and who gets what: config-names.ts. Reading: config-follower.ts.

import { assert } from '../core/base/assert.js';
import { equalBytes, text, utf8 } from '../core/base/bytes.js';
import type { Clock } from '../core/base/clock.js';
import { systemClock } from '../core/base/clock.js';
import type { Client, KeyValue, Op, OpResponse, Revision, TxnRequest, TxnResponse } from '../core/client.js';
import { modified, opDelete, opPut, opRange } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import type { ConfigFollowOptions } from './config-follower.js';
import { ConfigFollower } from './config-follower.js';
import type { Audience, ChangeRecord, ParseConfig, ConfigPointer, SpaceNames } from './config-names.js';
import {
  checkAudience, ConfigConflict, ConfigInvalid, historyKey, NOTHING, parseContent, PINS_MAX, readChange, readPointer,
  spaceNames, versionKey, writeChange, writePointer,
} from './config-names.js';
import { orStopped } from './entry.js';
import type { WaitOptions } from './pause.js';
import { Backoff, bounded, chance, checkNumber, pause } from './pause.js';
import { checkName, checkPosition } from './topic-names.js';

export const CONTENT_BYTES_MAX = 1024 * 1024;
const VERSIONS_KEPT = 100;
const VERSIONS_KEPT_MAX = 10_000;
const CHANGES_KEPT = 1_000;
const WORD_BYTES_MAX = 1_024;
/** Changes of one page of the history; each brings up to two versions. */
const PAGE_CHANGES = 8;
const TIMEOUT_MS = 30_000;
const CALL_MS = 5_000;
const RETRY_MS = 50;
const RETRY_MS_MAX = 1_000;

export interface ConfigOptions<C> {
  /** Called before anything is published, and on whatever is read. */
  readonly parse: ParseConfig<C>;
  /** Versions to keep, besides those in use. Default 100. */
  readonly versionsKept?: number;
  readonly clock?: Clock;
}

/** Who changes it, and why: for the history. */
export interface ChangeOptions extends WaitOptions {
  readonly who?: string;
  readonly note?: string;
}

export interface PublishConfigOptions extends ChangeOptions {
  /** The version this one replaces: what the author has looked at. 0 for the first. Else `ConfigConflict`. */
  readonly expect: number;
  /** Not for everybody yet. Continue with `widen`, `complete` or `abandon`. */
  readonly rollout?: Audience;
}

/** One change, with what was and what came. A content is null where there was none, or it is not kept any more. */
export interface ConfigRecord extends ChangeRecord {
  readonly before: string | null;
  readonly after: string | null;
}

interface Step {
  readonly pointer: ConfigPointer;
  readonly change: Omit<ChangeRecord, 'serial' | 'who' | 'note'>;
  readonly content?: Uint8Array;
}

/** An attempt whose answer may be lost. */
interface Sent {
  readonly record: Uint8Array;
  readonly pointer: ConfigPointer;
  readonly mod: Revision;
  readonly content: Uint8Array | undefined;
}

interface Known {
  readonly pointer: ConfigPointer;
  readonly mod: Revision;
}

/** One space. Holds nothing open. */
export class ConfigSpace<C> {
  readonly name: string;
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #names: SpaceNames;
  readonly #parse: ParseConfig<C>;
  readonly #versionsKept: number;

  constructor(client: Client, name: string, options: ConfigOptions<C>) {
    checkNumber('versionsKept', options.versionsKept, 1, VERSIONS_KEPT_MAX);
    this.name = name;
    this.#client = client;
    this.#clock = options.clock ?? systemClock;
    this.#names = spaceNames(name);
    this.#parse = options.parse;
    this.#versionsKept = options.versionsKept ?? VERSIONS_KEPT;
  }

  /** Follows what is for this instance. See config-follower.ts. */
  follow(options: Omit<ConfigFollowOptions, 'clock'> = {}): ConfigFollower<C> {
    return ConfigFollower.follow(this.#client, this.#names, this.#parse, { ...options, clock: this.#clock });
  }

  /** The pointer as it is now; null: nothing was ever published. */
  async pointer(options: WaitOptions = {}): Promise<ConfigPointer | null> {
    const { pointer } = await this.#persist(options, (signal) => this.#read(signal));
    return pointer.serial === 0 ? null : pointer;
  }

  /** What a version holds. Rejects with `ConfigInvalid` when it is not there, or does not keep the rules. */
  async version(version: number, options: WaitOptions = {}): Promise<C> {
    return parseContent(this.name, version, await this.#content(version, options), this.#parse);
  }

  /**
   * Publishes a new version, for everybody or as a roll-out, and resolves with its number. Refused while another version is
   * being rolled out: complete or abandon that first.
   */
  async publish(next: C, options: PublishConfigOptions): Promise<number> {
    const { expect, rollout } = options;
    checkPosition('expect', expect);
    if (rollout !== undefined) checkAudience(rollout);
    const content = this.#written(next);
    const { last } = await this.#change(options, (now) => {
      if (now.version !== expect || now.rollout !== null) throw new ConfigConflict(this.name, now, `version ${expect}`);
      const version = now.last + 1;
      // The first one is for everybody: there is nothing else to use.
      const to = now.version === 0 ? undefined : rollout;
      const kind = to === undefined ? 'published' : 'rollout';
      const change = { kind, audience: to ?? null, from: now.version, to: version } as const;
      const pointer = to === undefined ? { ...now, last: version, version } : { ...now, last: version, rollout: { version, to } };
      return { content, change, pointer };
    });
    return last;
  }

  /** Changes whom a roll-out under way reaches. */
  async widen(version: number, to: Audience, options: ChangeOptions = {}): Promise<void> {
    checkAudience(to);
    await this.#change(options, (now) => {
      this.#checkRollout(now, version);
      const change = { kind: 'rollout', audience: to, from: now.version, to: version } as const;
      return { pointer: { ...now, rollout: { version, to } }, change };
    });
  }

  /** The version of a roll-out is for everybody from now on. */
  async complete(version: number, options: ChangeOptions = {}): Promise<void> {
    await this.#change(options, (now) => {
      this.#checkRollout(now, version);
      const change = { kind: 'completed', audience: null, from: now.version, to: version } as const;
      return { pointer: { ...now, version, rollout: null }, change };
    });
  }

  /** Whoever a roll-out has reached goes back to the version for everybody. */
  async abandon(version: number, options: ChangeOptions = {}): Promise<void> {
    await this.#change(options, (now) => {
      this.#checkRollout(now, version);
      const change = { kind: 'abandoned', audience: null, from: version, to: now.version } as const;
      return { pointer: { ...now, rollout: null }, change };
    });
  }

  /** Back (or forth) to a version there is, for everybody; ends a roll-out. What it holds is checked first. */
  async rollBack(to: number, options: ChangeOptions & { readonly expect: number }): Promise<void> {
    checkPosition('expect', options.expect);
    parseContent(this.name, to, await this.#content(to, options), this.#parse);
    await this.#change(options, (now) => {
      if (now.version !== options.expect) throw new ConfigConflict(this.name, now, `version ${options.expect}`);
      const change = { kind: 'rolled_back', audience: null, from: now.version, to } as const;
      return { pointer: { ...now, version: to, rollout: null }, change };
    }, to);
  }

  /** This instance uses this version, whatever is published or rolled out, until it is unpinned (null). */
  async pin(instance: string, version: number | null, options: ChangeOptions = {}): Promise<void> {
    checkName('instance', instance);
    if (version !== null) parseContent(this.name, version, await this.#content(version, options), this.#parse);
    await this.#change(options, (now) => {
      const pins = new Map(now.pins);
      const before = pins.get(instance) ?? now.version;
      if (version === null) pins.delete(instance);
      else pins.set(instance, version);
      if (pins.size > PINS_MAX) {
        throw new ApiError('invalid_request', { detail: `${pins.size} instances would be pinned; at most ${PINS_MAX} can be` });
      }
      const kind = version === null ? 'unpinned' : 'pinned';
      const change = { kind, audience: { instances: [instance] }, from: before, to: version ?? now.version } as const;
      return { pointer: { ...now, pins }, change };
    }, version ?? 0);
  }

  /** All changes that are kept, the newest first. */
  async *history(options: WaitOptions = {}): AsyncGenerator<ConfigRecord, undefined> {
    let rangeEnd = utf8(`${this.#names.history}~`);
    for (;;) {
      const key = utf8(this.#names.history);
      const page = await this.#persist(options, (signal) => this.#client.range(
        { key, rangeEnd, limit: PAGE_CHANGES, sortTarget: 'key', sortOrder: 'descend' }, { signal },
      ));
      const changes = page.kvs.flatMap((kv) => readChange(kv) ?? []);
      const contents = await this.#contents([...new Set(changes.flatMap(({ from, to }) => [from, to]))], options);
      for (const change of changes) {
        yield { ...change, before: contents.get(change.from) ?? null, after: contents.get(change.to) ?? null };
      }
      const last = page.kvs.at(-1);
      if (last === undefined || !page.more) return undefined;
      rangeEnd = new Uint8Array(last.key);
    }
  }

  #checkRollout(now: ConfigPointer, version: number): void {
    if (now.rollout?.version !== version) throw new ConfigConflict(this.name, now, `a roll-out of version ${version}`);
  }

  /** As it will be read, or `ConfigInvalid`: what the rules refuse is never published. */
  #written(next: C): Uint8Array {
    const json: unknown = JSON.stringify(next);
    if (typeof json !== 'string') throw new ConfigInvalid(this.name, 0, 'it has no JSON form');
    const content = utf8(json);
    if (content.length > CONTENT_BYTES_MAX) {
      throw new ConfigInvalid(this.name, 0, `it takes ${content.length} bytes as JSON, at most ${CONTENT_BYTES_MAX}`);
    }
    parseContent(this.name, 0, content, this.#parse);
    return content;
  }

  /** `needs`: a version that must still be there. */
  #change(options: ChangeOptions, step: (now: ConfigPointer) => Step, needs = 0): Promise<ConfigPointer> {
    const { who = '', note = '' } = options;
    for (const [name, word] of [['who', who], ['note', note]] as const) {
      const { length } = utf8(word);
      if (length > WORD_BYTES_MAX) {
        throw new ApiError('invalid_request', { detail: `${name} has ${length} bytes; give at most ${WORD_BYTES_MAX}` });
      }
    }
    let sent: Sent | null = null;
    let isLoose = false;
    return this.#persist(options, async (signal) => {
      for (;;) {
        const before = await this.#read(signal);
        // An attempt nobody answered, that has happened: its record stands where it was to stand.
        if (sent !== null && isLoose && before.mod !== sent.mod) {
          if (await this.#isRecorded(sent, signal)) return sent.pointer;
          isLoose = false;
        }
        const { pointer: next, change, content } = step(before.pointer);
        const pointer = { ...next, serial: before.pointer.serial + 1 };
        const record = writeChange({ serial: pointer.serial, ...change, who, note });
        sent = { record, pointer, mod: before.mod, content };
        const request = this.#request(before, pointer, record, { needs, ...(content === undefined ? {} : { content }) });
        const looseBefore = isLoose;
        isLoose = true;
        const answer = await this.#send(request, signal);
        if (answer.succeeded) return pointer;
        isLoose = looseBefore;
        const [now, needed] = answer.responses.map((each) => rangeIn(each)[0]);
        if (needs > 0 && needed === undefined) throw new ConfigInvalid(this.name, needs, 'it is not kept any more');
        // Somebody was faster, or an earlier attempt of ours has landed: the next look tells.
        assert(now?.modRevision !== before.mod, 'a comparison fails for a reason');
      }
    });
  }

  /** Also by its content: somebody else may have made the same change, of another content, in our place. */
  async #isRecorded({ record, pointer, content }: Sent, signal: AbortSignal): Promise<boolean> {
    const { serial, last } = pointer;
    const reads = [opRange(historyKey(this.#names, serial)), opRange(versionKey(this.#names, last))];
    const answer = await this.#send({ success: reads }, signal);
    const [change, version] = answer.responses.map((each) => rangeIn(each)[0]);
    if (change === undefined || !equalBytes(change.value, record)) return false;
    return content === undefined || (version !== undefined && equalBytes(version.value, content));
  }

  #request(before: Known, pointer: ConfigPointer, record: Uint8Array, what: { needs: number; content?: Uint8Array }): TxnRequest {
    const { current, history } = this.#names;
    const needed = versionKey(this.#names, what.needs);
    const oldest = pointer.serial - CHANGES_KEPT;
    const success: Op[] = [opPut(current, writePointer(pointer)), opPut(historyKey(this.#names, pointer.serial), record)];
    if (oldest > 0) success.push(opDelete(utf8(history), { rangeEnd: historyKey(this.#names, oldest) }));
    if (what.content !== undefined) {
      success.push(opPut(versionKey(this.#names, pointer.last), what.content), ...this.#trim(pointer));
    }
    return {
      compare: [
        modified(current, '=', before.mod),
        ...(what.needs > 0 ? [{ key: needed, result: '>', target: 'create', operand: 0 } as const] : []),
      ],
      success,
      failure: [opRange(current), opRange(needed, { keysOnly: true })],
    };
  }

  /** Deletes what lies before the versions that are kept, except what is in use. */
  #trim({ last, version, rollout, pins }: ConfigPointer): Op[] {
    const end = last - this.#versionsKept + 1;
    const used = [version, rollout?.version ?? version, ...pins.values()].filter((each) => each < end);
    const ops: Op[] = [];
    let from = 1;
    for (const to of [...new Set(used), end].toSorted((a, b) => a - b)) {
      if (to > from) ops.push(opDelete(versionKey(this.#names, from), { rangeEnd: versionKey(this.#names, to) }));
      from = to + 1;
    }
    return ops;
  }

  async #read(signal: AbortSignal): Promise<Known> {
    const answer = await this.#send({ success: [opRange(this.#names.current)] }, signal);
    const [kv] = rangeIn(answer.responses[0]);
    if (kv === undefined) return this.#unpointed(signal);
    const pointer = readPointer(kv);
    if (pointer === null) {
      throw new ConfigInvalid(this.name, 0, `its pointer, ${text(this.#names.current)}, cannot be read; mend or delete it`);
    }
    return { pointer, mod: kv.modRevision };
  }

  /** No pointer: numbers go on behind those of versions and records that may still be there. */
  async #unpointed(signal: AbortSignal): Promise<Known> {
    const newest = (prefix: string): Op =>
      opRange(utf8(prefix), { rangeEnd: utf8(`${prefix}~`), limit: 1, sortTarget: 'key', sortOrder: 'descend', keysOnly: true });
    const { versions, history } = this.#names;
    const answer = await this.#send({ success: [newest(versions), newest(history)] }, signal);
    const [last, serial] = [versions, history].map((prefix, i) => {
      const [kv] = rangeIn(answer.responses[i]);
      return kv === undefined ? 0 : Number(text(kv.key).slice(prefix.length)) || 0;
    });
    return { pointer: { ...NOTHING, last: last ?? 0, serial: serial ?? 0 }, mod: 0 };
  }

  async #content(version: number, options: WaitOptions): Promise<Uint8Array> {
    checkPosition('version', version);
    const key = versionKey(this.#names, version);
    const { kvs } = await this.#persist(options, (signal) => this.#client.range({ key }, { signal }));
    const [kv] = kvs;
    if (kv === undefined) throw new ConfigInvalid(this.name, version, 'it was never published, or is not kept any more');
    return kv.value;
  }

  async #contents(versions: readonly number[], options: WaitOptions): Promise<ReadonlyMap<number, string>> {
    const found = new Map<number, string>();
    for (const version of versions) {
      const key = versionKey(this.#names, version);
      const { kvs } = await this.#persist(options, (signal) => this.#client.range({ key }, { signal }));
      if (kvs[0] !== undefined) found.set(version, text(kvs[0].value));
    }
    return found;
  }

  #send(request: TxnRequest, signal: AbortSignal): Promise<TxnResponse> {
    const call = { timeoutMs: CALL_MS, outer: signal, what: `configuration ${this.name}` };
    return bounded(this.#clock, call, (inner) => orStopped(this.#client.txn(request, { signal: inner }), inner));
  }

  /** Tries again what may be tried again, until it is done or the caller's time is over. */
  async #persist<T>(options: WaitOptions, attempt: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { signal, timeoutMs = TIMEOUT_MS } = options;
    const backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(this.#clock, this.name) });
    const what = `configuration ${this.name}`;
    return bounded(this.#clock, { timeoutMs, what, ...(signal === undefined ? {} : { outer: signal }) }, async (stop) => {
      for (;;) {
        try {
          if (stop.aborted) throw new ApiError('canceled', { detail: what, cause: stop.reason });
          return await orStopped(attempt(stop), stop);
        } catch (error) {
          if (stop.aborted) throw new ApiError('canceled', { detail: what, cause: error });
          if (!isApiError(error) || (!error.retryable && error.outcome === 'never')) throw error;
          await pause(this.#clock, backoff.next(), stop);
        }
      }
    });
  }
}

function rangeIn(answer: OpResponse | undefined): readonly KeyValue[] {
  assert(answer?.kind === 'range', 'a range is answered by a range');
  return answer.response.kvs;
}

// One instance's configuration: read, checked, followed for ever, and never taken away. What cannot be used (a version that
// its rules refuse, a pointer that was deleted, a store that does not answer) leaves the one before in use, and `problem`
// and `stale` say so.
//
// The pointer is followed by a view; a version is read once, since it never changes. Every `checkMs` the pointer's revision
// is compared with the store's, one key without its value, in case a notification was lost on the way: then the view is
// opened anew. So an instance that can reach the store has the version that is for it within checkMs + 1 s.
//
// Keys: none of its own; see config-names.ts. Locally: the snapshot, if one is wanted; see config-snapshot.ts.

import { onceAborted } from '../core/base/abort.js';
import { equalBytes } from '../core/base/bytes.js';
import type { Clock } from '../core/base/clock.js';
import type { Client, Revision } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import type { ParseConfig, SpaceNames } from './config-names.js';
import { ConfigAbsent, ConfigInvalid, parseContent, readPointer, versionFor, versionKey } from './config-names.js';
import type { SnapshotOptions } from './config-snapshot.js';
import { readSnapshot, writeSnapshot } from './config-snapshot.js';
import { asError } from './deletion.js';
import { orStopped } from './entry.js';
import type { WaitOptions } from './pause.js';
import { Backoff, bounded, chance, checkNumber, observing, pause, within } from './pause.js';
import { checkName } from './topic-names.js';
import { View } from './view.js';

const CHECK_MS = 60_000;
const CHECK_MS_MIN = 100;
/** Between a difference that is seen and the belief that nobody will tell. */
const GRACE_MS = 1_000;
const BOOT_MS = 3_000;
const CALL_MS = 5_000;
const RETRY_MS = 50;
const RETRY_MS_MAX = 1_500;
/** The snapshot is written again, as confirmed, after this share of the age at which it would be refused. */
const CONFIRM_SHARE = 0.1;

export interface ConfigFollowOptions {
  /** For roll-outs and pins. Absent: only what is for everybody. */
  readonly instance?: string;
  /** To start from when the store does not give a configuration within `bootMs`. Absent: none is read or written. */
  readonly snapshot?: SnapshotOptions;
  /** How long `ready` waits for the store before it takes the snapshot. Default 3 s. */
  readonly bootMs?: number;
  /** How often the pointer's revision is compared. Default 60 s. */
  readonly checkMs?: number;
  readonly livenessMs?: number;
  readonly clock: Clock;
  readonly observe?: (event: ConfigEvent) => void;
}

/** For logs and tests. */
export type ConfigEvent =
  | { readonly kind: 'changed'; readonly version: number; readonly source: 'store' | 'snapshot' }
  | { readonly kind: 'refused'; readonly error: Error }
  | { readonly kind: 'attempt_failed'; readonly error: Error }
  | { readonly kind: 'snapshot_failed'; readonly error: Error }
  | { readonly kind: 'listener_failed'; readonly error: Error }
  /** The comparison found a change that no notification had told of. */
  | { readonly kind: 'missed_notification' };

/** One step of one reader; `from` is what this reader was given before, null the first time. */
export interface ConfigChange<C> {
  readonly from: C | null;
  readonly to: C;
  readonly version: number;
  readonly source: 'store' | 'snapshot';
}

interface Held<C> {
  readonly value: C;
  readonly version: number;
  readonly content: Uint8Array;
  readonly source: 'store' | 'snapshot';
  /** The create revision of the pointer that named it; 0: none did. */
  readonly line: Revision;
}

export class ConfigFollower<C> implements AsyncDisposable {
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #names: SpaceNames;
  readonly #parse: ParseConfig<C>;
  readonly #options: ConfigFollowOptions;
  readonly #instance: string | null;
  readonly #observe: (event: ConfigEvent) => void;
  readonly #stop = new AbortController();
  readonly #wakers = new Set<() => void>();
  readonly #listeners = new Set<(change: ConfigChange<C>) => void>();
  readonly #openedAt: number;
  #view: View;
  #held: Held<C> | null = null;
  #problem: Error | null = null;
  /** With a snapshot: when it was confirmed, on our clock. */
  #confirmedAt = 0;
  #savedAt = -Infinity;
  #saved: Held<C> | null = null;
  #saving: Promise<void> = Promise.resolve();
  #running: Promise<unknown> = Promise.resolve();

  static follow<C>(client: Client, names: SpaceNames, parse: ParseConfig<C>, options: ConfigFollowOptions): ConfigFollower<C> {
    const follower = new ConfigFollower(client, names, parse, options);
    follower.#running = Promise.all([follower.#run(), follower.#compare(), follower.#boot()]);
    return follower;
  }

  private constructor(client: Client, names: SpaceNames, parse: ParseConfig<C>, options: ConfigFollowOptions) {
    checkNumber('checkMs', options.checkMs, CHECK_MS_MIN);
    checkNumber('bootMs', options.bootMs, 0);
    checkNumber('snapshot.maxAgeMs', options.snapshot?.maxAgeMs, 0);
    if (options.instance !== undefined) checkName('instance', options.instance);
    this.#client = client;
    this.#clock = options.clock;
    this.#names = names;
    this.#parse = parse;
    this.#options = options;
    this.#instance = options.instance ?? null;
    this.#observe = observing(options.clock, options.observe);
    this.#openedAt = options.clock.now();
    this.#view = this.#newView();
  }

  /** Throws until there is one: `ready()` waits for that. */
  get current(): C {
    if (this.#held !== null) return this.#held.value;
    throw this.#problem ?? new ConfigAbsent(this.#names.space, 'missing');
  }

  /** 0: there is none yet. */
  get version(): number {
    return this.#held?.version ?? 0;
  }

  /** Where `current` comes from; null while there is none. */
  get source(): 'store' | 'snapshot' | null {
    return this.#held?.source ?? null;
  }

  /** Null while the store is heard; else for how long the configuration in use has not been confirmed by it. */
  get stale(): { readonly ageMs: number } | null {
    const now = this.#clock.now();
    if (this.#held?.source === 'snapshot') return { ageMs: now - this.#confirmedAt };
    const since = this.#held === null ? this.#openedAt : this.#view.staleSince;
    return since === null ? null : { ageMs: now - since };
  }

  /**
   * Why what is in use is not what the store has for this instance: `ConfigInvalid`, `ConfigAbsent`, `SnapshotRefused`, or
   * the view's last error; null when it is.
   */
  get problem(): Error | null {
    return this.#problem ?? this.#view.lastError;
  }

  /**
   * Resolves with this follower once there is a configuration, from the store or from the snapshot. Rejects with `canceled`,
   * `closed` or `deadline_exceeded`, whose cause is the `problem`.
   */
  async ready(options: WaitOptions = {}): Promise<this> {
    const { space } = this.#names;
    try {
      const what = `the first configuration of ${space}`;
      await within(this.#until(() => this.#held !== null), this.#clock, { ...options, what });
    } catch (error) {
      if (!isApiError(error, 'deadline_exceeded') || this.problem === null) throw error;
      const detail = `the first configuration of ${space}, because: ${this.problem.message}`;
      throw new ApiError('deadline_exceeded', { detail, cause: this.problem });
    }
    if (this.#held === null) throw new ApiError('closed', { detail: `the configuration ${space} was closed before it was read` });
    return this;
  }

  /**
   * What is in use, then each change of it; a slow reader gets the latest. Each iteration is a reader of its own, and what
   * happens in one is nothing to the others. Ends with the signal and with `close`.
   */
  async *changes(options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<ConfigChange<C>, undefined> {
    const { signal } = options;
    let seen: Held<C> | null = null;
    const wake = (): void => this.#wake();
    onceAborted(signal, wake);
    try {
      for (;;) {
        await this.#until(() => signal?.aborted === true || (this.#held !== null && !isSame(this.#held, seen)));
        const held = this.#held;
        if (this.#stop.signal.aborted || signal?.aborted === true || held === null) return undefined;
        const from: C | null = seen === null ? null : seen.value;
        seen = held;
        yield { from, to: held.value, version: held.version, source: held.source };
      }
    } finally {
      signal?.removeEventListener('abort', wake);
    }
  }

  /**
   * Calls for each change, and at once for what is in use. What the listener throws is observed and stops nothing. Returns
   * what forgets it.
   */
  onChange(listener: (change: ConfigChange<C>) => void): () => void {
    const own = (change: ConfigChange<C>): void => listener(change);
    this.#listeners.add(own);
    if (this.#held !== null) this.#tell(own, { ...changeOf(this.#held), from: null });
    return () => this.#listeners.delete(own);
  }

  /** Stops following; what is in use stays readable. Idempotent, never rejects. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#wake();
    await this.#view.close();
    await this.#running;
    await this.#saving;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #newView(): View {
    const { livenessMs } = this.#options;
    const options = { clock: this.#clock, ...(livenessMs === undefined ? {} : { livenessMs }) };
    return View.follow(this.#client, { key: this.#names.current }, options);
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const view = this.#view;
      for await (const { puts, deletes } of view.changes) {
        this.#wake();
        if (puts.length > 0 || deletes.length > 0 || this.#problem !== null || this.source !== 'store') await this.#look(view);
      }
      if (view !== this.#view) continue;
      // The client is closed: whoever waits here would wait for ever.
      this.#stop.abort();
      this.#wake();
    }
  }

  /** Takes over what the pointer says, or notes why it cannot be used. */
  async #look(view: View): Promise<void> {
    const { current, space } = this.#names;
    const backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(this.#clock, space) });
    while (!this.#stop.signal.aborted && view === this.#view) {
      const kv = view.get(current);
      if (kv === null) {
        if (view.synced) this.#refuse(new ConfigAbsent(space, this.#held === null ? 'missing' : 'removed'));
        return;
      }
      const pointer = readPointer(kv);
      if (pointer === null) {
        this.#refuse(new ConfigInvalid(space, this.version, 'its pointer cannot be read'));
        return;
      }
      const version = versionFor(pointer, this.#instance);
      try {
        const next = await this.#load(version, kv.createRevision);
        // What has changed meanwhile comes next; this was for us a moment ago, and is better than what was before.
        this.#adopt(next);
        return;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (error instanceof ConfigInvalid) {
          this.#refuse(error);
          return;
        }
        this.#observe({ kind: 'attempt_failed', error: asError(error) });
        if (isApiError(error, 'closed')) return;
        await pause(this.#clock, backoff.next(), this.#stop.signal);
      }
    }
  }

  /** `line`: a version number means something else in a store that was replaced. */
  async #load(version: number, line: Revision): Promise<Held<C>> {
    const { space } = this.#names;
    const before = this.#held;
    if (before !== null && before.line === line && before.version === version) return before;
    const key = versionKey(this.#names, version);
    const call = { timeoutMs: CALL_MS, outer: this.#stop.signal, what: `reading version ${version} of ${space}` };
    const { kvs } = await bounded(this.#clock, call, (signal) => orStopped(this.#client.range({ key }, { signal }), signal));
    const [kv] = kvs;
    if (kv === undefined) throw new ConfigInvalid(space, version, 'the pointer names it, and it is not there');
    const same = before !== null && before.version === version && equalBytes(before.content, kv.value);
    const value = same ? before.value : parseContent(space, version, kv.value, this.#parse);
    return { value, version, content: kv.value, source: 'store', line };
  }

  #adopt(next: Held<C>): void {
    const before = this.#held;
    this.#problem = null;
    if (before === next) return;
    this.#held = next;
    if (next.source === 'store') this.#save();
    if (before === null || !isSame(before, next)) {
      this.#observe({ kind: 'changed', version: next.version, source: next.source });
      const change = { ...changeOf(next), from: before === null ? null : before.value };
      for (const listener of this.#listeners) this.#tell(listener, change);
    }
    this.#wake();
  }

  #refuse(error: Error): void {
    const isNews = this.#problem?.message !== error.message;
    this.#problem = error;
    if (isNews) this.#observe({ kind: 'refused', error });
    this.#wake();
  }

  #tell(listener: (change: ConfigChange<C>) => void, change: ConfigChange<C>): void {
    try {
      listener(change);
    } catch (error) {
      this.#observe({ kind: 'listener_failed', error: asError(error) });
    }
  }

  /** The store has not given anything in time: what was confirmed last is better than nothing, if it may be used. */
  async #boot(): Promise<void> {
    const { snapshot, bootMs = BOOT_MS } = this.#options;
    if (snapshot === undefined) return;
    await within(this.#until(() => this.#held !== null), this.#clock, { timeoutMs: bootMs, what: 'the store' }).catch(() => null);
    if (this.#held !== null || this.#stop.signal.aborted) return;
    const { space } = this.#names;
    try {
      const found = await readSnapshot(snapshot, { space, instance: this.#instance });
      const value = parseContent(space, found.version, found.content, this.#parse);
      // The store may have spoken while the file was read.
      if (this.source !== null) return;
      const problem = this.#problem;
      this.#confirmedAt = this.#clock.now() - found.ageMs;
      this.#adopt({ value, version: found.version, content: found.content, source: 'snapshot', line: 0 });
      this.#problem = problem;
    } catch (error) {
      if (this.source === null) this.#refuse(asError(error));
    }
  }

  /** Every `checkMs`: whether the store's pointer is the one we know. */
  async #compare(): Promise<void> {
    const { checkMs = CHECK_MS } = this.#options;
    const prng = chance(this.#clock, this.#names.space, this.#instance ?? '');
    const stop = this.#stop.signal;
    while (!stop.aborted) {
      // Spread, so that a thousand instances that started together do not ask together.
      await pause(this.#clock, checkMs * (0.75 + prng.below(250) / 1000), stop);
      if (stop.aborted) return;
      try {
        const there = await this.#storedMod();
        if (there === this.#viewMod()) {
          this.#confirm();
          continue;
        }
        await pause(this.#clock, GRACE_MS, stop);
        // Changed again, or told meanwhile: nothing was lost.
        if (stop.aborted || this.#viewMod() === there || await this.#storedMod() !== there) continue;
        this.#observe({ kind: 'missed_notification' });
        const before = this.#view;
        this.#view = this.#newView();
        await before.close();
      } catch (error) {
        if (isApiError(error, 'closed')) return;
        if (!stop.aborted) this.#observe({ kind: 'attempt_failed', error: asError(error) });
      }
    }
  }

  async #storedMod(): Promise<number> {
    const request = { key: this.#names.current, keysOnly: true };
    const call = { timeoutMs: CALL_MS, outer: this.#stop.signal, what: 'comparing revisions' };
    const { kvs } = await bounded(this.#clock, call, (signal) => orStopped(this.#client.range(request, { signal }), signal));
    return kvs[0]?.modRevision ?? 0;
  }

  #viewMod(): number {
    return this.#view.get(this.#names.current)?.modRevision ?? 0;
  }

  /** The store has just said that what we have is current. */
  #confirm(): void {
    const { snapshot } = this.#options;
    if (snapshot === undefined || this.#problem !== null) return;
    if (this.#clock.now() - this.#savedAt >= snapshot.maxAgeMs * CONFIRM_SHARE) this.#save();
  }

  /** One after the other; a failure costs the snapshot, not the configuration. */
  #save(): void {
    const { snapshot } = this.#options;
    if (snapshot === undefined) return;
    const write = async (): Promise<void> => {
      const held = this.#held;
      const isDue = this.#clock.now() - this.#savedAt >= snapshot.maxAgeMs * CONFIRM_SHARE;
      if (held === null || held.source !== 'store' || (held === this.#saved && !isDue)) return;
      const { version, content } = held;
      try {
        await writeSnapshot(snapshot, { space: this.#names.space, instance: this.#instance, version, content });
        this.#saved = held;
        this.#savedAt = this.#clock.now();
      } catch (error) {
        this.#observe({ kind: 'snapshot_failed', error: asError(error) });
      }
    };
    this.#saving = this.#saving.then(write);
  }

  /** Resolves when it holds, or when this is closed. */
  async #until(holds: () => boolean): Promise<void> {
    while (!holds() && !this.#stop.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wakers.add(resolve);
      });
    }
  }

  #wake(): void {
    const waiting = [...this.#wakers];
    this.#wakers.clear();
    for (const wake of waiting) wake();
  }
}

function changeOf<C>({ value, version, source }: Held<C>): Omit<ConfigChange<C>, 'from'> {
  return { to: value, version, source };
}

/** Coming from the store what came from the snapshot before is no change. */
function isSame<C>(a: Held<C>, b: Held<C> | null): boolean {
  return b !== null && a.version === b.version && equalBytes(a.content, b.content);
}

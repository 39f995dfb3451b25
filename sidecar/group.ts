// One group of the sidecar: change -> quiet period -> snapshot -> hold -> render -> publish, in one loop, so that there are
// never two at a time and whatever arrives meanwhile joins the next round. No decisions here, only order: what to keep is
// hold.ts, what to write is render.ts, how is publish.ts.

import { isApiError } from '../core/errors.js';
import { Backoff, chance } from '../recipes/pause.js';
import type { GroupConfig } from './config.js';
import { readWhole } from './disk.js';
import type { GroupCounts, GroupStatus, SidecarEvent } from './events.js';
import { decideHold } from './hold.js';
import type { Hold } from './hold.js';
import type { World } from './nginx.js';
import type { Outcome, Plan } from './publish.js';
import { Publisher } from './publish.js';
import { compileTemplate, renderGroup, TemplateError } from './render.js';
import type { Template } from './render.js';
import type { Feed, Snapshot, Source } from './source.js';
import type { SavedState } from './state.js';
import { readState, writeState } from './state.js';
import { takesTraffic } from './view-data.js';
import type { GroupData, Refused } from './view-data.js';
import { Unresolved, UNRESOLVED_CHECKS_MAX } from './unresolved.js';
import { driverFor } from './drivers.js';

const READ_TIMEOUT_MS = 5_000;
/** How often a store that has never answered is spoken of. */
const UNSYNCED_MS = 1_000;

type GroupEvent = SidecarEvent extends infer E ? (E extends unknown ? Omit<E, 'group'> : never) : never;

/** What a round came to; `retryMs` null: nothing to do until something changes. */
interface Round {
  readonly ok: boolean;
  readonly reason: string;
  readonly retryMs: number | null;
}

/** What the templates were given and what came out. */
interface Rendered {
  readonly services: GroupData['services'];
  readonly texts: readonly string[];
  readonly refused: readonly Refused[];
}

export interface GroupSetup {
  readonly config: GroupConfig;
  readonly source: Source;
  readonly world: World;
  readonly observe: (event: SidecarEvent) => void;
}

export class Group {
  readonly #config: GroupConfig;
  readonly #source: Source;
  readonly #world: World;
  readonly #tell: (event: GroupEvent) => void;
  readonly #stop = new AbortController();
  readonly #publisher: Publisher;
  readonly #names: readonly string[];
  readonly #backoff: Backoff;
  readonly #compiled = new Map<string, { readonly text: string; readonly template: Template }>();
  readonly #holds: Map<string, Hold>;
  readonly #unresolved: Unresolved;
  /** Services that had somebody to serve when the files were last in order. */
  #shown: ReadonlySet<string>;
  /** Things said once and not again until they change. */
  #said = new Map<string, string>();
  #feed: Feed | null = null;
  #running: Promise<void> = Promise.resolve();
  /** Set by the feed; taken by the loop. */
  #dirty = false;
  #wake: () => void = () => undefined;
  readonly #waiters = new Set<() => void>();
  #last: Round = { ok: false, reason: 'the registry has not been read yet', retryMs: null };
  #revision: number;
  #generation: string | null;
  #counts: GroupCounts = { renders: 0, applied: 0, failed: 0, rolledBack: 0, holds: 0, refusedInstances: 0 };

  /** Reads what an earlier life wrote down and, as the owner of the targets, ends what it left half done. */
  static async open(setup: GroupSetup & { readonly owner: boolean }): Promise<Group> {
    const saved = await readState(setup.config, setup.world.files);
    const group = new Group(setup, saved);
    if (!setup.owner) return group;
    const repaired = await group.#publisher.recover();
    if (repaired.length > 0) group.#tell({ kind: 'repaired', targets: repaired });
    return group;
  }

  private constructor(setup: GroupSetup, saved: SavedState) {
    const { config, source, world, observe } = setup;
    this.#config = config;
    this.#source = source;
    this.#world = world;
    this.#tell = (event) => observe({ ...event, group: config.name });
    this.#names = config.services.map((service) => service.name);
    const { minMs, maxMs } = config.retry;
    this.#backoff = new Backoff({ baseMs: minMs, maxMs, prng: chance(world.clock) });
    const driver = driverFor(config.reload, world);
    this.#publisher = new Publisher({ config, driver, world, confirmed: saved.confirmed, signal: this.#stop.signal });
    const nothingHeld = { since: null, held: [], expired: false };
    this.#holds = new Map(saved.services.map(([name, instances]) => [name, { ...nothingHeld, instances }]));
    this.#unresolved = new Unresolved(world.clock);
    this.#shown = serving(saved.services);
    this.#revision = 0;
    this.#generation = saved.confirmed?.generation ?? null;
  }

  get status(): GroupStatus {
    const staleSince = this.#feed?.staleSince ?? null;
    const synced = this.#feed?.synced ?? false;
    const staleMs = synced && staleSince !== null ? Math.round(this.#world.clock.now() - staleSince) : null;
    const reason = staleMs === null ? this.#last.reason : `the registry was last known to be current ${staleMs} ms ago`;
    const held = [...this.#holds].filter(([, hold]) => hold.held.length > 0).map(([name, hold]) => [name, hold.held] as const);
    return {
      name: this.#config.name,
      ready: this.#last.ok && synced && staleMs === null,
      reason: this.#last.ok && staleMs === null ? '' : reason,
      synced,
      staleMs,
      revision: this.#revision,
      generation: this.#generation,
      lastError: this.#last.ok ? null : this.#last.reason,
      held: Object.fromEntries(held),
      counts: this.#counts,
    };
  }

  start(): void {
    this.#feed = this.#source.follow(this.#names, () => this.refresh());
    this.#running = this.#loop();
  }

  /** Looks again, as after a change. */
  refresh(): void {
    this.#dirty = true;
    this.#wake();
  }

  /** Resolves after the next round that ends well, or at once when the last one did. */
  async ready(signal: AbortSignal): Promise<void> {
    while (!this.status.ready && !signal.aborted && !this.#stop.signal.aborted) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          this.#waiters.delete(done);
          signal.removeEventListener('abort', done);
          resolve();
        };
        this.#waiters.add(done);
        signal.addEventListener('abort', done, { once: true });
      });
    }
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#wake();
    for (const waiter of this.#waiters) waiter();
    await this.#feed?.close();
    await this.#running;
  }

  /** One round without following the registry. */
  once(): Promise<Round> {
    return this.#round();
  }

  /** What a round would do. Rejects when the store cannot be read or a template cannot be rendered. */
  async plan(): Promise<Plan> {
    const snapshot = await this.#read();
    const holds = this.#holdsFor(snapshot);
    const { result } = await this.#fitting(holds, ({ texts }) => this.#publisher.plan(texts), (plan) => plan.valid.unresolved);
    return result;
  }

  // --- The loop ----------------------------------------------------------------------------------------------------

  async #loop(): Promise<void> {
    const { signal } = this.#stop;
    let first = true;
    while (!signal.aborted) {
      const changed = await this.#nextReason(this.#feed?.synced === true ? this.#last.retryMs : UNSYNCED_MS);
      if (signal.aborted) return;
      this.#dirty = false;
      this.#sayFreshness();
      if (this.#feed?.synced !== true) {
        this.#sayUnsynced();
        continue;
      }
      if (first) this.#tell({ kind: 'synced' });
      if (changed && !first) await this.#quiet();
      if (signal.aborted) return;
      first = false;
      this.#dirty = false;
      this.#last = await this.#guardedRound();
      for (const waiter of this.#waiters) waiter();
    }
  }

  /** True after a change, false when it is time to try again. */
  async #nextReason(retryMs: number | null): Promise<boolean> {
    if (!this.#dirty) await this.#sleep(retryMs);
    return this.#dirty;
  }

  /** Until something changes, `ms` have passed, or the group is closed. */
  async #sleep(ms: number | null): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = ms === null ? (): void => undefined : this.#world.clock.schedule(Math.min(ms, 2 ** 31 - 1), resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
      if (this.#stop.signal.aborted) this.#wake();
    });
    this.#wake = () => undefined;
  }

  /** Waits until nothing has changed for `minMs`, but no longer than `maxMs`. */
  async #quiet(): Promise<void> {
    const { minMs, maxMs } = this.#config.quiet;
    const { clock } = this.#world;
    const deadline = clock.now() + maxMs;
    for (;;) {
      this.#dirty = false;
      const left = deadline - clock.now();
      if (left <= 0) return;
      await this.#sleep(Math.min(minMs, left));
      if (!this.#dirty || this.#stop.signal.aborted) return;
    }
  }

  /** A round must not end the loop, whatever happens in it. */
  async #guardedRound(): Promise<Round> {
    try {
      return await this.#round();
    } catch (error) {
      if (this.#stop.signal.aborted) return { ok: false, reason: 'stopped', retryMs: null };
      const reason = error instanceof Error ? error.message : String(error);
      this.#tell({ kind: 'trouble', reason });
      return { ok: false, reason, retryMs: this.#backoff.next() };
    }
  }

  async #round(): Promise<Round> {
    const started = this.#world.clock.now();
    let snapshot: Snapshot;
    try {
      snapshot = await this.#read();
    } catch (error) {
      if (!isApiError(error)) throw error;
      return this.#put(false, error.message, (retryMs) => ({ kind: 'read_failed', reason: error.message, retryMs }));
    }
    const holds = this.#holdsFor(snapshot);
    const short = this.#publisher.confirmed === null ? this.#missing(snapshot) : null;
    if (short !== null) {
      this.#once(`waiting ${short.service}`, String(short.has), { kind: 'waiting', ...short });
      return { ok: false, reason: `${short.service} has ${short.has} of ${short.needs} instances`, retryMs: null };
    }
    let outcome: Outcome;
    let rendered: Rendered;
    try {
      const apply = ({ texts }: Rendered): Promise<Outcome> => {
        this.#takeHolds(holds);
        return this.#publisher.apply(texts);
      };
      const unresolved = (one: Outcome): string | undefined => (one.kind === 'failed' ? one.unresolved : undefined);
      ({ result: outcome, rendered } = await this.#fitting(holds, apply, unresolved));
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error;
      this.#count('failed');
      return this.#put(false, error.message, (retryMs) => ({ kind: 'render_failed', reason: error.message, retryMs }));
    }
    this.#sayRefused(snapshot, rendered.refused);
    this.#tell({ kind: 'outcome', revision: snapshot.revision, tookMs: this.#world.clock.now() - started, outcome });
    return this.#settle(outcome, snapshot.revision, holds, rendered.services);
  }

  // --- Parts of a round --------------------------------------------------------------------------------------------

  #read(): Promise<Snapshot> {
    return this.#source.read(this.#names, this.#stop.signal, READ_TIMEOUT_MS);
  }

  #holdsFor(snapshot: Snapshot): ReadonlyMap<string, Hold> {
    return new Map(
      this.#config.services.map((service) => {
        const present = snapshot.services.get(service.name) ?? [];
        const departed = snapshot.departed.get(service.name) ?? [];
        const last = this.#holds.get(service.name) ?? null;
        return [service.name, decideHold({ service, present, departed, last, now: this.#world.clock.now() })];
      }),
    );
  }

  #missing(snapshot: Snapshot): { service: string; needs: number; has: number } | null {
    for (const { name, require } of this.#config.services) {
      const has = (snapshot.services.get(name) ?? []).filter(takesTraffic).length;
      if (has < require) return { service: name, needs: require, has };
    }
    return null;
  }

  /** Renders and hands on, again without each name that the proxy cannot resolve, as long as that leaves somebody. */
  async #fitting<T>(
    holds: ReadonlyMap<string, Hold>,
    use: (rendered: Rendered) => Promise<T>,
    unresolved: (result: T) => string | undefined,
  ): Promise<{ result: T; rendered: Rendered }> {
    for (let checks = 1; ; checks++) {
      const rendered = await this.#render(holds);
      const result = await use(rendered);
      const name = unresolved(result);
      if (name === undefined || checks === UNRESOLVED_CHECKS_MAX) return { result, rendered };
      if (!this.#unresolved.leaveOut(name, rendered.services, this.#shown)) return { result, rendered };
    }
  }

  async #render(holds: ReadonlyMap<string, Hold>): Promise<Rendered> {
    const templates: Template[] = [];
    for (const { source, escape } of this.#config.templates) templates.push(await this.#template(source, escape));
    this.#count('renders');
    const { name: group, vars } = this.#config;
    const all = this.#names.map((name) => ({ name, instances: holds.get(name)?.instances ?? [] }));
    const { services, refused } = this.#unresolved.without(all);
    const rendering = renderGroup(templates, { group, services, vars });
    return { services, texts: rendering.texts, refused: [...refused, ...rendering.refused] };
  }

  /** Read anew each time, so that a mended template is found; compiled when it has changed. */
  async #template(source: string, escape: GroupConfig['templates'][number]['escape']): Promise<Template> {
    let bytes: Uint8Array | null;
    try {
      bytes = await readWhole(this.#world.files, source);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new TemplateError(source, null, `the template cannot be read: ${reason}`, error);
    }
    if (bytes === null) throw new TemplateError(source, null, 'the template cannot be read: there is no such file');
    const text = Buffer.from(bytes).toString('utf8');
    const known = this.#compiled.get(source);
    if (known?.text === text) return known.template;
    const template = compileTemplate({ name: source, text, escape });
    this.#compiled.set(source, { text, template });
    return template;
  }

  async #settle(
    outcome: Outcome,
    revision: number,
    holds: ReadonlyMap<string, Hold>,
    shown: GroupData['services'],
  ): Promise<Round> {
    if (outcome.kind === 'applied' || outcome.kind === 'unchanged') {
      if (outcome.kind === 'applied') this.#count('applied');
      this.#revision = revision;
      this.#generation = outcome.generation;
      this.#backoff.reset();
      const services = shown.map(({ name, instances }) => [name, instances] as const);
      this.#shown = serving(services);
      this.#unresolved.taken(shown);
      await writeState(this.#config, this.#world.files, { confirmed: this.#publisher.confirmed, services });
      return { ok: true, reason: '', retryMs: soonest(this.#holdEndsIn(holds), this.#unresolved.againInMs) };
    }
    this.#count(outcome.kind === 'rolled_back' ? 'rolledBack' : 'failed');
    return { ok: false, reason: outcome.reason, retryMs: outcome.retryMs };
  }

  /** When a hold must be looked at again; null when none ends by itself. */
  #holdEndsIn(holds: ReadonlyMap<string, Hold>): number | null {
    const ends = this.#config.services.map(({ name, holdMaxMs }) => {
      const since = holds.get(name)?.since ?? null;
      return since === null || holdMaxMs === 0 ? Infinity : Math.max(0, since + holdMaxMs - this.#world.clock.now()) + 1;
    });
    const first = Math.min(...ends);
    return first === Infinity ? null : first;
  }

  // --- Telling -----------------------------------------------------------------------------------------------------

  #put(ok: boolean, reason: string, event: (retryMs: number) => GroupEvent): Round {
    const retryMs = Math.round(this.#backoff.next());
    this.#tell(event(retryMs));
    return { ok, reason, retryMs };
  }

  #takeHolds(holds: ReadonlyMap<string, Hold>): void {
    for (const [service, hold] of holds) {
      const before = this.#holds.get(service)?.since ?? null;
      if (before === null && hold.since !== null) {
        this.#count('holds');
        this.#tell({ kind: 'holding', service, instances: hold.held });
      }
      if (before !== null && hold.since === null) this.#tell({ kind: 'hold_ended', service, gaveUp: hold.expired });
      this.#holds.set(service, hold);
    }
  }

  #sayFreshness(): void {
    const feed = this.#feed;
    if (feed?.synced !== true) return;
    const kind = feed.staleSince === null ? 'current' : 'stale';
    const before = this.#said.get('freshness');
    this.#said.set('freshness', kind);
    if (before !== kind && !(before === undefined && kind === 'current')) this.#tell({ kind });
  }

  /** Never rendered before the first complete read: what is in place stays, and why is told. */
  #sayUnsynced(): void {
    const error = this.#feed?.lastError ?? null;
    if (error === null) return;
    this.#last = { ok: false, reason: `the registry has not been read yet: ${error.message}`, retryMs: null };
    this.#once('unsynced', error.message, { kind: 'read_failed', reason: error.message, retryMs: UNSYNCED_MS });
  }

  #sayRefused(snapshot: Snapshot, refused: readonly Refused[]): void {
    for (const one of refused) this.#once(`refused ${one.service}/${one.id}`, one.reason, { kind: 'instance_refused', ...one });
    for (const reason of snapshot.invalid) this.#once(`invalid ${reason}`, reason, { kind: 'entry_invalid', reason });
    const now = new Set([
      ...refused.map((one) => `refused ${one.service}/${one.id}`),
      ...snapshot.invalid.map((reason) => `invalid ${reason}`),
      'freshness',
    ]);
    this.#said = new Map([...this.#said].filter(([key]) => now.has(key)));
  }

  #once(key: string, value: string, event: GroupEvent): void {
    if (this.#said.get(key) === value) return;
    this.#said.set(key, value);
    if (event.kind === 'instance_refused') this.#count('refusedInstances');
    this.#tell(event);
  }

  #count(what: keyof GroupCounts): void {
    this.#counts = { ...this.#counts, [what]: this.#counts[what] + 1 };
  }
}

function serving(services: SavedState['services']): ReadonlySet<string> {
  return new Set(services.filter(([, instances]) => instances.some(takesTraffic)).map(([name]) => name));
}

function soonest(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b;
  return Math.min(a, b);
}

// The apply machine: compare, stage, check, swap, act, confirm; and back again when the proxy does not take it. One per
// group, one `apply` at a time. What it keeps to:
//   - The live files change only after the whole candidate set has passed the check, and each in one step.
//   - Equal files are not the same as applied: a generation is applied when it was confirmed, and until then the reload is
//     repeated, by whoever calls `apply` again after `retryMs`.
//   - What the proxy did not take is taken back (files, reload, confirm) and left alone until inputs change or its
//     quarantine ends.
//   - After kill -9 at any instant every target is one complete version, and the next start finds out which one runs.

import type { Clock } from '../core/base/clock.js';
import type { FileAttributes, Files } from '../core/base/files.js';
import { digestOf } from './ask.js';
import type { GroupConfig, TemplateConfig } from './config.js';
import {
  beside, principalId, readWhole, removeIfThere, repair, replace, resolved, statOf, writeNew, writeWhole,
} from './disk.js';
import type { Driver, Proof, StagedFile, Verdict } from './driver.js';
import { OK, runVerdict, wordsFor } from './driver.js';
import type { Processes } from './processes.js';
import { sealed, tellsGeneration } from './render.js';

const NEW_FILE_MODE = 0o644;
const GENERATION_CHARS = 16;
const DIFF_LINES_MAX = 400;

export type Step = 'stage' | 'check' | 'swap' | 'act' | 'confirm';

export type Outcome =
  | { readonly kind: 'unchanged'; readonly generation: string }
  | { readonly kind: 'applied'; readonly generation: string; readonly proof: Proof; readonly changed: readonly string[] }
  /** The proxy runs what it ran; after `act` it may be either. To be tried again after `retryMs`. */
  | {
      readonly kind: 'failed';
      readonly generation: string;
      readonly step: Step;
      readonly reason: string;
      readonly retryMs: number;
      /** As `Verdict.unresolved`. */
      readonly unresolved?: string;
    }
  | {
      readonly kind: 'rolled_back';
      readonly generation: string;
      readonly reason: string;
      /** What putting the previous files back led to; null when it went well. */
      readonly trouble: string | null;
      readonly retryMs: number;
    }
  | { readonly kind: 'quarantined'; readonly generation: string; readonly reason: string; readonly retryMs: number };

/** What an `apply` would do. */
export interface Plan {
  readonly generation: string;
  readonly same: boolean;
  readonly valid: Verdict;
  /** Per changed target, lines beginning with `-` or `+`. */
  readonly diffs: readonly { readonly target: string; readonly lines: readonly string[] }[];
}

interface Target {
  readonly template: TemplateConfig;
  /** Symbolic links resolved: the file that is replaced. */
  readonly path: string;
  readonly live: Uint8Array | null;
  readonly next: Uint8Array;
}

interface Candidate {
  readonly generation: string;
  readonly targets: readonly Target[];
  /** Whether a running proxy can be asked for it. */
  readonly told: boolean;
}

/** Survives a restart: which generation was last confirmed, and whether its files tell it. */
export interface Confirmed {
  readonly generation: string;
  readonly told: boolean;
}

export class Publisher {
  readonly #config: GroupConfig;
  readonly #driver: Driver;
  readonly #world: { readonly files: Files; readonly processes: Processes; readonly clock: Clock };
  readonly #signal: AbortSignal;
  #confirmed: Confirmed | null;
  #failures = { generation: '', count: 0 };
  #quarantine: { readonly generation: string; readonly until: number; readonly reason: string } | null = null;
  /** False until this process has once made sure what the proxy runs. */
  #sure = false;

  constructor(given: {
    config: GroupConfig;
    driver: Driver;
    world: { readonly files: Files; readonly processes: Processes; readonly clock: Clock };
    confirmed: Confirmed | null;
    signal: AbortSignal;
  }) {
    this.#config = given.config;
    this.#driver = given.driver;
    this.#world = given.world;
    this.#confirmed = given.confirmed;
    this.#signal = given.signal;
  }

  get confirmed(): Confirmed | null {
    return this.#confirmed;
  }

  /** Ends what a crash cut short. Before the first `apply`. Returns the targets that needed it. */
  async recover(): Promise<readonly string[]> {
    const repaired: string[] = [];
    for (const { target } of this.#config.templates) {
      const path = await this.#resolved(target);
      if (await repair(this.#world.files, path)) repaired.push(target);
      await removeIfThere(this.#world.files, beside(path, 'staged'));
    }
    await this.#driver.tidy?.();
    return repaired;
  }

  /** `texts`: one per template, with the generation's mark in place. Never rejects for what an operator can mend. */
  async apply(texts: readonly string[]): Promise<Outcome> {
    const candidate = await this.#candidate(texts);
    const { generation, targets } = candidate;
    const held = this.#held(generation);
    if (held !== null) return held;
    const changed = targets.filter((target) => !same(target.live, target.next));
    if (changed.length === 0 && (await this.#runsAlready(candidate))) return { kind: 'unchanged', generation };
    if (changed.length > 0) {
      const failed = await this.#bringIn(candidate);
      if (failed !== null) return failed;
    }
    return this.#makeRun(candidate, changed.map((target) => target.template.target));
  }

  /** What `apply` would do; checks the candidate and changes nothing. */
  async plan(texts: readonly string[]): Promise<Plan> {
    const candidate = await this.#candidate(texts);
    const changed = candidate.targets.filter((target) => !same(target.live, target.next));
    const diffs = changed.map((target) => ({ target: target.template.target, lines: diff(target.live, target.next) }));
    const valid = changed.length === 0 ? OK : await this.#checkStaged(candidate, 'planned', () => Promise.resolve(OK));
    return { generation: candidate.generation, same: changed.length === 0, valid, diffs };
  }

  // --- Steps -------------------------------------------------------------------------------------------------------

  async #candidate(texts: readonly string[]): Promise<Candidate> {
    const { templates } = this.#config;
    const pieces = templates.flatMap((template, i) => [template.target, texts[i] ?? '']);
    const generation = digestOf(pieces).slice(0, GENERATION_CHARS);
    const targets = await Promise.all(
      templates.map(async (template, i): Promise<Target> => {
        const path = await this.#resolved(template.target);
        const live = await readWhole(this.#world.files, path);
        return { template, path, live, next: Buffer.from(sealed(texts[i] ?? '', generation), 'utf8') };
      }),
    );
    return { generation, targets, told: texts.some(tellsGeneration) };
  }

  /** A link is followed: what it leads to is replaced, the link stays. */
  #resolved(target: string): Promise<string> {
    return resolved(this.#world.files, target);
  }

  #held(generation: string): Outcome | null {
    const held = this.#quarantine;
    if (held === null) return null;
    const left = held.until - this.#world.clock.now();
    if (held.generation !== generation || left <= 0) {
      this.#quarantine = null;
      return null;
    }
    return { kind: 'quarantined', generation, reason: held.reason, retryMs: left };
  }

  /** Equal files: applied only if it is known, by our own confirmation or from the proxy, that they are what runs. */
  async #runsAlready(candidate: Candidate): Promise<boolean> {
    const known = this.#confirmed?.generation === candidate.generation;
    if (known && this.#sure) return true;
    const answer = candidate.told ? await this.#driver.runs(candidate.generation) : null;
    // A proxy that cannot be asked is taken at our own word, written down after its last reload.
    if (answer === false || (answer === null && !known)) return false;
    await this.#settle(candidate);
    return true;
  }

  /** Stage, check, swap. Null when the files are in place. */
  async #bringIn(candidate: Candidate): Promise<Outcome | null> {
    let step: Step = 'stage';
    try {
      const verdict = await this.#checkStaged(candidate, 'staged', async () => {
        step = 'swap';
        await this.#keepFirst(candidate);
        for (const target of candidate.targets) {
          await replace(this.#world.files, beside(target.path, 'staged'), target.path);
        }
        return OK;
      });
      if (verdict.ok) return null;
      const failed = this.#failed(candidate.generation, 'check', verdict.reason);
      return verdict.unresolved === undefined ? failed : { ...failed, unresolved: verdict.unresolved };
    } catch (error) {
      return this.#failed(candidate.generation, step, error instanceof Error ? error.message : String(error));
    }
  }

  /** Writes the candidate beside its targets, checks the whole set, and, if it is valid, does `then`; cleans up. */
  async #checkStaged(candidate: Candidate, as: 'staged' | 'planned', then: () => Promise<Verdict>): Promise<Verdict> {
    const { files } = this.#world;
    const { targets, generation } = candidate;
    try {
      for (const target of targets) await writeNew(files, beside(target.path, as), target.next, await this.#attributes(target));
      const verdict = await this.#check(listed(candidate, (path) => beside(path, as)), generation);
      return verdict.ok ? await then() : verdict;
    } finally {
      for (const { path } of targets) await removeIfThere(files, beside(path, as));
    }
  }

  #check(staged: readonly StagedFile[], generation: string): Promise<Verdict> {
    const { check, timeouts } = this.#config;
    if (check !== null) return runVerdict(this.#world.processes, check, wordsFor(staged, generation), timeouts.checkMs);
    return this.#driver.check === null ? Promise.resolve(OK) : this.#driver.check(staged, timeouts.checkMs);
  }

  async #attributes({ template, path }: Target): Promise<FileAttributes> {
    const { files } = this.#world;
    const present = await statOf(files, path);
    const uid = template.owner === undefined ? present?.uid : await principalId(files, 'owner', template.owner);
    const gid = template.group === undefined ? present?.gid : await principalId(files, 'group', template.group);
    return {
      mode: template.mode ?? present?.mode ?? NEW_FILE_MODE,
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    };
  }

  /** Before the first swap of all: what somebody else had put in place is the way back. */
  async #keepFirst({ targets }: Candidate): Promise<void> {
    if (this.#confirmed !== null) return;
    for (const target of targets) {
      const there = await statOf(this.#world.files, beside(target.path, 'kept'));
      if (target.live !== null && there === null) await this.#keep(target, target.live);
    }
  }

  async #keep(target: Target, bytes: Uint8Array): Promise<void> {
    await writeWhole(this.#world.files, beside(target.path, 'kept'), bytes, await this.#attributes(target));
  }

  /** Reload and confirm, until it runs or must be taken back. */
  async #makeRun(candidate: Candidate, changed: readonly string[]): Promise<Outcome> {
    const { generation } = candidate;
    const { timeouts, retry } = this.#config;
    this.#sure = false;
    const acted = await this.#driver.act(wordsFor(placed(candidate), generation), timeouts.reloadMs);
    if (!acted.ok) {
      const outcome = this.#failed(generation, 'act', acted.reason);
      const enough = retry.attempts > 0 && acted.absent !== true && this.#failures.count >= retry.attempts;
      if (!enough || !(await this.#hasWayBack(candidate))) return outcome;
      return this.#rollBack(candidate, `${acted.reason} (${this.#failures.count} times in a row)`);
    }
    const confirmation = await this.#driver.confirm(candidate.told ? generation : null, timeouts.confirmMs, this.#signal);
    if (this.#signal.aborted && !confirmation.ok) return this.#failed(generation, 'act', 'stopped before it was confirmed');
    if (!confirmation.ok) {
      const back = await this.#hasWayBack(candidate);
      return back ? this.#rollBack(candidate, confirmation.reason) : this.#failed(generation, 'confirm', confirmation.reason);
    }
    await this.#settle(candidate);
    return { kind: 'applied', generation, proof: confirmation.proof, changed };
  }

  async #settle(candidate: Candidate): Promise<void> {
    if (this.#confirmed?.generation !== candidate.generation) {
      for (const target of candidate.targets) await this.#keep(target, target.next);
    }
    this.#confirmed = {
      generation: candidate.generation,
      told: candidate.told,
    };
    this.#sure = true;
    this.#failures = { generation: '', count: 0 };
  }

  /** The first generation of all has none: then there is nothing better than to try it again. */
  async #hasWayBack({ targets }: Candidate): Promise<boolean> {
    const kept = await Promise.all(targets.map(({ path }) => statOf(this.#world.files, beside(path, 'kept'))));
    return kept.every((stat) => stat !== null);
  }

  async #rollBack(candidate: Candidate, reason: string): Promise<Outcome> {
    const { clock } = this.#world;
    const { quarantineMs, maxMs } = this.#config.retry;
    const { generation } = candidate;
    const retryMs = quarantineMs === 0 ? Number.MAX_SAFE_INTEGER : Math.max(quarantineMs, maxMs);
    this.#quarantine = { generation, until: clock.now() + retryMs, reason };
    this.#failures = { generation: '', count: 0 };
    const trouble = await this.#restore(candidate);
    return { kind: 'rolled_back', generation, reason, trouble, retryMs };
  }

  /** Null when the previous files are in place and run again; otherwise what stood in the way. */
  async #restore(candidate: Candidate): Promise<string | null> {
    const { files } = this.#world;
    try {
      for (const target of candidate.targets) {
        const bytes = await readWhole(files, beside(target.path, 'kept'));
        if (bytes === null) return `${beside(target.path, 'kept')} is gone; the files stay`;
        await writeNew(files, beside(target.path, 'staged'), bytes, await this.#attributes(target));
      }
      for (const { path } of candidate.targets) await replace(files, beside(path, 'staged'), path);
      const confirmed = this.#confirmed;
      const words = wordsFor(placed(candidate), confirmed?.generation ?? '');
      const acted = await this.#driver.act(words, this.#config.timeouts.reloadMs);
      if (!acted.ok) return `the previous files are back in place, but: ${acted.reason}`;
      const generation = confirmed?.told === true ? confirmed.generation : null;
      const again = await this.#driver.confirm(generation, this.#config.timeouts.confirmMs, this.#signal);
      this.#sure = again.ok && confirmed !== null;
      return again.ok ? null : `the previous files are back in place, but: ${again.reason}`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  #failed(generation: string, step: Step, reason: string): Outcome & { readonly kind: 'failed' } {
    const count = this.#failures.generation === generation ? this.#failures.count + 1 : 1;
    this.#failures = { generation, count };
    const { minMs, maxMs } = this.#config.retry;
    return { kind: 'failed', generation, step, reason, retryMs: Math.min(maxMs, minMs * 2 ** Math.min(count - 1, 20)) };
  }
}

function listed({ targets }: Candidate, place: (path: string) => string): readonly StagedFile[] {
  return targets.map(({ template, path }) => ({ name: template.name, target: path, staged: place(path) }));
}

/** After the swap the staged file is the target. */
function placed(candidate: Candidate): readonly StagedFile[] {
  return listed(candidate, (path) => path);
}

function same(a: Uint8Array | null, b: Uint8Array): boolean {
  return a !== null && Buffer.compare(a, b) === 0;
}

/** Lines that go and lines that come, after what both begin and end with. Enough to see what would happen. */
export function diff(before: Uint8Array | null, after: Uint8Array): readonly string[] {
  const a = before === null ? [] : Buffer.from(before).toString('utf8').split('\n');
  const b = Buffer.from(after).toString('utf8').split('\n');
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const gone = a.slice(start, a.length - end).map((line) => `-${line}`);
  const come = b.slice(start, b.length - end).map((line) => `+${line}`);
  const lines = [`@@ line ${start + 1} @@`, ...gone, ...come];
  const left = lines.length - DIFF_LINES_MAX;
  return left > 0 ? [...lines.slice(0, DIFF_LINES_MAX), `… ${left} more lines`] : lines;
}

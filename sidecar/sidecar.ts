// The sidecar: one loop per group (group.ts) over one source, one lock per target, one status for all. No decisions, only
// order. A lock beside each target makes a second sidecar for the same file fail at its start instead of fighting over it.

import type { Clock } from '../core/base/clock.js';
import { systemClock } from '../core/base/clock.js';
import { whenDone } from '../core/base/done.js';
import type { Files } from '../core/base/files.js';
import { systemFiles } from '../core/base/files.js';
import type { AcquireLock, Release } from '../core/base/lock.js';
import { systemLock } from '../core/base/lock.js';
import type { Client } from '../core/client.js';
import type { Ask } from './ask.js';
import { systemAsk } from './ask.js';
import type { SidecarConfig } from './config.js';
import { beside, codeOf, resolved } from './disk.js';
import type { SidecarEvent, SidecarStatus } from './events.js';
import { Group } from './group.js';
import type { World } from './nginx.js';
import type { Processes } from './processes.js';
import { systemProcesses } from './processes.js';
import type { Plan } from './publish.js';
import type { Source } from './source.js';
import { registrySource } from './source.js';

export interface SidecarOptions {
  readonly observe?: (event: SidecarEvent) => void;
  readonly clock?: Clock;
  readonly files?: Files;
  readonly processes?: Processes;
  readonly ask?: Ask;
  readonly lock?: AcquireLock;
  /** In place of the registry behind `client`. */
  readonly source?: Source;
}

/** Somebody else writes this file already. */
export class TargetInUse extends Error {
  override readonly name = 'TargetInUse';
  constructor(target: string, cause: Error) {
    const remedy = 'stop that one, or give this group another target';
    super(`${target} is already kept by another sidecar; ${remedy}. ${cause.message}`, { cause });
  }
}

export class Sidecar {
  readonly #groups: readonly Group[];
  readonly #releases: readonly Release[];
  #closed: Promise<void> | null = null;

  /** Takes the locks and starts following. Rejects with `TargetInUse`, or when a target's folder cannot be written. */
  static async start(client: Client, config: SidecarConfig, options: SidecarOptions = {}): Promise<Sidecar> {
    const { groups, releases } = await opened(client, config, options, true);
    for (const group of groups) group.start();
    return new Sidecar(groups, releases);
  }

  private constructor(groups: readonly Group[], releases: readonly Release[]) {
    this.#groups = groups;
    this.#releases = releases;
  }

  status(): SidecarStatus {
    const groups = this.#groups.map((group) => group.status);
    return { ready: groups.every((group) => group.ready), groups };
  }

  /** Resolves when every group runs what the registry says; false when `signal` aborted first. */
  async ready(signal: AbortSignal): Promise<boolean> {
    await Promise.all(this.#groups.map((group) => group.ready(signal)));
    return this.status().ready;
  }

  /** Reads templates and registry again, as after a change. */
  refresh(): void {
    for (const group of this.#groups) group.refresh();
  }

  /** Ends the loops after the step they are in; proxies and files stay as they are. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await Promise.all(this.#groups.map((group) => group.close()));
    for (const release of this.#releases) await whenDone<void>(release);
  }
}

export function startSidecar(client: Client, config: SidecarConfig, options: SidecarOptions = {}): Promise<Sidecar> {
  return Sidecar.start(client, config, options);
}

/** One round of every group, one after another, and the end. True when all of them run what the registry says. */
export async function applyOnce(client: Client, config: SidecarConfig, options: SidecarOptions = {}): Promise<boolean> {
  const { groups, releases } = await opened(client, config, options, true);
  try {
    let ok = true;
    for (const group of groups) ok = (await group.once()).ok && ok;
    return ok;
  } finally {
    for (const release of releases) await whenDone<void>(release);
  }
}

/** What a round of every group would do, by group name. Checks the candidates and changes nothing. */
export async function planOnce(
  client: Client,
  config: SidecarConfig,
  options: SidecarOptions = {},
): Promise<ReadonlyMap<string, Plan>> {
  const { groups } = await opened(client, config, options, false);
  const plans = new Map<string, Plan>();
  for (const [i, group] of groups.entries()) plans.set(config.groups[i]?.name ?? '', await group.plan());
  return plans;
}

async function opened(
  client: Client,
  config: SidecarConfig,
  options: SidecarOptions,
  locked: boolean,
): Promise<{ groups: readonly Group[]; releases: readonly Release[] }> {
  const clock = options.clock ?? systemClock;
  const world: World = {
    clock,
    files: options.files ?? systemFiles,
    processes: options.processes ?? systemProcesses,
    ask: options.ask ?? systemAsk,
  };
  const source = options.source ?? registrySource(client, clock);
  const observe = options.observe ?? ((): void => undefined);
  const releases = locked ? await lockAll(config, world.files, options.lock ?? systemLock) : [];
  try {
    const groups: Group[] = [];
    for (const group of config.groups) groups.push(await Group.open({ config: group, source, world, observe, owner: locked }));
    return { groups, releases };
  } catch (error) {
    for (const release of releases) await whenDone<void>(release);
    throw error;
  }
}

async function lockAll(config: SidecarConfig, files: Files, acquire: AcquireLock): Promise<readonly Release[]> {
  const releases: Release[] = [];
  for (const { target } of config.groups.flatMap((group) => group.templates)) {
    try {
      const path = await resolved(files, target);
      releases.push(await whenDone<Release>((done) => acquire(beside(path, 'lock'), done)));
    } catch (error) {
      for (const release of releases) await whenDone<void>(release);
      const cause = error instanceof Error ? error : new Error(String(error));
      if (cause.message.includes('in use')) throw new TargetInUse(target, cause);
      if (codeOf(error) === null) throw cause;
      const remedy = 'let this process write in its folder, or choose another target';
      throw new Error(`${target} cannot be written: ${cause.message}; ${remedy}`, { cause });
    }
  }
  return releases;
}

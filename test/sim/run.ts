// The course of one seed, from a swarm of choices to a verdict:
//
//   start all members ─► faults while clients work ─► heal a core, and it must come to rest ─► clients end ─► final checks
//
// One integer replays everything: no real clock, no real chance, no order of anything that the seed does not decide.

import type { History } from '../model/history.js';
import { checkHistory } from '../model/witness.js';
import { Faults } from './faults.js';
import { Ghost } from './ghost.js';
import { guarded } from './guard.js';
import { chooseCore, Recovery } from './liveness.js';
import { startOperator } from './operator.js';
import { watchFrames } from './frames.js';
import { Recipes } from './recipes.js';
import { Registry } from './registrants.js';
import { drawSwarm, type Swarm } from './swarm.js';
import { startClients } from './workload.js';
import { World, type Violation } from './world.js';

export interface RunOptions {
  /** Lines of trace as they come. */
  readonly onTrace?: (line: string) => void;
  /** Stop after so many events. */
  readonly until?: number;
  /** The time to come to rest, as a multiple. */
  readonly patience?: number;
  /** Changes the world before it begins; for tests. */
  readonly alter?: (swarm: Swarm) => Swarm;
  /** Makes the world itself break a promise: what a test of the tests needs. */
  readonly canary?: boolean;
  /** What clients asked and were told, once the course is over. */
  readonly onHistory?: (history: History) => void;
}

export interface Verdict {
  readonly seed: number;
  readonly violation: Violation | null;
  readonly hash: string;
  readonly simulatedMs: number;
  readonly events: number;
  readonly operations: number;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly coverage: Readonly<Record<string, number>>;
  /** From the end of the faults until everything had come to rest; null: it was not judged. */
  readonly recoveryMs: number | null;
  readonly swarm: string;
  /** The tail; empty when nothing is broken. */
  readonly trace: readonly string[];
}

export async function runSeed(seed: number, options: RunOptions = {}): Promise<Verdict> {
  const verdict = await once(seed, options);
  if (verdict.violation?.invariant !== 'liveness' || options.patience !== undefined) return verdict;
  // A fixed limit is a lie on slow networks: what seems stuck gets twice the time before it is called so.
  const patient = await once(seed, { ...options, patience: 2 });
  return patient.violation?.invariant === 'liveness' ? patient : { ...patient, counts: { ...patient.counts, patienceNeeded: 1 } };
}

async function once(seed: number, options: RunOptions): Promise<Verdict> {
  const drawn = drawSwarm(seed);
  // Errors are ordinary here, and their stacks dear: a seed that fails is run again with a trace.
  const depth = Error.stackTraceLimit;
  Error.stackTraceLimit = options.onTrace === undefined ? 0 : 20;
  return guarded(() => course(options.alter === undefined ? drawn : options.alter(drawn), options)).finally(() => {
    Error.stackTraceLimit = depth;
  });
}

async function course(swarm: Swarm, options: RunOptions): Promise<Verdict> {
  const world = new World(swarm);
  world.traceLive = options.onTrace ?? null;
  const ghost = new Ghost(() => world.scheduler.now, swarm.heartbeatMs);
  world.setProbe(ghost);
  watchFrames(world);
  const isOver = (): boolean => options.until !== undefined && world.scheduler.count >= options.until;
  for (const machine of world.machines) machine.start();
  startClients(world);
  startOperator(world);
  const registry = new Registry(world);
  registry.start();
  const recipes = new Recipes(world);
  await world.runUntil(swarm.heartbeatMs * 5, isOver);
  const faults = new Faults(world);
  await world.runUntil(swarm.faultMs, isOver);
  if (options.canary === true) world.fail('canary', 'this world was told to break a promise');
  faults.end();
  const recovery = new Recovery(world, registry, recipes, options.patience ?? 1);
  if (!isOver()) {
    await recovery.run(chooseCore(world), isOver);
    if (world.violation === null) judge(world, ghost, { registry, recipes }, options);
  }
  return verdictOf(world, recovery.tookMs);
}

interface Bystanders {
  readonly registry: Registry;
  readonly recipes: Recipes;
}

function judge(world: World, ghost: Ghost, { registry, recipes }: Bystanders, options: RunOptions): void {
  world.judging(() => ghost.finish());
  if (world.violation !== null) return;
  const log = ghost.log();
  const surprise = registry.surprise(log);
  if (surprise !== null) return world.fail('I37', surprise);
  const objection = recipes.judge(log, world.tasks === 0);
  if (objection !== null) return world.fail(objection.invariant, objection.message);
  const history = { ...world.recorder.history(log, world.swarm.driftShare + 0.001), standstills: ghost.standstills() };
  options.onHistory?.(history);
  const [broken] = checkHistory(history);
  if (broken !== undefined) world.fail(broken.invariant, broken.message);
}

function verdictOf(world: World, recoveryMs: number | null): Verdict {
  const { scheduler, recorder, network, swarm } = world;
  const disk = { syncs: 0, diskErrors: 0, powerCuts: 0, tornBytes: 0 };
  for (const { platter } of world.machines) {
    disk.syncs += platter.counts.syncs;
    disk.diskErrors += platter.counts.errors;
    disk.powerCuts += platter.counts.powerCuts;
    disk.tornBytes += platter.counts.tornBytes;
  }
  return {
    seed: swarm.seed,
    violation: world.violation,
    hash: scheduler.hash,
    simulatedMs: scheduler.now,
    events: scheduler.count,
    operations: recorder.operations.length,
    acknowledged: recorder.acknowledged,
    unknown: recorder.unknown,
    counts: { ...world.counts, ...network.counts, ...disk },
    coverage: Object.fromEntries([...world.coverage].sort(([a], [b]) => (a < b ? -1 : 1))),
    recoveryMs,
    swarm: summaryOf(swarm),
    trace: world.violation === null ? [] : world.trace,
  };
}

function summaryOf(swarm: Swarm): string {
  const on = (record: object): string => Object.entries(record).filter(([, value]) => value > 0).map(([name]) => name).join(' ');
  return `${swarm.members}+${swarm.spares} members, ${swarm.clients} clients, ${swarm.network.kind}, `
    + `heartbeat ${swarm.heartbeatMs} election ${swarm.electionMs} ms, snapshot each ${swarm.snapshotCount}, `
    + `faults: ${on(swarm.faults) || 'none'}; work: ${on(swarm.workload)}; `
    + `recipes: ${on(swarm.recipes) || 'none'}`;
}

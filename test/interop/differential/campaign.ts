// Worlds one after the other until enough operations were compared. A world that ends with a difference is told with all
// that is needed to see it again: seed, operation, request, both answers, and the fewest operations that still show it.

import type { Difference } from './compare.js';
import { Generator, type Taste } from './generate.js';
import { describe, show, type Operation } from './operation.js';
import { World, type Count } from './world.js';

export interface Campaign {
  readonly seed: number;
  readonly operations: number;
  /** Operations in one world. */
  readonly worldOperations: number;
  readonly taste: Taste;
  /** Make a failure smaller before it is told. */
  readonly shrinks: boolean;
  /** Go on after a difference and tell the first of each kind: for a first look. What follows one may be its consequence. */
  readonly goesOn: boolean;
  /** Aborted: the world at work is closed, and what was compared until then is reported. */
  readonly signal: AbortSignal;
  readonly onWorld: (seed: number, operations: number) => void;
  /** Told at once, where the campaign goes on. */
  readonly onDifference: (text: string) => void;
}

export interface Report {
  /** What was compared; waits in between do not count. */
  readonly operations: number;
  readonly worlds: number;
  /** Per kind of operation: how often answered, how often refused. */
  readonly counts: ReadonlyMap<string, { answers: number; errors: number }>;
  /** Null: there was no difference. */
  readonly failure: string | null;
}

/** Reads put to the servers at once. */
const READS_AT_ONCE = 8;
/** Worlds tried to make a failure smaller. */
const SHRINK_TRIES = 60;
const SHRINK_MS = 180_000;

interface Failure {
  readonly number: number;
  readonly operation: Operation;
  readonly difference: Difference;
  readonly done: readonly Operation[];
}

export async function runCampaign(campaign: Campaign): Promise<Report> {
  const counts = new Map<string, { answers: number; errors: number }>();
  const count: Count = (operation, outcome) => {
    const name = operation.kind === 'call' ? operation.call : operation.kind;
    const row = counts.get(name) ?? { answers: 0, errors: 0 };
    row[outcome === 'answer' ? 'answers' : 'errors']++;
    counts.set(name, row);
  };
  const compared = (): number => [...counts.values()].reduce((sum, { answers, errors }) => sum + answers + errors, 0);
  let worlds = 0;
  const seen = new Map<string, string>();
  while (compared() < campaign.operations && !campaign.signal.aborted) {
    const seed = campaign.seed + worlds;
    const end = Math.min(compared() + campaign.worldOperations, campaign.operations);
    const isOver = (): boolean => compared() >= end || campaign.signal.aborted;
    const pass = (failed: Failure): boolean => {
      if (!campaign.goesOn) return false;
      const kind = kindOf(failed);
      if (!seen.has(kind)) {
        seen.set(kind, tell(seed, failed, null));
        campaign.onDifference(tell(seed, failed, null));
      }
      // Watches that have parted stay apart, and so do stores.
      const { operation, difference } = failed;
      const hasParted = difference.where.endsWith('.revision') || (difference.where === '.kind' && isWrite(operation));
      return operation.kind === 'call' && !hasParted;
    };
    const failure = await runWorld({ seed, taste: campaign.taste, isOver }, count, pass);
    worlds++;
    campaign.onWorld(seed, compared());
    if (failure === null || campaign.goesOn) continue;
    campaign.onDifference(tell(seed, failure, null));
    const least = campaign.shrinks ? await shrink(failure, campaign.signal) : null;
    return { operations: compared(), worlds, counts, failure: tell(seed, failure, least) };
  }
  return { operations: compared(), worlds, counts, failure: seen.size === 0 ? null : [...seen.values()].join('\n\n') };
}

function isWrite(operation: Operation): boolean {
  return operation.kind === 'call' && ['put', 'delete', 'txn', 'compact', 'grant', 'revoke'].includes(operation.call);
}

/** The call and the place, without what is of this one answer alone. */
function kindOf({ operation, difference }: Failure): string {
  const name = operation.kind === 'call' ? operation.call : operation.kind;
  return `${name} ${difference.where.replaceAll(/\d+/g, 'n')} ${show(difference.etcd).slice(0, 60)}`;
}

async function runWorld(
  { seed, taste, isOver }: { seed: number; taste: Taste; isOver: () => boolean },
  count: Count,
  pass: (failure: Failure) => boolean,
): Promise<Failure | null> {
  const world = await World.open(count);
  try {
    const generator = new Generator(seed, world, taste);
    const next = (): Operation | null => (isOver() ? null : generator.next());
    const sync = (i: number): Operation | null => (i === 0 ? { kind: 'sync' } : null);
    return (await runAll(world, { next }, pass)) ?? (await runAll(world, { next: sync }, pass));
  } finally {
    await world.close();
  }
}

/** Reads in a row go together; everything else goes alone. */
async function runAll(
  world: World,
  source: { next(i: number): Operation | null },
  pass: (failure: Failure) => boolean = () => false,
): Promise<Failure | null> {
  const done: Operation[] = [];
  let reads: Operation[] = [];
  const failed = (operation: Operation, difference: Difference | null): Failure | null => {
    if (difference === null) return null;
    const failure = { number: done.length, operation, difference, done: [...done] };
    return pass(failure) ? null : failure;
  };
  const flush = async (): Promise<Failure | null> => {
    const together = reads;
    reads = [];
    const differences = await Promise.all(together.map((operation) => world.run(operation)));
    const i = differences.findIndex((difference) => difference !== null);
    return i < 0 ? null : failed(together[i] as Operation, differences[i] ?? null);
  };
  for (let i = 0; ; i++) {
    const operation = source.next(i);
    const isRead = operation !== null && world.isRead(operation);
    if (operation !== null) done.push(operation);
    if (isRead && operation !== null) reads.push(operation);
    if (!isRead || reads.length === READS_AT_ONCE) {
      const failure = await flush();
      if (failure !== null) return failure;
    }
    if (operation === null) return null;
    if (isRead) continue;
    const failure = failed(operation, await world.run(operation));
    if (failure !== null) return failure;
  }
}

/** Leaves out pieces, large ones first, as long as the same place still differs. */
async function shrink(failure: Failure, signal: AbortSignal): Promise<readonly Operation[]> {
  let least: readonly Operation[] = failure.done;
  const until = Date.now() + SHRINK_MS;
  let tries = 0;
  const mayTry = (): boolean => tries < SHRINK_TRIES && Date.now() < until && !signal.aborted;
  const showsIt = async (operations: readonly Operation[]): Promise<boolean> => {
    tries++;
    const world = await World.open(() => undefined);
    try {
      const found = await runAll(world, { next: (i) => operations[i] ?? null });
      if (found === null) return false;
      return found.difference.where === failure.difference.where && found.operation.kind === failure.operation.kind;
    } finally {
      await world.close();
    }
  };
  for (let piece = Math.ceil(least.length / 2); mayTry(); piece = Math.ceil(piece / 2)) {
    for (let from = 0; from < least.length && mayTry(); ) {
      const without = [...least.slice(0, from), ...least.slice(from + piece)];
      if (without.length < least.length && (await showsIt(without))) least = without;
      else from += piece;
    }
    if (piece === 1) break;
  }
  return least;
}

const TOLD_MAX = 40;

function tell(seed: number, failure: Failure, least: readonly Operation[] | null): string {
  const { number, operation, difference } = failure;
  const lines = [
    `seed ${seed}, operation ${number}: ${describe(operation)}`,
    `  differs at ${difference.where === '' ? 'the whole answer' : difference.where}`,
    `  etcd:    ${show(difference.etcd)}`,
    `  coterie: ${show(difference.coterie)}`,
    `again: npm run differential -- --seed ${seed} --operations ${number + 10}`,
  ];
  if (least === null) return lines.join('\n');
  const told = least.slice(-TOLD_MAX).map((each) => `  ${describe(each)}`);
  return [...lines, `the fewest found that show it, ${least.length}:`, ...told].join('\n');
}

// What one seed's world is like: every seed draws its own subset of members, faults, workloads and limits, because a run in
// which everything happens at once hides what happens in a quiet one (swarm testing, reliability 3.7). Small limits come up
// often: buffers of two reach their end.

import { defaultLimits, type NodeLimits } from '../../core/node/limits.js';
import type { NetworkProfile } from './network.js';
import type { DiskProfile } from './platter.js';
import { Dice } from './random.js';

export interface FaultRates {
  /** About how often in a minute of the fault phase, over the whole world; 0: never. */
  kill: number;
  killAtDoor: number;
  power: number;
  powerAll: number;
  stopGracefully: number;
  pause: number;
  suspend: number;
  stall: number;
  partition: number;
  lossySpell: number;
  diskError: number;
  diskSlow: number;
  diskHang: number;
  diskFull: number;
  rot: number;
  wipe: number;
  /** Never drawn: nothing promises to survive it (README.md). */
  rollback: number;
  swap: number;
  freeze: number;
  swizzle: number;
}

export interface WorkloadMix {
  readonly registers: number;
  readonly appends: number;
  readonly deletes: number;
  readonly ranges: number;
  readonly leases: number;
  readonly watches: number;
  readonly registry: number;
  readonly maintenance: number;
  readonly membership: number;
  readonly transfer: number;
}

/** Processes that coordinate with the real recipes, by what they do. */
export interface RecipeMix {
  readonly lockers: number;
  readonly candidates: number;
  readonly producers: number;
  readonly consumers: number;
  /** How often in a minute one of these processes stands still, about. */
  readonly stalls: number;
}

export const NO_RECIPES: RecipeMix = Object.freeze({ lockers: 0, candidates: 0, producers: 0, consumers: 0, stalls: 0 });
/** Of all worlds. */
const RECIPES_SHARE = 1 / 3;

export interface Swarm {
  readonly seed: number;
  readonly members: number;
  readonly spares: number;
  readonly clients: number;
  readonly watchers: number;
  readonly registrants: number;
  /** Pause of a client between two operations, about. */
  readonly thinkMs: number;
  readonly heartbeatMs: number;
  readonly electionMs: number;
  readonly snapshotCount: number;
  readonly segmentBytes: number;
  readonly reserveBytes: number;
  readonly limits: NodeLimits;
  readonly driftShare: number;
  readonly stallChance: number;
  readonly network: NetworkProfile;
  readonly disk: DiskProfile;
  readonly faults: FaultRates;
  readonly workload: WorkloadMix;
  readonly recipes: RecipeMix;
  readonly faultMs: number;
  readonly valueBytes: number;
}

export function drawSwarm(seed: number): Swarm {
  const dice = new Dice(seed, 'swarm');
  const members = dice.weighted<number>([[1, 1], [1, 2], [8, 3], [1, 4], [4, 5], [1, 7]]);
  const workload = drawWorkload(dice);
  const heartbeatMs = dice.pick([10, 50, 100, 100, 200, 500]);
  const faultless = dice.chance(0.05);
  const clients = dice.pick([1, 2, 3, 4, 6, 8, 12]);
  const electionMs = heartbeatMs * dice.pick([5, 10, 10, 20]);
  // An election time-out is chosen for the network and the disk that one has: a few round trips must fit into it.
  const quickMs = electionMs / 25;
  return {
    seed,
    members,
    spares: workload.membership > 0 ? 2 : 0,
    clients,
    watchers: workload.watches > 0 ? 1 + dice.below(4) : 0,
    registrants: workload.registry > 0 ? 1 + dice.below(3) : 0,
    // So many operations a second, all clients together.
    thinkMs: (clients * 1000) / dice.pick([5, 20, 50, 100, 200]),
    heartbeatMs,
    electionMs,
    snapshotCount: dice.pick([5, 20, 100, 100, 500, 5000]),
    segmentBytes: dice.pick([4096, 16_384, 65_536, 1 << 20]),
    reserveBytes: new Dice(seed, 'reserve').pick([0, 1500, 16_384]),
    limits: drawLimits(dice, new Dice(seed, 'apply')),
    driftShare: dice.pick([0, 0, 0.001, 0.02, 0.05]),
    stallChance: dice.pick([0, 0, 0.0002, 0.002]),
    network: drawNetwork(dice, faultless, quickMs),
    disk: {
      appendMs: dice.pick([0.02, 0.05, 0.2]),
      syncMs: Math.min(quickMs, dice.pick([0.1, 0.5, 1, 2, 8])),
      readMs: 0.05,
      policy: dice.weighted([[30, 'prefix'], [30, 'sectors'], [10, 'torn'], [10, 'zeros'], [10, 'newest'], [10, 'all_lost']]),
      afterFailure: dice.pick(['reverted', 'told_later', 'kept']),
    },
    faults: eased(drawFaults(dice, faultless), workload.membership > 0 && new Dice(seed, 'churn').chance(0.6)),
    workload,
    recipes: drawRecipes(new Dice(seed, 'recipes')),
    faultMs: dice.between(20_000, 40_000),
    valueBytes: dice.pick([8, 8, 32, 300, 3000]),
  };
}

/** No change of members is allowed while something is amiss, so there must be worlds in which little is. */
function eased(faults: FaultRates, isEased: boolean): FaultRates {
  if (!isEased) return faults;
  const { kill, pause, partition, stall } = faults;
  const none = Object.fromEntries(Object.keys(faults).map((kind) => [kind, 0])) as Record<keyof FaultRates, number>;
  return { ...none, kill: kill / 4, pause: pause / 4, partition: partition / 4, stall: stall / 4 };
}

function drawWorkload(dice: Dice): WorkloadMix {
  const off = (weight: number, share = 0.4): number => (dice.chance(share) ? 0 : weight * dice.pick([1, 1, 3]));
  return {
    registers: 4 + off(4),
    appends: off(3),
    deletes: off(2),
    ranges: off(3),
    leases: off(2),
    watches: off(1),
    registry: off(1, 0.6),
    maintenance: off(0.3),
    membership: off(1, 0.7),
    transfer: off(0.3, 0.6),
  };
}

export function hasRecipes(seed: number): boolean {
  const { lockers, candidates, producers } = drawRecipes(new Dice(seed, 'recipes'));
  return lockers + candidates + producers > 0;
}

function drawRecipes(dice: Dice): RecipeMix {
  if (!dice.chance(RECIPES_SHARE)) return NO_RECIPES;
  const [locks, elections, queues] = [dice.chance(0.6), dice.chance(0.6), dice.chance(0.6)];
  return {
    lockers: locks || !(elections || queues) ? 2 + dice.below(3) : 0,
    candidates: elections ? 2 + dice.below(2) : 0,
    producers: queues ? 1 + dice.below(2) : 0,
    consumers: queues ? 1 + dice.below(3) : 0,
    stalls: dice.pick([0, 2, 6]),
  };
}

function drawLimits(dice: Dice, apply: Dice): NodeLimits {
  return {
    ...defaultLimits,
    proposalsMax: dice.pick([2, 10, 1000, 20_000]),
    watchBufferBytesMax: dice.pick([200, 5000, 1 << 20]),
    watchCatchUpRevisionsMax: dice.pick([1, 2, 20, 1000]),
    catchUpEntries: dice.pick([0, 0, 10, 100, 5000]),
    progressNotifyMs: dice.pick([500, 5000, 600_000]),
    // What is committed is applied in parts, as a long log is: from one entry in each turn.
    applyBytesMax: apply.chance(0.7) ? defaultLimits.applyBytesMax : apply.pick([1, 300, 3000]),
  };
}

function drawNetwork(dice: Dice, faultless: boolean, quickMs: number): NetworkProfile {
  const kind = dice.pick<'datagram' | 'stream'>(['datagram', 'stream']);
  const off = (value: number): number => (faultless || dice.chance(0.5) ? 0 : value);
  return {
    kind,
    delayMs: Math.min(quickMs, dice.pick([0.1, 0.5, 1, 5, 20])),
    lateChance: off(0.002),
    lateMs: dice.pick([50, 500, 5000]),
    lossChance: off(dice.pick([0.002, 0.02, 0.1])),
    duplicateChance: off(dice.pick([0.005, 0.05])),
    damageChance: off(0.0005),
    breakChance: off(0.0005),
    bytesPerMs: dice.pick([1e3, 1e5, 1e6]),
    capacityBytes: dice.pick([1 << 18, 1 << 24]),
  };
}

function drawFaults(dice: Dice, faultless: boolean): FaultRates {
  const rate = (perMinute: number, share = 0.5): number => {
    return faultless || dice.chance(share) ? 0 : perMinute * dice.between(0.3, 2);
  };
  return {
    kill: rate(6),
    killAtDoor: rate(8),
    power: rate(5),
    powerAll: rate(2, 0.7),
    stopGracefully: rate(3, 0.6),
    pause: rate(5),
    suspend: rate(2, 0.7),
    stall: rate(6),
    partition: rate(8),
    lossySpell: rate(4),
    diskError: rate(2, 0.6),
    diskSlow: rate(2),
    diskHang: rate(2, 0.6),
    diskFull: rate(1, 0.8),
    rot: rate(5, 0.6),
    wipe: rate(3, 0.6),
    rollback: 0,
    swap: rate(1, 0.85),
    freeze: rate(3, 0.6),
    swizzle: rate(4, 0.6),
  };
}

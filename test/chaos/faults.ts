// The faults a campaign draws from. Each says what it needs, begins, and returns how it ends. What a fault leaves behind
// (a held message, a dead process) is put right by `Cluster.healAll` afterwards; an end only undoes what healing cannot know.

import type { Prng } from '../../core/base/prng.js';
import type { Cluster } from './cluster.js';
import type { Rule } from './links.js';
import type { Member } from './members.js';
import { pause } from './pause.js';

export interface Fault {
  readonly name: string;
  /** Two faults of one sort are never active together. */
  readonly sort: 'process' | 'network' | 'disk';
  /** 'frames': the proxy knows the target's messages. 'disks': file systems of the members' own. */
  readonly needs?: 'frames' | 'disks';
  /** Holds for about `holdMs`, or as long as it takes. */
  run(cluster: Cluster, dice: Prng, holdMs: number): Promise<void>;
}

function pick<T>(dice: Prng, items: readonly T[]): T {
  const item = items[dice.below(items.length)];
  if (item === undefined) throw new Error('nothing to pick from');
  return item;
}

function shuffled<T>(dice: Prng, items: readonly T[]): T[] {
  const rest = [...items];
  return items.map(() => rest.splice(dice.below(rest.length), 1)).flat();
}

const leaderOr = (cluster: Cluster, dice: Prng): Member => cluster.leader() ?? pick(dice, cluster.members);
const others = (cluster: Cluster, member: Member): Member[] => cluster.members.filter((other) => other !== member);
const majority = (cluster: Cluster): number => Math.floor(cluster.members.length / 2) + 1;

function cutOneWay(cluster: Cluster, from: readonly Member[], to: readonly Member[], rule: Rule = { isCut: true }): void {
  for (const a of from) {
    for (const b of to) if (a !== b) cluster.links.set(a.name, b.name, rule);
  }
  cluster.monitor.changed();
}

function cutBoth(cluster: Cluster, one: readonly Member[], two: readonly Member[], rule: Rule = { isCut: true }): void {
  cutOneWay(cluster, one, two, rule);
  cutOneWay(cluster, two, one, rule);
}

function everyLink(cluster: Cluster, rule: Rule): void {
  cutBoth(cluster, cluster.members, cluster.members, rule);
}

async function killFor(cluster: Cluster, members: readonly Member[], holdMs: number): Promise<void> {
  await cluster.kill(members);
  await pause(holdMs);
  cluster.start(members);
}

const PROCESS_FAULTS: readonly Fault[] = [
  {
    name: 'kill one',
    sort: 'process',
    run: (cluster, dice, ms) => killFor(cluster, [pick(dice, cluster.members)], dice.below(ms)),
  },
  { name: 'kill leader', sort: 'process', run: (cluster, dice, ms) => killFor(cluster, [leaderOr(cluster, dice)], ms) },
  { name: 'kill all', sort: 'process', run: (cluster, dice) => killFor(cluster, cluster.members, dice.below(800)) },
  {
    name: 'kill majority', sort: 'process',
    run: (cluster, dice, ms) => killFor(cluster, shuffled(dice, cluster.members).slice(0, majority(cluster)), dice.below(ms)),
  },
  {
    name: 'kill while recovering', sort: 'process',
    async run(cluster, dice) {
      const victims = shuffled(dice, cluster.members).slice(0, 1 + dice.below(cluster.members.length));
      for (let times = 0; times < 4; times++) {
        await killFor(cluster, victims, dice.below(100));
        await pause(dice.below(700));
      }
    },
  },
  {
    name: 'pause leader', sort: 'process',
    async run(cluster, dice, ms) {
      const leader = leaderOr(cluster, dice);
      cluster.pause([leader]);
      await pause(ms);
      cluster.resume([leader]);
    },
  },
  {
    name: 'pause some', sort: 'process',
    async run(cluster, dice, ms) {
      const some = shuffled(dice, cluster.members).slice(0, 1 + dice.below(cluster.members.length));
      cluster.pause(some);
      await pause(ms);
      cluster.resume(some);
    },
  },
  {
    name: 'pause flapping', sort: 'process',
    async run(cluster, dice, ms) {
      const member = pick(dice, cluster.members);
      for (let spentMs = 0; spentMs < ms; spentMs += 400) {
        cluster.pause([member]);
        await pause(200);
        cluster.resume([member]);
        await pause(200);
      }
    },
  },
  {
    name: 'restart leader', sort: 'process',
    async run(cluster, dice) {
      await cluster.restart(leaderOr(cluster, dice));
    },
  },
  {
    name: 'restart each', sort: 'process',
    async run(cluster, dice) {
      for (const member of shuffled(dice, cluster.members)) {
        await cluster.restart(member);
        await pause(800);
      }
    },
  },
];

const NETWORK_FAULTS: readonly Fault[] = [
  {
    name: 'isolate leader', sort: 'network',
    async run(cluster, dice, ms) {
      const leader = leaderOr(cluster, dice);
      cutBoth(cluster, [leader], others(cluster, leader));
      await pause(ms);
    },
  },
  {
    name: 'isolate one', sort: 'network',
    async run(cluster, dice, ms) {
      const member = pick(dice, cluster.members);
      cutBoth(cluster, [member], others(cluster, member));
      await pause(ms);
    },
  },
  {
    name: 'split in two', sort: 'network',
    async run(cluster, dice, ms) {
      const mixed = shuffled(dice, cluster.members);
      cutBoth(cluster, mixed.slice(0, majority(cluster)), mixed.slice(majority(cluster)));
      await pause(ms);
    },
  },
  {
    name: 'everybody alone', sort: 'network',
    async run(cluster, dice, ms) {
      everyLink(cluster, { isCut: true });
      await pause(dice.below(ms));
    },
  },
  {
    name: 'bridge', sort: 'network',
    async run(cluster, dice, ms) {
      // Two sides that meet only in one member.
      const [, ...sides] = shuffled(dice, cluster.members);
      const half = Math.ceil(sides.length / 2);
      cutBoth(cluster, sides.slice(0, half), sides.slice(half));
      await pause(ms);
    },
  },
  {
    name: 'one-way cut', sort: 'network',
    async run(cluster, dice, ms) {
      const [a, ...rest] = shuffled(dice, cluster.members);
      if (a !== undefined) cutOneWay(cluster, [a], rest.slice(0, 1));
      await pause(ms);
    },
  },
  {
    name: 'deaf leader', sort: 'network',
    async run(cluster, dice, ms) {
      const leader = leaderOr(cluster, dice);
      cutOneWay(cluster, others(cluster, leader), [leader]);
      await pause(ms);
    },
  },
  {
    name: 'mute leader', sort: 'network',
    async run(cluster, dice, ms) {
      const leader = leaderOr(cluster, dice);
      cutOneWay(cluster, [leader], others(cluster, leader));
      await pause(ms);
    },
  },
  {
    name: 'flapping link', sort: 'network',
    async run(cluster, dice, ms) {
      const [a, b] = shuffled(dice, cluster.members);
      if (a === undefined || b === undefined) return;
      for (let spentMs = 0; spentMs < ms; spentMs += 600) {
        cutBoth(cluster, [a], [b]);
        await pause(300);
        cutBoth(cluster, [a], [b], {});
        await pause(300);
      }
    },
  },
  {
    name: 'slow links', sort: 'network',
    async run(cluster, dice, ms) {
      everyLink(cluster, { delayMs: 10 + dice.below(90), jitterMs: 20 });
      await pause(ms);
    },
  },
  {
    name: 'narrow links', sort: 'network',
    async run(cluster, dice, ms) {
      const member = pick(dice, cluster.members);
      cutBoth(cluster, [member], others(cluster, member), { bytesPerSecond: 20_000 });
      await pause(ms);
    },
  },
  {
    name: 'resets', sort: 'network',
    async run(cluster, dice, ms) {
      for (let spentMs = 0; spentMs < ms; spentMs += 250) {
        const [a, b] = shuffled(dice, cluster.members);
        if (a !== undefined && b !== undefined) cluster.links.reset(a.name, b.name);
        await pause(250);
      }
    },
  },
];

function frameFault(name: string, rule: (dice: Prng) => Rule): Fault {
  return {
    name,
    sort: 'network',
    needs: 'frames',
    async run(cluster, dice, ms) {
      everyLink(cluster, rule(dice));
      await pause(ms);
    },
  };
}

const MESSAGE_FAULTS: readonly Fault[] = [
  frameFault('lose messages', (dice) => ({ lossPercent: 5 + dice.below(30) })),
  frameFault('double messages', () => ({ duplicatePercent: 40 })),
  frameFault('overtaking messages', (dice) => ({ jitterMs: 20 + dice.below(200), duplicatePercent: 10 })),
  frameFault('damage messages', (dice) => ({ damagePercent: 1 + dice.below(5) })),
  frameFault('tear messages', (dice) => ({ tearPercent: 1 + dice.below(5) })),
  frameFault('no answers', () => ({ isCut: true, onlyTags: ['append_reply'] })),
  frameFault('no votes', () => ({ isCut: true, onlyTags: ['vote_reply'] })),
  frameFault('no calls', () => ({ isCut: true, onlyTags: ['call'] })),
  frameFault('no snapshots', () => ({ isCut: true, onlyTags: ['snapshot'] })),
];

const DISK_FAULTS: readonly Fault[] = [
  {
    name: 'power cut of one', sort: 'disk',
    needs: 'disks',
    async run(cluster, dice, ms) {
      const member = dice.below(2) === 0 ? leaderOr(cluster, dice) : pick(dice, cluster.members);
      await cluster.cutPower([member]);
      await pause(dice.below(ms));
      cluster.start([member]);
    },
  },
  {
    name: 'power cut of all', sort: 'disk',
    needs: 'disks',
    async run(cluster, dice) {
      await cluster.cutPower(cluster.members);
      await pause(dice.below(800));
      cluster.start(cluster.members);
    },
  },
  {
    name: 'disk full', sort: 'disk',
    needs: 'disks',
    async run(cluster, dice, ms) {
      const member = dice.below(2) === 0 ? leaderOr(cluster, dice) : pick(dice, cluster.members);
      member.mayEnd();
      cluster.disk(member).fill(dice.below(64 * 1024));
      await pause(ms);
      cluster.disk(member).free();
      // It may have gone on refusing, or have ended; either way it must come back from what is on its disk.
      await cluster.kill([member]);
      cluster.start([member]);
    },
  },
];

export const FAULTS: readonly Fault[] = [...PROCESS_FAULTS, ...NETWORK_FAULTS, ...MESSAGE_FAULTS, ...DISK_FAULTS];

/** The faults this campaign can inject, and why not the rest. */
export function usableFaults(
  cluster: Cluster, diskReason: string | null,
): { usable: readonly Fault[]; notTested: { name: string; reason: string }[] } {
  const notTested: { name: string; reason: string }[] = [];
  const usable = FAULTS.filter((fault) => {
    let reason: string | null = null;
    if (fault.needs === 'frames' && !cluster.links.hasFrames) reason = 'the proxy does not know the frames of this target';
    if (fault.needs === 'disks' && !cluster.hasDisks) reason = diskReason ?? 'switched off';
    if (reason !== null) notTested.push({ name: fault.name, reason });
    return reason === null;
  });
  return { usable, notTested };
}

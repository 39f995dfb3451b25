// Programs that coordinate with the real recipes: what all of them have in common. A program is a row of processes, one after
// the other; each has a connection, a session and a clock of its own, stands still now and then, is cut off for a while, and
// ends: by itself, or killed where it stands. What they do is in holders.ts, campaigners.ts and queues.ts.
//
// What a program believes is noted at the moments at which it asks: nobody is wrong while he stands still and asks nothing.

import type { LeaseId, Revision } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { HandOverFailed } from '../../recipes/election.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import type { Held } from '../../recipes/held.js';
import { EntryLost, Released } from '../../recipes/held.js';
import { QueueFull } from '../../recipes/queue-put.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { Connection } from './connection.js';
import type { Machine } from './machine.js';
import { ClientProcess } from './process.js';
import { Dice } from './random.js';
import { Kind } from './scheduler.js';
import type { World } from './world.js';
import { pickMachine } from './workload.js';

const ROAM_MS = 300;
const STALLS_MS = [20, 300, 1500, 4000, 9000];
const CUTS_MS = [300, 2000, 7000];
const WHO = 252;

/** Somebody was told that something is his. */
export interface Claim {
  readonly who: string;
  /** Whose of several things it is, as `claimants` in holder-judge.ts reads it. */
  readonly kind: 'lock' | 'read' | 'write' | 'permits' | 'office' | 'item';
  readonly name: string;
  readonly key: string;
  readonly fence: Revision;
  readonly at: number;
  /** Of a semaphore: how many, of how many. */
  readonly permits: number;
  readonly limit: number;
  /** When he last asked, and was told that it still is. */
  believedAt: number;
}

/** A time in which a session has nothing in a line, nor wants anything there. */
export interface Idle {
  readonly who: string;
  readonly line: string;
  readonly lease: LeaseId;
  readonly from: number;
  until: number;
}

export interface SessionBelief {
  readonly who: string;
  /** When somebody last asked, and was told that it lives. */
  believedAt: number;
  /** Until when it counted on its lease, each time somebody asked. */
  readonly counts: { readonly at: number; readonly until: number }[];
}

/** What programs were told, for the judges. */
export class Beliefs {
  readonly claims: Claim[] = [];
  readonly idles: Idle[] = [];
  readonly sessions = new Map<LeaseId, SessionBelief>();
  readonly #now: () => number;
  readonly #business = new Map<string, { count: number; idle: Idle | null; isClean: boolean }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  looked(who: string, session: Session): boolean {
    const { live, lease } = session;
    const now = this.#now();
    const known = this.sessions.get(lease) ?? { who, believedAt: now, counts: [] };
    if (live) {
      this.sessions.set(lease, known);
      known.believedAt = now;
      known.counts.push({ at: now, until: now + session.remaining });
    }
    return live;
  }

  claimed(who: string, claim: Pick<Claim, 'kind' | 'name'> & Partial<Claim>, held: Pick<Held, 'key' | 'fence'>): Claim {
    const now = this.#now();
    const full: Claim = {
      permits: 0, limit: 0, ...claim, who, key: Buffer.from(held.key).toString(), fence: held.fence, at: now, believedAt: now,
    };
    this.claims.push(full);
    return full;
  }

  holds(claim: Claim, held: Pick<Held, 'isHeld'>): boolean {
    const { isHeld } = held;
    if (isHeld) claim.believedAt = this.#now();
    return isHeld;
  }

  /** From now on the session wants something in a line. */
  began(line: string, { lease }: Session): void {
    const name = `${line} ${lease}`;
    const known = this.#business.get(name) ?? { count: 0, idle: null, isClean: true };
    this.#business.set(name, known);
    known.count++;
    if (known.idle !== null) known.idle.until = this.#now();
    known.idle = null;
  }

  /** `isClean`: it was told that nothing of this is left. */
  ended(who: string, line: string, session: Session, isClean: boolean): void {
    const known = this.#business.get(`${line} ${session.lease}`);
    if (known === undefined) return;
    known.count--;
    known.isClean &&= isClean;
    if (known.count > 0 || !known.isClean || !session.live) return;
    known.idle = { who, line, lease: session.lease, from: this.#now(), until: Infinity };
    this.idles.push(known.idle);
  }
}

/** What a process works with. */
export interface Life {
  readonly who: string;
  readonly process: ClientProcess;
  readonly connection: Connection;
  readonly dice: Dice;
}

export interface Program {
  readonly name: string;
  readonly beliefs: Beliefs;
  /** No further process is begun. */
  isDone(): boolean;
  live(life: Life): Promise<void>;
  /** Its last process has ended. */
  ended?(): void;
}

export function startProgram(world: World, program: Program): void {
  world.task(program.name, () => lives(world, program));
}

async function lives(world: World, program: Program): Promise<void> {
  const { seed, driftShare } = world.swarm;
  const dice = new Dice(seed, `program ${program.name}`);
  for (let number = 1; !program.isDone(); number++) {
    await world.sleep(dice.tailed(300));
    // Half of what members may drift: the margin of a session pays for both.
    const process = new ClientProcess(world, 1 + (driftShare / 2) * (2 * dice.share() - 1));
    const who = `${program.name}.${number}`;
    const connection = new Connection(world, who, pickMachine(world, dice), process);
    const own = new Dice(seed, `life ${program.name}`, number);
    roam(world, connection, process);
    trouble(world, connection, process, who);
    await Promise.race([expected(world, who, () => program.live({ who, process, connection, dice: own })), process.died]);
    process.die();
    connection.kill();
  }
  program.ended?.();
}

/** A session while `work` goes on, given back in the end. */
export async function withSession(
  beliefs: Beliefs, life: Life, work: (session: Session) => Promise<void>,
): Promise<void> {
  const { connection, process, dice, who } = life;
  const session = await Session.open(connection, {
    ttlSeconds: dice.pick([1, 2, 5]), clock: process, timeoutMs: 3000, name: who,
  });
  beliefs.looked(who, session);
  try {
    await work(session);
  } finally {
    await session.close({ timeoutMs: 2000 });
  }
}

/** Runs something that may end in any way that a contract names; true: by itself. */
export async function expected(world: World, who: string, work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (!isNamed(error)) world.fail('client', `${who} met an error that no contract names: ${String(error)}`, error);
    else world.covered(`recipe ends: ${codeOf(error)}`);
    return false;
  }
}

function isNamed(error: unknown): error is Error {
  if (error instanceof ApiError) return error.code !== 'internal' && error.code !== 'invalid_request';
  return error instanceof SessionLost || error instanceof EntryLost || error instanceof Released || error instanceof FencedOut
    || error instanceof HandOverFailed || error instanceof QueueFull;
}

function codeOf(error: Error): string {
  return 'code' in error ? String(error.code) : error.name;
}

/** A client of several members leaves one that is of no use; now and then for no reason. */
export function roam(world: World, connection: Connection, process: ClientProcess): void {
  const dice = new Dice(world.swarm.seed, `roam ${connection.name}`);
  const look = (): void => {
    if (process.isDead) return;
    const isLate = dice.chance(0.5);
    if (!isUseful(world, connection.machine) ? !isLate : dice.chance(0.01)) connection.move(pickMachine(world, dice));
    world.scheduler.after(ROAM_MS, Kind.client, WHO, look);
  };
  look();
}

function isUseful(world: World, machine: Machine): boolean {
  if (world.serving !== null && !world.serving.includes(machine)) return false;
  const { life } = machine;
  return machine.serves && life !== null && !life.loop.isPaused && life.member.node.role.leader !== 0n;
}

/** Stalls, cuts and sudden death, until the faults end. */
function trouble(world: World, connection: Connection, process: ClientProcess, who: string): void {
  const { recipes: { stalls }, seed } = world.swarm;
  const dice = new Dice(seed, `trouble ${who}`);
  const after = (ms: number, run: () => void): void => {
    world.scheduler.after(ms, Kind.client, WHO, () => {
      if (!process.isDead && world.serving === null) run();
    });
  };
  const again = (perMinute: number, strike: () => void): void => {
    if (perMinute === 0) return;
    after((60_000 / perMinute) * dice.between(0.1, 1.9), () => {
      strike();
      again(perMinute, strike);
    });
  };
  again(stalls, () => {
    world.counts.clientStalls++;
    process.stall(dice.pick(STALLS_MS));
  });
  again(stalls / 2, () => connection.cut(dice.pick(CUTS_MS)));
  if (stalls > 0 && dice.chance(0.4)) {
    after(dice.tailed(8000), () => {
      world.note(`${who} is killed`);
      process.die();
    });
  }
}

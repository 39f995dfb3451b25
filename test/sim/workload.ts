// The clients of a world. Each has one operation outstanding, or a burst, pauses, changes its member now and then, and takes
// every error the contract allows; whatever else comes is a failure. What they were told is judged afterwards, by the history.
//
//   registers  reads, puts and guarded puts on hot and cold keys      appends  compare-and-put lists over several keys
//   deletes    single and by range                                    ranges   limits, orders, filters, old revisions
//   leases     grants, keys on them, renewals with gaps, revokes      maintenance  compaction, hashes, snapshots, status

import { utf8 } from '../../core/base/bytes.js';
import type { Compare, KeyValue, LeaseId, Op, RangeRequest } from '../../core/client.js';
import { created, get, modified, opDelete, opPut, opRange, opTxn, prefixRange, valueIs, versionIs } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { Connection } from './connection.js';
import type { Machine } from './machine.js';
import { Dice } from './random.js';
import type { WorkloadMix } from './swarm.js';
import type { World } from './world.js';

const HOT_KEYS = 10;
const COLD_KEYS = 300;
const LISTS = 5;
const LEASES_MAX = 3;
const ODD_KEYS: readonly Uint8Array[] = [utf8('k'), utf8('k/'), utf8('k/1\0'), Buffer.from('6b2fff', 'hex'), Buffer.from([0])];
const SORT_TARGETS = ['key', 'version', 'create', 'mod', 'value'] as const;

type Deed = 'registers' | 'appends' | 'deletes' | 'ranges' | 'leases' | 'maintenance';
const DEEDS: readonly Deed[] = ['registers', 'appends', 'deletes', 'ranges', 'leases', 'maintenance'];

export function startClients(world: World): void {
  for (let i = 0; i < world.swarm.clients; i++) {
    const name = `c${i + 1}`;
    world.task(name, () => new WorkloadClient(world, name, i).run());
  }
  for (let i = 0; i < world.swarm.watchers; i++) {
    const name = `w${i + 1}`;
    world.task(name, () => follow(world, name, i));
  }
}

/** A machine to talk to. */
export function pickMachine(world: World, dice: Dice): Machine {
  const all = world.serving ?? world.machines.filter((machine) => machine.birth !== null);
  const up = all.filter((machine) => machine.serves);
  return dice.pick(up.length > 0 && dice.chance(0.9) ? up : all);
}

/** Every error a client may meet; anything else is ours. */
export function expectApiError(world: World, who: string, error: unknown): ApiError | null {
  if (error instanceof ApiError && error.code !== 'internal' && error.code !== 'invalid_request') return error;
  world.fail('client', `${who} met an error that no contract names: ${String(error)}`, error);
  return null;
}

class WorkloadClient {
  readonly #world: World;
  readonly #name: string;
  readonly #dice: Dice;
  readonly #connection: Connection;
  readonly #mix: readonly (readonly [number, Deed])[];
  readonly #leases: LeaseId[] = [];
  #values = 0;
  #newest = 1;

  constructor(world: World, name: string, index: number) {
    this.#world = world;
    this.#name = name;
    this.#dice = new Dice(world.swarm.seed, 'client', index);
    this.#connection = new Connection(world, name, pickMachine(world, this.#dice));
    const weights: WorkloadMix = world.swarm.workload;
    this.#mix = DEEDS.map((deed) => [weights[deed], deed] as const).filter(([weight]) => weight > 0);
  }

  async run(): Promise<void> {
    const world = this.#world;
    const dice = this.#dice;
    while (!world.isClosing) {
      await world.sleep(dice.tailed(world.swarm.thinkMs));
      if (dice.chance(0.03)) this.#connection.machine = pickMachine(world, dice);
      try {
        await this.#do(dice.weighted(this.#mix));
      } catch (error) {
        const known = expectApiError(world, this.#name, error);
        if (known === null) return;
        world.covered(`error: ${known.code}`);
        if (known.outcome === 'unknown' || known.retryable) {
          this.#connection.machine = pickMachine(world, dice);
          await world.sleep(dice.tailed(100));
        }
      }
      if (world.serving !== null && !world.serving.includes(this.#connection.machine)) {
        this.#connection.machine = pickMachine(world, dice);
      }
    }
    await this.#connection.close();
  }

  async #do(deed: Deed): Promise<void> {
    if (deed === 'registers') return this.#register();
    if (deed === 'appends') return this.#append();
    if (deed === 'deletes') return this.#delete();
    if (deed === 'ranges') return this.#range();
    if (deed === 'leases') return this.#lease();
    return this.#maintain();
  }

  get #options(): { timeoutMs: number } {
    return { timeoutMs: this.#dice.pick([100, 1000, 3000, 3000]) };
  }

  #key(): Uint8Array {
    const dice = this.#dice;
    if (dice.chance(0.7)) return utf8(`k/${dice.below(HOT_KEYS)}`);
    // Prefixes of each other, a zero byte, the highest byte.
    if (dice.chance(0.1)) return dice.pick(ODD_KEYS);
    return utf8(`k/${dice.below(COLD_KEYS)}`);
  }

  /** Nobody else ever writes it. */
  #value(): Uint8Array {
    const mark = `${this.#name}.${(this.#values += 1)}.`;
    return utf8(mark.padEnd(this.#world.swarm.valueBytes, 'x'));
  }

  async #register(): Promise<void> {
    const dice = this.#dice;
    const key = this.#key();
    const what = dice.below(10);
    if (what < 3) {
      const serializable = dice.chance(0.2);
      const answer = await this.#connection.range({ key, ...(serializable ? { serializable } : {}) }, this.#options);
      this.#newest = Math.max(this.#newest, answer.header.revision);
      return;
    }
    const success: Op[] = [opPut(key, this.#value(), { prevKv: dice.chance(0.3) })];
    if (dice.chance(0.06)) return this.#burst();
    if (what < 7) return void (await this.#connection.txn({ success }, this.#options));
    const known = await get(this.#connection, key, this.#options);
    const compare = this.#guard(key, known);
    const failure = dice.chance(0.5) ? [opRange(key)] : [];
    if (dice.chance(0.3)) success.push(opRange(key), opPut(this.#otherKey(key), this.#value()));
    // What a member has already removed of the past must not show.
    if (dice.chance(0.2)) success.push(opRange(key, { revision: Math.max(1, this.#newest - dice.below(100)) }));
    if (dice.chance(0.1)) success.push(opTxn({ compare: [created(key, '!=', 0)], success: [opRange(key)], failure: [] }));
    await this.#connection.txn({ compare: [compare], success, failure }, this.#options);
  }

  /** Many at once: a leader that is cut off gathers a tail that nobody else has. */
  async #burst(): Promise<void> {
    const puts = Array.from({ length: 10 + this.#dice.below(30) }, () => [opPut(this.#key(), this.#value())]);
    const ends = await Promise.allSettled(puts.map((success) => this.#connection.txn({ success }, this.#options)));
    const failed = ends.find((end) => end.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  #guard(key: Uint8Array, known: KeyValue | null): Compare {
    if (known === null) return created(key, '=', 0);
    const what = this.#dice.below(3);
    if (what === 0) return modified(key, '=', known.modRevision);
    return what === 1 ? versionIs(key, '=', known.version) : valueIs(key, '=', known.value);
  }

  #otherKey(key: Uint8Array): Uint8Array {
    return Buffer.concat([utf8('o/'), key]);
  }

  /** Lists in which every writer's element stays where it was put. */
  async #append(): Promise<void> {
    const dice = this.#dice;
    const names = new Set(Array.from({ length: 1 + dice.below(3) }, () => `l/${dice.below(LISTS)}`));
    const keys = [...names].map((name) => utf8(name));
    const read = await this.#connection.txn({ success: keys.map((key) => opRange(key)) }, this.#options);
    const compare: Compare[] = [];
    const success: Op[] = [];
    keys.forEach((key, i) => {
      const answer = read.responses[i];
      const known = answer?.kind === 'range' ? (answer.response.kvs[0] ?? null) : null;
      compare.push(modified(key, '=', known?.modRevision ?? 0));
      // Kept short: it is the order that matters, not the weight.
      const before = known === null ? Buffer.alloc(0) : Buffer.from(known.value).subarray(-200);
      success.push(opPut(key, Buffer.concat([before, utf8(`,${this.#name}.${(this.#values += 1)}`)])));
    });
    await this.#connection.txn({ compare, success, failure: [] }, this.#options);
  }

  async #delete(): Promise<void> {
    const dice = this.#dice;
    const key = this.#key();
    const many = dice.chance(0.15) ? { rangeEnd: Buffer.concat([key, Buffer.from([0xff])]) } : {};
    await this.#connection.txn({ success: [opDelete(key, { ...many, prevKv: dice.chance(0.4) })] }, this.#options);
  }

  async #range(): Promise<void> {
    const dice = this.#dice;
    const request: RangeRequest = {
      ...prefixRange(utf8(dice.pick(['k/', 'k/1', 'l/', 'o/', '']))),
      ...(dice.chance(0.3) ? { limit: dice.pick([1, 2, 10]) } : {}),
      ...(dice.chance(0.2) ? { serializable: true } : {}),
      ...(dice.chance(0.3) ? { revision: Math.max(1, this.#newest - dice.below(30)) } : {}),
      ...(dice.chance(0.05) ? { revision: this.#newest + 1000 } : {}),
      ...(dice.chance(0.3)
        ? { sortOrder: dice.pick(['ascend', 'descend'] as const), sortTarget: dice.pick(SORT_TARGETS) }
        : {}),
      ...(dice.chance(0.1) ? { keysOnly: true } : {}),
      ...(dice.chance(0.1) ? { countOnly: true } : {}),
      ...(dice.chance(0.1) ? { minModRevision: Math.max(1, this.#newest - 20) } : {}),
      ...(dice.chance(0.1) ? { maxCreateRevision: this.#newest } : {}),
    };
    const answer = await this.#connection.range(request, this.#options);
    this.#newest = Math.max(this.#newest, answer.header.revision);
  }

  async #lease(): Promise<void> {
    const dice = this.#dice;
    const lease = this.#leases.length === 0 ? null : dice.pick(this.#leases);
    if (lease === null || (this.#leases.length < LEASES_MAX && dice.chance(0.2))) {
      const granted = await this.#connection.grant(dice.pick([1, 1, 2, 5, 30]), this.#options);
      this.#leases.push(granted.id);
      return;
    }
    const what = dice.below(10);
    if (what < 4) {
      const answer = await this.#connection.keepAlive(lease, this.#options);
      if (answer.ttlSeconds === 0) this.#forget(lease);
    } else if (what < 8) {
      const key = utf8(`e/${dice.below(20)}`);
      try {
        await this.#connection.txn({ success: [opPut(key, this.#value(), { lease })] }, this.#options);
      } catch (error) {
        if (error instanceof ApiError && error.code === 'lease_not_found') this.#forget(lease);
        else throw error;
      }
    } else if (what === 8) {
      this.#forget(lease);
      await this.#connection.revoke(lease, this.#options);
    } else {
      await this.#connection.call(this.#options, (server, rest) => server.leaseInfo(lease, { ...rest, keys: true }));
    }
  }

  #forget(lease: LeaseId): void {
    const at = this.#leases.indexOf(lease);
    if (at >= 0) this.#leases.splice(at, 1);
  }

  async #maintain(): Promise<void> {
    const dice = this.#dice;
    const what = dice.below(10);
    if (what < 5) {
      const back = dice.pick([0, 5, 50, 500]);
      await this.#connection.compact(Math.max(1, this.#newest - back), this.#options);
      this.#world.covered('a compaction');
    } else if (what < 7) {
      await this.#connection.call(this.#options, (server, rest) => server.hash(0, rest));
    } else if (what < 8) {
      const status = await this.#connection.call(this.#options, (server, rest) => server.status(rest));
      if (status.raftAppliedIndex > status.raftIndex) this.#world.fail('I7', 'a member applied more than it had committed');
    } else if (what < 9) {
      await this.#connection.call(this.#options, (server, rest) => server.members({ ...rest, linearizable: true }));
    } else {
      await this.#connection.call(this.#options, (server, rest) => server.leases(rest));
    }
  }
}

/** Watches one range after the other, across members; some readers are slow. */
async function follow(world: World, name: string, index: number): Promise<void> {
  const dice = new Dice(world.swarm.seed, 'watcher', index);
  const connection = new Connection(world, name, pickMachine(world, dice));
  let startRevision = 0;
  while (!world.isClosing) {
    connection.machine = pickMachine(world, dice);
    const prefix = dice.pick(['k/', 'k/1', 'l/', 'e/', '']);
    const watch = connection.watch({
      ...prefixRange(utf8(prefix)),
      startRevision: dice.pick([0, startRevision, startRevision + 1, startRevision + 1, 1, startRevision + 40]),
      prevKv: dice.chance(0.3),
      ...(dice.chance(0.2) ? { exclude: [dice.pick(['put', 'delete'] as const)] } : {}),
      progressNotify: dice.chance(0.3),
    });
    let left = dice.pick([5, 50, 500, 100_000]);
    const slow = dice.chance(0.3);
    try {
      for await (const batch of watch) {
        startRevision = Math.max(startRevision, batch.header.revision);
        if (slow) await world.sleep(dice.tailed(200));
        if (dice.chance(slow ? 0.2 : 0.02)) watch.requestProgress();
        if ((left -= 1) <= 0) break;
      }
    } catch (error) {
      const known = expectApiError(world, name, error);
      if (known === null) return;
      world.covered(`watch ends: ${known.code}`);
      startRevision = Math.max(startRevision, known.compactRevision);
    }
    await world.sleep(dice.tailed(100));
  }
}

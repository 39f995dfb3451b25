// Clients and watches on a cluster for one round, and the verdict on what they saw. Members may come and go meanwhile: each
// has a seat with clients of its own, and workers run where a seat is taken.

import type { Etcd3 } from 'etcd3';
import { utf8 } from '../../core/base/bytes.js';
import { prefixRange, type KeyValue } from '../../core/client.js';
import { connect } from '../../core/wire/remote-client.js';
import { Follower } from './follower.js';
import { etcd3Of, foreignRead } from './foreign-client.js';
import { judgeRound, type Final, type RoundVerdict } from './judge.js';
import type { Member } from './members.js';
import { Recorder, type Pace } from './recorder.js';
import { Worker } from './workload.js';

const WORKERS_PER_MEMBER = 2;
const FINAL_MS = 5000;
const CATCH_UP_MS = 10_000;

/** A member as the load knows it. */
export interface Seat {
  readonly member: Member;
  readonly id: bigint;
  readonly clients: readonly Etcd3[];
}

export async function takeSeat(member: Member): Promise<Seat> {
  const clients = Array.from({ length: WORKERS_PER_MEMBER + 2 }, () => etcd3Of(member.place.clientUrl));
  const status = await firstOf(clients).maintenance.status({ deadline: Date.now() + FINAL_MS });
  return { member, id: BigInt(status.header.member_id), clients };
}

export function leaveSeat(seat: Seat): void {
  for (const client of seat.clients) client.close();
}

function firstOf<T>(items: readonly T[]): T {
  const [first] = items;
  if (first === undefined) throw new Error('there is none');
  return first;
}

/** The last client of a seat asks the questions of the load itself; the one before follows. */
const asker = (seat: Seat): Etcd3 => firstOf(seat.clients.slice(WORKERS_PER_MEMBER + 1));

export async function currentRevision(seat: Seat): Promise<number> {
  return (await foreignRead(asker(seat), { key: utf8('x') }, FINAL_MS)).header.revision;
}

export interface LoadOptions {
  readonly prefix: string;
  readonly seed: number;
  readonly pace: Pace;
  readonly trustsErrors: boolean;
  /** The revision after which the round begins. */
  readonly baseRevision: number;
}

export class Load {
  readonly #options: LoadOptions;
  readonly #recorder: Recorder;
  readonly #seats: Seat[] = [];
  readonly #stopped = new Set<Seat>();
  readonly #workers: Promise<void>[] = [];
  #followers: readonly Follower[] = [];
  #made = 0;

  constructor(options: LoadOptions, seats: readonly Seat[]) {
    this.#options = options;
    this.#recorder = new Recorder(options.pace);
    for (const seat of seats) this.add(seat);
    this.#followers = [0, 1].map((which) => new Follower({
      name: `watch${which}`,
      clients: () => this.#seats.map((seat) => firstOf(seat.clients.slice(WORKERS_PER_MEMBER))),
      recorder: this.#recorder,
      isMain: which === 0,
      startRevision: options.baseRevision + 1,
      firstClient: which,
    }));
    for (const follower of this.#followers) follower.start();
  }

  add(seat: Seat): void {
    const { prefix, seed, trustsErrors } = this.#options;
    this.#seats.push(seat);
    for (let i = 0; i < WORKERS_PER_MEMBER; i++) {
      const client = firstOf(seat.clients.slice(i));
      const doors = { client, member: seat.id, recorder: this.#recorder, trustsErrors };
      const worker = new Worker(`${seat.member.name}${'ab'[i] ?? 'c'}`, prefix, seed * 7919 + ++this.#made, doors);
      this.#workers.push(worker.run(() => this.#stopped.has(seat)));
    }
  }

  /** No new operations there; the member may end. */
  remove(seat: Seat): void {
    this.#stopped.add(seat);
    this.#seats.splice(this.#seats.indexOf(seat), 1);
  }

  /** Ends it without a verdict. */
  async abort(): Promise<void> {
    for (const seat of this.#seats) this.#stopped.add(seat);
    await Promise.all(this.#workers);
    await Promise.all(this.#followers.map((follower) => follower.stop()));
  }

  /** Every member healthy by now: stops, asks each for everything, waits for the watches, compares, judges. */
  async finish(): Promise<RoundVerdict> {
    for (const seat of this.#seats) this.#stopped.add(seat);
    await Promise.all(this.#workers);
    const { final, revision } = await this.#final();
    const found: string[] = [];
    for (const follower of this.#followers) {
      const isThere = await follower.reach(revision, CATCH_UP_MS);
      if (!isThere) found.push(`a watch saw revision ${follower.seen} ${CATCH_UP_MS} ms after revision ${revision} was read`);
      await follower.stop();
      found.push(...follower.violations);
    }
    const hashes = await Promise.all(this.#seats.map((seat) => hashOf(seat, revision)));
    if (new Set(hashes).size > 1) found.push(`members differ at revision ${revision}: hashes ${hashes.join(', ')}`);
    const verdict = judgeRound(this.#recorder, final, this.#options.baseRevision);
    return { ...verdict, violations: [...found, ...verdict.violations] };
  }

  async #final(): Promise<{ final: Final; revision: number }> {
    const final = new Map<string, { revision: number; kvs: readonly KeyValue[] }>();
    let revision = 0;
    const request = prefixRange(utf8(this.#options.prefix));
    for (const seat of this.#seats) {
      const who = { client: `final ${seat.member.name}`, member: seat.id };
      const call = (): ReturnType<typeof foreignRead> => foreignRead(asker(seat), request, FINAL_MS);
      const answer = await this.#recorder.run(who, { kind: 'range', request }, call, (error) => {
        throw error;
      });
      if (answer === null) throw new Error('a failed final read throws');
      revision = answer.header.revision;
      final.set(seat.member.name, { revision, kvs: answer.kvs });
    }
    return { final, revision };
  }

  /** Removes the round's keys and its history; the revision after which the next round begins. */
  async clear(): Promise<number> {
    const { kv } = asker(firstOf(this.#seats));
    const { key, rangeEnd } = prefixRange(utf8(this.#options.prefix));
    const options = { deadline: Date.now() + 10_000 };
    const deleted = await kv.deleteRange({ key: Buffer.from(key), range_end: Buffer.from(rangeEnd) }, options);
    await kv.compact({ revision: deleted.header.revision }, options);
    return Number(deleted.header.revision);
  }
}

/** etcd3 carries definitions older than this call, so our client asks. */
async function hashOf(seat: Seat, revision: number): Promise<number> {
  const client = connect(seat.member.place.clientUrl);
  try {
    return (await client.hash(revision, { timeoutMs: FINAL_MS })).hash;
  } finally {
    await client.close();
  }
}

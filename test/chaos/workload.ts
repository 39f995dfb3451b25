// What the clients of a campaign do, each one operation at a time, drawn from the seed: unique puts, guarded transactions
// (read, then write only if nobody wrote since), appends to lists, deletes, reads of both kinds, transactions over several
// keys, leases held for a while and let go. Every value is written once in the whole campaign, so that it names its writer.

import type { Etcd3 } from 'etcd3';
import { text, utf8 } from '../../core/base/bytes.js';
import { Prng } from '../../core/base/prng.js';
import {
  modified, opDelete, opPut, opRange, prefixRange, type KeyValue, type LeaseId, type RangeRequest, type RangeResponse,
  type TxnRequest, type TxnResponse,
} from '../../core/client.js';
import {
  failureOf, foreignGrant, foreignKeepAlive, foreignRead, foreignRevoke, foreignWrite, type Failure,
} from './foreign-client.js';
import { pause } from './pause.js';
import type { Recorder } from './recorder.js';

const HOT_KEYS = 8;
const COLD_KEYS = 200;
const LISTS = 4;
/** A list at its full length is begun anew: values stay small. */
const LIST_MAX = 150;
/** Between two operations of one client. */
const THINK_MS = 25;
const AFTER_FAILURE_MS = 60;

export interface WorkerDoors {
  readonly client: Etcd3;
  readonly member: bigint;
  readonly recorder: Recorder;
  readonly trustsErrors: boolean;
  readonly thinkMs?: number;
}

/** One client on one member. */
export class Worker {
  readonly #name: string;
  readonly #prefix: string;
  readonly #doors: WorkerDoors;
  readonly #dice: Prng;
  #counter = 0;
  #lease: { id: LeaseId; renewals: number } | null = null;

  constructor(name: string, prefix: string, seed: number, doors: WorkerDoors) {
    this.#name = name;
    this.#prefix = prefix;
    this.#doors = doors;
    this.#dice = new Prng(seed);
  }

  async run(isStopped: () => boolean): Promise<void> {
    while (!isStopped()) {
      const isAnswered = await this.#one();
      const thinkMs = this.#doors.thinkMs ?? THINK_MS;
      await pause(isAnswered ? this.#dice.below(2 * thinkMs + 1) : AFTER_FAILURE_MS);
    }
  }

  /** False: it failed. */
  async #one(): Promise<boolean> {
    const draw = this.#dice.below(100);
    if (draw < 30) return (await this.#write({ success: [opPut(this.#key(), this.#value(), this.#prevKv())] })) !== null;
    if (draw < 42) return this.#guarded();
    if (draw < 54) return this.#append();
    if (draw < 58) return (await this.#write({ success: [opDelete(this.#key(), this.#prevKv())] })) !== null;
    if (draw < 64) return (await this.#write(this.#several())) !== null;
    if (draw < 80) return (await this.#read({ key: this.#key() })) !== null;
    if (draw < 86) return (await this.#read({ key: this.#key(), serializable: true })) !== null;
    if (draw < 90) return (await this.#read({ ...prefixRange(utf8(`${this.#prefix}h`)) })) !== null;
    if (draw < 92) return (await this.#read({ ...prefixRange(utf8(this.#prefix)), serializable: true, limit: 20 })) !== null;
    return this.#leased();
  }

  #key(): Uint8Array {
    const hot = this.#dice.below(2) === 0;
    return utf8(`${this.#prefix}${hot ? 'h' : 'c'}${this.#dice.below(hot ? HOT_KEYS : COLD_KEYS)}`);
  }

  #unique(): string {
    return `${this.#name}.${++this.#counter}`;
  }

  #value(): Uint8Array {
    return utf8(`${this.#prefix}${this.#unique()}${'.'.repeat(this.#dice.below(200))}`);
  }

  #prevKv(): { prevKv: boolean } {
    return { prevKv: this.#dice.below(2) === 0 };
  }

  async #guarded(): Promise<boolean> {
    const key = this.#key();
    const found = await this.#read({ key, serializable: this.#dice.below(3) === 0 });
    if (found === null) return false;
    const compare = [modified(key, '=', found.kvs[0]?.modRevision ?? 0)];
    return (await this.#write({ compare, success: [opPut(key, this.#value())], failure: [opRange(key)] })) !== null;
  }

  /** Nobody deletes from a list: what was acknowledged must be in it, once, until the list is begun anew. */
  async #append(): Promise<boolean> {
    const key = utf8(`${this.#prefix}l${this.#dice.below(LISTS)}`);
    const found = await this.#read({ key });
    if (found === null) return false;
    const old: KeyValue | undefined = found.kvs[0];
    const elements = old === undefined ? [] : text(old.value).split(',');
    const next = elements.length >= LIST_MAX ? [] : elements;
    const value = utf8([...next, this.#unique()].join(','));
    const compare = [modified(key, '=', old?.modRevision ?? 0)];
    return (await this.#write({ compare, success: [opPut(key, value)], failure: [opRange(key)] })) !== null;
  }

  /** Writes, reads and deletes of different keys at one revision. */
  #several(): TxnRequest {
    const hot = (i: number): Uint8Array => utf8(`${this.#prefix}h${i}`);
    const first = this.#dice.below(HOT_KEYS);
    const second = (first + 1) % HOT_KEYS;
    const compare = this.#dice.below(2) === 0 ? [] : [modified(hot(first), '!=', 0)];
    return {
      compare,
      success: [opPut(hot(first), this.#value()), opPut(hot(second), this.#value(), { prevKv: true }), opRange(this.#key())],
      failure: [opPut(hot(first), this.#value()), opDelete(hot(second), { prevKv: true })],
    };
  }

  /** The life of a lease, one step at a time: granted, attached, renewed a few times, then revoked or left to expire. */
  async #leased(): Promise<boolean> {
    const { client } = this.#doors;
    const lease = this.#lease;
    if (lease === null) {
      const ttlSeconds = 2 + this.#dice.below(4);
      const request = { kind: 'grant', ttlSeconds, id: 0n } as const;
      const granted = await this.#record(request, () => foreignGrant(client, ttlSeconds));
      if (granted === null) return false;
      this.#lease = { id: granted.id, renewals: this.#dice.below(6) };
      const key = utf8(`${this.#prefix}s${this.#name}`);
      return (await this.#write({ success: [opPut(key, this.#value(), { lease: granted.id })] })) !== null;
    }
    if (lease.renewals > 0) {
      lease.renewals--;
      const request = { kind: 'keep_alive', lease: lease.id } as const;
      const answer = await this.#record(request, () => foreignKeepAlive(client, lease.id));
      if (answer !== null && answer.ttlSeconds <= 0) this.#lease = null;
      return answer !== null;
    }
    this.#lease = null;
    if (this.#dice.below(2) === 0) return true;
    return (await this.#record({ kind: 'revoke', lease: lease.id }, () => foreignRevoke(client, lease.id))) !== null;
  }

  #read(request: RangeRequest): Promise<RangeResponse | null> {
    return this.#record({ kind: 'range', request }, () => foreignRead(this.#doors.client, request));
  }

  #write(request: TxnRequest): Promise<TxnResponse | null> {
    return this.#record({ kind: 'txn', request }, () => foreignWrite(this.#doors.client, request));
  }

  #record: Record1 = (request, call) => {
    const judge = (error: unknown): Failure => failureOf(error, this.#doors.trustsErrors);
    return this.#doors.recorder.run({ client: this.#name, member: this.#doors.member }, request, call, judge);
  };
}

type RunParameters = Parameters<Recorder['run']>;
type Record1 = <T extends Awaited<ReturnType<RunParameters[2]>>>(
  request: RunParameters[1], call: () => Promise<T>,
) => Promise<T | null>;

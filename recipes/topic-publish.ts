// The writing side of a durable topic. Whatever is published at the same time in one process travels in one transaction,
// which compares the head, so positions are dense and their order is the same for everybody. Whoever loses the comparison
// tries again behind the winner: some publisher always makes progress.
//
//   compare: the head is as we know it; it is nobody's turn, or ours; no id is known yet
//   success: put head, receipt, messages and ids; delete what retention gives up, and the turn
//   failure: read head, receipt, turn and ids; having lost before, take the turn unless somebody has it
//
// An attempt whose result is unknown is followed by another one with the same comparison: at most one of them can land,
// and the receipt says which did. So nothing is published twice, and a publish that resolves has happened. The turn is
// politeness: without it whoever is far away always compares what others near by have changed meanwhile.
//
// Time across processes hangs on leases. A lease serves for an eighth of the time it stands for and is granted for nine,
// so that whatever is put on it lives at least that long, without one renewal.

import { text, utf8 } from '../core/base/bytes.js';
import type { Clock } from '../core/base/clock.js';
import type { Client, KeyValue, LeaseId, Op, Revision, TxnRequest, TxnResponse } from '../core/client.js';
import { created, modified, opDelete, opPut, opRange, opTxn } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import { asError } from './deletion.js';
import type { WaitOptions } from './pause.js';
import { Backoff, bounded, chance, checkNumber, pause, within } from './pause.js';
import type { Head, TopicNames } from './topic-names.js';
import { checkName, ID_BYTES_MAX, isPosition, positionText, readHead, readJson, writeHead } from './topic-names.js';

/** Messages of one transaction: with their ids they stay below etcd's limit of 128 operations. */
const BATCH_MAX = 32;
const BATCH_BYTES_MAX = 1024 * 1024;
export const MESSAGE_BYTES_MAX = 512 * 1024;
/** Waiting in this process. More are refused: whoever publishes faster than the store takes must be told. */
const WAITING_MAX = 10_000;
const WAITING_BYTES_MAX = 64 * 1024 * 1024;
const COUNT_DEFAULT = 1_000;
const COUNT_MAX = 100_000;
const WINDOW_SECONDS = 600;
const SECONDS_MAX = 30 * 24 * 3_600;
const TIMEOUT_MS = 30_000;
/** Of one call; the wait around it has its own end. */
const CALL_MS = 5_000;
const RETRY_MS = 50;
const RETRY_MS_MAX = 1_000;
const CONFLICT_MS = 2;
const CONFLICT_MS_MAX = 64;
/** Attempts that were too late before the turn is taken. */
const CONFLICTS_MAX = 2;
/** Whoever has not used its turn for so long is taken to be gone. */
const TURN_MS = 1_000;

export interface Retention {
  /** How many of the newest messages are kept. Default 1,000, at most 100,000. */
  readonly count?: number;
  /** For how long at least a message is kept; it goes at most an eighth later. Default: for ever. */
  readonly ageSeconds?: number;
}

export interface PublisherOptions {
  readonly retain?: Retention;
  /** For how long at least an id keeps a second message with it from being published. Default 600, at least 60. */
  readonly windowSeconds?: number;
  readonly clock: Clock;
}

export interface PublishOptions extends WaitOptions {
  /** Published before within the window: nothing is published, and the answer is the first one's position. */
  readonly id?: string;
}

export interface Published {
  readonly position: number;
  /** The id was known already. */
  readonly duplicate: boolean;
}

interface Waiting {
  readonly body: Uint8Array;
  readonly idKey: Uint8Array | null;
  /** Nobody waits for it any more. */
  isOver: boolean;
  settle: (outcome: Published | Error) => void;
}

/** One attempt to publish; `first` is the position of its first message. */
interface Attempt {
  readonly number: number;
  readonly messages: readonly Waiting[];
  readonly first: number;
  readonly head: Head;
}

interface KnownHead extends Head {
  readonly mod: Revision;
}

/** Whose turn it is, as far as we know. */
interface Turn {
  readonly mod: Revision;
  readonly isOurs: boolean;
  /** When we first saw it. */
  readonly since: number;
}

export class Publisher {
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #names: TopicNames;
  readonly #count: number;
  readonly #age: Leasing | null;
  readonly #window: Leasing;
  readonly #windowMs: number;
  readonly #backoff: Backoff;
  readonly #conflicts: Backoff;
  #queue: Waiting[] = [];
  #waitingBytes = 0;
  #waiting = 0;
  #isRunning = false;
  #head: KnownHead | null = null;
  #turn: Turn | null = null;
  /** Names the receipt and the turn: the first lease it had, which nobody else ever has. */
  #who: string | null = null;
  #attempts = 0;

  constructor(client: Client, names: TopicNames, options: PublisherOptions) {
    const { retain = {}, windowSeconds = WINDOW_SECONDS, clock } = options;
    checkNumber('retain.count', retain.count, 1, COUNT_MAX);
    checkNumber('retain.ageSeconds', retain.ageSeconds, 1, SECONDS_MAX);
    checkNumber('windowSeconds', windowSeconds, 60, SECONDS_MAX);
    this.#client = client;
    this.#clock = clock;
    this.#names = names;
    this.#count = Math.floor(retain.count ?? COUNT_DEFAULT);
    this.#age = retain.ageSeconds === undefined ? null : new Leasing(client, clock, retain.ageSeconds);
    this.#window = new Leasing(client, clock, windowSeconds);
    this.#windowMs = windowSeconds * 1000;
    const prng = chance(clock, names.topic);
    this.#backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng });
    this.#conflicts = new Backoff({ baseMs: CONFLICT_MS, maxMs: CONFLICT_MS_MAX, prng });
  }

  /** Resolves once it is committed. Messages of one publisher get positions in the order of the calls. */
  async publish(body: Uint8Array, options: PublishOptions = {}): Promise<Published> {
    const { id, signal, timeoutMs = TIMEOUT_MS } = options;
    // Beyond the window a receipt may be gone, and with it the knowledge of what has happened.
    checkNumber('timeoutMs', timeoutMs, 0, this.#windowMs);
    if (body.length > MESSAGE_BYTES_MAX) {
      const detail = `the message has ${body.length} bytes; give at most ${MESSAGE_BYTES_MAX}, or publish where it lies`;
      throw new ApiError('invalid_request', { detail });
    }
    const idKey = id === undefined ? null : utf8(`${this.#names.ids}${checkName('message id', id, ID_BYTES_MAX)}`);
    const isFull = this.#waiting >= WAITING_MAX || this.#waitingBytes + body.length > WAITING_BYTES_MAX;
    if (isFull) throw new ApiError('too_many_requests');
    const message: Waiting = { body, idKey, isOver: false, settle: () => undefined };
    const settled = new Promise<Published>((resolve, reject) => {
      message.settle = (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome));
    });
    this.#queue.push(message);
    this.#waiting += 1;
    this.#waitingBytes += body.length;
    if (!this.#isRunning) void this.#run();
    const what = `publishing to ${this.#names.topic}`;
    try {
      return await within(settled, this.#clock, { what, timeoutMs, ...(signal === undefined ? {} : { signal }) });
    } finally {
      this.#waiting -= 1;
      this.#waitingBytes -= body.length;
      message.isOver = true;
    }
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    // In the same turn everything else that is published gets into the first batch.
    await Promise.resolve();
    for (let batch = this.#takeBatch(); batch.length > 0; batch = this.#takeBatch()) {
      try {
        await this.#publishAll(batch);
      } catch (error) {
        for (const message of batch) message.settle(asError(error));
      }
    }
    this.#isRunning = false;
  }

  #takeBatch(): Waiting[] {
    const batch: Waiting[] = [];
    const ids = new Set<string>();
    let bytes = 0;
    let taken = 0;
    for (const message of this.#queue) {
      const id = message.idKey === null ? null : String(message.idKey);
      // Its own trimming must not hit it, hence `#count`; the second one of an id waits to be found a duplicate.
      if (batch.length >= Math.min(BATCH_MAX, this.#count) || bytes + message.body.length > BATCH_BYTES_MAX) break;
      if (id !== null && ids.has(id)) break;
      taken += 1;
      if (message.isOver) continue;
      batch.push(message);
      bytes += message.body.length;
      if (id !== null) ids.add(id);
    }
    this.#queue = this.#queue.slice(taken);
    return batch;
  }

  /** Until each of them is settled or given up. Throws what trying again would not mend. */
  async #publishAll(batch: readonly Waiting[]): Promise<void> {
    const loose = new Map<number, Attempt>();
    let left = batch;
    let conflicts = 0;
    while (left.length > 0) {
      let attempt: Attempt | null = null;
      try {
        const lease = await this.#window.take();
        const age = await this.#age?.take() ?? 0n;
        this.#who ??= lease.toString(16);
        this.#head ??= await this.#readHead();
        attempt = this.#newAttempt(this.#head, left);
        loose.set(attempt.number, attempt);
        // Not where an earlier one may have landed: then nothing is left to use the turn for.
        const claims = conflicts + 1 >= CONFLICTS_MAX && loose.size === 1;
        const request = this.#request(attempt, this.#head, { who: this.#who, lease, age, claims });
        const answer = await this.#call((signal) => this.#client.txn(request, { signal }));
        this.#backoff.reset();
        if (answer.succeeded) {
          this.#landed(attempt, answer.header.revision);
        } else if (this.#conflict(answer, attempt, loose)) {
          conflicts += 1;
          // Never with the head in hand: what is known of it is of use only while it is fresh.
          if (this.#isOthersTurn()) await pause(this.#clock, this.#conflicts.next());
        }
      } catch (error) {
        const known = isApiError(error) && error.outcome === 'never';
        if (known && attempt !== null) loose.delete(attempt.number);
        if (isApiError(error, 'lease_not_found')) this.#forgetLeases(loose);
        else if (!isWorthRetrying(error)) throw error;
        else await pause(this.#clock, this.#backoff.next());
      }
      left = left.filter(({ isOver }) => !isOver);
    }
    this.#conflicts.reset();
  }

  /** The leases ended early: revoked, or the store was replaced. Receipts and ids went with them. */
  #forgetLeases(loose: ReadonlyMap<number, Attempt>): void {
    this.#window.drop();
    this.#age?.drop();
    this.#head = null;
    this.#who = null;
    if (loose.size > 0) throw new ApiError('connection_lost', { detail: 'and the lease that could tell what happened is gone' });
  }

  async #readHead(): Promise<KnownHead> {
    const { kvs, header } = await this.#call((signal) => this.#client.range({ key: this.#names.head }, { signal }));
    return known(kvs[0], header.revision);
  }

  #call<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return bounded(this.#clock, { timeoutMs: CALL_MS, what: `publishing to ${this.#names.topic}` }, call);
  }

  #newAttempt(head: KnownHead, messages: readonly Waiting[]): Attempt {
    this.#attempts += 1;
    const last = head.last + messages.length;
    return { number: this.#attempts, messages, first: head.last + 1, head: { last, base: head.base } };
  }

  #request(attempt: Attempt, before: KnownHead, mine: {
    readonly who: string; readonly lease: LeaseId; readonly age: LeaseId; readonly claims: boolean;
  }): TxnRequest {
    const { head, log, sent, turn } = this.#names;
    const { number, messages, first } = attempt;
    const { who, lease, age, claims } = mine;
    const receipt = utf8(`${sent}${who}`);
    const ids = messages.flatMap(({ idKey }) => (idKey === null ? [] : [idKey]));
    const kept = attempt.head.last - this.#count + 1;
    const isTurnFree = this.#turn === null || this.#isOthersTurn();
    const success: Op[] = [
      opPut(head, writeHead(attempt.head)),
      opPut(receipt, utf8(JSON.stringify({ attempt: number, first })), { lease }),
      ...messages.map(({ body }, i) => opPut(utf8(`${log}${positionText(first + i)}`), body, { lease: age })),
      ...messages.flatMap(({ idKey }, i) => (idKey === null ? [] : [opPut(idKey, utf8(String(first + i)), { lease })])),
      ...(isTurnFree ? [] : [opDelete(turn)]),
    ];
    if (kept > attempt.head.base + 1) {
      success.push(opDelete(utf8(log), { rangeEnd: utf8(`${log}${positionText(kept)}`) }));
    }
    const claim = opTxn({ compare: [created(turn, '=', 0)], success: [opPut(turn, utf8(who), { lease })] });
    return {
      compare: [
        modified(head, '=', before.mod), modified(turn, '=', isTurnFree ? 0 : this.#turn?.mod ?? 0),
        ...ids.map((key) => created(key, '=', 0)),
      ],
      success,
      // The claim comes last: it is a success only where nothing stood in its way.
      failure: [
        opRange(head), opRange(receipt), opRange(turn), ...ids.map((key) => opRange(key)),
        ...(claims ? [claim] : []),
      ],
    };
  }

  /** Somebody else's, who may still be there. */
  #isOthersTurn(): boolean {
    return this.#turn !== null && !this.#turn.isOurs && this.#clock.now() - this.#turn.since < TURN_MS;
  }

  #noteTurn(kv: KeyValue | undefined, claimedAt: Revision | null): void {
    const since = this.#clock.now();
    if (claimedAt !== null) {
      this.#turn = { mod: claimedAt, isOurs: true, since };
    } else if (kv === undefined) {
      this.#turn = null;
    } else if (this.#turn?.mod !== kv.modRevision) {
      this.#turn = { mod: kv.modRevision, isOurs: text(kv.value) === this.#who, since };
    }
  }

  #landed(attempt: Attempt, mod: Revision | null): void {
    if (mod !== null) {
      this.#head = { ...attempt.head, mod };
      this.#turn = null;
    }
    attempt.messages.forEach((message, i) => {
      message.settle({ position: attempt.first + i, duplicate: false });
      message.isOver = true;
    });
  }

  /** True when somebody else was faster, and nothing else stands in the way. */
  #conflict(answer: TxnResponse, attempt: Attempt, loose: Map<number, Attempt>): boolean {
    const last = answer.responses.at(-1);
    const isClaimed = last?.kind === 'txn' && last.response.succeeded;
    const [head, receipt, turn, ...ids] = answer.responses.flatMap((each) => each.kind === 'range' ? [each.response.kvs[0]] : []);
    this.#noteTurn(turn, isClaimed ? answer.header.revision : null);
    const before = this.#head?.mod;
    this.#head = known(head, answer.header.revision);
    loose.delete(attempt.number);
    const done = receipt === undefined ? null : readJson(receipt.value);
    const landed = loose.get(Number(done?.['attempt'] ?? 0));
    if (landed !== undefined && done?.['first'] === landed.first) {
      this.#landed(landed, null);
      return false;
    }
    // What compared an older head can never land any more.
    if (this.#head.mod !== before) loose.clear();
    const named = attempt.messages.filter(({ idKey }) => idKey !== null);
    let isDuplicate = false;
    ids.forEach((kv, i) => {
      const message = named[i];
      const position = kv === undefined ? NaN : Number(Buffer.from(kv.value).toString());
      if (message === undefined || kv === undefined) return;
      isDuplicate = true;
      message.settle(isPosition(position) ? { position, duplicate: true }
        : new ApiError('invalid_request', { detail: `the key ${Buffer.from(kv.key).toString()} holds no position` }));
      message.isOver = true;
    });
    return !isDuplicate;
  }
}

/** Where there is no topic yet, positions start above all that a deleted one can have had: 32 for each revision. */
function known(kv: KeyValue | undefined, revision: Revision): KnownHead {
  const head = readHead(kv);
  if (head !== null && kv !== undefined) return { ...head, mod: kv.modRevision };
  const base = BATCH_MAX * revision;
  return { last: base, base, mod: kv?.modRevision ?? 0 };
}

function isWorthRetrying(error: unknown): boolean {
  return isApiError(error) && (error.retryable || error.outcome === 'unknown');
}

/** A lease for things that shall live for some time from now on. */
class Leasing {
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #seconds: number;
  #lease: { readonly id: LeaseId; readonly until: number } | null = null;

  constructor(client: Client, clock: Clock, seconds: number) {
    this.#client = client;
    this.#clock = clock;
    this.#seconds = seconds;
  }

  async take(): Promise<LeaseId> {
    const now = this.#clock.now();
    if (this.#lease !== null && now < this.#lease.until) return this.#lease.id;
    const ttlSeconds = Math.ceil(this.#seconds * 1.125);
    const { id } = await bounded(this.#clock, { timeoutMs: CALL_MS, what: 'a lease for messages' },
      (signal) => this.#client.grant(ttlSeconds, { signal }));
    this.#lease = { id, until: now + this.#seconds * 125 };
    return id;
  }

  drop(): void {
    this.#lease = null;
  }
}

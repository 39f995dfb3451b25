// A transaction that only the owner can commit. The ownership is compared outside, the caller's own compares inside:
//
//   { compare: [created(entry, '=', fence), …], success: [txn { compare: yours, success, failure }], failure: [who owns it] }
//
// so an ownership that was lost (FencedOut, nothing written) is told apart from a compare of the caller's that failed
// (`succeeded: false`, whose `otherwise` was done). There is no way to build one without the ownership's compare.
//
// Not here: retries. A commit whose outcome is unknown rejects as the client does; whoever commits again must know that
// doing it twice is harmless, or compare what the first one would have changed.

import { assert } from '../core/base/assert.js';
import { utf8 } from '../core/base/bytes.js';
import type { CallOptions, Client, Compare, Header, Op, OpResponse, PutRequest, RangeRequest, Revision } from '../core/client.js';
import { created, opDelete, opPut, opRange, opTxn } from '../core/client.js';
import type { DeleteRequest, TxnResponse } from '../core/client.js';

/** A write of somebody who does not own the thing any more was refused; nothing was written. */
export class FencedOut extends Error {
  override readonly name = 'FencedOut';
  readonly code = 'fenced_out';
  /** The fence the write was made with. */
  readonly token: Revision;
  /** The fence of the present owner, where it could be seen and is another one; else null. */
  readonly newest: Revision | null;

  constructor(what: string, fences: { token: Revision; newest?: Revision | null; cause?: unknown }) {
    const newest = fences.newest ?? null;
    const owner = newest === null ? '' : ` (the owner's is ${newest})`;
    super(
      `nothing was written: ${what} is not owned with fence ${fences.token} any more${owner}; stop what it protected`,
      fences.cause === undefined ? undefined : { cause: fences.cause },
    );
    this.token = fences.token;
    this.newest = newest;
  }
}

/** What a fenced transaction must know of one thing that is held. */
export interface Ownership {
  readonly name: string;
  readonly client: Client;
  readonly key: Uint8Array;
  readonly fence: Revision;
  /** Further compares that hold exactly while it is owned. */
  readonly also?: readonly Compare[];
  /** All entries of its line, so that a refusal can name the present owner: the one with the lowest create revision. */
  readonly line?: Pick<RangeRequest, 'key' | 'rangeEnd'>;
  /** Why it is over, computed now; null while it is held as far as can be known here. */
  ended(): Error | null;
}

export interface FencedResult {
  readonly header: Header;
  /** The caller's own compares held. */
  readonly succeeded: boolean;
  /** One for each of the caller's operations that were done, in their order. */
  readonly responses: readonly OpResponse[];
}

export class FencedTxn {
  readonly #owned: readonly Ownership[];
  readonly #client: Client;
  readonly #compare: Compare[] = [];
  readonly #success: Op[] = [];
  readonly #failure: Op[] = [];

  /** Of one thing, or of several that must all be held. Use `held.txn()`. */
  constructor(...owned: readonly [Ownership, ...Ownership[]]) {
    this.#owned = owned;
    this.#client = owned[0].client;
    assert(owned.every(({ client }) => client === this.#client), 'what one transaction compares is held at one store');
  }

  /** All of them must hold for `put`, `delete`, `range` and `add` to be done; else `otherwise` is. */
  compare(...compares: readonly Compare[]): this {
    this.#compare.push(...compares);
    return this;
  }

  put(key: string | Uint8Array, value: string | Uint8Array, options: Omit<PutRequest, 'key' | 'value'> = {}): this {
    this.#success.push(opPut(bytes(key), bytes(value), options));
    return this;
  }

  delete(key: string | Uint8Array, options: Omit<DeleteRequest, 'key'> = {}): this {
    this.#success.push(opDelete(bytes(key), options));
    return this;
  }

  range(key: string | Uint8Array, options: Omit<RangeRequest, 'key'> = {}): this {
    this.#success.push(opRange(bytes(key), options));
    return this;
  }

  /** Any operations, a nested transaction included. */
  add(...ops: readonly Op[]): this {
    this.#success.push(...ops);
    return this;
  }

  /** What to do when the caller's own compares do not hold. */
  otherwise(...ops: readonly Op[]): this {
    this.#failure.push(...ops);
    return this;
  }

  /**
   * Throws `FencedOut` when ownership is lost: known here (its `cause` says why; nothing is sent) or seen by the store. In
   * both cases nothing was written. Other errors are the client's.
   */
  async commit(options: CallOptions = {}): Promise<FencedResult> {
    for (const owned of this.#owned) {
      const cause = owned.ended();
      if (cause !== null) throw new FencedOut(owned.name, { token: owned.fence, cause });
    }
    const answer = await this.#client.txn({
      compare: this.#owned.flatMap(({ key, fence, also = [] }) => [created(key, '=', fence), ...also]),
      success: [opTxn({ compare: [...this.#compare], success: [...this.#success], failure: [...this.#failure] })],
      failure: this.#owned.flatMap(({ key, line }) => [opRange(key, { keysOnly: true }), firstOf(line ?? { key })]),
    }, options);
    if (!answer.succeeded) throw this.#refusal(answer);
    const [inner] = answer.responses;
    assert(inner?.kind === 'txn', 'a nested transaction is answered by a transaction');
    return { header: answer.header, succeeded: inner.response.succeeded, responses: inner.response.responses };
  }

  #refusal(answer: TxnResponse): FencedOut {
    const seen = this.#owned.map((owned, i) => ({
      owned,
      entry: createdOf(answer.responses[2 * i]),
      owner: createdOf(answer.responses[2 * i + 1]),
    }));
    const lost = seen.find(({ owned, entry }) => entry !== owned.fence) ?? seen[0];
    assert(lost !== undefined, 'a fenced transaction is about something');
    const { owned, owner } = lost;
    return new FencedOut(owned.name, { token: owned.fence, newest: owner === owned.fence ? null : owner });
  }
}

function firstOf({ key, rangeEnd }: Pick<RangeRequest, 'key' | 'rangeEnd'>): Op {
  const range = rangeEnd === undefined ? {} : { rangeEnd };
  return opRange(key, { ...range, sortTarget: 'create', sortOrder: 'ascend', limit: 1, keysOnly: true });
}

function createdOf(answer: OpResponse | undefined): Revision | null {
  assert(answer?.kind === 'range', 'a range is answered by a range');
  return answer.response.kvs[0]?.createRevision ?? null;
}

function bytes(key: string | Uint8Array): Uint8Array {
  return typeof key === 'string' ? utf8(key) : key;
}

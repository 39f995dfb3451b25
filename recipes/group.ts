// Who is there: members join with some data, and everybody sees the members in the order in which they joined.
//
// Keys: coterie/groups/<name>/<lease hex><mark>   the member's data, on its session's lease
// Transactions: those of entry.ts (join, leave); update: the entry is ours: put the data
//
// A membership is `Held`: it ends with the session, when somebody deletes the entry, or by `release`, and never comes back.
// Its fence, the create revision of its entry, is its place in the order, which no update changes. Readers need no session.
// Not here: agreement. Two readers may see different members at one instant; each sees the store's state at a revision.

import { text, utf8 } from '../core/base/bytes.js';
import type { CallOptions, Client, KeyValue, LeaseId, Revision } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import { nameStep } from './coordination-names.js';
import type { FencedTxn } from './fenced-txn.js';
import type { Held } from './held.js';
import type { Holding } from './holding.js';
import type { LineOptions, Rule } from './line.js';
import { acquire } from './line.js';
import type { WaitOptions } from './pause.js';
import type { Session } from './session.js';
import type { ViewChange, ViewOptions } from './view.js';
import { View } from './view.js';

const GROUPS = 'coterie/groups/';
export const MEMBER_BYTES_MAX = 64 * 1024;

export interface JoinOptions extends LineOptions {
  /** Shown to everybody; default: the session's name. */
  readonly data?: string | Uint8Array;
}

export interface Membership extends Held {
  /** What others know it by: `Member.id`. */
  readonly id: string;
  /** One put; its place in the order stays. Rejects with `FencedOut` once it is over. */
  update(data: string | Uint8Array, options?: CallOptions): Promise<void>;
}

export interface Member {
  /** The last step of its key: unique among the members there are. */
  readonly id: string;
  readonly data: Uint8Array;
  /** Where it stands in the order: the fence of its membership. */
  readonly since: Revision;
  /** Its session. */
  readonly lease: LeaseId;
}

/** The state, and what is new in it for this reader. A member that came and went between two looks is not mentioned. */
export interface GroupChange {
  readonly revision: Revision;
  /** As on the view. */
  readonly staleSince: number | null;
  readonly members: readonly Member[];
  readonly joined: readonly Member[];
  readonly left: readonly Member[];
  /** Those whose data changed. */
  readonly updated: readonly Member[];
}

/** Nothing stands in a member's way. */
const FREE: Rule = Object.freeze({ free: [], reads: () => [], judge: () => ({ kind: 'free' as const }) });

/** Resolves when the store has it. One session may join several times; each is a member. */
export async function join(session: Session, name: string, options: JoinOptions = {}): Promise<Membership> {
  const line = lineOf(name);
  const value = checkData(options.data ?? session.name);
  const held = await acquire(session, { name, what: `membership of group ${name}`, line, value, rule: FREE }, options);
  return new HeldMembership(held);
}

/** Follows the group; `ready()` waits for the first complete read. */
export function members(client: Client, name: string, options: ViewOptions = {}): GroupView {
  return new GroupView(View.follow(client, { prefix: lineOf(name) }, options));
}

class HeldMembership implements Membership {
  readonly name: string;
  readonly key: Uint8Array;
  readonly fence: Revision;
  readonly id: string;
  readonly #held: Holding;

  constructor(held: Holding) {
    this.name = held.name;
    this.key = held.key;
    this.fence = held.fence;
    this.id = idOf(held.key);
    this.#held = held;
  }

  get isHeld(): boolean {
    return this.#held.isHeld;
  }

  get remaining(): number {
    return this.#held.remaining;
  }

  get signal(): AbortSignal {
    return this.#held.signal;
  }

  assertHeld(minRemainingMs?: number): void {
    this.#held.assertHeld(minRemainingMs);
  }

  txn(): FencedTxn {
    return this.#held.txn();
  }

  async update(data: string | Uint8Array, options: CallOptions = {}): Promise<void> {
    const { key, session } = this.#held;
    await this.txn().put(key, checkData(data), { lease: session.lease }).commit(options);
  }

  release(): Promise<void> {
    return this.#held.release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#held[Symbol.asyncDispose]();
  }
}

/** Readable all the time; see View for what `revision`, `synced` and `staleSince` promise. */
export class GroupView {
  readonly #view: View;
  #from: readonly KeyValue[] = [];
  #members: readonly Member[] = Object.freeze([]);

  /** Use `members()`. */
  constructor(view: View) {
    this.#view = view;
  }

  get revision(): Revision {
    return this.#view.revision;
  }

  get synced(): boolean {
    return this.#view.synced;
  }

  get staleSince(): number | null {
    return this.#view.staleSince;
  }

  get lastError(): Error | null {
    return this.#view.lastError;
  }

  /** In the order in which they joined; the first is the eldest. The same array until something changes. */
  get members(): readonly Member[] {
    const kvs = this.#view.entries();
    if (kvs === this.#from) return this.#members;
    this.#from = kvs;
    this.#members = Object.freeze(kvs.map(memberOf).sort((a, b) => a.since - b.since));
    return this.#members;
  }

  /** Each iteration is a reader of its own. It first yields the state, then what changes; it ends with `close`. */
  get changes(): AsyncIterable<GroupChange, undefined> {
    return { [Symbol.asyncIterator]: () => this.#iterate() };
  }

  async ready(options: WaitOptions = {}): Promise<this> {
    await this.#view.ready(options);
    return this;
  }

  close(): Promise<void> {
    return this.#view.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #iterate(): AsyncIterator<GroupChange, undefined> {
    const changes: AsyncIterator<ViewChange, undefined> = this.#view.changes[Symbol.asyncIterator]();
    let known: ReadonlyMap<Revision, Member> = new Map();
    return {
      next: async () => {
        const step = await changes.next();
        if (step.done === true) return { done: true, value: undefined };
        const now = new Map(this.members.map((member) => [member.since, member]));
        const change = this.#change(known, now);
        known = now;
        return { done: false, value: change };
      },
      return: async () => {
        await changes.return?.();
        return { done: true, value: undefined };
      },
    };
  }

  #change(before: ReadonlyMap<Revision, Member>, now: ReadonlyMap<Revision, Member>): GroupChange {
    const { revision, staleSince, members: all } = this;
    return Object.freeze({
      revision,
      staleSince,
      members: all,
      joined: all.filter(({ since }) => !before.has(since)),
      left: [...before.values()].filter(({ since }) => !now.has(since)),
      updated: all.filter((member) => before.has(member.since) && before.get(member.since)?.data !== member.data),
    });
  }
}

function lineOf(name: string): string {
  return `${GROUPS}${nameStep('group\'s name', name)}/`;
}

function idOf(key: Uint8Array): string {
  const path = text(key);
  return path.slice(path.lastIndexOf('/') + 1);
}

function memberOf({ key, value, createRevision, lease }: KeyValue): Member {
  return Object.freeze({ id: idOf(key), data: value, since: createRevision, lease });
}

function checkData(data: string | Uint8Array): Uint8Array {
  const value = typeof data === 'string' ? utf8(data) : data;
  if (value.length <= MEMBER_BYTES_MAX) return value;
  const detail = `a member's data takes ${value.length} bytes, at most ${MEMBER_BYTES_MAX}; put more under a key of its own`;
  throw new ApiError('invalid_request', { detail });
}

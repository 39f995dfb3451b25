// The leader's answers to the questions of members, its own included. A question that finds no leader here any more is
// answered 'again': nothing happened, and whoever leads now is to be asked.

import { unreachable } from '../base/assert.js';
import type { Done } from '../base/done.js';
import type { Revision } from '../client.js';
import { isApiError, type ErrorCode } from '../errors.js';
import type { MemberChange, NodeId, Role, Status } from '../raft/types.js';
import type { Asker } from '../store/access.js';
import type { Store, StoreHash } from '../store/store.js';
import type { Acceptor } from './acceptor.js';
import type { Answer, ChangeRequest, Request } from './calls.js';
import type { Changes } from './changes.js';
import type { Leases } from './leases.js';
import type { Membership } from './membership.js';
import { judge } from './reconfigure.js';

export interface AnswersDoors {
  role(): Role;
  /** Linearizable: done when leadership was proven after the call. */
  read(done: Done): void;
  /** Why this caller may not change who is a member; null: it may. */
  mayChange(asker: Asker): ErrorCode | null;
  deadlineMs(): number;
  hash(revision: Revision, done: Done<StoreHash>): void;
  /** Something waits for the machine. */
  wake(): void;
}

interface Desks {
  readonly acceptor: Acceptor;
  readonly changes: Changes;
  readonly leases: Leases;
}

const AGAIN: Answer = { kind: 'again' };

export class Answers {
  readonly #desks: Desks;
  readonly #doors: AnswersDoors;

  constructor(desks: Desks, doors: AnswersDoors) {
    this.#desks = desks;
    this.#doors = doors;
  }

  answer(from: NodeId, request: Request, reply: (answer: Answer) => void): void {
    if (request.kind === 'hash') return this.#hash(request.revision, reply);
    if (this.#doors.role().state !== 'leader') return reply(AGAIN);
    const { acceptor, changes, leases } = this.#desks;
    switch (request.kind) {
      case 'propose':
        acceptor.onPropose(from, request, reply);
        return this.#doors.wake();
      case 'read':
        acceptor.onRead(reply);
        return this.#doors.wake();
      case 'keep_alive':
        // Leadership is proven after the request came in, so a deposed leader cannot promise time it does not keep.
        return this.#doors.read((error) => {
          if (error !== null) return reply(AGAIN);
          leases.renew(request.leases, (renewError, ttlSeconds) => {
            reply(renewError !== null || ttlSeconds === undefined ? AGAIN : { kind: 'kept', ttlSeconds });
          });
        });
      case 'remaining':
        return this.#doors.read((error) => {
          if (error !== null || !leases.lessor.isActive) return reply(AGAIN);
          reply({ kind: 'left', remainingMs: leases.remainingMs(request.lease) });
        });
      case 'change': {
        const refusal = request.asker === null ? null : this.#doors.mayChange(request.asker);
        if (refusal !== null) return reply({ kind: 'error', code: refusal });
        changes.add(request.change, this.#doors.deadlineMs(), reply);
        return this.#doors.wake();
      }
      default:
        return unreachable(request);
    }
  }

  #hash(revision: Revision, reply: (answer: Answer) => void): void {
    this.#doors.hash(revision, (error, hash) => {
      if (error === null && hash !== undefined) reply({ kind: 'hash', ...hash });
      else reply({ kind: 'error', code: isApiError(error) ? error.code : 'internal' });
    });
  }
}

export interface Judged {
  readonly self: NodeId;
  readonly isStrict: boolean;
  readonly status: Status;
  readonly store: Store;
  readonly membership: Membership;
}

/** What the leader knows, put before reconfigure.ts. */
export function judgement(request: ChangeRequest, judged: Judged): MemberChange | ErrorCode {
  const { self, isStrict, store, membership } = judged;
  const { peers, durable } = judged.status;
  const peer = (id: NodeId): (typeof peers)[number] | undefined => peers.find((each) => each.id === id);
  return judge(request, {
    self,
    isStrict,
    members: store.members(),
    isRemoved: (id) => store.isRemoved(id),
    // A new leader takes everybody for active until it knows better; who has matched has answered it.
    isHealthy: (id) => peer(id)?.isActive === true && (peer(id)?.match ?? 0) > 0 && membership.isHealthy(id),
    isActive: (id) => peer(id)?.isActive === true,
    match: (id) => peer(id)?.match ?? 0,
    ownMatch: durable,
  });
}

/** A leader that removes itself cannot answer for it any more; but whoever asked sees it. */
export function hasHappened(change: ChangeRequest, store: Store): boolean {
  if (change.kind === 'remove') return store.isRemoved(change.id);
  const member = store.members().find(({ id }) => id === change.id);
  return member !== undefined && (change.kind === 'add' || !member.isLearner);
}

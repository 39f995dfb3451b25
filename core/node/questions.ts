// Questions that only the leader can answer: keep-alives, what is left of a lease, changes of members. Asked of whoever
// leads, this node included; asked again of the next leader where that does no harm, until the asker's time is over.

import { assert } from '../base/assert.js';
import type { Done } from '../base/done.js';
import type { LeaseId } from '../client.js';
import { ApiError } from '../errors.js';
import type { NodeId, Role } from '../raft/types.js';
import { decodeAnswer, encodeRequest, type Answer, type ChangeRequest, type Request } from './calls.js';
import { attempt } from './caught.js';
import { leasesPerCallMax, questionsMax, renewalsMax, renewalsPerTurnMax } from './limits.js';

export interface QuestionsDoors {
  call(to: NodeId, request: Uint8Array, timeoutMs: number, done: Done<Uint8Array>): void;
  /** This node leads: the answer comes from itself. */
  answer(request: Request, reply: (answer: Answer) => void): void;
  now(): number;
}

interface Renewal {
  readonly leases: readonly LeaseId[];
  readonly done: Done<readonly number[]>;
}

interface Question {
  readonly request: Request;
  readonly beganMs: number;
  readonly deadlineMs: number;
  /** Null once settled. */
  done: Done<Answer> | null;
}

export class Questions {
  readonly #self: NodeId;
  readonly #doors: QuestionsDoors;
  readonly #attemptMs: number;
  #role: Role = { state: 'follower', term: 0, leader: 0n };
  #waiting: Question[] = [];
  readonly #asked = new Set<Question>();
  #renewals: Renewal[] = [];
  /** Leases in them. */
  #renewing = 0;

  /** `attemptMs`: how long a question that may be repeated waits for one leader. */
  constructor(self: NodeId, attemptMs: number, doors: QuestionsDoors) {
    this.#self = self;
    this.#attemptMs = attemptMs;
    this.#doors = doors;
  }

  onRole(role: Role): void {
    this.#role = role;
    this.#askAll();
  }

  onTick(nowMs: number, leaderLostMs: number): void {
    const isOver = (question: Question): boolean => question.done === null || question.deadlineMs <= nowMs;
    for (const question of [...this.#waiting, ...this.#asked]) {
      if (isOver(question)) settle(question, tooLate(question, leaderLostMs));
    }
    this.#waiting = this.#waiting.filter((question) => question.done !== null);
    for (const question of this.#asked) if (question.done === null) this.#asked.delete(question);
    this.#askAll();
  }

  ask(request: Request, deadlineMs: number, done: Done<Answer>): void {
    if (this.#waiting.length + this.#asked.size >= questionsMax) return done(new ApiError('too_many_requests'));
    const question: Question = { request, beganMs: this.#doors.now(), deadlineMs, done };
    if (this.#role.leader === 0n) this.#waiting.push(question);
    else this.#ask(question);
  }

  /** Keep-alives; those of one turn are asked for together. */
  renew(leases: readonly LeaseId[], done: Done<readonly number[]>): void {
    if (leases.length > leasesPerCallMax || this.#renewing + leases.length > renewalsMax) {
      return done(new ApiError('too_many_requests'));
    }
    this.#renewals.push({ leases, done });
    this.#renewing += leases.length;
  }

  /** More of them than one turn should be held up by wait for the next. */
  get hasRenewals(): boolean {
    return this.#renewals.length > 0;
  }

  askRenewals(deadlineMs: number): void {
    if (this.#renewals.length === 0) return;
    let together: Renewal[] = [];
    let count = 0;
    for (const renewal of this.#takeRenewals(renewalsPerTurnMax)) {
      if (count + renewal.leases.length > leasesPerCallMax) {
        this.#askRenewals(together, deadlineMs);
        together = [];
        count = 0;
      }
      together.push(renewal);
      count += renewal.leases.length;
    }
    this.#askRenewals(together, deadlineMs);
  }

  /** Those that came first, of no more than so many leases. */
  #takeRenewals(leasesMax: number): readonly Renewal[] {
    let leases = 0;
    const end = this.#renewing <= leasesMax
      ? this.#renewals.length
      : this.#renewals.findIndex((renewal) => (leases += renewal.leases.length) > leasesMax);
    const taken = this.#renewals;
    this.#renewals = taken.splice(end);
    for (const renewal of taken) this.#renewing -= renewal.leases.length;
    return taken;
  }

  #askRenewals(renewals: readonly Renewal[], deadlineMs: number): void {
    this.ask({ kind: 'keep_alive', leases: renewals.flatMap(({ leases }) => leases) }, deadlineMs, (error, answer) => {
      let from = 0;
      for (const { leases, done } of renewals) {
        if (error !== null) {
          done(error);
          continue;
        }
        assert(answer?.kind === 'kept', 'a keep-alive is answered by what was kept');
        done(null, answer.ttlSeconds.slice(from, from + leases.length));
        from += leases.length;
      }
    });
  }

  /** Members have changed here: who waits for a change that shows already need not wait for the leader's word. */
  onMembers(hasHappened: (change: ChangeRequest) => boolean): void {
    for (const question of [...this.#waiting, ...this.#asked]) {
      const { request } = question;
      if (request.kind === 'change' && hasHappened(request.change)) settle(question, null, { kind: 'index', index: 0 });
    }
  }

  failAll(error: Error): void {
    for (const { done } of this.#takeRenewals(Infinity)) done(error);
    for (const question of [...this.#waiting, ...this.#asked]) settle(question, error);
    this.#waiting = [];
    this.#asked.clear();
  }

  #askAll(): void {
    if (this.#role.leader === 0n || this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const question of waiting) this.#ask(question);
  }

  #ask(question: Question): void {
    this.#asked.add(question);
    const { request } = question;
    if (this.#role.leader === this.#self) return this.#doors.answer(request, (answer) => this.#onAnswer(question, answer));
    const leftMs = Math.max(1, question.deadlineMs - this.#doors.now());
    // A change of members is asked for once: whether a lost call was carried out cannot be known.
    const once = request.kind === 'change';
    const timeoutMs = once ? leftMs : Math.min(leftMs, this.#attemptMs);
    this.#doors.call(this.#role.leader, encodeRequest(request), timeoutMs, (error, reply) => {
      const answer = error !== null || reply === undefined ? null : attempt(() => decodeAnswer(reply));
      if (answer !== null && !(answer instanceof Error)) return this.#onAnswer(question, answer);
      if (!once) return this.#onAnswer(question, { kind: 'again' });
      this.#asked.delete(question);
      settle(question, new ApiError('timeout_leader_lost'));
    });
  }

  #onAnswer(question: Question, answer: Answer): void {
    this.#asked.delete(question);
    if (question.done === null) return;
    if (answer.kind === 'again') this.#waiting.push(question);
    else if (answer.kind === 'error') settle(question, new ApiError(answer.code));
    else settle(question, null, answer);
  }
}

function tooLate(question: Question, leaderLostMs: number): ApiError {
  return new ApiError(question.beganMs <= leaderLostMs ? 'timeout_leader_lost' : 'timeout');
}

function settle(question: Question, error: Error | null, answer?: Answer): void {
  const done = question.done;
  if (done === null) return;
  question.done = null;
  if (error === null) done(null, answer);
  else done(error);
}

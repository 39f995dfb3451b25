// Changes of members, at the leader: judged (reconfigure.ts), given to the machine one at a time, answered when the entry is
// applied. Where the machine asks for patience (another change is under way, leadership is being handed over), the change
// waits and is judged again, because the members may not be the same by then.

import type { ErrorCode } from '../errors.js';
import type { EntryId, Input, MemberChange, RefusedReason, Role, Term, Token } from '../raft/types.js';
import type { Answer, ChangeRequest } from './calls.js';
import { changesMax } from './limits.js';

interface Change {
  readonly request: ChangeRequest;
  readonly deadlineMs: number;
  readonly reply: (answer: Answer) => void;
}

const AGAIN: Answer = { kind: 'again' };

export class Changes {
  readonly #nextToken: () => Token;
  readonly #judge: (request: ChangeRequest) => MemberChange | ErrorCode;
  #waiting: Change[] = [];
  #given: { readonly token: Token; readonly change: Change } | null = null;
  #slotted: { readonly id: EntryId; readonly change: Change } | null = null;
  #isPaused = false;

  constructor(nextToken: () => Token, judge: (request: ChangeRequest) => MemberChange | ErrorCode) {
    this.#nextToken = nextToken;
    this.#judge = judge;
  }

  /** Something waits to be given to the machine. */
  get hasReady(): boolean {
    return this.#waiting.length > 0 && this.#given === null && this.#slotted === null && !this.#isPaused;
  }

  add(request: ChangeRequest, deadlineMs: number, reply: (answer: Answer) => void): void {
    if (this.#waiting.length >= changesMax) return reply({ kind: 'error', code: 'too_many_requests' });
    this.#waiting.push({ request, deadlineMs, reply });
  }

  /** The next change for the machine, if one can be made. */
  takeInput(): Input | null {
    while (this.hasReady) {
      const change = this.#waiting.shift();
      if (change === undefined) return null;
      const verdict = this.#judge(change.request);
      if (typeof verdict === 'string') {
        change.reply({ kind: 'error', code: verdict });
        continue;
      }
      const token = this.#nextToken();
      this.#given = { token, change };
      return { kind: 'propose_members', token, change: verdict };
    }
    return null;
  }

  onAppended(token: Token, id: EntryId): boolean {
    if (this.#given?.token !== token) return false;
    this.#slotted = { id, change: this.#given.change };
    this.#given = null;
    return true;
  }

  onRefused(token: Token, reason: RefusedReason): boolean {
    if (this.#given?.token !== token) return false;
    const { change } = this.#given;
    this.#given = null;
    if (reason === 'change_pending' || reason === 'transferring') {
      this.#waiting.unshift(change);
      this.#isPaused = true;
    }
    else if (reason === 'change_invalid') change.reply({ kind: 'error', code: 'not_enough_started' });
    else if (reason === 'too_many') change.reply({ kind: 'error', code: 'too_many_requests' });
    else change.reply(AGAIN);
    return true;
  }

  onApplied(id: EntryId): void {
    if (this.#slotted === null || this.#slotted.id.index > id.index) return;
    const { change, id: slot } = this.#slotted;
    this.#slotted = null;
    if (slot.index === id.index && slot.term === id.term) change.reply({ kind: 'index', index: id.index });
    else change.reply({ kind: 'error', code: 'leader_changed' });
  }

  /** An entry of `term` is about to be applied: one of an earlier term cannot follow. */
  onTerm(term: Term): void {
    if (this.#slotted === null || this.#slotted.id.term >= term) return;
    this.#slotted.change.reply(AGAIN);
    this.#slotted = null;
  }

  onRestored(): void {
    this.#slotted?.change.reply({ kind: 'error', code: 'leader_changed' });
    this.#slotted = null;
  }

  onRole(role: Role): void {
    this.#isPaused = false;
    if (role.state === 'leader') return;
    for (const change of this.#waiting) change.reply(AGAIN);
    this.#waiting = [];
  }

  onTick(nowMs: number): void {
    this.#isPaused = false;
    const late = this.#waiting.filter((change) => change.deadlineMs <= nowMs);
    if (late.length === 0) return;
    this.#waiting = this.#waiting.filter((change) => change.deadlineMs > nowMs);
    for (const change of late) change.reply({ kind: 'error', code: 'timeout' });
  }
}

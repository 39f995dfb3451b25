// The leader's side of other members' writes and reads. An entry is known by who wrote it (member, process start) and its
// sequence; while this node leads in one term, each is decided once and remembered until its writer says that it will not
// ask again. So a call may be repeated, and nothing is appended twice.

import type { Index, Input, NodeId, RefusedReason, Role, Token } from '../raft/types.js';
import type { Answer, ItemOutcome, Request } from './calls.js';
import { readersMax, sessionsMax } from './limits.js';
import { sequenceUnder, tagMark } from './tag.js';

export type Reply = (answer: Answer) => void;

/** An entry given to the machine, until it says what became of it. */
interface Decision {
  outcome: ItemOutcome | null;
  /** The call that waits for it; null: none does. */
  call: Call | null;
  /** Others that ask for the same. */
  more: Call[] | null;
}

interface Call {
  readonly decisions: readonly Decision[];
  open: number;
  readonly reply: Reply;
}

interface Session {
  /** Every sequence below is over: never appended from now on. */
  oldest: number;
  /** What its tags begin with. */
  readonly mark: Uint8Array;
  readonly decided: Map<number, Decision>;
}

const AGAIN: Answer = { kind: 'again' };

/** Of an entry that its writer gave up. */
const LATE: Decision = { outcome: 'leader_changed', call: null, more: null };

export class Acceptor {
  readonly #nextToken: () => Token;
  #role: Role = { state: 'follower', term: 0, leader: 0n };
  /** By writer, then by its process start. Emptied with each term. */
  readonly #sessions = new Map<NodeId, Map<number, Session>>();
  readonly #given = new Map<Token, Decision>();
  readonly #reading = new Map<Token, readonly Reply[]>();
  #readers: Reply[] = [];
  #readersWaiting = 0;
  #inputs: Input[] = [];

  constructor(nextToken: () => Token) {
    this.#nextToken = nextToken;
  }

  onRole(role: Role): void {
    if (role.term !== this.#role.term || role.state !== 'leader') this.#sessions.clear();
    this.#role = role;
  }

  onPropose(from: NodeId, request: Extract<Request, { kind: 'propose' }>, reply: Reply): void {
    const { term, items } = request;
    if (this.#role.state !== 'leader' || this.#role.term !== term) return reply(AGAIN);
    const session = this.#sessionOf(from, request.session);
    if (session === null) return reply({ kind: 'error', code: 'too_many_requests' });
    this.#forget(session, request.oldest);
    const decisions: Decision[] = [];
    for (const data of items) {
      const sequence = sequenceUnder(session.mark, data);
      if (sequence === 0) return reply({ kind: 'error', code: 'invalid_request' });
      decisions.push(sequence < session.oldest ? LATE : this.#decide(session, sequence, data));
    }
    const call: Call = { decisions, open: 0, reply };
    for (const decision of decisions) {
      if (decision.outcome !== null) continue;
      if (decision.call === null) decision.call = call;
      else (decision.more ??= []).push(call);
      call.open += 1;
    }
    if (call.open === 0) finish(call);
  }

  onRead(reply: Reply): void {
    if (this.#role.state !== 'leader') return reply(AGAIN);
    if (this.#readersWaiting >= readersMax) return reply({ kind: 'error', code: 'too_many_requests' });
    this.#readersWaiting += 1;
    this.#readers.push(reply);
  }

  /** What the machine is to be given this turn. */
  takeInputs(): readonly Input[] {
    const inputs = this.#inputs;
    this.#inputs = [];
    if (this.#readers.length > 0) {
      const token = this.#nextToken();
      this.#reading.set(token, this.#readers);
      this.#readers = [];
      inputs.push({ kind: 'read', token });
    }
    return inputs;
  }

  onAppended(token: Token): boolean {
    return this.#onDecided(token, 'appended');
  }

  onRefused(token: Token, reason: RefusedReason): boolean {
    return this.#onDecided(token, reason) || this.#answerReaders(token, AGAIN);
  }

  onReadable(token: Token, index: Index): boolean {
    return this.#answerReaders(token, { kind: 'index', index });
  }

  #sessionOf(from: NodeId, name: number): Session | null {
    const sessions = this.#sessions.get(from) ?? new Map<number, Session>();
    this.#sessions.set(from, sessions);
    const known = sessions.get(name);
    if (known !== undefined) return known;
    if (sessions.size >= sessionsMax) return null;
    const session: Session = { oldest: 0, mark: tagMark(from, name), decided: new Map() };
    sessions.set(name, session);
    return session;
  }

  #forget(session: Session, oldest: number): void {
    if (oldest <= session.oldest) return;
    session.oldest = oldest;
    // In the order they came, which is that of the sequences but for those that were asked for again: one of these may stay
    // until what came before it is over, too.
    for (const sequence of session.decided.keys()) {
      if (sequence >= oldest) break;
      session.decided.delete(sequence);
    }
  }

  #decide(session: Session, sequence: number, data: Uint8Array): Decision {
    const known = session.decided.get(sequence);
    if (known !== undefined) return known;
    const decision: Decision = { outcome: null, call: null, more: null };
    session.decided.set(sequence, decision);
    const token = this.#nextToken();
    this.#given.set(token, decision);
    this.#inputs.push({ kind: 'propose', token, data });
    return decision;
  }

  #onDecided(token: Token, outcome: ItemOutcome): boolean {
    const decision = this.#given.get(token);
    if (decision === undefined) return false;
    this.#given.delete(token);
    decision.outcome = outcome;
    const { call, more } = decision;
    decision.call = null;
    decision.more = null;
    if (call !== null) settled(call);
    for (const each of more ?? []) settled(each);
    return true;
  }

  #answerReaders(token: Token, answer: Answer): boolean {
    const readers = this.#reading.get(token);
    if (readers === undefined) return false;
    this.#reading.delete(token);
    this.#readersWaiting -= readers.length;
    for (const reply of readers) reply(answer);
    return true;
  }
}

function settled(call: Call): void {
  call.open -= 1;
  if (call.open === 0) finish(call);
}

function finish(call: Call): void {
  call.reply({ kind: 'proposed', outcomes: call.decisions.map((decision) => decision.outcome ?? 'not_leader') });
}

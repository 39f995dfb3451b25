// One request, one answer. The asker never repeats a request; the network may, and a repeated one is executed once: each
// process numbers its requests, and the one asked remembers which it has seen, in a window. What is older than the window
// counts as seen: it is dropped and its asker's time runs out, which is safe, whereas executing it twice would not be.

import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { NodeId } from '../raft/types.js';
import type { Body, Frame } from './frame.js';
import { ANSWERS_MAX, CALL_SESSIONS_MAX, CALL_WINDOW, CALLS_MAX, GONE_SESSIONS_MAX } from './limits.js';

/** A call without an answer. 'unreachable': it was not sent. After 'timeout' and 'closed' it may have been executed. */
export class CallFailed extends Error {
  override readonly name = 'CallFailed';
  readonly reason: 'timeout' | 'unreachable' | 'closed';

  constructor(reason: 'timeout' | 'unreachable' | 'closed', to: NodeId) {
    super(`the call to member ${to.toString(16)} failed: ${reason}`);
    this.reason = reason;
  }
}

export interface CallDoors {
  readonly clock: Clock;
  /** This process's start. */
  readonly session: number;
  send(to: NodeId, body: Body): boolean;
  onCall(from: NodeId, request: Uint8Array, answer: (reply: Uint8Array) => void): void;
}

interface Waiting {
  readonly to: NodeId;
  readonly done: Done<Uint8Array>;
  readonly cancel: () => void;
}

export class CallLane {
  readonly #doors: CallDoors;
  readonly #waiting = new Map<number, Waiting>();
  /** Null: of a process that is long gone; nothing is executed for it any more. */
  readonly #sessions = new Map<NodeId, Map<number, SeenCalls | null>>();
  readonly #answering = new Map<NodeId, number>();
  #calls = 0;
  #isClosed = false;

  constructor(doors: CallDoors) {
    this.#doors = doors;
  }

  call(to: NodeId, request: Uint8Array, timeoutMs: number, done: Done<Uint8Array>): void {
    const { clock } = this.#doors;
    if (this.#isClosed) return this.#fail('closed', to, done);
    const call = ++this.#calls;
    if (this.#waiting.size >= CALLS_MAX || !this.#doors.send(to, { kind: 'request', call, payload: request })) {
      return this.#fail('unreachable', to, done);
    }
    const cancel = clock.schedule(timeoutMs, () => {
      this.#waiting.delete(call);
      done(new CallFailed('timeout', to));
    });
    this.#waiting.set(call, { to, done, cancel });
  }

  #fail(reason: CallFailed['reason'], to: NodeId, done: Done<Uint8Array>): void {
    this.#doors.clock.schedule(0, () => done(new CallFailed(reason, to)));
  }

  /** False: more than this member takes. */
  onRequest(frame: Frame, call: number, payload: Uint8Array): boolean {
    const { from, session } = frame;
    if (this.#isClosed) return true;
    const answering = this.#answering.get(from) ?? 0;
    if (answering >= ANSWERS_MAX) return false;
    if (this.#seen(from, session)?.take(call) !== true) return true;
    this.#answering.set(from, answering + 1);
    let isAnswered = false;
    this.#doors.onCall(from, payload, (reply) => {
      assert(!isAnswered, `call ${call} of member ${from} was answered before`);
      isAnswered = true;
      this.#release(from);
      if (!this.#isClosed) this.#doors.send(from, { kind: 'reply', session, call, payload: reply });
    });
    return true;
  }

  #release(from: NodeId): void {
    const left = (this.#answering.get(from) ?? 0) - 1;
    if (left > 0) this.#answering.set(from, left);
    else this.#answering.delete(from);
  }

  onReply(from: NodeId, session: number, call: number, payload: Uint8Array): void {
    const waiting = this.#waiting.get(call);
    // Late, repeated, or meant for an earlier life of this process.
    if (session !== this.#doors.session || waiting === undefined || waiting.to !== from) return;
    this.#waiting.delete(call);
    waiting.cancel();
    waiting.done(null, payload);
  }

  #seen(from: NodeId, session: number): SeenCalls | null {
    const sessions = this.#sessions.get(from) ?? new Map<number, SeenCalls | null>();
    this.#sessions.set(from, sessions);
    const known = sessions.get(session);
    if (known === null) return null;
    const seen = known ?? new SeenCalls();
    // The least recently used one stands first, behind those that are gone.
    sessions.delete(session);
    sessions.set(session, seen);
    if (known === undefined) bound(sessions);
    return seen;
  }

  /** Members that are none any more never come back under their id. */
  forget(isMember: (id: NodeId) => boolean): void {
    for (const id of this.#sessions.keys()) if (!isMember(id)) this.#sessions.delete(id);
  }

  close(): void {
    this.#isClosed = true;
    for (const { to, done, cancel } of this.#waiting.values()) {
      cancel();
      this.#fail('closed', to, done);
    }
    this.#waiting.clear();
  }
}

function bound(sessions: Map<number, SeenCalls | null>): void {
  const live = [...sessions].filter(([, seen]) => seen !== null);
  const [oldest] = live;
  if (live.length > CALL_SESSIONS_MAX && oldest !== undefined) sessions.set(oldest[0], null);
  const [longestGone] = sessions.keys();
  if (sessions.size > GONE_SESSIONS_MAX && longestGone !== undefined) sessions.delete(longestGone);
}

/** Which calls of one process were seen, in a window behind the newest: a ring of flags. */
class SeenCalls {
  readonly #flags = new Uint8Array(CALL_WINDOW);
  #newest = 0;

  /** False: seen before, or too old to tell. */
  take(call: number): boolean {
    if (call <= this.#newest - CALL_WINDOW) return false;
    if (call > this.#newest) {
      const from = Math.max(this.#newest + 1, call - CALL_WINDOW + 1);
      for (let each = from; each <= call; each++) this.#flags[each % CALL_WINDOW] = 0;
      this.#newest = call;
    }
    const slot = call % CALL_WINDOW;
    if (this.#flags[slot] === 1) return false;
    this.#flags[slot] = 1;
    return true;
  }
}

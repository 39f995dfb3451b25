// A transaction that is done exactly once or not at all, and of which that is known in the end, for as long as the session
// lives. What a plain transaction leaves open when its answer is lost, a receipt beside it settles:
//
//   commit   the receipt has the version we know, and the caller's compares hold: put the receipt ('done'), and do it
//   settle   after an unknown outcome: the receipt has the version we know: put it ('void'). Then nothing was done, nor can
//            it be any more, however late the request arrives. Else it says 'done': it was
//
// Keys: coterie/receipts/<lease hex><mark>   on the session's lease; one for each such call of the session under way
//
// Not here: knowledge that outlives the session. Who needs that writes a mark of its own in the same transaction.

import { text, utf8 } from '../core/base/bytes.js';
import type { OpResponse, Revision, TxnRequest } from '../core/client.js';
import { opPut, opRange, versionIs } from '../core/client.js';
import { ApiError, isApiError } from '../core/errors.js';
import { asError } from './deletion.js';
import { orStopped } from './entry.js';
import { found } from './coordination-names.js';
import type { Mark } from './marks.js';
import type { Session } from './session.js';
import { Task } from './task.js';

const LINE = 'coterie/receipts/';
const CALL_MS = 5_000;

/** What became of it. After a lost answer, `responses` and `revision` of what was done are not known: null. */
export interface Committed {
  readonly succeeded: boolean;
  readonly revision: Revision | null;
  readonly responses: readonly OpResponse[] | null;
}

export class Receipt {
  readonly #session: Session;
  readonly #mark: Mark;
  readonly #key: Uint8Array;
  /** A commit was sent whose outcome is not known. Invariant: it compares `#mark.epoch`. */
  #loose = false;

  /** Whoever makes one calls `end`. */
  constructor(session: Session) {
    this.#session = session;
    this.#mark = session.marks.take(LINE);
    this.#key = utf8(`${LINE}${session.lease.toString(16)}${this.#mark.text}`);
  }

  /**
   * As `txn`, once. Rejects with the reason of the task's end; if that leaves it open whether it was done, with an
   * `ApiError` whose outcome is 'unknown'. Then it is settled in the background; the caller need not wait for that.
   */
  async commit(task: Task, request: TxnRequest): Promise<Committed> {
    for (;;) {
      task.assertWanted();
      try {
        this.#loose = true;
        const answer = await orStopped(this.#send(request), task.stop);
        this.#loose = false;
        const { revision } = answer.header;
        if (answer.succeeded) {
          this.#mark.epoch += 1;
          return { succeeded: true, revision, responses: answer.responses.slice(1) };
        }
        const version = found(answer.responses, 0)[0]?.version ?? 0;
        if (version === this.#mark.epoch) return { succeeded: false, revision, responses: answer.responses.slice(1) };
        // Deleted by hand: it counts from the start again.
        this.#mark.epoch = version;
      } catch (error) {
        if (isApiError(error) && error.outcome === 'never') this.#loose = false;
        // Not the session's: the caller's own, who knows what to do about it.
        if (isApiError(error, 'lease_not_found') && this.#usesOther(request)) throw error;
        if (!this.#loose) await task.failed(error);
        else if (await this.#isDone(task, error)) return { succeeded: true, revision: null, responses: null };
      }
    }
  }

  end(): void {
    if (this.#loose) void this.#endLater();
    else this.#session.marks.give(LINE, this.#mark);
  }

  async #isDone(task: Task, error: unknown): Promise<boolean> {
    try {
      await task.failed(error);
      return await this.#settle(task);
    } catch (reason) {
      // Whatever ended it: what matters to the caller is that it may have been done.
      if (isApiError(reason) && reason.outcome === 'unknown') throw reason;
      throw new ApiError('connection_lost', { detail: `${task.what}: it may have been done`, cause: reason });
    }
  }

  /** Whether the loose commit was done; afterwards it cannot be. */
  async #settle(task: Task): Promise<boolean> {
    const { epoch } = this.#mark;
    const answer = await task.persist(() => this.#session.client.txn({
      compare: [versionIs(this.#key, '=', epoch)],
      success: [opPut(this.#key, utf8('void'), { lease: this.#session.lease })],
      failure: [opRange(this.#key)],
    }, { timeoutMs: CALL_MS }));
    this.#loose = false;
    if (answer.succeeded) {
      this.#mark.epoch = epoch + 1;
      return false;
    }
    const [kv] = found(answer.responses, 0);
    this.#mark.epoch = kv?.version ?? 0;
    if (kv?.version !== epoch + 1) {
      throw new ApiError('connection_lost', { detail: `${task.what}: it may have been done, but its receipt was deleted` });
    }
    return text(kv.value) === 'done';
  }

  async #endLater(): Promise<void> {
    const { client, clock } = this.#session;
    const task = new Task({ client, clock, session: this.#session }, 'settling what became of a transaction');
    try {
      await this.#settle(task);
    } catch (error) {
      // With the session's end the receipt goes, and with it the mark's meaning; else nobody must use the mark again.
      task.observe({ kind: 'removal_unconfirmed', error: asError(error) });
      if (this.#loose) return;
    } finally {
      task.end();
    }
    this.#session.marks.give(LINE, this.#mark);
  }

  #usesOther({ success = [] }: TxnRequest): boolean {
    return success.some(({ kind, request }) => {
      return kind === 'put' && 'lease' in request && request.lease !== 0n && request.lease !== this.#session.lease;
    });
  }

  #send(request: TxnRequest): ReturnType<Session['client']['txn']> {
    const { client, lease } = this.#session;
    return client.txn({
      compare: [versionIs(this.#key, '=', this.#mark.epoch), ...(request.compare ?? [])],
      success: [opPut(this.#key, utf8('done'), { lease }), ...(request.success ?? [])],
      failure: [opRange(this.#key), ...(request.failure ?? [])],
    }, { timeoutMs: CALL_MS });
  }
}

/** Does `work` with a receipt, whatever becomes of it. */
export async function withReceipt<T>(session: Session, work: (receipt: Receipt) => Promise<T>): Promise<T> {
  const receipt = new Receipt(session);
  try {
    return await work(receipt);
  } finally {
    receipt.end();
  }
}

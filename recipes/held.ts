// Whatever is held: a lock, a leadership, a permit, a job. One shape, so that whoever has learned one has learned all.
//
// A thing is held by an entry of ours in the store. Its create revision is the fence: it grows with every holder of a
// name for ever, whatever is released, lost, restarted or compacted in between, so a resource that remembers the highest
// fence it has seen can refuse whoever came before. Ownership ends once, for one of three reasons, and never comes back.
//
// What no holder can promise: that nobody else acts on a thing outside the store at the same time. A process can stand
// still between a look at `isHeld` and the act. Effects inside the store go through `txn()`; effects outside it carry the
// fence.

import type { Revision } from '../core/client.js';
import type { ErrorCode } from '../core/errors.js';
import { ApiError } from '../core/errors.js';
import type { FencedTxn } from './fenced-txn.js';

export interface Held extends AsyncDisposable {
  readonly name: string;
  /** Our entry. It stands on the session's lease. */
  readonly key: Uint8Array;
  /** The create revision of the entry: strictly increasing from one holder of the name to the next. */
  readonly fence: Revision;
  /** Computed now: also the first statement after a stalled event loop sees the truth. */
  readonly isHeld: boolean;
  /** Milliseconds until the session's deadline; 0 once it is over. */
  readonly remaining: number;
  /** Aborts once, with a `SessionLost`, `EntryLost` or `Released` as its reason, before anybody else can be told. */
  readonly signal: AbortSignal;
  /** Throws the reason it is over; `SessionLost` too when less than `minRemainingMs` are left. */
  assertHeld(minRemainingMs?: number): void;
  /** A transaction that only a holder can commit. */
  txn(): FencedTxn;
  /**
   * Idempotent. `signal` aborts at once; it resolves when the store has removed our entry, or when the session is lost,
   * since the entry then goes with the lease. If the store cannot be reached it rejects with `EntryMayRemain` and goes on
   * trying for as long as the session lives; calling again waits again.
   */
  release(): Promise<void>;
}

/** Our entry was deleted by somebody else while our session lived: an operator, or a tool that cleans up. */
export class EntryLost extends Error {
  override readonly name = 'EntryLost';
  readonly code = 'entry_lost';

  constructor(what: string) {
    super(`${what} is not held any more: somebody deleted our entry, or revoked our lease; acquire it anew`);
  }
}

/** The holder gave it back. */
export class Released extends Error {
  override readonly name = 'Released';
  readonly code = 'released';

  constructor(what: string) {
    super(`${what} is not held any more: it was released`);
  }
}

/**
 * A wait or a release ended before the store could confirm that our entry is gone. It is being removed in the background
 * for as long as the session lives, and cannot outlive the session's lease. `code` is that of the wait's end.
 */
export class EntryMayRemain extends ApiError {
  readonly entryMayRemain = true;

  constructor(code: ErrorCode, what: string, cause: unknown) {
    super(code, { detail: `${what}; our entry may remain until the store can be reached or the session ends`, cause });
  }
}

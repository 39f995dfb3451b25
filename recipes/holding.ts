// What is held by standing first in a line: the one implementation of `Held` for locks, leaderships and permits.
//
// It ends once: with the session, with our entry (deleted by somebody, seen by a watch), or by release; whichever is first
// is the reason for good. Entries are not looked after here: removing one, for certain, is entry.ts's work.
//
// Keys: coterie/wanted/<entry>   somebody asks the holder to give it back; on the holder's own lease

import { text, utf8 } from '../core/base/bytes.js';
import type { Client, Compare, KeyValue, Revision, WatchRequest } from '../core/client.js';
import { created, opRange } from '../core/client.js';
import { isApiError } from '../core/errors.js';
import type { Range } from './deletion.js';
import { asError, deletion } from './deletion.js';
import type { Entry, Look } from './entry.js';
import { orStopped } from './entry.js';
import type { Ownership } from './fenced-txn.js';
import { FencedTxn } from './fenced-txn.js';
import type { Held } from './held.js';
import { EntryLost, EntryMayRemain, Released } from './held.js';
import { Backoff, chance, pause, within } from './pause.js';
import type { Session } from './session.js';
import { SessionLost } from './session.js';

const WANTED = 'coterie/wanted/';
/** What is held for less needs no watch. Nothing is missed: it starts at the revision of the acquisition. */
const WATCH_AFTER_MS = 20;
const RETRY_MS = 100;
const RETRY_MS_MAX = 2_000;

/** Somebody asks for what we hold. Nothing ends by it: whether to give it back is the holder's choice. */
export class ReleaseWanted extends Error {
  override readonly name = 'ReleaseWanted';
  readonly code = 'release_wanted';
  /** As given by whoever asks. */
  readonly why: string;

  constructor(what: string, why: string) {
    super(`somebody asks for the release of ${what}: ${why}`);
    this.why = why;
  }
}

export interface HoldingOptions {
  readonly name: string;
  readonly what: string;
  readonly line: Range;
  /** Further compares that hold exactly while it is ours. */
  readonly also: readonly Compare[];
  /** What else must not be deleted. */
  readonly watch: readonly Range[];
  readonly leaveMs: number;
  readonly observe: (event: LossEvent) => void;
}

type LossEvent =
  | { readonly kind: 'attempt_failed' | 'lost' | 'release_unconfirmed'; readonly error: Error };

export class Holding implements Held {
  readonly name: string;
  readonly key: Uint8Array;
  readonly fence: Revision;
  readonly session: Session;
  readonly #entry: Entry;
  readonly #options: HoldingOptions;
  readonly #over = new AbortController();
  #forget: () => void = () => undefined;
  #reason: Error | null = null;
  #removal: Promise<void> | null = null;
  #wanted: AbortController | null = null;

  /** `look`: the one that said that it is ours. */
  constructor(entry: Entry, look: Look, options: HoldingOptions) {
    this.name = options.name;
    this.key = look.own.key;
    this.fence = look.own.fence;
    this.session = entry.session;
    this.#entry = entry;
    this.#options = options;
    this.#forget = this.session.onLost((reason) => this.#end(reason));
    void this.#follow(look.revision);
  }

  get isHeld(): boolean {
    return this.#ended() === null;
  }

  get remaining(): number {
    return this.#ended() === null ? this.session.remaining : 0;
  }

  get signal(): AbortSignal {
    this.#ended();
    return this.#over.signal;
  }

  /**
   * Aborts, with a `ReleaseWanted`, once somebody has asked for it; never for a request that was meant for an earlier
   * holder. The asking is watched for from the first look at this.
   */
  get wanted(): AbortSignal {
    if (this.#wanted === null) {
      this.#wanted = new AbortController();
      void this.#listen(this.#wanted);
    }
    return this.#wanted.signal;
  }

  assertHeld(minRemainingMs = 0): void {
    const reason = this.#ended();
    if (reason !== null) throw reason;
    this.session.assertLive(minRemainingMs);
  }

  txn(): FencedTxn {
    return new FencedTxn(this.ownership());
  }

  /** For a transaction that compares several things held. */
  ownership(): Ownership {
    const { key, fence, session } = this;
    const { also, line, what } = this.#options;
    return { name: what, client: session.client, key, fence, also, line, ended: () => this.#ended() };
  }

  async release(): Promise<void> {
    this.#end(new Released(this.#options.what));
    if (!this.session.live) return;
    const what = `releasing ${this.#options.what}`;
    try {
      await within(this.#remove(), this.session.clock, { timeoutMs: this.#options.leaveMs, what });
    } catch (error) {
      throw new EntryMayRemain(isApiError(error) ? error.code : 'internal', what, error);
    }
  }

  /** A scope that ends must not hide what it ended with: what could not be confirmed is observed instead. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.release();
    } catch (error) {
      this.#options.observe({ kind: 'release_unconfirmed', error: asError(error) });
    }
  }

  /** Why it is over; null while it is not. The session is asked, so a stall shows before any timer has run. */
  #ended(): Error | null {
    // Having been asked, a session past its deadline tells everybody.
    if (this.#reason === null && !this.session.live) this.#end(asError(this.session.signal.reason));
    return this.#reason;
  }

  #end(reason: Error): void {
    // A session that was lost first is the reason, even if nobody has looked since: asking makes it tell.
    if (this.#reason !== null || (!(reason instanceof SessionLost) && this.#ended() !== null)) return;
    this.#reason = reason;
    this.#forget();
    this.#over.abort(reason);
    if (!(reason instanceof Released)) this.#options.observe({ kind: 'lost', error: reason });
  }

  #remove(): Promise<void> {
    if (this.#removal === null) {
      this.#removal = this.#entry.remove();
      // Also reported to whoever waits for it; here for when nobody does any more.
      this.#removal.catch((error: unknown) => this.#options.observe({ kind: 'release_unconfirmed', error: asError(error) }));
    }
    return this.#removal;
  }

  /** Until it is over: watches our entry, and looks again whenever a watch fails. */
  async #follow(from: Revision): Promise<void> {
    const { client, clock } = this.session;
    const over = this.#over.signal;
    const backoff = this.#newBackoff();
    const ranges = [{ key: this.key }, ...this.#options.watch];
    let revision = from;
    await pause(clock, WATCH_AFTER_MS, over);
    try {
      while (!over.aborted) {
        const { error } = await deletion(client, ranges, revision, over);
        if (error === null) {
          this.#lose();
          return;
        }
        this.#options.observe({ kind: 'attempt_failed', error });
        await pause(clock, backoff.next(), over);
        const answer = await this.#stillOurs(over, backoff);
        if (answer === null) {
          this.#lose();
          return;
        }
        revision = answer;
      }
    } catch (error) {
      // `over` ends every wait in here; anything else that cannot be tried again leaves the session's deadline to decide.
      if (!over.aborted) this.#options.observe({ kind: 'attempt_failed', error: asError(error) });
    }
  }

  /** The revision at which it was; null when it is not. */
  async #stillOurs(over: AbortSignal, backoff: Backoff): Promise<Revision | null> {
    const { client, clock } = this.session;
    for (;;) {
      try {
        const request = { compare: [created(this.key, '=', this.fence), ...this.#options.also] };
        const answer = await orStopped(client.txn(request, { signal: over }), over);
        return answer.succeeded ? answer.header.revision : null;
      } catch (error) {
        if (over.aborted || isApiError(error, 'closed')) throw error;
        this.#options.observe({ kind: 'attempt_failed', error: asError(error) });
        await pause(clock, backoff.next(), over);
      }
    }
  }

  /** Something of ours was deleted; what is left of it goes too, also an entry that somebody has only moved. */
  #lose(): void {
    this.#end(new EntryLost(this.#options.what));
    // Perhaps it was the lease that went.
    this.session.suspect();
    void this.#remove();
  }

  async #listen(wanted: AbortController): Promise<void> {
    const { client, clock } = this.session;
    const over = this.#over.signal;
    const key = wantedKey(this.key);
    const backoff = this.#newBackoff();
    const onKey = (kv: KeyValue | undefined): boolean => {
      const why = kv === undefined ? null : readWanted(kv, this.fence);
      if (why !== null) wanted.abort(new ReleaseWanted(this.#options.what, why));
      return why !== null;
    };
    while (!over.aborted) {
      try {
        const answer = await orStopped(client.txn({ success: [opRange(key)] }, { signal: over }), over);
        const [now] = answer.responses;
        if (now?.kind === 'range' && onKey(now.response.kvs[0])) return;
        if (await seen(client, { key, startRevision: answer.header.revision + 1, exclude: ['delete'] }, onKey, over)) return;
      } catch (error) {
        if (over.aborted) return;
        this.#options.observe({ kind: 'attempt_failed', error: asError(error) });
        if (isApiError(error, 'closed')) return;
      }
      await pause(clock, backoff.next(), over);
    }
  }

  #newBackoff(): Backoff {
    const prng = chance(this.session.clock, this.session.lease, String(this.fence));
    return new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng });
  }
}

/** True when `onKey` said so; false when the watch ended by itself. */
async function seen(
  client: Client,
  request: WatchRequest,
  onKey: (kv: KeyValue) => boolean,
  over: AbortSignal,
): Promise<boolean> {
  const watch = client.watch(request);
  const read = async (): Promise<boolean> => {
    for await (const { events } of watch) {
      if (events.some(({ kv }) => onKey(kv))) return true;
    }
    return false;
  };
  try {
    return await orStopped(read(), over);
  } finally {
    watch.close();
  }
}

/** Where to ask the owner of an entry for its release. */
export function wantedKey(entry: Uint8Array): Uint8Array {
  return utf8(`${WANTED}${text(entry)}`);
}

export function writeWanted(fence: Revision, why: string): Uint8Array {
  return utf8(JSON.stringify({ fence, why }));
}

/** Null: not readable, or meant for another holder. */
function readWanted(kv: KeyValue, fence: Revision): string | null {
  try {
    const asked: unknown = JSON.parse(text(kv.value));
    if (typeof asked !== 'object' || asked === null || !('fence' in asked) || !('why' in asked)) return null;
    return asked.fence === fence && typeof asked.why === 'string' ? asked.why : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

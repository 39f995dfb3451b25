// Every bound of the store's room, in one place. What a client can reach (ops in a transaction, bytes of a request, bytes
// held for a slow watcher) is configuration and arrives as an argument; these are the ones nobody needs to turn.

/** Levels of transactions inside transactions. The op budget (contract 4.6) is the real limit; this one keeps the stack safe. */
export const TXN_DEPTH_MAX = 1000;

/** More than all of a put that is neither key, value nor the name of whoever asks. */
export const PUT_OVERHEAD_BYTES = 128;

/** Arena chunks are at least and at most this long; in between as long as what is in use, so that a small store stays small. */
export const ARENA_CHUNK_MIN_BYTES = 64 * 1024;
export const ARENA_CHUNK_MAX_BYTES = 4 * 1024 * 1024;

/** Rows looked at by the removal of compacted history with each applied entry, while there is any left to remove. */
export const SWEEP_ROWS_PER_APPLY = 64;

/** A piece of a snapshot is closed once it holds this much. */
export const SNAPSHOT_CHUNK_BYTES = 512 * 1024;

/** Keys or rows after which the making of a snapshot pauses, whatever came of them: about ten milliseconds of work. */
export const SNAPSHOT_STEPS = 8 * 1024;

/** Rows a watcher that is behind reads past without a match before it looks up where its next match is. */
export const HISTORY_SCAN_ROWS = 16 * 1024;

/** Rows looked at for it in one go, with those to find out where the next match is: some milliseconds of work. */
export const HISTORY_ROWS_MAX = 2 * HISTORY_SCAN_ROWS;

/** Alarms that stand at once: each member raises one of a kind, but anybody may raise one for a member that is none. */
export const ALARMS_MAX = 1000;

/** Tokens that stand at once, of all users and of one; beyond that the oldest goes: its owner logs in anew. */
export const TOKENS_MAX = 50_000;
export const TOKENS_PER_USER_MAX = 10_000;

/** Keys of a lease that ends, beyond which their events are made only for somebody who looks at them. */
export const EVENTS_MADE_MAX = 4096;

/** Keys whose look-ups are foreseen together; fewer, or any of a store with so few keys, are as quick without (foresight.ts). */
export const FORESEEN_KEYS_MAX = 1024;
export const FORESEEN_KEYS_MIN = 2;
export const FORESIGHT_STORE_KEYS_MIN = 4096;

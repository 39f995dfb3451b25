// The log's limits and the sizes it works in, all in one place.

/** A segment that has reached this size is closed and the next one begun; compaction frees whole segments. */
export const SEGMENT_BYTES = 64 << 20;

/**
 * The segment is made so much longer at a time than it must be. A sync of bytes within a file that was written before is one
 * write of the disk; one that moves the end of the file also waits for the file system's journal.
 */
export const RESERVE_BYTES = 1 << 20;

/** Batches that arrive during a sync share the next one up to this many bytes; what is beyond waits for the one after. */
export const GROUP_BYTES = 8 << 20;

/** A group larger than this is refused when read back: only a damaged length can say so. */
export const GROUP_BYTES_MAX = 1 << 30;

/** A group's buffer that has grown beyond this is not kept for the next one: it holds a full group, and what doubling adds. */
export const BUFFER_KEPT_BYTES = 2 * GROUP_BYTES + (64 << 10);

/** After so many groups in a row that a buffer of this share would have held, a small one takes its place. */
export const BUFFER_SHARE = 1 / 16;
export const BUFFER_PATIENCE = 256;

/** Segments are read in pieces of this size. */
export const READ_BYTES = 2 << 20;

/** Snapshots in larger ones, of which two are in memory: a chunk that is cut by the end of one is read twice. */
export const SNAPSHOT_READ_BYTES = 4 << 20;

/** A snapshot is written in pieces of about this size; between two of them the log goes on. */
export const SNAPSHOT_PIECE_BYTES = 1 << 20;
/** A chunk of this length is written from where it is: a write of its own costs less than a copy. */
export const SNAPSHOT_OWN_BYTES = 128 << 10;

/** So much of a snapshot may wait in the system's cache before it is synced: one huge sync would hold up the log's. */
export const SNAPSHOT_UNSYNCED_BYTES = 16 << 20;

/** A chunk of a snapshot larger than this is refused when read back. */
export const CHUNK_BYTES_MAX = 1 << 30;

/** Idle for so long, the log writes down that its last group was synced. */
export const PROOF_DELAY_MS = 50;

/** The unit a disk writes at once. */
export const SECTOR_BYTES = 512;

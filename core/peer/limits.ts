// Every bound of the room, in one place. Reaching one drops a frame, a connection or a transfer, and is counted; nothing
// waits and nothing grows.

import type { Lane } from './transport.js';

/** Terms, indexes and read rounds beyond this are nonsense: at one in a microsecond it is reached after nine years. */
export const COUNTER_MAX = 2 ** 48;
/**
 * A term so far beyond the newest one heard or said is no election's doing: its frame is dropped. Generous, because who was
 * cut off for long must believe the others when it comes back; small, because a term that was believed once never goes down.
 */
export const TERM_JUMP_MAX = 2 ** 32;
/** One frame; what says that it is longer is refused before a byte of it is kept. */
export const FRAME_BYTES_MAX = 64 << 20;
/**
 * Messages for one destination are gathered into a frame up to this size; one larger message still goes alone. Frames are
 * not split, for half a message says nothing to the machine: a link must carry one such frame in less than an election
 * time-out, or a follower that is kept busy takes its leader for lost.
 */
export const FRAME_BYTES_TARGET = 1 << 20;
/** A record of this size, which comes in pieces, is put together in memory set aside for it when its head is there. */
export const ROOM_BYTES_MIN = 4096;
export const ROOM_BYTES_MAX = FRAME_BYTES_TARGET + 4096;
/** One of this size, which carries one large entry as a rule, has memory of its own: log and store keep the value there. */
export const OWN_BYTES_MIN = 32 << 10;
/** Entries of this size have their own piece of a frame, which all who get them share. */
export const SHARED_BYTES_MIN = 4096;
/** The body of a record is copied behind its head up to this size. */
export const COPIED_BYTES_MAX = 4096;
/** Messages in one frame, and entries in one message. */
export const MESSAGES_MAX = 4096;
export const ENTRIES_MAX = 1 << 20;
/** Members in one configuration, learners and outgoing ones included. */
export const CONFIGURATION_MAX = 1024;

/** Calls on their way to all members; one more fails at once. */
export const CALLS_MAX = 16_384;
/** Answers that callers of one member wait for; a request beyond is dropped and its asker's time runs out. */
export const ANSWERS_MAX = 4096;
/** How far behind the newest request of a process another one may arrive and still be told from a repeated one. */
export const CALL_WINDOW = 8192;
/** Process starts of one member whose requests are remembered, and those of which only that they are long gone. */
export const CALL_SESSIONS_MAX = 8;
export const GONE_SESSIONS_MAX = 1024;

/** A piece of a snapshot, and how many may be on their way. A slow link begins with one and earns the others. */
export const PIECE_BYTES = 64 << 10;
export const PIECE_BYTES_MAX = 1 << 20;
export const WINDOW_PIECES = 8;
/**
 * So many snapshots are begun at once, so that members that all come back do not all get one at once; the others wait. One
 * whose receiver has other work does not count.
 */
export const SENDERS_MAX = 2;
/** No word from the receiver for so long: ask where it stands. */
export const SNAPSHOT_ASK_MS = 1000;
/** No word from the other side for so long: the transfer is given up. */
export const SNAPSHOT_SILENCE_MS = 15_000;
/** A full lane is tried again after this. */
export const SNAPSHOT_RETRY_MS = 20;
/** A snapshot file larger than this is refused. */
export const SNAPSHOT_BYTES_MAX = 2 ** 40;

/** A member that must not take part is told so at most this often. */
export const NOTICE_MS = 1000;
/** What was dropped is reported at most this often for each member and reason. */
export const REPORT_MS = 10_000;
/** Members and strangers whose drops are counted apart; the others are counted together. */
export const REPORTED_MAX = 256;

/** What one lane to one member may hold. A full lane drops; one frame larger than the bytes still goes into an empty lane. */
export const LANES: Readonly<Record<Lane, { readonly bytesMax: number; readonly framesMax: number }>> = Object.freeze({
  raft: { bytesMax: 32 << 20, framesMax: 4096 },
  call: { bytesMax: 32 << 20, framesMax: 4096 },
  snapshot: { bytesMax: 4 << 20, framesMax: 64 },
});

/** Bytes handed to a socket before the lanes wait for it: a heartbeat stands behind no more than this. */
export const SOCKET_BYTES_MAX = 256 << 10;
/** From the first byte of a connection to the end of its hello, certificates included. */
export const HANDSHAKE_MS = 5000;
/** Who was given a last word hangs up within this, or is cut off. */
export const LINGER_MS = 1000;
/** An idle connection says so about this often, and one that was silent for this long is dead. */
export const HEARTBEAT_MS = 500;
export const SILENCE_MS = 3000;
/** Between two attempts to connect: drawn from the upper half of a span that doubles from the first to the last. */
export const BACKOFF_MIN_MS = 50;
export const BACKOFF_MAX_MS = 2000;
/** Connections that others may hold to us, and those among them that have not said who they are. */
export const INBOUND_MAX = 512;
export const STRANGERS_MAX = 128;
/** Names of a certificate that are looked up, to see whether it is shown from where it may be. */
export const NAMES_MAX = 16;
/** Bytes of a hello, of the reason why somebody is refused, and of a description of the cluster for somebody who joins. */
export const HELLO_BYTES_MAX = 1024;
export const REASON_BYTES_MAX = 500;
export const DESCRIPTION_BYTES_MAX = 1 << 20;

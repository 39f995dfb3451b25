// The bounds of one HTTP/2 connection. Those that matter to every transport are in ../limits.ts.

/** Of header fields, as section 6.5.2 of RFC 9113 weighs them; told to the other side. */
export const HEADER_LIST_BYTES_MAX = 16 * 1024;
export const HEADER_FIELDS_MAX = 128;
/** A block may be that much larger than the list: it is coded, and worth reading to the end to keep the table right. */
export const HEADER_BLOCK_BYTES_MAX = 64 * 1024;
/** Header fields of more bytes are counted as long as their stream is open. */
export const HEADER_COUNTED_BYTES = 1024;
/** HPACK's table of what was sent before; what both sides begin with. */
export const HEADER_TABLE_BYTES = 4096;
/** Streams of one connection open at once, whatever was asked for: a thousand who wait for locks must not keep out the holder. */
export const STREAMS_MAX = 100_000;
/** Calls open at once on all connections of a server. */
export const CALLS_MAX = 500_000;
/** Of these, what is no gRPC: such a request costs as much as a connection of HTTP/1. On one connection, and on all. */
export const PLAIN_STREAMS_MAX = 1000;
export const PLAIN_TOTAL_MAX = 10_000;
/** Streams beyond those agreed on, from a caller who may not have heard of the agreement yet: so many in all are no flood. */
export const REFUSED_UNHEARD_MAX = 10_000;
/** What a caller may send on one stream, and on all of a connection, before it hears that it was taken. */
export const STREAM_WINDOW_BYTES = 256 * 1024;
export const CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024;
/** Of messages that are not whole, or not yet handled, and of large header fields, one connection may hold so much. */
export const UNREAD_BYTES_MAX = 64 * 1024 * 1024;
/** The same on all connections of a server, counted in steps; beyond, whoever holds the most is cut off. */
export const UNREAD_TOTAL_BYTES_MAX = 512 * 1024 * 1024;
export const UNREAD_STEP_BITS = 16;
/** Bytes given to the socket and not taken by it, beyond which answers wait and nothing is read. */
export const SOCKET_BYTES_MAX = 1024 * 1024;
/** Of all connections that is so much: where there are very many, each may have less, but never less than this. */
export const SOCKETS_BYTES_MAX = 256 * 1024 * 1024;
export const SOCKET_BYTES_MIN = 64 * 1024;
/** What a piece of an answer, or of a body, costs that waits, beyond its bytes. */
export const PIECE_OVERHEAD_BYTES = 256;
/** Of compressed messages a connection has so much unpacked in one go, before others get their turn. */
export const UNPACKED_AT_ONCE_BYTES = 4 * 1024 * 1024;
/** Streams that this side has ended early, whose late frames are told from those of streams that the caller has ended. */
export const ENDED_EARLY_MAX = 1024;
/** Within a window of FLOOD_WINDOW_MS: frames that carry nothing, and ones about priority, which nobody heeds. */
export const EMPTY_FRAMES_MAX = 1000;
export const PRIORITY_FRAMES_MAX = 2000;
/** In one frame; there are half a dozen that mean anything. */
export const SETTINGS_PER_FRAME_MAX = 64;
/** etcd: --grpc-keepalive-min-time. A client that pings more often, more than this often in a row, is sent away. */
export const PING_MIN_MS = 5000;
export const PING_STRIKES_MAX = 2;
/** The same while no call is open: etcd does not permit keep-alive pings then, and gRPC's server takes one in this time. */
export const PING_IDLE_MIN_MS = 2 * 60 * 60 * 1000;
/** Where that rule does not hold, a flood of pings is one of so many within FLOOD_WINDOW_MS. */
export const PINGS_MAX = 1000;

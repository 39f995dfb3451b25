// Bounds of the short way through HTTP/1. Reaching one hands the connection to Node's server, whose own bounds then hold.

/** Of a request line and header fields. */
export const HEAD_BYTES_MAX = 8 * 1024;
/** Of a body. */
export const BODY_BYTES_MAX = 64 * 1024;
/** Pieces in which one request may arrive. */
export const PIECES_MAX = 64;
/** How long the rest of a request may be awaited here. */
export const REST_MS = 1000;
/** Bytes of requests sent ahead, beyond which a connection is not read until one has been answered. */
export const AHEAD_BYTES_MAX = 64 * 1024;

// Every bound of the wire in one place. Reaching one is a named error or a closed connection, never growth.

/** etcd: --max-request-bytes. */
export const REQUEST_BYTES_MAX = 1_572_864;
/** What a message may exceed the request limit by, for the envelope (contract 1.4). */
export const RECEIVE_OVERHEAD_BYTES = 512 * 1024;
/** Messages inside each other in one request, and in an answer that a remote client reads: 300 transactions deep. */
export const MESSAGE_DEPTH_MAX = 600;
/** A watch answer this large is split by events when the watch asked for fragments (contract 1.4). */
export const FRAGMENT_BYTES = 2 * 1024 * 1024;
/** Watches on one stream. */
export const WATCHES_PER_STREAM_MAX = 100_000;
/** Requests of one stream read but not yet handled. */
export const STREAM_REQUESTS_MAX = 16;
/** Keep-alives of one stream that are asked for together. */
export const KEEP_ALIVES_TOGETHER_MAX = 1000;
/** Connections on one port; more are closed at once. */
export const CONNECTIONS_MAX = 20_000;
/** The same from one address, behind which many may stand. */
export const CONNECTIONS_PER_ADDRESS_MAX = 10_000;
/** How long a connection may keep silent before it is taken for HTTP/1, whose own time-outs then bound it. */
export const SNIFF_MS = 10_000;
/** How often a stream that demands a leader looks for one, and how many looks in a row may fail. */
export const LEADER_CHECK_MS = 1000;
export const LEADER_CHECKS_MAX = 3;
/** Bytes of undelivered events one watch of a remote client may hold before it is stopped and later resumed. */
export const CLIENT_WATCH_BYTES_MAX = 4 * 1024 * 1024;
/** Keep-alives of a remote client that await an answer. */
export const CLIENT_KEEPALIVES_MAX = 100_000;
/** Bytes written to one stream and not yet taken by the transport, beyond which its handler waits. */
export const SEND_BUFFER_BYTES = 256 * 1024;
/** Of answers this large that their readers have not taken the server holds so much in total; beyond, streams are cut off. */
export const UNSENT_BYTES_MAX = 512 * 1024 * 1024;
export const UNSENT_COUNTED_BYTES = 64 * 1024;
/** One piece of a snapshot, as etcd cuts them. */
export const SNAPSHOT_BLOB_BYTES = 32 * 1024;
/** How long the headers of an HTTP/1 request may take. */
export const HTTP_HEADERS_MS = 15_000;
/** And the whole request of a method that is not a stream. */
export const HTTP_BODY_MS = 60_000;
/** What of them is looked at for a WebSocket; as much as Node takes of any. */
export const HTTP_HEADER_BYTES = 16 * 1024;
/** How long an HTTP/1 connection may idle between requests. */
export const HTTP_IDLE_MS = 60_000;
/** From the first byte of a connection to the end of its TLS handshake. */
export const HANDSHAKE_MS = 10_000;
/** TLS handshakes at the same time, in total and from one address; of more the oldest makes room if it is slow. */
export const HANDSHAKES_MAX = 2048;
export const HANDSHAKES_PER_ADDRESS_MAX = 512;
/** Handshakes that came to nothing are told at most this often for each address and reason; others are counted together. */
export const REPORT_MS = 10_000;
export const REPORTED_MAX = 256;
/** A WebSocket that has said nothing for so long is asked whether it is there, and cut off if it has not answered by then. */
export const SOCKET_PING_MS = 30_000;
/** Characters in messages of a WebSocket that are not yet handled, beyond which nothing more is read. */
export const SOCKET_WAITING_MAX = 64 * 1024;
/** What one HTTP/2 connection may do within a window: streams reset by the caller, and SETTINGS frames. */
export const FLOOD_WINDOW_MS = 10_000;
export const RESETS_MAX = 500;
export const SETTINGS_MAX = 100;

// The numbers of HTTP/2 (RFC 9113) by name, and its two kinds of fault.

/** Section 6. */
export const FRAME = {
  data: 0, headers: 1, priority: 2, rstStream: 3, settings: 4, pushPromise: 5, ping: 6, goaway: 7, windowUpdate: 8,
  continuation: 9,
} as const;

export const FLAG = { endStream: 0x1, ack: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;

/** Section 7. */
export const CODE = {
  noError: 0, protocol: 1, internal: 2, flowControl: 3, settingsTimeout: 4, streamClosed: 5, frameSize: 6, refusedStream: 7,
  cancel: 8, compression: 9, enhanceYourCalm: 11,
} as const;

/** Section 6.5.2. */
export const SETTING = {
  headerTableSize: 1, enablePush: 2, maxConcurrentStreams: 3, initialWindowSize: 4, maxFrameSize: 5, maxHeaderListSize: 6,
} as const;

/** What a client sends before anything else (section 3.4). */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

export const FRAME_HEADER_BYTES = 9;
/** What both sides may send until told otherwise, and what this side accepts. */
export const FRAME_BYTES_MAX = 16_384;
export const WINDOW_BYTES_INITIAL = 65_535;
export const WINDOW_BYTES_MAX = 2 ** 31 - 1;

/** Header fields of HTTP/1 that are about one connection, which HTTP/2 does not have (section 8.2.2). */
export const OF_A_CONNECTION: ReadonlySet<string> = new Set([
  'connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'upgrade',
]);

/** Ends the connection (section 5.4.1). `code` is one of CODE. Of a flood, whoever runs the server hears. */
export class ConnectionFault extends Error {
  override readonly name = 'ConnectionFault';
  readonly code: number;
  readonly isFlood: boolean;

  constructor(code: number, message: string, isFlood = false) {
    super(message);
    this.code = code;
    this.isFlood = isFlood;
  }
}

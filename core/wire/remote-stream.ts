// What the shared streams of a remote client (watches, keep-alives) need from the library: one stream of bytes that may
// end at any time. They never see the library itself.

import type { ApiError, ErrorCode } from '../errors.js';

export interface StreamHandlers {
  /** The server answered; `coterie` when it said that it is one of ours. At most once, before any message. */
  onOpen(coterie: boolean): void;
  onMessage(bytes: Uint8Array): void;
  /** Exactly once, unless `cancel` was called before. Nothing follows. */
  onEnd(error: ApiError): void;
}

export interface ByteStream {
  /** Queued until there is a connection. */
  send(bytes: Uint8Array): void;
  /** Ends the stream at once; no handler is called any more. */
  cancel(): void;
  /** As `cancel`, and says that whoever is at the other end is silent: where there is another endpoint, that one is next. */
  forsake(): void;
  /** Its caller is not believed any more: the next stream is opened with another token. False: there is none to be had. */
  disown(): boolean;
}

/** Waits for a connection for as long as it takes; never throws, never calls a handler before it has returned. */
export type OpenStream = (path: string, handlers: StreamHandlers) => ByteStream;

/** Whether a shared stream that ended like this is worth opening again, here or at another endpoint. */
export function isWorthReopening({ code }: ApiError): boolean {
  return REOPEN.has(code);
}

/** Whoever cancels such a stream, or lets it run out of time, is not this side: it hears no more of what it cancels. */
const REOPEN: ReadonlySet<string> = new Set<ErrorCode>([
  'connection_lost',
  'canceled',
  'deadline_exceeded',
  'unavailable',
  'stopped',
  'no_leader',
  'leader_changed',
  'timeout',
]);

const BACKOFF_MIN_MS = 50;
const BACKOFF_MAX_MS = 1000;

/** How long to wait before the n-th attempt in a row (from 1) to open a stream again. */
export function backoffMs(attempt: number): number {
  return Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(10, attempt - 1));
}

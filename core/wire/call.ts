// The shape of a served method and of one call to it, as every transport sees them: bytes in, bytes out, no library.
// Messages are given as views; a handler that needs them after it settled copies them.

import { onceAborted } from '../base/abort.js';
import type { Credentials } from '../client.js';
import { ApiError } from '../errors.js';

/** `token` is the auth token as sent; both credentials are looked up when asked for, so that they cost nothing otherwise. */
export interface CallContext extends Credentials {
  /** The caller wants an error rather than an answer from a member without leader (contract 1.3). */
  readonly hasLeader: boolean;
  /** Address of the other side, for people. */
  readonly peer: string;
  /** Aborted when the caller is gone, or with an `ApiError` as reason when the server ends the call. Made when asked for. */
  readonly signal: AbortSignal;
  /** The same by a call, which costs far less than a signal where very many wait for long: calls `tell` once, or at once. */
  whenOver(tell: TellOver): void;
}

/** `why`: the server ends the call; null: the caller is gone. */
export type TellOver = (why: ApiError | null) => void;

/** What `whenOver` is of a call that has a signal in any case. */
export function tellWhenAborted(signal: AbortSignal, tell: TellOver): void {
  const onAbort = (): void => tell(signal.reason instanceof ApiError ? signal.reason : null);
  if (signal.aborted) onAbort();
  else onceAborted(signal, onAbort);
}

/** The messages of a caller, as they come. */
export interface RequestStream extends AsyncIterable<Uint8Array> {
  /** Takes those that have come and were not taken, at most so many. Absent: they are had one by one only. */
  takeWaiting?(max: number): readonly Uint8Array[];
}

export interface UnaryMethod {
  readonly kind: 'unary';
  readonly service: string;
  readonly name: string;
  /** It may take as long as it likes, so it is ended as a stream is when the server goes away. */
  readonly waits?: boolean;
  /** Never throws: it rejects. */
  handle(request: Uint8Array, call: CallContext): Promise<Uint8Array>;
}

/**
 * Sends one answer; of a large one the end may be given apart as `rest`, which is shared with others and nobody writes to. What
 * is returned resolves when the transport wants more: whoever awaits it cannot outrun a slow reader. It is `TAKEN` itself when
 * that is so already. After an abort it resolves at once, and sends nothing.
 */
export type Send = (answer: Uint8Array, rest?: Uint8Array) => Promise<void>;

export const TAKEN: Promise<void> = Promise.resolve();

export interface StreamMethod {
  readonly kind: 'stream';
  readonly service: string;
  readonly name: string;
  /** Ends the answer when it settles. `requests` ends when the caller sends no more, and when `call.signal` aborts. */
  handle(requests: RequestStream, call: CallContext, send: Send): Promise<void>;
}

export type Method = UnaryMethod | StreamMethod;

/** By path, such as `/etcdserverpb.KV/Put`. */
export type Methods = ReadonlyMap<string, Method>;

export function pathOf(method: { readonly service: string; readonly name: string }): string {
  return `/${method.service}/${method.name}`;
}

/** The auth token of a call: `token` counts first, and `authorization` may stand as HTTP has it or bare (contract 1.3). */
export function tokenOf(token: string | undefined, authorization: string | undefined): string | null {
  return token ?? authorization?.replace(/^Bearer /, '') ?? null;
}

/** The text of an answer to a method that is not served (contract 1.2). */
export function unknownMethodText(path: string, methods: Methods): string {
  const slash = path.lastIndexOf('/');
  if (!path.startsWith('/') || slash === 0) return `malformed method name: "${path}"`;
  const service = path.slice(1, slash);
  for (const method of methods.values()) {
    if (method.service === service) return `unknown method ${path.slice(slash + 1)} for service ${service}`;
  }
  return `unknown service ${service}`;
}

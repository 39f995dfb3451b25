// One step of a world, as plain data: it can be shown, kept in a file and replayed alone.

import { CALLS, KEEP_ALIVE, WATCH, type Call, type CallName, type Message } from './calls.js';

export type Operation =
  /** `as`: with the token of this user; absent: with none. `isRead`: a transaction that changes nothing. */
  | {
      readonly kind: 'call';
      readonly call: CallName;
      readonly bytes: Uint8Array;
      readonly as?: string;
      readonly isRead?: boolean;
    }
  /** One request on the stream of keep-alives. */
  | { readonly kind: 'keep_alive'; readonly bytes: Uint8Array }
  /** One request on a stream of watches; the stream is opened with its first. */
  | { readonly kind: 'watch'; readonly stream: number; readonly bytes: Uint8Array; readonly as?: string }
  /** The caller leaves the stream with all its watches. */
  | { readonly kind: 'leave'; readonly stream: number }
  /** Everything the watches have to say has arrived and is compared. */
  | { readonly kind: 'sync' }
  /** All streams are left, the watch of everything too: who watches without a name is sent away when auth begins. */
  | { readonly kind: 'part' }
  /** The watch of everything goes on where it was, under this name. */
  | { readonly kind: 'rejoin'; readonly as: string | null }
  /** Waits until the lease has run out on both sides. */
  | { readonly kind: 'expire'; readonly bytes: Uint8Array };

/** What the bytes of an operation are bytes of. */
export function callOf(operation: Operation): Call | null {
  switch (operation.kind) {
    case 'call':
      return CALLS[operation.call];
    case 'keep_alive':
      return KEEP_ALIVE;
    case 'watch':
      return WATCH;
    case 'expire':
      return CALLS.ttl;
    default:
      return null;
  }
}

/** Ids that a server chose stand in requests as these: the n-th is the same lease on both sides. */
export function chosenLease(n: number): bigint {
  return 0x6c65617365_000000n + BigInt(n);
}

/** Bytes as text, numbers as they are: what can be compared deeply and read in a report. */
export function plain(x: unknown): unknown {
  if (x instanceof Uint8Array) return textOf(x);
  if (typeof x === 'bigint') return `${x}n`;
  if (Array.isArray(x)) return x.map(plain);
  if (typeof x !== 'object' || x === null) return x;
  return Object.fromEntries(Object.entries(x).map(([name, each]) => [name, plain(each)]));
}

/** Latin1, so that different bytes are different text. */
export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

/** What a field says that was not sent. */
const SILENT: ReadonlySet<unknown> = new Set(['', 0, '0n', false, undefined]);
const SHOWN_MAX = 4000;

export function show(x: unknown): string {
  const text = JSON.stringify(shortened(plain(x))) ?? 'nothing';
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}… (${text.length} characters)` : text;
}

/** Long texts are cut, fields that say nothing are left out. */
function shortened(x: unknown): unknown {
  if (typeof x === 'string') return x.length > 400 ? `${x.slice(0, 60)}…(${x.length})` : x;
  if (Array.isArray(x)) return x.map(shortened);
  if (typeof x !== 'object' || x === null) return x;
  const said = Object.entries(x).filter(([, each]) => !SILENT.has(each));
  return Object.fromEntries(said.map(([name, each]) => [name, shortened(each)]));
}

export function describe(operation: Operation): string {
  const call = callOf(operation);
  const name = operation.kind === 'call' ? operation.call : operation.kind;
  const stream = operation.kind === 'watch' || operation.kind === 'leave' ? ` on stream ${operation.stream}` : '';
  const as = 'as' in operation ? ` as ${operation.as}` : '';
  return `${name}${stream}${as} ${call === null || !('bytes' in operation) ? '' : show(requestOf(operation))}`;
}

export function requestOf(operation: Operation): Message {
  const call = callOf(operation);
  return call === null || !('bytes' in operation) ? {} : call.request.read(operation.bytes);
}

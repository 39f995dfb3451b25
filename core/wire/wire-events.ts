// What the wire tells whoever runs it: counters for metrics, failures for the log. Data only; core never prints.

export interface CallName {
  readonly service: string;
  readonly name: string;
  readonly kind: 'unary' | 'stream';
}

export type WireEvent =
  /** The methods that will be served: counters begin at 0 for each. */
  | { readonly kind: 'serving'; readonly methods: readonly CallName[] }
  /** `clientVersion` as the caller claims it; null: it says none. */
  | { readonly kind: 'call_started'; readonly method: CallName; readonly clientVersion: string | null }
  /** Once per started call. `code` is the gRPC status, 1 when the caller left. */
  | {
      readonly kind: 'call_handled';
      readonly method: CallName;
      readonly code: number;
      readonly messagesReceived: number;
      readonly messagesSent: number;
      readonly bytesReceived: number;
      readonly bytesSent: number;
      readonly tookMs: number;
    }
  /** Somebody asked /health. */
  | { readonly kind: 'health_checked'; readonly well: boolean }
  /** Something failed that is nobody's request: a broken handler, a listener, a connection. */
  | { readonly kind: 'failed'; readonly where: string; readonly error: Error }
  /** Connections of `address` were cut off that sent without end what nobody needs; `count` since the last report, or 1. */
  | { readonly kind: 'connection_flooded'; readonly what: string; readonly address: string; readonly count: number }
  /** Streams cut off because too many answers wait to be taken, most of them by readers there; `count` since the last report. */
  | { readonly kind: 'answer_unread'; readonly address: string; readonly count: number }
  /** A connection was refused because the port has as many as it may have. */
  | { readonly kind: 'connection_refused'; readonly connections: number }
  /** Handshakes from `address` came to nothing, or met the wrong kind of port; `count` since the last report of this kind. */
  | { readonly kind: 'handshake_refused'; readonly address: string; readonly reason: string; readonly count: number }
  /** Somebody who was connected is not trusted any more, and was cut off. */
  | { readonly kind: 'connection_swept'; readonly address: string; readonly reason: string };

export type ObserveWire = (event: WireEvent) => void;

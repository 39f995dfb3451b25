// The endpoints of a remote client and their connections. One is current and is used while it is connected. When it is not,
// and somebody waits, it is connected, then after a moment the next one too, and the first to be ready becomes current. So a
// dead endpoint costs a fraction of a second, once, and one that serves badly loses its place (`suspect`).

import { Client as GrpcClient, ChannelCredentials, connectivityState, type ChannelOptions } from '@grpc/grpc-js';
import type { Clock } from '../base/clock.js';
import { ApiError } from '../errors.js';
import { channelSecurity, type ClientTls } from './client-tls.js';

/** One endpoint and its connection. */
export interface Link {
  readonly address: string;
  readonly client: GrpcClient;
  readonly isTls: boolean;
  /** A change of its state is being waited for. */
  watched: boolean;
}

export interface LinkOptions {
  readonly pingMs: number;
  readonly pingTimeoutMs: number;
  /** For endpoints with https, and for those without a scheme. */
  readonly tls?: ClientTls;
}

type OnLink = (error: ApiError, link: Link | null) => void;

export class Links {
  readonly #links: readonly Link[];
  readonly #isTls: boolean;
  readonly #clock: Clock;
  readonly #waiting = new Set<OnLink>();
  #current = 0;
  /** It lost its place last: still connected perhaps, so it would win every race against one that has to connect. */
  #suspected: Link | null = null;
  /** Where the search began, and how many endpoints from there on are being tried; `#current` may change meanwhile. */
  #first = 0;
  #trying = 0;
  #cancelNext: () => void = () => undefined;
  #closed = false;

  constructor(endpoints: readonly string[], clock: Clock, options: LinkOptions) {
    if (endpoints.length === 0) throw new ApiError('invalid_request', { detail: 'no endpoints given' });
    this.#clock = clock;
    this.#links = endpoints.map((endpoint) => ({ ...dialled(endpoint, options), watched: false }));
    this.#isTls = this.#links.some(({ isTls }) => isTls);
  }

  get count(): number {
    return this.#links.length;
  }

  /** The current endpoint, if connected. */
  get ready(): Link | null {
    const link = this.#links[this.#current];
    if (link === undefined || this.#closed) return null;
    return link.client.getChannel().getConnectivityState(false) === connectivityState.READY ? link : null;
  }

  /** Calls back once, from a later turn or from here, unless the returned function was called before. */
  whenReady(timeoutMs: number, onLink: OnLink): () => void {
    let cancelTimer = (): void => undefined;
    const waiter: OnLink = (error, link) => {
      cancelTimer();
      this.#waiting.delete(waiter);
      if (this.#waiting.size === 0) this.#rest();
      onLink(error, link);
    };
    if (timeoutMs !== Infinity) {
      cancelTimer = this.#clock.schedule(timeoutMs, () => waiter(this.#unavailable(), null));
    }
    this.#waiting.add(waiter);
    if (this.#closed) this.#clock.schedule(0, () => (this.#waiting.has(waiter) ? waiter(new ApiError('closed'), null) : null));
    else if (this.#waiting.size === 1) this.#clock.schedule(0, () => this.#seek());
    return () => {
      cancelTimer();
      this.#waiting.delete(waiter);
      if (this.#waiting.size === 0) this.#rest();
    };
  }

  /** This endpoint failed someone: if there is another, that one is next. */
  suspect(link: Link): void {
    if (this.#links[this.#current] !== link) return;
    this.#current = (this.#current + 1) % this.#links.length;
    this.#suspected = link;
  }

  close(): void {
    this.#closed = true;
    for (const waiter of [...this.#waiting]) waiter(new ApiError('closed'), null);
    this.#rest();
    for (const { client } of this.#links) client.close();
  }

  #unavailable(): ApiError {
    const addresses = this.#links.map(({ address }) => address).join(', ');
    const certificate = this.#isTls ? ', and its certificate one we trust, for that name, and ours one it trusts' : '';
    const detail = `${addresses}; is the server running, and is the address right${certificate}?`;
    return new ApiError('unavailable', { detail });
  }

  #seek(): void {
    if (this.#closed || this.#waiting.size === 0 || this.#trying > 0) return;
    this.#first = this.#current;
    this.#tryNext();
  }

  #tryNext(): void {
    const link = this.#links[(this.#first + this.#trying) % this.#links.length];
    if (link === undefined || this.#trying >= this.#links.length) return;
    this.#trying++;
    this.#look(link);
    if (this.#trying === 0 || this.#trying >= this.#links.length) return;
    this.#cancelNext();
    const next = this.#links[(this.#first + this.#trying) % this.#links.length];
    const waitMs = next === this.#suspected ? SUSPECTED_ENDPOINT_MS : NEXT_ENDPOINT_MS;
    this.#cancelNext = this.#clock.schedule(waitMs, () => this.#tryNext());
  }

  /** Wants this one connected; comes back whenever its state changes, for as long as somebody waits. */
  #look(link: Link): void {
    if (this.#closed || this.#waiting.size === 0) return;
    const channel = link.client.getChannel();
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) return this.#found(link);
    if (state === connectivityState.TRANSIENT_FAILURE) this.#tryNext();
    if (link.watched) return;
    link.watched = true;
    channel.watchConnectivityState(state, Infinity, () => {
      link.watched = false;
      this.#look(link);
    });
  }

  #found(link: Link): void {
    this.#current = this.#links.indexOf(link);
    this.#rest();
    const waiting = [...this.#waiting];
    for (const waiter of waiting) waiter(FOUND, link);
  }

  #rest(): void {
    this.#trying = 0;
    this.#cancelNext();
  }
}

/** The error that comes with a link, which nobody looks at. */
const FOUND = new ApiError('unavailable');
const NEXT_ENDPOINT_MS = 250;
const SUSPECTED_ENDPOINT_MS = 2000;

function dialled(endpoint: string, options: LinkOptions): { address: string; client: GrpcClient; isTls: boolean } {
  const { tls } = options;
  const words = endpoint.trim();
  const url = words.includes('://') ? words : `${tls === undefined ? 'http' : 'https'}://${words}`;
  const parsed = URL.canParse(url) ? new URL(url) : null;
  const isTls = parsed?.protocol === 'https:';
  if (parsed === null || !(isTls || parsed.protocol === 'http:') || parsed.hostname === '') {
    const detail = `${JSON.stringify(endpoint)} is not an endpoint; expected http://host:port or https://host:port`;
    throw new ApiError('invalid_request', { detail });
  }
  const usual = isTls ? 443 : 80;
  const address = `${parsed.hostname}:${parsed.port === '' ? usual : parsed.port}`;
  const channel = channelOptions(options);
  if (!isTls) return { address, isTls, client: new GrpcClient(address, ChannelCredentials.createInsecure(), channel) };
  const { context, indication, ...verify } = channelSecurity(tls ?? {}, parsed.hostname.replace(/^\[(.*)\]$/, '$1'));
  const client = new GrpcClient(address, ChannelCredentials.createFromSecureContext(context, verify), {
    ...channel, 'grpc.ssl_target_name_override': indication,
  });
  return { address, isTls, client };
}

function channelOptions(options: LinkOptions): ChannelOptions {
  return {
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
    'grpc.keepalive_time_ms': options.pingMs,
    'grpc.keepalive_timeout_ms': options.pingTimeoutMs,
    'grpc.keepalive_permit_without_calls': 0,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1000,
    // A write of unknown outcome is never sent again, so the library must not either.
    'grpc.enable_retries': 0,
    'grpc.enable_channelz': 0,
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
    // Connections belong to this client and end with it.
    'grpc.use_local_subchannel_pool': 1,
  };
}

// RemoteClient implements Client and Admin over gRPC, towards our server or real etcd (homes 2 and 3). The only client file
// that knows the library. It connects when first used and by itself again, to whichever endpoint answers.
//
// What makes it honest (promise 1): a call is handed to the library only once a connection is ready, so "no connection" is
// known to mean 'never'. A call that was handed over and got no answer is 'unknown' and is never sent again, unless it only
// reads. Nothing here waits without a limit except watches that have been created once.

import { Client as GrpcClient, connectivityState, credentials, Metadata, type ClientDuplexStream } from '@grpc/grpc-js';
import { view } from '../base/bytes.js';
import { systemClock, type Clock } from '../base/clock.js';
import type * as api from '../client.js';
import { ApiError, isApiError, Status } from '../errors.js';
import * as convert from './convert.js';
import { RemoteKeepAlives } from './remote-keepalive.js';
import type { ByteStream, OpenStream, StreamHandlers } from './remote-stream.js';
import { RemoteWatches } from './remote-watch.js';
import * as rpc from './schema/generated/rpc.js';
import { errorOf } from './status.js';

export interface RemoteOptions {
  /** For calls that name none, and for the creation of watches. Default 10,000. */
  readonly timeoutMs?: number;
  /** How long a call waits for some endpoint to accept a connection; then it rejects with `unavailable`. Default 5,000. */
  readonly connectTimeoutMs?: number;
  /**
   * Pings on a connection with open calls, so that one that died without a word is noticed. Default every 6,000 ms; etcd
   * closes connections that ping more often than every 5,000.
   */
  readonly pingMs?: number;
  /** How long a ping may take. Default 4,000. */
  readonly pingTimeoutMs?: number;
  readonly clock?: Clock;
}

/** A client of the servers at `endpoints` (`http://host:port` or `host:port`). Connects when first used. */
export function connect(endpoints: string | readonly string[], options: RemoteOptions = {}): RemoteClient {
  return new RemoteClient(typeof endpoints === 'string' ? endpoints.split(',') : endpoints, options);
}

export class RemoteClient implements api.Client, api.Admin {
  readonly #links: Links;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #connectTimeoutMs: number;
  readonly #watches: RemoteWatches;
  readonly #keepAlives: RemoteKeepAlives;
  readonly #calls = new Set<Call>();
  readonly #streams = new Set<ByteStream>();
  #closed = false;

  constructor(endpoints: readonly string[], options: RemoteOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#connectTimeoutMs = options.connectTimeoutMs ?? 5_000;
    this.#links = new Links(endpoints, this.#clock, { pingMs: 6_000, pingTimeoutMs: 4_000, ...options });
    const open: OpenStream = (path, handlers) => this.#openStream(path, handlers);
    const version = async (): Promise<string> => (await this.status()).version;
    this.#watches = new RemoteWatches({ open, clock: this.#clock, version });
    this.#keepAlives = new RemoteKeepAlives(open, this.#clock);
  }

  range(request: api.RangeRequest, options?: api.CallOptions): Promise<api.RangeResponse> {
    const bytes = rpc.RangeRequest.encode(convert.writeRangeRequest(request)).finish();
    return this.#read('/etcdserverpb.KV/Range', bytes, options, (answer) =>
      convert.readRangeResponse(rpc.RangeResponse.decode(answer)),
    );
  }

  /** One put or one delete without conditions goes out as the plain call it is. */
  txn(request: api.TxnRequest, options?: api.CallOptions): Promise<api.TxnResponse> {
    const { compare = [], success = [] } = request;
    const op = compare.length === 0 && success.length === 1 && (request.failure ?? []).length === 0 ? success[0] : undefined;
    if (op?.kind === 'put') return this.#put(op.request, options);
    if (op?.kind === 'delete') return this.#delete(op.request, options);
    const bytes = rpc.TxnRequest.encode(convert.writeTxnRequest(request)).finish();
    const decode = (answer: Uint8Array): api.TxnResponse => convert.readTxnResponse(rpc.TxnResponse.decode(answer));
    const path = '/etcdserverpb.KV/Txn';
    return isReadOnly(request) ? this.#read(path, bytes, options, decode) : this.#write(path, bytes, options, decode);
  }

  #put(request: api.PutRequest, options?: api.CallOptions): Promise<api.TxnResponse> {
    const bytes = rpc.PutRequest.encode(convert.writePutRequest(request)).finish();
    return this.#write('/etcdserverpb.KV/Put', bytes, options, (answer) => {
      const { header, prevKv } = convert.readPutResponse(rpc.PutResponse.decode(answer));
      const response = { prevKv, revision: header.revision };
      return { header, succeeded: true, responses: [{ kind: 'put', response }] };
    });
  }

  #delete(request: api.DeleteRequest, options?: api.CallOptions): Promise<api.TxnResponse> {
    const bytes = rpc.DeleteRangeRequest.encode(convert.writeDeleteRequest(request)).finish();
    return this.#write('/etcdserverpb.KV/DeleteRange', bytes, options, (answer) => {
      const { header, ...rest } = convert.readDeleteResponse(rpc.DeleteRangeResponse.decode(answer));
      const response = { ...rest, revision: header.revision };
      return { header, succeeded: true, responses: [{ kind: 'delete', response }] };
    });
  }

  watch(request: api.WatchRequest, options: api.CallOptions = {}): api.Watch {
    const { signal = null, timeoutMs = this.#timeoutMs } = options;
    const watch = this.#watches.watch(request, { signal, timeoutMs });
    if (this.#closed) watch.close();
    return watch;
  }

  grant(ttlSeconds: number, options: api.GrantOptions = {}): Promise<api.Lease> {
    const bytes = rpc.LeaseGrantRequest.encode({ TTL: convert.int64(ttlSeconds), ID: options.id ?? 0n }).finish();
    return this.#write('/etcdserverpb.Lease/LeaseGrant', bytes, options, (answer) =>
      convert.readLease(rpc.LeaseGrantResponse.decode(answer)),
    );
  }

  keepAlive(lease: api.LeaseId, options: api.CallOptions = {}): Promise<api.KeepAlive> {
    if (this.#closed) return Promise.reject(new ApiError('closed'));
    return new Promise((resolve, reject) => {
      const call = this.#call(options, reject);
      if (call === null) return;
      call.giveUp = this.#keepAlives.renew(lease, (error, answer) => {
        if (error !== null || answer === undefined) call.fail(error ?? new ApiError('internal'));
        else if (call.finish()) resolve(answer);
      });
      // Nothing was renewed for certain until the answer is there, and asking again is harmless.
      call.sent = true;
    });
  }

  revoke(lease: api.LeaseId, options?: api.CallOptions): Promise<api.Header> {
    const bytes = rpc.LeaseRevokeRequest.encode({ ID: lease }).finish();
    return this.#write('/etcdserverpb.Lease/LeaseRevoke', bytes, options, (answer) =>
      convert.readHeader(rpc.LeaseRevokeResponse.decode(answer).header),
    );
  }

  compact(revision: api.Revision, options: api.CallOptions & { physical?: boolean } = {}): Promise<api.Header> {
    const { physical = false } = options;
    const bytes = rpc.CompactionRequest.encode({ revision: convert.int64(revision), physical }).finish();
    return this.#write('/etcdserverpb.KV/Compact', bytes, options, (answer) =>
      convert.readHeader(rpc.CompactionResponse.decode(answer).header),
    );
  }

  leaseInfo(lease: api.LeaseId, options: api.CallOptions & { keys?: boolean } = {}): Promise<api.LeaseInfo> {
    const bytes = rpc.LeaseTimeToLiveRequest.encode({ ID: lease, keys: options.keys ?? false }).finish();
    return this.#read('/etcdserverpb.Lease/LeaseTimeToLive', bytes, options, (answer) =>
      convert.readLeaseInfo(rpc.LeaseTimeToLiveResponse.decode(answer)),
    );
  }

  leases(options?: api.CallOptions): Promise<{ header: api.Header; ids: readonly api.LeaseId[] }> {
    return this.#read('/etcdserverpb.Lease/LeaseLeases', NOTHING, options, (answer) => {
      const { header, leases } = rpc.LeaseLeasesResponse.decode(answer);
      return { header: convert.readHeader(header), ids: leases.map(({ ID }) => ID) };
    });
  }

  status(options?: api.CallOptions): Promise<api.StatusResponse> {
    return this.#read('/etcdserverpb.Maintenance/Status', NOTHING, options, (answer) =>
      convert.readStatus(rpc.StatusResponse.decode(answer)),
    );
  }

  members(options?: api.CallOptions): Promise<api.MembersResponse> {
    const bytes = rpc.MemberListRequest.encode({ linearizable: true }).finish();
    return this.#read('/etcdserverpb.Cluster/MemberList', bytes, options, (answer) => {
      const { header, members } = rpc.MemberListResponse.decode(answer);
      return { header: convert.readHeader(header), members: members.map(convert.readMember) };
    });
  }

  /** Rejects what is open, ends watches, closes connections. Calls afterwards reject with `closed`. */
  close(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#closed = true;
    for (const call of [...this.#calls]) {
      // What has been sent may have happened, and `closed` would deny that.
      call.fail(call.sent ? new ApiError('canceled', { detail: 'the client was closed' }) : new ApiError('closed'));
    }
    this.#watches.close();
    this.#keepAlives.close();
    for (const stream of [...this.#streams]) stream.cancel();
    this.#links.close();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #read<T>(path: string, bytes: Uint8Array, options: api.CallOptions | undefined, decode: Decode<T>): Promise<T> {
    return this.#unary(path, bytes, options, decode, true);
  }

  #write<T>(path: string, bytes: Uint8Array, options: api.CallOptions | undefined, decode: Decode<T>): Promise<T> {
    return this.#unary(path, bytes, options, decode, false);
  }

  #unary<T>(
    path: string,
    bytes: Uint8Array,
    options: api.CallOptions | undefined,
    decode: Decode<T>,
    again: boolean,
  ): Promise<T> {
    if (this.#closed) return Promise.reject(new ApiError('closed'));
    return new Promise<T>((resolve, reject) => {
      const call = this.#call(options, reject);
      if (call === null) return;
      const attempt = (): void => {
        call.sent = false;
        const link = this.#links.ready;
        if (link !== null) return send(link);
        call.giveUp = this.#links.whenReady(this.#connectTimeoutMs, (error, found) => {
          if (found === null) call.fail(error);
          else send(found);
        });
      };
      const send = (link: Link): void => {
        call.sent = true;
        const sent = link.client.makeUnaryRequest(path, same, same, view(bytes), NO_METADATA, {}, (error, answer) => {
          if (error === null && answer !== undefined) {
            if (call.finish()) settle(answer, decode, resolve, reject);
            return;
          }
          const failure = failureOf(error);
          const lost = LOST.has(failure.code);
          if (lost) this.#links.suspect(link);
          if (call.done) return;
          if (!lost || !(again || failure.outcome === 'never')) return call.fail(failure);
          this.#clock.schedule(RETRY_MS, () => {
            if (!call.done) attempt();
          });
        });
        call.giveUp = () => sent.cancel();
      };
      attempt();
    });
  }

  /** Starts the clock of one call; null when it has been aborted already. */
  #call(options: api.CallOptions | undefined, reject: (error: ApiError) => void): Call | null {
    const { signal, timeoutMs = this.#timeoutMs } = options ?? {};
    if (signal?.aborted === true) {
      reject(new ApiError('canceled', { cause: signal.reason }));
      return null;
    }
    const call = new Call(signal ?? null, this.#clock, timeoutMs, reject, () => this.#calls.delete(call));
    this.#calls.add(call);
    return call;
  }

  #openStream(path: string, handlers: StreamHandlers): ByteStream {
    const stream = new RemoteStream(this.#links, path, handlers, () => this.#streams.delete(stream));
    this.#streams.add(stream);
    return stream;
  }
}

/** Another try, or another endpoint, may well do. */
const LOST: ReadonlySet<string> = new Set(['connection_lost', 'unavailable', 'stopped']);
const NOTHING = new Uint8Array(0);
const NO_METADATA = new Metadata();
type Decode<T> = (answer: Uint8Array) => T;
/** Before a call that surely did not happen, or only reads, is tried again. */
const RETRY_MS = 20;

function same(bytes: Buffer): Buffer {
  return bytes;
}

/** Plain bytes over the same memory: what a caller gets must not be a Buffer in one home and an array in another. */
function plain(bytes: Buffer): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function settle<T>(
  answer: Buffer,
  decode: Decode<T>,
  resolve: (value: T) => void,
  reject: (error: ApiError) => void,
): void {
  try {
    resolve(decode(plain(answer)));
  } catch (cause) {
    reject(isApiError(cause) ? cause : new ApiError('internal', { detail: 'the answer cannot be read', cause }));
  }
}

function isReadOnly({ success = [], failure = [] }: api.TxnRequest): boolean {
  return [...success, ...failure].every((op) => op.kind === 'range' || (op.kind === 'txn' && isReadOnly(op.request)));
}

/**
 * What the library reports when a call has not left: no connection when it was to be sent, or a stream that could not be
 * opened. These texts are the library's only sign of it; the version is pinned, and a test asks for them.
 */
const NEVER_SENT = /^(?:No connection established|Name resolution failed|Failed to start HTTP\/2 stream|Resolution failed)/;

/**
 * What the library reports when a stream was reset: by a proxy whose server went away, say. It makes a status of the reset's
 * code, and some of those would blame the request. A reset says nothing about the request, only that no answer will come.
 */
const RESET = /^(?:Received RST_STREAM |Call cancelled$|Bandwidth exhausted or |Protocol not secure enough$)/;

function failureOf(error: { code?: number; details?: string; message: string } | null): ApiError {
  if (error === null) return new ApiError('internal', { detail: 'the server answered with nothing' });
  const text = error.details ?? error.message;
  if (RESET.test(text)) return new ApiError('connection_lost', { detail: text });
  return errorOf({ code: error.code ?? Status.unknown, text }, !NEVER_SENT.test(text));
}

/** One call under way: its time-out, its signal, and whether it may have reached a server. */
class Call {
  /** True from when the request was handed to the library. */
  sent = false;
  done = false;
  /** Stops whatever is under way for this call. */
  giveUp: () => void = () => undefined;
  readonly #reject: (error: ApiError) => void;
  readonly #signal: AbortSignal | null;
  readonly #cancelTimer: () => void;
  readonly #onDone: () => void;
  readonly #onAbort = (): void => this.fail(new ApiError('canceled', { cause: this.#signal?.reason }));

  constructor(
    signal: AbortSignal | null,
    clock: Clock,
    timeoutMs: number,
    reject: (error: ApiError) => void,
    onDone: () => void,
  ) {
    this.#signal = signal;
    this.#reject = reject;
    this.#onDone = onDone;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    this.#cancelTimer = clock.schedule(Math.max(1, timeoutMs), () => {
      const detail = `${timeoutMs} ms`;
      this.fail(this.sent ? new ApiError('deadline_exceeded', { detail }) : new ApiError('unavailable', { detail }));
    });
  }

  fail(error: ApiError): void {
    if (!this.finish()) return;
    this.giveUp();
    this.#reject(error);
  }

  /** False when it was over already. */
  finish(): boolean {
    if (this.done) return false;
    this.done = true;
    this.#cancelTimer();
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#onDone();
    return true;
  }
}

type GrpcStream = ClientDuplexStream<Buffer, Buffer>;

class RemoteStream implements ByteStream {
  readonly #links: Links;
  readonly #path: string;
  readonly #handlers: StreamHandlers;
  readonly #onDone: () => void;
  #stream: GrpcStream | null = null;
  #queue: Uint8Array[] = [];
  #done = false;
  readonly #giveUp: () => void;

  constructor(links: Links, path: string, handlers: StreamHandlers, onDone: () => void) {
    this.#links = links;
    this.#path = path;
    this.#handlers = handlers;
    this.#onDone = onDone;
    this.#giveUp = links.whenReady(Infinity, (error, link) => {
      if (link === null) this.#end(error);
      else this.#start(link);
    });
  }

  send(bytes: Uint8Array): void {
    if (this.#stream === null) this.#queue.push(bytes);
    else this.#stream.write(view(bytes));
  }

  cancel(): void {
    if (this.#done) return;
    this.#done = true;
    this.#onDone();
    this.#giveUp();
    this.#stream?.cancel();
  }

  #start(link: Link): void {
    if (this.#done) return;
    // A member that has lost its leader ends the stream, so that it is opened at one that has not (contract 1.3).
    const metadata = new Metadata();
    metadata.set('hasleader', 'true');
    const stream: GrpcStream = link.client.makeBidiStreamRequest(this.#path, same, same, metadata);
    this.#stream = stream;
    stream.on('metadata', (headers: Metadata) => {
      if (!this.#done) this.#handlers.onOpen(headers.get('coterie-version').length > 0);
    });
    stream.on('data', (bytes: Buffer) => this.#onMessage(bytes));
    stream.on('error', (error: Error & { code?: number; details?: string }) => {
      const failure = failureOf(error);
      if (isApiError(failure, 'connection_lost') || isApiError(failure, 'no_leader')) this.#links.suspect(link);
      this.#end(failure);
    });
    stream.on('end', () => this.#end(new ApiError('connection_lost', { detail: 'the server ended the stream' })));
    for (const bytes of this.#queue) stream.write(view(bytes));
    this.#queue = [];
  }

  #onMessage(bytes: Buffer): void {
    if (this.#done) return;
    try {
      this.#handlers.onMessage(plain(bytes));
    } catch (cause) {
      this.#stream?.cancel();
      this.#end(new ApiError('internal', { detail: 'the answer cannot be read', cause }));
    }
  }

  #end(error: ApiError): void {
    if (this.#done) return;
    this.#done = true;
    this.#onDone();
    this.#handlers.onEnd(error);
  }
}

/** One endpoint and its connection. */
interface Link {
  readonly address: string;
  readonly client: GrpcClient;
  /** A change of its state is being waited for. */
  watched: boolean;
}

type OnLink = (error: ApiError, link: Link | null) => void;

/**
 * The endpoints. One is current and is used while it is connected. When it is not, and somebody waits, it is connected,
 * then after a moment the next one too, and the first to be ready becomes current.
 */
class Links {
  readonly #links: readonly Link[];
  readonly #clock: Clock;
  readonly #waiting = new Set<OnLink>();
  #current = 0;
  /** Where the search began, and how many endpoints from there on are being tried; `#current` may change meanwhile. */
  #first = 0;
  #trying = 0;
  #cancelNext: () => void = () => undefined;
  #closed = false;

  constructor(endpoints: readonly string[], clock: Clock, options: { readonly pingMs: number; readonly pingTimeoutMs: number }) {
    if (endpoints.length === 0) throw new ApiError('invalid_request', { detail: 'no endpoints given' });
    this.#clock = clock;
    this.#links = endpoints.map((endpoint) => {
      const address = addressOf(endpoint);
      return { address, client: new GrpcClient(address, credentials.createInsecure(), channelOptions(options)), watched: false };
    });
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
    if (this.#links[this.#current] === link) this.#current = (this.#current + 1) % this.#links.length;
  }

  close(): void {
    this.#closed = true;
    for (const waiter of [...this.#waiting]) waiter(new ApiError('closed'), null);
    this.#rest();
    for (const { client } of this.#links) client.close();
  }

  #unavailable(): ApiError {
    const addresses = this.#links.map(({ address }) => address).join(', ');
    return new ApiError('unavailable', { detail: `${addresses}; is the server running, and is the address right?` });
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
    this.#cancelNext = this.#clock.schedule(NEXT_ENDPOINT_MS, () => this.#tryNext());
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

function addressOf(endpoint: string): string {
  const url = endpoint.includes('://') ? endpoint.trim() : `http://${endpoint.trim()}`;
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null || parsed.protocol !== 'http:' || parsed.hostname === '') {
    const detail = `${JSON.stringify(endpoint)} is not an endpoint; expected http://host:port`;
    throw new ApiError('invalid_request', { detail });
  }
  return `${parsed.hostname}:${parsed.port === '' ? 80 : parsed.port}`;
}

function channelOptions(options: { readonly pingMs: number; readonly pingTimeoutMs: number }): Record<string, number> {
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

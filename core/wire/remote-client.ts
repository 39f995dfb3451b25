// RemoteClient implements Client and Admin over gRPC, towards our server or real etcd (homes 2 and 3). The only client file
// that knows the library. It connects when first used and by itself again, to whichever endpoint answers.
//
// What makes it honest (promise 1): a call is handed to the library only once a connection is ready, so "no connection" is
// known to mean 'never'. A call that was handed over and got no answer is 'unknown' and is never sent again, unless it only
// reads. Nothing here waits without a limit except watches that have been created once.

import { onceAborted } from '../base/abort.js';
import { Metadata, type ClientDuplexStream } from '@grpc/grpc-js';
import { view } from '../base/bytes.js';
import { systemClock, type Clock } from '../base/clock.js';
import type * as api from '../client.js';
import { ApiError, canceled, isApiError } from '../errors.js';
import * as convert from './convert.js';
import { readAlarms, readPermission, writeAlarmRequest, writeAuthChange } from './convert-auth.js';
import { Call, failureOf } from './remote-call.js';
import type { ClientTls } from './client-tls.js';
import { RemoteKeepAlives } from './remote-keepalive.js';
import { Links, type Link } from './remote-links.js';
import { deepReader } from './deep-reader.js';
import type { ByteStream, OpenStream, StreamHandlers } from './remote-stream.js';
import { RemoteWatches } from './remote-watch.js';
import * as rpc from './schema/generated/rpc.js';
import { SnapshotReader, type SnapshotPiece } from './snapshot-stream.js';

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
  /** For endpoints with https, and for those without a scheme. Default: trust as this machine does, show nothing. */
  readonly tls?: ClientTls;
  readonly clock?: Clock;
}

/** A client of the servers at `endpoints` (`http://host:port`, `https://host:port` or `host:port`). Connects when first used. */
export function connect(endpoints: string | readonly string[], options: RemoteOptions = {}): RemoteClient {
  return new RemoteClient(typeof endpoints === 'string' ? endpoints.split(',') : endpoints, options);
}

export class RemoteClient implements api.Backend {
  readonly #links: Links;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #connectTimeoutMs: number;
  readonly #watches: RemoteWatches;
  readonly #keepAlives: RemoteKeepAlives;
  readonly #calls = new Set<Call>();
  readonly #streams = new Set<ByteStream>();
  readonly #aborts = new Set<AbortController>();
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
    const decode = (answer: Uint8Array): api.TxnResponse => convert.readTxnResponse(rpc.TxnResponse.decode(deepReader(answer)));
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
      const pending = this.#keepAlives.renew(lease, (error, answer) => {
        if (error !== null || answer === undefined) call.fail(error ?? new ApiError('internal'));
        else if (call.finish()) resolve(answer);
      });
      call.giveUp = (why) => pending.giveUp(why.code === 'deadline_exceeded' && this.#links.count > 1);
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

  members(options: api.CallOptions & { linearizable?: boolean } = {}): Promise<api.MembersResponse> {
    const bytes = rpc.MemberListRequest.encode({ linearizable: options.linearizable ?? true }).finish();
    return this.#read('/etcdserverpb.Cluster/MemberList', bytes, options, (answer) =>
      convert.readMembers(rpc.MemberListResponse.decode(answer)),
    );
  }

  addMember(
    request: { peerUrls: readonly string[]; isLearner?: boolean },
    options?: api.CallOptions,
  ): Promise<api.MemberAdded> {
    const { peerUrls, isLearner = false } = request;
    const bytes = rpc.MemberAddRequest.encode({ peerURLs: [...peerUrls], isLearner }).finish();
    return this.#write('/etcdserverpb.Cluster/MemberAdd', bytes, options, (answer) => {
      const message = rpc.MemberAddResponse.decode(answer);
      if (message.member === undefined) throw new ApiError('internal', { detail: 'the server added nobody' });
      return { ...convert.readMembers(message), member: convert.readMember(message.member) };
    });
  }

  removeMember(id: bigint, options?: api.CallOptions): Promise<api.MembersResponse> {
    return this.#changeMembers('MemberRemove', rpc.MemberRemoveRequest.encode({ ID: id }).finish(), options);
  }

  updateMember(id: bigint, peerUrls: readonly string[], options?: api.CallOptions): Promise<api.MembersResponse> {
    const bytes = rpc.MemberUpdateRequest.encode({ ID: id, peerURLs: [...peerUrls] }).finish();
    return this.#changeMembers('MemberUpdate', bytes, options);
  }

  promoteMember(id: bigint, options?: api.CallOptions): Promise<api.MembersResponse> {
    return this.#changeMembers('MemberPromote', rpc.MemberPromoteRequest.encode({ ID: id }).finish(), options);
  }

  /** The answers of the three have the fields of a list in the same places. */
  #changeMembers(name: string, bytes: Uint8Array, options?: api.CallOptions): Promise<api.MembersResponse> {
    return this.#write(`/etcdserverpb.Cluster/${name}`, bytes, options, (answer) =>
      convert.readMembers(rpc.MemberListResponse.decode(answer)),
    );
  }

  /** The header is empty, as etcd's answer has none. */
  moveLeader(to: bigint, options?: api.CallOptions): Promise<api.Header> {
    const bytes = rpc.MoveLeaderRequest.encode({ targetID: to }).finish();
    return this.#write('/etcdserverpb.Maintenance/MoveLeader', bytes, options, (answer) =>
      convert.readHeader(rpc.MoveLeaderResponse.decode(answer).header),
    );
  }

  hash(revision: api.Revision, options?: api.CallOptions): Promise<api.HashResponse> {
    const bytes = rpc.HashKVRequest.encode({ revision: convert.int64(revision) }).finish();
    return this.#read('/etcdserverpb.Maintenance/HashKV', bytes, options, (answer) =>
      convert.readHash(rpc.HashKVResponse.decode(answer)),
    );
  }

  alarm(request: api.AlarmRequest, options?: api.CallOptions): Promise<api.AlarmsResponse> {
    const bytes = rpc.AlarmRequest.encode(writeAlarmRequest(request)).finish();
    return this.#write('/etcdserverpb.Maintenance/Alarm', bytes, options, (answer) =>
      readAlarms(rpc.AlarmResponse.decode(answer)),
    );
  }

  defragment(options?: api.CallOptions): Promise<api.Header> {
    return this.#write('/etcdserverpb.Maintenance/Defragment', NOTHING, options, (answer) =>
      convert.readHeader(rpc.DefragmentResponse.decode(answer).header),
    );
  }

  /** What the server at the other end is to judge is handed on to it. */
  identify({ token }: api.Credentials): api.Caller | null {
    return token === null ? null : { user: null, authRevision: 0, token };
  }

  authenticate(name: string, password: string, options?: api.CallOptions): Promise<{ header: api.Header; token: string }> {
    const bytes = rpc.AuthenticateRequest.encode({ name, password }).finish();
    return this.#read('/etcdserverpb.Auth/Authenticate', bytes, options, (answer) => {
      const { header, token } = rpc.AuthenticateResponse.decode(answer);
      return { header: convert.readHeader(header), token };
    });
  }

  authStatus(options?: api.CallOptions): Promise<api.AuthStatus> {
    return this.#read('/etcdserverpb.Auth/AuthStatus', NOTHING, options, (answer) => {
      const { header, enabled, authRevision } = rpc.AuthStatusResponse.decode(answer);
      return { header: convert.readHeader(header), enabled, authRevision };
    });
  }

  /** The answers to all changes have a header and nothing else. */
  changeAuth(change: api.AuthChange, options?: api.CallOptions): Promise<api.Header> {
    const { name, bytes } = writeAuthChange(change);
    return this.#write(`/etcdserverpb.Auth/${name}`, bytes, options, (answer) =>
      convert.readHeader(rpc.AuthEnableResponse.decode(answer).header),
    );
  }

  user(name: string, options?: api.CallOptions): Promise<{ header: api.Header; roles: readonly string[] }> {
    const bytes = rpc.AuthUserGetRequest.encode({ name }).finish();
    return this.#read('/etcdserverpb.Auth/UserGet', bytes, options, (answer) => {
      const { header, roles } = rpc.AuthUserGetResponse.decode(answer);
      return { header: convert.readHeader(header), roles };
    });
  }

  users(options?: api.CallOptions): Promise<{ header: api.Header; names: readonly string[] }> {
    return this.#read('/etcdserverpb.Auth/UserList', NOTHING, options, (answer) => {
      const { header, users } = rpc.AuthUserListResponse.decode(answer);
      return { header: convert.readHeader(header), names: users };
    });
  }

  role(name: string, options?: api.CallOptions): Promise<{ header: api.Header; permissions: readonly api.Permission[] }> {
    const bytes = rpc.AuthRoleGetRequest.encode({ role: name }).finish();
    return this.#read('/etcdserverpb.Auth/RoleGet', bytes, options, (answer) => {
      const { header, perm } = rpc.AuthRoleGetResponse.decode(answer);
      return { header: convert.readHeader(header), permissions: perm.map(readPermission) };
    });
  }

  roles(options?: api.CallOptions): Promise<{ header: api.Header; names: readonly string[] }> {
    return this.#read('/etcdserverpb.Auth/RoleList', NOTHING, options, (answer) => {
      const { header, roles } = rpc.AuthRoleListResponse.decode(answer);
      return { header: convert.readHeader(header), names: roles };
    });
  }

  /**
   * Throws at the end unless the bytes have the SHA-256 the server says. Of etcd these are its own file, and of coterie a
   * snapshot filled up to whole pages (snapshot-stream.ts). `timeoutMs` bounds the wait for each piece.
   */
  snapshot(options: api.CallOptions = {}): api.SnapshotStream {
    const abort = new AbortController();
    const pieces = this.#snapshotPieces(abort, options);
    return { [Symbol.asyncIterator]: () => pieces, close: () => abort.abort(new ApiError('canceled')) };
  }

  async *#snapshotPieces(abort: AbortController, options: api.CallOptions): AsyncGenerator<SnapshotPiece> {
    // From the first question on: a stream that nobody begins to read holds nothing.
    this.#aborts.add(abort);
    const { signal: given, timeoutMs = this.#timeoutMs } = options;
    const leave = (): void => abort.abort(canceled(given?.reason));
    onceAborted(given, leave);
    if (given?.aborted === true) leave();
    if (this.#closed) abort.abort(new ApiError('closed'));
    const reader = new SnapshotReader();
    let cancelTimer = (): void => undefined;
    const patience = (): void => {
      cancelTimer();
      const late = new ApiError('deadline_exceeded', { detail: `no piece of the snapshot came in ${timeoutMs} ms` });
      cancelTimer = this.#clock.schedule(timeoutMs, () => abort.abort(late));
    };
    try {
      for await (const answer of this.#answers('/etcdserverpb.Maintenance/Snapshot', abort.signal, patience)) {
        const piece = reader.push(answer);
        if (piece !== null) yield piece;
        patience();
      }
      reader.end();
    } finally {
      cancelTimer();
      given?.removeEventListener('abort', leave);
      this.#aborts.delete(abort);
    }
  }

  /** Asks once and hands on the answers; the library stops reading while nobody takes them. Rejects with what aborted it. */
  async *#answers(path: string, signal: AbortSignal, onAsked: () => void): AsyncGenerator<Uint8Array> {
    const link = this.#links.ready ?? (await this.#connected(signal));
    onAsked();
    const stream = link.client.makeServerStreamRequest(path, same, same, view(NOTHING), NO_METADATA);
    const cancel = (): void => stream.cancel();
    onceAborted(signal, cancel);
    if (signal.aborted) cancel();
    try {
      for await (const answer of stream as AsyncIterable<Buffer>) yield plain(answer);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      const failure = failureOf(error instanceof Error ? error : null);
      if (LOST.has(failure.code)) this.#links.suspect(link);
      throw failure;
    } finally {
      signal.removeEventListener('abort', cancel);
      stream.cancel();
    }
  }

  #connected(signal: AbortSignal): Promise<Link> {
    return new Promise((resolve, reject) => {
      const giveUp = this.#links.whenReady(this.#connectTimeoutMs, (error, link) => {
        signal.removeEventListener('abort', leave);
        if (link === null) reject(error);
        else resolve(link);
      });
      const leave = (): void => {
        giveUp();
        reject(signal.reason instanceof ApiError ? signal.reason : canceled(signal.reason));
      };
      onceAborted(signal, leave);
      if (signal.aborted) leave();
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
    for (const abort of [...this.#aborts]) abort.abort(new ApiError('closed'));
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
      // A member without a leader, or one that may not answer, did nothing: each of the others is asked once.
      let others = this.#links.count - 1;
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
          const elsewhere = ELSEWHERE.has(failure.code);
          if (lost || elsewhere) this.#links.suspect(link);
          if (call.done) return;
          const harmless = again || failure.outcome === 'never';
          if (!harmless || !(lost || (elsewhere && others-- > 0))) return call.fail(failure);
          this.#clock.schedule(RETRY_MS, () => {
            if (!call.done) attempt();
          });
        });
        call.giveUp = (why) => {
          // It had its time: whoever hangs is not asked first again.
          if (why.code === 'deadline_exceeded') this.#links.suspect(link);
          sent.cancel();
        };
      };
      attempt();
    });
  }

  /** Starts the clock of one call; null when it has been aborted already. */
  #call(options: api.CallOptions | undefined, reject: (error: ApiError) => void): Call | null {
    const { signal, timeoutMs = this.#timeoutMs } = options ?? {};
    if (signal?.aborted === true) {
      reject(canceled(signal.reason));
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
/** This member cannot, and another may: it has no leader, it lost its leader under the call, or it is a learner. */
const ELSEWHERE: ReadonlySet<string> = new Set(['no_leader', 'timeout', 'timeout_leader_lost', 'learner_unsupported']);
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

type GrpcStream = ClientDuplexStream<Buffer, Buffer>;

class RemoteStream implements ByteStream {
  readonly #links: Links;
  readonly #path: string;
  readonly #handlers: StreamHandlers;
  readonly #onDone: () => void;
  #link: Link | null = null;
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

  forsake(): void {
    if (this.#link !== null) this.#links.suspect(this.#link);
    this.cancel();
  }

  #start(link: Link): void {
    if (this.#done) return;
    this.#link = link;
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

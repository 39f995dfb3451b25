// RemoteClient implements Client and Admin over gRPC, towards our server or real etcd (homes 2 and 3). Of the library it sees
// calls; connections are remote-links.ts, streams remote-grpc-stream.ts. It connects when first used and by itself again, to
// whichever endpoint answers.
//
// What makes it honest (promise 1): a call is handed to the library only once a connection is ready, so "no connection" is
// known to mean 'never'. A call that was handed over and got no answer is 'unknown' and is never sent again, unless it only
// reads. Nothing here waits without a limit except watches that have been created once.

import { onceAborted } from '../base/abort.js';
import { Metadata } from '@grpc/grpc-js';
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
import { plain, RemoteStream, same, type Identity } from './remote-grpc-stream.js';
import { mayLoginHelp, RemoteLogin, type LoginOptions } from './remote-login.js';
import type { ByteStream, OpenStream } from './remote-stream.js';
import { RemoteWatches } from './remote-watch.js';
import * as rpc from './schema/generated/rpc.js';
import { SnapshotReader, type SnapshotPiece } from './snapshot-stream.js';

/** Without a login: nobody in particular, which is all there is where auth is off. */
export interface RemoteOptions extends LoginOptions {
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
  readonly #login: RemoteLogin | null;
  /** The shared streams: this client's own, and those of callers whose tokens it carries on, by token. */
  readonly #own: Lane;
  readonly #lanes = new Map<string, Lane>();
  readonly #calls = new Set<Call>();
  readonly #streams = new Set<ByteStream>();
  readonly #aborts = new Set<AbortController>();
  #closed = false;

  constructor(endpoints: readonly string[], options: RemoteOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#connectTimeoutMs = options.connectTimeoutMs ?? 5_000;
    this.#links = new Links(endpoints, this.#clock, { pingMs: 6_000, pingTimeoutMs: 4_000, ...options });
    this.#login = this.#loginOf(options);
    this.#own = this.#laneOf(this.#login);
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
    const watch = this.#lane(options).watches.watch(request, { signal, timeoutMs });
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
      const pending = this.#lane(options).keepAlives.renew(lease, (error, answer) => {
        if (error !== null || answer === undefined) call.fail(error ?? new ApiError('internal'));
        else if (call.finish()) resolve(answer);
      });
      call.giveUp = (why) => pending.giveUp(why.code === 'deadline_exceeded' && this.#links.count > 1);
      // Nothing was renewed for certain until the answer is there, and asking again is harmless.
      call.sent = true;
    });
  }

  async keepAliveAll(leases: readonly api.LeaseId[], options?: api.CallOptions): Promise<api.KeptAlive> {
    const kept = await Promise.all(leases.map((lease) => this.keepAlive(lease, options)));
    const last = kept.at(-1);
    if (last === undefined) throw new ApiError('invalid_request', { detail: 'no lease is named' });
    return { header: last.header, ttlSeconds: kept.map(({ ttlSeconds }) => ttlSeconds) };
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
      for await (const answer of this.#answers('/etcdserverpb.Maintenance/Snapshot', options, abort.signal, patience)) {
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
  async *#answers(
    path: string, options: api.CallOptions, signal: AbortSignal, onAsked: () => void,
  ): AsyncGenerator<Uint8Array> {
    const link = this.#links.ready ?? (await this.#connected(signal));
    const own = options.caller === undefined ? this.#login : null;
    const token = options.caller?.token ?? (await own?.get()) ?? null;
    onAsked();
    const stream = link.client.makeServerStreamRequest(path, same, same, view(NOTHING), metadataOf(token));
    const cancel = (): void => stream.cancel();
    onceAborted(signal, cancel);
    if (signal.aborted) cancel();
    try {
      for await (const answer of stream as AsyncIterable<Buffer>) yield plain(answer);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      const failure = failureOf(error instanceof Error ? error : null);
      if (mayLoginHelp(failure.code)) own?.spoil(token);
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
    for (const { watches, keepAlives } of [this.#own, ...this.#lanes.values()]) {
      watches.close();
      keepAlives.close();
    }
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
      // A server that passes on somebody's call speaks for that one, token or none, and never for itself. Else the token is the
      // client's own, which may be fetched anew once.
      const login = options?.caller === undefined && path !== AUTHENTICATE ? this.#login : null;
      let token: string | null = options?.caller?.token ?? null;
      let logins = 1;
      const attempt = (): void => {
        call.sent = false;
        if (login !== null) {
          const known = login.now;
          if (known === undefined) return void login.get().then(attempt, (error: unknown) => call.fail(errorFrom(error)));
          token = known;
        }
        if (call.done) return;
        const link = this.#links.ready;
        if (link !== null) return send(link);
        call.giveUp = this.#links.whenReady(this.#connectTimeoutMs, (error, found) => {
          if (found === null) call.fail(error);
          else send(found);
        });
      };
      const send = (link: Link): void => {
        call.sent = true;
        const sent = link.client.makeUnaryRequest(path, same, same, view(bytes), metadataOf(token), {}, (error, answer) => {
          if (error === null && answer !== undefined) {
            if (call.finish()) settle(answer, decode, resolve, reject);
            return;
          }
          const failure = failureOf(error);
          const lost = LOST.has(failure.code);
          const elsewhere = ELSEWHERE.has(failure.code);
          if (lost || elsewhere) this.#links.suspect(link);
          if (call.done) return;
          if (login !== null && mayLoginHelp(failure.code) && logins-- > 0) {
            login.spoil(token);
            return attempt();
          }
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

  #loginOf({ user, password = '', token }: RemoteOptions): RemoteLogin | null {
    if (token !== undefined) return new RemoteLogin(token);
    return user === undefined ? null : new RemoteLogin(async () => (await this.authenticate(user, password)).token);
  }

  #laneOf(identity: Identity): Lane {
    const open: OpenStream = (path, handlers) => {
      const stream = new RemoteStream(this.#links, path, identity, handlers, () => this.#streams.delete(stream));
      this.#streams.add(stream);
      return stream;
    };
    const version = async (): Promise<string> => (await this.status()).version;
    const watches = new RemoteWatches({ open, clock: this.#clock, version });
    return { watches, keepAlives: new RemoteKeepAlives(open, this.#clock) };
  }

  /** A stream speaks for one caller: each token has its own, for as long as anything goes on there. */
  #lane({ caller }: api.CallOptions): Lane {
    if (caller === undefined || (caller.token === null && this.#login === null)) return this.#own;
    const token = caller.token ?? '';
    const known = this.#lanes.get(token) ?? this.#laneOf(caller.token);
    if (this.#lanes.size >= IDLE_LANES_MAX) this.#dropIdleLanes();
    this.#lanes.set(token, known);
    return known;
  }

  #dropIdleLanes(): void {
    for (const [token, { watches, keepAlives }] of this.#lanes) {
      if (!watches.isIdle || !keepAlives.isIdle) continue;
      watches.close();
      keepAlives.close();
      this.#lanes.delete(token);
    }
  }
}

/** Another try, or another endpoint, may well do. */
const LOST: ReadonlySet<string> = new Set(['connection_lost', 'unavailable', 'stopped']);
/** This member cannot, and another may: it has no leader, it lost its leader under the call, or it is a learner. */
const ELSEWHERE: ReadonlySet<string> = new Set(['no_leader', 'timeout', 'timeout_leader_lost', 'learner_unsupported']);
const NOTHING = new Uint8Array(0);
const NO_METADATA = new Metadata();
const AUTHENTICATE = '/etcdserverpb.Auth/Authenticate';
/** Streams of callers that are gone are looked for when there are this many. */
const IDLE_LANES_MAX = 100;

interface Lane {
  readonly watches: RemoteWatches;
  readonly keepAlives: RemoteKeepAlives;
}

function metadataOf(token: string | null): Metadata {
  if (token === null) return NO_METADATA;
  const metadata = new Metadata();
  metadata.set('token', token);
  return metadata;
}

function errorFrom(error: unknown): ApiError {
  return isApiError(error) ? error : new ApiError('internal', { detail: 'no token could be had', cause: error });
}

type Decode<T> = (answer: Uint8Array) => T;
/** Before a call that surely did not happen, or only reads, is tried again. */
const RETRY_MS = 20;

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

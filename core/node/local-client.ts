// LocalClient implements Client (and Admin) in the node's own process: home 1, on the leader as on any other member. Its job
// is the bridge from callbacks to promises. It validates what can be judged before the log (store/check.ts), so that a
// refused request never costs an entry. On a learner only `status` and serializable reads are served (contract 7).
//
// It is as long as the interface is: a short method for each of its calls.

import { onceAborted } from '../base/abort.js';
import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import { Crowd, type InCrowd } from '../base/crowd.js';
import type { Done } from '../base/done.js';
import { Fifo } from '../base/fifo.js';
import type { Prng } from '../base/prng.js';
import type * as api from '../client.js';
import { ApiError, canceled, type ErrorCode } from '../errors.js';
import {
  refuseCommoner, refuseRead, refuseReadOfAll, refuseStranger, refuseTxn, refuseWatch, refuseWriteOfAll,
} from '../store/access.js';
import type { AuthTable } from '../store/auth.js';
import { checkRange, checkTxn, isReadOnly, isSerializable, type Limits } from '../store/check.js';
import { LEASE_COST, txnCost } from '../store/cost.js';
import { envelopeOf } from '../store/request-size.js';
import { Foresight } from '../store/foresight.js';
import { isPoint } from '../store/range.js';
import type { Reply, Store } from '../store/store.js';
import { PairList } from '../store/telling.js';
import type { Command } from '../store/command.js';
import type { ChangeRequest } from './calls.js';
import { attempt } from './caught.js';
import { Gate, type GateDoors } from './gate.js';
import { watchesPerLook, watchesPerSweep, watchSweepMs, watchTurnMs, type NodeLimits } from './limits.js';
import { LocalAuth } from './local-auth.js';
import { LocalSnapshot } from './local-snapshot.js';
import { LocalWatch } from './local-watch.js';
import { NEEDS } from './needs.js';
import type { Node } from './node.js';
import type { LoginCounts } from './passwords.js';
import { Quota } from './quota.js';
import { Readings } from './readings.js';

export interface LocalClientConfig {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  /** What `status` reports: the etcd release whose API is served. */
  readonly version: string;
  readonly electionMs: number;
  readonly limits: NodeLimits;
  /** Of new passwords. */
  readonly bcryptCost: number;
}

// A lease shorter than this would expire during an ordinary election (contract 6: ceil of 1.5 election time-outs).
const LEASE_TTL_MIN_ELECTIONS = 1.5;
const LEASE_TTL_MAX_SECONDS = 9_000_000_000;

export interface LocalClientDoors extends GateDoors {
  readonly dice: Prng;
}

export class LocalClient implements api.Backend, api.RangeSource {
  readonly #node: Node;
  readonly #clock: Clock;
  readonly #dice: Prng;
  readonly #config: LocalClientConfig;
  readonly #watches = new Set<LocalWatch>();
  /** Of them, those that are to be told. */
  readonly #woken = new Fifo<LocalWatch>();
  #isWaking = false;
  #lastHeader: api.Header | null = null;
  readonly #snapshots = new Set<LocalSnapshot>();
  readonly #quota: Quota;
  readonly #limits: Limits;
  readonly #gate: Gate;
  readonly #auth: LocalAuth;
  readonly #readings: Readings;
  /** Keys of reads that wait until the store is new enough: all that wait together go together. */
  readonly #foresight = new Foresight();
  #closed = false;
  #isSweeping = false;
  /** The auth revision all watches were last held against; -1: auth was off. Each is judged as it opens. */
  #sweptAt = -1;
  readonly #open = new Crowd<OpenCall>();

  /** `dice` picks lease ids: seed it from the system's randomness, ids must not repeat across restarts. */
  constructor(node: Node, doors: LocalClientDoors, config: LocalClientConfig) {
    this.#node = node;
    this.#clock = doors.clock;
    this.#dice = doors.dice;
    this.#config = config;
    this.#limits = { ...config.limits, envelope: envelopeOf(config.memberId) };
    this.#gate = new Gate(node, doors, config.bcryptCost);
    this.#auth = new LocalAuth(node, this.#gate, { header: () => this.#header(), limits: config.limits });
    this.#readings = new Readings({ clock: doors.clock, store: () => node.store, isRunning: () => node.running });
    this.#quota = new Quota(config.memberId, config.limits, {
      store: () => node.store,
      submit: (command, done) => node.desk.submit(command, done),
    });
  }

  range(request: api.RangeRequest, options?: api.CallOptions): Promise<api.RangeResponse> {
    return this.rangeAs(request, () => new PairList(), options);
  }

  rangeAs<T>(request: api.RangeRequest, formOf: () => api.RangeForm<T>, options?: api.CallOptions): Promise<T> {
    if (isPoint(request)) return this.#pointAs(request, formOf, options);
    let isGivenUp = false;
    const answer = this.#read<T>(request, options, (done) => this.#readings.read({
      keysIn: (store) => store.keysIn(request),
      begin: (store) => this.#refuseRange(request, options?.caller) ?? store.reading(request),
      header: () => this.#header(),
      formOf,
      isGivenUp: () => isGivenUp,
    }, done));
    // Whether its caller has left, its time is over, or this client was closed.
    answer.catch(() => {
      isGivenUp = true;
    });
    return answer;
  }

  #pointAs<T>(request: api.RangeRequest, formOf: () => api.RangeForm<T>, options?: api.CallOptions): Promise<T> {
    return this.#read<T>(request, options, (done, expected) => {
      const refusal = this.#refuseRange(request, options?.caller);
      if (refusal !== null) return done(new ApiError(refusal));
      const { store } = this.#node;
      if (!this.#foresight.isEmpty) store.look(this.#foresight, true);
      const point = store.point(request, this.#foresight.slotOf(expected));
      if (typeof point === 'string') return done(new ApiError(point));
      // What cannot be said, for want of memory say, fails this read and no other.
      const answer = attempt(() => formOf().only({ header: this.#header(), more: false, count: point.count }, point.pair));
      if (answer instanceof Error) done(answer);
      else done(null, answer);
    });
  }

  /** `answer` once the store is as new as the request demands. `expected`: what foresight is asked with; -1: nothing. */
  #read<T>(
    request: api.RangeRequest, options: api.CallOptions | undefined, answer: (done: Done<T>, expected: number) => void,
  ): Promise<T> {
    const isLocal = request.serializable === true;
    return this.#call<T>('range', options, (done) => {
      const code = checkRange(request);
      if (code !== null) return done(new ApiError(code));
      if (isLocal) return answer(done, -1);
      const expected = isPoint(request) && this.#node.store.isLarge ? this.#foresight.expect(request.key) : -1;
      this.#node.desk.read((error) => (error === null ? answer(done, expected) : done(error)));
    }, isLocal);
  }

  #refuseRange(request: api.RangeRequest, caller: api.Caller | undefined): ErrorCode | null {
    const { store, totals } = this.#node;
    const refusal = caller !== undefined && store.auth.isEnabled ? refuseRead(store.auth, caller, request) : null;
    if (refusal === null) totals.ranges += 1;
    return refusal;
  }

  txn(request: api.TxnRequest, options?: api.CallOptions): Promise<api.TxnResponse> {
    return this.#call<api.TxnResponse>('txn', options, (done) => {
      // Before it is looked at any closer, as in etcd.
      if (!this.#quota.isAmple && !this.#quota.hasRoom(txnCost(request))) return this.#quota.refuse(done);
      const code = checkTxn(request, this.#limits, this.#node.store.auth.isEnabled ? options?.caller : null);
      if (code !== null) return done(new ApiError(code));
      const settle = (error: Error | null, reply?: Reply): void => {
        const answer = this.#expect('txn', error, reply, done);
        if (answer === null) return;
        const { revision, succeeded, responses } = answer;
        done(null, { header: this.#header(revision), succeeded, responses });
      };
      if (!isReadOnly(request)) return this.#auth.propose({ kind: 'txn', request }, options, settle);
      const answer = (): void => {
        const refusal = this.#auth.judge(options?.caller, (auth, caller) => refuseTxn(auth, caller, request, noLeases));
        if (refusal !== null) return done(new ApiError(refusal));
        const reply = this.#node.store.read(request);
        if (reply.kind === 'txn') this.#node.totals.onOps(reply.responses);
        settle(null, reply);
      };
      if (isSerializable(request)) answer();
      else this.#node.desk.read((error) => (error === null ? answer() : done(error)));
    });
  }

  watch(request: api.WatchRequest, options: api.CallOptions = {}): api.Watch {
    const { caller } = options;
    const watch = new LocalWatch(this.#closed ? null : this.#node, request, {
      clock: this.#clock,
      header: (revision) => this.#watchHeader(revision),
      progressMs: this.#progressMs(),
      wake: (woken) => this.#wake(woken),
      delivered: (events) => void (this.#node.totals.events += events),
      onEnd: (ended) => this.#watches.delete(ended),
      ...(caller === undefined ? {} : { judge: () => this.#auth.judge(caller, (auth) => refuseWatch(auth, caller, request)) }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    // Who comes must know how things stand now; who is there already need not (see refuseWatch).
    const refusal = this.#auth.judge(caller, (auth, asker) => refuseRead(auth, asker, request));
    if (refusal !== null) watch.fail(new ApiError(refusal));
    const { watchersMax } = this.#config.limits;
    if (this.#node.hub.watcherCount > watchersMax) watch.fail(limitReached(`this member has ${watchersMax} watches`));
    if (watch.isOpen) this.#watches.add(watch);
    if (caller !== undefined && watch.isOpen) this.#scheduleSweep();
    return watch;
  }

  grant(ttlSeconds: number, options: api.GrantOptions = {}): Promise<api.Lease> {
    return this.#call<api.Lease>('grant', options, (done) => {
      if (!this.#quota.isAmple && !this.#quota.hasRoom(LEASE_COST)) return this.#quota.refuse(done);
      if (ttlSeconds > LEASE_TTL_MAX_SECONDS) return done(new ApiError('lease_ttl_too_large'));
      if (options.id !== undefined && BigInt.asIntN(64, options.id) !== options.id) {
        return done(new ApiError('invalid_request', { detail: `lease id ${options.id} does not fit into 64 bits` }));
      }
      const { leasesMax } = this.#config.limits;
      if (this.#node.store.leaseCount >= leasesMax) return done(limitReached(`there are ${leasesMax} leases`));
      const least = Math.ceil((LEASE_TTL_MIN_ELECTIONS * this.#config.electionMs) / 1000);
      const id = options.id === undefined || options.id === 0n ? this.#freeLeaseId() : options.id;
      const command: Command = { kind: 'lease_grant', id, ttlSeconds: Math.max(Math.ceil(ttlSeconds), least) };
      this.#auth.propose(command, options, (error, reply) => {
        const answer = this.#expect('lease_grant', error, reply, done);
        if (answer === null) return;
        done(null, { header: this.#header(answer.revision), id: answer.id, ttlSeconds: answer.ttlSeconds });
      });
    });
  }

  keepAlive(lease: api.LeaseId, options?: api.CallOptions): Promise<api.KeepAlive> {
    return this.#call<api.KeepAlive>('keepAlive', options, (done) => {
      this.#renew([lease], options?.caller, (error, ttlSeconds) => {
        if (error !== null) done(error);
        else done(null, { header: this.#header(), ttlSeconds: ttlSeconds?.[0] ?? 0 });
      });
    });
  }

  keepAliveAll(leases: readonly api.LeaseId[], options?: api.CallOptions): Promise<api.KeptAlive> {
    return this.#call<api.KeptAlive>('keepAliveAll', options, (done) => {
      this.#renew(leases, options?.caller, (error, ttlSeconds) => {
        if (error !== null) done(error);
        else done(null, { header: this.#header(), ttlSeconds: ttlSeconds ?? [] });
      });
    });
  }

  revoke(lease: api.LeaseId, options?: api.CallOptions): Promise<api.Header> {
    return this.#call<api.Header>('revoke', options, (done) => {
      this.#auth.propose({ kind: 'lease_revoke', id: lease, term: 0, granted: 0 }, options, (error, reply) => {
        const answer = this.#expect('lease_revoke', error, reply, done);
        if (answer !== null) done(null, this.#header(answer.revision));
      });
    });
  }

  compact(revision: api.Revision, options?: api.CallOptions & { physical?: boolean }): Promise<api.Header> {
    return this.#call<api.Header>('compact', options, (done) => {
      this.#auth.propose({ kind: 'compact', revision }, options, (error, reply) => {
        const answer = this.#expect('compact', error, reply, done);
        if (answer !== null) done(null, this.#header(answer.revision));
      });
    });
  }

  leaseInfo(lease: api.LeaseId, options: api.CallOptions & { keys?: boolean } = {}): Promise<api.LeaseInfo> {
    return this.#call<api.LeaseInfo>('leaseInfo', options, (done) => {
      this.#node.desk.leaseRemaining(lease, (error, leftMs) => {
        if (error !== null) return done(error);
        // The leader's answer may be ahead of this store: what it has to say of the keys is read after catching up.
        this.#node.desk.read((readError) => {
          if (readError !== null) return done(readError);
          const keys = (): Iterable<Uint8Array> => (options.keys === true ? this.#node.store.keysOn(lease) : []);
          const refusal = this.#auth.judge(options.caller, (auth, caller) => refuseReadOfAll(auth, caller, keys));
          if (refusal !== null) return done(new ApiError(refusal));
          const known = this.#node.store.lease(lease);
          const gone = known === null || leftMs === null || leftMs === undefined;
          done(null, {
            header: this.#header(),
            id: lease,
            ttlSeconds: gone ? -1 : Math.max(0, Math.floor(leftMs / 1000)),
            grantedTtlSeconds: gone ? 0 : known.ttlSeconds,
            keys: gone || options.keys !== true ? [] : this.#node.store.leaseKeys(lease),
          });
        });
      });
    });
  }

  /** Ordered by remaining time, as etcd lists them, where this member knows it: the leader does. */
  leases(options?: api.CallOptions): Promise<{ header: api.Header; ids: readonly api.LeaseId[] }> {
    let isGivenUp = false;
    const answer = this.#call<{ header: api.Header; ids: readonly api.LeaseId[] }>('leases', options, (done) => {
      const keysOf = function* (store: Store): Iterable<Uint8Array> {
        for (const { id } of store.leases()) yield* store.keysOn(id);
      };
      this.#readings.leases({
        begin: (store) => this.#auth.judge(options?.caller, (auth, caller) => refuseReadOfAll(auth, caller, () => keysOf(store))),
        leftHere: (id) => this.#node.leaseRemainingHere(id),
        isGivenUp: () => isGivenUp,
      }, (error, ids) => {
        if (error !== null) done(error);
        else done(null, { header: this.#header(), ids: ids ?? [] });
      });
    });
    answer.catch(() => {
      isGivenUp = true;
    });
    return answer;
  }

  status(options?: api.CallOptions): Promise<api.StatusResponse> {
    return this.#call<api.StatusResponse>('status', options, (done) => {
      const raft = this.#node.status();
      const store = this.#node.store;
      done(null, {
        header: this.#header(),
        version: this.#config.version,
        dbSizeBytes: store.dbSizeBytes,
        dbSizeInUseBytes: store.dbSizeInUseBytes,
        leader: raft.leader,
        raftIndex: raft.commit,
        raftAppliedIndex: raft.applied,
        raftTerm: raft.term,
        errors: [...(raft.leader === 0n ? ['etcdserver: no leader'] : []), ...store.alarms().map(alarmText)],
        isLearner: this.#node.isLearner,
      });
    }, true);
  }

  members(options: api.CallOptions & { linearizable?: boolean } = {}): Promise<api.MembersResponse> {
    return this.#call<api.MembersResponse>('members', options, (done) => {
      if (options.linearizable !== true) return done(null, this.#members());
      this.#node.desk.read((error) => (error === null ? done(null, this.#members()) : done(error)));
    });
  }

  addMember(request: { peerUrls: readonly string[]; isLearner?: boolean }, options?: api.CallOptions): Promise<api.MemberAdded> {
    return this.#call<api.MemberAdded>('addMember', options, (done) => {
      const id = this.#freeMemberId();
      const { peerUrls, isLearner = false } = request;
      this.#node.desk.changeMembers({ kind: 'add', id, peerUrls, isLearner }, options?.caller ?? null, (error) => {
        if (error !== null) return done(error);
        const all = this.#members();
        // It may have been removed again by the time this member hears of it.
        const member = all.members.find((each) => each.id === id) ?? { id, name: '', peerUrls, clientUrls: [], isLearner };
        done(null, { ...all, member });
      });
    });
  }

  removeMember(id: bigint, options?: api.CallOptions): Promise<api.MembersResponse> {
    return this.#changeMembers('removeMember', { kind: 'remove', id }, options);
  }

  updateMember(id: bigint, peerUrls: readonly string[], options?: api.CallOptions): Promise<api.MembersResponse> {
    return this.#call<api.MembersResponse>('updateMember', options, (done) => {
      const command: Command = { kind: 'member_update', id, name: null, peerUrls, clientUrls: null, incarnation: 0n };
      this.#auth.propose(command, options, (error, reply) => {
        if (this.#expect('member_update', error, reply, done) !== null) done(null, this.#members());
      });
    });
  }

  promoteMember(id: bigint, options?: api.CallOptions): Promise<api.MembersResponse> {
    return this.#changeMembers('promoteMember', { kind: 'promote', id }, options);
  }

  moveLeader(to: bigint, options?: api.CallOptions): Promise<api.Header> {
    return this.#call<api.Header>('moveLeader', options, (done) => {
      this.#node.desk.transfer(to, (error) => (error === null ? done(null, this.#header()) : done(error)));
    });
  }

  snapshot(options: api.CallOptions = {}): api.SnapshotStream {
    const refusal = this.#refusal('snapshot', options.caller, true);
    const stream = new LocalSnapshot(refusal ?? this.#node.store.freeze(), {
      clock: this.#clock,
      onEnd: (ended) => this.#snapshots.delete(ended),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    if (stream.isOpen) this.#snapshots.add(stream);
    return stream;
  }

  hash(revision: api.Revision, options?: api.CallOptions): Promise<api.HashResponse> {
    return this.#call<api.HashResponse>('hash', options, (done) => {
      this.#node.upkeep.hasher.hash(revision, (error, result) => {
        if (error !== null) return done(error);
        assert(result !== undefined, 'a hash without an error is a hash');
        done(null, { header: this.#header(), hash: result.hash, compactRevision: result.compactRevision });
      });
    });
  }

  alarm({ action, memberId, kind }: api.AlarmRequest, options?: api.CallOptions): Promise<api.AlarmsResponse> {
    return this.#call<api.AlarmsResponse>('alarm', options, (done) => {
      if (action === 'list') {
        return this.#node.desk.read((error) => {
          if (error !== null) return done(error);
          const refusal = this.#auth.judge(options?.caller, refuseStranger);
          if (refusal !== null) return done(new ApiError(refusal));
          done(null, { header: this.#header(), alarms: this.#node.store.alarms(memberId, kind) });
        });
      }
      const refusal = this.#auth.judge(options?.caller, refuseCommoner);
      if (refusal !== null) return done(new ApiError(refusal));
      if (kind === null) return done(null, { header: this.#header(), alarms: [] });
      this.#auth.propose({ kind: 'alarm', action, alarm: { memberId, kind } }, options, (error, reply) => {
        const answer = this.#expect('alarm', error, reply, done);
        if (answer !== null) done(null, { header: this.#header(answer.revision), alarms: answer.alarms });
      });
    });
  }

  defragment(options?: api.CallOptions): Promise<api.Header> {
    return this.#call<api.Header>('defragment', options, (done) => {
      this.#node.defragment((error) => (error === null ? done(null, this.#header()) : done(error)));
    });
  }

  identify(credentials: api.Credentials): api.Caller | null | Promise<api.Caller | null> {
    const found = this.#gate.look(credentials);
    if (found === 'later') return this.#call('identify', undefined, (done) => this.#gate.identify(credentials, done), true);
    if (found instanceof ApiError) throw found;
    return found;
  }

  authenticate(name: string, password: string, options?: api.CallOptions): Promise<{ header: api.Header; token: string }> {
    return this.#call('authenticate', options, (done) => this.#auth.authenticate(name, password, done));
  }

  authStatus(options?: api.CallOptions): Promise<api.AuthStatus> {
    return this.#call('authStatus', options, (done) => this.#auth.status(done));
  }

  changeAuth(change: api.AuthChange, options?: api.CallOptions): Promise<api.Header> {
    return this.#call('changeAuth', options, (done) => this.#auth.change(change, options, done));
  }

  user(name: string, options?: api.CallOptions): Promise<{ header: api.Header; roles: readonly string[] }> {
    return this.#call('user', options, (done) => this.#auth.user(name, options, done));
  }

  users(options?: api.CallOptions): Promise<{ header: api.Header; names: readonly string[] }> {
    return this.#call('users', options, (done) => this.#auth.users(options, done));
  }

  role(name: string, options?: api.CallOptions): Promise<{ header: api.Header; permissions: readonly api.Permission[] }> {
    return this.#call('role', options, (done) => this.#auth.role(name, options, done));
  }

  roles(options?: api.CallOptions): Promise<{ header: api.Header; names: readonly string[] }> {
    return this.#call('roles', options, (done) => this.#auth.roles(options, done));
  }

  get logins(): LoginCounts {
    return this.#gate.passwords.counts;
  }

  /** Ends this client, not the node. */
  close(): Promise<void> {
    this.#closed = true;
    // Calls under way may have happened: 'canceled' says so, 'closed' would deny it.
    for (const call of this.#open.list()) call.cancel(new ApiError('canceled', { detail: 'the client was closed meanwhile' }));
    for (const watch of [...this.#watches]) watch.close();
    for (const stream of [...this.#snapshots]) stream.close();
    return Promise.resolve();
  }

  /** The node has stopped: watches end with `stopped`, as calls do. */
  nodeStopped(): void {
    for (const watch of [...this.#watches]) watch.fail(new ApiError('stopped'));
    for (const stream of [...this.#snapshots]) stream.fail(new ApiError('stopped'));
  }

  #header(revision: number = this.#node.store.revision): api.Header {
    const { clusterId, memberId } = this.#config;
    return { clusterId, memberId, revision, raftTerm: this.#node.role.term };
  }

  /** One for all watches that are told of the same revision: whoever writes it knows it again. */
  #watchHeader(revision: number): api.Header {
    const last = this.#lastHeader;
    if (last !== null && last.revision === revision && last.raftTerm === this.#node.role.term) return last;
    this.#lastHeader = this.#header(revision);
    return this.#lastHeader;
  }

  /**
   * Watches are told behind the node's turn and together, so that each finds all that the turn brought, and behind the answers
   * of that turn: whoever wrote need not wait for those who watch. Very many are told in several turns of the loop: what else
   * comes in is looked at in between.
   */
  #wake(watch: LocalWatch): void {
    this.#woken.push(watch);
    if (this.#isWaking) return;
    this.#isWaking = true;
    this.#clock.schedule(0, () => this.#tellWoken());
  }

  #tellWoken(): void {
    const untilMs = this.#clock.now() + watchTurnMs;
    for (let told = 1; ; told++) {
      const watch = this.#woken.shift();
      if (watch === undefined) break;
      const isLong = watch.tell();
      if ((isLong || told % watchesPerLook === 0) && this.#clock.now() >= untilMs) break;
    }
    this.#isWaking = this.#woken.length > 0;
    if (this.#isWaking) this.#clock.schedule(0, () => this.#tellWoken());
  }

  /** Watches are also held against permissions while nothing happens on them; for as long as there are any, and auth is on. */
  #scheduleSweep(): void {
    if (this.#isSweeping) return;
    this.#isSweeping = true;
    this.#clock.schedule(watchSweepMs, () => {
      const { isEnabled, revision } = this.#node.store.auth;
      const now = isEnabled ? revision : -1;
      const meant = now === this.#sweptAt ? new Set<LocalWatch>() : this.#watches;
      this.#sweptAt = now;
      this.#sweep(meant.values());
    });
  }

  /** Those that end meanwhile are passed over, and those that are opened were judged just now. */
  #sweep(rest: Iterator<LocalWatch>): void {
    for (let i = 0; i < watchesPerSweep; i++) {
      const next = rest.next();
      if (next.done === true) {
        this.#isSweeping = false;
        if (this.#watches.size > 0 && this.#node.running) this.#scheduleSweep();
        return;
      }
      next.value.review();
    }
    this.#clock.schedule(0, () => this.#sweep(rest));
  }

  #progressMs(): number {
    const { progressNotifyMs } = this.#config.limits;
    return progressNotifyMs + this.#dice.below(Math.max(1, Math.floor(progressNotifyMs / 10)));
  }

  #freeLeaseId(): api.LeaseId {
    for (;;) {
      const id = this.#dice.id63();
      if (this.#node.store.lease(id) === null) return id;
    }
  }

  /** An id is never used twice, so it must be nobody's and have been nobody's; the leader looks again. */
  #freeMemberId(): bigint {
    const { store } = this.#node;
    for (;;) {
      const id = this.#dice.id63();
      if (!store.isRemoved(id) && !store.members().some((member) => member.id === id)) return id;
    }
  }

  #changeMembers(
    method: 'removeMember' | 'promoteMember', change: ChangeRequest, options: api.CallOptions | undefined,
  ): Promise<api.MembersResponse> {
    return this.#call<api.MembersResponse>(method, options, (done) => {
      this.#node.desk.changeMembers(change, options?.caller ?? null, (error) => {
        if (error === null) done(null, this.#members());
        else done(error);
      });
    });
  }

  #members(): api.MembersResponse {
    const members = this.#node.store.members().map(({ id, name, peerUrls, clientUrls, isLearner }) => {
      return { id, name, peerUrls, clientUrls, isLearner };
    });
    return { header: this.#header(0), members };
  }

  #renew(leases: readonly api.LeaseId[], caller: api.Caller | undefined, done: Done<readonly number[]>): void {
    const { desk, store } = this.#node;
    if (caller === undefined || !store.auth.isEnabled) return desk.keepAlive(leases, done);
    const keys = function* (): Iterable<Uint8Array> {
      for (const id of leases) yield* store.keysOn(id);
    };
    const refuse = (auth: AuthTable): ErrorCode | null => refuseWriteOfAll(auth, caller, keys);
    this.#auth.mayRenew(caller, refuse, (error) => (error === null ? desk.keepAlive(leases, done) : done(error)));
  }

  /** The reply as the kind asked for; otherwise settles `done` with the error and returns null. */
  #expect<K extends Reply['kind']>(
    kind: K,
    error: Error | null,
    reply: Reply | undefined,
    done: (error: Error) => void,
  ): Extract<Reply, { kind: K }> | null {
    if (error !== null) {
      done(error);
      return null;
    }
    assert(reply !== undefined, 'a proposal without an error has a reply');
    if (reply.kind === 'error') {
      done(new ApiError(reply.code));
      return null;
    }
    assert(isKind(reply, kind), `a ${kind} is answered by a ${kind}`);
    return reply;
  }

  /** Why nothing can be asked at all; null: it can. */
  #refusal(method: keyof typeof NEEDS, caller: api.Caller | undefined, onLearnerToo: boolean): ApiError | null {
    if (this.#closed) return new ApiError('closed');
    if (!this.#node.running) return new ApiError('stopped');
    if (this.#node.isLearner && !onLearnerToo) return new ApiError('learner_unsupported');
    const code = caller === undefined ? null : this.#auth.refusal(NEEDS[method], caller);
    return code === null ? null : new ApiError(code);
  }

  #call<T>(
    method: keyof typeof NEEDS, options: api.CallOptions | undefined, start: (done: Done<T>) => void, onLearnerToo = false,
  ): Promise<T> {
    const refusal = this.#refusal(method, options?.caller, onLearnerToo);
    if (refusal !== null) return Promise.reject(refusal);
    if (options?.signal === undefined && options?.timeoutMs === undefined) return this.#plainCall(start);
    return this.#boundedCall(options, start);
  }

  #plainCall<T>(start: (done: Done<T>) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const call: OpenCall = { place: -1, cancel: reject };
      this.#open.add(call);
      begin(start, (error, value) => {
        this.#open.delete(call);
        if (error !== null) reject(error);
        else resolve(value as T);
      });
    });
  }

  #boundedCall<T>(options: api.CallOptions, start: (done: Done<T>) => void): Promise<T> {
    const { signal, timeoutMs } = options;
    if (signal?.aborted === true) return Promise.reject(canceled(signal.reason));
    return new Promise<T>((resolve, reject) => {
      const onAbort = (): void => call.cancel(canceled(signal?.reason));
      const stopTimer =
        timeoutMs === undefined
          ? () => undefined
          : this.#clock.schedule(timeoutMs, () => call.cancel(new ApiError('deadline_exceeded')));
      const finish = (): void => {
        this.#open.delete(call);
        stopTimer();
        signal?.removeEventListener('abort', onAbort);
      };
      const call: OpenCall = {
        place: -1,
        cancel: (error) => {
          finish();
          reject(error);
        },
      };
      this.#open.add(call);
      onceAborted(signal, onAbort);
      begin(start, (error, value) => {
        finish();
        if (error !== null) reject(error);
        else resolve(value as T);
      });
    });
  }
}

/** A call under way. */
interface OpenCall extends InCrowd {
  readonly cancel: (error: ApiError) => void;
}

/** What `start` throws, because it was handed no request at all, is an outcome like any other. */
function begin<T>(start: (done: Done<T>) => void, done: Done<T>): void {
  try {
    start(done);
  } catch (error) {
    done(error instanceof Error ? error : new Error(String(error)));
  }
}

function limitReached(what: string): ApiError {
  return new ApiError('limit_reached', { detail: `${what}, and no more are kept; end those that nobody needs` });
}

/** As etcd's status lists it, with a space at the end. */
function alarmText({ memberId, kind }: api.Alarm): string {
  return `memberID:${memberId} alarm:${kind === 'no_space' ? 'NOSPACE' : 'CORRUPT'} `;
}

/** What reads only puts nothing on a lease. */
function noLeases(): readonly Uint8Array[] {
  return [];
}

function isKind<K extends Reply['kind']>(reply: Reply, kind: K): reply is Extract<Reply, { kind: K }> {
  return reply.kind === kind;
}

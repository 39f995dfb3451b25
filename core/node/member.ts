// A member, put together: who it is by its disk or by its settings, its log opened or founded, its node, its client. The one
// construction that startNode and the simulator share; no promises, and everything of the world comes through `doors`.
//
//   identity on disk? ─ yes: that is who it is, and bootstrap settings are ignored, as etcd ignores them
//                     └ no: a founder's log begins with the configuration of all founders; a joiner's log is empty

import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { TokenSigner } from '../base/jwt.js';
import { Prng } from '../base/prng.js';
import type { Secrets } from '../base/secrets.js';
import type { LogStorage } from '../log/log-storage.js';
import type { Traffic, Transport } from '../peer/transport.js';
import type { Observe } from './events.js';
import { bcryptCost } from './limits.js';
import { LocalClient } from './local-client.js';
import { Node } from './node.js';
import type { LoginCounts } from './passwords.js';
import type { Settings } from './settings.js';
import type { TotalsFacts } from './totals.js';

/** Whose data a directory holds. */
export interface MemberIdentity {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  /** The life of the data directory: another one under the same id has lost its disk. */
  readonly incarnation: bigint;
}

export interface MemberConfig extends Settings {
  /** Who it is if there is no data yet; otherwise the disk decides. The incarnation is 63 random bits. */
  readonly identity: MemberIdentity;
  /** What `status` reports. */
  readonly version: string;
  /** All chance of this life: jitter, lease ids, the name of the process start. Must differ from start to start. */
  readonly seed: number;
}

export interface MemberDoors {
  readonly clock: Clock;
  readonly observe: Observe;
  readonly secrets: Secrets;
  /** How tokens are signed; absent: they are not, but remembered. */
  readonly signer?: TokenSigner;
  /** Whose data there is; null: none yet. */
  readIdentity(done: Done<MemberIdentity | null>): void;
  /** The log of that member, not yet opened. */
  openLog(identity: MemberIdentity): LogStorage;
  /** Null: alone, without a network. */
  readonly connect: ((identity: MemberIdentity) => Transport) | null;
}

/** For metrics and health; cheap. */
export interface NodeFacts {
  readonly state: 'follower' | 'candidate' | 'leader';
  readonly term: number;
  readonly leader: bigint;
  readonly isLearner: boolean;
  readonly committed: number;
  readonly applied: number;
  readonly proposalsPending: number;
  readonly revision: number;
  readonly compacted: number;
  readonly keys: number;
  readonly leases: number;
  readonly watchers: number;
  readonly slowWatchers: number;
  /** Rises with each change of users and roles. */
  readonly authRevision: number;
  /** Events that wait for watches to take them. */
  readonly pendingEvents: number;
  /** Since the start. */
  readonly totals: TotalsFacts;
  readonly failures: { readonly proposals: number; readonly lateReads: number; readonly reads: number };
  /** Names and passwords that came here: wrong ones, and those that were not looked at because too many came. */
  readonly logins: LoginCounts;
  /** The other members, ascending. `match` and `isActive` are known to the leader only; else 0 and the connection. */
  readonly peers: readonly {
    readonly id: bigint;
    readonly match: number;
    readonly isActive: boolean;
    /** Bytes of frames that left for it and came from it; null without a network that counts. */
    readonly traffic: Traffic | null;
  }[];
}

export class Member {
  readonly #config: MemberConfig;
  readonly #doors: MemberDoors;
  #identity: MemberIdentity | null = null;
  #node: Node | null = null;
  #client: LocalClient | null = null;

  constructor(config: MemberConfig, doors: MemberDoors) {
    this.#config = config;
    this.#doors = doors;
  }

  /** Who it is; once started. */
  get identity(): MemberIdentity {
    assert(this.#identity !== null, 'a member that was not started has no identity');
    return this.#identity;
  }

  get node(): Node {
    assert(this.#node !== null, 'a member that was not started has no node');
    return this.#node;
  }

  get client(): LocalClient {
    assert(this.#client !== null, 'a member that was not started has no client');
    return this.#client;
  }

  /**
   * Done when it takes part, which is before it has a leader; an error means that it never did, and everything is closed.
   * `onEnd` is called once when it stops later on: with null if that was asked for, else with what stopped it.
   */
  start(onEnd: (error: Error | null) => void, done: Done): void {
    const { identity: newborn } = this.#config;
    this.#doors.readIdentity((error, found) => {
      if (error !== null) return done(error);
      const identity = found ?? newborn;
      this.#identity = identity;
      this.#start(identity, onEnd, done);
    });
  }

  /**
   * Done once it serves: a leader is known, the cluster knows how it is called and reached, and it has read what was
   * acknowledged before. Fails only when it stops first.
   */
  whenReady(done: Done): void {
    this.node.desk.whenReady(done);
  }

  /**
   * Stops taking part; calls and watches end with `stopped`. A leader hands leadership over first, for two election
   * time-outs at most. Idempotent.
   */
  stop(done: Done): void {
    const node = this.#node;
    if (node === null) return void this.#doors.clock.schedule(0, () => done(null));
    node.desk.handOver(() => node.stop(done));
  }

  facts(): NodeFacts {
    const raft = this.node.status();
    const { store, hub, isLearner, desk, totals } = this.node;
    const progress = new Map(raft.peers.map((peer) => [peer.id, peer]));
    const others = store.members().filter(({ id }) => id !== this.identity.memberId);
    return {
      state: raft.state,
      term: raft.term,
      leader: raft.leader,
      isLearner,
      committed: raft.commit,
      applied: raft.applied,
      proposalsPending: desk.proposalsPending,
      revision: store.revision,
      compacted: store.compacted,
      keys: store.keyCount,
      leases: store.leaseCount,
      watchers: hub.watcherCount,
      slowWatchers: hub.slowWatcherCount,
      authRevision: store.auth.revision,
      pendingEvents: hub.pendingEventCount,
      totals,
      failures: desk.failures,
      logins: this.client.logins,
      peers: others.map(({ id }) => {
        const peer = progress.get(id);
        const isActive = peer?.isActive ?? this.node.isConnected(id);
        return { id, match: peer?.match ?? 0, isActive, traffic: this.node.traffic(id) };
      }),
    };
  }

  #start(identity: MemberIdentity, onEnd: (error: Error | null) => void, done: Done): void {
    const { clusterId, memberId, incarnation } = identity;
    const config = this.#config;
    const dice = new Prng(config.seed);
    // Settings for founding count only for the very cluster and member whose directory this is.
    const isSame = clusterId === config.identity.clusterId && memberId === config.identity.memberId;
    const { clock, observe } = this.#doors;
    const node = new Node({
      ...config, id: memberId, clusterId, incarnation, founders: isSame ? config.founders : [],
      session: dice.u32(), seed: dice.u32(),
    }, { clock, observe, log: this.#doors.openLog(identity), transport: this.#doors.connect?.(identity) ?? null });
    const { version, electionMs, limits, auth } = config;
    const told = { clusterId, memberId, version, electionMs, limits, bcryptCost: auth?.bcryptCost ?? bcryptCost };
    const { secrets, signer } = this.#doors;
    const client = new LocalClient(node, { clock, secrets, signer: signer ?? null, dice: new Prng(dice.u32()) }, told);
    this.#node = node;
    this.#client = client;
    node.start((error) => {
      client.nodeStopped();
      onEnd(error);
    }, done);
  }
}

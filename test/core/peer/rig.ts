// Members' peers on a simulated clock and a switchboard, with logs that keep snapshots in memory, for tests.

import type { Done } from '../../../core/base/done.js';
import type { LogStorage, SnapshotFile, SnapshotStage } from '../../../core/log/log-storage.js';
import type { PeerEvent } from '../../../core/peer/events.js';
import { Peers, type PeerMember, type PeersHandlers } from '../../../core/peer/peers.js';
import type { Message, NodeId, SnapshotMeta } from '../../../core/raft/types.js';
import { SimClock } from '../../sim/clock.js';
import { Switchboard } from './memory-transport.js';

export const CLUSTER = 42n;

/** The snapshots of one log: what it can ship, and what was staged in it. */
export class SnapshotLog {
  newest: { meta: SnapshotMeta; bytes: Uint8Array } | null = null;
  /** What a stage must turn out to be; the log would know by checksums. */
  expected: Uint8Array | null = null;
  staged: Uint8Array | null = null;
  stages = 0;
  openStages = 0;
  openFiles = 0;
  readonly #clock: SimClock;

  constructor(clock: SimClock) {
    this.#clock = clock;
  }

  openSnapshot(done: Done<SnapshotFile | null>): void {
    const { newest } = this;
    if (newest === null) return void this.#clock.schedule(0, () => done(null, null));
    this.openFiles++;
    const { meta, bytes } = newest;
    const file: SnapshotFile = {
      meta,
      sizeBytes: bytes.length,
      read: (offset, size, given) => void this.#clock.schedule(1, () => given(null, bytes.subarray(offset, offset + size))),
      close: (given) => {
        this.openFiles--;
        this.#clock.schedule(0, () => given(null));
      },
    };
    this.#clock.schedule(1, () => done(null, file));
  }

  stageSnapshot(meta: SnapshotMeta, done: Done<SnapshotStage>): void {
    this.stages++;
    this.openStages++;
    if (this.openStages > 1) throw new Error('two stages at once');
    let kept: Uint8Array = new Uint8Array(0);
    let isBusy = false;
    const later = (run: () => void): void => {
      if (isBusy) throw new Error('two calls at once');
      isBusy = true;
      this.#clock.schedule(1, () => {
        isBusy = false;
        run();
      });
    };
    const stage: SnapshotStage = {
      meta,
      write: (bytes, given) => later(() => {
        kept = Buffer.concat([kept, bytes]);
        given(null);
      }),
      finish: (each, given) => later(() => {
        this.openStages--;
        if (this.expected === null || Buffer.compare(kept, this.expected) !== 0) return given(new Error('damaged'));
        this.staged = kept;
        each(kept);
        given(null);
      }),
      discard: (given) => later(() => {
        this.openStages--;
        given(null);
      }),
    };
    this.#clock.schedule(1, () => done(null, stage));
  }
}

export interface RigPeer {
  readonly id: NodeId;
  readonly peers: Peers;
  readonly log: SnapshotLog;
  readonly events: PeerEvent[];
  readonly messages: Message[];
  readonly snapshots: Message[];
  readonly chunks: Uint8Array[];
  readonly sent: { to: NodeId; ok: boolean }[];
  /** Whether each of `sent` came to nothing because of the file itself. */
  readonly damaged: boolean[];
  readonly refused: string[];
  readonly unreachable: NodeId[];
  readonly calls: { request: string; answer: (reply: Uint8Array) => void }[];
  wantsSnapshots: boolean;
}

interface RigOptions {
  readonly clusterId?: bigint;
  readonly incarnation?: bigint;
  readonly session?: number;
  readonly handlers?: Partial<PeersHandlers>;
  /** A real log in place of the one in memory. */
  readonly storage?: Pick<LogStorage, 'openSnapshot' | 'stageSnapshot'>;
}

export class Rig {
  readonly clock = new SimClock();
  readonly board = new Switchboard(this.clock);

  peer(id: NodeId, options: RigOptions = {}): RigPeer {
    const log = new SnapshotLog(this.clock);
    const lists = {
      events: [] as PeerEvent[], messages: [] as Message[], snapshots: [] as Message[], chunks: [] as Uint8Array[],
      sent: [] as RigPeer['sent'], damaged: [] as boolean[], refused: [] as string[],
      unreachable: [] as NodeId[], calls: [] as RigPeer['calls'],
    };
    const handlers: PeersHandlers = {
      onMessages: (messages) => void lists.messages.push(...messages),
      onCall: (_from, request, answer) => void lists.calls.push({ request: Buffer.from(request).toString(), answer }),
      onSnapshotBegin: () => (peer.wantsSnapshots ? (chunk) => void lists.chunks.push(chunk) : null),
      onSnapshotEnd: (message) => void lists.snapshots.push(message),
      onSnapshotSent: (to, ok, isDamaged) => {
        lists.sent.push({ to, ok });
        lists.damaged.push(isDamaged);
      },
      onUnreachable: (other) => void lists.unreachable.push(other),
      onRefused: (reason, by, isMember) => void lists.refused.push(`${reason} by ${isMember ? '' : 'stranger '}${by}`),
      ...options.handlers,
    };
    const { clusterId = CLUSTER, incarnation = 100n + id, session = Number(id) } = options;
    const peers = new Peers(
      { clusterId, self: id, incarnation, session },
      {
        clock: this.clock, transport: this.board.transport(id), log: options.storage ?? log,
        observe: (event) => void lists.events.push(event),
      },
      handlers,
    );
    const peer: RigPeer = { id, peers, log, ...lists, wantsSnapshots: true };
    peers.start(() => undefined);
    return peer;
  }

  /** Everybody knows everybody. */
  introduce(peers: readonly RigPeer[], removed: readonly NodeId[] = []): void {
    for (const { peers: each } of peers) {
      const members: PeerMember[] = peers.map(({ id }) => ({ id, peerUrls: [`memory://${id}`], incarnation: 100n + id }));
      each.setMembers(members.filter(({ id }) => !removed.includes(id)), (id) => removed.includes(id));
    }
  }
}

export function heartbeat(from: NodeId, to: NodeId, term = 1): Message {
  return { kind: 'append', from, to, term, previous: { term: 1, index: 1 }, entries: [], commit: 1, round: 0, match: 0 };
}

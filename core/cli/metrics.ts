// /metrics, under etcd's names (contract 13), so that dashboards made for etcd work. Real figures only: a name stands here
// when this server knows the number, not before. Events are counted in plain fields as they come, because some come with
// every request; Prometheus' own objects are filled when somebody scrapes.

import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { Status } from '../errors.js';
import type { NodeEvent } from '../node/events.js';
import type { NodeFacts } from '../start-node.js';
import { coterieVersion, etcdClusterVersion, etcdVersion } from '../version.js';
import type { WireEvent } from '../wire/wire-events.js';

/** What is asked when somebody scrapes. */
export interface MetricsSource {
  readonly memberId: bigint;
  facts(): NodeFacts;
  dbSizes(): Promise<{ totalBytes: number; inUseBytes: number }>;
}

interface CallCounts {
  readonly labels: { readonly grpc_method: string; readonly grpc_service: string; readonly grpc_type: string };
  started: number;
  readonly handled: Map<number, number>;
  received: number;
  sent: number;
}

/** `invalid_argument` is `InvalidArgument` on etcd's dashboards. */
const CODE_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(Status).map(([name, code]) => [code, name === 'ok' ? 'OK' : inGoWords(name)]),
);
function inGoWords(name: string): string {
  return name.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** Streams with one request; the wire treats all alike. */
const SERVER_STREAMS: ReadonlySet<string> = new Set(['etcdserverpb.Maintenance/Snapshot']);

/** etcd's buckets for the disk: 1 ms, doubling, 14 times. */
const DISK_BUCKETS = Array.from({ length: 14 }, (_, i) => 0.001 * 2 ** i);

export class ServerMetrics {
  readonly #registry = new Registry();
  readonly #calls = new Map<string, CallCounts>();
  readonly #totals = {
    leaderChanges: 0, walBytes: 0, expired: 0, stalls: 0, sentBytes: 0, receivedBytes: 0, refused: 0,
    snapshotsInstalled: 0, snapshotsSent: 0, snapshotsFailed: 0, peersLost: 0, promotions: 0,
  };
  #learners: readonly bigint[] = [];
  readonly #fsync: Histogram;
  readonly #snapshot: Histogram;
  #leader = 0n;

  constructor() {
    collectDefaultMetrics({ register: this.#registry });
    this.#fsync = this.#histogram('etcd_disk_wal_fsync_duration_seconds', 'How long a group of log batches took to the disk.');
    this.#snapshot = this.#histogram('etcd_debugging_snap_save_total_duration_seconds', 'How long a snapshot took to the disk.');
    this.#addTotals();
    this.#addCalls();
  }

  /** Before this, only what was counted is shown. */
  attach(source: MetricsSource): void {
    this.#addFacts(source);
  }

  onNode(event: NodeEvent): void {
    if (event.kind === 'role') this.#onLeader(event.leader);
    if (event.kind === 'synced') {
      this.#fsync.observe(event.tookMs / 1000);
      this.#totals.walBytes += event.bytes;
    }
    if (event.kind === 'snapshot_saved') this.#snapshot.observe(event.tookMs / 1000);
    if (event.kind === 'lease_expired') this.#totals.expired += 1;
    if (event.kind === 'stalled') this.#totals.stalls += 1;
    if (event.kind === 'peer_lost') this.#totals.peersLost += 1;
    if (event.kind === 'snapshot_installed') this.#totals.snapshotsInstalled += 1;
    if (event.kind === 'snapshot_sent') this.#totals[event.ok ? 'snapshotsSent' : 'snapshotsFailed'] += 1;
    if (event.kind === 'members') {
      this.#totals.promotions += this.#learners.filter((id) => event.voters.includes(id)).length;
      this.#learners = event.learners;
    }
  }

  onWire(event: WireEvent): void {
    if (event.kind === 'call_started') this.#countsOf(event.method).started += 1;
    if (event.kind === 'connection_refused') this.#totals.refused += 1;
    if (event.kind !== 'call_handled') return;
    const counts = this.#countsOf(event.method);
    counts.handled.set(event.code, (counts.handled.get(event.code) ?? 0) + 1);
    counts.received += event.messagesReceived;
    counts.sent += event.messagesSent;
    this.#totals.receivedBytes += event.bytesReceived;
    this.#totals.sentBytes += event.bytesSent;
  }

  async scrape(): Promise<{ contentType: string; body: string }> {
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() };
  }

  #onLeader(leader: bigint): void {
    if (leader !== 0n && leader !== this.#leader) this.#totals.leaderChanges += 1;
    if (leader !== 0n) this.#leader = leader;
  }

  #countsOf(method: { service: string; name: string; kind: 'unary' | 'stream' }): CallCounts {
    const key = `${method.service}/${method.name}`;
    const known = this.#calls.get(key);
    if (known !== undefined) return known;
    const stream = SERVER_STREAMS.has(key) ? 'server_stream' : 'bidi_stream';
    const grpc_type = method.kind === 'unary' ? 'unary' : stream;
    const labels = { grpc_method: method.name, grpc_service: method.service, grpc_type };
    const counts: CallCounts = { labels, started: 0, handled: new Map<number, number>(), received: 0, sent: 0 };
    this.#calls.set(key, counts);
    return counts;
  }

  #handled(name: string, code: number): number {
    return this.#calls.get(name)?.handled.get(code) ?? 0;
  }

  #histogram(name: string, help: string): Histogram {
    return new Histogram({ name, help, buckets: DISK_BUCKETS, registers: [this.#registry] });
  }

  #counter(name: string, help: string, read: () => number): void {
    new Counter({
      name, help, registers: [this.#registry],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  }

  #gauge(name: string, help: string, read: () => number): void {
    new Gauge({
      name, help, registers: [this.#registry],
      collect() {
        this.set(read());
      },
    });
  }

  #constant(name: string, help: string, label: string, value: string): void {
    const gauge = new Gauge({ name, help, labelNames: [label], registers: [this.#registry] });
    gauge.set({ [label]: value }, 1);
  }

  #addTotals(): void {
    const totals = this.#totals;
    this.#counter('etcd_server_leader_changes_seen_total', 'The number of leader changes seen.', () => totals.leaderChanges);
    this.#counter('etcd_disk_wal_write_bytes_total', 'Bytes written to the log.', () => totals.walBytes);
    this.#counter('etcd_debugging_server_lease_expired_total', 'Leases that expired.', () => totals.expired);
    this.#counter('etcd_debugging_lease_granted_total', 'Leases granted over the network.', () =>
      this.#handled('etcdserverpb.Lease/LeaseGrant', 0),
    );
    this.#counter(
      'etcd_debugging_lease_revoked_total',
      'Leases revoked over the network or expired.',
      () => totals.expired + this.#handled('etcdserverpb.Lease/LeaseRevoke', 0),
    );
    this.#counter('etcd_network_client_grpc_sent_bytes_total', 'Bytes sent to clients.', () => totals.sentBytes);
    this.#counter('etcd_network_client_grpc_received_bytes_total', 'Bytes received from clients.', () => totals.receivedBytes);
    this.#counter('etcd_server_learner_promote_successes', 'Learners that became voters.', () => totals.promotions);
    this.#counter('coterie_peer_connections_lost_total', 'Connections to members lost.', () => totals.peersLost);
    this.#counter('coterie_snapshots_sent_total', 'Snapshots sent to members.', () => totals.snapshotsSent);
    this.#counter('coterie_snapshots_failed_total', 'Snapshots that did not reach a member.', () => totals.snapshotsFailed);
    this.#counter('coterie_snapshots_installed_total', 'Snapshots of other members installed.', () => totals.snapshotsInstalled);
    this.#counter('coterie_event_loop_stalls_total', 'How often the process stood still.', () => totals.stalls);
    this.#counter('coterie_connections_refused_total', 'Connections refused because the port was full.', () => totals.refused);
    this.#constant('etcd_server_version', 'The etcd release whose API is served.', 'server_version', etcdVersion);
    this.#constant('etcd_cluster_version', 'The etcd release the cluster agrees on.', 'cluster_version', etcdClusterVersion);
    this.#constant('coterie_version', 'Our own release.', 'version', coterieVersion);
  }

  #addCalls(): void {
    const labelNames = ['grpc_method', 'grpc_service', 'grpc_type'];
    const calls = this.#calls;
    const add = (name: string, help: string, read: (counts: CallCounts) => number): void => {
      new Counter({
        name, help, labelNames, registers: [this.#registry],
        collect() {
          this.reset();
          for (const counts of calls.values()) this.inc(counts.labels, read(counts));
        },
      });
    };
    add('grpc_server_started_total', 'Calls started.', (counts) => counts.started);
    add('grpc_server_msg_received_total', 'Messages received in calls that have ended.', (counts) => counts.received);
    add('grpc_server_msg_sent_total', 'Messages sent in calls that have ended.', (counts) => counts.sent);
    new Counter({
      name: 'grpc_server_handled_total', help: 'Calls ended, by status.', labelNames: [...labelNames, 'grpc_code'],
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const { labels, handled } of calls.values()) {
          for (const [code, count] of handled) this.inc({ ...labels, grpc_code: CODE_NAMES.get(code) ?? 'Unknown' }, count);
        }
      },
    });
  }

  #addFacts(source: MetricsSource): void {
    const facts = (): NodeFacts => source.facts();
    this.#gauge('etcd_server_has_leader', '1: a leader is known.', () => Number(facts().leader !== 0n));
    this.#gauge('etcd_server_is_leader', '1: this member leads.', () => Number(facts().state === 'leader'));
    this.#gauge('etcd_server_is_learner', '1: this member does not vote.', () => Number(facts().isLearner));
    this.#gauge('etcd_server_proposals_committed_total', 'The highest committed index.', () => facts().committed);
    this.#gauge('etcd_server_proposals_applied_total', 'The highest applied index.', () => facts().applied);
    this.#gauge('etcd_server_proposals_pending', 'Proposals waiting to be committed.', () => facts().proposalsPending);
    this.#gauge('etcd_debugging_mvcc_keys_total', 'Keys in the store.', () => facts().keys);
    this.#gauge('etcd_debugging_mvcc_current_revision', 'The revision of the store.', () => facts().revision);
    this.#gauge('etcd_debugging_mvcc_compact_revision', 'The revision up to which history is gone.', () => facts().compacted);
    this.#gauge('etcd_debugging_mvcc_watcher_total', 'Watches.', () => facts().watchers);
    this.#gauge('etcd_debugging_mvcc_slow_watcher_total', 'Watches that are fed from history.', () => facts().slowWatchers);
    this.#gauge('coterie_leases', 'Leases alive.', () => facts().leases);
    this.#addPeers(source);
    this.#constant('etcd_server_id', 'The id of this member, in hex.', 'server_id', source.memberId.toString(16));
    new Gauge({
      name: 'etcd_mvcc_db_total_size_in_bytes', help: 'Bytes the store takes.', registers: [this.#registry],
      async collect() {
        this.set((await source.dbSizes()).totalBytes);
      },
    });
    new Gauge({
      name: 'etcd_mvcc_db_total_size_in_use_in_bytes', help: 'Bytes of it in use.', registers: [this.#registry],
      async collect() {
        this.set((await source.dbSizes()).inUseBytes);
      },
    });
  }

  /** Of other members: none where there are none, as with etcd. */
  #addPeers(source: MetricsSource): void {
    const local = source.memberId.toString(16);
    const add = (name: string, help: string, read: (peer: NodeFacts['peers'][number]) => number): void => {
      new Gauge({
        name, help, labelNames: ['Local', 'Remote'], registers: [this.#registry],
        collect() {
          this.reset();
          for (const peer of source.facts().peers) this.set({ Local: local, Remote: peer.id.toString(16) }, read(peer));
        },
      });
    };
    add('etcd_network_known_peers', '1: a member this one knows.', () => 1);
    add('etcd_network_active_peers', '1: a member this one is connected to.', ({ isActive }) => Number(isActive));
  }
}

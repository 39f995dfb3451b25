// /metrics, under etcd's names (contract 13), so that dashboards made for etcd work. Real figures only: a name stands here
// when this server knows the number, not before; test/interop/absent-metrics.ts says of the others why not. Events are counted
// in plain fields as they come, because some come with every request; Prometheus' objects are filled when somebody scrapes.

import { readFileSync } from 'node:fs';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { NodeEvent } from '../node/events.js';
import { TTL_BUCKETS } from '../node/totals.js';
import type { NodeFacts } from '../start-node.js';
import { coterieVersion, etcdClusterVersion, etcdVersion } from '../version.js';
import type { WireEvent } from '../wire/wire-events.js';
import { CallMetrics } from './call-metrics.js';
import { headText, seriesText } from './tally-histogram.js';
import type { TlsFacts } from './tls-files.js';

/** What is asked when somebody scrapes. */
export interface MetricsSource {
  readonly memberId: bigint;
  /** Bytes the store may take before it takes no more; etcd counts its default of 2 GiB where none is given. */
  readonly quotaBytes: number;
  facts(): NodeFacts;
  dbSizes(): Promise<{ totalBytes: number; inUseBytes: number }>;
}

export interface MetricsOptions {
  /** How long each method took, too; etcd: --metrics extensive. */
  readonly isExtensive: boolean;
}

/** etcd's buckets for the disk: 1 ms, doubling, 14 times; between members: 0.1 ms, doubling, 14 times. */
const DISK_BUCKETS = Array.from({ length: 14 }, (_, i) => 0.001 * 2 ** i);
const ROUND_TRIP_BUCKETS = Array.from({ length: 14 }, (_, i) => 0.0001 * 2 ** i);

/** For heartbeats: half of the usual election time-out, and that behind a heartbeat, are bounds. */
const BEAT_BUCKETS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 2];

/** A name, and what it says, for whoever reads the page. */
type Heading = readonly [name: string, help: string];

export class ServerMetrics {
  readonly #registry = new Registry();
  readonly #calls: CallMetrics;
  readonly #totals = {
    leaderChanges: 0, walBytes: 0, expired: 0, stalls: 0, lateBeats: 0, refused: 0,
    snapshotsInstalled: 0, snapshotsSent: 0, snapshotsFailed: 0, peersLost: 0, promotions: 0, well: 0, ill: 0,
  };
  #learners: readonly bigint[] = [];
  readonly #fsync: Histogram;
  readonly #snapshot: Histogram;
  readonly #roundTrip: Histogram;
  readonly #lateTick: Histogram;
  readonly #silence: Histogram;
  readonly #most = { lateMs: 0, silenceMs: 0 };
  #leader = 0n;
  #isLeader = false;
  #leaseText: () => string = () => '';

  constructor(options: MetricsOptions) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    this.#calls = new CallMetrics(this.#registry, options.isExtensive);
    this.#fsync = this.#histogram(
      ['etcd_disk_wal_fsync_duration_seconds', 'How long a group of log batches took to the disk.'], DISK_BUCKETS,
    );
    this.#snapshot = this.#histogram(
      ['etcd_debugging_snap_save_total_duration_seconds', 'How long a snapshot took to the disk.'], DISK_BUCKETS,
    );
    this.#roundTrip = new Histogram({
      name: 'etcd_network_peer_round_trip_time_seconds', help: 'There and back to another member, twice a second.',
      labelNames: ['To'], buckets: ROUND_TRIP_BUCKETS, registers,
    });
    this.#lateTick = this.#histogram(
      ['coterie_tick_late_seconds', 'How late each tick came; a leader sends its heartbeats at ticks.'], BEAT_BUCKETS,
    );
    this.#silence = this.#histogram(
      ['coterie_leader_silence_seconds', 'At each tick of a follower the longest silence of its leader since the one before.'],
      BEAT_BUCKETS,
    );
    this.#addTotals();
    this.#addProcess();
  }

  /** Before this, only what was counted is shown. */
  attach(source: MetricsSource): void {
    this.#addFacts(source);
    this.#addStore(source);
    this.#addLeases(source);
    this.#addPeers(source);
  }

  onNode(event: NodeEvent): void {
    const totals = this.#totals;
    if (event.kind === 'role') this.#onRole(event);
    if (event.kind === 'synced') {
      this.#fsync.observe(event.tookMs / 1000);
      totals.walBytes += event.bytes;
    }
    if (event.kind === 'snapshot_saved') this.#snapshot.observe(event.tookMs / 1000);
    if (event.kind === 'peer_round_trip') this.#roundTrip.observe({ To: event.peer.toString(16) }, event.tookMs / 1000);
    if (event.kind === 'beat') this.#onBeat(event);
    if (event.kind === 'lease_expired') totals.expired += 1;
    if (event.kind === 'stalled') {
      totals.stalls += 1;
      if (this.#isLeader) totals.lateBeats += 1;
    }
    if (event.kind === 'peer_lost') totals.peersLost += 1;
    if (event.kind === 'snapshot_installed') totals.snapshotsInstalled += 1;
    if (event.kind === 'snapshot_sent') totals[event.ok ? 'snapshotsSent' : 'snapshotsFailed'] += 1;
    if (event.kind === 'members') {
      totals.promotions += this.#learners.filter((id) => event.voters.includes(id)).length;
      this.#learners = event.learners;
    }
  }

  onWire(event: WireEvent): void {
    this.#calls.onWire(event);
    if (event.kind === 'connection_refused') this.#totals.refused += 1;
    if (event.kind === 'health_checked') this.#totals[event.well ? 'well' : 'ill'] += 1;
  }

  /** Of each side that has TLS. */
  attachTls(sides: readonly TlsFacts[]): void {
    const sum = (of: (facts: TlsFacts) => number): number => sides.reduce((total, facts) => total + of(facts), 0);
    this.#counter('coterie_tls_reloads_total', 'New certificates taken into use.', () => sum(({ reloads }) => reloads));
    const failed = (): number => sum(({ failures }) => failures);
    this.#counter('coterie_tls_reload_failures_total', 'New certificates that could not be used.', failed);
    this.#gauge('coterie_tls_alarm', '1: what lies on the disk is not what is in use, or a revocation list has expired.', () => {
      return Number(sides.some(({ isAlarmed }) => isAlarmed));
    });
  }

  async scrape(): Promise<{ contentType: string; body: string }> {
    const body = `${await this.#registry.metrics()}\n${this.#calls.text()}${this.#leaseText()}`;
    return { contentType: this.#registry.contentType, body };
  }

  #onRole({ state, leader }: Extract<NodeEvent, { kind: 'role' }>): void {
    this.#isLeader = state === 'leader';
    if (leader !== 0n && leader !== this.#leader) this.#totals.leaderChanges += 1;
    if (leader !== 0n) this.#leader = leader;
  }

  #onBeat({ lateMs, silenceMs }: Extract<NodeEvent, { kind: 'beat' }>): void {
    this.#lateTick.observe(lateMs / 1000);
    this.#most.lateMs = Math.max(this.#most.lateMs, lateMs);
    if (silenceMs === null) return;
    this.#silence.observe(silenceMs / 1000);
    this.#most.silenceMs = Math.max(this.#most.silenceMs, silenceMs);
  }

  #histogram([name, help]: Heading, buckets: number[]): Histogram {
    return new Histogram({ name, help, buckets, registers: [this.#registry] });
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

  #gauge(name: string, help: string, read: () => number | Promise<number>): void {
    new Gauge({
      name, help, registers: [this.#registry],
      async collect() {
        this.set(await read());
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
    this.#counter('etcd_server_heartbeat_send_failures_total', 'Heartbeats this leader sent more than two intervals late.',
      () => totals.lateBeats);
    // A gauge, as with etcd.
    this.#gauge('etcd_disk_wal_write_bytes_total', 'Bytes written to the log.', () => totals.walBytes);
    this.#counter('etcd_debugging_server_lease_expired_total', 'Leases that expired.', () => totals.expired);
    this.#counter('etcd_server_learner_promote_successes', 'Learners that became voters.', () => totals.promotions);
    this.#counter('etcd_server_health_success', 'Answers of /health that said yes.', () => totals.well);
    this.#counter('etcd_server_health_failures', 'Answers of /health that said no.', () => totals.ill);
    this.#counter('coterie_peer_connections_lost_total', 'Connections to members lost.', () => totals.peersLost);
    this.#counter('coterie_snapshots_sent_total', 'Snapshots sent to members.', () => totals.snapshotsSent);
    this.#counter('coterie_snapshots_failed_total', 'Snapshots that did not reach a member.', () => totals.snapshotsFailed);
    this.#counter('coterie_snapshots_installed_total', 'Snapshots of other members installed.', () => totals.snapshotsInstalled);
    this.#counter('coterie_event_loop_stalls_total', 'How often the process stood still.', () => totals.stalls);
    this.#gauge('coterie_tick_late_max_seconds', 'The latest tick since the start.', () => this.#most.lateMs / 1000);
    this.#gauge('coterie_leader_silence_max_seconds', 'The longest silence of a leader since the start.',
      () => this.#most.silenceMs / 1000);
    this.#counter('coterie_connections_refused_total', 'Connections refused because the port was full.', () => totals.refused);
    this.#constant('etcd_server_version', 'The etcd release whose API is served.', 'server_version', etcdVersion);
    const release = etcdClusterVersion.split('.').slice(0, 2).join('.');
    this.#constant('etcd_cluster_version', 'The etcd release the cluster agrees on.', 'cluster_version', release);
    this.#constant('coterie_version', 'Our own release.', 'version', coterieVersion);
  }

  /** What etcd says of its process beyond the usual; where there is no /proc, nothing. */
  #addProcess(): void {
    const limits = procText('limits');
    if (limits === null) return;
    const limitOf = (what: string): number => {
      const soft = new RegExp(`^${what} +(\\S+)`, 'm').exec(limits)?.[1] ?? '';
      // As the Go library writes what has no limit.
      return soft === 'unlimited' ? 2 ** 64 : Number(soft);
    };
    this.#gauge('os_fd_limit', 'Files and sockets this process may open.', () => limitOf('Max open files'));
    const open = this.#registry.getSingleMetric('process_open_fds');
    this.#gauge('os_fd_used', 'Files and sockets it has open.', async () => (await open?.get())?.values[0]?.value ?? 0);
    this.#gauge('process_virtual_memory_max_bytes', 'Memory it may map.', () => limitOf('Max address space'));
  }

  #addFacts(source: MetricsSource): void {
    const facts = (): NodeFacts => source.facts();
    this.#gauge('etcd_server_has_leader', '1: a leader is known.', () => Number(facts().leader !== 0n));
    this.#gauge('etcd_server_is_leader', '1: this member leads.', () => Number(facts().state === 'leader'));
    this.#gauge('etcd_server_is_learner', '1: this member does not vote.', () => Number(facts().isLearner));
    this.#gauge('etcd_server_proposals_committed_total', 'The highest committed index.', () => facts().committed);
    this.#gauge('etcd_server_proposals_applied_total', 'The highest applied index.', () => facts().applied);
    this.#gauge('etcd_server_proposals_pending', 'Proposals waiting to be committed.', () => facts().proposalsPending);
    this.#counter('etcd_server_proposals_failed_total', 'Proposals that came to nothing.', () => facts().failures.proposals);
    this.#counter('etcd_server_slow_apply_total', 'Turns whose entries took the store more than 100 ms.',
      () => facts().totals.slowApplies);
    this.#counter('etcd_server_slow_read_indexes_total', 'Groups of reads that no leader confirmed in time.',
      () => facts().failures.lateReads);
    this.#counter('etcd_server_read_indexes_failed_total', 'Groups of reads that the end of this member cut off.',
      () => facts().failures.reads);
    this.#gauge('etcd_server_quota_backend_bytes', 'Bytes the store may take.', () => source.quotaBytes);
    this.#gauge('etcd_debugging_auth_revision', 'Rises with each change of users and roles.', () => facts().authRevision);
    this.#counter('coterie_logins_failed_total', 'Wrong names and passwords.', () => facts().logins.failed);
    this.#counter('coterie_logins_throttled_total', 'Names and passwords not looked at: too many came, or wrong ones too often.',
      () => facts().logins.throttled);
    this.#constant('etcd_server_id', 'The id of this member, in hex.', 'server_id', source.memberId.toString(16));
  }

  #addStore(source: MetricsSource): void {
    const facts = (): NodeFacts => source.facts();
    const ops = (word: string, help: string, read: () => number): void => {
      this.#counter(`etcd_mvcc_${word}_total`, help, read);
      this.#counter(`etcd_debugging_mvcc_${word}_total`, `${help} The older name.`, read);
    };
    ops('range', 'Gets carried out here.', () => facts().totals.ranges);
    ops('put', 'Puts carried out.', () => facts().totals.puts);
    ops('delete', 'Deletes carried out.', () => facts().totals.deletes);
    ops('txn', 'Transactions of more than one operation carried out.', () => facts().totals.txns);
    this.#gauge('etcd_debugging_mvcc_total_put_size_in_bytes', 'Keys and values of all puts.', () => facts().totals.putBytes);
    this.#gauge('etcd_debugging_mvcc_keys_total', 'Keys in the store.', () => facts().keys);
    this.#gauge('etcd_debugging_mvcc_current_revision', 'The revision of the store.', () => facts().revision);
    this.#gauge('etcd_debugging_mvcc_compact_revision', 'The revision up to which history is gone.', () => facts().compacted);
    this.#gauge('etcd_debugging_mvcc_watch_stream_total', 'Streams of watches.',
      () => this.#calls.open('etcdserverpb.Watch/Watch'));
    this.#gauge('etcd_debugging_mvcc_watcher_total', 'Watches.', () => facts().watchers);
    this.#gauge('etcd_debugging_mvcc_slow_watcher_total', 'Watches that are fed from history.', () => facts().slowWatchers);
    this.#counter('etcd_debugging_mvcc_events_total', 'Events given to watches.', () => facts().totals.events);
    this.#gauge('etcd_debugging_mvcc_pending_events_total', 'Events that wait for watches to take them.',
      () => facts().pendingEvents);
    const total = async (): Promise<number> => (await source.dbSizes()).totalBytes;
    this.#gauge('etcd_mvcc_db_total_size_in_bytes', 'Bytes the store takes.', total);
    this.#gauge('etcd_debugging_mvcc_db_total_size_in_bytes', 'Bytes the store takes. The older name.', total);
    this.#gauge('etcd_mvcc_db_total_size_in_use_in_bytes', 'Bytes of it in use.',
      async () => (await source.dbSizes()).inUseBytes);
  }

  #addLeases(source: MetricsSource): void {
    const totals = (): NodeFacts['totals'] => source.facts().totals;
    this.#gauge('coterie_leases', 'Leases alive.', () => source.facts().leases);
    this.#counter('etcd_debugging_lease_granted_total', 'Leases granted.', () => totals().leasesGranted);
    this.#counter('etcd_debugging_lease_revoked_total', 'Leases revoked or expired.', () => totals().leasesRevoked);
    this.#counter('etcd_debugging_lease_renewed_total', 'Renewals, while this member led.', () => totals().leasesRenewed);
    const name = 'etcd_debugging_lease_ttl_total';
    this.#leaseText = () => {
      const { leaseTtls, leaseTtlSeconds } = totals();
      const series = { bounds: TTL_BUCKETS, counts: leaseTtls, sum: leaseTtlSeconds };
      return headText(name, 'Seconds that leases were granted for.') + seriesText(name, '', series);
    };
  }

  /** Of other members: none where there are none, as with etcd. */
  #addPeers(source: MetricsSource): void {
    const local = source.memberId.toString(16);
    type Peer = NodeFacts['peers'][number];
    type Read = (peer: Peer) => readonly [number, object];
    const add = (kind: typeof Gauge | typeof Counter, [name, help]: Heading, of: Read): void => {
      new kind({
        name, help, registers: [this.#registry], labelNames: ['Local', 'Remote', 'To', 'From'],
        collect(this: Gauge | Counter) {
          this.reset();
          for (const peer of source.facts().peers) {
            const [value, labels] = of(peer);
            this.inc({ ...labels }, value);
          }
        },
      });
    };
    const pair = ({ id }: Peer): object => ({ Local: local, Remote: id.toString(16) });
    add(Gauge, ['etcd_network_known_peers', '1: a member this one knows.'], (peer) => [1, pair(peer)]);
    add(Gauge, ['etcd_network_active_peers', '1: a member this one is connected to.'], (peer) => {
      return [Number(peer.isActive), pair(peer)];
    });
    add(Counter, ['etcd_network_peer_sent_bytes_total', 'Bytes sent to a member.'], ({ id, traffic }) => {
      return [traffic?.sentBytes ?? 0, { To: id.toString(16) }];
    });
    add(Counter, ['etcd_network_peer_received_bytes_total', 'Bytes received from a member.'], ({ id, traffic }) => {
      return [traffic?.receivedBytes ?? 0, { From: id.toString(16) }];
    });
  }
}

function procText(file: string): string | null {
  try {
    return readFileSync(`/proc/self/${file}`, 'utf8');
  } catch (error) {
    if (error instanceof Error) return null;
    throw error;
  }
}

// What calls say of themselves: the names of the Go library that etcd counts its gRPC calls with, bytes to and from clients,
// and, where asked for, how long each method took. What reaches us over the JSON gateway counts as the call it becomes.

import { Counter, type Registry } from 'prom-client';
import { Status } from '../errors.js';
import type { CallName, WireEvent } from '../wire/wire-events.js';
import { headText, TallyHistogram } from './tally-histogram.js';

interface CallCounts {
  readonly labels: { readonly grpc_method: string; readonly grpc_service: string; readonly grpc_type: string };
  started: number;
  ended: number;
  readonly handled: Map<number, number>;
  received: number;
  sent: number;
  readonly took: TallyHistogram | null;
}

interface ClientCounts {
  readonly type: string;
  readonly client_api_version: string;
  count: number;
}

/** `invalid_argument` is `InvalidArgument` on etcd's dashboards. */
const CODE_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(Status).map(([name, code]) => [code, name === 'ok' ? 'OK' : inGoWords(name)]),
);
function inGoWords(name: string): string {
  return name.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** Streams with one request; the wire treats all alike. */
const SERVER_STREAMS: ReadonlySet<string> = new Set([
  'etcdserverpb.Maintenance/Snapshot', 'v3electionpb.Election/Observe', 'grpc.health.v1.Health/Watch',
]);

/** Of the Go library, in seconds; and of etcd's hashes: 10 ms, doubling, 15 times. */
const CALL_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const HASH_BUCKETS = Array.from({ length: 15 }, (_, i) => 0.01 * 2 ** i);

/** A caller says of itself which version it is: anything, if it likes. */
const VERSION = /^[0-9A-Za-z][0-9A-Za-z.+-]{0,31}$/;
const VERSIONS_MAX = 32;

export class CallMetrics {
  readonly #isExtensive: boolean;
  readonly #calls = new Map<string, CallCounts>();
  /** The same by the method itself, which is looked for with every call. */
  readonly #byMethod = new WeakMap<CallName, CallCounts>();
  /** By kind of call and version. */
  readonly #clients = new Map<string, ClientCounts>();
  /** Who said last which version it is. */
  #lastKind: CallName['kind'] | null = null;
  #lastClaimed: string | null = null;
  #lastClient: ClientCounts | null = null;
  #sentBytes = 0;
  #receivedBytes = 0;
  readonly #hash = new TallyHistogram(HASH_BUCKETS);
  readonly #hashRevision = new TallyHistogram(HASH_BUCKETS);

  constructor(registry: Registry, isExtensive: boolean) {
    this.#isExtensive = isExtensive;
    const registers = [registry];
    const total = (name: string, help: string, read: () => number): void => {
      new Counter({
        name, help, registers,
        collect() {
          this.reset();
          this.inc(read());
        },
      });
    };
    total('etcd_network_client_grpc_sent_bytes_total', 'Bytes sent to clients.', () => this.#sentBytes);
    total('etcd_network_client_grpc_received_bytes_total', 'Bytes received from clients.', () => this.#receivedBytes);
    this.#addCalls(registry);
    const clients = this.#clients;
    new Counter({
      name: 'etcd_server_client_requests_total', help: 'Calls by the version that the caller says it is.', registers,
      labelNames: ['type', 'client_api_version'],
      collect() {
        this.reset();
        for (const { type, client_api_version, count } of clients.values()) this.inc({ type, client_api_version }, count);
      },
    });
  }

  onWire(event: WireEvent): void {
    if (event.kind === 'serving') for (const method of event.methods) this.#countsOf(method);
    if (event.kind === 'call_started') {
      this.#countsOf(event.method).started += 1;
      this.#onClient(event.method.kind, event.clientVersion);
    }
    if (event.kind !== 'call_handled') return;
    const { method, tookMs } = event;
    const counts = this.#countsOf(method);
    counts.ended += 1;
    counts.handled.set(event.code, (counts.handled.get(event.code) ?? 0) + 1);
    counts.received += event.messagesReceived;
    counts.sent += event.messagesSent;
    counts.took?.observe(tookMs / 1000);
    this.#receivedBytes += event.bytesReceived;
    this.#sentBytes += event.bytesSent;
    if (method.service !== 'etcdserverpb.Maintenance') return;
    if (method.name === 'Hash') this.#hash.observe(tookMs / 1000);
    if (method.name === 'HashKV') this.#hashRevision.observe(tookMs / 1000);
  }

  /** Calls of a method that are under way. */
  open(name: string): number {
    const counts = this.#calls.get(name);
    return counts === undefined ? 0 : counts.started - counts.ended;
  }

  /** What the library's registry does not hold. */
  text(): string {
    const hashes = [
      ['etcd_mvcc_hash_duration_seconds', 'How long Hash took.', this.#hash],
      ['etcd_mvcc_hash_rev_duration_seconds', 'How long HashKV took.', this.#hashRevision],
    ] as const;
    const parts = hashes.map(([name, help, histogram]) => headText(name, help) + histogram.lines(name, ''));
    if (!this.#isExtensive) return parts.join('');
    const name = 'grpc_server_handling_seconds';
    parts.push(headText(name, 'How long calls took, streams from beginning to end.'));
    for (const { labels, took } of this.#calls.values()) {
      const words = Object.entries(labels).map(([label, value]) => `${label}="${value}"`).join(',');
      parts.push(took?.lines(name, words) ?? '');
    }
    return parts.join('');
  }

  #onClient(kind: CallName['kind'], claimed: string | null): void {
    const last = this.#lastClient;
    if (last !== null && claimed === this.#lastClaimed && kind === this.#lastKind) {
      last.count += 1;
      return;
    }
    this.#lastKind = kind;
    this.#lastClaimed = claimed;
    this.#lastClient = this.#clientOf(kind, claimed);
    this.#lastClient.count += 1;
  }

  #clientOf(kind: CallName['kind'], claimed: string | null): ClientCounts {
    // A byte more or less would be a series of its own: what looks like no version, or comes as one too many, counts as none.
    let version = claimed !== null && VERSION.test(claimed) ? claimed : 'unknown';
    if (this.#clients.size >= VERSIONS_MAX && !this.#clients.has(`${kind} ${version}`)) version = 'unknown';
    const key = `${kind} ${version}`;
    const known = this.#clients.get(key) ?? { type: kind, client_api_version: version, count: 0 };
    this.#clients.set(key, known);
    return known;
  }

  #countsOf(method: CallName): CallCounts {
    const known = this.#byMethod.get(method);
    if (known !== undefined) return known;
    const counts = this.#countsNamed(method);
    this.#byMethod.set(method, counts);
    return counts;
  }

  #countsNamed(method: CallName): CallCounts {
    const key = `${method.service}/${method.name}`;
    const known = this.#calls.get(key);
    if (known !== undefined) return known;
    const stream = SERVER_STREAMS.has(key) ? 'server_stream' : 'bidi_stream';
    const grpc_type = method.kind === 'unary' ? 'unary' : stream;
    const labels = { grpc_method: method.name, grpc_service: method.service, grpc_type };
    const took = this.#isExtensive ? new TallyHistogram(CALL_BUCKETS) : null;
    const counts: CallCounts = { labels, started: 0, ended: 0, handled: new Map(), received: 0, sent: 0, took };
    this.#calls.set(key, counts);
    return counts;
  }

  #addCalls(registry: Registry): void {
    const labelNames = ['grpc_method', 'grpc_service', 'grpc_type'];
    const calls = this.#calls;
    const add = (name: string, help: string, read: (counts: CallCounts) => number): void => {
      new Counter({
        name, help, labelNames, registers: [registry],
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
      registers: [registry],
      collect() {
        this.reset();
        for (const { labels, handled } of calls.values()) {
          // Each status of each method from the start: a rate over a series that begins with its first event misses that one.
          for (const [code, grpc_code] of CODE_NAMES) this.inc({ ...labels, grpc_code }, handled.get(code) ?? 0);
        }
      },
    });
  }
}

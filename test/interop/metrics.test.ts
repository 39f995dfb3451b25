// /metrics beside a live etcd's: every name that etcd serves is served here with the same type and the same labels, or stands
// in absent-metrics.ts with the reason; and the same operations move the same counters by the same amounts.

import test, { type ExecutionContext } from 'ava';
import { eventually, ProcessCluster } from './cluster-processes.js';
import { ABSENT, reasonWithout } from './absent-metrics.js';
import { isInstalled } from './real-etcd.js';

const clusters = new Map<string, ProcessCluster>();
let equipped = false;

test.before('two members of each start', async (t) => {
  t.timeout(120_000);
  equipped = isInstalled('etcd', (line) => t.log(line));
  if (!equipped) return;
  for (const program of ['coterie', 'etcd'] as const) {
    const cluster = new ProcessCluster(program, 'metrics');
    clusters.set(program, cluster);
  }
  await Promise.all([...clusters.values()].map((cluster) => cluster.start(['a', 'b'], ['--metrics', 'extensive'])));
});

test.after.always('all end', async () => {
  for (const cluster of clusters.values()) await cluster.close();
});

interface Family {
  readonly type: string;
  /** Names of labels, of all its series together. */
  readonly labels: ReadonlySet<string>;
  readonly samples: ReadonlyMap<string, number>;
}

function read(text: string): ReadonlyMap<string, Family> {
  const families = new Map<string, { type: string; labels: Set<string>; samples: Map<string, number> }>();
  for (const [, name = '', type = ''] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    families.set(name, { type, labels: new Set(), samples: new Map() });
  }
  for (const [, name = '', labels = '', value = ''] of text.matchAll(/^([a-zA-Z_][\w:]*)(?:\{(.*)\})? (\S+)$/gm)) {
    const family = families.get(name) ?? families.get(name.replace(/_(?:bucket|sum|count)$/, ''));
    if (family === undefined) throw new Error(`${name} has no type`);
    for (const [, label = ''] of labels.matchAll(/(?:^|,)([a-zA-Z_]\w*)="/g)) family.labels.add(label);
    family.samples.set(`${name}{${labels}}`, Number(value));
  }
  return families;
}

async function scrape(program: 'coterie' | 'etcd'): Promise<ReadonlyMap<string, Family>> {
  const url = clusters.get(program)?.member('a').url ?? '';
  const answer = await fetch(`${url}/metrics`);
  if (answer.headers.get('content-type') !== 'text/plain; version=0.0.4; charset=utf-8') throw new Error('not Prometheus\' text');
  return read(await answer.text());
}

/** Whoever was connected long enough to be pinged, and has been called: then every family has a series, where it can. */
async function settled(program: 'coterie' | 'etcd'): Promise<ReadonlyMap<string, Family>> {
  await call(program, 'kv/put', { key: b64('first'), value: b64('x') });
  return await eventually(async () => {
    const families = await scrape(program);
    const trips = families.get('etcd_network_peer_round_trip_time_seconds');
    if (program === 'coterie' && (trips?.samples.size ?? 0) === 0) throw new Error('no round trip yet');
    return families;
  });
}

async function call(program: 'coterie' | 'etcd', path: string, body: unknown): Promise<Record<string, unknown>> {
  const url = clusters.get(program)?.member('a').url ?? '';
  const answer = await fetch(`${url}/v3/${path}`, { method: 'POST', body: JSON.stringify(body) });
  if (answer.status !== 200) throw new Error(`${program} ${path}: ${await answer.text()}`);
  return (await answer.json()) as Record<string, unknown>;
}

function b64(text: string): string {
  return Buffer.from(text).toString('base64');
}

function isHere(t: ExecutionContext): boolean {
  if (!equipped) t.pass();
  return equipped;
}

test.serial('every metric of etcd is here with its type and labels, or there is a reason', async (t) => {
  if (!isHere(t)) return;
  const [theirs, ours] = [await settled('etcd'), await settled('coterie')];
  t.true(theirs.size > 90, 'etcd tells of about a hundred');
  for (const [name, family] of theirs) {
    const mine = ours.get(name);
    const reason = reasonWithout(name);
    if (mine === undefined) {
      t.not(reason, null, `${name} is neither here nor explained`);
      continue;
    }
    t.is(reason, null, `${name} is here, and said not to be`);
    t.is(mine.type, family.type, name);
    // A family without any series yet, such as calls of a version that nobody made, shows no labels.
    if (family.samples.size > 0 && mine.samples.size > 0) t.deepEqual([...mine.labels].sort(), [...family.labels].sort(), name);
  }
  for (const { name } of ABSENT) {
    const isMeant = (each: string): boolean => (name.endsWith('*') ? each.startsWith(name.slice(0, -1)) : each === name);
    t.true([...theirs.keys()].some(isMeant), `${name}: etcd has no such metric`);
  }
});

/** What the alerts and dashboards that etcd publishes ask for, and no backend is needed to know. */
const WATCHED: readonly string[] = [
  'etcd_server_has_leader', 'etcd_server_leader_changes_seen_total', 'etcd_server_proposals_failed_total',
  'etcd_server_proposals_pending', 'etcd_server_proposals_committed_total', 'etcd_server_proposals_applied_total',
  'etcd_server_heartbeat_send_failures_total', 'etcd_server_slow_apply_total', 'etcd_server_slow_read_indexes_total',
  'etcd_server_quota_backend_bytes', 'etcd_server_health_failures', 'etcd_server_health_success', 'etcd_server_is_leader',
  'etcd_network_peer_sent_bytes_total', 'etcd_network_peer_received_bytes_total', 'etcd_network_peer_round_trip_time_seconds',
  'etcd_network_client_grpc_sent_bytes_total', 'etcd_network_client_grpc_received_bytes_total', 'etcd_network_active_peers',
  'etcd_disk_wal_fsync_duration_seconds', 'etcd_mvcc_db_total_size_in_bytes', 'etcd_mvcc_db_total_size_in_use_in_bytes',
  'etcd_debugging_mvcc_keys_total', 'etcd_debugging_mvcc_watch_stream_total', 'etcd_debugging_mvcc_watcher_total',
  'etcd_debugging_mvcc_slow_watcher_total', 'etcd_mvcc_put_total', 'etcd_mvcc_delete_total', 'etcd_mvcc_txn_total',
  'etcd_mvcc_range_total', 'etcd_debugging_lease_granted_total', 'grpc_server_started_total', 'grpc_server_handled_total',
  'grpc_server_handling_seconds', 'process_resident_memory_bytes', 'process_cpu_seconds_total', 'process_open_fds',
  'process_max_fds', 'process_start_time_seconds',
];

test.serial('every name that published dashboards and alerts ask for has a figure', async (t) => {
  if (!isHere(t)) return;
  const ours = await settled('coterie');
  for (const name of WATCHED) {
    const samples = [...(ours.get(name)?.samples ?? [])];
    t.true(samples.length > 0, name);
    t.true(samples.every(([, value]) => Number.isFinite(value) && value >= 0), name);
  }
  const sum = (name: string): number => [...(ours.get(name)?.samples.values() ?? [])].reduce((total, value) => total + value, 0);
  for (const name of ['etcd_network_peer_sent_bytes_total', 'etcd_network_peer_received_bytes_total', 'etcd_server_has_leader']) {
    t.true(sum(name) > 0, name);
  }
});

const COUNTED: readonly string[] = [
  'etcd_mvcc_put_total', 'etcd_mvcc_delete_total', 'etcd_mvcc_range_total', 'etcd_mvcc_txn_total',
  'etcd_debugging_mvcc_put_total',
  'etcd_debugging_mvcc_keys_total', 'etcd_debugging_mvcc_current_revision', 'etcd_debugging_mvcc_total_put_size_in_bytes',
  'etcd_debugging_lease_granted_total', 'etcd_debugging_lease_revoked_total', 'etcd_debugging_lease_ttl_total',
];

const COMPACTED = 'etcd_debugging_mvcc_compact_revision';

/** One series of a family, or of a histogram its sum. */
function figure(family: Family | undefined, name: string): number {
  return family?.samples.get(`${name}{}`) ?? family?.samples.get(`${name}_sum{}`) ?? NaN;
}

test.serial('the same operations move the same counters', async (t) => {
  if (!isHere(t)) return;
  const moved = async (program: 'coterie' | 'etcd'): Promise<Record<string, number>> => {
    await call(program, 'kv/range', { key: b64('first') });
    // etcd counts a read of its own here.
    await call(program, 'kv/compaction', { revision: '2' });
    const before = await scrape(program);
    const put = (key: string): object => ({ requestPut: { key: b64(key), value: b64('value') } });
    await call(program, 'kv/put', { key: b64('a'), value: b64('1234') });
    await call(program, 'kv/put', { key: b64('a'), value: b64('') });
    await call(program, 'kv/range', { key: b64('a') });
    await call(program, 'kv/range', { key: b64('a'), serializable: true });
    await call(program, 'kv/txn', { success: [put('b')] });
    await call(program, 'kv/txn', { success: [put('c'), put('d'), { requestRange: { key: b64('a') } }] });
    const nested = { requestTxn: { success: [put('e')] } };
    await call(program, 'kv/txn', { success: [nested, { requestDeleteRange: { key: b64('c') } }] });
    await call(program, 'kv/txn', { success: [{ requestRange: { key: b64('a') } }, { requestRange: { key: b64('b') } }] });
    await call(program, 'kv/deleterange', { key: b64('a'), range_end: b64('c') });
    await call(program, 'kv/deleterange', { key: b64('nothing') });
    const { ID: id } = await call(program, 'lease/grant', { TTL: '100' });
    await call(program, 'lease/grant', { TTL: '7' });
    await call(program, 'lease/revoke', { ID: id });
    const after = await scrape(program);
    const difference = (name: string): number => figure(after.get(name), name) - figure(before.get(name), name);
    t.is(figure(after.get(COMPACTED), COMPACTED), 2);
    return Object.fromEntries(COUNTED.map((name) => [name, difference(name)]));
  };
  const [theirs, ours] = [await moved('etcd'), await moved('coterie')];
  t.deepEqual(ours, theirs);
});

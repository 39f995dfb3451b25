// `coterie serve` as a process: what it says when it starts, how it ends, and what it refuses. Each refusal names the value
// and the remedy, ends with the right code, and loses nothing: afterwards a right start finds the data as it was.

import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { banner, type ServerFacts } from '../../../core/cli/banner.js';
import { TestAuthority } from '../../certificates.js';
import { base64, coterie, MAIN, post, serveIn, serveWith, temporaryDirectory } from './binary.js';

test('a start says what it chose, with the ids etcd would have', async (t) => {
  const server = await serveIn(t, await temporaryDirectory(t), ['--snapshot-count', '500']);
  t.like(server.ready, { level: 'info', name: 'default', memberId: '8e9e05c52164694d', clusterId: 'cdf818194e3a8c32' });
  t.like(server.ready, { heartbeatMs: 100, electionMs: 1000, snapshotCount: 500, revision: 1, keys: 0 });
  t.true(String(server.ready.dataDir).endsWith('/data'));
  t.deepEqual(server.ready.advertisedUrls, [server.url]);
});

test('every log line is JSON with level, time and message, and none holds a key or a value', async (t) => {
  const server = await serveIn(t, await temporaryDirectory(t), ['--log-level', 'debug']);
  await post(server.url, 'kv/put', { key: base64('secret-key'), value: base64('secret-value') });
  server.signal('SIGTERM');
  const { stderr, stdout } = await server.ended;
  t.is(stdout, '');
  for (const line of stderr.trim().split('\n')) {
    const entry = JSON.parse(line) as Record<string, unknown>;
    t.deepEqual([typeof entry.level, typeof entry.ts, typeof entry.msg], ['string', 'string', 'string']);
  }
  t.notRegex(stderr, /secret|c2VjcmV0/);
});

test('SIGTERM ends streams, closes the log and exits 0 in time, and nothing is lost', async (t) => {
  const directory = await temporaryDirectory(t);
  const first = await serveIn(t, directory);
  await post(first.url, 'kv/put', { key: base64('a'), value: base64('1') });
  const request = JSON.stringify({ create_request: { key: base64('a') } });
  const watch = await fetch(`${first.url}/v3/watch`, { method: 'POST', body: request });
  const reading = watch.text().then(() => 'ended', () => 'cut off');
  const startedAt = performance.now();
  first.signal('SIGTERM');
  t.is((await first.ended).code, 0);
  t.true(performance.now() - startedAt < 30_000);
  t.true(['ended', 'cut off'].includes(await reading));
  const second = await serveIn(t, directory);
  t.like(await post(second.url, 'kv/range', { key: base64('a') }), { count: '1', kvs: [{ value: base64('1') }] });
  t.is(second.ready.keys, 1);
});

test('a member that is restarted has the same ids and a revision no lower', async (t) => {
  const directory = await temporaryDirectory(t);
  const first = await serveIn(t, directory);
  await post(first.url, 'kv/put', { key: base64('a'), value: base64('1') });
  first.signal('SIGKILL');
  t.is((await first.ended).code, null);
  const second = await serveIn(t, directory);
  t.like(second.ready, { memberId: first.ready.memberId, clusterId: first.ready.clusterId, revision: 2 });
});

test('a second signal ends at once', async (t) => {
  const server = await serveIn(t, await temporaryDirectory(t), ['--shutdown-grace', '9s']);
  // A call that will not finish by itself: the server has said that it waits for its body, of which half is sent.
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  t.teardown(() => socket.destroy());
  socket.on('error', () => socket.destroy());
  const taken = once(socket, 'data');
  socket.write('POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n');
  t.regex(String((await taken)[0]), /^HTTP\/1.1 100 /);
  socket.write('{');
  const startedAt = performance.now();
  server.signal('SIGTERM');
  await new Promise((resolve) => setTimeout(resolve, 300));
  server.signal('SIGINT');
  const { code, stderr } = await server.ended;
  t.is(code, 130, stderr);
  t.true(performance.now() - startedAt < 8500, 'its grace is not waited for');
});

test('/metrics has etcd\'s names with real figures', async (t) => {
  const server = await serveIn(t, await temporaryDirectory(t));
  await post(server.url, 'kv/put', { key: base64('a'), value: base64('1') });
  const answer = await fetch(`${server.url}/metrics`);
  t.regex(answer.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const lines = (await answer.text()).split('\n').map((line) => /^(.*) (\S+)$/.exec(line));
  const figures = new Map(lines.map((match) => [match?.[1] ?? '', match?.[2] ?? '']));
  const expected = {
    etcd_server_has_leader: '1', etcd_server_is_leader: '1', etcd_server_leader_changes_seen_total: '1',
    etcd_debugging_mvcc_keys_total: '1', etcd_debugging_mvcc_current_revision: '2',
    'etcd_server_id{server_id="8e9e05c52164694d"}': '1', 'etcd_server_version{server_version="3.4.23"}': '1',
  };
  for (const [name, value] of Object.entries(expected)) t.is(figures.get(name), value, name);
  for (const name of ['etcd_disk_wal_fsync_duration_seconds_count', 'etcd_disk_wal_write_bytes_total']) {
    t.true(Number(figures.get(name)) > 0, name);
  }
});

/** Somebody listens there until the test is over. */
async function takenUrl(t: ExecutionContext): Promise<string> {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  t.teardown(() => taken.close());
  const address = taken.address();
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
}

test('a port in use is refused, and the data waits for the next start', async (t) => {
  const directory = await temporaryDirectory(t);
  const first = await serveIn(t, directory);
  await post(first.url, 'kv/put', { key: base64('a'), value: base64('1') });
  first.signal('SIGTERM');
  await first.ended;
  const url = await takenUrl(t);
  const args = ['serve', '--data-dir', path.join(directory, 'data'), '--listen-client-urls', url, '--advertise-client-urls', url];
  const refused = await coterie(args);
  t.is(refused.code, 1);
  const said = `cannot listen on ${url.slice(7)}: the address is in use by another process\n  stop that one`;
  t.true(refused.stderr.includes(said), refused.stderr);
  const again = await serveIn(t, directory);
  t.is(again.ready.keys, 1);
});

test('a member whose ports are taken touches no data', async (t) => {
  const directory = await temporaryDirectory(t);
  const url = await takenUrl(t);
  const free = 'http://127.0.0.1:0';
  const said = `cannot listen on ${url.slice(7)}: the address is in use by another process\n`
    + '  stop that one, or listen on another port\n';
  const cases = [
    ['listen-client-urls', ['--listen-client-urls', url, '--advertise-client-urls', url]],
    ['listen-peer-urls', ['--listen-client-urls', free, '--advertise-client-urls', free, '--listen-peer-urls', url]],
  ] as const;
  for (const [flag, args] of cases) {
    const refused = await coterie(['serve', '--data-dir', path.join(directory, 'data'), ...args]);
    t.is(refused.code, 1);
    t.true(refused.stderr.endsWith(`coterie serve: --${flag}: ${said}`), refused.stderr);
    t.deepEqual(readdirSync(directory), []);
  }
});

test('a data directory in use is refused by the number of the process that has it, which goes on', async (t) => {
  const directory = await temporaryDirectory(t);
  const first = await serveIn(t, directory);
  const refused = await t.throwsAsync(serveIn(t, directory));
  t.true(refused.message.includes(String(first.pid)), refused.message);
  t.true(refused.message.includes(path.join(directory, 'data')), refused.message);
  t.like(await post(first.url, 'kv/put', { key: base64('a'), value: base64('1') }), { header: { revision: '2' } });
});

test('another member\'s data directory is refused, and stays as it was', async (t) => {
  const directory = await temporaryDirectory(t);
  const first = await serveIn(t, directory);
  await post(first.url, 'kv/put', { key: base64('a'), value: base64('1') });
  first.signal('SIGTERM');
  await first.ended;
  const cluster = 'default=http://localhost:2380,b=http://localhost:9380';
  const own = ['--name', 'b', '--initial-advertise-peer-urls', 'http://localhost:9380'];
  const refused = await t.throwsAsync(serveIn(t, directory, ['--initial-cluster', cluster, ...own]));
  t.regex(refused.message, /data belongs to member 8e9e05c52164694d, which --initial-cluster calls default\n {2}this one is b/);
  t.is((await serveIn(t, directory)).ready.keys, 1);
});

test('once there is data, the flags that found a cluster are not looked at again', async (t) => {
  const directory = await temporaryDirectory(t);
  const first = await serveIn(t, directory);
  first.signal('SIGTERM');
  await first.ended;
  const flags = ['--initial-cluster-token', 'other', '--initial-cluster', 'x=http://h:1', '--initial-cluster-state', 'existing'];
  const second = await serveIn(t, directory, flags);
  t.like(second.ready, { memberId: first.ready.memberId, clusterId: first.ready.clusterId });
});

test('a key that is not the certificate\'s is refused before the port for members is blamed', async (t) => {
  const directory = await temporaryDirectory(t);
  const authority = await TestAuthority.make();
  const [member, other] = [path.join(directory, 'member.pem'), path.join(directory, 'other-key.pem')];
  writeFileSync(member, (await authority.issue('member')).cert);
  writeFileSync(other, (await authority.issue('other')).key);
  const certificate = ['--peer-cert-file', member, '--peer-key-file', other];
  const refused = await t.throwsAsync(serveIn(t, directory, certificate));
  t.regex(refused.message, /--peer-key-file .*other-key\.pem: it is not the key of the certificate\n {2}give the one/);
  t.false(existsSync(path.join(directory, 'data', 'identity')));
});

test('a directory that cannot be made is refused', async (t) => {
  const directory = await temporaryDirectory(t);
  writeFileSync(path.join(directory, 'data'), 'a file');
  const refused = await t.throwsAsync(serveIn(t, directory));
  t.regex(refused.message, /--data-dir=.*data/);
  t.regex(refused.message, /give another directory with --data-dir/);
});

test('etcd\'s own data is not touched', async (t) => {
  const directory = await temporaryDirectory(t);
  mkdirSync(path.join(directory, 'data', 'member', 'wal'), { recursive: true });
  const refused = await t.throwsAsync(serveIn(t, directory));
  t.regex(refused.message, /holds etcd's data, which coterie cannot read\n {2}give another directory/);
  t.false(existsSync(path.join(directory, 'data', 'identity')));
});

test('a disk that fails ends the process with the reason, and what was acknowledged is there afterwards', async (t) => {
  const directory = await temporaryDirectory(t);
  const free = 'http://127.0.0.1:0';
  const flags = `serve --data-dir data --listen-client-urls ${free} --advertise-client-urls ${free}`;
  // No file may grow beyond 2 MiB: the system's way to say that the disk is full, for one process.
  const script = `trap '' XFSZ; ulimit -f 2048; exec '${process.execPath}' '${MAIN}' ${flags}`;
  const server = await serveWith(t, 'bash', ['-c', script], directory);
  let acknowledged = 0;
  try {
    for (; acknowledged < 1000; acknowledged++) {
      const answer = await post(server.url, 'kv/put', { key: base64(`k${acknowledged}`), value: base64('x'.repeat(10_000)) });
      if (answer.header === undefined) break;
    }
  } catch (error) {
    t.log(`after ${acknowledged} writes: ${String(error)}`);
  }
  const { code, stderr } = await server.ended;
  t.is(code, 1);
  t.regex(stderr, /the node cannot go on/);
  const again = await serveIn(t, directory);
  const { count } = await post(again.url, 'kv/range', { key: base64('k'), range_end: base64('l'), count_only: true });
  t.true(acknowledged > 0 && Number(count) >= acknowledged, `${acknowledged} acknowledged, ${String(count)} found`);
});

test('wrong words cost a sentence and exit code 2, and nothing is touched', async (t) => {
  const directory = await temporaryDirectory(t);
  const refused = await coterie(['serve', '--heartbeat-interval', 'fast'], { cwd: directory });
  const problem = 'coterie serve: --heartbeat-interval fast: not a whole number of milliseconds';
  t.deepEqual(refused, { code: 2, stdout: '', stderr: `${problem}\n  give plain digits, for instance 100\n` });
  t.is((await coterie(['serve', '--bogus'], { cwd: directory })).code, 2);
  t.is((await coterie(['serve'], { cwd: directory, env: { ETCD_NAME: 'a', COTERIE_NAME: 'b' } })).code, 2);
  t.is((await coterie(['serve', '--config-file', 'none.yaml'], { cwd: directory })).code, 2);
  t.false(existsSync(path.join(directory, 'default.coterie')));
});

test('--print-config shows what won and from where, and starts nothing', async (t) => {
  const directory = await temporaryDirectory(t);
  const shown = await coterie(['serve', '--print-config', '--name', 'n1'], { cwd: directory, env: { ETCD_SNAPSHOT_COUNT: '5' } });
  t.is(shown.code, 0);
  t.regex(shown.stdout, /^name +n1 +# flag: --name$/m);
  t.regex(shown.stdout, /^data-dir +n1\.coterie +# default: follows --name$/m);
  t.regex(shown.stdout, /^snapshot-count +5 +# environment: ETCD_SNAPSHOT_COUNT$/m);
  t.regex(shown.stdout, /^watch-progress-notify-interval +10m +# default$/m);
  const asJson = await coterie(['serve', '--print-config', '--json'], { cwd: directory });
  const json = JSON.parse(asJson.stdout) as Record<string, unknown>;
  t.deepEqual(json['heartbeat-interval'], { value: 100, origin: 'default', place: 'default' });
  t.false(existsSync(path.join(directory, 'n1.coterie')));
});

test('the banner names everything that was chosen', (t) => {
  const facts: ServerFacts = {
    version: '0.1.0', apiVersion: '3.4.23', name: 'n1', memberId: 0x10n, clusterId: 0x20n, dataDir: 'n1.coterie',
    clientUrls: ['http://0.0.0.0:2379'], advertisedUrls: ['http://10.0.0.7:2379'], heartbeatMs: 100, electionMs: 1000,
    snapshotCount: 100_000, revision: 7, keys: 1, tookMs: 12,
  };
  const text = banner(facts, process.stderr);
  const words = ['n1', '10', '20', 'n1.coterie', 'http://0.0.0.0:2379', 'http://10.0.0.7:2379', '100 ms', '1000 ms', '1 key'];
  for (const word of words) t.true(text.includes(word), word);
});

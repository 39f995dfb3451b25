// The settings of `coterie serve` as values: what a word means, which of several words counts, and what is refused, with
// the sentence that says so. No process is started here.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { readArguments } from '../../../core/cli/arguments.js';
import { ALWAYS_ON, OPTIONS, UNAVAILABLE, WITHOUT_EFFECT } from '../../../core/cli/options.js';
import { nearest, Refusal } from '../../../core/cli/refusal.js';
import { clusterOf, settle, type Settings } from '../../../core/cli/settings.js';
import { readDuration, showValue } from '../../../core/cli/values.js';

function settled(flags: readonly string[], environment: Record<string, string> = {}): Settings {
  const words = readArguments(flags);
  const settings = settle(words.kind === 'run' ? words.words : new Map<string, string>(), environment);
  if (settings.bootstrapFault !== null) throw settings.bootstrapFault;
  return settings;
}

function shown(settings: Settings, flag: string): string {
  const setting = settings.all.get(flag);
  return `${showValue(setting?.value ?? '')} (${setting?.origin ?? ''}: ${setting?.place ?? ''})`;
}

function refused(t: ExecutionContext, flags: readonly string[], environment: Record<string, string> = {}): string {
  const error = t.throws(() => settled(flags, environment), { instanceOf: Refusal });
  return `${error?.message ?? ''} / ${error?.remedy ?? ''}`;
}

function file(t: ExecutionContext, text: string): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'coterie-settings-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const name = path.join(directory, 'c.yaml');
  writeFileSync(name, text);
  return name;
}

test('a flag wins over the environment, that over the file, that over the default', (t) => {
  const config = file(t, 'name: from-file\nsnapshot-count: 7\nmax-txn-ops: 9\n');
  const environment = { ETCD_NAME: 'from-environment', COTERIE_SNAPSHOT_COUNT: '8' };
  const settings = settled(['--config-file', config, '--name', 'from-flag'], environment);
  t.is(shown(settings, 'name'), 'from-flag (flag: --name)');
  t.is(shown(settings, 'snapshot-count'), '8 (environment: COTERIE_SNAPSHOT_COUNT)');
  t.is(shown(settings, 'max-txn-ops'), `9 (file: ${config}:3:14: max-txn-ops)`);
  t.is(shown(settings, 'election-timeout'), '1000 (default: default)');
});

test('flags are written as with etcd: one dash or two, with or without an equal sign', (t) => {
  const settings = settled(['-name', 'a', '--snapshot-count=5', '-max-txn-ops=6', '--print-config']);
  t.is(shown(settings, 'name'), 'a (flag: --name)');
  t.is(shown(settings, 'snapshot-count'), '5 (flag: --snapshot-count)');
  t.is(shown(settings, 'max-txn-ops'), '6 (flag: --max-txn-ops)');
  t.is(shown(settings, 'print-config'), 'true (flag: --print-config)');
  t.is(shown(settled(['--name', 'a', '--name', 'b']), 'name'), 'b (flag: --name)');
});

test('directory and cluster follow the name', (t) => {
  const settings = settled(['--name', 'n1']);
  t.is(shown(settings, 'data-dir'), 'n1.coterie (default: follows --name)');
  t.is(shown(settings, 'initial-cluster'), 'n1=http://localhost:2380 (default: follows --initial-advertise-peer-urls)');
});

test('every default is a value that would be accepted', (t) => {
  for (const { flag, fallback, kind } of OPTIONS) {
    if (fallback === null || fallback === '' || ['listen-client-urls', 'peer-client-cert-auth'].includes(flag)) continue;
    const read = kind === 'duration' ? readDuration(fallback) : fallback;
    const shownAs = typeof read === 'number' ? String(read) : fallback;
    t.is(showValue(settled([`--${flag}=${fallback}`]).all.get(flag)?.value ?? ''), shownAs);
  }
});

const WRONG: readonly (readonly [flags: string, says: string])[] = [
  ['--heartbeat-interval abc', 'abc: not a whole number of milliseconds / give plain digits, for instance 100'],
  ['--snapshot-count 0', '--snapshot-count 0: below the least, 1 entries / give something from 1 entries to 1000000000 entries'],
  ['--max-request-bytes 1e9', '--max-request-bytes 1e9: not a whole number of bytes / give plain digits, for instance 1572864'],
  ['--shutdown-grace 5', '--shutdown-grace 5: not a duration / give digits and a unit, for instance 500ms, 10s, 5m or 1h30m'],
  ['--shutdown-grace 1h', '--shutdown-grace 1h: above the most, 9s / give something from 0ms to 9s'],
  ['--log-level inof', 'inof: not one of the choices / did you mean info? give one of debug, info, warn, error, panic, fatal'],
  ['--initial-cluster-state exist', '--initial-cluster-state exist: not one of the choices / did you mean existing?'],
  ['--initial-cluster-state existing', 'names no running member to ask / name all members, as coterie member add prints them'],
  ['--pre-vote=maybe', '--pre-vote maybe: neither true nor false'],
  ['--peer-cert-file a.pem', '--peer-cert-file a.pem without --peer-key-file / give both'],
  ['--listen-peer-urls https://127.0.0.1:2380', 'needs a certificate / give --peer-cert-file and --peer-key-file, or'],
  ['--peer-client-cert-auth', '--peer-client-cert-auth true without --peer-trusted-ca-file / say whose certificates'],
  ['--initial-advertise-peer-urls http://h', 'http://h has no port / add one, for instance http://h:2380'],
  ['--max-learners 2', 'coterie does not have more than one learner at a time / leave it out, or set it to 1'],
  ['--discovery http://d', 'coterie does not have discovery by another cluster (use --discovery-srv or --initial-cluster)'],
  ['--discovery-srv a..b', '--discovery-srv a..b: not a name in DNS / give one such as example.com'],
  ['--discovery-srv x.test --initial-cluster default=http://localhost:2380', 'both say who the members are / choose one'],
  ['--enable-pprof', 'profiles are shown on the loopback only, beside the ports for clients / give a port of the loopback'],
  ['--enable-pprof --listen-metrics-urls http://10.0.0.1:1', 'profiles are shown on the loopback only'],
  ['--cors http://a.test,,http://b.test', 'nothing between two commas / write a,b,c'],
  ['--metrics all', '--metrics all: not one of the choices / give one of basic, extensive'],
  ['--log-outputs=a,,b', '--log-outputs a,,b: nothing between two commas'],
  ['--socket-reuse-port', 'coterie does not have sharing a port between processes'],
  ['--max-concurrent-streams 0', 'below the least, 1 streams'],
  ['--grpc-keepalive-interval 1ms', 'below the least, 1s'],
  ['--print-config=maybe', '--print-config maybe: neither true nor false / give true or false'],
  ['--name a,b', '--name a,b: not a plain name / use up to 255 characters without spaces, commas, equal signs and slashes'],
  ['--data-dir=', '--data-dir "": empty / give a path'],
  ['--advertise-client-urls host:2379', 'has no scheme'],
  ['--advertise-client-urls http://host', 'http://host has no port / add one, for instance http://host:2379'],
  ['--advertise-client-urls http://host:1/x', 'http://host:1/x has a path / use http://host:1'],
  ['--advertise-client-urls ftp://host:1', 'the scheme ftp is unknown / use http:// or https://'],
  [
    '--listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://a:2379',
    'needs a certificate / give --cert-file',
  ],
  ['--cert-file a.pem', '--cert-file a.pem without --key-file / give both'],
  ['--client-crl-file a.pem', '--client-crl-file a.pem without --trusted-ca-file / say whose certificates are believed'],
  ['--peer-trusted-ca-file a --peer-cert-allowed-cn a --peer-cert-allowed-hostname b', 'are mutually exclusive / choose one'],
  ['--tls-min-version TLS1.1', 'not one of the choices / did you mean TLS1.'],
  ['--advertise-client-urls http://a:1,http://a:1', 'http://a:1 is there twice / name each URL once'],
  ['--listen-client-urls http://example.com:1', 'example.com is a name, and a socket is bound to an address'],
  ['--listen-client-urls unix://x:1', 'Unix sockets are not available yet'],
  ['--initial-cluster a', 'a names no member / write name=url'],
  ['--initial-cluster a=http://x:1,b=http://y:1', 'does not name this member, default / use --name a or b, or rename it there'],
  ['--name a --initial-cluster a=http://x:1,b=http://x:1/', 'http://x:1 stands for a and for b / give each member peer URLs'],
  [
    '--initial-cluster default=http://localhost:2380,default=http://y:2380',
    'if default stands there for two members, give each a name of its own',
  ],
  ['--initial-cluster other=http://localhost:2380', 'does not name this member, default / use --name other'],
  ['--initial-cluster default=http://x:1', '--initial-advertise-peer-urls http://x:1'],
  ['--election-timeout 400', '--election-timeout 400 is less than 5 times --heartbeat-interval 100'],
  ['--listen-client-urls http://127.0.0.1:1', '--advertise-client-urls is required when --listen-client-urls is set explicitly'],
  ['--nmae x', '--nmae: no such flag / did you mean --name?'],
  ['--zzzzzzzz', '--zzzzzzzz: no such flag / coterie serve --help lists them'],
  ['--name', '--name needs a value / write --name VALUE'],
  ['--name --data-dir x', '--name is followed by --data-dir, not by a value'],
  ['stray', 'stray: serve takes flags only'],
  ['--client-cert-auth', '--client-cert-auth true without --trusted-ca-file / say whose certificates are believed: --trusted-ca'],
  ['--enable-v2', 'coterie does not have the v2 API / leave it out, or set it to false'],
  ['--quota-backend-bytes 5GB', 'not a whole number of bytes / give plain digits, for instance 0'],
  ['--config-file /nowhere/c.yaml', '--config-file=/nowhere/c.yaml: no such file / check the path'],
];

for (const [flags, says] of WRONG) {
  test(`refused, with value and remedy: ${flags}`, (t) => {
    const said = refused(t, flags.split(' '));
    t.true(said.includes(says), said);
  });
}

test('a file is refused with line and column', (t) => {
  const said = (text: string): string => refused(t, ['--config-file', file(t, text)]).replace(/^.*?c\.yaml/, 'c.yaml');
  t.is(said('name: a\nnmae: b\n'), 'c.yaml:2:7: nmae: no such setting / did you mean name?');
  t.true(said('\nsnapshot-count: many\n').startsWith('c.yaml:2:17: snapshot-count: many: not a whole number of entries'));
  t.true(said('name: a\nname: b\n').startsWith('c.yaml:2:1: Map keys must be unique'));
  t.true(said('name: [a\n').startsWith('c.yaml:2:1: '));
  t.is(said('- a\n'), 'c.yaml:1:1: not a list of names and values / write each entry as `name: value`');
  t.true(said('client-transport-security:\n  auto-tls: maybe\n').startsWith('c.yaml:2:13: auto-tls: maybe: '));
  t.true(said('client-transport-security: x\n').includes('client-transport-security: no such setting'));
  t.true(said('cors:\n  a: b\n').includes('cors: a group of values'));
  t.true(said('peer-transport-security:\n  auto-tls: perhaps\n').includes('c.yaml:2:13: peer-auto-tls: perhaps: neither'));
  t.true(said('client-transport-security:\n  cert-file: a.pem\n').includes('c.yaml:2:14: cert-file: a.pem without --key-file'));
  t.true(said('print-config: true\n').includes('no such setting'));
});

test('etcd\'s own sample file is taken, with its empty words and groups', (t) => {
  const text = `
name: 'default'
data-dir:
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 0
listen-peer-urls: http://localhost:2380
listen-client-urls: http://localhost:2379
max-snapshots: 5
max-wals: 5
cors:
initial-advertise-peer-urls: http://localhost:2380
advertise-client-urls: http://localhost:2379
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
discovery-srv:
initial-cluster:
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-v2: false
enable-pprof: false
proxy: 'off'
proxy-failure-wait: 5000
proxy-refresh-interval: 30000
proxy-dial-timeout: 1000
proxy-write-timeout: 5000
proxy-read-timeout: 0
grpc-keepalive-interval: 7200000000000
client-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
peer-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
  allowed-cn:
debug: false
logger: zap
log-outputs: [stderr, /var/log/etcd.log]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "0"
`;
  const settings = settled(['--config-file', file(t, text)]);
  t.is(settings.bootstrapFault, null);
  t.deepEqual(settings.all.get('log-outputs')?.value, ['stderr', '/var/log/etcd.log']);
  t.deepEqual(settings.all.get('cors')?.value, ['*']);
  t.is(settings.all.get('grpc-keepalive-interval')?.value, 7_200_000);
  t.is(shown(settings, 'data-dir'), 'default.coterie (default: follows --name)');
});

test('a file may hold lists, etcd\'s durations in nanoseconds, and names that look like numbers', (t) => {
  const text = 'name: 007\nwatch-progress-notify-interval: 600000000000\nadvertise-client-urls: [http://a:1, http://b:2]\n';
  const settings = settled(['--config-file', file(t, text)]);
  t.is(settings.all.get('name')?.value, '007');
  t.is(settings.all.get('watch-progress-notify-interval')?.value, 600_000);
  t.deepEqual(settings.all.get('advertise-client-urls')?.value, ['http://a:1', 'http://b:2']);
  t.is(shown(settled(['--config-file', file(t, '')]), 'name'), 'default (default: default)');
});

test('two variables that contradict each other are refused, two that agree are not', (t) => {
  const said = refused(t, [], { ETCD_NAME: 'a', COTERIE_NAME: 'b' });
  t.is(said, 'COTERIE_NAME=b and ETCD_NAME=a contradict each other / unset one of them, or decide with --name');
  t.is(shown(settled([], { ETCD_NAME: 'a', COTERIE_NAME: 'a' }), 'name'), 'a (environment: COTERIE_NAME)');
  t.true(refused(t, [], { ETCD_SNAPSHOT_COUNT: 'x' }).startsWith('ETCD_SNAPSHOT_COUNT=x: not a whole number'));
  t.true(refused(t, [], { ETCD_CERT_FILE: 'x' }).startsWith('ETCD_CERT_FILE=x without --key-file'));
});

test('a variable that names no flag is told, not obeyed', (t) => {
  const { warnings } = settled([], { ETCD_NMAE: 'x', COTERIE_DIST: 'y', ETCDCTL_API: '3', ETCD_SERVICE_HOST: '10.0.0.1' });
  t.deepEqual(warnings.filter((warning) => !warning.startsWith('ETCD_SERVICE_HOST')), [
    'ETCD_NMAE names no flag and is ignored; did you mean ETCD_NAME?',
  ]);
  const ofCommands = { COTERIE_ENDPOINTS: 'http://h:1', COTERIE_CACERT: 'c', COTERIE_PASSWORD_FILE: 'p', COTERIE_WATCH_KEY: 'k' };
  t.deepEqual(settled([], ofCommands).warnings, [], 'what commands read is not meant for a server');
});

test('what etcd has and we do not is accepted where it asks for nothing', (t) => {
  for (const { flag, harmless } of UNAVAILABLE) {
    for (const word of harmless) t.notThrows(() => settled([`--${flag}=${word}`]), `--${flag}=${word}`);
    t.true(refused(t, [`--${flag}=something`]).includes('coterie does not have'));
  }
  for (const flag of WITHOUT_EFFECT) t.is(settled([`--${flag}=true`]).warnings.length, 1, flag);
});

test('older words for the log mean what they meant', (t) => {
  t.is(shown(settled(['--debug']), 'log-level'), 'debug (default: follows --debug)');
  t.is(shown(settled(['--debug=false']), 'log-level'), 'info (default: default)');
  t.is(shown(settled(['--debug', '--log-level', 'warn']), 'log-level'), 'warn (flag: --log-level)');
  t.is(shown(settled(['--log-output', 'stdout']), 'log-outputs'), 'stdout (flag: --log-output)');
});

test('a cluster of several members is taken apart into names and URLs', (t) => {
  const cluster = 'a=http://10.0.0.1:2380,b=https://b:2380,c=http://c:1,c=http://c:2';
  const flags = ['--name', 'a', '--initial-cluster', cluster, '--initial-advertise-peer-urls', 'http://10.0.0.1:2380'];
  const settings = settled([...flags, '--initial-cluster-state', 'existing', '--force-new-cluster']);
  t.deepEqual([...clusterOf(settings.all)], [
    ['a', ['http://10.0.0.1:2380']], ['b', ['https://b:2380']], ['c', ['http://c:1', 'http://c:2']],
  ]);
  t.is(shown(settings, 'force-new-cluster'), 'true (flag: --force-new-cluster)');
});

test('the certificates of members stand in a group of etcd\'s files', (t) => {
  const group = ['cert-file: a.pem', 'key-file: b.pem', 'trusted-ca-file: c.pem', 'client-cert-auth: true'];
  const text = ['peer-transport-security:', ...group.map((line) => `  ${line}`), ''].join('\n');
  const settings = settled(['--config-file', file(t, text)]);
  const flags = ['peer-cert-file', 'peer-key-file', 'peer-trusted-ca-file', 'peer-client-cert-auth'];
  t.deepEqual(flags.map((flag) => settings.all.get(flag)?.value), ['a.pem', 'b.pem', 'c.pem', true]);
});

test('what is always on is taken silently, and to turn it off is answered with why not', (t) => {
  for (const [flag, reason] of Object.entries(ALWAYS_ON)) {
    t.deepEqual(settled([`--${flag}`]).warnings, []);
    t.deepEqual(settled([`--${flag}=false`]).warnings, [`--${flag}: it is always on here: ${reason}`]);
  }
});

test('words that found a cluster are not judged where values are wanted only', (t) => {
  const words = readArguments(['--name', 'a', '--initial-cluster', 'b=http://x:1']);
  const settings = settle(words.kind === 'run' ? words.words : new Map<string, string>(), {});
  t.is(settings.bootstrapFault?.exitCode, 2);
});

test('no flag is declared twice', (t) => {
  const flags = [...OPTIONS.map(({ flag }) => flag), ...UNAVAILABLE.map(({ flag }) => flag)]
    .concat(WITHOUT_EFFECT, Object.keys(ALWAYS_ON));
  t.deepEqual(flags.filter((flag, i) => flags.indexOf(flag) !== i), []);
});

test('a slip of the finger is guessed, a different word is not', (t) => {
  const known = ['serve', 'sidecar', 'version', 'help'];
  t.is(nearest('sevre', known), 'serve');
  t.is(nearest('vers', known), 'version');
  t.is(nearest('banana', known), null);
});

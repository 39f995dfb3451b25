// A server as whoever operates it meets it: where its log goes, what systemd is told, profiles, and a data directory that others
// may not look into. Real processes; systemd is a socket that listens.

import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { guardDataDir, runtimeWarnings } from '../../../core/cli/hardening.js';
import { openNotice } from '../../../core/cli/notify.js';
import { Refusal } from '../../../core/cli/refusal.js';
import { base64, coterie, environment, MAIN, post, serveIn, serveWith, temporaryDirectory } from './binary.js';

async function until(holds: () => boolean, what: string): Promise<void> {
  for (const end = performance.now() + 30_000; !holds();) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`);
    await sleep(20);
  }
}

const FREE: readonly string[] = ['--listen-client-urls', '--advertise-client-urls', '--listen-peer-urls'].flatMap((flag) => {
  return [flag, 'http://127.0.0.1:0'];
});

function read(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

test('the log goes to several outputs; files are for their owner alone, opened anew on SIGHUP or else kept', async (t) => {
  const directory = await temporaryDirectory(t);
  const [file, other] = [path.join(directory, 'a.log'), path.join(directory, 'b.log')];
  const server = await serveIn(t, directory, ['--log-outputs', `default,${file},${other}`, '--log-level', 'debug']);
  for (const each of [file, other]) {
    await until(() => read(each).includes('ready to serve client requests'), 'each has what another has already');
    t.is(statSync(each).mode & 0o777, 0o600);
    const lines = read(each).trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
    for (const { level, ts } of lines) {
      t.true(['debug', 'info', 'warn', 'error', 'fatal'].includes(String(level)));
      t.false(Number.isNaN(Date.parse(String(ts))));
    }
  }
  renameSync(file, `${file}.1`);
  server.signal('SIGHUP');
  await until(() => existsSync(file), 'the file comes back under its name');
  unlinkSync(other);
  mkdirSync(other);
  server.signal('SIGHUP');
  const hangUps = (): number => (read(file).match(/"msg":"SIGHUP:/g) ?? []).length;
  await until(() => hangUps() === 2, 'it goes on where a file cannot be opened anew');
  server.signal('SIGTERM');
  const { code, stderr } = await server.ended;
  t.is(code, 0);
  t.regex(stderr, /"msg":"bye"/);
  t.regex(stderr, /^coterie serve: .*b\.log cannot be written: .*EISDIR/m);
  t.regex(read(file), /"msg":"bye"/);
  t.notRegex(read(`${file}.1`), /"msg":"bye"/);
});

test('a log file that cannot be opened is refused before anything is touched', async (t) => {
  const directory = await temporaryDirectory(t);
  const words = ['--data-dir', `${directory}/data`, '--log-outputs', `${directory}/no/such/a.log`];
  const { code, stderr } = await coterie(['serve', ...words]);
  t.is(code, 1);
  t.regex(stderr, /--log-outputs: ENOENT.*\n {2}name files this user may write/);
  t.false(existsSync(`${directory}/data`));
});

/** Listens as systemd does, and prints each message on a line. */
const LISTENER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
s.bind('\\0' + name[1:] if name.startswith('@') else name)
print('listening', flush=True)
while True:
    print(repr(s.recv(4096)), flush=True)
`;

async function systemd(t: ExecutionContext, name: string): Promise<() => string> {
  const child = spawn('python3', ['-c', LISTENER, name], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await until(() => said.includes('listening'), 'the socket listens');
  return () => said;
}

function isEquipped(t: ExecutionContext): boolean {
  const missing = ['python3', 'systemd-notify'].filter((program) => spawnSync(program, ['--version']).error !== undefined);
  if (missing.length === 0) return true;
  if (process.env['CI'] === 'true') throw new Error(`${missing.join()} is not on the path, but CI must have it`);
  t.log(`${missing.join()} is not on the path: what systemd is told is not checked here`);
  t.pass();
  return false;
}

test('systemd is told READY, STOPPING and that the watchdog need not bite', async (t) => {
  if (!isEquipped(t)) return;
  const directory = await temporaryDirectory(t);
  const socket = path.join(directory, 'notify');
  const said = await systemd(t, socket);
  const variables = [`NOTIFY_SOCKET=${socket}`, 'WATCHDOG_USEC=1500000'];
  // With the switches of the unit file.
  const switches = ['--disable-proto=delete', '--max-old-space-size=256'];
  const words = [...switches, MAIN, 'serve', '--data-dir', path.join(directory, 'data'), ...FREE];
  const server = await serveWith(t, '/usr/bin/env', [...variables, process.execPath, ...words], directory);
  await until(() => said().includes('READY=1'), 'READY=1');
  await until(() => (said().match(/WATCHDOG=1/g) ?? []).length >= 3, 'the watchdog is fed again and again');
  t.regex(said(), /READY=1\\nSTATUS=serving on http:/);
  t.false(said().includes('STOPPING'));
  // What a reload sends; without a handler it would end the process.
  server.signal('SIGHUP');
  await sleep(100);
  t.is((await fetch(`${server.url}/health`)).status, 200);
  server.signal('SIGTERM');
  t.is((await server.ended).code, 0);
  await until(() => said().includes('STOPPING=1'), 'STOPPING=1');
});

test('systemd is told over an abstract socket, too, and nobody is where nobody listens', async (t) => {
  if (!isEquipped(t)) return;
  const socket = `@coterie-test-${process.pid}`;
  const said = await systemd(t, socket);
  const warnings: unknown[] = [];
  const log = { warn: (...words: unknown[]) => void warnings.push(words) };
  openNotice({ NOTIFY_SOCKET: socket }, log).say('READY=1', 'STATUS=here');
  await until(() => said().includes('READY=1\\nSTATUS=here'), 'it arrives');
  openNotice({}, log).say('READY=1');
  t.deepEqual(warnings, []);
  openNotice({ NOTIFY_SOCKET: `${socket}-nobody` }, log).say('READY=1');
  await until(() => warnings.length > 0, 'the log says that it did not');
});

/** A profile, and one that was asked for meanwhile: again where a busy machine has kept the two apart or turned them round. */
async function twoProfiles(side: string): Promise<readonly [Response, Response]> {
  for (let tries = 1; ; tries++) {
    const first = fetch(`${side}/debug/pprof/profile?seconds=2`);
    const second = sleep(500).then(() => fetch(`${side}/debug/pprof/loop?seconds=0.2`));
    const both = await Promise.all([first, second]);
    if (tries === 5 || (both[0].status === 200 && both[1].status === 503)) return both;
    for (const each of both) await each.text();
  }
}

test('SE3: profiles are on the loopback beside the clients\' port, one at a time, and nowhere without the flag', async (t) => {
  const directory = await temporaryDirectory(t);
  const log = path.join(directory, 'log');
  const flags = ['--enable-pprof', '--listen-metrics-urls', 'http://127.0.0.1:0', '--log-outputs', `stderr,${log}`];
  const server = await serveIn(t, directory, flags);
  await until(() => /health and metrics are served/.test(read(log)), 'the port beside is told of');
  const side = /"url":"([^"]+)","msg":"health and metrics/.exec(read(log))?.[1] ?? '';
  t.regex(await (await fetch(`${side}/debug/pprof/`)).text(), /profile\?seconds=30/);
  const [profile, second] = await twoProfiles(side);
  t.is(second.status, 503);
  t.true(Array.isArray(((await profile.json()) as { nodes: unknown }).nodes));
  const loop = (await (await fetch(`${side}/debug/pprof/loop?seconds=0.2`)).json()) as Record<string, number>;
  t.true((loop['max'] ?? -1) >= (loop['p50'] ?? Infinity));
  const vars = (await (await fetch(`${side}/debug/vars`)).json()) as Record<string, Record<string, unknown>>;
  t.is(vars['raft.status']?.['raftState'], 'leader');
  const heap = await fetch(`${side}/debug/pprof/heap`);
  t.is(heap.headers.get('content-disposition'), 'attachment; filename="coterie.heapsnapshot"');
  await heap.body?.cancel();
  for (const where of ['/debug/pprof/', '/debug/pprof/heap', '/debug/vars', '/debug/requests']) {
    t.is((await fetch(`${server.url}${where}`)).status, 404, `${where} on the port for clients`);
  }
  const words = ['-s', '-o', '/dev/null', '-w', '%{http_code}', '-H', 'Host: evil.test', `${side}/debug/vars`];
  const rebound = spawnSync('curl', words);
  if (rebound.error === undefined) t.is(rebound.stdout.toString(), '403');
  else t.log('curl is not on the path: a foreign Host is not tried');
});

test('SE3: an inspector and NODE_OPTIONS from the environment are told of', (t) => {
  t.deepEqual(runtimeWarnings({ PATH: '/bin' }, ['--max-old-space-size=512'], undefined), []);
  const warnings = runtimeWarnings({ NODE_OPTIONS: '--require ./evil.js' }, ['--inspect=0.0.0.0:9229'], undefined);
  t.regex(warnings[0] ?? '', /an inspector is open/);
  t.regex(warnings[1] ?? '', /NODE_OPTIONS is set, "--require \.\/evil\.js"/);
  t.is(runtimeWarnings({}, [], 'ws://127.0.0.1:9229/x').length, 1, 'one opened by a signal counts too');
});

test('SF1: data is for its owner alone: what is made, what was there, and what others might have looked into', async (t) => {
  const directory = await temporaryDirectory(t);
  const dataDir = path.join(directory, 'data');
  mkdirSync(dataDir, { mode: 0o755 });
  chmodSync(dataDir, 0o755);
  const server = await serveIn(t, directory);
  await post(server.url, 'kv/put', { key: base64('a'), value: base64('b') });
  t.is(statSync(dataDir).mode & 0o777, 0o700, 'a directory without data is closed');
  const listing = spawnSync('find', [dataDir, '-type', 'f', '-printf', '%m %p\n']).stdout.toString().trim().split('\n');
  t.true(listing.length >= 2);
  t.deepEqual(listing.filter((line) => !line.startsWith('600 ')), [], 'every file in it is 0600');
  server.signal('SIGTERM');
  await server.ended;
  for (const mode of [0o750, 0o707, 0o701]) {
    chmodSync(dataDir, mode);
    const message = new RegExp(`has mode 0${mode.toString(8)}: others`);
    t.throws(() => guardDataDir(dataDir, false), { instanceOf: Refusal, message });
    t.notThrows(() => guardDataDir(dataDir, true));
  }
  const { code, stderr } = await coterie(['serve', '--data-dir', dataDir, ...FREE]);
  t.is(code, 1);
  t.regex(stderr, /has mode 0701: others than its owner.*\n {2}chmod 700 .*, or, where it has to be so, --shared-data-dir/);
});

test('SF2: a secret on the command line would be seen by all: none is taken there, and none is printed', async (t) => {
  const { stdout } = await coterie(['serve', '--print-config']);
  const { stdout: help } = await coterie(['serve', '--help']);
  // Keys come as files; the names of the flags say so.
  const flags = [...help.matchAll(/--([a-z\d-]+)/g)].map(([, flag]) => flag ?? '');
  t.deepEqual(flags.filter((flag) => /(?:password|secret|passphrase)/.test(flag)), []);
  t.true(flags.filter((flag) => /key/.test(flag)).every((flag) => flag.endsWith('key-file') || /keepalive/.test(flag)));
  t.notRegex(stdout, /PRIVATE KEY/);
});

test('SF7: an error nobody caught is told with its last line in a log file too, and the exit code says so', async (t) => {
  const directory = await temporaryDirectory(t);
  const [file, log] = [path.join(directory, 'fault.mjs'), path.join(directory, 'log')];
  const place = (name: string): string => new URL(`../../../core/cli/${name}.js`, import.meta.url).href;
  writeFileSync(file, `
    import { dieOfTheUnexpected } from '${place('lifecycle')}';
    import { openLog } from '${place('log')}';
    const log = openLog({ level: 'error', format: 'json', outputs: ['${log}'] });
    dieOfTheUnexpected(log);
    setTimeout(() => { throw new Error('boom'); }, 1);
    setTimeout(() => log.error('it went on'), 1000);
  `);
  const child = spawnSync(process.execPath, [file], { env: environment() });
  t.is(child.status, 1);
  t.like(JSON.parse(read(log).trim()), { level: 'fatal', error: { message: 'boom' } });
});

test('a flood of lines is bounded, what is left out is counted, and errors are always told', async (t) => {
  const directory = await temporaryDirectory(t);
  const [file, log] = [path.join(directory, 'flood.mjs'), path.join(directory, 'log')];
  const place = new URL('../../../core/cli/log.js', import.meta.url).href;
  writeFileSync(file, `
    import { openLog } from '${place}';
    const log = openLog({ level: 'info', format: 'json', outputs: ['${log}'] });
    for (let i = 0; i < 5000; i++) log.info({ i, who: 'a\\u0085\\u2028\\u001b[2J' }, 'flood');
    for (let i = 0; i < 100; i++) log.error({ i }, 'grave');
    setTimeout(() => log.info('after'), 1100);
  `);
  spawnSync(process.execPath, [file], { env: environment() });
  const lines = read(log).trim().split('\n');
  const entries = lines.map((line) => JSON.parse(line) as { msg: string; lines?: number; who?: string });
  const floods = entries.filter(({ msg }) => msg === 'flood');
  t.true(floods.length >= 1000 && floods.length <= 3000, String(floods.length));
  t.is(floods.length + entries.reduce((sum, { lines: left = 0 }) => sum + left, 0), 5000);
  t.is(entries.filter(({ msg }) => msg === 'grave').length, 100);
  t.is(floods[0]?.who, 'a\u0085\u2028\u001b[2J', 'what was said is still there');
  t.notRegex(read(log), /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029]/, 'and nothing of it reaches a terminal');
});

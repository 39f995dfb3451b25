// TLS as an operator meets it: files named by flags, followed while the server runs, refused at the start when they cannot be
// used, made where none are given; and our own commands over it. Real processes, certificates made here.

import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { connect as connectTls } from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { pino } from 'pino';
import { Refusal } from '../../../core/cli/refusal.js';
import { settle } from '../../../core/cli/settings.js';
import { TlsFiles } from '../../../core/cli/tls-files.js';
import { connect, utf8 } from '../../../core/index.js';
import { TestAuthority } from '../../certificates.js';
import { coterie, serveIn, temporaryDirectory, type Server } from './binary.js';

const authority = await TestAuthority.make();
const [alice, bob] = [await authority.issue('alice'), await authority.issue('bob')];
const folder = mkdtempSync(path.join(tmpdir(), 'coterie-tls-files-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

function put(name: string, text: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, text);
  return file;
}

/** The words that name the files of one server, and what writes them anew. */
interface ServerFiles {
  readonly flags: readonly string[];
  readonly write: (file: 'cert' | 'key' | 'ca' | 'crl', text: string) => void;
}

async function filesOf(name: string): Promise<ServerFiles> {
  const { cert, key } = await authority.issue(name);
  const write = (file: string, text: string): string => put(`${name}-${file}.pem`, text);
  const flags = [
    '--cert-file', write('cert', cert), '--key-file', write('key', key), '--trusted-ca-file', write('ca', authority.cert),
    '--client-crl-file', write('crl', await authority.crl([])), '--client-cert-auth',
  ];
  return { flags, write };
}

const ofAlice = [
  '--cacert', put('trust.pem', authority.cert), '--cert', put('alice.pem', alice.cert), '--key', put('alice-key.pem', alice.key),
];

async function serveTls(t: ExecutionContext, flags: readonly string[]): Promise<Server> {
  const free = 'https://127.0.0.1:0';
  return await serveIn(t, await temporaryDirectory(t), ['--listen-client-urls', free, '--advertise-client-urls', free, ...flags]);
}

/** The name of the certificate that is shown to Alice, or how she is sent away. */
function shown(url: string, who = alice): Promise<string> {
  return new Promise((resolve) => {
    const { cert, key } = who;
    const socket = connectTls({ host: '127.0.0.1', port: Number(new URL(url).port), ca: authority.cert, cert, key }, () => {
      const name = String(socket.getPeerCertificate().subject.CN);
      socket.on('data', () => {
        resolve(name);
        socket.destroy();
      });
      socket.write('GET /version HTTP/1.1\r\nHost: a\r\n\r\n');
    });
    socket.on('error', () => resolve('refused'));
    socket.on('close', () => resolve('refused'));
  });
}

async function becomes(want: string, ask: () => Promise<string>, withinMs = 60_000): Promise<string> {
  let said = '';
  for (const end = performance.now() + withinMs; said !== want && performance.now() < end;) {
    said = await ask();
    if (said !== want) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return said;
}

function alarm(url: string): Promise<string> {
  return metric(url, 'coterie_tls_alarm');
}

/** What a whole number among the metrics is. */
function metric(url: string, name: string): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const { cert, key } = alice;
    const socket = connectTls({ host: '127.0.0.1', port: Number(new URL(url).port), ca: authority.cert, cert, key }, () => {
      socket.write('GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    });
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('error', (error: Error) => resolve(error.message));
    socket.on('close', () => resolve(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? 'none'));
  });
}

test('SA6: files are followed while the server runs, and those written halfway leave in use what was in use', async (t) => {
  const { flags, write } = await filesOf('first');
  const server = await serveTls(t, flags);
  t.is(await shown(server.url), 'first');
  const second = await authority.issue('second');
  write('cert', second.cert);
  t.is(await becomes('1', () => alarm(server.url)), '1', 'a certificate without its key is an alarm');
  t.is(await shown(server.url), 'first', 'and not in use');
  write('key', second.key);
  t.is(await becomes('second', () => shown(server.url)), 'second', 'the pair is taken');
  t.is(await alarm(server.url), '0');
  const third = await authority.issue('third');
  write('cert', third.cert);
  write('key', third.key);
  t.is(await becomes('third', () => shown(server.url)), 'third');
  // What has not changed is read again at SIGHUP alone.
  const before = await metric(server.url, 'coterie_tls_reloads_total');
  server.signal('SIGHUP');
  const after = String(Number(before) + 1);
  t.is(await becomes(after, () => metric(server.url, 'coterie_tls_reloads_total')), after, 'at SIGHUP at once');
  const file = flags[1] ?? '';
  rmSync(file);
  symlinkSync(file, file);
  t.is(await becomes('1', () => alarm(server.url)), '1', 'what cannot even be looked at is an alarm, too');
  t.is(await shown(server.url), 'third');
});

test('SA8: a client whose certificate is revoked while it is connected is cut off within five seconds', async (t) => {
  const { flags, write } = await filesOf('revoking');
  const server = await serveTls(t, flags);
  const clientOf = ({ cert, key }: typeof alice): ReturnType<typeof connect> => {
    const connectTimeoutMs = cert === bob.cert ? 1000 : 30_000;
    const client = connect(server.url, { tls: { ca: authority.cert, cert, key }, connectTimeoutMs, timeoutMs: 30_000 });
    t.teardown(() => client.close());
    return client;
  };
  const [forAlice, forBob] = [clientOf(alice), clientOf(bob)];
  const ask = (client: typeof forBob): Promise<string> => {
    return client.range({ key: utf8('a') }).then(() => 'answered', () => 'refused');
  };
  t.is(await ask(forAlice), 'answered');
  t.is(await becomes('answered', () => ask(forBob)), 'answered');
  write('crl', await authority.crl([bob]));
  const at = performance.now();
  t.is(await becomes('refused', () => ask(forBob)), 'refused');
  // Files are looked at every second, twice: the rest is for a machine that has other things to do.
  t.true(performance.now() - at < 5000 + 10_000, 'the last attempt counts, too');
  t.is(await ask(forAlice), 'answered');
  write('crl', 'garbage');
  t.is(await becomes('1', () => alarm(server.url)), '1');
  t.is(await shown(server.url, bob), 'refused', 'the old list stays in use');
});

function wordsOf(flags: readonly string[]): Map<string, string> {
  return new Map(flags.flatMap((word, i) => (word.startsWith('--') ? [[word.slice(2), flags[i + 1] ?? 'true'] as const] : [])));
}

/** What the flags are refused with. */
async function refused(t: ExecutionContext, flags: readonly string[], side: 'client' | 'peer' = 'client'): Promise<string> {
  const error = await t.throwsAsync(TlsFiles.open(settle(wordsOf(flags), {}).all, side), { instanceOf: Refusal });
  return `${error?.message ?? ''} / ${error?.remedy ?? ''}`;
}

test('SA5: files that cannot be used are a reason not to start, with file, reason and remedy', async (t) => {
  const { cert, key } = await authority.issue('server');
  const pair = ['--cert-file', put('s.pem', cert), '--key-file', put('s-key.pem', key)];
  const trust = [...pair, '--trusted-ca-file', put('s-ca.pem', authority.cert)];
  const crl = (text: string): Promise<string> => refused(t, [...trust, '--client-crl-file', put('s-crl.pem', text)]);
  const refusedPair = (file: string, own: string): Promise<string> => refused(t, ['--cert-file', file, '--key-file', own]);
  t.regex(await refusedPair('/nowhere.pem', '/nowhere.pem'), /^--cert-file \/nowhere\.pem: ENOENT.*name/);
  t.regex(await refusedPair(put('x.pem', 'x'), put('y.pem', 'y')), /x\.pem: not PEM \/ it must hold/);
  const noAuthority = [...pair, '--trusted-ca-file', put('z.pem', key)];
  t.regex(await refused(t, noAuthority), /^--trusted-ca-file .*z\.pem: it holds no certificate/);
  const another = await TestAuthority.make('another');
  t.regex(await crl(await another.crl([])), /^--client-crl-file .*s-crl\.pem: it is the list of another auth/);
  const past = { fromMs: Date.now() - 9e7, untilMs: Date.now() - 1e6 };
  t.regex(await crl(await authority.crl([], past)), /it has expired, \d+Z \/ fetch the newest/);
  t.regex(await refused(t, [...trust, '--client-crl-file', '/nowhere.crl']), /^--client-crl-file \/nowhere\.crl: ENOENT/);
  const noSuite = [...pair, '--cipher-suites', 'NONE'];
  t.regex(await refused(t, noSuite), /^--cipher-suites NONE: unexpected TLS cipher suite "NONE" \/ /);
  const newest = [...pair, '--tls-min-version', 'TLS1.3'];
  t.regex(await refused(t, [...newest, '--cipher-suites', 'TLS_AES_128_GCM_SHA256']), /only TLS1\.3 is enabled/);
  t.regex(await refused(t, [...newest, '--tls-max-version', 'TLS1.2']), /^--tls-min-version TLS1\.3: TLSv1\.3 is above/);
  const [cert1 = '', key1 = '', other] = [pair[1], pair[3], put('s-other-key.pem', (await authority.issue('other')).key)];
  const dialling = ['--peer-cert-file', cert1, '--peer-key-file', key1, '--peer-client-cert-file', cert1];
  const says = /^--peer-client-key-file .*s-other-key\.pem: it is not the key of/;
  t.regex(await refused(t, [...dialling, '--peer-client-key-file', other], 'peer'), says);
  const binary = Buffer.from((await authority.crl([])).replaceAll(/-----.*-----|\s/g, ''), 'base64');
  writeFileSync(path.join(folder, 'list.der'), binary);
  const words = [...trust, '--client-crl-file', path.join(folder, 'list.der')];
  await t.notThrowsAsync(TlsFiles.open(settle(wordsOf(words), {}).all, 'client'), 'the binary form is one, too');
});

test('SA5: what ends soon, or has ended, is told once each, and a list that has ended is an alarm', async (t) => {
  const { cert, key } = await authority.issue('ending', { notAfterMs: Date.now() + 86_400_000 });
  const untilMs = Date.now() + 3000;
  const flags = [
    '--cert-file', put('ending.pem', cert), '--key-file', put('ending-key.pem', key), '--trusted-ca-file',
    put('ending-ca.pem', authority.cert), '--client-crl-file', put('ending-crl.pem', await authority.crl([], { untilMs })),
  ];
  const files = await TlsFiles.open(settle(wordsOf(flags), {}).all, 'client');
  const told: string[] = [];
  const tell = (_fields: unknown, text?: string): void => void told.push(text ?? '');
  files?.follow(() => t.fail('nothing has changed'), Object.assign(pino({ level: 'silent' }), { warn: tell, error: tell }));
  t.is(await becomes('true', () => Promise.resolve(String(files?.facts.isAlarmed))), 'true');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  t.deepEqual(told, [
    'the certificate expires soon; put a new one in its place',
    'a revocation list has expired and is still in use; fetch the newest',
  ]);
});

test('SA14: without certificates one is made that vouches for itself, with an end, and a key for the owner alone', async (t) => {
  const directory = await temporaryDirectory(t);
  const free = 'https://127.0.0.1:0';
  const flags = ['--listen-client-urls', free, '--advertise-client-urls', free, '--auto-tls', '--peer-auto-tls'];
  const peers = ['--listen-peer-urls', free, '--initial-advertise-peer-urls', free];
  const server = await serveIn(t, directory, [...flags, ...peers.slice(0, 2)]);
  for (const side of ['client', 'peer']) {
    for (const file of ['cert.pem', 'key.pem']) {
      t.is(statSync(path.join(directory, 'data', 'fixtures', side, file)).mode & 0o777, 0o600, `${side}/${file}`);
    }
  }
  const cert = readFileSync(path.join(directory, 'data', 'fixtures', 'client', 'cert.pem'), 'utf8');
  const seen = await new Promise<{ to: string; authorized: boolean }>((resolve, reject) => {
    const socket = connectTls({ host: '127.0.0.1', port: Number(new URL(server.url).port), ca: cert }, () => {
      resolve({ to: socket.getPeerCertificate().valid_to, authorized: socket.authorized });
      socket.destroy();
    });
    socket.on('error', reject);
  });
  t.true(seen.authorized, 'who has its certificate may verify it');
  const days = (Date.parse(seen.to) - Date.now()) / 86_400_000;
  t.true(days > 360 && days < 367, `${days} days`);
  const unknown = await coterie(['get', 'a', '--endpoints', server.url, '--dial-timeout', '1s']);
  t.not(unknown.code, 0);
  const trust = ['--cacert', path.join(directory, 'data/fixtures/client/cert.pem')];
  const known = await coterie(['put', 'a', 'b', '--endpoints', server.url, ...trust]);
  t.deepEqual([known.code, known.stdout], [0, 'OK\n'], known.stderr);
  server.signal('SIGTERM');
  await server.ended;
  const plain = ['--listen-client-urls', `${free},http://127.0.0.1:0`];
  const again = await serveIn(t, directory, [...flags.slice(2), ...plain, ...peers.slice(0, 2)]);
  t.is(readFileSync(path.join(directory, 'data', 'fixtures', 'client', 'cert.pem'), 'utf8'), cert, 'kept over restarts');
  again.signal('SIGTERM');
  t.regex((await again.ended).stderr, /"url":"http:[^"]*","msg":"this address is served without TLS, whatever the certificates"/);
  rmSync(path.join(directory, 'data/fixtures/client/key.pem'));
  const anew = await serveIn(t, directory, flags);
  t.not(readFileSync(path.join(directory, 'data/fixtures/client/cert.pem'), 'utf8'), cert, 'made anew where half is missing');
  anew.signal('SIGTERM');
});

test('SA12: commands verify whom they talk to, show a certificate, and say loudly when told not to verify', async (t) => {
  const { flags } = await filesOf('commands');
  const server = await serveTls(t, flags);
  const at = ['--endpoints', server.url, '--dial-timeout', '2s'];
  const patiently = ['--endpoints', server.url, '--dial-timeout', '30s', '--command-timeout', '30s'];
  const outcomes = await Promise.all([
    coterie(['put', 'a', 'b', ...patiently, ...ofAlice]),
    coterie(['put', 'a', 'b', ...at, ...ofAlice.slice(2)]),
    coterie(['put', 'a', 'b', ...patiently, '--insecure-skip-tls-verify', ...ofAlice.slice(2)]),
    coterie(['put', 'a', 'b', ...at, ...ofAlice.slice(0, 4)]),
    coterie(['put', 'a', 'b', ...at, '--cacert', '/nowhere.pem']),
  ]);
  t.deepEqual(outcomes.map(({ code }) => code), [0, 1, 0, 1, 1], outcomes.map(({ stderr }) => stderr).join('\n'));
  t.regex(outcomes[2]?.stderr ?? '', /^WARNING: certificates are NOT verified/);
  t.regex(outcomes[3]?.stderr ?? '', /--cert .*alice\.pem without --key\n {2}give both/);
  t.regex(outcomes[4]?.stderr ?? '', /--cacert \/nowhere\.pem: ENOENT.*\n {2}name a file this user may read/);
  const proxy = await coterie(['proxy', '--service', 'web', '--endpoints', server.url, '--cacert', '/nowhere.pem']);
  t.deepEqual([proxy.code, proxy.stderr.split(';')[0]?.slice(0, 45)], [2, 'coterie proxy: --cacert /nowhere.pem: ENOENT:']);
});

test('SA12: the sidecar reaches the store over TLS with a certificate, and no store of another authority', async (t) => {
  const { flags } = await filesOf('store');
  const server = await serveTls(t, flags);
  const template = put('web.hbs', 'always the same\n');
  const target = path.join(folder, 'web.txt');
  const config = put('sidecar.yaml', `endpoints: ["${server.url}"]
groups:
  - name: g
    services: [web]
    templates:
      - { source: ${template}, target: ${target}, escape: plain }
    reload: none
`);
  const once = (trust: readonly string[]): ReturnType<typeof coterie> => {
    return coterie(['sidecar', '--config', config, '--dry-run', ...trust]);
  };
  const good = await once(ofAlice);
  t.is(good.code, 0, good.stderr);
  const bad = await once(['--cacert', put('other.pem', (await TestAuthority.make('another')).cert), ...ofAlice.slice(2)]);
  t.is(bad.code, 1, bad.stderr);
});

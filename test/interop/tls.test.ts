// The outside world's tools over TLS against us: etcdctl, curl and the npm client, with and without certificates of their own.

import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Etcd3 } from 'etcd3';
import { connect, put as putKey, startNode, text, utf8 } from '../../core/index.js';
import { TestAuthority, type Identity } from '../certificates.js';
import { MAIN, serveWith, temporaryDirectory, type Server } from '../core/cli/binary.js';
import { freePorts } from './free-ports.js';
import { etcdctl } from './etcdctl-run.js';
import { isInstalled } from './real-etcd.js';
import { serve } from '../serving.js';

const authority = await TestAuthority.make();
const aliceShown = await authority.issue('alice');
const folder = mkdtempSync(path.join(tmpdir(), 'coterie-tls-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

function fileOf(name: string, text: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, text);
  return file;
}

const trusting = ['--cacert', fileOf('ca.pem', authority.cert)];

function showing(name: string, { cert, key }: Identity): readonly string[] {
  return ['--cert', fileOf(`${name}.pem`, cert), '--key', fileOf(`${name}-key.pem`, key)];
}

const alice = showing('alice', aliceShown);

async function start(options: { readonly ca?: string; readonly requireClientCert?: boolean }): Promise<{
  readonly url: string;
  readonly port: number;
  readonly close: () => Promise<void>;
}> {
  const node = await startNode({ dataDir: null });
  const { cert, key } = await authority.issue('server');
  const server = await serve(node.client, { urls: ['https://127.0.0.1:0'], tls: { cert, key, ...options } });
  const url = server.urls[0] ?? '';
  return {
    url, port: Number(new URL(url).port),
    close: async () => {
      await server.close();
      await node.close();
    },
  };
}

function curl(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile('curl', ['-sS', '--max-time', '10', ...args], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}

test('etcdctl writes and reads over TLS, and not without the authority', async (t) => {
  if (!isInstalled('etcdctl', (line) => t.log(line))) return void t.pass();
  const server = await start({});
  t.teardown(() => server.close());
  t.is((await etcdctl(server.url, [...trusting, 'put', 'a', 'over TLS'])).stdout, 'OK\n');
  t.is((await etcdctl(server.url, [...trusting, 'get', 'a'])).stdout, 'a\nover TLS\n');
  const stranger = fileOf('other-ca.pem', (await TestAuthority.make('another')).cert);
  const refused = await etcdctl(server.url, ['--cacert', stranger, '--command-timeout', '1s', 'get', 'a']);
  t.not(refused.code, 0);
});

test('etcdctl is let in with a certificate of the authority, and not without', async (t) => {
  if (!isInstalled('etcdctl', (line) => t.log(line))) return void t.pass();
  const server = await start({ ca: authority.cert, requireClientCert: true });
  t.teardown(() => server.close());
  t.is((await etcdctl(server.url, [...trusting, ...alice, 'put', 'a', 'by alice'])).stdout, 'OK\n');
  t.not((await etcdctl(server.url, [...trusting, '--command-timeout', '1s', 'get', 'a'])).code, 0);
  const quiet = await etcdctl(server.url, [...trusting, ...alice, 'watch', 'a', '--rev', '1'], 'by alice');
  t.regex(quiet.stdout, /PUT\na\nby alice/);
});

test('SB9: the certificate of a Go client names a user, unless it brings the token of another', async (t) => {
  if (!isInstalled('etcdctl', (line) => t.log(line))) return void t.pass();
  const server = await start({ ca: authority.cert, requireClientCert: true });
  t.teardown(() => server.close());
  const asAlice = [...trusting, ...alice];
  for (const words of [
    'user add root:r', 'user grant-role root root', 'user add alice:a', 'user add bob:b', 'role add of-alice', 'role add of-bob',
    'role grant-permission of-alice readwrite a', 'role grant-permission of-bob readwrite b', 'user grant-role alice of-alice',
    'user grant-role bob of-bob', 'auth enable',
  ]) t.is((await etcdctl(server.url, [...asAlice, ...words.split(' ')])).code, 0, words);
  const codes = await Promise.all([
    ['put', 'a', '1'], ['put', 'b', '1'], ['--user', 'bob:b', 'put', 'b', '1'], ['--user', 'bob:b', 'put', 'a', '1'],
  ].map(async (words) => (await etcdctl(server.url, [...asAlice, ...words])).code));
  t.deepEqual(codes, [0, 1, 0, 1]);
});

test('curl asks the gateway on the same port, with a certificate where one is asked for', async (t) => {
  if (!isInstalled('curl', (line) => t.log(line))) return void t.pass();
  const server = await start({ ca: authority.cert, requireClientCert: true });
  t.teardown(() => server.close());
  const put = ['-d', '{"key":"YQ==","value":"Yg=="}', `${server.url}/v3/kv/put`];
  t.regex((await curl([...trusting, ...alice, ...put])).stdout, /"revision":"2"/);
  for (const where of ['v3/kv/range', 'version', 'health', 'readyz']) {
    const naked = await curl([...trusting, `${server.url}/${where}`]);
    t.deepEqual([where, naked.code === 0, naked.stdout], [where, false, '']);
  }
  const plain = await curl([`http://127.0.0.1:${server.port}/version`]);
  t.is(plain.stdout, '');
  t.not(plain.code, 0);
});

test('npm\'s etcd3 works over TLS, with and without a certificate of its own', async (t) => {
  type Credentials = { rootCertificate: Buffer; privateKey?: Buffer; certChain?: Buffer };
  const hello = async (url: string, credentials: Credentials): Promise<string | null> => {
    const client = new Etcd3({ hosts: url, credentials, grpcOptions: { 'grpc.ssl_target_name_override': 'localhost' } });
    try {
      await client.put('etcd3').value('over TLS');
      return await client.get('etcd3').string();
    } finally {
      client.close();
    }
  };
  const rootCertificate = Buffer.from(authority.cert);
  const plain = await start({});
  const mutual = await start({ ca: authority.cert, requireClientCert: true });
  t.teardown(() => Promise.all([plain.close(), mutual.close()]));
  t.is(await hello(plain.url, { rootCertificate }), 'over TLS');
  const { cert, key } = await authority.issue('etcd3');
  t.is(await hello(mutual.url, { rootCertificate, privateKey: Buffer.from(key), certChain: Buffer.from(cert) }), 'over TLS');
});

/** Three members that meet, and are met, over TLS with certificates alone. */
async function threeMembers(t: ExecutionContext): Promise<readonly { readonly server: Server; readonly url: string }[]> {
  const directory = await temporaryDirectory(t);
  const ports = await freePorts(6);
  const url = (i: number): string => `https://127.0.0.1:${ports[i]}`;
  const cluster = ['a', 'b', 'c'].map((name, i) => `${name}=${url(3 + i)}`).join(',');
  const crl = fileOf('members-crl.pem', await authority.crl([]));
  return await Promise.all(['a', 'b', 'c'].map(async (name, i) => {
    const { cert, key } = await authority.issue(name);
    const [certFile, keyFile] = [fileOf(`m${name}.pem`, cert), fileOf(`m${name}-key.pem`, key)];
    const ca = fileOf('mca.pem', authority.cert);
    const flags = {
      'name': name, 'data-dir': path.join(directory, name), 'listen-client-urls': url(i), 'advertise-client-urls': url(i),
      'listen-peer-urls': url(3 + i), 'initial-advertise-peer-urls': url(3 + i), 'initial-cluster': cluster,
      'cert-file': certFile, 'key-file': keyFile, 'trusted-ca-file': ca, 'client-cert-auth': 'true', 'client-crl-file': crl,
      'peer-cert-file': certFile, 'peer-key-file': keyFile, 'peer-trusted-ca-file': ca, 'peer-client-cert-auth': 'true',
      'peer-crl-file': crl, 'peer-cert-allowed-cn': 'a,b,c',
    };
    const words = [MAIN, 'serve', ...Object.entries(flags).map(([flag, word]) => `--${flag}=${word}`)];
    return { server: await serveWith(t, process.execPath, words, directory), url: url(i) };
  }));
}

test('three members over TLS go on when their leader is killed, for our client and for etcdctl', async (t) => {
  const members = await threeMembers(t);
  const { cert, key } = await authority.issue('alice');
  const client = connect(members.map(({ url }) => url), { tls: { ca: authority.cert, cert, key } });
  t.teardown(() => client.close());
  await putKey(client, utf8('a'), utf8('before'));
  const { leader } = await client.status();
  const ids = await Promise.all(members.map(async ({ url }) => {
    const one = connect(url, { tls: { ca: authority.cert, cert, key } });
    const { header } = await one.status();
    await one.close();
    return header.memberId;
  }));
  const lost = ids.indexOf(leader);
  members[lost]?.server.signal('SIGKILL');
  await members[lost]?.server.ended;
  const end = performance.now() + 20_000;
  for (let done = false; !done;) {
    done = await putKey(client, utf8('a'), utf8('after')).then(() => true, (error: unknown) => {
      if (performance.now() > end) throw error;
      return false;
    });
  }
  t.is((await client.range({ key: utf8('a') })).kvs.map(({ value }) => text(value)).join(), 'after');
  if (!isInstalled('etcdctl', (line) => t.log(line))) return;
  const left = members.filter((_member, i) => i !== lost).map(({ url }) => url).join(',');
  t.is((await etcdctl(left, [...trusting, ...alice, 'get', 'a', '--print-value-only'])).stdout, 'after\n');
  const health = await etcdctl(left, [...trusting, ...alice, 'endpoint', 'health']);
  t.is(health.code, 0, health.stderr);
});

test('our client speaks TLS to a real etcd that asks for certificates', async (t) => {
  if (!isInstalled('etcd', (line) => t.log(line))) return void t.pass();
  const port = (await freePorts(1))[0] ?? 0;
  const own = await authority.issue('etcd');
  const url = `https://127.0.0.1:${port}`;
  const peer = `http://127.0.0.1:${(await freePorts(1))[0] ?? 0}`;
  const directory = await temporaryDirectory(t);
  const flags = [
    '--data-dir', directory, '--listen-client-urls', url, '--advertise-client-urls', url, '--listen-peer-urls', peer,
    '--initial-advertise-peer-urls', peer, '--initial-cluster', `default=${peer}`, '--cert-file', fileOf('e.pem', own.cert),
    '--key-file', fileOf('e-key.pem', own.key), '--trusted-ca-file', fileOf('e-ca.pem', authority.cert), '--client-cert-auth',
  ];
  const child = spawn('etcd', flags, { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  const { cert, key } = await authority.issue('root');
  const client = connect(url, { tls: { ca: authority.cert, cert, key }, connectTimeoutMs: 20_000, timeoutMs: 20_000 });
  t.teardown(() => client.close());
  await putKey(client, utf8('a'), utf8('b'));
  t.is((await client.range({ key: utf8('a') })).kvs.length, 1);
  const naked = connect(url, { tls: { ca: authority.cert }, connectTimeoutMs: 1000 });
  await t.throwsAsync(naked.range({ key: utf8('a') }));
  await naked.close();
});

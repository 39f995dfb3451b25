// The outside world's tools over TLS against us: etcdctl, curl and the npm client, with and without certificates of their own.

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { serve, startNode } from '../../core/index.js';
import { TestAuthority, type Identity } from '../certificates.js';
import { etcdctl } from './etcdctl-run.js';
import { isInstalled } from './real-etcd.js';

const authority = new TestAuthority();
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

const alice = showing('alice', authority.issue('alice'));

async function start(options: { readonly ca?: string; readonly requireClientCert?: boolean }): Promise<{
  readonly url: string;
  readonly port: number;
  readonly close: () => Promise<void>;
}> {
  const node = await startNode({ dataDir: null });
  const { cert, key } = authority.issue('server');
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
  const stranger = fileOf('other-ca.pem', new TestAuthority('another').cert);
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

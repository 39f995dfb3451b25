// The commands `coterie sidecar` and `coterie proxy` as an operator meets them: words they do not understand, addresses they
// cannot have, and a log that nobody reads any more.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import test from 'ava';

import { connect } from '../../core/index.js';
import { register } from '../../recipes/registry.js';
import { startServer } from '../interop/server-process.js';
import { backend, folder, freePort, get, until } from './rig.js';

const MAIN = fileURLToPath(new URL('../../core/main.js', import.meta.url));

async function coterie(...words: readonly string[]): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'ignore', 'pipe'], timeout: 60_000 });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stderr };
}

function sidecarFile(directory: string, more = ''): string {
  const file = join(directory, 'sidecar.yaml');
  writeFileSync(join(directory, 't.hbs'), 'generation {{generation}};\n');
  const template = '{ source: t.hbs, target: live.conf, escape: nginx }';
  writeFileSync(file, `${more}\ngroups:\n  - { name: g, services: [web], templates: [${template}], reload: none }\n`);
  return file;
}

test('words that cannot be understood end with exit code 2, the value and what to write instead', async (t) => {
  const directory = folder(t);
  const good = sidecarFile(directory);
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [['sidecar', '--config', good, '--status-listen', 'foo'], /--status-listen.*'foo'.*must be host:port/],
    [['sidecar', '--config', good, '--status-listen', '127.0.0.1:99999'], /99999.*port up to 65535/],
    [['sidecar', '--config', good, '--endpoints', 'foo://x'], /--endpoints: .*"foo:\/\/x" is not an endpoint; expected http:/],
    [['sidecar', '--config', good, '--user', 'x'], /--user x without a password; give --password-file, or COTERIE_PASSWORD/],
    [['sidecar', '--config', good, '--user', 'x', '--password-file', '/nowhere'], /--password-file \/nowhere: ENOENT.*; name/],
    [['sidecar', '--config', good, '--password-file', good], /a password, but nobody whose it is; name the user with --user/],
    [['sidecar', '--config', good, '--cert', good], /--cert .* without --key; give both/],
    [['proxy', '--service', 'web', '--user', 'x'], /--user x without a password; give --password-file, or COTERIE_PASSWORD/],
    [['proxy', '--service', '../x'], /--service.*'\.\.\/x'.*1 to 63 letters/],
    [['proxy', '--service', 'web', '--allow-network', '10.0.0.0/8', '1.2.3'], /--allow-network.*"1\.2\.3".*CIDR/],
    [['proxy', '--service', 'web', '--trust-proxy', 'zz'], /--trust-proxy.*"zz".*CIDR/],
    [['proxy', '--service', 'web', '--endpoints', 'foo://x'], /--endpoints: .*"foo:\/\/x" is not an endpoint; expected http:/],
    [['proxy', '--service', 'web', '--listen', '1.2.3.4:99999'], /--listen.*99999.*host:port/],
  ];
  for (const [words, said] of cases) {
    const { code, stderr } = await coterie(...words);
    t.is(code, 2, `${words.join(' ')}: ${stderr}`);
    t.regex(stderr, said);
    t.notRegex(stderr, /\n +at /, 'a stack says nothing to an operator');
  }
  for (const [more, said] of [
    ['status: 127.0.0.1:99999', /sidecar\.yaml:1:9: status: .*99999.*port up to 65535/],
    ['endpoints: [foo://x]', /sidecar\.yaml: endpoints: .*foo:\/\/x.*expected http:/],
  ] as const) {
    const { code, stderr } = await coterie('sidecar', '--config', sidecarFile(directory, more));
    t.is(code, 2, stderr);
    t.regex(stderr, said);
  }
});

test('a status address in use is an error that names it, before anything is written', async (t) => {
  const directory = folder(t);
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  t.teardown(() => taken.close());
  const at = `127.0.0.1:${(taken.address() as AddressInfo).port}`;
  const { code, stderr } = await coterie('sidecar', '--config', sidecarFile(directory), '--status-listen', at);
  t.is(code, 1);
  t.regex(stderr, new RegExp(`cannot serve the status at ${at}; choose another .*in use`));
  t.false(existsSync(join(directory, 'live.conf')));
  t.false(existsSync(join(directory, '.coterie-live.conf.lock')));
});

test('a proxy whose log nobody reads any more goes on serving', async (t) => {
  const directory = folder(t);
  const store = { port: await freePort(), dataDir: join(directory, 'data') };
  const server = await startServer(store);
  t.teardown(() => server.end('SIGKILL'));
  const url = `http://127.0.0.1:${store.port}`;
  const client = connect(url);
  t.teardown(() => client.close());
  const one = await backend(t, 'one');
  const first = await register(client, { service: 'web', id: 'one', address: '127.0.0.1', port: one.port });
  t.teardown(() => first.close());
  const listen = await freePort();
  const words = ['--service', 'web', '--listen', `127.0.0.1:${listen}`, '--endpoints', url, '--allow-network', '127.0.0.0/8'];
  const child = spawn(process.execPath, [MAIN, 'proxy', ...words], { stdio: ['ignore', 'ignore', 'pipe'] });
  t.teardown(() => void child.kill('SIGKILL'));
  child.stderr.destroy();
  await until('the proxy serves', async () => (await get(listen).catch(() => null))?.body === 'one');
  const two = await backend(t, 'two');
  const second = await register(client, { service: 'web', id: 'two', address: '127.0.0.1', port: two.port });
  t.teardown(() => second.close());
  await until('a change is told, and followed', async () => (await get(listen)).body === 'two');
  t.is(child.exitCode, null);
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  t.deepEqual(await ended, [0, null]);
});

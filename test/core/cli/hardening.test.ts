// What can be said of security by looking at what is there: the unit file, the runtime's switches, what is depended upon, and
// what the sources do not do. The rows are those of "Security" in test/README.md.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { ServerMetrics } from '../../../core/cli/metrics.js';
import { profiles } from '../../../core/cli/profiles.js';
import { oldRuntime } from '../../../core/cli/runtime.js';
import { connect, startNode } from '../../../core/index.js';
import { environment, MAIN } from './binary.js';
import { serve } from '../../serving.js';

const ROOT = new URL('../../../../', import.meta.url);

function read(file: string): string {
  return readFileSync(new URL(file, ROOT), 'utf8');
}

/** TypeScript of the product, without what is generated. */
function sources(): { readonly file: string; readonly text: string }[] {
  return ['core', 'recipes', 'sidecar'].flatMap((room) => {
    const names = readdirSync(new URL(room, ROOT), { recursive: true, encoding: 'utf8' });
    return names.filter((name) => name.endsWith('.ts') && !name.includes('schema/')).map((name) => {
      return { file: `${room}/${name}`, text: read(`${room}/${name}`) };
    });
  });
}

test('SF5: the unit file is sound, and leaves a member no rights but its own', (t) => {
  const unit = read('templates/coterie.service');
  const sandbox = ['NoNewPrivileges=yes', 'ProtectSystem=strict', 'CapabilityBoundingSet=', 'LimitCORE=0', 'UMask=0077'];
  for (const line of sandbox) t.true(unit.split('\n').includes(line), line);
  const file = path.join(mkdtempSync(path.join(tmpdir(), 'coterie-unit-')), 'coterie.service');
  // The interpreter may stand elsewhere on this machine; what is judged is the rest.
  writeFileSync(file, unit.replaceAll('/usr/bin/node', process.execPath));
  const verified = spawnSync('systemd-analyze', ['verify', '--man=no', file], { encoding: 'utf8' });
  if (verified.error !== undefined) {
    if (process.env['CI'] === 'true') throw new Error('systemd-analyze is not on the path, but CI must have it');
    return t.log('systemd-analyze is not on the path: systemd\'s own judgement is not asked');
  }
  t.is(verified.stderr.replaceAll(/^.*coterie\.service: .*(?:not found|is not executable).*$/gm, '').trim(), '');
  const words = ['security', '--offline=true', '--no-pager', '--threshold=20', file];
  const judged = spawnSync('systemd-analyze', words, { encoding: 'utf8' });
  t.is(judged.status, 0, judged.stdout.slice(-400));
});

test('SF6: it runs without __proto__ and with a bound on memory, and makes no code out of text', (t) => {
  const hardened = ['--disable-proto=delete', '--disallow-code-generation-from-strings', '--max-old-space-size=256', MAIN];
  for (const words of [['serve', '--print-config'], ['version', '--json']]) {
    const { status, stderr } = spawnSync(process.execPath, [...hardened, ...words], { env: environment(), encoding: 'utf8' });
    t.is(status, 0, stderr);
  }
  for (const { file, text } of sources()) {
    t.notRegex(text, /\beval\(|new Function\(|\bvm\b.*runIn|import\([^'"`)]/, file);
    t.notRegex(text, /shell: (?:true|')|\bexecSync\(|\bexec\((?:`|')/, `${file} runs no shell of its own`);
  }
});

test('SF8: what is shown for debugging and what is measured hold no key, value, token, or word of a caller', async (t) => {
  const marker = 'Zm9yZ2V0';
  const node = await startNode({ dataDir: null });
  const metrics = new ServerMetrics({ isExtensive: true });
  metrics.attach({
    memberId: node.memberId, quotaBytes: 0, facts: () => node.facts(),
    dbSizes: () => Promise.resolve({ totalBytes: 0, inUseBytes: 0 }),
  });
  const server = await serve(node.client, {
    urls: ['http://127.0.0.1:0'], observe: (event) => metrics.onWire(event), metrics: () => metrics.scrape(),
  });
  const aside = createServer(profiles(() => node.facts()));
  await new Promise<void>((resolve) => aside.listen(0, '127.0.0.1', resolve));
  const { port } = aside.address() as { port: number };
  try {
    const url = server.urls[0] ?? '';
    const headers = { authorization: marker, 'grpc-metadata-client-api-version': `${marker}"} 1 evil` };
    await fetch(`${url}/v3/kv/put`, { method: 'POST', headers, body: JSON.stringify({ key: marker, value: marker }) });
    await fetch(`${url}/${marker}`, { headers });
    for (let i = 0; i < 100; i++) {
      metrics.onWire({ kind: 'call_started', method: { service: 's', name: 'n', kind: 'unary' }, clientVersion: `3.${i}` });
    }
    metrics.onWire({ kind: 'call_started', method: { service: 's', name: 'n', kind: 'unary' }, clientVersion: `${marker}"} 1` });
    const page = await (await fetch(`${url}/metrics`)).text();
    const vars = await (await fetch(`http://127.0.0.1:${port}/debug/vars`)).text();
    for (const text of [page, vars]) t.false(text.includes(marker) || text.includes('forget'));
    t.true((page.match(/^etcd_server_client_requests_total\{/gm) ?? []).length <= 33, 'callers cannot make series without end');
  } finally {
    aside.close();
    await server.close();
    await node.close();
  }
});

const PERMISSIVE = /^\(?(?:MIT|ISC|0BSD|Apache-2\.0|BSD-[23]-Clause|BlueOak-1\.0\.0| AND |\))+$/;

interface Locked {
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly integrity?: string;
  readonly license?: string;
  readonly hasInstallScript?: boolean;
}

test('SH1: what is depended upon is pinned by hash, permissive, listed, and runs nothing when it is installed', (t) => {
  const { dependencies, devDependencies, scripts, allowScripts } = JSON.parse(read('package.json')) as {
    dependencies: Record<string, string>; devDependencies: Record<string, string>;
    scripts: Record<string, string>; allowScripts: Record<string, boolean>;
  };
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) t.regex(version, /^\d+\.\d+\.\d+/, name);
  for (const hook of ['preinstall', 'install', 'postinstall', 'prepare']) t.is(scripts[hook], undefined, hook);
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, Locked> };
  for (const [name, locked] of Object.entries(packages)) {
    if (name === '') continue;
    const short = name.replace(/^.*node_modules\//, '');
    // npm does not learn the hash of what another platform would install.
    const isElsewhere = locked.optional === true && locked.os !== undefined;
    if (!isElsewhere) t.regex(locked.integrity ?? '', /^sha512-/, name);
    if (locked.hasInstallScript === true) t.is(allowScripts[short], false, `${name} would run a script`);
    if (locked.dev !== true) t.regex(locked.license ?? '', PERMISSIVE, name);
  }
  // With --omit dev npm leaves out what a package for development needs as well.
  const sbom = spawnSync('npm', ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only'], {
    cwd: new URL('.', ROOT), encoding: 'utf8',
  });
  const { components } = JSON.parse(sbom.stdout) as { components: readonly { 'bom-ref': string }[] };
  for (const [name, version] of Object.entries(dependencies)) {
    t.true(components.some((each) => each['bom-ref'] === `${name}@${version}`), name);
  }
});

test('SH2: a Node that is too old is told so in one sentence', (t) => {
  t.is(oldRuntime('18.20.4'), 'coterie: Node 18.20.4 is too old\n  install Node 20.19 or later\n');
  t.not(oldRuntime('20.18.9'), null);
  for (const version of ['20.19.0', '22.0.0', process.versions.node]) t.is(oldRuntime(version), null);
  const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } };
  t.is(engines.node, '>=20.19');
  const main = read('core/main.ts');
  const imported = [...main.matchAll(/^import .* from '(.*)';$/gm)].map(([, file]) => file);
  t.deepEqual(imported, ['./cli/runtime.js'], 'asked before all else');
});

test('SH3: the README says how a weakness is reported, when there is an answer, and which versions are cared for', (t) => {
  const section = /^## Security$([^]*?)(?=^## |$(?![^]))/m.exec(read('README.md'))?.[1] ?? '';
  for (const words of [/privately/, /three working days/, /advisory/, /[Ss]upported/]) t.regex(section, words);
});

test('SH6: the linter refuses floating promises, any, and switches that forget a case', (t) => {
  const rules = read('.oxlintrc.json');
  for (const rule of ['no-floating-promises', 'no-explicit-any', 'switch-exhaustiveness-check', 'no-misused-promises']) {
    t.regex(rules, new RegExp(`"typescript/${rule}": (?:"error"|\\["error")`), rule);
  }
  for (const { file, text } of sources()) t.notRegex(text, /(?:spawn|execFile)\(`/, `${file} builds no command out of text`);
});

test('SF3: what is written for backups is for its owner alone', async (t) => {
  const node = await startNode({ dataDir: null });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  const client = connect([server.urls[0] ?? '']);
  try {
    const directory = mkdtempSync(path.join(tmpdir(), 'coterie-backup-'));
    const file = path.join(directory, 'backup.db');
    const { main } = await import('../../../core/cli/snapshot.js');
    const code = await main(['save', file, '--endpoints', server.urls[0] ?? '']);
    t.is(code, 0);
    t.is(statSync(file).mode & 0o777, 0o600);
  } finally {
    await client.close();
    await server.close();
    await node.close();
  }
});

// The whole sidecar on a real store: outages, compaction, wiped registries, the command line and its health endpoint.

import test from 'ava';
import { execFile, spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ExecutionContext } from 'ava';
import { systemClock } from '../../core/base/clock.js';
import { utf8 } from '../../core/base/bytes.js';
import { Prng } from '../../core/base/prng.js';
import { del, prefixRange, put } from '../../core/client.js';
import { startNode } from '../../core/index.js';
import type { RunningNode } from '../../core/index.js';
import { register, Session } from '../../recipes/index.js';
import { SERVICES_PREFIX } from '../../recipes/instance.js';
import { serveHealth } from '../../sidecar/health.js';
import { registrySource } from '../../sidecar/source.js';
import type { Source } from '../../sidecar/source.js';
import { Link } from '../recipes/link.js';
import {
  available, backend, folder, freePort, get, instance, nginxRig, plainConfig, read, running, ToldSource, until,
} from './rig.js';
import { serve } from '../serving.js';

const TEXT = '{{#services}}{{name}}:{{#each instances}}{{id}}={{hostport}};{{else}}none{{/each}}\n{{/services}}';

async function store(t: ExecutionContext): Promise<RunningNode> {
  const node = await startNode({ name: 't', dataDir: null });
  t.teardown(() => node.close());
  return node;
}

function write(node: RunningNode, id: string, port: number): Promise<unknown> {
  const value = { address: '127.0.0.1', port, weight: 1, zone: '', tags: [], meta: {}, state: 'up', why: '', owner: 'ff' };
  return put(node.client, utf8(`${SERVICES_PREFIX}web/instances/${id}`), utf8(JSON.stringify(value)));
}

function erase(node: RunningNode, id: string): Promise<unknown> {
  return del(node.client, utf8(`${SERVICES_PREFIX}web/instances/${id}`));
}

/** The registry behind a link, seen by a view that is quick to suspect silence. */
function quickSource(link: Link): Source {
  return registrySource(link, systemClock, { livenessMs: 400 });
}

test('A4 after many changes under flaps the file is what the store says, and /readyz is red while it may not be', async (t) => {
  const node = await store(t);
  const link = new Link(node.client, systemClock);
  const directory = folder(t);
  const config = plainConfig(directory, TEXT, { services: [{ name: 'web', whenEmpty: 'renderEmpty' }] });
  const { sidecar, events, lines } = await running(t, config, { client: link, source: quickSource(link) });
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  const health = await serveHealth('127.0.0.1:0', () => sidecar.status());
  t.teardown(() => health.close());
  const readyz = async (): Promise<number> => (await request(health.port, '/readyz')).status;
  t.is(await readyz(), 200);
  const prng = new Prng(7);
  const present = new Map<string, number>();
  for (let i = 0; i < 400; i++) {
    const id = `i${prng.below(20)}`;
    if (prng.below(3) === 0) {
      present.delete(id);
      await erase(node, id);
    } else {
      const port = 1_000 + prng.below(60_000);
      present.set(id, port);
      await write(node, id, port);
    }
    if (i % 40 === 10) link.down();
    if (i % 40 === 25) link.up();
    if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  link.up();
  const wanted = (): string => {
    const list = [...present].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([id, port]) => `${id}=127.0.0.1:${port};`);
    return `web:${list.length === 0 ? 'none' : list.join('')}\n`;
  };
  await until('the file equals the store', () => read(directory, 'live.conf') === wanted());
  await until('and is known to', async () => (await readyz()) === 200);
  // Silence, without an error anywhere.
  link.freeze();
  await until('/readyz turns red', async () => (await readyz()) === 503);
  t.regex((await request(health.port, '/readyz')).body, /g: the registry was last known to be current \d+ ms ago/);
  await write(node, 'last', 4_711);
  present.set('last', 4_711);
  link.thaw();
  await until('it catches up', () => read(directory, 'live.conf') === wanted());
  await until('/readyz turns green', async () => (await readyz()) === 200);
  t.true(events.some((event) => event.kind === 'stale') && events.some((event) => event.kind === 'current'));
  t.is((await request(health.port, '/healthz')).status, 200);
  t.is((await request(health.port, '/nope')).status, 404);
  t.like(JSON.parse((await request(health.port, '/status')).body), { ready: true, groups: [{ name: 'g', ready: true }] });
});

test('A5 a compaction past the watch during a partition loses nothing', async (t) => {
  const node = await store(t);
  const link = new Link(node.client, systemClock);
  const directory = folder(t);
  const { sidecar, lines } = await running(t, plainConfig(directory, TEXT), { client: link, source: quickSource(link) });
  await write(node, 'a', 1);
  await write(node, 'b', 2);
  await until('both are there', () => existsSync(join(directory, 'live.conf')) && read(directory, 'live.conf').includes('b='));
  link.down();
  await erase(node, 'a');
  for (let i = 0; i < 20; i++) await write(node, 'b', 100 + i);
  const { revision } = (await node.client.range(prefixRange(utf8('x')))).header;
  await node.client.compact(revision);
  link.up();
  await until('the change and the removal arrive', () => read(directory, 'live.conf') === 'web:b=127.0.0.1:119;\n');
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
});

test('A6 a wiped registry raises an alarm and keeps what was served, over a restart too; goodbyes are honoured', async (t) => {
  const node = await store(t);
  const directory = folder(t);
  const config = plainConfig(directory, TEXT);
  const first = await running(t, config, { client: node.client });
  await write(node, 'a', 1);
  await write(node, 'b', 2);
  await until('both are there', () => existsSync(join(directory, 'live.conf')) && read(directory, 'live.conf').includes('b='));
  const live = read(directory, 'live.conf');
  const { key, rangeEnd } = prefixRange(utf8(SERVICES_PREFIX));
  await del(node.client, key, { rangeEnd });
  await until('the alarm is raised', () => first.events.some((event) => event.kind === 'holding'));
  t.regex(first.lines(), /ALARM all instances of web vanished without a word; keeping a, b/);
  t.is(read(directory, 'live.conf'), live);
  t.deepEqual(first.sidecar.status().groups[0]?.held, { web: ['a', 'b'] });
  await first.sidecar.close();
  const second = await running(t, config, { client: node.client });
  t.true(await second.sidecar.ready(AbortSignal.timeout(10_000)), second.lines());
  t.is(read(directory, 'live.conf'), live);
  t.deepEqual(second.sidecar.status().groups[0]?.held, { web: ['a', 'b'] });
  const session = await Session.open(node.client, { ttlSeconds: 10 });
  const registration = await register(session, { service: 'web', id: 'c', address: '127.0.0.1', port: 3 });
  await until('one that comes ends the hold', () => read(directory, 'live.conf') === 'web:c=127.0.0.1:3;\n');
  t.true(second.events.some((event) => event.kind === 'hold_ended'));
  await registration.close();
  await until('the last one that says goodbye is let go', () => read(directory, 'live.conf') === 'web:none\n');
  await session.close();
});

test('A6 a store that is away at start: nothing is rendered, it is said, and it works when the store comes', async (t) => {
  const node = await store(t);
  await write(node, 'a', 1);
  const link = new Link(node.client, systemClock);
  link.down();
  const directory = folder(t);
  writeFileSync(join(directory, 'live.conf'), 'what was there\n');
  const { sidecar, events, lines } = await running(t, plainConfig(directory, TEXT), { client: link, source: quickSource(link) });
  await until('it is said', () => events.some((event) => event.kind === 'read_failed'));
  t.regex(lines(), /the store cannot be read, the last configuration stays/);
  t.is(read(directory, 'live.conf'), 'what was there\n');
  t.like(sidecar.status(), { ready: false, groups: [{ synced: false }] });
  t.regex(sidecar.status().groups[0]?.reason ?? '', /has not been read yet/);
  link.up();
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  t.is(read(directory, 'live.conf'), 'web:a=127.0.0.1:1;\n');
});

test('S4 the store away later: the last configuration stays and keeps serving, and changes made meanwhile arrive', async (t) => {
  const directory = folder(t);
  const source = new ToldSource();
  source.set('web', [instance('a')]);
  const { sidecar, events, lines } = await running(t, plainConfig(directory, TEXT), { source });
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  const live = read(directory, 'live.conf');
  source.away = true;
  source.set('web', []);
  await until('it is said', () => events.some((event) => event.kind === 'read_failed'));
  t.is(read(directory, 'live.conf'), live);
  t.false(sidecar.status().ready);
  source.services.set('web', [instance('b')]);
  source.away = false;
  await until('it arrives without help', () => read(directory, 'live.conf') === 'web:b=127.0.0.1:8080;\n');
});

test('A9 the first configuration waits for the instances it requires', async (t) => {
  const directory = folder(t);
  const source = new ToldSource();
  source.set('web', [instance('a')]);
  const config = plainConfig(directory, TEXT, { services: [{ name: 'web', require: 2 }] });
  const { sidecar, events, lines } = await running(t, config, { source });
  await until('it waits', () => events.some((event) => event.kind === 'waiting'));
  t.regex(lines(), /waiting: web has 1 of the 2 instances required at first/);
  t.false(existsSync(join(directory, 'live.conf')));
  source.set('web', [instance('a'), instance('b')]);
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  source.set('web', [instance('a')]);
  await until('afterwards it does not', () => read(directory, 'live.conf') === 'web:a=127.0.0.1:8080;\n');
});

test('an entry that somebody wrote by hand and that keeps no rules is reported and left out', async (t) => {
  const node = await store(t);
  const directory = folder(t);
  await write(node, 'a', 1);
  const evil = { address: '1.1.1.1; } evil {', port: 80, state: 'up', owner: 'ff' };
  await put(node.client, utf8(`${SERVICES_PREFIX}web/instances/evil`), utf8(JSON.stringify(evil)));
  const { sidecar, lines } = await running(t, plainConfig(directory, TEXT), { client: node.client });
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  t.is(read(directory, 'live.conf'), 'web:a=127.0.0.1:1;\n');
  t.regex(lines(), /registry entry ignored: .*evil.*address/);
});

test.serial('from register to the real nginx and out again, within a second each', async (t) => {
  if (!available(t, 'nginx')) return;
  const node = await store(t);
  const rig = await nginxRig(t);
  const [a, b] = [await backend(t, 'a'), await backend(t, 'b')];
  const { sidecar, lines } = await running(t, rig.config(), { client: node.client });
  const session = await Session.open(node.client, { ttlSeconds: 10 });
  t.teardown(() => session.close());
  await register(session, { service: 'web', id: 'a', address: '127.0.0.1', port: a.port });
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  const started = systemClock.now();
  const second = await register(session, { service: 'web', id: 'b', address: '127.0.0.1', port: b.port });
  await until('b is served', async () => (await get(rig.port)).body === 'b');
  t.log(`register to first request: ${Math.round(systemClock.now() - started)} ms`);
  const leaving = systemClock.now();
  await second.close();
  await until('b is out', () => !read(rig.directory, 'nginx.conf').includes(`:${b.port} `));
  t.log(`close to rewritten: ${Math.round(systemClock.now() - leaving)} ms`);
  t.pass();
});

async function request(port: number, path: string): Promise<{ status: number; body: string }> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: 'close' } });
  return { status: answer.status, body: await answer.text() };
}

const MAIN = join(import.meta.dirname, '../../core/main.js');
const run = promisify(execFile);

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function coterie(...argv: readonly string[]): Promise<Ended> {
  try {
    return { code: 0, ...(await run(process.execPath, [MAIN, 'sidecar', ...argv])) };
  } catch (error) {
    return error as Ended;
  }
}

test.serial('the command: --check tells by exit code, --once applies, bad words are named', async (t) => {
  const node = await store(t);
  await write(node, 'a', 1);
  const port = await freePort();
  const server = await serve(node.client, { urls: [`http://127.0.0.1:${port}`] });
  t.teardown(() => server.close());
  const directory = folder(t);
  writeFileSync(join(directory, 't.hbs'), TEXT);
  const file = join(directory, 'sidecar.yaml');
  writeFileSync(file, `endpoints: [127.0.0.1:${port}]\ngroups:\n  - name: g\n    services: [web]\n    reload: none\n`
    + '    templates: [{ source: t.hbs, target: live.conf, escape: nginx }]\n    check: [grep, -q, "web:a", "{{staged}}"]\n');
  const differs = await coterie('--config', file, '--check');
  t.is(differs.code, 2, differs.stderr);
  t.regex(differs.stdout, /^g: differs, and is valid\n--- .*live\.conf\n@@ line 1 @@\n\+web:a=127\.0\.0\.1:1;/);
  t.false(existsSync(join(directory, 'live.conf')));
  t.is((await coterie('--config', file, '--once')).code, 0);
  t.is(read(directory, 'live.conf'), 'web:a=127.0.0.1:1;\n');
  t.like(await coterie('--config', file, '--check'), { code: 0, stdout: 'g: nothing differs\n' });
  await erase(node, 'a');
  await write(node, 'b', 2);
  t.is((await coterie('--config', file, '--check')).code, 1);
  t.like(await coterie('--config', file, '--dry-run', '--json'), { code: 1 });
  t.is((await coterie('--config', file, '--once')).code, 1);
  t.is(read(directory, 'live.conf'), 'web:a=127.0.0.1:1;\n');
  writeFileSync(file, 'groups: 5\n');
  const bad = await coterie('--config', file);
  t.like(bad, { code: 2 });
  t.regex(bad.stderr, /sidecar\.yaml:1:9: groups: 5 is not a list/);
  t.regex((await coterie('--confg', file)).stderr, /unknown option '--confg'/);
  t.regex((await coterie('--config', '/no/such')).stderr, /\/no\/such: cannot be read: ENOENT/);
});

test.serial('the command follows until SIGTERM, then ends cleanly and lets another one in', async (t) => {
  const node = await store(t);
  await write(node, 'a', 1);
  const port = await freePort();
  const server = await serve(node.client, { urls: [`http://127.0.0.1:${port}`] });
  t.teardown(() => server.close());
  const directory = folder(t);
  writeFileSync(join(directory, 't.hbs'), TEXT);
  const file = join(directory, 'sidecar.yaml');
  writeFileSync(file, 'groups:\n  - name: g\n    services: [web]\n    reload: none\n'
    + '    templates: [{ source: t.hbs, target: live.conf, escape: nginx }]\n');
  const status = await freePort();
  const argv = [MAIN, 'sidecar', '--config', file, '--endpoints', `127.0.0.1:${port}`, '--status-listen', `127.0.0.1:${status}`];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const readyz = async (): Promise<number> => (await request(status, '/readyz').catch(() => ({ status: 0 }))).status;
  await until('it is ready', async () => (await readyz()) === 200);
  t.is(read(directory, 'live.conf'), 'web:a=127.0.0.1:1;\n');
  await write(node, 'b', 2);
  await until('it follows', () => read(directory, 'live.conf').includes('b='));
  const refused = await coterie('--config', file, '--endpoints', `127.0.0.1:${port}`);
  t.is(refused.code, 1);
  t.regex(refused.stderr, /live\.conf is already kept by another sidecar/);
  const ended = new Promise((resolve) => child.once('exit', (code) => resolve(code)));
  child.kill('SIGTERM');
  t.is(await ended, 0, said);
  t.false(existsSync(join(directory, '.coterie-live.conf.lock')));
});

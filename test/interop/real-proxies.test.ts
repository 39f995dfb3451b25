// The apply machine's claims once more, each on the real nginx and on the real HAProxy: what counts is who answers a request.

import test, { type ExecutionContext } from 'ava';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../core/base/clock.js';
import { utf8 } from '../../core/base/bytes.js';
import { Prng } from '../../core/base/prng.js';
import { del, prefixRange, put } from '../../core/client.js';
import { startNode, type RunningNode } from '../../core/index.js';
import { register } from '../../recipes/index.js';
import { SERVICES_PREFIX } from '../../recipes/instance.js';
import { systemAsk } from '../../sidecar/ask.js';
import { registrySource } from '../../sidecar/source.js';
import { Link } from '../recipes/link.js';
import {
  available, backend, get, haproxyRig, instance, instanceOf, nginxRig, read, running, sleep, ToldSource, until,
  type Backend, type ProxyRig,
} from '../sidecar/rig.js';

const PROXIES = ['nginx', 'haproxy'] as const;
type ProxyName = (typeof PROXIES)[number];

function rigOf(t: ExecutionContext, proxy: ProxyName): Promise<ProxyRig> {
  return proxy === 'nginx' ? nginxRig(t) : haproxyRig(t);
}

/** The process that takes the reload signal, and the signal. */
async function master(rig: ProxyRig, proxy: ProxyName): Promise<{ pid: number; signal: string }> {
  if (proxy === 'nginx') return { pid: Number(readFileSync(join(rig.directory, 'nginx.pid'), 'utf8')), signal: 'HUP' };
  const answer = await systemAsk.command(join(rig.directory, 'master.sock'), 'show proc', 1_000);
  return { pid: Number(/^(\d+)\s+master/m.exec(answer ?? '')?.[1]), signal: 'USR2' };
}

async function store(t: ExecutionContext): Promise<{ node: RunningNode; link: Link }> {
  const node = await startNode({ name: 't', dataDir: null });
  t.teardown(() => node.close());
  return { node, link: new Link(node.client, systemClock) };
}

function write(node: RunningNode, { id, port }: { id: string; port: number }): Promise<unknown> {
  const value = { address: '127.0.0.1', port, weight: 1, zone: '', tags: [], meta: {}, state: 'up', why: '', owner: 'ff' };
  return put(node.client, utf8(`${SERVICES_PREFIX}web/instances/${id}`), utf8(JSON.stringify(value)));
}

function erase(node: RunningNode, id: string): Promise<unknown> {
  return del(node.client, utf8(`${SERVICES_PREFIX}web/instances/${id}`));
}

/** Asks until every one of `wanted` has answered, and then a while longer that nobody else does. */
async function servedBy(port: number, wanted: readonly string[]): Promise<boolean> {
  const seen = new Set<string>();
  for (let i = 0; i < 12 * wanted.length; i++) seen.add((await get(port)).body);
  return seen.size === wanted.length && wanted.every((id) => seen.has(id));
}

/** The packaged template and 29 more files, all of which the proxy reads. */
function thirtyFiles(rig: ProxyRig, proxy: ProxyName): { more: Record<string, unknown>; extras: string[] } {
  const extra = join(rig.directory, 'extra.hbs');
  writeFileSync(extra, '{{#each services}}{{#each instances}}# {{id}} {{weight}}\n{{/each}}{{/each}}');
  const extras = Array.from({ length: 29 }, (_, i) => join(rig.directory, `extra${i}.${proxy === 'nginx' ? 'conf' : 'cfg'}`));
  const rest = extras.map((target) => ({ source: extra, target, escape: proxy }));
  if (proxy === 'haproxy') {
    const haproxy = { config: [rig.target, ...extras], master: join(rig.directory, 'master.sock'), start: true };
    const templates = [{ source: 'coterie:haproxy.cfg.hbs', target: rig.target }, ...rest];
    return { more: { templates, reload: { haproxy } }, extras };
  }
  const main = join(rig.directory, 'main.hbs');
  const packaged = read(join(import.meta.dirname, '../../../templates'), 'nginx.conf.hbs');
  writeFileSync(main, packaged.replace('access_log off;', `access_log off;\n  include ${rig.directory}/extra*.conf;`));
  return { more: { templates: [{ source: main, target: rig.target }, ...rest] }, extras };
}

for (const proxy of PROXIES) {
  test.serial(`A3 ${proxy}: a reload that fails twice is repeated although the file is in place, until it runs`, async (t) => {
    if (!available(t, proxy)) return;
    const rig = await rigOf(t, proxy);
    const source = new ToldSource();
    const [a, b] = [await backend(t, 'a'), await backend(t, 'b')];
    source.set('web', [instanceOf(a)]);
    const first = await running(t, rig.config(), { source });
    t.true(await first.sidecar.ready(AbortSignal.timeout(20_000)), first.lines());
    await first.sidecar.close();
    const { pid, signal } = await master(rig, proxy);
    const script = join(rig.directory, 'reload.sh');
    const tries = join(rig.directory, 'tries');
    writeFileSync(script, `echo x >> ${tries}; test "$(wc -l < ${tries})" -ge 3 && kill -${signal} ${pid}\n`);
    source.set('web', [instanceOf(b)]);
    const reload = { command: ['/bin/sh', script] };
    const { sidecar, outcomes, lines } = await running(t, rig.config({ reload, check: ['/bin/true'] }), { source });
    t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
    t.is(outcomes('failed').length, 2, lines());
    t.is(read(rig.directory, 'tries'), 'x\nx\nx\n');
    await until('the new one is served', () => servedBy(rig.port, ['b']));
  });

  test.serial(`A4 A5 ${proxy}: flaps and a compaction past the watch: in the end the right ones serve`, async (t) => {
    if (!available(t, proxy)) return;
    const rig = await rigOf(t, proxy);
    const { node, link } = await store(t);
    const backends: Backend[] = [];
    for (const id of ['a', 'b', 'c', 'd']) backends.push(await backend(t, id));
    const [only] = backends;
    if (only === undefined) throw new Error('there are backends');
    await write(node, only);
    const source = registrySource(link, systemClock, { livenessMs: 400 });
    const { sidecar, lines } = await running(t, rig.config(), { client: link, source });
    t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
    const dice = new Prng(5);
    const present = new Set([only.id]);
    for (let i = 0; i < 120; i++) {
      const one = backends[dice.below(backends.length)] ?? only;
      if (present.has(one.id) && present.size > 1) {
        present.delete(one.id);
        await erase(node, one.id);
      } else {
        present.add(one.id);
        await write(node, one);
      }
      if (i % 40 === 10) link.down();
      if (i % 40 === 25) {
        await node.client.compact((await node.client.range(prefixRange(utf8('x')))).header.revision);
        link.up();
      }
      if (i % 10 === 0) await sleep(20);
    }
    link.up();
    await until('those registered serve, and nobody else', () => servedBy(rig.port, [...present]));
    t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  });

  test.serial(`A6 ${proxy}: a wiped registry changes nothing for the clients, a goodbye does`, async (t) => {
    if (!available(t, proxy)) return;
    const rig = await rigOf(t, proxy);
    const { node } = await store(t);
    const [a, b] = [await backend(t, 'a'), await backend(t, 'b')];
    const spec = { service: 'web', address: '127.0.0.1' };
    await write(node, a);
    const { sidecar, events, lines } = await running(t, rig.config(), { client: node.client });
    t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
    const { key, rangeEnd } = prefixRange(utf8(SERVICES_PREFIX));
    await del(node.client, key, { rangeEnd });
    await until('the alarm is raised', () => events.some((event) => event.kind === 'holding'));
    t.deepEqual(await get(rig.port), { status: 200, body: 'a' });
    const registration = await register(node.client, { ...spec, id: 'b', port: b.port });
    await until('one that comes takes over', () => servedBy(rig.port, ['b']));
    await registration.close();
    await until('a goodbye is honoured', async () => (await get(rig.port)).status === 503);
    t.true(events.some((event) => event.kind === 'hold_ended'));
  });

  test.serial(`A10 ${proxy}: 30 files, 200 changes in a second: a few reloads, and the last change serves`, async (t) => {
    if (!available(t, proxy)) return;
    const rig = await rigOf(t, proxy);
    const { more, extras } = thirtyFiles(rig, proxy);
    const source = new ToldSource();
    const [a, b] = [await backend(t, 'a'), await backend(t, 'b')];
    source.set('web', [instanceOf(a)]);
    const { sidecar, outcomes, lines } = await running(t, rig.config(more), { source });
    t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
    const startedAt = systemClock.now();
    for (let i = 0; i < 200; i++) {
      source.set('web', i === 199 ? [instanceOf(b, { weight: 7 })] : [instanceOf(a, { weight: 1 + (i % 50) })]);
      await sleep(4);
    }
    await until('the last change serves', () => servedBy(rig.port, ['b']));
    t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
    const most = 2 + Math.ceil((systemClock.now() - startedAt) / 200);
    const reloads = outcomes('applied').length - 1;
    t.true(reloads >= 1 && reloads <= most, `${reloads} reloads, at most ${most}\n${lines()}`);
    t.deepEqual([...new Set(extras.map((file) => readFileSync(file, 'utf8')))], ['# b 7\n']);
  });

  test.serial(`A13 ${proxy}: permuted input is no reason for a reload`, async (t) => {
    if (!available(t, proxy)) return;
    const rig = await rigOf(t, proxy);
    const source = new ToldSource();
    const instances = [
      instanceOf(await backend(t, 'a'), { tags: ['x', 'y'], meta: { k: '1', l: '2' } }),
      instanceOf(await backend(t, 'b')),
      instance('c', { state: 'draining' }),
    ];
    source.set('web', instances);
    const { sidecar, outcomes, lines } = await running(t, rig.config(), { source });
    t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
    const live = readFileSync(rig.target, 'utf8');
    const [one, two, three] = instances;
    if (one === undefined || two === undefined || three === undefined) throw new Error('there are three');
    source.set('web', [three, { ...one, tags: ['y', 'x'], meta: { l: '2', k: '1' } }, two]);
    await until('it was looked at', () => outcomes('unchanged').length >= 1);
    t.is(outcomes('applied').length, 1, lines());
    t.is(readFileSync(rig.target, 'utf8'), live);
  });
}

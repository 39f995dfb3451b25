// The templates that come with the package: what they render (golden files, UPDATE_GOLDEN=1 writes them anew), that the real
// programs accept every shape of it, and that hostile values cannot change it.

import test from 'ava';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { packagedTemplate } from '../../sidecar/config.js';
import { compileTemplate, renderGroup, sealed } from '../../sidecar/render.js';
import type { GroupData, Instance } from '../../sidecar/view-data.js';
import { available, folder, instance } from '../sidecar/rig.js';

const ROOT = new URL('../../../', import.meta.url);

function render(name: 'nginx.conf.hbs' | 'haproxy.cfg.hbs', data: GroupData): string {
  const text = readFileSync(packagedTemplate(name), 'utf8');
  const template = compileTemplate({ name, text, escape: name === 'nginx.conf.hbs' ? 'nginx' : 'haproxy' });
  return sealed(renderGroup([template], data).texts[0] ?? '', '0123456789abcdef');
}

function data(vars: Record<string, unknown>, web: readonly Instance[]): GroupData {
  const services = [
    { name: 'web', instances: web },
    { name: 'api.v2', instances: [instance('only', { service: 'api.v2', address: '::1', port: 9_000 })] },
    { name: 'empty', instances: [] },
  ];
  return { group: 'edge', services, vars };
}

const WEB = [
  instance('a', { address: '10.0.0.1', weight: 3 }),
  instance('b', { address: '10.0.0.2', zone: 'east', tags: ['blue'] }),
  instance('going', { address: '10.0.0.3', state: 'draining' }),
  instance('host:7', { address: '10.0.0.4', port: 81 }),
  instance('spare', { address: '10.0.0.5', weight: 0 }),
];

for (const name of ['nginx.conf.hbs', 'haproxy.cfg.hbs'] as const) {
  test(`${name} renders what its golden file shows, whatever the order of the registrations`, (t) => {
    const rendered = render(name, data({}, WEB));
    const golden = new URL(`test/golden/rendered/${name.replace('.hbs', '.txt')}`, ROOT);
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(golden, rendered);
    t.is(rendered, readFileSync(golden, 'utf8'));
    t.is(render(name, data({}, WEB.toReversed())), rendered);
  });

  test(`S6 ${name}: whatever tags, meta or zone say, the configuration is the same`, (t) => {
    const evil = '80; } location /x { return 200 "owned"; } #\n{{vars.secret}} %[env(X)] $host';
    const marked = WEB.map((one) => ({ ...one, tags: [evil], meta: { note: evil, [evil]: evil }, zone: evil }));
    t.is(render(name, data({}, marked)), render(name, data({}, WEB)));
  });
}

const VARS = {
  workers: 1, connections: 512, threads: 1, maxconn: 100, keepalive_timeout: '65s', user: 'root', group: 'root', max_body: '1m',
  shutdown_timeout: '10s',
};

type Program = 'nginx' | 'haproxy';

function accepted(t: ExecutionContext, program: Program, extra: Record<string, unknown>, web: readonly Instance[]): void {
  const directory = folder(t);
  const vars = {
    ...extra,
    listen: '127.0.0.1:65001', admin: '127.0.0.1:65002', stats: '127.0.0.1:65002', stats_socket: join(directory, 's.sock'),
    pid: join(directory, 'pid'), error_log: join(directory, 'log'), work_dir: directory,
  };
  const file = join(directory, 'candidate');
  writeFileSync(file, render(program === 'nginx' ? 'nginx.conf.hbs' : 'haproxy.cfg.hbs', data(vars, web)));
  const argv = program === 'nginx' ? ['-t', '-q', '-c', file] : ['-c', '-f', file];
  const { status, stdout, stderr } = spawnSync(program, argv, { encoding: 'utf8' });
  t.is(status, 0, stdout + stderr);
  t.notRegex(stdout + stderr, /warn/i);
}

for (const program of ['nginx', 'haproxy'] as const) {
  test(`the real ${program} accepts every shape of its template without a warning`, (t) => {
    if (!available(t, program)) return;
    accepted(t, program, {}, WEB);
    accepted(t, program, VARS, WEB);
    accepted(t, program, {}, []);
    accepted(t, program, {}, Array.from({ length: 500 }, (_, i) => instance(`i${i}`, { address: `10.1.${i >> 8}.${i & 255}` })));
  });
}

// The apply machine and the template on the real nginx: start, confirm, planned changes, refusals, roll back, fragments.

import test from 'ava';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { spawn, spawnSync } from 'node:child_process';
import { includesIn } from '../../sidecar/nginx.js';
import {
  available, backend, get, instance, instanceOf, nginxRig, read, running, stopPid, ToldSource, traffic, until,
} from './rig.js';
import type { Instance } from '../../sidecar/view-data.js';

test.serial('a registered instance is served by the real nginx, started and confirmed by its own answer', async (t) => {
  if (!available(t, 'nginx')) return;
  const rig = await nginxRig(t);
  const source = new ToldSource();
  const a = await backend(t, 'a');
  source.set('web', [instanceOf(a)]);
  const { sidecar, outcomes, lines } = await running(t, rig.config(), { source });
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  t.deepEqual(await get(rig.port), { status: 200, body: 'a' });
  t.is((await get(rig.admin)).status, 404);
  const applied = outcomes('applied');
  t.like(applied, { length: 1, 0: { outcome: { proof: 'generation' } } }, lines());
  t.is((await get(rig.port, { host: 'nobody.example' })).body, 'a', 'the first service is the default');
});

test.serial('planned changes under traffic cost no request, and a drained instance gets none afterwards', async (t) => {
  if (!available(t, 'nginx')) return;
  const rig = await nginxRig(t);
  const source = new ToldSource();
  const [a, b, c] = [await backend(t, 'a'), await backend(t, 'b'), await backend(t, 'c')];
  source.set('web', [instanceOf(a), instanceOf(b)]);
  const { sidecar, outcomes, lines } = await running(t, rig.config(), { source });
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  const stop = traffic(rig.port, 4);
  for (const [n, instances] of [
    [2, [instanceOf(a), instanceOf(b), instanceOf(c)]],
    [3, [instanceOf(a, { state: 'draining' }), instanceOf(b), instanceOf(c)]],
  ] as const) {
    source.set('web', instances);
    await until(`change ${n} applied`, () => outcomes('applied').length === n);
  }
  const before = a.requests;
  source.set('web', [instanceOf(b), instanceOf(c)]);
  await until('the removal changes nothing any more', () => outcomes('unchanged').length === 1);
  const { ok, failures } = await stop();
  t.is(a.requests, before, 'no request after the drain was applied');
  t.deepEqual(failures, []);
  t.true(ok > 20 && c.requests > 0);
});

test.serial('a name that does not resolve is left out and said so, and holds up nobody else', async (t) => {
  if (!available(t, 'nginx')) return;
  const rig = await nginxRig(t);
  const source = new ToldSource();
  const [a, b] = [await backend(t, 'a'), await backend(t, 'b')];
  const config = rig.config({ services: ['web', 'api'] });
  source.set('web', [instanceOf(a)]);
  const { sidecar, lines, outcomes } = await running(t, config, { source });
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  const bad = (id: string): Instance => instance(id, { address: `${id}.invalid` });
  source.services.set('api', [instance('only', { service: 'api', address: 'only.invalid' })]);
  source.set('web', [bad('x1'), instanceOf(b), bad('x2')]);
  await until('the good one is served', async () => (await get(rig.port)).body === 'b');
  await until('the round has ended', () => /web\/x2/.test(lines()));
  t.is((await get(rig.port, { host: 'api' })).status, 503, 'a service that never had anybody else is empty');
  t.regex(lines(), /web\/x1 left out: .*x1\.invalid does not resolve here.*register an address/);
  t.regex(lines(), /api\/only left out/);
  t.true(sidecar.status().ready, lines());
  const applied = outcomes('applied').length;
  // All that web has would be gone: then what runs is better than nothing.
  source.set('web', [bad('x1'), bad('x3')]);
  await until('it is refused', () => outcomes('failed').length > 0);
  t.is((await get(rig.port)).body, 'b');
  t.is(outcomes('applied').length, applied);
  source.set('web', [instanceOf(a), bad('x3')]);
  await until('recovered without help', async () => (await get(rig.port)).body === 'a');
});

test.serial('shadows that a killed check left behind are removed at the next start, those of the living are not', async (t) => {
  const rig = await nginxRig(t, { start: false, binary: '/no/such/nginx' });
  const [dead, living] = ['.coterie-shadow-0.99999999', `.coterie-shadow-3.${process.ppid}`];
  for (const name of [dead, living]) writeFileSync(join(rig.directory, name), '');
  await running(t, rig.config(), { source: new ToldSource() });
  t.false(existsSync(join(rig.directory, dead)));
  t.true(existsSync(join(rig.directory, living)));
});

test.serial('a pid file whose number is somebody else\'s by now harms nobody', async (t) => {
  if (!available(t, 'nginx')) return;
  const rig = await nginxRig(t, { start: false });
  const bystander = spawn('sleep', ['60'], { stdio: 'ignore' });
  t.teardown(() => void bystander.kill('SIGKILL'));
  writeFileSync(join(rig.directory, 'nginx.pid'), String(bystander.pid));
  const source = new ToldSource();
  source.set('web', [instance('a')]);
  const { outcomes, lines } = await running(t, rig.config(), { source });
  await until('a refusal is told', () => outcomes('failed').length > 0);
  t.regex(lines(), /nginx is not running \(no live process in .*nginx\.pid\); start it, or set start: true/);
  t.is(bystander.signalCode, null);
});

test.serial('A8 with no instance the configuration is valid, answers 503, and nginx restarts with it', async (t) => {
  if (!available(t, 'nginx')) return;
  const rig = await nginxRig(t);
  const source = new ToldSource();
  const a = await backend(t, 'a');
  source.set('web', [instanceOf(a)]);
  const { sidecar, outcomes, lines } = await running(t, rig.config(), { source });
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  source.leave('web', 'a', 'closed');
  await until('the last one is gone', () => outcomes('applied').length === 2);
  t.deepEqual(await get(rig.port), { status: 503, body: 'no instance of web is available\n' });
  await stopPid(join(rig.directory, 'nginx.pid'), 'SIGTERM');
  t.is(spawnSync('nginx', ['-p', rig.directory, '-c', rig.target]).status, 0);
  await until('nginx serves again', async () => (await get(rig.port).catch(() => null))?.status === 503);
});

test.serial('A1 A2 a configuration nginx refuses never becomes live; good data afterwards recovers without help', async (t) => {
  if (!available(t, 'nginx')) return;
  const rig = await nginxRig(t);
  const source = new ToldSource();
  const a = await backend(t, 'a');
  source.set('web', [instanceOf(a)]);
  const { sidecar, outcomes, lines } = await running(t, rig.config(), { source });
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  const live = read(rig.directory, 'nginx.conf');
  // nginx resolves names when it reads them, and refuses the whole file for one that does not resolve; without it there would
  // be nobody left.
  source.set('web', [instanceOf(a, { id: 'bad', address: 'does-not-exist.invalid' })]);
  await until('the check fails', () => outcomes('failed').length >= 2);
  t.like(outcomes('failed')[0], { outcome: { step: 'check' } });
  t.regex(lines(), /check of \w+ failed, again in \d+ ms: .*host not found in upstream "does-not-exist\.invalid/s);
  t.is(read(rig.directory, 'nginx.conf'), live);
  t.is((await get(rig.port)).body, 'a');
  t.false(sidecar.status().ready);
  t.regex(sidecar.status().groups[0]?.reason ?? '', /host not found/);
  const b = await backend(t, 'b');
  source.set('web', [instanceOf(b)]);
  await until('good data is applied', () => outcomes('applied').length === 2);
  t.is((await get(rig.port)).body, 'b');
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
});

test.serial('what nginx does not take although the check passed is rolled back and left alone until inputs change', async (t) => {
  if (!available(t, 'nginx')) return;
  const rig = await nginxRig(t);
  const template = join(rig.directory, 't.hbs');
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const address = taken.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  t.teardown(() => taken.close());
  // The extra listener appears with the second instance; `nginx -t` does not bind, so only the reload can tell.
  const main = read(join(import.meta.dirname, '../../../templates'), 'nginx.conf.hbs');
  const extra = '{{#service "web"}}{{#if (gt (count instances) 1)}}\n  server { listen 127.0.0.1:' + String(port)
    + '; return 204; }\n{{/if}}{{/service}}\n}\n';
  writeFileSync(template, main.trimEnd().replace(/\}$/, extra));
  const source = new ToldSource();
  const [a, b] = [await backend(t, 'a'), await backend(t, 'b')];
  source.set('web', [instanceOf(a)]);
  const config = rig.config({
    templates: [{ source: template, target: rig.target }],
    timeouts: { confirmMs: 1_500 },
  });
  const { sidecar, outcomes, lines } = await running(t, config, { source });
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  const live = read(rig.directory, 'nginx.conf');
  source.set('web', [instanceOf(a), instanceOf(b)]);
  await until('it is rolled back', () => outcomes('rolled_back').length === 1);
  t.regex(lines(), /was not taken: no worker of the new generation answered .*its log says why.*; the previous one runs again/);
  t.is(read(rig.directory, 'nginx.conf'), live);
  t.is((await get(rig.port)).body, 'a');
  source.touch();
  await until('the same again is left alone', () => outcomes('quarantined').length === 1);
  source.set('web', [instanceOf(b)]);
  await until('other inputs are applied', () => outcomes('applied').length === 2);
  t.is((await get(rig.port)).body, 'b');
});

test.serial('a sidecar that restarts finds its generation running and reloads nothing', async (t) => {
  if (!available(t, 'nginx')) return;
  const rig = await nginxRig(t);
  const source = new ToldSource();
  source.set('web', [instanceOf(await backend(t, 'a'))]);
  const first = await running(t, rig.config(), { source });
  t.true(await first.sidecar.ready(AbortSignal.timeout(20_000)), first.lines());
  await first.sidecar.close();
  const second = await running(t, rig.config(), { source });
  t.true(await second.sidecar.ready(AbortSignal.timeout(20_000)), second.lines());
  t.deepEqual(second.outcomes('applied'), []);
  t.is(second.outcomes('unchanged').length, 1);
});

test.serial('a fragment is checked as part of the main file that includes it, and the main file stays as it is', async (t) => {
  if (!available(t, 'nginx')) return;
  const rig = await nginxRig(t);
  const { directory, port, admin } = rig;
  mkdirSync(join(directory, 'conf.d'));
  writeFileSync(join(directory, 'conf.d', 'other.conf'), '# nothing\n');
  const main = `pid ${directory}/nginx.pid; error_log ${directory}/error.log; # include "x";\nevents {}\nhttp {\n`
    + ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((one) => `${one}_temp_path ${directory}/${one};`).join('\n')
    + '\naccess_log off; include conf.d/*.conf;\n}\n';
  writeFileSync(rig.target, main);
  const servers = '{{#each instances}}server {{hostport}};{{/each}}{{else}}server 127.0.0.1:1 down;';
  const text = `upstream web { {{#service "web"}}${servers}{{/service}} }\n`
    + `server { listen 127.0.0.1:${port}; location / { proxy_pass http://web; } }\n`
    + `server { listen 127.0.0.1:${admin}; location = /generation { return 200 "{{generation}}"; } }\n`;
  writeFileSync(join(directory, 'web.hbs'), text);
  const source = new ToldSource();
  const a = await backend(t, 'a');
  source.set('web', [instanceOf(a)]);
  const config = rig.config({ templates: [{ source: 'web.hbs', target: 'conf.d/web.conf', escape: 'nginx' }] });
  const { sidecar, outcomes, lines } = await running(t, config, { source });
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  t.is((await get(port)).body, 'a');
  writeFileSync(join(directory, 'web.hbs'), `${text}nonsense;\n`);
  source.touch();
  await until('the check fails', () => outcomes('failed').length >= 1);
  t.regex(lines(), /unknown directive "nonsense" in .*\.coterie-web\.conf\.staged/);
  t.is(read(directory, 'nginx.conf'), main);
  t.false(read(join(directory, 'conf.d'), 'web.conf').includes('nonsense'));
  writeFileSync(join(directory, 'web.hbs'), `${text}# mended\n`);
  await until('the mended template is applied without help', () => outcomes('applied').length === 2);
  await sidecar.close();
  const left = spawnSync('ls', ['-A', directory, join(directory, 'conf.d')]).stdout.toString();
  t.notRegex(left, /shadow|staged|\.new/);
});

test.serial('nginx that is not running and may not be started is waited for, with the file in place', async (t) => {
  if (!available(t, 'nginx')) return;
  const rig = await nginxRig(t, { start: false });
  const source = new ToldSource();
  source.set('web', [instanceOf(await backend(t, 'a'))]);
  const config = rig.config({ retry: { minMs: 20, maxMs: 50, attempts: 2 } });
  const { sidecar, outcomes, lines } = await running(t, config, { source });
  await until('it says so', () => outcomes('failed').length >= 4);
  t.regex(lines(), /act of \w+ failed.*nginx is not running .*start it, or set start: true/);
  t.is(spawnSync('nginx', ['-p', rig.directory, '-c', rig.target]).status, 0);
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  t.is((await get(rig.port)).body, 'a');
  t.deepEqual(outcomes('rolled_back'), []);
});

test('includes are found outside of comments, quotes and other directives', (t) => {
  const text = 'include a.conf; # include b.conf;\nlog "include c.conf;"; x{include  "d e.conf" ;}\nset $include f.conf;\n';
  t.deepEqual(includesIn(text).map((one) => [one.path, text.slice(one.start, one.end)]), [
    ['a.conf', 'include a.conf;'],
    ['d e.conf', 'include  "d e.conf" ;'],
  ]);
});

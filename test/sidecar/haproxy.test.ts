// The apply machine and the template on the real HAProxy in master-worker mode: confirm, changes, refusals, roll back.

import test from 'ava';
import { writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { parseShowProc } from '../../sidecar/haproxy.js';
import { systemAsk } from '../../sidecar/ask.js';
import {
  available, backend, get, haproxyRig, instanceOf, read, running, stopHaproxy, ToldSource, traffic, until,
} from './rig.js';

test.serial('planned changes under keep-alive traffic cost no request, and a drained instance gets none later', async (t) => {
  if (!available(t, 'haproxy')) return;
  const rig = await haproxyRig(t);
  const source = new ToldSource();
  const [a, b, c] = [await backend(t, 'a'), await backend(t, 'b'), await backend(t, 'c')];
  source.set('web', [instanceOf(a), instanceOf(b)]);
  const { sidecar, outcomes, lines } = await running(t, rig.config(), { source });
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  t.like(outcomes('applied'), { length: 1, 0: { outcome: { proof: 'generation' } } }, lines());
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  t.teardown(() => agent.destroy());
  const stop = traffic(rig.port, 4, agent);
  for (const [n, instances] of [
    [2, [instanceOf(a), instanceOf(b), instanceOf(c)]],
    [3, [instanceOf(a, { state: 'draining' }), instanceOf(b), instanceOf(c)]],
  ] as const) {
    source.set('web', instances);
    await until(`change ${n} applied`, () => outcomes('applied').length === n);
  }
  // Connections that were open keep their old worker until their next answer; then no more.
  await until('the old worker has let go', async () => {
    const before = a.requests;
    await new Promise((resolve) => setTimeout(resolve, 100));
    return a.requests === before;
  });
  const { ok, failures } = await stop();
  t.deepEqual(failures, []);
  t.true(ok > 20 && c.requests > 0);
});

test.serial('A8 with no instance the configuration is valid, answers 503, and HAProxy restarts with it', async (t) => {
  if (!available(t, 'haproxy')) return;
  const rig = await haproxyRig(t);
  const source = new ToldSource();
  source.set('web', [instanceOf(await backend(t, 'a'))]);
  const { sidecar, outcomes, lines } = await running(t, rig.config(), { source });
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  t.is((await get(rig.port)).body, 'a');
  source.leave('web', 'a', 'drained');
  await until('the last one is gone', () => outcomes('applied').length === 2);
  t.deepEqual(await get(rig.port), { status: 503, body: 'no instance of web is available' });
  await stopHaproxy(join(rig.directory, 'master.sock'));
  source.touch();
  // The files are right and were confirmed, so nothing is done; a new sidecar finds the proxy gone and starts it.
  await sidecar.close();
  const again = await running(t, rig.config(), { source });
  t.true(await again.sidecar.ready(AbortSignal.timeout(20_000)), again.lines());
  t.is((await get(rig.port)).status, 503);
});

test.serial('A1 A2 a configuration HAProxy refuses never becomes live; good data afterwards recovers without help', async (t) => {
  if (!available(t, 'haproxy')) return;
  const rig = await haproxyRig(t);
  const template = join(rig.directory, 't.hbs');
  const main = read(join(import.meta.dirname, '../../../templates'), 'haproxy.cfg.hbs');
  // HAProxy knows no such balance; only data with this tag makes the template say so.
  const odd = '{{#service "web"}}{{#if (where instances tag="odd")}}balance odd\n  {{/if}}{{/service}}default-server';
  writeFileSync(template, main.replace('default-server', odd));
  const source = new ToldSource();
  const [a, b] = [await backend(t, 'a'), await backend(t, 'b')];
  source.set('web', [instanceOf(a)]);
  const config = rig.config({ templates: [{ source: template, target: rig.target }] });
  const { sidecar, outcomes, lines } = await running(t, config, { source });
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  const live = read(rig.directory, 'haproxy.cfg');
  source.set('web', [instanceOf(b, { tags: ['odd'] })]);
  await until('the check fails', () => outcomes('failed').length >= 2);
  t.regex(lines(), /check of \w+ failed, again in \d+ ms: haproxy ended with exit code 1.*balance/s);
  t.is(read(rig.directory, 'haproxy.cfg'), live);
  t.is((await get(rig.port)).body, 'a');
  t.false(sidecar.status().ready);
  source.set('web', [instanceOf(b)]);
  await until('good data is applied', () => outcomes('applied').length === 2);
  t.is((await get(rig.port)).body, 'b');
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
});

test.serial('what HAProxy does not take although the check passed is rolled back, by the count of its master', async (t) => {
  if (!available(t, 'haproxy')) return;
  const rig = await haproxyRig(t);
  const template = join(rig.directory, 't.hbs');
  const main = read(join(import.meta.dirname, '../../../templates'), 'haproxy.cfg.hbs');
  // A port that another process holds passes `haproxy -c`, which does not bind.
  const taken = await backend(t, 'other');
  const extra = '{{#service "web"}}{{#if (gt (count instances) 1)}}\nfrontend more\n  bind 127.0.0.1:' + String(taken.port)
    + '\n  http-request deny\n{{/if}}{{/service}}\n';
  writeFileSync(template, main + extra);
  const source = new ToldSource();
  const [a, b] = [await backend(t, 'a'), await backend(t, 'b')];
  source.set('web', [instanceOf(a)]);
  const config = rig.config({ templates: [{ source: template, target: rig.target }] });
  const { sidecar, outcomes, lines } = await running(t, config, { source });
  t.true(await sidecar.ready(AbortSignal.timeout(20_000)), lines());
  const live = read(rig.directory, 'haproxy.cfg');
  source.set('web', [instanceOf(a), instanceOf(b)]);
  await until('it is rolled back', () => outcomes('rolled_back').length === 1);
  t.regex(lines(), /was not taken: the master refused the new configuration.*; the previous one runs again/);
  t.is(read(rig.directory, 'haproxy.cfg'), live);
  t.is((await get(rig.port)).body, 'a');
  source.set('web', [instanceOf(b)]);
  await until('other inputs are applied', () => outcomes('applied').length === 2);
  t.is((await get(rig.port)).body, 'b');
});

test.serial('a sidecar that restarts finds its generation running and reloads nothing', async (t) => {
  if (!available(t, 'haproxy')) return;
  const rig = await haproxyRig(t);
  const source = new ToldSource();
  source.set('web', [instanceOf(await backend(t, 'a'))]);
  const first = await running(t, rig.config(), { source });
  t.true(await first.sidecar.ready(AbortSignal.timeout(20_000)), first.lines());
  const state = parseShowProc((await systemAsk.command(join(rig.directory, 'master.sock'), 'show proc', 1_000)) ?? '');
  await first.sidecar.close();
  const second = await running(t, rig.config(), { source });
  t.true(await second.sidecar.ready(AbortSignal.timeout(20_000)), second.lines());
  t.deepEqual(second.outcomes('applied'), []);
  const after = parseShowProc((await systemAsk.command(join(rig.directory, 'master.sock'), 'show proc', 1_000)) ?? '');
  t.deepEqual(after, state);
});

test('the master\'s process list is read, with its failures, and anything else is not', (t) => {
  const good = '#<PID> <type> <reloads>\n12985           master          2 [failed: 0]   0d\n'
    + '# workers\n13117           worker          0   0d\n# old workers\n12000           worker          1   0d\n# programs\n\n';
  t.deepEqual(parseShowProc(good), { reloads: 2, failed: false, workers: [13117] });
  t.deepEqual(parseShowProc(good.replace('failed: 0', 'failed: 1').replace('worker          0', 'worker          1')),
    { reloads: 2, failed: true, workers: [] });
  t.is(parseShowProc('Unknown command'), null);
});

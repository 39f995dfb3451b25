// A service registers itself; the sidecar writes, checks and reloads a real nginx; a request is served through it; the
// service says goodbye and nginx answers 503. Everything runs from here, in a temporary folder, and ends by itself.
//
// Prints (without nginx on the path: one line that says so):
//   nginx runs what the registry says
//   through nginx: hello from a
//   a has left; through nginx: 503

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { startNode } from '../core/index.js';
import { register } from '../recipes/index.js';
import { checkConfig, startSidecar } from '../sidecar/index.js';

if (spawnSync('nginx', ['-v']).error === undefined) await demonstrate();
else console.log('nginx is not installed: nothing to show');

async function demonstrate(): Promise<void> {
  const folder = mkdtempSync(`${tmpdir()}/coterie-08-`);
  const [port, admin] = [await freePort(), await freePort()];
  const pid = `${folder}/nginx.pid`;
  const vars = { listen: `127.0.0.1:${port}`, admin: `127.0.0.1:${admin}`, pid, error_log: `${folder}/log`, work_dir: folder };
  const nginx = { config: 'nginx.conf', pid, start: true, confirm: `http://127.0.0.1:${admin}/generation` };
  const templates = [{ source: 'coterie:nginx.conf.hbs', target: 'nginx.conf' }];
  const config = checkConfig({ groups: [{ name: 'edge', services: ['web'], vars, templates, reload: { nginx } }] }, folder);

  const node = await startNode({ dataDir: null });
  const service = createServer((_request, response) => response.end('hello from a'));
  const address = { address: '127.0.0.1', port: await listen(service) };
  const registration = await register(node.client, { service: 'web', id: 'a', ...address });
  const sidecar = await startSidecar(node.client, config);
  await sidecar.ready(AbortSignal.timeout(10_000));
  console.log('nginx runs what the registry says');
  const through = async (): Promise<Response> => fetch(`http://127.0.0.1:${port}/`);
  console.log(`through nginx: ${await (await through()).text()}`);
  await registration.close();
  while ((await through()).status !== 503) await new Promise((resolve) => setTimeout(resolve, 20));
  console.log('a has left; through nginx: 503');

  await sidecar.close();
  process.kill(Number(readFileSync(pid, 'utf8')), 'SIGTERM');
  service.close();
  await node.close();
  rmSync(folder, { recursive: true });
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
  const server = createServer();
  return listen(server).finally(() => server.close());
}

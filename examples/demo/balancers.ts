// The three load balancers the demo can put in front: real nginx and real HAProxy, whose configuration the sidecar writes,
// and the proxy that is built in. All are fed by the registry and by nothing else.

import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';

import type { Client } from '../../core/index.js';
import { discover } from '../../recipes/index.js';
import { checkConfig, createProxy, line, startSidecar } from '../../sidecar/index.js';
import type { ProxyEvent, SidecarEvent } from '../../sidecar/index.js';

import type { Board } from './board.js';
import { freePort } from './processes.js';
import { SERVICE } from './service.js';

export const BALANCERS = ['nginx', 'haproxy', 'builtin'] as const;
export type BalancerName = (typeof BALANCERS)[number];

export interface Balancer {
  readonly port: number;
  close(): Promise<void>;
}

/** What the binary calls itself ("nginx 1.22.1"); null when it is not installed. */
export function findBalancer(name: BalancerName): string | null {
  if (name === 'builtin') return 'built-in proxy';
  const { error, stdout, stderr } = spawnSync(name, ['-v'], { encoding: 'utf8' });
  if (error !== undefined) return null;
  return `${name} ${/\d+\.\d+(\.\d+)?/.exec(stdout + stderr)?.[0] ?? ''}`.trim();
}

export async function startBalancer(name: BalancerName, client: Client, directory: string, board: Board): Promise<Balancer> {
  return name === 'builtin' ? startBuiltin(client, board) : startReal(name, client, directory, board);
}

async function startBuiltin(client: Client, board: Board): Promise<Balancer> {
  const proxy = createProxy({
    service: SERVICE,
    targets: { networks: ['127.0.0.0/8'] },
    observe: (event) => {
      const words = proxyWords(event);
      if (words !== null) board.note('proxy', words);
    },
  });
  const view = await discover(client, SERVICE).ready();
  const following = (async (): Promise<void> => {
    for await (const { instances, revision } of view.changes) {
      proxy.update(instances);
      board.balancer.detail = `rev ${revision}, ${instances.filter((one) => one.state === 'up').length} instances`;
    }
  })();
  const { port } = await proxy.listen({ port: 0 });
  board.balancer.state = 'up';
  return {
    port,
    async close() {
      await view.close();
      await following;
      await proxy.close();
    },
  };
}

function proxyWords(event: ProxyEvent): string | null {
  switch (event.kind) {
    case 'instance_added':
      return `${event.id} takes traffic`;
    case 'instance_closed':
      return `${event.id} gets nothing new`;
    case 'instance_quiet':
      return `${event.id} has nothing in flight any more`;
    case 'instance_ejected':
      return `${event.id} refuses connections: left out for ${event.forMs} ms`;
    case 'instance_refused':
      return `${event.id} not used: ${event.reason}`;
    case 'request_refused':
      return `answered ${event.refusal}: ${event.detail}`;
    case 'instance_removed':
    case 'request_retried':
      return null;
  }
}

async function startReal(name: 'nginx' | 'haproxy', client: Client, directory: string, board: Board): Promise<Balancer> {
  const port = await freePort();
  const group = name === 'nginx' ? nginxGroup(directory, port, await freePort()) : haproxyGroup(directory, port);
  const services = [{ name: SERVICE, require: 1 }];
  const quiet = { minMs: 50, maxMs: 500 };
  const config = checkConfig({ groups: [{ name, services, quiet, ...group }] }, directory);
  const counts = { reloads: 0, revision: 0 };
  const sidecar = await startSidecar(client, config, { observe: (event) => onSidecarEvent(event, counts, board) });
  if (!(await sidecar.ready(AbortSignal.timeout(30_000)))) {
    const reason = sidecar.status().groups[0]?.reason ?? '';
    await sidecar.close();
    throw new Error(`${name} did not come to run: ${reason}`);
  }
  board.balancer.state = 'up';
  // The proxy itself is a daemon; it ends with the directory its command line names.
  return { port, close: () => sidecar.close() };
}

function onSidecarEvent(event: SidecarEvent, counts: { reloads: number; revision: number }, board: Board): void {
  if (event.kind !== 'outcome') {
    if (event.kind !== 'synced') board.note('sidecar', line(event).replace(/^\w+: /, ''));
    return;
  }
  const { outcome, revision } = event;
  if (outcome.kind === 'unchanged') counts.revision = revision;
  if (outcome.kind !== 'applied') {
    if (outcome.kind !== 'unchanged') board.note('sidecar', line(event).replace(/^\w+: /, ''));
    return;
  }
  counts.reloads += 1;
  const tookMs = Math.round(event.tookMs);
  const why = board.why(counts.revision, revision);
  counts.revision = revision;
  const did = counts.reloads === 1 ? 'written, checked, started' : 'checked, reloaded, confirmed';
  board.note('sidecar', `${why === '' ? `revision ${revision}` : why} → ${did} in ${tookMs} ms`);
  const reloads = `${counts.reloads - 1} ${counts.reloads === 2 ? 'reload' : 'reloads'}`;
  board.balancer.detail = `rev ${revision}, ${reloads}, last ${tookMs} ms`;
}

function nginxGroup(directory: string, port: number, adminPort: number): object {
  const place = (file: string): string => join(directory, file);
  mkdirSync(place('tmp'));
  const confirm = `http://127.0.0.1:${adminPort}/generation`;
  return {
    vars: {
      listen: `127.0.0.1:${port}`, admin: `127.0.0.1:${adminPort}`, pid: place('nginx.pid'), error_log: place('error.log'),
      work_dir: place('tmp'), workers: 2, connections: 1024, ...(process.getuid?.() === 0 ? { user: userInfo().username } : {}),
    },
    templates: [{ source: 'coterie:nginx.conf.hbs', target: place('nginx.conf') }],
    reload: { nginx: { config: place('nginx.conf'), pid: place('nginx.pid'), start: true, confirm } },
  };
}

function haproxyGroup(directory: string, port: number): object {
  const place = (file: string): string => join(directory, file);
  return {
    vars: { listen: `127.0.0.1:${port}`, maxconn: 1000, threads: 2 },
    templates: [{ source: 'coterie:haproxy.cfg.hbs', target: place('haproxy.cfg') }],
    reload: { haproxy: { config: place('haproxy.cfg'), master: place('haproxy.sock'), start: true } },
  };
}

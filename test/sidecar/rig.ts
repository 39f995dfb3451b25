// What the sidecar's tests stand on: folders, free ports, HTTP services that say who they are, a registry that does what it
// is told, and the real proxies. Everything started here is stopped by `t.teardown`.

import { freePort } from '../interop/free-ports.js';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { Agent, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { systemClock } from '../../core/base/clock.js';
import { ApiError } from '../../core/errors.js';
import { systemAsk } from '../../sidecar/ask.js';
import { checkConfig } from '../../sidecar/config.js';
import type { SidecarConfig } from '../../sidecar/config.js';
import type { SidecarEvent } from '../../sidecar/events.js';
import { line } from '../../sidecar/events.js';
import type { Departed } from '../../sidecar/hold.js';
import { systemProcesses } from '../../sidecar/processes.js';
import type { Feed, Snapshot, Source } from '../../sidecar/source.js';
import { Sidecar } from '../../sidecar/sidecar.js';
import type { SidecarOptions } from '../../sidecar/sidecar.js';
import type { Instance } from '../../sidecar/view-data.js';
import type { Client } from '../../core/client.js';

export { sleep };

export function folder(t: ExecutionContext): string {
  const made = mkdtempSync(join(tmpdir(), 'coterie-sidecar-'));
  t.teardown(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

export { freePort };

export async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  const deadline = systemClock.now() + timeoutMs;
  while (!(await holds())) {
    if (systemClock.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await sleep(10);
  }
}

/** Whether a program is here. Without it a test says so and passes, except where everything must run. */
export function available(t: ExecutionContext, program: 'nginx' | 'haproxy'): boolean {
  if (spawnSync(program, ['-v']).error === undefined) return true;
  if (process.env['CI'] === 'true') throw new Error(`${program} is needed here and is not installed`);
  t.log(`${program} is not installed: this test did not run`);
  t.pass();
  return false;
}

// --- Services ------------------------------------------------------------------------------------------------------

export interface Backend {
  readonly id: string;
  readonly port: number;
  requests: number;
  readonly server: Server;
}

/** Answers every request with its id. */
export async function backend(t: ExecutionContext, id: string): Promise<Backend> {
  const made = { id, port: 0, requests: 0, server: createServer() };
  made.server.on('request', (_incoming, outgoing) => {
    made.requests += 1;
    outgoing.end(id);
  });
  await new Promise<void>((resolve) => made.server.listen(0, '127.0.0.1', resolve));
  made.port = (made.server.address() as AddressInfo).port;
  t.teardown(() => {
    made.server.closeAllConnections();
    made.server.close();
  });
  return made;
}

export function instance(id: string, more: Partial<Instance> = {}): Instance {
  return {
    service: 'web', id, address: '127.0.0.1', port: 8080, weight: 1, zone: '', tags: [], meta: {}, state: 'up', ...more,
  };
}

export function instanceOf(from: Backend, more: Partial<Instance> = {}): Instance {
  return instance(from.id, { port: from.port, ...more });
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

export function get(port: number, options: { host?: string; agent?: Agent | false; method?: string } = {}): Promise<Answer> {
  const { host = 'web', agent = false, method = 'GET' } = options;
  return new Promise((resolve, reject) => {
    const outgoing = request({ port, host: '127.0.0.1', agent, method, headers: { host } }, (answer) => {
      let body = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => (body += chunk));
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }));
      answer.on('error', reject);
    });
    outgoing.setTimeout(10_000, () => outgoing.destroy(new Error('no answer')));
    outgoing.on('error', reject);
    outgoing.end();
  });
}

export interface Load {
  readonly ok: number;
  readonly failures: readonly string[];
}

/** Requests, one after another in some lanes, until stopped; what did not answer 200 is a failure. */
export function traffic(port: number, lanes: number, agent: Agent | false = false): () => Promise<Load> {
  let stopped = false;
  const failures: string[] = [];
  let ok = 0;
  const running = Array.from({ length: lanes }, async () => {
    while (!stopped) {
      try {
        const answer = await get(port, { agent });
        if (answer.status === 200) ok += 1;
        else failures.push(`${answer.status} ${answer.body.slice(0, 40)}`);
      } catch (error) {
        failures.push(error instanceof Error ? error.message : String(error));
      }
      await sleep(1);
    }
  });
  return async () => {
    stopped = true;
    await Promise.all(running);
    return { ok, failures };
  };
}

// --- The registry --------------------------------------------------------------------------------------------------

/** A registry that says what it is told, and can be away. */
export class ToldSource implements Source {
  readonly services = new Map<string, Instance[]>();
  readonly departed = new Map<string, Departed[]>();
  away = false;
  reads = 0;
  revision = 1;
  readonly #feeds = new Set<() => void>();

  set(service: string, instances: readonly Instance[]): void {
    this.services.set(service, [...instances]);
    this.departed.delete(service);
    this.touch();
  }

  leave(service: string, id: string, reason: Departed['reason']): void {
    this.services.set(service, (this.services.get(service) ?? []).filter((one) => one.id !== id));
    this.departed.set(service, [...(this.departed.get(service) ?? []), { id, reason }]);
    this.touch();
  }

  touch(): void {
    this.revision += 1;
    for (const changed of this.#feeds) changed();
  }

  follow(_services: readonly string[], changed: () => void): Feed {
    this.#feeds.add(changed);
    if (!this.away) queueMicrotask(changed);
    const synced = (): boolean => this.reads > 0 || !this.away;
    return {
      get synced() {
        return synced();
      },
      staleSince: null,
      lastError: null,
      close: () => {
        this.#feeds.delete(changed);
        return Promise.resolve();
      },
    };
  }

  read(services: readonly string[]): Promise<Snapshot> {
    if (this.away) return Promise.reject(new ApiError('unavailable'));
    this.reads += 1;
    const of = <T>(all: Map<string, T[]>): Map<string, readonly T[]> =>
      new Map(services.map((one) => [one, [...(all.get(one) ?? [])]]));
    const { revision } = this;
    return Promise.resolve({ revision, services: of(this.services), departed: of(this.departed), invalid: [] });
  }
}

// --- The sidecar ---------------------------------------------------------------------------------------------------

/** Stands where a client must be given and a source replaces it. */
export const NO_CLIENT: Client = {
  range: () => Promise.reject(new ApiError('unavailable')),
  txn: () => Promise.reject(new ApiError('unavailable')),
  watch: () => {
    throw new ApiError('unavailable');
  },
  grant: () => Promise.reject(new ApiError('unavailable')),
  keepAlive: () => Promise.reject(new ApiError('unavailable')),
  revoke: () => Promise.reject(new ApiError('unavailable')),
  close: () => Promise.resolve(),
};

export interface Running {
  readonly sidecar: Sidecar;
  readonly events: SidecarEvent[];
  readonly lines: () => string;
  outcomes(kind: string): readonly SidecarEvent[];
}

export async function running(
  t: ExecutionContext,
  config: SidecarConfig,
  options: SidecarOptions & { client?: Client },
): Promise<Running> {
  const events: SidecarEvent[] = [];
  const observe = (event: SidecarEvent): void => {
    events.push(event);
  };
  const sidecar = await Sidecar.start(options.client ?? NO_CLIENT, config, { observe, ...options });
  t.teardown(() => sidecar.close());
  return {
    sidecar,
    events,
    lines: () => events.slice(-30).map(line).join('\n'),
    outcomes: (kind) => events.filter((event) => event.kind === 'outcome' && event.outcome.kind === kind),
  };
}

/** A group with one template text and a command, in `directory`. */
export function plainConfig(directory: string, text: string, more: Record<string, unknown> = {}): SidecarConfig {
  writeFileSync(join(directory, 'template.hbs'), text);
  const templates = [{ source: 'template.hbs', target: 'live.conf', escape: 'nginx' }];
  const quick = { quiet: { minMs: 5, maxMs: 50 }, retry: { minMs: 20, maxMs: 100 } };
  const group = { name: 'g', services: ['web'], templates, reload: 'none', ...quick, ...more };
  return checkConfig({ groups: [group] }, directory);
}

export function read(directory: string, name: string): string {
  return readFileSync(join(directory, name), 'utf8');
}

// --- Real proxies --------------------------------------------------------------------------------------------------

export interface ProxyRig {
  readonly directory: string;
  readonly port: number;
  readonly admin: number;
  readonly target: string;
  readonly config: (more?: Record<string, unknown>) => SidecarConfig;
}

export async function nginxRig(t: ExecutionContext, reload: Record<string, unknown> = {}): Promise<ProxyRig> {
  const directory = folder(t);
  const [port, admin] = [await freePort(), await freePort()];
  const pid = join(directory, 'nginx.pid');
  t.teardown(() => stopPid(pid, 'SIGTERM'));
  const vars = {
    listen: `127.0.0.1:${port}`,
    admin: `127.0.0.1:${admin}`,
    pid,
    error_log: join(directory, 'error.log'),
    work_dir: directory,
    workers: 2,
  };
  const target = join(directory, 'nginx.conf');
  const confirm = `http://127.0.0.1:${admin}/generation`;
  const nginx = { config: target, pid, start: true, confirm, prefix: directory, ...reload };
  const config = (more: Record<string, unknown> = {}): SidecarConfig =>
    checkConfig({
      groups: [
        {
          name: 'edge',
          services: ['web'],
          templates: [{ source: 'coterie:nginx.conf.hbs', target }],
          vars,
          reload: { nginx },
          quiet: { minMs: 20, maxMs: 200 },
          retry: { minMs: 20, maxMs: 200 },
          ...more,
        },
      ],
    }, directory);
  return { directory, port, admin, target, config };
}

export async function haproxyRig(t: ExecutionContext): Promise<ProxyRig> {
  const directory = folder(t);
  const [port, admin] = [await freePort(), await freePort()];
  const master = join(directory, 'master.sock');
  t.teardown(() => stopHaproxy(master));
  const vars = { listen: `127.0.0.1:${port}`, stats: `127.0.0.1:${admin}`, threads: 1, check_interval: '200ms' };
  const target = join(directory, 'haproxy.cfg');
  const config = (more: Record<string, unknown> = {}): SidecarConfig =>
    checkConfig({
      groups: [
        {
          name: 'edge',
          services: ['web'],
          templates: [{ source: 'coterie:haproxy.cfg.hbs', target }],
          vars,
          reload: { haproxy: { config: target, master, start: true } },
          quiet: { minMs: 20, maxMs: 200 },
          retry: { minMs: 20, maxMs: 200 },
          ...more,
        },
      ],
    }, directory);
  return { directory, port, admin, target, config };
}

export async function stopHaproxy(master: string): Promise<void> {
  const answer = await systemAsk.command(master, 'show proc', 1_000);
  const pid = Number(/^(\d+)\s+master/m.exec(answer ?? '')?.[1] ?? 0);
  if (pid > 0) await stop(pid, 'SIGTERM');
}

export async function stopPid(file: string, signal: 'SIGTERM' | 'SIGQUIT'): Promise<void> {
  let pid = 0;
  try {
    pid = Number(readFileSync(file, 'utf8').trim());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  if (pid > 0) await stop(pid, signal);
}

async function stop(pid: number, signal: 'SIGTERM' | 'SIGQUIT'): Promise<void> {
  if (!systemProcesses.signal(pid, signal)) return;
  await until(`process ${pid} has ended`, () => !systemProcesses.isAlive(pid));
}

/** Runs a program in the background; killed at the end of the test. */
export function background(t: ExecutionContext, argv: readonly string[]): ReturnType<typeof spawn> {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

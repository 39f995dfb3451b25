// From "I am here" to the first request, and from kill -9 to gone, on real parts: `coterie serve`, the sidecar, nginx, and
// services that are processes. Time to live counts from the call of `register`; time to gone from the kill until nginx
// runs a configuration without the instance.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { connect } from '../../core/wire/remote-client.js';
import { checkConfig, packagedTemplate, startSidecar, type Sidecar, type SidecarEvent } from '../../sidecar/index.js';
import { freePort } from './free-ports.js';
import { startServer } from './server-process.js';

export interface TimingReport {
  readonly ttlSeconds: number;
  readonly liveMs: number[];
  /** Time to gone minus the TTL: what the store, the sidecar and the reload add, less what the renewal had used up. */
  readonly goneMs: number[];
  /** Requests answered with something else than 200 while instances came and went. */
  readonly failed: number;
  readonly requests: number;
}

const TTL_SECONDS = 2;
const serviceFile = fileURLToPath(new URL('./service-process.js', import.meta.url));

interface Service {
  readonly id: string;
  readonly port: number;
  register(): void;
  kill(): void;
}

async function startService(url: string, id: string): Promise<Service> {
  const argv = [serviceFile, url, id, `${TTL_SECONDS}`];
  const child: ChildProcess = spawn(process.execPath, argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  const { stdin, stdout } = child;
  if (stdin === null || stdout === null) throw new Error('the service has pipes');
  const lines: Interface = createInterface({ input: stdout });
  const port = await new Promise<number>((resolve, reject) => {
    lines.on('line', (line) => {
      if (line.startsWith('listening ')) resolve(Number(line.slice(10)));
    });
    child.once('exit', (code) => reject(new Error(`the service ended with ${code}`)));
  });
  return { id, port, register: () => void stdin.write('register\n'), kill: () => void child.kill('SIGKILL') };
}

/** Runs `rounds` instances through their lives, one after the other, beside one that stays. */
export async function measureTiming(options: {
  rounds: number;
  directory: string;
  onRound?: (round: number, liveMs: number, goneMs: number) => void;
}): Promise<TimingReport> {
  const { directory } = options;
  const server = await startServer({ port: await freePort(), dataDir: join(directory, 'data') });
  const client = connect(server.url);
  const [listen, admin] = [await freePort(), await freePort()];
  const target = join(directory, 'nginx.conf');
  const pid = join(directory, 'nginx.pid');
  const config = checkConfig(
    {
      groups: [{
        name: 'edge',
        services: ['web'],
        vars: {
          listen: `127.0.0.1:${listen}`, admin: `127.0.0.1:${admin}`, pid, work_dir: directory, workers: 1,
          error_log: join(directory, 'error.log'),
        },
        templates: [{ source: packagedTemplate('nginx.conf.hbs'), target }],
        reload: { nginx: { config: target, pid, start: true, confirm: `http://127.0.0.1:${admin}/generation` } },
      }],
    },
    directory,
  );
  const events: SidecarEvent[] = [];
  const traffic = new Traffic(listen);
  const services: Service[] = [];
  const sidecar = await startSidecar(client, config, { observe: (event) => events.push(event) });
  const liveMs: number[] = [];
  const goneMs: number[] = [];
  try {
    if (!(await isReadySoon(sidecar))) throw new Error(`nginx did not start: ${JSON.stringify(events.slice(-3))}`);
    const base = await startService(server.url, 'base');
    services.push(base);
    base.register();
    await traffic.until('base');
    // The worker that knew no instance may still answer 503 for a moment: that was right when it was asked.
    await pause(500);
    traffic.counting = true;
    for (let round = 1; round <= options.rounds; round++) {
      const service = await startService(server.url, `s${round}`);
      services.push(service);
      const registeredAt = performance.now();
      service.register();
      await traffic.until(service.id);
      liveMs.push(performance.now() - registeredAt);
      // At a moment of its own in the rhythm of the renewals.
      await pause((round * 137) % 900);
      const killedAt = performance.now();
      service.kill();
      await untilGone(target, service.port, () => sidecar.status().ready);
      goneMs.push(performance.now() - killedAt - TTL_SECONDS * 1000);
      options.onRound?.(round, liveMs.at(-1) ?? 0, goneMs.at(-1) ?? 0);
    }
  } finally {
    traffic.stop();
    for (const service of services) service.kill();
    await sidecar.close();
    await client.close();
    await server.end('SIGTERM');
    if (existsSync(pid)) process.kill(Number(await readFile(pid, 'utf8')), 'SIGTERM');
  }
  return { ttlSeconds: TTL_SECONDS, liveMs, goneMs, failed: traffic.failed, requests: traffic.requests };
}

async function isReadySoon(sidecar: Sidecar): Promise<boolean> {
  const started = new AbortController();
  const timer = setTimeout(() => started.abort(), 20_000);
  const isReady = await sidecar.ready(started.signal);
  clearTimeout(timer);
  return isReady;
}

async function untilGone(target: string, port: number, settled: () => boolean): Promise<void> {
  for (;;) {
    const text = await readFile(target, 'utf8');
    if (!text.includes(`127.0.0.1:${port} `) && settled()) return;
    await pause(5);
  }
}

/** One request after the other, each on a connection of its own, for ever; counts what is not a 200. */
class Traffic {
  requests = 0;
  failed = 0;
  counting = false;
  #stopped = false;
  readonly #port: number;
  readonly #waiting = new Map<string, () => void>();
  readonly #agent = new Agent({ keepAlive: false });

  constructor(port: number) {
    this.#port = port;
    for (let lane = 0; lane < 4; lane++) void this.#lane();
  }

  /** Resolves when `id` has answered. */
  until(id: string): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  stop(): void {
    this.#stopped = true;
  }

  async #lane(): Promise<void> {
    while (!this.#stopped) {
      const id = await this.#request();
      if (this.counting) {
        this.requests++;
        if (id === null) this.failed++;
      }
      if (id !== null) {
        this.#waiting.get(id)?.();
        this.#waiting.delete(id);
      }
      await pause(4);
    }
  }

  #request(): Promise<string | null> {
    return new Promise((resolve) => {
      const request = get({ host: '127.0.0.1', port: this.#port, agent: this.#agent, timeout: 5000 }, (response) => {
        response.resume();
        response.once('end', () => {
          const id = response.headers['x-instance'];
          resolve(response.statusCode === 200 && typeof id === 'string' ? id : null);
        });
      });
      request.once('error', () => resolve(null));
      request.once('timeout', () => request.destroy());
    });
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The value below which `share` of the sorted values lie. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? NaN;
}

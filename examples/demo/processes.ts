// The demo's own child processes: the store and the services. Each is started in a session of its own, so that Ctrl-C reaches
// the demo alone, which then ends them in order; and each is known to the warden from its first moment.

import { fork, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import type { ServiceMessage, ServiceOrder } from './service.js';
import type { Warden } from './warden.js';

const START_MS = 30_000;
const PORTS = { from: 18_000, to: 32_000 };

/**
 * A port to listen on later, and once more after a restart. Below those that systems hand out for outgoing connections (from
 * 32768, or 49152), for there one of the many connections of this run could sit on it in the meantime.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries += 1) {
    const port = PORTS.from + Math.floor(Math.random() * (PORTS.to - PORTS.from));
    const server = createServer();
    const listening = once(server, 'listening').then(() => true, () => false);
    server.listen(port, '127.0.0.1');
    if (!(await listening)) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
  throw new Error(`no free port found between ${PORTS.from} and ${PORTS.to}`);
}

/** `coterie serve`, as anybody would start it. */
export class StoreProcess {
  readonly url: string;
  readonly #directory: string;
  readonly #warden: Warden;
  #child: ChildProcess | null = null;
  #complaints = '';

  constructor(directory: string, port: number, warden: Warden) {
    this.url = `http://127.0.0.1:${port}`;
    this.#directory = directory;
    this.#warden = warden;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Resolves when it says that it is ready. */
  async start(): Promise<void> {
    const binary = fileURLToPath(new URL('../../core/main.js', import.meta.url));
    const flags = {
      'name': 'demo', 'data-dir': join(this.#directory, 'store'), 'log-level': 'warn',
      'listen-client-urls': this.url, 'advertise-client-urls': this.url,
    };
    const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
    const child = spawn(process.execPath, [binary, 'serve', ...words], { detached: true, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child = child;
    this.#warden.watch(child);
    child.stderr.on('data', (chunk: Buffer) => (this.#complaints = (this.#complaints + chunk.toString()).slice(-2_000)));
    const end = Date.now() + START_MS;
    while (!(await this.#isReady())) {
      const over = child.exitCode !== null || Date.now() > end;
      if (over) throw new Error(`the store did not start (${words.join(' ')}): ${this.#complaints.trim() || 'no word from it'}`);
      await sleep(20);
    }
  }

  /** SIGTERM, and waits for its end. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    await exited;
  }

  async #isReady(): Promise<boolean> {
    try {
      return (await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(500) })).ok;
    } catch {
      return false;
    }
  }
}

export class ServiceProcess {
  readonly id: string;
  readonly #child: ChildProcess;
  readonly #heard: ServiceMessage[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(id: string, storeUrl: string, warden: Warden) {
    this.id = id;
    const script = fileURLToPath(new URL('service.js', import.meta.url));
    this.#child = fork(script, [id, storeUrl], { detached: true, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    warden.watch(this.#child);
    this.#child.on('message', (message: ServiceMessage) => {
      this.#heard.push(message);
      this.#wake();
    });
    this.#child.once('exit', () => this.#wake());
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Waits for its word; rejects when it ends without. */
  async hears<K extends ServiceMessage['kind']>(kind: K, withinMs = START_MS): Promise<Extract<ServiceMessage, { kind: K }>> {
    const end = Date.now() + withinMs;
    for (;;) {
      const found = this.#heard.find((message): message is Extract<ServiceMessage, { kind: K }> => message.kind === kind);
      if (found !== undefined) return found;
      if (this.ended || Date.now() > end) throw new Error(`${this.id} ${this.ended ? 'ended' : 'did not come'} to '${kind}'`);
      const news = new Promise<void>((resolve) => this.#waiting.add(resolve));
      await Promise.race([news, sleep(end - Date.now() + 1, undefined, { ref: false })]);
    }
  }

  order(order: ServiceOrder): void {
    if (this.#child.connected) this.#child.send(order);
  }

  /** Resolves when the process is known to be dead. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.exit();
  }

  async exit(): Promise<void> {
    if (!this.ended) await once(this.#child, 'exit');
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}

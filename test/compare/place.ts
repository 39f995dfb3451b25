// What a comparison runs on: one store for both sides (real etcd where it is installed, else coterie in a process of its
// own), a Redis for those who need one, proxies that freeze. All of it is gone when the comparison has ended.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../interop/free-ports.js';
import { startEtcd } from '../interop/real-etcd.js';
import { startServer } from '../interop/server-process.js';
import { Proxy } from '../recipes/homes.js';

const LOOK = fileURLToPath(new URL('look-main.js', import.meta.url));

export interface Store {
  readonly name: 'etcd' | 'coterie';
  readonly url: string;
  readonly port: number;
}

/** One line of a table: what was asked, and both answers. */
export interface Row {
  readonly what: string;
  readonly theirs: string;
  readonly ours: string;
}

export class Place {
  readonly #ends: (() => void | Promise<void>)[] = [];

  async store(): Promise<Store> {
    if (spawnSync('etcd', ['--version']).status === 0) {
      const etcd = await startEtcd();
      this.onEnd(() => etcd.close());
      return { name: 'etcd', url: etcd.url, port: Number(new URL(etcd.url).port) };
    }
    const port = await freePort();
    const server = await startServer({ port, dataDir: this.folder() });
    this.onEnd(async () => {
      await server.end('SIGKILL');
    });
    return { name: 'coterie', url: server.url, port };
  }

  async redis(): Promise<number> {
    if (spawnSync('redis-server', ['--version']).status !== 0) throw new Error('redis-server is not on the path');
    const port = await freePort();
    const child = spawn('redis-server', ['--port', `${port}`, '--save', '', '--dir', this.folder()], { stdio: 'ignore' });
    this.onEnd(async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    });
    return port;
  }

  proxy(port: number): Promise<Proxy> {
    const teardown = (end: () => void): void => this.onEnd(end);
    return Proxy.start({ teardown }, port);
  }

  folder(): string {
    const directory = mkdtempSync(path.join(tmpdir(), 'coterie-compare-'));
    this.onEnd(() => rmSync(directory, { recursive: true, force: true }));
    return directory;
  }

  onEnd(end: () => void | Promise<void>): void {
    this.#ends.push(end);
  }

  /** The opposite order of starting. */
  async end(): Promise<void> {
    for (const end of this.#ends.toReversed()) await end();
  }
}

/** Whether the store has anything under `prefix`, asked by another process, while this one's loop stands still. */
export function hasKeys(store: Store, prefix: string): boolean {
  const { stdout, stderr } = spawnSync(process.execPath, [LOOK, store.url, prefix], { encoding: 'utf8' });
  if (!/^\d+$/.test(stdout)) throw new Error(`${prefix} could not be looked up: ${stderr}`);
  return Number(stdout) > 0;
}

/** The loop stands still: nothing else runs in this process. */
export function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

/** Least, median and most, in seconds. */
export function spread(ms: readonly number[]): string {
  const sorted = ms.toSorted((a, b) => a - b);
  const shown = [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted.at(-1)].map((value = NaN) => {
    return `${value < 0 ? '−' : '+'}${(Math.abs(value) / 1000).toFixed(2)}`;
  });
  return `${shown.join(' / ')} s`;
}

export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

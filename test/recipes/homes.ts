// Real servers in processes of their own, and a TCP proxy that freezes, cuts and refuses: for claims about real things.

import { freePort } from '../interop/free-ports.js';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { connect } from '../../core/index.js';

export interface Home {
  readonly name: 'coterie' | 'etcd';
  readonly port: number;
  readonly child: ChildProcess;
}

const HAS_ETCD = spawnSync('etcd', ['--version']).status === 0;

/** The servers there are. Where etcd is not installed this is said in the log; under CI it is a failure. */
export async function homes(t: ExecutionContext): Promise<readonly Home[]> {
  const found = [await coterieHome(t)];
  if (HAS_ETCD) return [...found, await etcdHome(t)];
  if (process.env['CI'] === 'true') t.fail('etcd is not installed');
  t.log('etcd is not installed: shown against coterie only');
  return found;
}

async function coterieHome(t: ExecutionContext): Promise<Home> {
  const { line, child } = await start(t, 'server-main.js', []);
  return { name: 'coterie', port: Number(new URL(line).port), child };
}

/** Starts a script of this folder and waits for the first line it prints. It is killed when the test ends. */
export async function start(
  t: ExecutionContext,
  script: string,
  args: readonly string[],
): Promise<{ child: ChildProcess; line: string }> {
  const file = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn(process.execPath, [file, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout });
  const line = await new Promise<string>((resolve, reject) => {
    lines.once('line', resolve);
    lines.once('close', () => reject(new Error(`${script} ended without a word`)));
  });
  return { child, line };
}

async function etcdHome(t: ExecutionContext): Promise<Home> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'coterie-recipes-'));
  const port = await freePort();
  const peer = `http://127.0.0.1:${await freePort()}`;
  const client = `http://127.0.0.1:${port}`;
  const child = spawn('etcd', [
    '--data-dir', directory, '--listen-client-urls', client, '--advertise-client-urls', client,
    '--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', `default=${peer}`,
  ], { stdio: 'ignore' });
  t.teardown(async () => {
    child.kill('SIGKILL');
    await rm(directory, { recursive: true, force: true });
  });
  const probe = connect(client);
  for (let attempt = 0; ; attempt += 1) {
    try {
      await probe.range({ key: utf8('x') }, { timeoutMs: 1_000 });
      break;
    } catch (error) {
      if (attempt === 100) throw error;
      await sleep(100);
    }
  }
  await probe.close();
  return { name: 'etcd', port, child };
}

/** Between one client and a server. Frozen: bytes stop in both directions, connections stay up and new ones hang. */
export class Proxy {
  readonly #server: net.Server;
  readonly #pairs = new Set<readonly [net.Socket, net.Socket]>();
  #frozen = false;
  #refusing = false;
  port = 0;
  /** Every answer arrives this much later, in order. */
  answerMs = 0;

  private constructor(target: number) {
    this.#server = net.createServer((near) => {
      near.on('error', () => near.destroy());
      if (this.#refusing) {
        near.destroy();
        return;
      }
      const far = net.connect(target, '127.0.0.1');
      const pair = [near, far] as const;
      this.#pairs.add(pair);
      far.on('error', () => near.destroy());
      near.on('close', () => {
        this.#pairs.delete(pair);
        far.destroy();
      });
      far.on('close', () => near.destroy());
      near.on('data', (bytes) => far.write(bytes));
      far.on('data', (bytes) => {
        if (this.answerMs === 0) near.write(bytes);
        else setTimeout(() => near.destroyed || near.write(bytes), this.answerMs);
      });
      if (this.#frozen) for (const socket of pair) socket.pause();
    });
  }

  static async start(t: Pick<ExecutionContext, 'teardown'>, target: number): Promise<Proxy> {
    const proxy = new Proxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    const address = proxy.#server.address();
    proxy.port = typeof address === 'object' && address !== null ? address.port : 0;
    t.teardown(() => {
      proxy.cut();
      proxy.#server.close();
    });
    return proxy;
  }

  freeze(): void {
    this.#frozen = true;
    for (const socket of [...this.#pairs].flat()) socket.pause();
  }

  thaw(): void {
    this.#frozen = false;
    for (const socket of [...this.#pairs].flat()) socket.resume();
  }

  /** Breaks every connection; new ones are accepted. */
  cut(): void {
    for (const socket of [...this.#pairs].flat()) socket.destroy();
  }

  /** Breaks every connection and refuses new ones until `accept`. */
  refuse(): void {
    this.#refusing = true;
    this.cut();
  }

  accept(): void {
    this.#refusing = false;
  }
}

/** A client through a proxy of its own, and one straight to the server. Both are closed when the test ends. */
export async function clients(t: ExecutionContext, home: Home): Promise<{
  proxy: Proxy;
  far: ReturnType<typeof connect>;
  near: ReturnType<typeof connect>;
}> {
  const proxy = await Proxy.start(t, home.port);
  const far = connect(`http://127.0.0.1:${proxy.port}`);
  const near = connect(`http://127.0.0.1:${home.port}`);
  t.teardown(async () => {
    await Promise.all([far.close(), near.close()]);
  });
  return { proxy, far, near };
}

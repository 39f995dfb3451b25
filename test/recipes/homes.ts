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
import type { ExecutionContext, TestFn } from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { connect } from '../../core/index.js';

/** Where a claim is made. What it tells of itself lets one claim be made everywhere. */
export interface Place {
  readonly name: 'coterie' | 'etcd' | 'three members';
  /** Of its members. */
  readonly ports: readonly number[];
  /** Sessions this long live through `trouble`, on a busy machine as well. */
  readonly ttlSeconds: number;
  /** In the middle of a claim: the worst that this place goes through while it keeps its promises. */
  trouble(): Promise<void>;
  /** Nothing happens to it meanwhile that is not done by `work`. */
  calm<T>(work: () => Promise<T>): Promise<T>;
}

export interface Home extends Place {
  readonly name: 'coterie' | 'etcd';
  readonly port: number;
  readonly child: ChildProcess;
}

/** What homes need of a test; a whole file can offer it as well. */
type Stage = Pick<ExecutionContext, 'log' | 'fail' | 'teardown'>;

const TTL_SECONDS = 5;

const HAS_ETCD = spawnSync('etcd', ['--version']).status === 0;

/** The servers there are. Where etcd is not installed this is said in the log; under CI it is a failure. */
export async function homes(t: Stage): Promise<readonly Home[]> {
  const found = [await coterieHome(t)];
  if (HAS_ETCD) return [...found, await etcdHome(t)];
  if (process.env['CI'] === 'true') t.fail('etcd is not installed');
  t.log('etcd is not installed: shown against coterie only');
  return found;
}

/** The same servers for all tests of a file, each with names of its own. A claim is made of all of them at once. */
export function homesOfFile(test: TestFn): (t: ExecutionContext, claim: (home: Home) => Promise<void>) => Promise<void> {
  const ends: (() => unknown)[] = [];
  let found: readonly Home[] = [];
  test.before(async (t) => {
    const [log, fail] = [t.log.bind(t), t.fail.bind(t)];
    found = await homes({ log, fail, teardown: (end) => void ends.push(end) });
  });
  test.after.always(async () => {
    await Promise.all(ends.map((end) => end()));
  });
  return async (_, claim) => {
    await Promise.all(found.map((home) => claim(home)));
  };
}

function homeOf(name: Home['name'], port: number, child: ChildProcess): Home {
  return {
    name, port, ports: [port], child, ttlSeconds: TTL_SECONDS, trouble: () => Promise.resolve(), calm: (work) => work(),
  };
}

async function coterieHome(t: Stage): Promise<Home> {
  const { line, child } = await start(t, 'server-main.js', []);
  return homeOf('coterie', Number(new URL(line).port), child);
}

/** Starts a script of this folder and waits for the first line it prints. It is killed when the test ends. */
export async function start(
  t: Pick<ExecutionContext, 'teardown'>,
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

async function etcdHome(t: Stage): Promise<Home> {
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
  return homeOf('etcd', port, child);
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

/** The proxies in front of all members of a place, as one: what happens to the link happens to every way there is. */
export class Proxies {
  readonly #all: readonly Proxy[];

  constructor(all: readonly Proxy[]) {
    this.#all = all;
  }

  get urls(): string[] {
    return this.#all.map(({ port }) => `http://127.0.0.1:${port}`);
  }

  set answerMs(ms: number) {
    for (const proxy of this.#all) proxy.answerMs = ms;
  }

  freeze(): void {
    for (const proxy of this.#all) proxy.freeze();
  }

  thaw(): void {
    for (const proxy of this.#all) proxy.thaw();
  }

  cut(): void {
    for (const proxy of this.#all) proxy.cut();
  }

  refuse(): void {
    for (const proxy of this.#all) proxy.refuse();
  }

  accept(): void {
    for (const proxy of this.#all) proxy.accept();
  }
}

export function urlsOf({ ports }: Place): string[] {
  return ports.map((port) => `http://127.0.0.1:${port}`);
}

/** A client through a link of its own, and one straight to the members. Both are closed when the test ends. */
export async function clients(t: Pick<ExecutionContext, 'teardown'>, place: Place): Promise<{
  proxy: Proxies;
  far: ReturnType<typeof connect>;
  near: ReturnType<typeof connect>;
}> {
  const proxy = new Proxies(await Promise.all(place.ports.map((port) => Proxy.start(t, port))));
  const [far, near] = [connect(proxy.urls), connect(urlsOf(place))];
  t.teardown(async () => {
    await Promise.all([far.close(), near.close()]);
  });
  return { proxy, far, near };
}

// Real member processes of one cluster: how they are started, signalled and asked for their health. Which program runs is
// the target's business; both take etcd's flags. A member that ends without having been told to is remembered: outside of
// disk faults that is a violation.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pause } from './pause.js';

export type TargetName = 'coterie' | 'etcd';

const mainFile = fileURLToPath(new URL('../../core/main.js', import.meta.url));

export const ELECTION_MS = 1000;
export const HEARTBEAT_MS = 100;
const STOP_MS = 15_000;

export interface Place {
  readonly name: string;
  readonly clientUrl: string;
  /** What the other members dial: the proxy in front of this member. */
  readonly peerUrl: string;
  readonly listenPeerUrl: string;
  readonly dataDir: string;
  readonly logFile: string;
}

export interface Joining {
  /** name=url, comma separated: the cluster as the member is told it. */
  readonly initialCluster: string;
  readonly state: 'new' | 'existing';
  readonly token: string;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export function isInstalled(target: TargetName): boolean {
  return target === 'coterie' || spawnSync('etcd', ['--version']).error === undefined;
}

function commandOf(target: TargetName, place: Place, joining: Joining, extra: readonly string[]): [string, string[]] {
  const flags = [
    ...['--name', place.name, '--data-dir', place.dataDir],
    ...['--listen-client-urls', place.clientUrl, '--advertise-client-urls', place.clientUrl],
    ...['--listen-peer-urls', place.listenPeerUrl, '--initial-advertise-peer-urls', place.peerUrl],
    ...['--initial-cluster', joining.initialCluster, '--initial-cluster-state', joining.state],
    ...['--initial-cluster-token', joining.token],
    ...['--heartbeat-interval', `${HEARTBEAT_MS}`, '--election-timeout', `${ELECTION_MS}`],
    ...extra,
  ];
  return target === 'coterie'
    ? [process.execPath, [mainFile, 'serve', ...flags]]
    : ['etcd', [...flags, '--logger', 'zap', '--log-level', 'warn']];
}

export class Member {
  readonly place: Place;
  readonly #command: [string, string[]];
  #child: ChildProcess | null = null;
  #exited: Promise<Exit> | null = null;
  #isPaused = false;
  #mayEnd = false;
  #hasListened = false;

  constructor(target: TargetName, place: Place, joining: Joining, extra: readonly string[]) {
    this.place = place;
    this.#command = commandOf(target, place, joining, extra);
  }

  get name(): string {
    return this.place.name;
  }

  /** The process, null while there is none. */
  get pid(): number | null {
    return this.isRunning ? (this.#child?.pid ?? null) : null;
  }

  get isRunning(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** It runs, and has come so far that other members can reach it: until then it is being started, not in an election. */
  get isReachable(): boolean {
    if (!this.isRunning || this.#isPaused) return false;
    this.#hasListened ||= isListening(Number(new URL(this.place.listenPeerUrl).port));
    return this.#hasListened;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** How it ended, when it ended without being told to; null otherwise. */
  get endedByItself(): Exit | null {
    const child = this.#child;
    if (child === null || this.isRunning || this.#mayEnd) return null;
    return { code: child.exitCode, signal: child.signalCode };
  }

  start(): void {
    if (this.isRunning) return;
    mkdirSync(join(this.place.dataDir, '..'), { recursive: true });
    const log = openSync(this.place.logFile, 'a');
    const child = spawn(this.#command[0], this.#command[1], {
      stdio: ['ignore', log, log],
      env: { ...process.env, NO_COLOR: '1' },
    });
    closeSync(log);
    this.#child = child;
    this.#isPaused = false;
    this.#mayEnd = false;
    this.#hasListened = false;
    this.#exited = new Promise((resolve) => {
      child.once('error', () => resolve({ code: -1, signal: null }));
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
  }

  /** It is about to be told to end, or something is done to it that it may answer by ending. */
  mayEnd(): void {
    this.#mayEnd = true;
  }

  async kill(): Promise<void> {
    this.#mayEnd = true;
    this.#child?.kill('SIGKILL');
    this.#isPaused = false;
    await this.#exited;
  }

  /** Without waiting for its end. */
  abandon(): void {
    this.#child?.kill('SIGKILL');
  }

  /** SIGTERM; the milliseconds it took, or null when it had to be killed. */
  async stop(): Promise<number | null> {
    this.#mayEnd = true;
    const startedAt = performance.now();
    this.#child?.kill('SIGTERM');
    const ended = await Promise.race([this.#exited, pause(STOP_MS)]);
    if (ended !== undefined) return performance.now() - startedAt;
    await this.kill();
    return null;
  }

  pause(): void {
    this.#isPaused = this.isRunning;
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#isPaused = false;
    this.#child?.kill('SIGCONT');
  }

  /** The end of what it printed, for a report. */
  lastWords(lines = 8): string {
    return readFileSync(this.place.logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }

  /** Whether a linearizable read succeeds there. */
  async isHealthy(): Promise<boolean> {
    if (!this.isRunning || this.#isPaused) return false;
    const body = '{"key":"AA=="}';
    const signal = AbortSignal.timeout(1000);
    const answer = await fetch(`${this.place.clientUrl}/v3/kv/range`, { method: 'POST', body, signal }).catch(() => null);
    await answer?.arrayBuffer().catch(() => undefined);
    return answer?.ok === true;
  }
}

function isListening(port: number): boolean {
  const end = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} 00000000:0000 0A`;
  return readFileSync('/proc/net/tcp', 'latin1').includes(end);
}

/** Until every one of them answers a linearizable read; the names of those that do not, when the time is over. */
export async function untilHealthy(members: readonly Member[], timeoutMs: number): Promise<string[]> {
  const endAt = performance.now() + timeoutMs;
  let sick = [...members];
  for (;;) {
    const states = await Promise.all(sick.map((member) => member.isHealthy()));
    sick = sick.filter((_, i) => states[i] === false);
    const isHopeless = sick.some((member) => member.endedByItself !== null);
    if (sick.length === 0 || isHopeless || performance.now() > endAt) return sick.map((member) => member.name);
    await pause(50);
  }
}

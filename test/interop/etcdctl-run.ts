// Runs rows of a table (etcdctl-rows.ts) with the real etcdctl against one side of a pair, in their order; rows next to each
// other that only read run together, for a table of hundreds of processes must stay quick.

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { masked, spoken } from './etcdctl-mask.js';
import { commandOf, type Row } from './etcdctl-rows.js';
import type { Side } from './pair.js';

export interface Told {
  readonly line: string;
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

const TOGETHER_MAX = 4;
const PATIENCE_MS = 60_000;
/** A command that goes on for ever has this long to say more than it should. */
const QUIET_MS = 60;

/** Commands that change nothing, so that their order among each other says nothing. */
const READING = new RegExp(`^(${[
  'get', 'version', 'completion', 'help', 'migrate', 'lease (list|timetolive)', 'member list', 'endpoint',
  '(user|role) (get|list)', 'alarm list', 'snapshot status', 'watch',
].join('|')}) `);

export class Runner {
  readonly #side: Side;
  readonly #known = new Map<string, string>();
  readonly #places: Readonly<Record<string, string>>;
  readonly #jobs = new Map<string, Command>();
  readonly #directory = mkdtempSync(path.join(tmpdir(), 'coterie-etcdctl-'));

  /** `places` are urls, by the name that rows have for them. */
  constructor(side: Side, places: Readonly<Record<string, string>> = {}) {
    this.#side = side;
    this.#places = { url: side.url, peer: side.peerUrl, self: side.memberId, dir: this.#directory, ...places };
  }

  async run(rows: readonly Row[]): Promise<Told[]> {
    const told: Told[] = [];
    for (let from = 0; from < rows.length;) {
      let to = from + 1;
      while (to < rows.length && to - from < TOGETHER_MAX && isReading(rows[from]) && isReading(rows[to])) to++;
      told.push(...(await Promise.all(rows.slice(from, to).map((row) => this.#one(row)))));
      from = to;
    }
    return told;
  }

  close(): void {
    for (const job of this.#jobs.values()) job.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #one(row: Row): Promise<Told> {
    const { job } = row;
    if (job?.action === 'start') {
      const command = this.#start(row);
      this.#jobs.set(job.name, command);
      if (row.until !== null) await command.printed(row.until);
      return { line: row.line, code: 0, stdout: '', stderr: '' };
    }
    const command = job === null ? this.#start(row) : this.#jobs.get(job.name);
    if (command === undefined) throw new Error(`${row.line}: nothing of that name was started`);
    if (row.until !== null) await command.printed(row.until);
    if (row.until !== null || job?.action === 'end') await command.interrupt();
    return this.#told(row, await command.ended);
  }

  #start(row: Row): Command {
    const { url } = this.#side;
    const known = (name: string): string | undefined => this.#places[name] ?? this.#known.get(name);
    const fill = (text: string): string => text.replace(/\$(\w+)/g, (all, name: string) => known(name) ?? all);
    const words = row.words.map(fill);
    const isAddressed = words.some((word) => word.startsWith('--endpoints')) || 'ETCDCTL_ENDPOINTS' in row.env;
    const all = isAddressed ? words : ['--endpoints', url, ...words];
    const env = Object.fromEntries(Object.entries(row.env).map(([name, value]) => [name, fill(value)]));
    const child = start(all, env, this.#directory);
    return new Command(child, row.input === null ? null : fill(row.input), row.until === null && row.job === null);
  }

  #told(row: Row, { code, stdout, stderr }: Ended): Told {
    if (row.capture !== null) {
      const id = idIn(stdout);
      if (id === null) throw new Error(`${this.#side.name}: ${row.line}: nothing to capture in ${stdout} ${stderr}`);
      this.#known.set(row.capture, id);
    }
    const { dir = '', other = '' } = this.#places;
    const places = (text: string): string => {
      const placed = text.replaceAll(dir, '<dir>');
      return other === '' ? placed : placed.replaceAll(other, '<other>');
    };
    const mask = (text: string): string => masked(places(text), this.#side, this.#known);
    return { line: row.line, code, stdout: mask(stdout), stderr: mask(spoken(stderr)) };
  }
}

/** One command; with `until`, one that does not end by itself and is interrupted when it has printed that. */
export async function etcdctl(url: string, words: readonly string[], until: string | null = null): Promise<Ended> {
  const command = new Command(start(['--endpoints', url, ...words], {}), null, until === null);
  if (until !== null) {
    await command.printed(until);
    await command.interrupt();
  }
  return command.ended;
}

function start(words: readonly string[], given: Readonly<Record<string, string>>, cwd = tmpdir()): ChildProcess {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('ETCD'));
  return spawn('etcdctl', words, { env: { ...Object.fromEntries(own), ...given, ETCDCTL_API: '3' }, cwd });
}

function idIn(stdout: string): string | null {
  const [, unstarted] = /^([0-9a-f]+), unstarted/m.exec(stdout) ?? [];
  const [, hex = unstarted, decimal] = /(?:lease |Member +|\w\/)([0-9a-f]{12,16})(?![0-9a-f])|"ID" ?: ?(\d+)/.exec(stdout) ?? [];
  return hex ?? (decimal === undefined ? null : BigInt(decimal).toString(16));
}

function isReading(row: Row | undefined): boolean {
  return row !== undefined && row.job === null && row.capture === null && READING.test(`${commandOf(row).join(' ')} `);
}

interface Ended {
  /** Or the signal. */
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

class Command {
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';
  #hasEnded = false;
  #onOutput: () => void = () => undefined;

  constructor(child: ChildProcess, input: string | null, closesInput: boolean) {
    this.#child = child;
    // Byte for byte: what is written as protobuf is no text.
    child.stdout?.setEncoding('latin1').on('data', (chunk: string) => this.#take(chunk, ''));
    child.stderr?.setEncoding('latin1').on('data', (chunk: string) => this.#take('', chunk));
    // A command that has ended already does not read what is written to it.
    child.stdin?.on('error', () => undefined);
    if (input !== null) child.stdin?.write(input);
    // A command that goes on for ever would take the end of its input for the end of its work.
    if (closesInput) child.stdin?.end();
    this.ended = new Promise((resolve, reject) => {
      const patience = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
      child.once('error', reject);
      child.once('close', (code, signal) => {
        clearTimeout(patience);
        this.#hasEnded = true;
        this.#onOutput();
        resolve({ code: code ?? signal ?? '', stdout: this.#stdout, stderr: this.#stderr });
      });
    });
    this.ended.catch(() => undefined);
  }

  /** Resolves when it has printed that, or ended without. */
  printed(text: string): Promise<void> {
    return new Promise((resolve) => {
      this.#onOutput = (): void => {
        if (this.#hasEnded || this.#stdout.includes(text)) resolve();
      };
      this.#onOutput();
    });
  }

  async interrupt(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    this.#child.kill('SIGINT');
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #take(stdout: string, stderr: string): void {
    this.#stdout += stdout;
    this.#stderr += stderr;
    this.#onOutput();
  }
}

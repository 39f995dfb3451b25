// One member of `coterie cluster` as a process of its own: started with the flags one would type, heard through its log,
// asked to end and, if it does not, ended. It hangs on a channel to this process, so that it ends even when this process is
// killed and can say nothing.

import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Where one member is, and what it is started with. */
export interface MemberPlan {
  readonly name: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
  readonly flags: readonly string[];
}

export type MemberNews =
  /** It serves; `id` is its member id in hex. */
  | { readonly kind: 'ready'; readonly id: string }
  /** It knows who leads in this term; `leader` is an id in hex, 0 for nobody. */
  | { readonly kind: 'leader'; readonly leader: string; readonly term: number }
  | { readonly kind: 'ended'; readonly code: number | null; readonly signal: string | null };

/** So that its log can be read whatever the environment says. */
const HEARD: readonly string[] = ['--log-level', 'info', '--log-format', 'json', '--log-outputs', 'stderr'];
/** Between asking a member to end and ending it: it needs 9.7 s at most (lifecycle.ts). */
const STOP_MS = 12_000;
/** What a member said last, kept for when it ends without being asked. */
const WORDS_MAX = 4_000;

export class ClusterProcess {
  readonly plan: MemberPlan;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #line = '';
  #words = '';
  #complaints = '';
  #ended = false;

  constructor(plan: MemberPlan, onNews: (news: MemberNews) => void) {
    this.plan = plan;
    const main = fileURLToPath(new URL('../main.js', import.meta.url));
    // A group of its own: Ctrl-C is for this process, which then ends them one after another.
    const options = { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] as ['ignore', 'ignore', 'pipe', 'ipc'], detached: true };
    this.#child = spawn(process.execPath, [main, 'serve', ...plan.flags, ...HEARD], options);
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#onText(text, onNews));
    this.#exited = new Promise((resolve) => {
      const end = (code: number | null, signal: string | null): void => {
        if (this.#ended) return;
        this.#ended = true;
        onNews({ kind: 'ended', code, signal });
        resolve();
      };
      this.#child.once('close', end);
      this.#child.once('error', (error) => {
        this.#words = error.message;
        end(null, null);
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Its last words that are meant for people; the complaints in its log when it left none. */
  get words(): string {
    return this.#words.trim() === '' ? this.#complaints : this.#words;
  }

  /** Resolves when the process is gone. */
  async stop(): Promise<void> {
    if (this.#ended) return;
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    this.#child.kill('SIGTERM');
    await this.#exited;
    clearTimeout(timer);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #onText(text: string, onNews: (news: MemberNews) => void): void {
    const lines = (this.#line + text).split('\n');
    this.#line = lines.pop() ?? '';
    for (const line of lines) {
      const entry = entryOf(line);
      if (entry === null) this.#words = `${this.#words}${line}\n`.slice(-WORDS_MAX);
      else if (entry.msg === 'ready to serve client requests') onNews({ kind: 'ready', id: String(entry.memberId) });
      else if (entry.msg === 'role changed') onNews({ kind: 'leader', leader: String(entry.leader), term: Number(entry.term) });
      else if (entry.level === 'fatal' || entry.level === 'error') {
        this.#complaints = `${this.#complaints}${line}\n`.slice(-WORDS_MAX);
      }
    }
  }
}

interface LogEntry {
  readonly level?: unknown;
  readonly msg?: unknown;
  readonly memberId?: unknown;
  readonly leader?: unknown;
  readonly term?: unknown;
}

/** A line of the log; null: a sentence. */
function entryOf(line: string): LogEntry | null {
  if (!line.startsWith('{')) return null;
  try {
    return JSON.parse(line) as LogEntry;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

// What the apply machine asks of a proxy, and the two drivers that know none: a command, and nothing at all. The drivers that
// do know their proxy are nginx.ts and haproxy.ts.

import type { ReloadConfig } from './config.js';
import type { Processes } from './processes.js';

export interface Verdict {
  readonly ok: boolean;
  /** In words, with the program's own output; '' when ok. */
  readonly reason: string;
  /** The proxy is not running: nothing is wrong with the files, and nothing to go back to. */
  readonly absent?: boolean;
  /** The proxy refuses the whole candidate because this `host:port` in it has a name that does not resolve. */
  readonly unresolved?: string;
}

export const OK: Verdict = { ok: true, reason: '' };

/** How it is known that the new configuration runs; weaker from left to right. */
export type Proof = 'generation' | 'reload_counted' | 'master_alive' | 'exit_status' | 'none';

export type Confirmation = { readonly ok: true; readonly proof: Proof } | { readonly ok: false; readonly reason: string };

export interface StagedFile {
  readonly name: string;
  readonly target: string;
  readonly staged: string;
}

export interface Driver {
  /** The proxy's own check of the whole candidate set; the live files are not touched. Null: it has none. */
  readonly check: ((files: readonly StagedFile[], timeoutMs: number) => Promise<Verdict>) | null;
  /** Removes what a check of an earlier life left behind when it was killed. Before the first check. */
  readonly tidy?: () => Promise<void>;
  /** Whether the proxy runs this generation; null when it cannot be asked. */
  runs(generation: string): Promise<boolean | null>;
  /** Makes the proxy read the files in place, starting it when it may. One at a time. */
  act(words: Words, timeoutMs: number): Promise<Verdict>;
  /** Waits until the proxy runs what `act` gave it. `generation` is null when the files do not tell it. */
  confirm(generation: string | null, timeoutMs: number, signal: AbortSignal): Promise<Confirmation>;
}

/** What `{{…}}` stands for in an argument vector. */
export type Words = ReadonlyMap<string, string>;

export function wordsFor(files: readonly StagedFile[], generation: string): Words {
  const words = new Map<string, string>([['generation', generation]]);
  for (const { name, target, staged } of files) {
    if (!words.has('staged')) words.set('staged', staged).set('target', target);
    words.set(`staged:${name}`, staged).set(`target:${name}`, target);
  }
  return words;
}

/** Each argument stays one argument, whatever is put into it. */
export function filled(argv: readonly string[], words: Words): readonly string[] {
  return argv.map((word) => word.replaceAll(/\{\{([^}]*)\}\}/g, (whole, inside: string) => words.get(inside) ?? whole));
}

export function environment(words: Words): Readonly<Record<string, string>> {
  const names = { COTERIE_STAGED: 'staged', COTERIE_TARGET: 'target', COTERIE_GENERATION: 'generation' };
  return Object.fromEntries(Object.entries(names).map(([name, word]) => [name, words.get(word) ?? '']));
}

export async function runVerdict(
  processes: Processes,
  argv: readonly string[],
  words: Words,
  timeoutMs: number,
): Promise<Verdict> {
  const result = await processes.run(filled(argv, words), { timeoutMs, env: environment(words) });
  if (result.failure === null) return OK;
  return { ok: false, reason: `${result.failure}${result.output === '' ? '' : `: ${result.output}`}` };
}

/** Its exit status is all that can be known. */
export function commandDriver(argv: readonly string[], processes: Processes): Driver {
  return {
    check: null,
    runs: () => Promise.resolve(null),
    act: (words, timeoutMs) => runVerdict(processes, argv, words, timeoutMs),
    confirm: () => Promise.resolve({ ok: true, proof: 'exit_status' }),
  };
}

/** For files that their reader watches by itself. */
export function idleDriver(): Driver {
  return {
    check: null,
    runs: () => Promise.resolve(null),
    act: () => Promise.resolve(OK),
    confirm: () => Promise.resolve({ ok: true, proof: 'none' }),
  };
}

export type ReloadOf<K extends ReloadConfig['kind']> = Extract<ReloadConfig, { kind: K }>;

// nginx: check with `nginx -t`, reload with SIGHUP to the master, and ask a worker which generation it runs. A reload that
// returns proves nothing: the master answers a bad configuration (a port in use, a file it may not read) by keeping its old
// workers, and tells only its log.
//
// Checking a fragment alone is impossible, and checking the live main file would check the live fragment. So the main file
// is copied beside itself with its includes pointed at the staged files (a shadow), as deep as includes lead to them.

import { assert } from '../core/base/assert.js';
import type { Clock } from '../core/base/clock.js';
import type { Files } from '../core/base/files.js';
import { whenDone } from '../core/base/done.js';
import type { Ask } from './ask.js';
import { folderOf, readStart, readWhole, removeIfThere, statOf, writeNew } from './disk.js';
import type { Confirmation, Driver, ReloadOf, StagedFile, Verdict } from './driver.js';
import { OK, runVerdict } from './driver.js';
import { pause } from '../recipes/pause.js';
import type { Processes } from './processes.js';

const POLL_MS = 20;
const ASK_MS = 1_000;
/**
 * The master lets old workers accept for 100 ms after it has started new ones. Only when new workers have been the only
 * ones to answer for longer than that is an instance that left certain to get no new connection.
 */
const SETTLE_MS = 200;
const INCLUDE_DEPTH_MAX = 8;
const SHADOWS_MAX = 256;

export interface World {
  readonly files: Files;
  readonly processes: Processes;
  readonly ask: Ask;
  readonly clock: Clock;
}

export function nginxDriver(config: ReloadOf<'nginx'>, world: World): Driver {
  const base = [config.binary, ...(config.prefix === null ? [] : ['-p', config.prefix])];
  const running = (): Promise<number | null> => masterPid(config.pid, world);
  const answers = async (generation: string): Promise<boolean | null> => {
    if (config.confirm === null) return null;
    const answer = await world.ask.http(config.confirm, ASK_MS);
    return answer?.trim() === generation;
  };
  return {
    async check(files, timeoutMs) {
      const shadow = await makeShadow(config.config, files, world);
      if (typeof shadow === 'string') return { ok: false, reason: shadow };
      try {
        const verdict = await runVerdict(world.processes, [...base, '-t', '-q', '-c', shadow.main], new Map(), timeoutMs);
        const unresolved = /host not found in upstream "([^"]+)"/.exec(verdict.reason)?.[1];
        return unresolved === undefined ? verdict : { ...verdict, unresolved };
      } finally {
        for (const path of shadow.made) await removeIfThere(world.files, path);
      }
    },
    tidy: () => removeShadows(config.config, world),
    runs: (generation) => answers(generation),
    async act(_words, timeoutMs): Promise<Verdict> {
      const pid = await running();
      if (pid !== null && world.processes.signal(pid, 'SIGHUP')) return OK;
      if (config.start) return runVerdict(world.processes, [...base, '-c', config.config], new Map(), timeoutMs);
      const reason = `nginx is not running (no live process in ${config.pid}); start it, or set start: true`;
      return { ok: false, absent: true, reason };
    },
    confirm: (generation, timeoutMs, signal) =>
      generation === null || config.confirm === null
        ? aliveStill(running, world.clock, signal)
        : answered({ generation, answers, running, timeoutMs, url: config.confirm, clock: world.clock, signal }),
  };
}

async function answered(given: {
  generation: string;
  answers: (generation: string) => Promise<boolean | null>;
  running: () => Promise<number | null>;
  timeoutMs: number;
  url: string;
  clock: Clock;
  signal: AbortSignal;
}): Promise<Confirmation> {
  const { clock, signal, url } = given;
  const deadline = clock.now() + given.timeoutMs;
  let since: number | null = null;
  while (clock.now() < deadline && !signal.aborted) {
    if ((await given.answers(given.generation)) === true) {
      since ??= clock.now();
      if (clock.now() - since >= SETTLE_MS) return { ok: true, proof: 'generation' };
    } else since = null;
    await pause(clock, POLL_MS, signal);
  }
  const alive = (await given.running()) !== null;
  const what = alive ? 'its log says why the new configuration was not taken' : 'nginx is not running any more';
  return { ok: false, reason: `no worker of the new generation answered ${url} within ${given.timeoutMs} ms; ${what}` };
}

/** The weaker proof, for templates that do not tell their generation: the master outlived the reload. */
async function aliveStill(running: () => Promise<number | null>, clock: Clock, signal: AbortSignal): Promise<Confirmation> {
  await pause(clock, SETTLE_MS, signal);
  if ((await running()) !== null) return { ok: true, proof: 'master_alive' };
  return { ok: false, reason: 'nginx ended at the reload' };
}

async function masterPid(path: string, world: World): Promise<number | null> {
  const text = await readStart(world.files, path, 32);
  const pid = Number((text ?? '').trim());
  // `nginx -t` leaves an empty file when there was none.
  if (!Number.isSafeInteger(pid) || pid <= 0 || !world.processes.isAlive(pid)) return null;
  // After a kill -9 the file stays, and the number may be somebody else's by now: whom SIGHUP would end. Where there is no
  // /proc, or it is not ours to read, the number must do.
  const command = await readStart(world.files, `/proc/${pid}/cmdline`, 256);
  return command === null || command === '' || command.includes('nginx') ? pid : null;
}

// --- The shadow ----------------------------------------------------------------------------------------------------

interface Shadow {
  /** What `nginx -t -c` is given. */
  readonly main: string;
  readonly made: readonly string[];
}

/** A string says why there can be none. */
async function makeShadow(main: string, staged: readonly StagedFile[], { files, processes }: World): Promise<Shadow | string> {
  const bySource = new Map<string, string>();
  for (const file of staged) bySource.set((await statOf(files, file.target))?.realPath ?? file.target, file.staged);
  const mainPath = (await statOf(files, main))?.realPath ?? main;
  const reached = new Set<string>();
  const made: string[] = [];
  const folder = folderOf(mainPath);

  // The text that stands for `path`, and null when nothing below it is staged, so that the file itself can serve.
  const shadowOf = async (path: string, depth: number): Promise<string | null> => {
    const instead = bySource.get(path);
    if (instead !== undefined) reached.add(path);
    if (depth > INCLUDE_DEPTH_MAX || made.length >= SHADOWS_MAX) return instead ?? null;
    const bytes = await readWhole(files, instead ?? path);
    if (bytes === null) return null;
    const text = Buffer.from(bytes).toString('utf8');
    let changed = '';
    let at = 0;
    for (const include of includesIn(text)) {
      const lines: string[] = [];
      let touched = false;
      for (const found of await matching(files, folder, include.path, [...bySource.keys()])) {
        const replaced = await shadowOf(found, depth + 1);
        touched ||= replaced !== null;
        lines.push(`include "${replaced ?? found}";`);
      }
      if (!touched) continue;
      changed += text.slice(at, include.start) + lines.join(' ');
      at = include.end;
    }
    if (at === 0) return instead ?? null;
    // Beside the main file, so that relative paths in it keep their meaning.
    const copy = `${folder}/.coterie-shadow-${made.length}.${processes.pid}`;
    made.push(copy);
    await writeNew(files, copy, Buffer.from(changed + text.slice(at)), { mode: 0o600 });
    return copy;
  };

  const top = await shadowOf(mainPath, 0);
  const missed = [...bySource.keys()].filter((path) => !reached.has(path));
  if (missed.length === 0 && top !== null) return { main: top, made };
  for (const path of made) await removeIfThere(files, path);
  const remedy = 'include it there, or name the right main file in reload.nginx.config';
  return `${main} does not include ${missed.join(', ')}, so nginx would not read it; ${remedy}`;
}

/** Those of processes that are gone, and of an earlier one with our number: we have made none yet. */
async function removeShadows(main: string, { files, processes }: World): Promise<void> {
  const folder = folderOf((await statOf(files, main))?.realPath ?? main);
  if ((await statOf(files, folder)) === null) return;
  for (const name of await whenDone<readonly string[]>((done) => files.list(folder, done))) {
    const pid = Number(/^\.coterie-shadow-\d+\.(\d+)$/.exec(name)?.[1] ?? 0);
    if (pid > 0 && (pid === processes.pid || !processes.isAlive(pid))) await removeIfThere(files, `${folder}/${name}`);
  }
}

/** Where `include …;` stands in a configuration, outside of comments and quotes. */
export function includesIn(text: string): readonly { readonly start: number; readonly end: number; readonly path: string }[] {
  const found: { start: number; end: number; path: string }[] = [];
  // A comment, a quoted word, an end of a directive, or a plain word.
  const token = /#[^\n]*|"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'|[;{}]|(?:\\[^]|[^\s;{}\\])+/g;
  let words: { text: string; at: number }[] = [];
  for (const match of text.matchAll(token)) {
    const word = match[0];
    if (word.startsWith('#')) continue;
    if (word === ';' && words.length === 2 && words[0]?.text === 'include') {
      const [first, second] = words;
      assert(first !== undefined && second !== undefined, 'an include has two words');
      found.push({ start: first.at, end: match.index + 1, path: second.text.replaceAll(/^["']|["']$/g, '') });
    }
    if (word === ';' || word === '{' || word === '}') words = [];
    else words.push({ text: word, at: match.index });
  }
  return found;
}

/** The files an include names, in nginx's order, `also` (files about to appear) among them; wildcards in the last part only. */
async function matching(files: Files, folder: string, path: string, also: readonly string[]): Promise<readonly string[]> {
  const whole = path.startsWith('/') ? path : `${folder}/${path}`;
  const directory = folderOf(whole);
  const pattern = whole.slice(directory.length + 1);
  const real = async (candidate: string): Promise<string> => (await statOf(files, candidate))?.realPath ?? candidate;
  if (!/[*?[]/.test(pattern)) return [await real(whole)];
  if ((await statOf(files, directory)) === null) return [];
  const expression = globExpression(pattern);
  const names = new Set(await whenDone<readonly string[]>((done) => files.list(directory, done)));
  for (const path of also) if (folderOf(path) === directory) names.add(path.slice(directory.length + 1));
  const chosen = [...names].filter((name) => !name.startsWith('.') && expression.test(name)).toSorted();
  return Promise.all(chosen.map((name) => real(`${directory}/${name}`)));
}

function globExpression(pattern: string): RegExp {
  const source = pattern
    .replaceAll(/[.+^${}()|\\]/g, '\\$&')
    .replaceAll('*', '[^/]*')
    .replaceAll('?', '[^/]');
  return new RegExp(`^${source}$`);
}

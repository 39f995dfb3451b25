// HAProxy in master-worker mode (`haproxy -W -S <socket>`): check with `haproxy -c`, reload through the master's socket,
// and ask the master what became of it: it counts its reloads and says which failed; the worker it has then tells the
// generation it was given (`description` in the global section). Sockets are handed from old to new worker by the master.

import type { Confirmation, Driver, ReloadOf, StagedFile, Verdict, Words } from './driver.js';
import { OK, runVerdict } from './driver.js';
import { statOf } from './disk.js';
import type { World } from './nginx.js';
import { pause } from '../recipes/pause.js';

const POLL_MS = 20;
const ASK_MS = 1_000;
const REFUSED = 'the master refused the new configuration and keeps the old worker; its log says why';

/** What `show proc` says. */
export interface MasterState {
  readonly reloads: number;
  readonly failed: boolean;
  /** Process ids of the workers that were started at the last good reload. */
  readonly workers: readonly number[];
}

/** Null when the text is not an answer to `show proc`. */
export function parseShowProc(text: string): MasterState | null {
  const lines = text.split('\n');
  const master = /^\d+\s+master\s+(\d+)(?:\s+\[failed: (\d+)\])?/m.exec(text);
  if (master === null) return null;
  const start = lines.findIndex((line) => line.startsWith('# workers'));
  const end = lines.findIndex((line, i) => i > start && line.startsWith('#'));
  const section = start === -1 ? [] : lines.slice(start + 1, end === -1 ? undefined : end);
  const rows = section.map((line) => /^(\d+)\s+worker\s+(\d+)/.exec(line)).filter((row) => row !== null);
  const workers = rows.filter((row) => row[2] === '0').map((row) => Number(row[1]));
  return { reloads: Number(master[1]), failed: Number(master[2] ?? 0) > 0, workers };
}

export function haproxyDriver(config: ReloadOf<'haproxy'>, world: World): Driver {
  const { ask, clock, processes, files } = world;
  const show = async (): Promise<MasterState | null> => {
    const text = await ask.command(config.master, 'show proc', ASK_MS);
    return text === null ? null : parseShowProc(text);
  };
  const generation = async (): Promise<string | null> => {
    const info = await ask.command(config.master, '@1 show info', ASK_MS);
    return info === null ? null : (/^description: *(\S+)/m.exec(info)?.[1] ?? '');
  };
  // The state before the last `act`; `confirm` needs to see the count move.
  let before: MasterState | null = null;

  const confirm = async (wanted: string | null, timeoutMs: number, signal: AbortSignal): Promise<Confirmation> => {
    const deadline = clock.now() + timeoutMs;
    while (clock.now() < deadline && !signal.aborted) {
      const now = await show();
      if (now !== null && (before === null || now.reloads > before.reloads)) {
        if (now.failed) return { ok: false, reason: REFUSED };
        if (now.workers.length > 0 && wanted === null) return { ok: true, proof: 'reload_counted' };
        if (now.workers.length > 0 && (await generation()) === wanted) return { ok: true, proof: 'generation' };
      }
      await pause(clock, POLL_MS, signal);
    }
    return { ok: false, reason: `the master at ${config.master} showed no worker of the new generation within ${timeoutMs} ms` };
  };

  return {
    async check(staged, timeoutMs) {
      const paths = await Promise.all(config.config.map((path) => substitute(path, staged, world)));
      const missed = staged.filter((file) => !paths.includes(file.staged));
      if (missed.length > 0) {
        const names = missed.map((file) => file.target).join(', ');
        return { ok: false, reason: `haproxy is not started with ${names}; list it in reload.haproxy.config` };
      }
      const argv = [config.binary, '-c', ...paths.flatMap((path) => ['-f', path])];
      return runVerdict(processes, argv, new Map(), timeoutMs);
    },
    async runs(wanted) {
      const state = await show();
      if (state === null) return false;
      // After a refused reload the worker is an old one that still runs what the files may no longer say.
      return !state.failed && (await generation()) === wanted;
    },
    async act(_words: Words, timeoutMs): Promise<Verdict> {
      before = await show();
      if (before !== null) {
        const sent = await ask.command(config.master, 'reload', timeoutMs);
        return sent === null ? { ok: false, reason: `the master at ${config.master} did not take the command "reload"` } : OK;
      }
      if (config.start) {
        const paths = config.config.flatMap((path) => ['-f', path]);
        const argv = [config.binary, '-W', '-D', '-S', `${config.master},mode,600`, ...paths];
        return runVerdict(processes, argv, new Map(), timeoutMs);
      }
      const there = (await statOf(files, config.master)) === null ? 'there is no socket' : 'nobody answers';
      const remedy = `start it with -W -S ${config.master}, or set start: true`;
      const reason = `haproxy is not running: ${there} at ${config.master}; ${remedy}`;
      return { ok: false, absent: true, reason };
    },
    confirm,
  };
}

/** The staged file that stands for `path`, or `path` itself. */
async function substitute(path: string, staged: readonly StagedFile[], world: World): Promise<string> {
  const real = (await statOf(world.files, path))?.realPath ?? path;
  return staged.find((file) => file.target === real || file.target === path)?.staged ?? path;
}

// What a server looks at before it starts: who may look into its data, and what somebody has slipped into the runtime through
// the environment (reliability SE3, SF1, SF6).

import { chmodSync, existsSync, statSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from './refusal.js';

/** Group and others: read, write, enter. */
const OTHERS = 0o077;

/**
 * A directory without data yet is made ours alone; one with data that others may look into is refused, because by then nobody
 * knows who did. `isShared`: somebody has said that it is to be so, as a volume that a group owns must be.
 */
export function guardDataDir(dataDir: string, isShared: boolean): void {
  const found = statOf(dataDir);
  if (found === null || !found.isDirectory() || isShared || (found.mode & OTHERS) === 0) return;
  const mode = (found.mode & 0o777).toString(8).padStart(4, '0');
  if (!existsSync(join(dataDir, 'identity'))) {
    try {
      chmodSync(dataDir, 0o700);
      return;
    } catch (error) {
      throw wide(dataDir, mode, error);
    }
  }
  throw wide(dataDir, mode, null);
}

function wide(dataDir: string, mode: string, cause: unknown): Refusal {
  const problem = `--data-dir=${dataDir} has mode ${mode}: others than its owner may look into it, or write`;
  const remedy = `chmod 700 ${dataDir}, or, where it has to be so, --shared-data-dir`;
  return new Refusal(problem, remedy, { exitCode: 1, cause });
}

function statOf(path: string): Stats | null {
  return statSync(path, { throwIfNoEntry: false }) ?? null;
}

/** Sentences for the log: each a way by which somebody could look into this process, or change what it is. */
export function runtimeWarnings(
  environment: Readonly<Record<string, string | undefined>>, execArgv: readonly string[], inspectorUrl: string | undefined,
): readonly string[] {
  const warnings: string[] = [];
  const inspect = execArgv.filter((word) => word.startsWith('--inspect'));
  if (inspectorUrl !== undefined || inspect.length > 0) {
    warnings.push('an inspector is open: whoever reaches its port can read all data and run any code. Start without --inspect');
  }
  const options = environment['NODE_OPTIONS'] ?? '';
  if (options !== '') {
    const said = `NODE_OPTIONS is set, ${JSON.stringify(options)}: it changes the program before it begins`;
    warnings.push(`${said}. Unset it, unless it is yours`);
  }
  return warnings;
}

// A load in a process of its own: what is measured is not slowed by the bench, and a load that fails, in whatever callback, costs
// its rows and not the run. It gets its words as one argument of JSON, may print marks while it goes on, a line each, and prints
// its figures as a last line of JSON.

import { spawn } from 'node:child_process';
import { constants, setPriority } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Of what it says before it ends. */
const COMPLAINT_CHARACTERS = 2_000;

export interface LoadProcess {
  /** Beside this file. */
  readonly file: string;
  readonly words: unknown;
  readonly timeoutMs: number;
  /** It stands for callers on other machines, who do not wait for a processor of this one. */
  readonly isPreferred?: boolean;
  onMark?(): void;
}

export async function figuresOf({ file, words, timeoutMs, isPreferred = false, onMark }: LoadProcess): Promise<unknown> {
  const args = [fileURLToPath(new URL(file, import.meta.url)), JSON.stringify(words)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs });
  if (isPreferred && child.pid !== undefined) prefer(child.pid);
  let complaint = '';
  child.stderr.on('data', (bytes: Buffer) => {
    complaint = (complaint + bytes.toString()).slice(-COMPLAINT_CHARACTERS);
  });
  const exit = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  let last = '';
  for await (const line of createInterface({ input: child.stdout })) {
    last = line;
    if (!line.startsWith('{')) onMark?.();
  }
  const code = await exit;
  if (code === null) throw new Error(`a load did not end within ${timeoutMs / 1000} seconds`);
  if (code !== 0) throw new Error(/^\w*Error: (.*)$/m.exec(complaint)?.[1] ?? `a load ended with ${code}: ${complaint.trim()}`);
  return JSON.parse(last);
}

/** Only root may, and not in every container; false: it goes on without, and says itself if it was late for it. */
function prefer(pid: number): boolean {
  if (process.getuid?.() !== 0) return false;
  try {
    setPriority(pid, constants.priority.PRIORITY_HIGHEST);
    return true;
  } catch {
    return false;
  }
}

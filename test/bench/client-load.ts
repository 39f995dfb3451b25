// Loads of watches and leases in a process of their own: what is measured is not slowed by the bench, and a load that fails, in
// whatever callback, costs its rows and not the run.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { expiryLoad, grantLoad, keepAliveLoad } from './lease-load.js';
import type { watchLoad } from './watch-load.js';

export interface ClientLoads {
  readonly grant: typeof grantLoad;
  readonly keepAlive: typeof keepAliveLoad;
  readonly expiry: typeof expiryLoad;
  readonly watch: typeof watchLoad;
}

const PATIENCE_MS = 600_000;
const loadFile = fileURLToPath(new URL('client-load-main.js', import.meta.url));

/** Calls it there with the same words, once for each; the figures of the last. Those before it warm up server and client. */
export async function loadInProcess<K extends keyof ClientLoads>(
  kind: K, ...calls: readonly Parameters<ClientLoads[K]>[]
): Promise<Awaited<ReturnType<ClientLoads[K]>>> {
  const args = [loadFile, JSON.stringify(calls.map((words) => [kind, ...words]))];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: PATIENCE_MS });
  let [output, complaint] = ['', ''];
  child.stdout.on('data', (bytes: Buffer) => {
    output += bytes.toString();
  });
  child.stderr.on('data', (bytes: Buffer) => {
    complaint += bytes.toString();
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code === 0) return JSON.parse(output) as Awaited<ReturnType<ClientLoads[K]>>;
  throw new Error(/^\w*Error: (.*)$/m.exec(complaint)?.[1] ?? `a load ended with ${code}: ${complaint.trim()}`);
}

// A real `coterie serve` as a child process, for tests that kill it, restart it or look at it from outside.

import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const mainFile = fileURLToPath(new URL('../../core/main.js', import.meta.url));

export interface ServerProcess {
  readonly url: string;
  readonly pid: number;
  /** Everything it printed so far, both streams. */
  output(): string;
  /** Sends the signal and waits for the end; the exit code, or null when the signal killed it. */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

/** Starts `coterie serve` and resolves when it says that it serves; rejects with its output when it ends before. */
export async function startServer(options: {
  port: number;
  dataDir: string;
  flags?: readonly string[];
}): Promise<ServerProcess> {
  const url = `http://127.0.0.1:${options.port}`;
  const flags = ['--data-dir', options.dataDir, '--listen-client-urls', url, '--advertise-client-urls', url,
    '--listen-peer-urls', 'http://127.0.0.1:0'];
  const child = spawn(process.execPath, [mainFile, 'serve', ...flags, ...(options.flags ?? [])], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1' },
  });
  let output = '';
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  await new Promise<void>((resolve, reject) => {
    const onData = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-65536);
      if (output.includes('ready to serve client requests')) resolve();
    };
    child.stdout.on('data', onData);
    child.stderr.on('data', onData);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`coterie serve ended with ${code}:\n${output}`)));
  });
  return {
    url,
    pid: pidOf(child),
    output: () => output,
    end: (signal) => {
      child.kill(signal);
      return exited;
    },
  };
}

function pidOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error('the server was not started');
  return child.pid;
}

// A real etcd and a coterie side by side, made to be told apart by nothing: same names, same peer url, so the same ids.
// Steps run on both; what each printed is compared after masking what may differ (addresses, lease ids, sizes, times).

import { spawn } from 'node:child_process';
import { startNode } from '../../core/start-node.js';
import { serve } from '../../core/wire/port.js';
import { startEtcd } from './real-etcd.js';

export interface Side {
  readonly name: 'etcd' | 'coterie';
  readonly url: string;
  /** What its member list says: the same on both. */
  readonly advertised: string;
}

export interface Pair {
  readonly sides: readonly [Side, Side];
  close(): Promise<void>;
}

export async function startPair(): Promise<Pair> {
  const etcd = await startEtcd();
  const node = await startNode({ dataDir: null, name: 'default', peerUrls: [etcd.peerUrl], clientUrls: [etcd.url] });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  const close = async (): Promise<void> => {
    await server.close();
    await node.close();
    await etcd.close();
  };
  return {
    sides: [
      { name: 'etcd', url: etcd.url, advertised: etcd.url },
      { name: 'coterie', url: server.urls[0] ?? '', advertised: etcd.url },
    ],
    close,
  };
}

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs etcdctl. With `quietMs`, a command that does not end is ended when it has printed nothing for that long. */
export function etcdctl(
  url: string,
  args: readonly string[],
  options: { readonly input?: string; readonly quietMs?: number } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ETCDCTL_API: '3' };
    const child = spawn('etcdctl', ['--endpoints', url, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    let timer: NodeJS.Timeout | undefined;
    const printed = (): void => {
      if (options.quietMs === undefined) return;
      clearTimeout(timer);
      timer = setTimeout(() => child.kill('SIGKILL'), options.quietMs);
    };
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
      printed();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr: spoken(stderr) });
    });
    // A command that has ended already does not read what is written to it.
    child.stdin.on('error', () => undefined);
    child.stdin.write(options.input ?? '');
    // A command that goes on for ever would take the end of its input for the end of its work.
    if (options.quietMs === undefined) child.stdin.end();
  });
}

/** What is said to the user; the client's own log lines are JSON and full of times. */
function spoken(stderr: string): string {
  return stderr
    .split('\n')
    .filter((line) => !line.startsWith('{'))
    .join('\n');
}

/** Every difference that is allowed, and why. */
export function masked(text: string, side: Side, leases: ReadonlyMap<string, string>): string {
  let result = text.replaceAll(side.url, '<url>').replaceAll(side.advertised, '<url>');
  // Lease ids are random; the same lease has the same letter on both sides, in hex, in decimal and in base 10 JSON.
  for (const [name, id] of leases) {
    result = result.replaceAll(id, `<${name}>`).replaceAll(BigInt(`0x${id}`).toString(), `<${name}>`);
  }
  return (
    result
      .replace(/took = \S+/g, 'took = <time>')
      .replace(/"took":"[^"]*"/g, '"took":"<time>"')
      .replace(/"Took" : \S+/g, '"Took" : <time>')
      // Etcd lists the keys of a lease in no order.
      .replace(/attached keys\(\[(.*)\]\)/g, (_all, keys: string) => `attached keys([${keys.split(' ').sort().join(' ')}])`)
      // A second may pass between the commands on one side and not on the other.
      .replace(/remaining\(\d+s\)/g, 'remaining(<seconds>)')
      .replace(/("ttl"|"TTL") ?: ?\d+,?/g, '$1:<seconds>')
      // The two keep their data in different forms, and their logs hold different entries.
      .replace(/"(dbSize|dbSizeInUse|raftIndex|raftAppliedIndex)":\d+,?/g, '"$1":<n>,')
      .replace(/"(DBSize|RaftIndex|RaftAppliedIndex)" : \d+/g, '"$1" : <n>')
  );
}

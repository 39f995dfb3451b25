// One of the two servers, as a process with its data in memory, and raw bytes to and from it: the same code for both.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, credentials, Metadata, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { startEtcd } from '../real-etcd.js';
import { freePort } from '../free-ports.js';
import { startServer } from '../server-process.js';

export type SideName = 'etcd' | 'coterie';

export type Outcome =
  | { readonly kind: 'answer'; readonly bytes: Uint8Array }
  | { readonly kind: 'error'; readonly code: number; readonly text: string };

/** An answer that does not come at all is a difference as well. */
const ANSWER_MS = 30_000;

const same = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export class Side {
  readonly name: SideName;
  readonly #client: Client;
  readonly #stop: () => Promise<void>;

  constructor(name: SideName, url: string, stop: () => Promise<void>) {
    this.name = name;
    this.#stop = stop;
    this.#client = new Client(new URL(url).host, credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
      'grpc.enable_retries': 0,
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  call(methodPath: string, bytes: Uint8Array, token: string | null): Promise<Outcome> {
    return new Promise((resolve) => {
      const metadata = new Metadata();
      if (token !== null) metadata.set('token', token);
      const done = (error: ServiceError | null, answer?: Uint8Array): void => {
        clearTimeout(timer);
        if (error === null && answer !== undefined) resolve({ kind: 'answer', bytes: answer });
        else resolve({ kind: 'error', code: error?.code ?? -1, text: error?.details ?? 'no answer' });
      };
      const running = this.#client.makeUnaryRequest(methodPath, same, same, bytes, metadata, {}, done);
      const timer = setTimeout(() => running.cancel(), ANSWER_MS);
    });
  }

  stream(methodPath: string, token: string | null): ClientDuplexStream<Uint8Array, Uint8Array> {
    const metadata = new Metadata();
    if (token !== null) metadata.set('token', token);
    return this.#client.makeBidiStreamRequest(methodPath, same, same, metadata);
  }

  async close(): Promise<void> {
    this.#client.close();
    await this.#stop();
  }
}

export interface Sides {
  readonly etcd: Side;
  readonly coterie: Side;
  close(): Promise<void>;
}

/** Data of both is thrown away: memory is fast enough for both, and their disks are other tests' concern. */
function memory(): string {
  return existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
}

/** Both fresh, with the same name and peer URL: hence the same ids, and nothing in a header needs to be mapped. */
export async function startSides(): Promise<Sides> {
  const directory = mkdtempSync(path.join(memory(), 'coterie-diff-'));
  const noSync = spawnSync('etcd', ['--unsafe-no-fsync', '--version']).status === 0 ? ['--unsafe-no-fsync'] : [];
  const etcd = await startEtcd({
    dataDir: path.join(directory, 'etcd'),
    flags: [...noSync, '--quota-backend-bytes', String(8 * 2 ** 30), '--log-level', 'error', '--bcrypt-cost', '4'],
  });
  const { peerUrl } = etcd;
  const founding = ['--initial-advertise-peer-urls', peerUrl, '--initial-cluster', `default=${peerUrl}`];
  const identity = ['--name', 'default', ...founding];
  const server = await startServer({
    port: await freePort(),
    dataDir: path.join(directory, 'coterie'),
    flags: [...identity, '--bcrypt-cost', '4'],
  });
  const stop = async (): Promise<void> => {
    await server.end('SIGKILL');
  };
  const sides = { etcd: new Side('etcd', etcd.url, () => etcd.close()), coterie: new Side('coterie', server.url, stop) };
  const close = async (): Promise<void> => {
    await Promise.all([sides.etcd.close(), sides.coterie.close()]);
    rmSync(directory, { recursive: true, force: true });
  };
  return { ...sides, close };
}

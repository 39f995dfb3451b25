// Door: short questions to a proxy on this machine, each on a connection of its own (so that a new worker can answer), with
// a time-out and a bound on the answer. Null means "no answer", whatever the reason: the caller asks again or gives up.

import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { connect } from 'node:net';

export const ANSWER_BYTES_MAX = 1_000_000;

export interface Ask {
  /** The body of a 200 answer. */
  http(url: string, timeoutMs: number): Promise<string | null>;
  /** One command on a UNIX socket; what came until the other side closed. */
  command(socket: string, command: string, timeoutMs: number): Promise<string | null>;
}

export const systemAsk: Ask = {
  http(url, timeoutMs) {
    return new Promise((resolve) => {
      const outgoing = request(url, { agent: false, headers: { connection: 'close' }, timeout: timeoutMs }, (answer) => {
        const chunks: Buffer[] = [];
        let size = 0;
        answer.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > ANSWER_BYTES_MAX) outgoing.destroy();
          else chunks.push(chunk);
        });
        answer.on('end', () => resolve(answer.statusCode === 200 ? Buffer.concat(chunks).toString('utf8') : null));
        answer.on('error', () => resolve(null));
      });
      outgoing.on('timeout', () => outgoing.destroy());
      outgoing.on('error', () => resolve(null));
      outgoing.on('close', () => resolve(null));
      outgoing.end();
    });
  },
  command(path, command, timeoutMs) {
    return new Promise((resolve) => {
      const socket = connect({ path, allowHalfOpen: true });
      const chunks: Buffer[] = [];
      let size = 0;
      socket.setTimeout(timeoutMs, () => socket.destroy());
      socket.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > ANSWER_BYTES_MAX) socket.destroy();
        else chunks.push(chunk);
      });
      socket.on('end', () => {
        resolve(Buffer.concat(chunks).toString('utf8'));
        socket.destroy();
      });
      socket.on('error', () => resolve(null));
      socket.on('close', () => resolve(null));
      socket.end(`${command}\n`);
    });
  },
};

/** SHA-256 of the pieces, each with its length, as 64 hex digits. */
export function digestOf(pieces: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const piece of pieces) {
    const bytes = typeof piece === 'string' ? Buffer.from(piece, 'utf8') : piece;
    hash.update(`${bytes.length}:`).update(bytes);
  }
  return hash.digest('hex');
}

// Ports for real processes that are started later, and perhaps again after a kill. "Free a moment ago" is not enough: two
// tests that run at the same time may be told the same port before either listens on it. So each process (or worker thread)
// takes a block of ports for its life by listening on the block's first one, which the kernel gives to one and takes back
// when it ends however it ends; what it hands out comes from its own block, each port once. The blocks lie below the ports
// that systems take for outgoing connections (from 32768), and below those that a server takes that may choose.

import { randomInt } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import { ANY_PORT } from '../../core/cli/ports.js';

const FIRST_PORT = 10_000;
const END_PORT = ANY_PORT.from;
const BLOCK_PORTS = 50;
const BLOCKS = (END_PORT - FIRST_PORT) / BLOCK_PORTS;
const TRIES_MAX = 10 * BLOCKS;

/** The ports of one owner: further blocks are taken as they are used up, and none is given back before the end. */
class Ports {
  /** Held open for their listening alone. */
  readonly #claims: Server[] = [];
  #next = 0;
  #end = 0;
  /** Who asks while another is being served waits here. */
  #turn: Promise<unknown> = Promise.resolve();

  async take(): Promise<number> {
    const taken = this.#turn.then(() => this.#take());
    this.#turn = taken.catch(() => undefined);
    return await taken;
  }

  async #take(): Promise<number> {
    for (;;) {
      if (this.#next === this.#end) await this.#claim();
      const port = this.#next++;
      const probe = await listening(port);
      if (probe === null) continue;
      await new Promise<void>((resolve) => probe.close(() => resolve()));
      return port;
    }
  }

  async #claim(): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const first = FIRST_PORT + BLOCK_PORTS * randomInt(BLOCKS);
      const claim = await listening(first);
      if (claim === null) continue;
      claim.unref();
      this.#claims.push(claim);
      this.#next = first + 1;
      this.#end = first + BLOCK_PORTS;
      return;
    }
    throw new Error(`no ${BLOCK_PORTS} ports in a row are free between ${FIRST_PORT} and ${END_PORT}`);
  }
}

async function listening(port: number): Promise<Server | null> {
  const server = createServer();
  return await new Promise((resolve) => {
    server.once('error', () => resolve(null));
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

const ports = new Ports();

/** A port that nobody listens on and nobody else is told, on 127.0.0.1. */
export async function freePort(): Promise<number> {
  return await ports.take();
}

export async function freePorts(count: number): Promise<number[]> {
  return await Promise.all(Array.from({ length: count }, () => freePort()));
}

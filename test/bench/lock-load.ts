// The load of locks: very many callers of the server's Lock service wait in one line, the same for coterie and etcd. Whoever gets
// the lock unlocks at once and stands at the end of the line again, so that always as many wait. Told is how long it takes from
// an unlock being sent until the next one in line has its answer. Nobody may hold while another does.

import { setTimeout as sleep } from 'node:timers/promises';
import { Histogram } from './histogram.js';
import { grantLoad, numberIn, withClients } from './lease-load.js';
import type { LightClient } from './light-client.js';
import { bytesField, framed, numberField, PATH, rangeMessage } from './messages.js';

export interface LockLoad {
  readonly url: string;
  /** Beside the one that holds. */
  readonly waiters: number;
  readonly connections: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
}

export interface LockFigures {
  readonly handOvers: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const LOCK = '/v3lockpb.Lock/';
const NAME = 'lock-load';
const TTL_SECONDS = 600;
/** Until all of them stand in line. */
const PATIENCE_MS = 15_000;
const LOOK_MS = 20;

/** `mark` is called when the measured time begins and when it ends. */
export async function lockLoad(load: LockLoad, mark: () => void): Promise<LockFigures> {
  const { url, waiters, connections } = load;
  await grantLoad(url, { leases: waiters + 1, ttlSeconds: TTL_SECONDS, firstId: 1, connections: 10, depth: 20 });
  return await withClients(url, connections, async (clients) => {
    const [first] = clients;
    if (first === undefined) throw new Error('a load needs a connection');
    const line = new Line(clients);
    for (let i = 0; i <= waiters; i += 1) line.enter(i);
    await Promise.race([allStand(first, waiters + 1), line.failed]);
    return await Promise.race([measured(line, load, mark), line.failed]);
  });
}

async function measured(line: Line, { warmUpSeconds, seconds }: LockLoad, mark: () => void): Promise<LockFigures> {
  line.move();
  await sleep(warmUpSeconds * 1000);
  mark();
  const [from, startedAt] = [line.handOvers, performance.now()];
  line.latency = new Histogram();
  await sleep(seconds * 1000);
  const [handOvers, spent] = [line.handOvers - from, (performance.now() - startedAt) / 1000];
  mark();
  if (handOvers === 0) throw new Error('nobody got the lock');
  const { p50, p99 } = line.latency.quantiles();
  return { handOvers, perSecond: handOvers / spent, p50Ms: p50 / 1000, p99Ms: p99 / 1000 };
}

/** A key of each of them is there. */
async function allStand(client: LightClient, count: number): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const answer = await client.call(PATH.range, rangeMessage(`${NAME}/`, { end: `${NAME}0`, isCount: true }));
    const there = answer === null ? 0 : numberIn(answer, 0, answer.length, 4);
    if (there === count) return;
    if (performance.now() > until) throw new Error(`${there} of ${count} stand in line`);
    await sleep(LOOK_MS);
  }
}

class Line {
  readonly #clients: readonly LightClient[];
  #isMoving = false;
  /** Whoever has had the answer and has not asked to unlock. */
  #holder: { readonly i: number; readonly key: Buffer } | null = null;
  #unlockedAtMs = NaN;
  #fail: (error: Error) => void = () => undefined;
  /** Microseconds from an unlock to the next holder. */
  latency = new Histogram();
  handOvers = 0;
  /** Never resolves. */
  readonly failed: Promise<never>;

  constructor(clients: readonly LightClient[]) {
    this.#clients = clients;
    this.failed = new Promise<never>((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => undefined);
  }

  enter(i: number): void {
    let isAnswered = false;
    const request = Buffer.concat([bytesField(1, NAME), numberField(2, i + 1)]);
    this.#call(i, 'Lock', request, (bytes, from, to) => {
      isAnswered = true;
      this.#onHeld(i, keyIn(bytes, from, to));
    }, () => {
      if (!isAnswered) this.#fail(new Error(`caller ${i} did not get the lock`));
    });
  }

  move(): void {
    this.#isMoving = true;
    if (this.#holder !== null) this.#unlock();
  }

  #onHeld(i: number, key: Buffer): void {
    if (this.#holder !== null) return this.#fail(new Error(`callers ${this.#holder.i} and ${i} hold one lock`));
    if (!key.toString().startsWith(`${NAME}/`)) return this.#fail(new Error(`caller ${i} holds '${key.toString()}'`));
    this.#holder = { i, key };
    if (!this.#isMoving) return;
    if (!Number.isNaN(this.#unlockedAtMs)) this.latency.record((performance.now() - this.#unlockedAtMs) * 1000);
    this.handOvers += 1;
    this.#unlock();
  }

  #unlock(): void {
    if (this.#holder === null) return;
    const { i, key } = this.#holder;
    this.#holder = null;
    let isAnswered = false;
    this.#unlockedAtMs = performance.now();
    this.#call(i, 'Unlock', bytesField(1, key), () => (isAnswered = true), () => {
      if (isAnswered) this.enter(i);
      else this.#fail(new Error(`caller ${i} could not unlock`));
    });
  }

  #call(
    i: number, method: string, request: Buffer, onMessage: (bytes: Buffer, from: number, to: number) => void, onEnd: () => void,
  ): void {
    const stream = this.#clients[i % this.#clients.length]?.open(LOCK + method, onMessage, onEnd);
    stream?.send(framed(request));
    stream?.end();
  }
}

/** Of a LockResponse: a header in field 1, shorter than 128 bytes, and the key in field 2, as long as that. */
function keyIn(bytes: Buffer, from: number, to: number): Buffer {
  let at = from;
  while (at < to) {
    const length = bytes[at + 1] ?? 0;
    if (bytes[at] === ((2 << 3) | 2)) return Buffer.from(bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return Buffer.alloc(0);
}

// Loads of leases, the same for coterie and etcd: grants, keep-alives over streams that stay open, expiry of very many at once.
// Messages are written and read by hand over light-client.ts, so that the client is not what is measured, and every load checks
// that the work was done: each answer, and what is there at the end.

import { LightClient, type LightStream } from './light-client.js';
import { bytesField, framed, numberField, PATH, rangeMessage } from './messages.js';

const LEASE = '/etcdserverpb.Lease/';
/** Requests whose answers have come are forgotten this many at once. */
const ANSWERED_MAX = 4096;

export interface GrantFigures {
  readonly perSecond: number;
  readonly seconds: number;
}

export interface KeepAliveFigures {
  readonly perSecond: number;
  /** From a request to its answer, the longest of all. */
  readonly slowestMs: number;
}

export interface ExpiryFigures {
  /** From when the last one is due until there is no key of any. */
  readonly lateSeconds: number;
  /** Leases ended a second, from when the first is due. */
  readonly perSecond: number;
  /** Of a linearizable read every 10 ms meanwhile. */
  readonly slowestReadMs: number;
}

/** The number in a field of a flat message; 0 when it is absent. `from` and `to` bound the message. */
export function numberIn(bytes: Buffer, from: number, to: number, field: number): number {
  let at = from;
  const next = (): number => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  while (at < to) {
    const tag = next();
    const value = next();
    if (tag === field << 3) return value;
    if ((tag & 7) === 2) at += value;
  }
  return 0;
}

export async function withClients<T>(
  url: string, count: number, use: (clients: readonly LightClient[]) => Promise<T>,
): Promise<T> {
  const clients = await Promise.all(Array.from({ length: count }, () => LightClient.connect(url)));
  try {
    return await use(clients);
  } finally {
    for (const client of clients) client.close();
  }
}

interface Calls {
  readonly path: string;
  readonly total: number;
  /** In flight on each connection. */
  readonly depth: number;
  message(i: number): Uint8Array;
  /** Null: there was no answer but an error. */
  check(i: number, answer: { bytes: Buffer; from: number; to: number } | null): void;
}

/** Plain calls, so many in flight all the time; resolves with how long all of them took. */
function callAll(clients: readonly LightClient[], calls: Calls): Promise<number> {
  const startedAt = performance.now();
  return new Promise((resolve, reject) => {
    let [begun, done] = [0, 0];
    const begin = (client: LightClient): void => {
      if (begun === calls.total) return;
      const i = begun++;
      let isAnswered = false;
      const onMessage = (bytes: Buffer, from: number, to: number): void => {
        isAnswered = true;
        calls.check(i, { bytes, from, to });
      };
      const stream = client.open(calls.path, onMessage, () => {
        try {
          if (!isAnswered) calls.check(i, null);
        } catch (error) {
          return reject(error instanceof Error ? error : new Error(String(error)));
        }
        done += 1;
        if (done === calls.total) resolve((performance.now() - startedAt) / 1000);
        else begin(client);
      });
      stream.send(framed(calls.message(i)));
      stream.end();
    };
    for (const client of clients) for (let i = 0; i < calls.depth; i++) begin(client);
  });
}

/** How many leases there are. */
export async function countLeases(url: string): Promise<number> {
  return withClients(url, 1, async ([client]) => {
    const bytes = await client?.call(`${LEASE}LeaseLeases`, Buffer.alloc(0));
    if (bytes === null || bytes === undefined) throw new Error('the leases were not listed');
    let [count, at] = [0, 0];
    // Each field is short, but for the header, whose length is below 128 as well.
    for (; at < bytes.length; at += 2 + (bytes[at + 1] ?? 0)) if (bytes[at] === ((2 << 3) | 2)) count += 1;
    return count;
  });
}

async function countKeys(client: LightClient, prefix: string): Promise<number> {
  const end = `${prefix.slice(0, -1)}0`;
  const bytes = await client.call(PATH.range, rangeMessage(prefix, { end, isCount: true }));
  if (bytes === null) throw new Error('a count was refused');
  return numberIn(bytes, 0, bytes.length, 4);
}

/** Grants leases with the ids from `firstId` on, which must be free. */
export async function grantLoad(
  url: string, load: { leases: number; ttlSeconds: number; firstId: number; connections: number; depth: number },
): Promise<GrantFigures> {
  const { leases, ttlSeconds, firstId, connections, depth } = load;
  const before = await countLeases(url);
  const seconds = await withClients(url, connections, (clients) => callAll(clients, {
    path: `${LEASE}LeaseGrant`, total: leases, depth,
    message: (i) => Buffer.concat([numberField(1, ttlSeconds), numberField(2, firstId + i)]),
    check(i, answer) {
      const id = answer === null ? 0 : numberIn(answer.bytes, answer.from, answer.to, 2);
      if (id !== firstId + i) throw new Error(`lease ${firstId + i} was not granted, but ${id}`);
    },
  }));
  const granted = (await countLeases(url)) - before;
  if (granted !== leases) throw new Error(`${leases} leases were granted, and there are ${granted} more`);
  return { perSecond: leases / seconds, seconds };
}

/**
 * Keeps leases alive, in turn, for so many seconds or so many rounds over all of them: `streams` of them open, over
 * `connections`, and on each `depth` requests whose answer has not come. Answers must come in order, with time left.
 */
export async function keepAliveLoad(url: string, load: {
  firstId: number; leases: number; connections: number; streams: number; depth: number; seconds?: number; rounds?: number;
}): Promise<KeepAliveFigures> {
  const { firstId, leases, connections, streams, depth } = load;
  const total = (load.rounds ?? Infinity) * leases;
  return withClients(url, connections, async (clients) => {
    const startedAt = performance.now();
    const endsAt = load.seconds === undefined ? Infinity : startedAt + load.seconds * 1000;
    let [asked, answered, slowestMs] = [0, 0, 0];
    const isOver = (): boolean => asked >= total || performance.now() >= endsAt;
    const next = (): Buffer => framed(numberField(1, firstId + (asked++ % leases)));
    await Promise.all(Array.from({ length: streams }, (_, n) => new Promise<void>((resolve, reject) => {
      const client = clients[n % clients.length];
      if (client === undefined) throw new Error('a load needs a connection');
      const expected: { id: number; atMs: number }[] = [];
      let first = 0;
      let isEnded = false;
      const ask = (count: number): void => {
        const messages: Buffer[] = [];
        const atMs = performance.now();
        for (let i = 0; i < count && !isEnded; i++) {
          if (isOver()) isEnded = true;
          else {
            expected.push({ id: firstId + (asked % leases), atMs });
            messages.push(next());
          }
        }
        if (messages.length > 0) stream.send(Buffer.concat(messages));
        if (isEnded) stream.end();
      };
      let toAsk = 0;
      const stream: LightStream = client.open(`${LEASE}LeaseKeepAlive`, (bytes, from, to) => {
        const { id = 0, atMs = 0 } = expected[first++] ?? {};
        if (first === ANSWERED_MAX) {
          expected.splice(0, first);
          first = 0;
        }
        if (numberIn(bytes, from, to, 2) !== id) throw new Error(`lease ${id} was kept alive, and another is the answer`);
        if (numberIn(bytes, from, to, 3) <= 0) throw new Error(`lease ${id} was kept alive and is gone`);
        slowestMs = Math.max(slowestMs, performance.now() - atMs);
        answered += 1;
        // Asked again together, as many as have come in one turn.
        if (!isEnded && toAsk++ === 0) setImmediate(() => {
          const count = toAsk;
          toAsk = 0;
          if (!isEnded) ask(count);
        });
      }, () => (first === expected.length ? resolve() : reject(new Error('a stream of keep-alives ended before its answers'))));
      ask(depth);
    })));
    return { perSecond: answered / ((performance.now() - startedAt) / 1000), slowestMs };
  });
}

/**
 * Grants leases with a key each, renews them all, waits until they are due, and then for all keys to be gone; meanwhile reads,
 * to see whether the server stands still. Returns when nothing is left, or throws after `patienceSeconds`.
 */
export async function expiryLoad(
  url: string, load: { leases: number; ttlSeconds: number; firstId: number; patienceSeconds?: number },
): Promise<ExpiryFigures> {
  const { leases, ttlSeconds, firstId, patienceSeconds = 300 } = load;
  const prefix = `lease-load/${firstId}/`;
  await grantLoad(url, { leases, ttlSeconds, firstId, connections: 10, depth: 50 });
  await withClients(url, 10, (clients) => callAll(clients, {
    path: PATH.put, total: leases, depth: 50,
    message: (i) => Buffer.concat([bytesField(1, `${prefix}${i}`), bytesField(2, 'held'), numberField(3, firstId + i)]),
    check(i, answer) {
      if (answer === null) throw new Error(`a key could not be put on lease ${firstId + i}`);
    },
  }));
  return withClients(url, 2, async ([reader, counter]) => {
    if (reader === undefined || counter === undefined) throw new Error('a load needs a connection');
    if (await countKeys(counter, prefix) !== leases) throw new Error('leases ended before they were to be renewed');
    const renewedFrom = performance.now();
    await keepAliveLoad(url, { firstId, leases, connections: 1, streams: 4, depth: 500, rounds: 1 });
    const renewedTo = performance.now();
    const [firstDue, lastDue] = [renewedFrom + ttlSeconds * 1000, renewedTo + ttlSeconds * 1000];
    await sleep(firstDue - performance.now() - 500);
    const early = await countKeys(counter, prefix);
    // An answer that took longer says nothing of the time before.
    if (early !== leases && performance.now() < firstDue) throw new Error('a lease ended before its time');
    await sleep(firstDue - performance.now() - 20);
    const reads = readMeanwhile(reader);
    try {
      while (await countKeys(counter, prefix) > 0) {
        if (performance.now() > lastDue + patienceSeconds * 1000) throw new Error('leases that are over still have keys');
        await sleep(20);
      }
    } finally {
      await reads.end();
    }
    const goneAt = performance.now();
    const perSecond = leases / ((goneAt - firstDue) / 1000);
    return { lateSeconds: Math.max(0, (goneAt - lastDue) / 1000), perSecond, slowestReadMs: reads.slowestMs };
  });
}

/** A linearizable read every 10 ms until `end`. */
function readMeanwhile(client: LightClient): { readonly slowestMs: number; end(): Promise<void> } {
  let [slowestMs, isOver] = [0, false];
  const reads = (async () => {
    const message = rangeMessage('lease-load');
    while (!isOver) {
      const atMs = performance.now();
      await client.call(PATH.range, message);
      slowestMs = Math.max(slowestMs, performance.now() - atMs);
      await sleep(10);
    }
  })();
  return {
    get slowestMs() {
      return slowestMs;
    },
    end: () => {
      isOver = true;
      return reads;
    },
  };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}

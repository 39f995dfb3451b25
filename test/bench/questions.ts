// The questions of `npm run bench`. Each drives one server and answers with one number; the runner asks both servers in
// turn and compares. Every question checks that the work was really done.

import { text, utf8 } from '../../core/base/bytes.js';
import { opPut, prefixRange, put, type Backend } from '../../core/client.js';
import { connect } from '../../core/wire/remote-client.js';
import { grpcFrame, runLoad } from './load.js';
import type { Target } from './targets.js';

/** One row of the table. */
export interface Measure {
  readonly name: string;
  readonly unit: string;
  readonly better: 'more' | 'less';
}

/** Of a server alone, or, with another `T`, of something larger. */
export interface Question<T = Target> extends Measure {
  ask(target: T): Promise<number>;
}

/** Several rows that are answered together, in their order. */
export interface Survey<T = Target> {
  readonly rows: readonly Measure[];
  ask(target: T): Promise<readonly number[]>;
}

const SECONDS = 5;
const VALUE = Buffer.alloc(256, 'v');
const KEY = 'bench/one';

/** Where requests go: a server alone, or one member of several. */
export type Addressed = Pick<Target, 'name' | 'url'> & Partial<Pick<Target, 'client' | 'headers'>>;

/** Protobuf by hand: field numbers as in contract 2.2, so that no codec of ours is on the measured path. */
function field(number: number, bytes: Uint8Array): Buffer {
  const length = bytes.length < 128 ? [bytes.length] : [(bytes.length & 127) | 128, bytes.length >> 7];
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), bytes]);
}

const PUT = Buffer.concat([field(1, utf8(KEY)), field(2, VALUE)]);
export const GET = field(1, utf8(KEY));
export const SERIALIZABLE_GET = Buffer.concat([GET, Buffer.from([(7 << 3) | 0, 1])]);

async function withClient<T>(target: Addressed, use: (client: Backend) => Promise<T>): Promise<T> {
  const client = connect(target.url, target.client ?? {});
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

function revisionOf(target: Addressed): Promise<number> {
  return withClient(target, async (client) => (await client.range({ key: utf8('x') })).header.revision);
}

export async function puts(
  target: Addressed, connections: number, depth: number,
): Promise<{ perSecond: number; meanMs: number }> {
  const before = await revisionOf(target);
  const url = `${target.url}/etcdserverpb.KV/Put`;
  const { headers = [] } = target;
  const result = runLoad({ url, body: grpcFrame(PUT), connections, depth, seconds: SECONDS, headers });
  const written = (await revisionOf(target)) - before;
  if (written < result.requests) throw new Error(`${target.name} answered ${result.requests} puts and wrote ${written}`);
  return result;
}

export async function gets(target: Addressed, body: Uint8Array): Promise<number> {
  await withClient(target, (client) => put(client, utf8(KEY), VALUE));
  const url = `${target.url}/etcdserverpb.KV/Range`;
  const { headers = [] } = target;
  const result = runLoad({ url, body: grpcFrame(body), connections: 10, depth: 20, seconds: SECONDS, headers });
  if (result.bodyBytes < result.requests * VALUE.length) {
    throw new Error(`${target.name} answered ${result.requests} gets with ${result.bodyBytes} bytes: not all had the value`);
  }
  return result.perSecond;
}

async function gateway(target: Target, path: string, body: object): Promise<number> {
  const url = `${target.url}/v3/kv/${path}`;
  // The gateway takes the token from the header of HTTP.
  const headers = target.headers.map((header) => header.replace(/^token:/, 'authorization:'));
  const load = { url, body: utf8(JSON.stringify(body)), connections: 50, depth: 1, seconds: SECONDS, http1: true, headers };
  return runLoad(load).perSecond;
}

const base64 = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString('base64');

/** 50 watchers on one prefix, 2,000 puts: events delivered per second, all of them, to all. */
async function watchDelivery(target: Target): Promise<number> {
  const WATCHERS = 50;
  const EVENTS = 2000;
  return withClient(target, async (client) => {
    const prefix = utf8(`watched/${Date.now()}/`);
    const range = prefixRange(prefix);
    const watches = Array.from({ length: WATCHERS }, () => client.watch(range));
    let open = 0;
    let opened = (): void => undefined;
    const allOpen = new Promise<void>((resolve) => {
      opened = resolve;
    });
    const readers = watches.map(async (watch) => {
      let seen = 0;
      for await (const batch of watch) {
        if (batch.kind === 'created' && ++open === WATCHERS) opened();
        seen += batch.events.length;
        if (seen >= EVENTS) break;
      }
    });
    await allOpen;
    const startedAt = performance.now();
    for (let i = 0; i < EVENTS; i += 100) {
      await Promise.all(
        Array.from({ length: 100 }, (_, j) => put(client, utf8(`${text(prefix)}${i + j}`), VALUE)),
      );
    }
    await Promise.all(readers);
    return (WATCHERS * EVENTS) / ((performance.now() - startedAt) / 1000);
  });
}

/** 1,000 leases kept alive round after round. */
async function keepAlives(target: Target): Promise<number> {
  return withClient(target, async (client) => {
    const leases = await Promise.all(Array.from({ length: 1000 }, () => client.grant(60)));
    const startedAt = performance.now();
    let done = 0;
    while (performance.now() - startedAt < SECONDS * 1000) {
      const answers = await Promise.all(leases.map((lease) => client.keepAlive(lease.id)));
      if (answers.some((answer) => answer.ttlSeconds <= 0)) throw new Error('a lease under renewal was lost');
      done += answers.length;
    }
    const perSecond = done / ((performance.now() - startedAt) / 1000);
    await Promise.all(leases.map((lease) => client.revoke(lease.id)));
    return perSecond;
  });
}

export const questions: readonly Question[] = [
  {
    name: 'durable puts, 10 connections x 20', unit: 'puts/s', better: 'more',
    ask: async (target) => (await puts(target, 10, 20)).perSecond,
  },
  {
    name: 'durable puts, one at a time', unit: 'ms', better: 'less',
    ask: async (target) => (await puts(target, 1, 1)).meanMs,
  },
  { name: 'linearizable gets, 10 x 20', unit: 'gets/s', better: 'more', ask: (target) => gets(target, GET) },
  {
    name: 'serializable gets, 10 x 20', unit: 'gets/s', better: 'more',
    ask: (target) => gets(target, SERIALIZABLE_GET),
  },
  {
    name: 'JSON gateway puts, 50 connections', unit: 'puts/s', better: 'more',
    ask: (target) => gateway(target, 'put', { key: base64(KEY), value: base64(VALUE) }),
  },
  {
    name: 'JSON gateway ranges, 50 connections', unit: 'gets/s', better: 'more',
    ask: (target) => gateway(target, 'range', { key: base64(KEY) }),
  },
  { name: 'watch delivery, 50 watchers', unit: 'events/s', better: 'more', ask: watchDelivery },
  { name: 'lease keep-alives, 1,000 leases', unit: 'renewals/s', better: 'more', ask: keepAlives },
];

/** Asked again with TLS, and with auth on: what each of them costs, beside the same at etcd. */
export const securedQuestions = questions.filter(({ name }) => /^(?:durable puts, 10 |linearizable|JSON)/.test(name));

export interface MillionResult {
  readonly loadSeconds: number;
  readonly residentMiB: number;
  readonly restartSeconds: number;
  readonly residentAfterRestartMiB: number;
}

/** A million keys of 256 B: load, memory, restart, memory again, and every thousandth key read back. */
export async function million(target: Target, progress: (done: number) => void): Promise<MillionResult> {
  const KEYS = 1_000_000;
  const BATCH = 100;
  const LANES = 16;
  const key = (i: number): Uint8Array => utf8(`million/${i.toString().padStart(7, '0')}`);
  const startedAt = performance.now();
  await withClient(target, async (client) => {
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < KEYS) {
        const from = next;
        next += BATCH;
        await client.txn({ success: Array.from({ length: BATCH }, (_, j) => opPut(key(from + j), VALUE)) });
        if (from % 100_000 === 0) progress(from);
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  });
  const loadSeconds = (performance.now() - startedAt) / 1000;
  const resident = await target.residentBytes();
  const restartMs = await target.restart();
  await withClient(target, async (client) => {
    const all = await client.range({ ...prefixRange(utf8('million/')), countOnly: true });
    if (all.count !== KEYS) throw new Error(`${target.name} has ${all.count} of ${KEYS} keys after its restart`);
    for (let i = 0; i < KEYS; i += 1000) {
      const answer = await client.range({ key: key(i) });
      if (answer.kvs[0]?.value.length !== VALUE.length) throw new Error(`${target.name} lost ${text(key(i))}`);
    }
  });
  return {
    loadSeconds,
    residentMiB: resident / 2 ** 20,
    restartSeconds: restartMs / 1000,
    residentAfterRestartMiB: (await target.residentBytes()) / 2 ** 20,
  };
}

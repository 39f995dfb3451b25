// What a Watch stream says does not depend on how its watches are read: emptied at once as they say that there is something, or
// iterated batch by batch; whether the transport takes all at once, or makes it wait. Only how events are put together may
// differ, so they are compared event by event.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { Prng } from '../../../core/base/prng.js';
import { opDelete, opPut, type Backend, type Op, type Watch } from '../../../core/client.js';
import { startNode } from '../../../core/start-node.js';
import { TAKEN, type Send } from '../../../core/wire/call.js';
import { methods } from '../../../core/wire/methods.js';
import { Event } from '../../../core/wire/schema/generated/mvcc.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import { fakeCall } from './fake-call.js';

const EMPTY = new Uint8Array(0);

/** Requests as a test makes them, and what was answered. */
class Caller {
  readonly answers: rpc.WatchResponse[] = [];
  readonly #requests: Uint8Array[] = [];
  readonly #abort = new AbortController();
  #wake: () => void = () => undefined;
  readonly over: Promise<void>;
  /** Answers that are not as the generated code writes them. */
  readonly odd: string[] = [];

  constructor(backend: Backend, send: (take: () => void) => Promise<void>) {
    const method = methods(backend).get('/etcdserverpb.Watch/Watch');
    if (method?.kind !== 'stream') throw new Error('there is no Watch');
    const take: Send = (first, rest = EMPTY) => send(() => this.#onAnswer(Buffer.concat([first, rest])));
    this.over = method.handle(this.#each(), fakeCall(this.#abort.signal), take);
  }

  ask(requestUnion: rpc.WatchRequest['requestUnion']): void {
    this.#requests.push(rpc.WatchRequest.encode({ requestUnion }).finish());
    this.#wake();
  }

  create(request: Partial<rpc.WatchCreateRequest>): void {
    const value = {
      key: utf8('a'), rangeEnd: utf8('z'), startRevision: 0n, progressNotify: false, filters: [], prevKv: false, watchId: 0n,
      fragment: false, ...request,
    };
    this.ask({ $case: 'createRequest', value });
  }

  async until(isThere: (answers: readonly rpc.WatchResponse[]) => boolean): Promise<void> {
    while (!isThere(this.answers)) await new Promise((resolve) => setImmediate(resolve));
  }

  leave(): Promise<void> {
    this.#abort.abort();
    return this.over;
  }

  /** By watch: all that it was told, line by line. */
  told(): Record<string, string[]> {
    const told: Record<string, string[]> = {};
    for (const { watchId, created, canceled, events, header } of this.answers) {
      const lines = (told[`${watchId}`] ??= []);
      if (created) lines.push('created');
      for (const event of events) lines.push(Buffer.from(Event.encode(event).finish()).toString('hex'));
      if (canceled) lines.push('canceled');
      if (!created && !canceled && events.length === 0) lines.push(`progress ${header?.revision}`);
    }
    return told;
  }

  #onAnswer(bytes: Uint8Array): void {
    const answer = rpc.WatchResponse.decode(bytes);
    if (Buffer.compare(bytes, rpc.WatchResponse.encode(answer).finish()) !== 0) this.odd.push(Buffer.from(bytes).toString('hex'));
    this.answers.push(answer);
  }

  async *#each(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const next = this.#requests.shift();
      if (next !== undefined) yield next;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

/** The same home, one of whose methods is another. */
function altered<K extends keyof Backend>(backend: Backend, method: K, other: Backend[K]): Backend {
  return new Proxy(backend, {
    get: (target, name) => {
      const value: unknown = name === method ? other : Reflect.get(target, name, target);
      return typeof value === 'function' && name !== method ? value.bind(target) : value;
    },
  });
}

/** The same home, whose watches can only be iterated. */
function iterated(backend: Backend): Backend {
  return altered(backend, 'watch', (request, options): Watch => {
    const inner = backend.watch(request, options);
    return {
      requestProgress: () => inner.requestProgress(),
      close: () => inner.close(),
      [Symbol.asyncIterator]: () => inner[Symbol.asyncIterator](),
    };
  });
}

/** Takes at once; every third one later. */
function reluctant(): (take: () => void) => Promise<void> {
  let count = 0;
  return (take) => {
    take();
    count += 1;
    return count % 3 === 0 ? new Promise((resolve) => setImmediate(resolve)) : TAKEN;
  };
}

function eager(take: () => void): Promise<void> {
  take();
  return TAKEN;
}

const VARIANTS: readonly Partial<rpc.WatchCreateRequest>[] = [
  {}, {}, { prevKv: true }, { filters: [0] }, { filters: [1] }, { filters: [0, 1] }, { key: utf8('b'), rangeEnd: EMPTY },
  { key: utf8('b'), rangeEnd: utf8('d'), prevKv: true }, { fragment: true }, { startRevision: 2n }, { startRevision: 40n },
  { watchId: 77n, startRevision: 3n, prevKv: true }, { watchId: -5n }, { progressNotify: true },
];

test('streams that are read in different ways say the same', async (t) => {
  const dice = new Prng(1);
  const node = await startNode({ dataDir: null });
  const { client } = node;
  const lease = (await client.grant(1000)).id;
  const change = async (): Promise<void> => {
    const keys = ['a', 'b', 'c', 'd'].filter(() => dice.below(2) === 0);
    const success = keys.map((key): Op => {
      if (dice.below(4) === 0) return opDelete(utf8(key));
      return opPut(utf8(key), new Uint8Array(dice.below(300)), { lease: dice.below(3) === 0 ? lease : 0n });
    });
    await client.txn({ success });
  };
  for (let i = 0; i < 10; i++) await change();
  const callers = [
    new Caller(client, eager), new Caller(client, reluctant()),
    new Caller(iterated(client), eager), new Caller(iterated(client), reluctant()),
  ];
  for (const caller of callers) for (const variant of VARIANTS) caller.create(variant);
  const areCreated = (answers: readonly rpc.WatchResponse[]): boolean => {
    return answers.filter(({ created }) => created).length === VARIANTS.length;
  };
  for (const caller of callers) await caller.until(areCreated);
  for (let i = 0; i < 60; i++) {
    const under = [change(), change(), change()];
    if (dice.below(2) === 0) await Promise.all(under);
    if (i === 30) for (const caller of callers) caller.ask({ $case: 'cancelRequest', value: { watchId: 1n } });
    if (i === 30) for (const caller of callers) await caller.until((answers) => answers.some(({ canceled }) => canceled));
  }
  await client.txn({ success: [opPut(utf8('b'), utf8('last'))] });
  for (const caller of callers) {
    caller.ask({ $case: 'progressRequest', value: {} });
    await caller.until((answers) => answers.some(({ watchId, created }) => watchId === -1n && !created));
    t.deepEqual(caller.odd, []);
  }
  const [first, ...others] = callers.map((caller) => ({ ...caller.told(), 1: [] }));
  t.true(JSON.stringify(first).length > 10_000);
  for (const other of others) t.deepEqual(other, first);
  await Promise.all(callers.map((caller) => caller.leave()));
  await node.close();
});

test('a stream that takes nothing holds up no other, and no watch is read for it', async (t) => {
  const node = await startNode({ dataDir: null });
  const { client } = node;
  let resume = (): void => undefined;
  const stuck = new Caller(client, (take) => {
    take();
    return new Promise((resolve) => (resume = resolve));
  });
  const other = new Caller(client, eager);
  stuck.create({});
  other.create({});
  await Promise.all([stuck, other].map((caller) => caller.until((answers) => answers.length === 1)));
  const events = (caller: Caller): number => caller.answers.reduce((sum, answer) => sum + answer.events.length, 0);
  for (let i = 0; i < 50; i++) await client.txn({ success: [opPut(utf8('a'), utf8(`${i}`))] });
  await other.until(() => events(other) === 50);
  t.is(events(stuck), 0);
  t.is(node.facts().pendingEvents, 50);
  resume();
  await stuck.until(() => events(stuck) === 50);
  t.deepEqual(stuck.told()['0'], other.told()['0']);
  await Promise.all([stuck.leave(), other.leave()]);
  t.is(node.facts().watchers, 0);
  await node.close();
});

test('an answer about progress never overtakes events of a watch that was created while it was under way', async (t) => {
  const node = await startNode({ dataDir: null });
  const { client } = node;
  const write = (value: string): Promise<unknown> => client.txn({ success: [opPut(utf8('a'), utf8(value))] });
  for (let i = 0; i < 5; i++) await write(`${i}`);
  let isSlow = false;
  let resume = (): void => undefined;
  const caller = new Caller(client, (take) => {
    take();
    return isSlow ? new Promise((resolve) => (resume = resolve)) : TAKEN;
  });
  caller.create({});
  await caller.until((answers) => answers.length === 1);
  isSlow = true;
  await write('stuck');
  await caller.until((answers) => answers.length === 2);
  caller.ask({ $case: 'progressRequest', value: {} });
  caller.create({ startRevision: 2n });
  await new Promise((resolve) => setTimeout(resolve, 20));
  const isProgress = ({ watchId, created }: rpc.WatchResponse): boolean => watchId === -1n && !created;
  while (!caller.answers.some(isProgress)) {
    resume();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const told = caller.answers.filter(({ watchId }) => watchId === 1n).flatMap(({ events }) => events);
  t.is(told.length, 6);
  t.deepEqual(caller.answers.filter(isProgress).map(({ header }) => header?.revision), [7]);
  await caller.leave();
  await node.close();
});

test('a stream whose caller leaves while it is found out who that is leaves no watch behind', async (t) => {
  const node = await startNode({ dataDir: null });
  let tell = (_nobody: null): void => undefined;
  let asked = false;
  const caller = new Caller(altered(node.client, 'identify', () => {
    asked = true;
    return new Promise((resolve) => (tell = resolve));
  }), eager);
  caller.create({});
  while (!asked) await new Promise((resolve) => setImmediate(resolve));
  await caller.leave();
  tell(null);
  await new Promise((resolve) => setImmediate(resolve));
  t.is(node.facts().watchers, 0);
  t.deepEqual(caller.answers, []);
  await node.close();
});

test('a watch asked of a client that was closed ends its stream, rather than being left unanswered', async (t) => {
  const node = await startNode({ dataDir: null });
  for (const home of [node.client, iterated(node.client)]) {
    const caller = new Caller(home, eager);
    await node.client.close();
    caller.create({});
    await t.throwsAsync(caller.over, { message: /closed/ });
  }
  await node.close();
});

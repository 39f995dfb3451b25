// `coterie queue …`: puts items, works on them with a command, and shows and mends a queue by hand. A body is JSON, as the
// recipe has it by default: what is not JSON is put as a JSON string, and a string is given out as the text that it is.

import { readFileSync } from 'node:fs';
import { text, utf8 } from '../base/bytes.js';
import { isApiError } from '../errors.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { EntryLost } from '../../recipes/held.js';
import { Queue, type Codec } from '../../recipes/queue.js';
import type { Delivery } from '../../recipes/queue-delivery.js';
import { ItemTooLarge, QueueFull, type PutOptions } from '../../recipes/queue-put.js';
import { SessionLost, type Session } from '../../recipes/session.js';
import { Child } from './child.js';
import { complain, runGroup, type ClientCommand, type CommandFlag, type Invocation } from './client-command.js';
import { aborted, cannotRun, CLOSE_MS, lostWaiting, openSession, TERMS_FLAGS, termsOf, type Terms } from './hold.js';
import { columns, json, plain, table, type Json } from './output.js';
import { Refusal } from './refusal.js';
import { Requests } from './requests.js';
import { showDuration } from './values.js';

const PRIORITY_MAX = 255;
const ATTEMPTS_MAX = 255;

/** Bytes as they are: what they mean is between whoever puts and whoever takes. */
const BYTES: Codec<Uint8Array> = { encode: (body) => body, decode: (bytes) => bytes };

const RAW: CommandFlag = { name: 'raw', help: 'the body is bytes, and not JSON' };

const PUT: ClientCommand = {
  words: 'queue put', usage: 'QUEUE BODY', summary: 'one item; "-" reads the body from standard input', takes: [2, 2], flags: [
    RAW,
    { name: 'id', value: 'ID', help: 'put once: while it is there, and for five minutes, no second item has it' },
    { name: 'group', value: 'GROUP', help: 'items of a group are worked on one after the other, in order' },
    { name: 'priority', value: 'NUMBER', help: '0 (default) to 255; higher goes first' },
    { name: 'delay', value: 'DURATION', help: 'not to be taken before' },
    { name: 'attempts', value: 'NUMBER', help: 'given up after so many; default 5' },
    { name: 'timeout', value: 'DURATION', help: 'how long to wait while the queue is full; default: as long as it takes' },
  ],
  formats: ['simple', 'json'],
  async run(invocation) {
    const [name = '', body = ''] = invocation.args;
    const requests = new Requests();
    const options: PutOptions = {
      ...optional('id', invocation.text('id')),
      ...optional('group', invocation.text('group')),
      ...optional('delayMs', milliseconds(invocation, 'delay')),
      ...optional('timeoutMs', milliseconds(invocation, 'timeout')),
      ...(invocation.text('attempts') === null ? {} : { maxAttempts: whole(invocation, 'attempts', 1, ATTEMPTS_MAX) }),
      priority: whole(invocation, 'priority', 0, PRIORITY_MAX),
      signal: requests.asked,
    };
    try {
      const bytes = body === '-' ? readFileSync(0) : utf8(body);
      const queue = await queueOf(invocation, name);
      const result = await queue.put(invocation.isSet('raw') ? bytes : jsonOf(bytes), options);
      invocation.print(invocation.format === 'json' ? `${json({ ...result })}\n` : `${result.id}\n`);
      return 0;
    } catch (error) {
      if (requests.asked.aborted && isApiError(error, 'canceled')) return requests.exitCode;
      if (error instanceof QueueFull || error instanceof ItemTooLarge) {
        throw new Refusal(error.message, 'coterie queue stats shows what is in it', { exitCode: 1, cause: error });
      }
      throw error;
    } finally {
      requests.stop();
    }
  },
};

const TAKE: ClientCommand = {
  words: 'queue take', usage: 'QUEUE [-- COMMAND …]',
  summary: 'one item, printed and done; with a command, its standard input, and done when that ends with 0',
  takes: [1, Infinity], flags: [
    ...TERMS_FLAGS, RAW,
    { name: 'try', help: 'do not wait: exit code 1 when there is nothing to take' },
    { name: 'follow', help: 'one item after the other, until asked to end' },
  ],
  formats: ['simple', 'json'],
  run: (invocation) => take(invocation),
};

async function take(invocation: Invocation): Promise<number> {
  const [name = '', ...command] = invocation.args;
  const terms = termsOf(invocation);
  const requests = new Requests();
  const what = `an item of queue ${name}`;
  try {
    const session = await openSession(invocation, { terms, requests, command, what });
    const queue = new Queue(session.client, name, { codec: BYTES });
    try {
      for (;;) {
        const delivery = await next(invocation, { queue, session, requests, terms });
        if (delivery === null) return requests.asked.aborted ? requests.exitCode : nothing(invocation, name, terms);
        const code = await settle(invocation, { delivery, command, requests, terms });
        if (!invocation.isSet('follow') || !session.live) return code;
        if (requests.asked.aborted) return 0;
      }
    } finally {
      queue.close();
      await session.close({ timeoutMs: CLOSE_MS });
    }
  } catch (error) {
    if (requests.asked.aborted && isApiError(error, 'canceled')) return invocation.isSet('follow') ? 0 : requests.exitCode;
    if (error instanceof FencedOut || error instanceof EntryLost) throw lostItem(error);
    throw error instanceof SessionLost ? lostWaiting(what, error) : error;
  } finally {
    requests.stop();
  }
}

interface Taking {
  readonly queue: Queue<Uint8Array>;
  readonly session: Session;
  readonly requests: Requests;
  readonly terms: Terms;
}

/** Null: there was none, in the time there was. */
async function next(invocation: Invocation, { queue, session, requests, terms }: Taking): Promise<Delivery<Uint8Array> | null> {
  const { timeoutMs } = terms;
  if (invocation.isSet('try')) return queue.tryTake(session, { signal: requests.asked });
  try {
    return await queue.take(session, { signal: requests.asked, ...optional('timeoutMs', timeoutMs) });
  } catch (error) {
    if (timeoutMs === null || !isApiError(error, 'deadline_exceeded')) throw error;
    return null;
  }
}

function nothing(invocation: Invocation, name: string, { timeoutMs }: Terms): number {
  const within = timeoutMs === null ? '' : ` within ${showDuration(timeoutMs)}`;
  const remedy = 'coterie queue stats shows what is delayed, held, or paused; --timeout says how long to wait';
  return complain(invocation.words, new Refusal(`there was nothing to take in queue ${name}${within}`, remedy, { exitCode: 1 }));
}

interface InHand {
  readonly delivery: Delivery<Uint8Array>;
  readonly command: readonly string[];
  readonly requests: Requests;
  readonly terms: Terms;
}

/** The exit code: of the command, or 0 when it was printed. The item is done only then. */
async function settle(invocation: Invocation, inHand: InHand): Promise<number> {
  const { delivery, command: [program, ...args], requests } = inHand;
  const body = invocation.isSet('raw') ? delivery.body : plainOf(delivery.body);
  if (program !== undefined) return work(invocation, inHand, [program, ...args], body);
  const line = invocation.format === 'json' ? utf8(json(itemJson(delivery, body))) : body;
  const isRead = await printed(Buffer.concat([line, utf8('\n')]));
  if (isRead) await delivery.ack();
  else await delivery.release();
  return isRead ? 0 : requests.exitCode;
}

/** False when nobody reads it. */
function printed(bytes: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => {
    process.stdout.write(bytes, (error) => resolve(error === null || error === undefined));
  });
}

async function work(
  invocation: Invocation,
  { delivery, requests, terms: { graceMs } }: InHand,
  command: readonly [string, ...string[]],
  input: Uint8Array,
): Promise<number> {
  const env = {
    COTERIE_ITEM_ID: delivery.id, COTERIE_ITEM_ATTEMPT: String(delivery.attempt), COTERIE_FENCE: String(delivery.fence),
    ...optional('COTERIE_ITEM_GROUP', delivery.group),
  };
  const child = new Child(command, { env, graceMs, input });
  requests.passTo(child);
  const code = await Promise.race([child.ended, aborted(delivery.signal)]);
  if (code === undefined) await child.end();
  requests.passTo(null);
  if (code === undefined || !delivery.isHeld) {
    return complain(invocation.words, lostItem(delivery.signal.reason));
  }
  const fault = child.fault();
  // Neither the item's fault is a command that does not exist, nor is the end that somebody asked for.
  if (fault !== null || (code !== 0 && requests.asked.aborted)) await delivery.release();
  else if (code === 0) await delivery.ack();
  else await delivery.nack({ error: new Error(`${command[0]} ended with exit code ${code}`) });
  if (fault !== null) throw cannotRun(fault);
  return code;
}

/** Somebody has it again, or will have: nothing of what was done is known to the queue. */
function lostItem(reason: unknown): Refusal {
  const why = reason instanceof Error ? reason.message : String(reason);
  return new Refusal(`the item is lost: ${plain(why)}`, 'its command has ended; unless it was removed it is worked on again', {
    exitCode: 1,
  });
}

function itemJson({ id, attempt, group, fence }: Delivery<Uint8Array>, body: Uint8Array): Json {
  return { id, body: text(body), group: group ?? undefined, attempt, fence };
}

const STATS: ClientCommand = {
  words: 'queue stats', usage: 'QUEUE …', summary: 'how many items are ready, held, delayed, dead', takes: [1, Infinity],
  flags: [], formats: ['simple', 'table', 'json'],
  async run(invocation) {
    const client = invocation.connect();
    const all = await Promise.all(invocation.args.map(async (name) => {
      return { name, ...await new Queue(client, name).stats({ timeoutMs: invocation.timeoutMs }) };
    }));
    if (invocation.format === 'json') {
      invocation.print(`${json({ queues: all.map((stats) => ({ ...stats })) })}\n`);
      return 0;
    }
    const rows = all.map(({ name, ready, inLine, held, delayed, dead, put, ended, paused }) => [
      plain(name), ...[ready, inLine, held, delayed, dead, put, ended].map(String), paused ? 'paused' : '',
    ]);
    const draw = invocation.format === 'table' ? table : columns;
    invocation.print(draw(['QUEUE', 'READY', 'IN LINE', 'HELD', 'DELAYED', 'DEAD', 'PUT', 'ENDED', 'STATE'], rows));
    return 0;
  },
};

const DEAD: ClientCommand = {
  words: 'queue dead', usage: 'QUEUE', summary: 'items given up, and why', takes: [1, 1], flags: [RAW],
  formats: ['simple', 'table', 'json'],
  async run(invocation) {
    const dead: { id: string; group: string | null; attempts: number; reason: string; body: string }[] = [];
    const queue = await queueOf(invocation, invocation.args[0] ?? '');
    for await (const { id, group, attempts, reason, body } of queue.dead()) {
      dead.push({ id, group, attempts, reason, body: text(invocation.isSet('raw') ? body : plainOf(body)) });
    }
    if (invocation.format === 'json') {
      invocation.print(`${json({ dead: dead.map(({ group, ...item }) => ({ ...item, group: group ?? undefined })) })}\n`);
      return 0;
    }
    const draw = invocation.format === 'table' ? table : columns;
    const rows = dead.map(({ id, group, attempts, reason, body }) => {
      return [plain(id), plain(group ?? ''), String(attempts), plain(reason), plain(body).slice(0, BODY_SHOWN)];
    });
    invocation.print(draw(['ID', 'GROUP', 'ATTEMPTS', 'REASON', 'BODY'], rows));
    return 0;
  },
};

/** Of a dead item's body; all of it stands in JSON. */
const BODY_SHOWN = 60;

const PUT_BACK: ClientCommand = {
  words: 'queue put-back', usage: 'QUEUE ID', summary: 'let a dead item begin again', takes: [2, 2], flags: [],
  formats: ['simple'],
  async run(invocation) {
    const [name = '', id = ''] = invocation.args;
    if (await (await queueOf(invocation, name)).putBack(id, { timeoutMs: invocation.timeoutMs })) return 0;
    throw new Refusal(`${id}: no dead item of queue ${name}`, `coterie queue dead ${name} shows them`, { exitCode: 1 });
  },
};

const REMOVE: ClientCommand = {
  words: 'queue remove', usage: 'QUEUE ID', summary: 'take an item out, wherever it is, dead ones included', takes: [2, 2],
  flags: [{ name: 'held', help: 'also out of the hands of whoever works on it' }], formats: ['simple'],
  async run(invocation) {
    const [name = '', id = ''] = invocation.args;
    const held = invocation.isSet('held');
    const outcome = await (await queueOf(invocation, name)).remove(id, { held, timeoutMs: invocation.timeoutMs });
    if (outcome === 'removed') return 0;
    throw outcome === 'held'
      ? new Refusal(`${id} is being worked on`, 'wait, or take it away with --held', { exitCode: 1 })
      : new Refusal(`${id}: no such item in queue ${name}`, 'it may have ended: coterie queue stats', { exitCode: 1 });
  },
};

const PAUSE: ClientCommand = {
  words: 'queue pause', usage: 'QUEUE', summary: 'nothing more is taken, by anybody', takes: [1, 1], flags: [],
  formats: ['simple'],
  async run(invocation) {
    await (await queueOf(invocation, invocation.args[0] ?? '')).pause({ timeoutMs: invocation.timeoutMs });
    return 0;
  },
};

const RESUME: ClientCommand = {
  words: 'queue resume', usage: 'QUEUE', summary: 'items are taken again', takes: [1, 1], flags: [], formats: ['simple'],
  async run(invocation) {
    await (await queueOf(invocation, invocation.args[0] ?? '')).resume({ timeoutMs: invocation.timeoutMs });
    return 0;
  },
};

export const COMMANDS: readonly ClientCommand[] = [PUT, TAKE, STATS, DEAD, PUT_BACK, REMOVE, PAUSE, RESUME];

export function main(argv: readonly string[]): Promise<number> {
  return runGroup('queue', COMMANDS, argv);
}

async function queueOf(invocation: Invocation, name: string): Promise<Queue<Uint8Array>> {
  return new Queue(await invocation.reached(), name, { codec: BYTES });
}

function jsonOf(bytes: Uint8Array): Uint8Array {
  return isJson(bytes) ? bytes : utf8(JSON.stringify(text(bytes)));
}

/** The text of a JSON string; anything else as it is. */
function plainOf(bytes: Uint8Array): Uint8Array {
  if (!isJson(bytes)) return bytes;
  const value: unknown = JSON.parse(text(bytes));
  return typeof value === 'string' ? utf8(value) : bytes;
}

function isJson(bytes: Uint8Array): boolean {
  try {
    JSON.parse(text(bytes));
    return true;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

function milliseconds(invocation: Invocation, name: string): number | null {
  return invocation.text(name) === null ? null : invocation.milliseconds(name, 0);
}

function whole(invocation: Invocation, name: string, min: number, max: number): number {
  return invocation.whole(name, min, { min, max });
}

function optional<K extends string, V>(name: K, value: V | null): Partial<Record<K, V>> {
  const given: Partial<Record<K, V>> = {};
  if (value !== null) given[name] = value;
  return given;
}

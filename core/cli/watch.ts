// `coterie watch`: what changes under keys, from now on or from a revision, until asked to end. Prints what etcdctl prints. A
// command behind `--` runs once for each event, one after another; `-i` reads further watches from standard input. A lost
// connection is mended without losing an event (promise 4 of the client).

import { isOpenEnd } from '../base/bytes.js';
import type { Event, WatchBatch } from '../client.js';
import { isApiError } from '../errors.js';
import type { RemoteClient } from '../wire/remote-client.js';
import { Child } from './child.js';
import { complain, runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { FlagValues, parseWords, type CommandFlag } from './flags.js';
import { quote } from './go-text.js';
import { cannotRun } from './hold.js';
import { KV_FORMATS, shapeOf } from './kv.js';
import { watchBytes } from './kv-output.js';
import { keysOf, PREV_KV, RANGE_FLAGS } from './operations.js';
import { json } from './output.js';
import { Refusal } from './refusal.js';
import { Requests } from './requests.js';
import type { Terminal } from './terminal.js';
import { splitWords } from './txn-words.js';

/** Between asking the command of an event to end and ending it. */
const GRACE_MS = 2_000;
/** Watches of one `watch -i`. */
const WATCHES_MAX = 1_000;

const WATCH_FLAGS: readonly CommandFlag[] = [
  ...RANGE_FLAGS, PREV_KV,
  { name: 'rev', value: 'REVISION', help: 'from this revision on, history included; default: from now on' },
  { name: 'progress-notify', help: 'say now and then up to where everything has been seen' },
];

const WATCH: ClientCommand = {
  words: 'watch', usage: '[KEY [END]] [-- COMMAND …]', summary: 'what changes under a key or a range, until asked to end',
  takes: [0, 2], runsCommand: true, formats: KV_FORMATS,
  flags: [
    ...WATCH_FLAGS,
    { name: 'interactive', short: 'i', help: 'read watches from standard input: watch [flags] KEY [END] [-- COMMAND], progress' },
  ],
  notes: 'COMMAND finds ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and ETCD_WATCH_VALUE, quoted as in Go.\n'
    + 'A key that begins with a dash stands in COTERIE_WATCH_KEY.',
  async run(invocation) {
    const { terminal } = invocation;
    const requests = new Requests({ ended: terminal.ended });
    try {
      const first = invocation.isSet('interactive') ? null : orderOf(invocation);
      const scene = { invocation, client: await invocation.reached(), requests };
      if (first === null) return await interact(scene);
      const code = await follow(scene, first, () => undefined);
      return code ?? requests.exitCode;
    } finally {
      requests.stop();
    }
  },
};

export const COMMANDS: readonly ClientCommand[] = [WATCH];

export function main(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('watch', COMMANDS, argv, terminal);
}

interface Scene {
  readonly invocation: Invocation;
  readonly client: RemoteClient;
  readonly requests: Requests;
}

interface Order {
  readonly flags: FlagValues;
  readonly keys: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array };
  readonly command: readonly string[];
}

function orderOf({ flags, args, command, terminal: { env } }: Invocation): Order {
  const of = (name: string): string | undefined => {
    return [env[`COTERIE_WATCH_${name}`], env[`ETCDCTL_WATCH_${name}`]].find((word) => word !== undefined && word !== '');
  };
  const named = args.length > 0 ? args : [of('KEY'), of('RANGE_END')].filter((word) => word !== undefined);
  if (named.length === 0) throw new Refusal('a word is missing', 'name a key: coterie watch KEY, or coterie watch -i');
  return { flags, keys: rangeOf(flags, named), command };
}

function rangeOf(flags: FlagValues, words: readonly string[]): Order['keys'] {
  const keys = keysOf(flags, words);
  const isEmpty = keys.rangeEnd.length > 0 && !isOpenEnd(keys.rangeEnd) && Buffer.compare(keys.rangeEnd, keys.key) <= 0;
  if (!isEmpty) return keys;
  throw new Refusal(`${words.join(' ')}: no key lies there`, 'the second word must come behind the first in the order of bytes');
}

/** Null: asked to end. `begun` is given what asks for progress. */
async function follow(scene: Scene, order: Order, begun: (progress: () => void) => void): Promise<number | null> {
  const { client, requests: { asked } } = scene;
  const { flags, keys } = order;
  const request = {
    ...keys, startRevision: flags.number('rev'), prevKv: flags.isSet('prev-kv'), progressNotify: flags.isSet('progress-notify'),
  };
  const watch = client.watch(request, { signal: asked });
  begun(() => watch.requestProgress());
  try {
    for await (const batch of watch) {
      const code = await shown(scene, order, batch);
      if (code !== null) return code;
    }
  } catch (error) {
    if (!asked.aborted || !isApiError(error, 'canceled')) throw error;
  }
  return null;
}

async function shown({ invocation, requests }: Scene, { command }: Order, batch: WatchBatch): Promise<number | null> {
  if (batch.kind === 'progress') {
    const { revision } = batch.header;
    const isDecoded = invocation.format === 'decoded';
    invocation.print(isDecoded ? `${json({ event: 'progress', revision })}\n` : `progress notify: ${revision}\n`);
  }
  if (batch.kind !== 'events') return null;
  invocation.print(watchBytes(batch.header, batch.events, shapeOf(invocation)));
  const [program, ...args] = command;
  if (program === undefined) return null;
  for (const event of batch.events) {
    const code = await ran(requests, [program, ...args], batch.header.revision, event);
    if (code === null) continue;
    // As etcdctl has it: whoever cannot work on an event must not miss it.
    return complain(invocation.words, code, invocation.terminal);
  }
  return null;
}

/** Null: all went well. */
async function ran(
  requests: Requests,
  command: readonly [string, ...string[]],
  revision: number,
  { kind, kv }: Event,
): Promise<Refusal | null> {
  const env = {
    ETCD_WATCH_REVISION: String(revision), ETCD_WATCH_EVENT_TYPE: quote(kind === 'put' ? 'PUT' : 'DELETE'),
    ETCD_WATCH_KEY: quote(kv.key), ETCD_WATCH_VALUE: quote(kv.value),
  };
  const child = new Child(command, { env, graceMs: GRACE_MS });
  requests.passTo(child);
  const code = await child.ended;
  requests.passTo(null);
  const fault = child.fault();
  if (fault !== null) return cannotRun(fault);
  if (code === 0) return null;
  const words = command.map((word) => quote(word)).join(' ');
  return new Refusal(`command [${words}] ended with exit code ${code}`, 'the events behind this one have not been worked on', {
    exitCode: 1,
  });
}

/** Lines until the input ends; then until all watches have. A line that is wrong ends none of them. */
async function interact(scene: Scene): Promise<number> {
  const { invocation, requests } = scene;
  const running: Promise<number>[] = [];
  const progress: (() => void)[] = [];
  let wrong = 0;
  const gone = new Promise<null>((resolve) => {
    requests.asked.addEventListener('abort', () => resolve(null), { once: true });
  });
  const lines = invocation.terminal.lines()[Symbol.asyncIterator]();
  for (;;) {
    const next = await Promise.race([lines.next(), gone]);
    if (next === null || next.done === true) break;
    const line = next.value.trim();
    if (line === 'progress') {
      for (const ask of progress) ask();
      continue;
    }
    try {
      const order = orderOfLine(line);
      if (running.length >= WATCHES_MAX) throw new Refusal('too many watches', `${WATCHES_MAX} at most in one coterie watch -i`);
      if (order !== null) running.push(told(invocation, follow(scene, order, (ask) => progress.push(ask))));
    } catch (error) {
      wrong = complain(invocation.words, error, invocation.terminal);
    }
  }
  const codes = [...await Promise.all(running), wrong];
  return codes.find((code) => code !== 0) ?? requests.exitCode;
}

async function told({ words, terminal }: Invocation, watching: Promise<number | null>): Promise<number> {
  try {
    return (await watching) ?? 0;
  } catch (error) {
    return complain(words, error, terminal);
  }
}

/** Null: an empty line. */
function orderOfLine(line: string): Order | null {
  const usage = 'write watch [flags] KEY [END] [-- COMMAND], or progress';
  const [word, ...rest] = splitWords(line);
  if (word === undefined) return null;
  if (word !== 'watch') throw new Refusal(`Invalid command ${line} (only support watch)`, usage);
  const { values, args, behind } = parseWords(WATCH_FLAGS, rest, usage);
  if (args.length === 0) throw new Refusal(`Invalid command ${line} (command type or key is not provided)`, usage);
  const flags = new FlagValues((name) => values.get(name) ?? null);
  return { flags, keys: rangeOf(flags, args), command: behind ?? [] };
}


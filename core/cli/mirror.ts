// `coterie make-mirror`: copies keys into another cluster and keeps the copy in step, until asked to end. First everything as it
// is at one revision, page by page; then every change, the changes of one revision in one transaction as far as --max-txn-ops
// allows. Leases are not copied: what hangs on one at the source is deleted there and so here, too.
//
// A destination that is away for a while is waited for: the same values are written again in the same order, so that a write
// of which nobody knows whether it happened does no harm. One that was never reached is an error; one whose connection was lost
// under the first write had been reached.
//
// Every half minute, and at the end, it prints how many keys were written, as etcdctl does. With --rev a copy that was
// interrupted goes on behind the revision that its last message named.

import { pause } from '../../recipes/pause.js';
import { OPEN_END, utf8 } from '../base/bytes.js';
import { systemClock } from '../base/clock.js';
import type { Client, Event, KeyValue, Op } from '../client.js';
import { opDelete, opPut, prefixRange } from '../client.js';
import { isApiError, Status } from '../errors.js';
import { runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { destinationOptions, DESTINATION_FLAGS } from './connection.js';
import { json } from './output.js';
import { Refusal } from './refusal.js';
import { Requests } from './requests.js';
import type { Terminal } from './terminal.js';

const PAGE_KEYS = 500;
const REPORT_MS = 30_000;
/** Between attempts to write to a destination that does not answer. */
const RETRY_MS = 1_000;
/** What a server takes in one transaction unless told otherwise. */
const TXN_OPS = 128;
/** Of one transaction; a server refuses more than 1.5 MiB. */
const TXN_BYTES_MAX = 1 << 20;

const MIRROR: ClientCommand = {
  words: 'make-mirror', usage: 'DESTINATION', summary: 'copy keys into another cluster, and keep the copy in step', takes: [1, 1],
  flags: [
    { name: 'prefix', value: 'PREFIX', help: 'only keys that begin with it; default: all' },
    { name: 'dest-prefix', value: 'PREFIX', help: 'what stands in its place at the destination' },
    { name: 'no-dest-prefix', help: 'nothing stands in its place' },
    { name: 'rev', value: 'REVISION', help: 'go on with the changes behind it, without copying what is there' },
    { name: 'max-txn-ops', value: 'NUMBER', help: `changes in one transaction at the destination; default ${TXN_OPS}` },
    { name: 'once', help: 'end when everything has been copied once' },
    ...DESTINATION_FLAGS,
  ],
  formats: ['simple', 'json', 'decoded'],
  async run(invocation) {
    const [destination = ''] = invocation.args;
    if (invocation.isSet('no-dest-prefix') && invocation.text('dest-prefix') !== null) {
      throw new Refusal('`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time', 'leave one of them out');
    }
    const requests = new Requests({ ended: invocation.terminal.ended });
    try {
      const source = await invocation.reached();
      const options = await destinationOptions(invocation.flags, invocation.terminal);
      const target = invocation.connect(destination.split(','), options);
      await copyAll(invocation, mirrorOf(invocation, source, target), requests.asked);
      return requests.exitCode;
    } finally {
      requests.stop();
    }
  },
};

export const COMMANDS: readonly ClientCommand[] = [MIRROR];

export function main(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('make-mirror', COMMANDS, argv, terminal);
}

interface Mirror {
  readonly source: Client;
  readonly target: Client;
  readonly prefix: Uint8Array;
  /** The key at the destination. */
  place(key: Uint8Array): Uint8Array;
  readonly opsMax: number;
  /** Of the source; everything up to it has been copied. */
  revision: number;
  written: number;
  /** Tells people what keeps it from going on. */
  say(line: string): void;
}

function mirrorOf(invocation: Invocation, source: Client, target: Client): Mirror {
  const prefix = utf8(invocation.text('prefix') ?? '');
  const other = invocation.isSet('no-dest-prefix') ? '' : invocation.text('dest-prefix');
  const instead = other === null ? prefix : utf8(other);
  return {
    source, target, prefix, revision: invocation.flags.number('rev'), written: 0, say: (line) => invocation.say(line),
    place: (key) => Buffer.concat([instead, key.subarray(prefix.length)]),
    opsMax: invocation.whole('max-txn-ops', TXN_OPS, { min: 1, max: 10_000 }),
  };
}

async function copyAll(invocation: Invocation, mirror: Mirror, asked: AbortSignal): Promise<void> {
  const report = (): void => {
    const { written, revision } = mirror;
    invocation.print(invocation.format === 'simple' ? `${written}\n` : `${json({ written, revision })}\n`);
  };
  const timer = setInterval(report, REPORT_MS);
  try {
    if (mirror.revision === 0) await copyPresent(mirror, asked);
    if (!invocation.isSet('once')) await followChanges(mirror, asked);
  } catch (error) {
    if (!asked.aborted || !isApiError(error, 'canceled')) throw behind(mirror, error);
  } finally {
    clearInterval(timer);
    report();
  }
}

function behind({ revision }: Mirror, error: unknown): unknown {
  if (!isApiError(error)) return error;
  // Before the first copy is whole there is no revision to go on behind.
  if (revision === 0) {
    const remedy = 'mend that, and start it anew';
    return new Refusal(`the first copy is not whole: ${error.message}`, remedy, { exitCode: 1, cause: error });
  }
  const remedy = error.code === 'compacted'
    ? 'that history is gone: start it anew without --rev, into an empty prefix'
    : `go on with coterie make-mirror … --rev ${revision}`;
  return new Refusal(`the copy stands at revision ${revision}: ${error.message}`, remedy, { exitCode: 1, cause: error });
}

async function copyPresent(mirror: Mirror, signal: AbortSignal): Promise<void> {
  const { key, rangeEnd } = prefixRange(mirror.prefix);
  let [from, revision]: [Uint8Array, number] = [key, 0];
  for (;;) {
    const { kvs, more, header } = await mirror.source.range({ key: from, rangeEnd, revision, limit: PAGE_KEYS }, { signal });
    if (revision === 0) revision = header.revision;
    await write(mirror, kvs.map((kv) => putOf(mirror, kv)), signal);
    const last = kvs.at(-1);
    if (!more || last === undefined) break;
    from = Buffer.concat([last.key, OPEN_END]);
  }
  mirror.revision = revision;
}

function putOf(mirror: Mirror, { key, value }: KeyValue): Op {
  return opPut(mirror.place(key), value);
}

function opOf(mirror: Mirror, { kind, kv }: Event): Op {
  return kind === 'put' ? putOf(mirror, kv) : opDelete(mirror.place(kv.key));
}

async function followChanges(mirror: Mirror, signal: AbortSignal): Promise<void> {
  const watch = mirror.source.watch({ ...prefixRange(mirror.prefix), startRevision: mirror.revision + 1 }, { signal });
  for await (const { kind, events } of watch) {
    if (kind !== 'events') continue;
    for (let from = 0; from < events.length;) {
      const revision = events[from]?.kv.modRevision ?? 0;
      const end = events.findIndex((event, i) => i > from && event.kv.modRevision !== revision);
      const same = events.slice(from, end < 0 ? events.length : end);
      await write(mirror, same.map((event) => opOf(mirror, event)), signal);
      mirror.revision = revision;
      from += same.length;
    }
  }
}

/** In as few transactions as they fit into; an operation that is too large alone is sent alone, and judged there. */
async function write(mirror: Mirror, ops: readonly Op[], signal: AbortSignal): Promise<void> {
  let some: Op[] = [];
  let bytes = 0;
  const flush = async (): Promise<void> => {
    if (some.length > 0) await persist(mirror, some, signal);
    mirror.written += some.length;
    [some, bytes] = [[], 0];
  };
  for (const op of ops) {
    const size = op.kind === 'put' ? op.request.key.length + op.request.value.length : 0;
    if (some.length >= mirror.opsMax || bytes + size > TXN_BYTES_MAX) await flush();
    some.push(op);
    bytes += size;
  }
  await flush();
}

/** Until the destination has taken it, or refuses it. */
async function persist(mirror: Mirror, success: readonly Op[], signal: AbortSignal): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await mirror.target.txn({ success }, { signal });
      if (attempt > 0) mirror.say('make-mirror: the destination is back, and the copy goes on');
      return;
    } catch (error) {
      const isAway = isApiError(error) && (error.status === Status.unavailable || error.status === Status.deadline_exceeded);
      const wasReached = mirror.written > 0 || attempt > 0 || isApiError(error, 'connection_lost');
      if (!isAway || !wasReached || signal.aborted) throw error;
      if (attempt === 0) mirror.say(`make-mirror: the destination is away, and is waited for: ${error.message}`);
      await pause(systemClock, RETRY_MS, signal);
    }
  }
}

// `coterie publish` and `coterie subscribe`: a message into a topic, and what is published there, line by line, from any
// position on. Nothing is passed over in silence: what a reader will not see is told, with the position to go on from.

import { readFileSync } from 'node:fs';
import { text, utf8 } from '../base/bytes.js';
import { isApiError } from '../errors.js';
import { Gap, type Message } from '../../recipes/topic-names.js';
import { LiveTopic, Topic } from '../../recipes/topic.js';
import type { Subscription } from '../../recipes/topic-read.js';
import { runGroup, type ClientCommand, type CommandFlag, type Invocation } from './client-command.js';
import { tell } from './hold.js';
import { json } from './output.js';
import { Refusal } from './refusal.js';
import { Requests } from './requests.js';

const KEEP_MAX = 100_000;
const LIVE: CommandFlag = { name: 'live', help: 'of the other kind of topic: only the newest message is kept' };

const PUBLISH: ClientCommand = {
  words: 'publish', usage: 'TOPIC MESSAGE', summary: 'a message for everybody who subscribes; "-" reads standard input',
  takes: [2, 2], flags: [
    LIVE,
    { name: 'id', value: 'ID', help: 'published once: for ten minutes no second message has it' },
    { name: 'keep', value: 'NUMBER', help: 'of the newest messages; default 1000; give it every time' },
    { name: 'keep-for', value: 'DURATION', help: 'how long a message is kept at least; default: for ever; give it every time' },
  ],
  formats: ['simple', 'json'],
  async run(invocation) {
    const [name = '', message = ''] = invocation.args;
    const body = message === '-' ? readFileSync(0) : utf8(message);
    const id = invocation.text('id');
    const { timeoutMs } = invocation;
    if (invocation.isSet('live')) {
      const other = ['id', 'keep', 'keep-for'].find((flag) => invocation.text(flag) !== null);
      if (other !== undefined) throw new Refusal(`--${other} with --live: only the newest is kept`, 'leave one of them out');
      const client = await invocation.reached();
      return said(invocation, { ...await new LiveTopic(client, name).publish(body, { timeoutMs }), duplicate: false });
    }
    const ageMs = invocation.text('keep-for') === null ? null : invocation.milliseconds('keep-for', 0);
    const retain = {
      count: invocation.whole('keep', 1_000, { min: 1, max: KEEP_MAX }),
      ...(ageMs === null ? {} : { ageSeconds: Math.max(1, Math.ceil(ageMs / 1000)) }),
    };
    const topic = new Topic(await invocation.reached(), name, { retain });
    return said(invocation, await topic.publish(body, { timeoutMs, ...(id === null ? {} : { id }) }));
  },
};

function said(invocation: Invocation, { position, duplicate }: { position: number; duplicate: boolean }): number {
  invocation.print(invocation.format === 'json' ? `${json({ position, duplicate })}\n` : `${position}\n`);
  return 0;
}

const SUBSCRIBE: ClientCommand = {
  words: 'subscribe', usage: 'TOPIC', summary: 'what is published there, a message a line, until asked to end', takes: [1, 1],
  flags: [
    LIVE,
    { name: 'from', value: 'WHERE', help: 'now (default), oldest, or the position to go on behind' },
    { name: 'count', value: 'NUMBER', help: 'end after so many messages' },
    { name: 'skip-gaps', help: 'go on behind messages that are not kept any more, and say so' },
  ],
  formats: ['simple', 'json'],
  async run(invocation) {
    const count = invocation.text('count') === null ? Infinity : invocation.whole('count', 1, { min: 1, max: 1_000_000_000 });
    const requests = new Requests();
    try {
      return await follow(invocation, requests, await subscription(invocation, requests), count);
    } catch (error) {
      if (requests.asked.aborted && isApiError(error, 'canceled')) return requests.exitCode;
      if (!(error instanceof Gap)) throw error;
      throw new Refusal(error.message, `coterie subscribe --from ${error.to}, or --skip-gaps`, { exitCode: 1, cause: error });
    } finally {
      requests.stop();
    }
  },
};

async function subscription(invocation: Invocation, { asked }: Requests): Promise<Subscription> {
  const [name = ''] = invocation.args;
  const where = invocation.text('from') ?? 'now';
  const options = { signal: asked, onGap: invocation.isSet('skip-gaps') ? 'skip' : 'throw' } as const;
  const isLive = invocation.isSet('live');
  if (isLive && where !== 'now' && where !== 'oldest') {
    throw new Refusal(`--from ${where} with --live: not kept`, 'give now or oldest');
  }
  if (where !== 'now' && where !== 'oldest' && !/^\d{1,15}$/.test(where)) {
    throw new Refusal(`--from ${where}: no position`, 'give now, oldest, or a position');
  }
  // A store that is not there at all is said; one that goes later is waited for.
  const client = await invocation.reached();
  if (isLive) {
    return new LiveTopic(client, name).subscribe({ ...options, from: where === 'oldest' ? 'last' : 'now' });
  }
  if (where === 'now' || where === 'oldest') return new Topic(client, name).subscribe({ ...options, from: where });
  return new Topic(client, name).subscribe({ ...options, from: { after: Number(where) } });
}

async function follow(invocation: Invocation, requests: Requests, messages: Subscription, count: number): Promise<number> {
  await messages.ready({ timeoutMs: invocation.timeoutMs, signal: requests.asked });
  let left = count;
  for await (const message of messages) {
    if (message.missed !== null) tell(invocation, message.missed.message);
    await printed(lineOf(invocation, message));
    left -= 1;
    if (left === 0) return 0;
  }
  return requests.exitCode;
}

function lineOf({ format }: Invocation, { position, body }: Message): Uint8Array {
  if (format !== 'json') return Buffer.concat([body, utf8('\n')]);
  return utf8(`${json({ position, body: text(body) })}\n`);
}

/** Not faster than it is read. */
function printed(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.write(bytes, () => resolve());
  });
}

export const COMMANDS: readonly ClientCommand[] = [PUBLISH, SUBSCRIBE];

export function publish(argv: readonly string[]): Promise<number> {
  return runGroup('publish', [PUBLISH], argv);
}

export function subscribe(argv: readonly string[]): Promise<number> {
  return runGroup('subscribe', [SUBSCRIBE], argv);
}

// What `coterie lock` and `coterie elect` have in common: open a session, acquire, then either hold until asked to end or
// run a command while it is held. The session counts as lost so early that a command which ignores SIGTERM is gone by
// SIGKILL before the lease can run out, and with it before the store can give the thing to anybody else.

import { hostname } from 'node:os';
import path from 'node:path';
import { ApiError, isApiError } from '../errors.js';
import type { Held } from '../../recipes/held.js';
import { Session, SessionLost } from '../../recipes/session.js';
import { Child } from './child.js';
import { complain, type CommandFlag, type Invocation } from './client-command.js';
import { json } from './output.js';
import { Refusal } from './refusal.js';
import { Requests } from './requests.js';
import { showDuration } from './values.js';

/** etcdctl's. */
const TTL_SECONDS = 10;
const TTL_SECONDS_MAX = 86_400;
/** Of the TTL, for the command to end in. */
const GRACE_SHARE = 0.2;
const GRACE_SHARE_MAX = 0.4;
/** Of the TTL, for clocks that drift and timers that are late. */
const DRIFT_SHARE = 0.1;
/** So long an end tries to tell the store; what it could not be told goes with the lease. */
export const CLOSE_MS = 3_000;

export const TERMS_FLAGS: readonly CommandFlag[] = [
  { name: 'ttl', value: 'SECONDS', help: 'how long the others wait when this process is gone without a word; default 10' },
  { name: 'timeout', value: 'DURATION', help: 'how long to wait for it; default: as long as it takes' },
  { name: 'grace', value: 'DURATION', help: 'between SIGTERM and SIGKILL when it is lost; default a fifth of the TTL' },
];
export const HOLD_FLAGS: readonly CommandFlag[] = [
  ...TERMS_FLAGS,
  { name: 'root', value: 'PREFIX', help: 'where its keys are; "" for those of etcdctl; default the recipes\'' },
];

export interface Post {
  /** Such as `lock nightly`, for messages. */
  readonly what: string;
  readonly command: readonly string[];
  /** Resolves when it is held. `stop` ends the wait. Null: it is somebody else's, and there was to be no wait. */
  acquire(session: Session, wait: { readonly signal: AbortSignal; readonly timeoutMs?: number }): Promise<Held | null>;
  /** What is printed, and what JSON says besides, when it is held and no command is there to say something. */
  announce(held: Held): string;
  /** For the command. */
  environment(held: Held): Readonly<Record<string, string>>;
  /** Who has it, for people; null when nobody does. */
  holder(): Promise<string | null>;
  /** The exit code when it was not to be had. */
  readonly refusedCode: number;
}

export interface Terms {
  readonly ttlSeconds: number;
  readonly graceMs: number;
  readonly timeoutMs: number | null;
}

/** Runs to the end; gives the exit code. */
export async function hold(invocation: Invocation, post: Post): Promise<number> {
  const terms = termsOf(invocation);
  const requests = new Requests();
  try {
    const session = await openSession(invocation, { terms, requests, command: post.command, what: post.what });
    try {
      const held = await acquired(invocation, post, { session, requests, terms });
      return typeof held === 'number' ? held : await keep(invocation, post, { held, requests, terms });
    } finally {
      await session.close({ timeoutMs: CLOSE_MS });
    }
  } catch (error) {
    if (requests.asked.aborted && isApiError(error, 'canceled')) return requests.exitCode;
    throw error instanceof SessionLost ? lostWaiting(post.what, error) : error;
  } finally {
    requests.stop();
  }
}

/** Lost so early that what runs under it can be ended in time. */
export function openSession(
  invocation: Invocation,
  { terms, requests, command, what }: {
    readonly terms: Terms; readonly requests: Requests; readonly command: readonly string[]; readonly what: string;
  },
): Promise<Session> {
  const { ttlSeconds, graceMs } = terms;
  return Session.open(invocation.connect(), {
    ttlSeconds,
    marginMs: Math.min(graceMs + ttlSeconds * 1000 * DRIFT_SHARE, ttlSeconds * 500),
    name: nameOf(command),
    timeoutMs: invocation.milliseconds('dial-timeout', 2000) + invocation.timeoutMs,
    signal: requests.asked,
    observe: (event) => {
      if (event.kind === 'orphaned') tell(invocation, leftBehind(what, terms));
    },
  });
}

export function termsOf(invocation: Invocation): Terms {
  const ttlSeconds = invocation.seconds('ttl', TTL_SECONDS);
  if (ttlSeconds < 1 || ttlSeconds > TTL_SECONDS_MAX) {
    throw new Refusal(`--ttl ${invocation.text('ttl') ?? ''}: too short or too long`, `give 1 to ${TTL_SECONDS_MAX} seconds`);
  }
  const graceMs = invocation.milliseconds('grace', ttlSeconds * 1000 * GRACE_SHARE);
  const graceMsMax = ttlSeconds * 1000 * GRACE_SHARE_MAX;
  if (graceMs > graceMsMax) {
    const problem = `--grace ${invocation.text('grace') ?? ''}: the command could outlive what it runs under`;
    throw new Refusal(problem, `give at most ${showDuration(graceMsMax)}, two fifths of the TTL, or a longer --ttl`);
  }
  return { ttlSeconds, graceMs, timeoutMs: invocation.text('timeout') === null ? null : invocation.milliseconds('timeout', 0) };
}

interface Waiting {
  readonly session: Session;
  readonly requests: Requests;
  readonly terms: Terms;
}

/** A number is the exit code of a command that did not get it. */
async function acquired(invocation: Invocation, post: Post, { session, requests, terms }: Waiting): Promise<Held | number> {
  const { timeoutMs } = terms;
  const timer = setTimeout(() => void tellWaiting(invocation, post), TELL_MS);
  try {
    const wait = { signal: requests.asked, ...(timeoutMs === null ? {} : { timeoutMs }) };
    const held = await post.acquire(session, wait);
    return held ?? await refused(invocation, post, 'is not free');
  } catch (error) {
    if (timeoutMs === null || !isApiError(error, 'deadline_exceeded')) throw error;
    return await refused(invocation, post, `was not to be had within ${showDuration(timeoutMs)}`);
  } finally {
    clearTimeout(timer);
  }
}

/** A person who waits that long wants to know for whom. */
const TELL_MS = 1_000;

async function tellWaiting(invocation: Invocation, post: Post): Promise<void> {
  if (!process.stderr.isTTY) return;
  const holder = await holderOf(post);
  tell(invocation, `waiting for ${post.what}${holder === null ? '' : `, which ${holder} has`}`);
}

async function refused(invocation: Invocation, post: Post, why: string): Promise<number> {
  const holder = await holderOf(post);
  const problem = `${post.what} ${why}${holder === null ? '' : `: ${holder} has it`}`;
  complain(invocation.words, new Refusal(problem, 'coterie sessions shows who has what; --timeout says how long to wait'));
  return post.refusedCode;
}

async function holderOf(post: Post): Promise<string | null> {
  try {
    return await post.holder();
  } catch (error) {
    if (error instanceof ApiError) return null;
    throw error;
  }
}

interface Having {
  readonly held: Held;
  readonly requests: Requests;
  readonly terms: Terms;
}

async function keep(invocation: Invocation, post: Post, { held, requests, terms }: Having): Promise<number> {
  if (requests.asked.aborted) return requests.exitCode;
  const [program, ...args] = post.command;
  if (program !== undefined) return await run(invocation, post, { held, requests, terms }, [program, ...args]);
  invocation.print(invocation.format === 'json' ? `${json(factsOf(held))}\n` : post.announce(held));
  await aborted(held.signal, requests.asked);
  // Asked to end while it was held: all went well, as etcdctl has it.
  return held.isHeld ? 0 : saidLost(invocation, post, held, 'acquire it anew');
}

async function run(
  invocation: Invocation,
  post: Post,
  having: Having,
  command: readonly [string, ...string[]],
): Promise<number> {
  const { held, requests, terms: { graceMs } } = having;
  held.assertHeld(graceMs);
  const child = new Child(command, { env: post.environment(held), graceMs });
  requests.passTo(child);
  const first = await Promise.race([child.ended, aborted(held.signal)]);
  if (first === undefined) {
    saidLost(invocation, post, held, `the command is ended: SIGTERM, and SIGKILL after ${showDuration(graceMs)}`);
    await child.end();
    requests.passTo(null);
    return 1;
  }
  requests.passTo(null);
  const fault = child.fault();
  if (fault !== null) complain(invocation.words, cannotRun(fault));
  // Nobody may believe that all of it was done under the lock.
  return held.isHeld ? first : saidLost(invocation, post, held, 'the command had not ended by then; look what it has done');
}

function saidLost(invocation: Invocation, { what }: Post, held: Held, next: string): number {
  const reason: unknown = held.signal.reason;
  const why = reason instanceof Error ? reason.message : String(reason);
  return complain(invocation.words, new Refusal(`${what} is lost: ${why}`, next, { exitCode: 1 }));
}

export function lostWaiting(what: string, error: SessionLost): Refusal {
  const remedy = 'see whether the store answers: coterie endpoint health; then try again';
  return new Refusal(`waiting for ${what}: ${error.message}`, remedy, { exitCode: 1, cause: error });
}

function leftBehind(what: string, { ttlSeconds }: Terms): string {
  return `${what}: the store could not be told of the end; others get it when the lease has run out, in ${ttlSeconds} s at most`;
}

function factsOf(held: Held): { name: string; key: string; fence: number } {
  return { name: held.name, key: Buffer.from(held.key).toString(), fence: held.fence };
}

/** Resolves when the first of them aborts. */
export function aborted(...signals: readonly AbortSignal[]): Promise<undefined> {
  return new Promise((resolve) => {
    for (const signal of signals) {
      if (signal.aborted) resolve(undefined);
      else signal.addEventListener('abort', () => resolve(undefined), { once: true });
    }
  });
}

export function cannotRun(fault: Error): Refusal {
  return new Refusal(`the command cannot be run: ${fault.message}`, 'name a program, then its words', { exitCode: 1 });
}

/** A line for people, beside what a program may read. */
export function tell(invocation: Invocation, line: string): void {
  process.stderr.write(`coterie ${invocation.words}: ${line}\n`);
}

/** Who we are, for whoever looks at what we hold. */
export function nameOf(command: readonly string[]): string {
  const [program] = command;
  return program === undefined ? 'coterie' : path.basename(program);
}

export function ourselves(command: readonly string[]): { name: string; host: string; pid: number } {
  return { name: nameOf(command), host: hostname(), pid: process.pid };
}

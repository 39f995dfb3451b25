// The holder's event loop stands still for longer than its lock lives: a large JSON, a long regular expression. What does
// the first statement afterwards see, and how long until the holder is told?

import { Redis } from 'ioredis';
import { spawnSync } from 'node:child_process';
import { setImmediate as turn } from 'node:timers/promises';
import type { KeepAliver } from '../../core/client.js';
import { connect, keepAliver } from '../../core/index.js';
import { lock } from '../../recipes/lock.js';
import { Session } from '../../recipes/session.js';
import { block, hasKeys, type Place, type Row, type Store } from './place.js';

const TTL_MS = 2_000;
const STALL_MS = 3_500;
const BUDGET_MS = 30_000;
const PATIENCE_MS = 5_000;

interface Seen {
  /** What the holder reads in its first statement after the stall. */
  readonly held: boolean;
  /** Whether the store still had the lock as its own at that moment, seen by another process. */
  readonly had: boolean;
  /** Turns of the loop, and milliseconds, until the signal was aborted; null: not within the patience. */
  readonly told: { readonly turns: number; readonly ms: number } | null;
}

/** The package's types are not reachable through its `exports`. */
interface Redlock {
  using<T>(resources: string[], ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
  on(event: 'error', tell: () => void): void;
}

export async function stall(place: Place): Promise<{ title: string; rows: readonly Row[] }> {
  const store = await place.store();
  const theirs = await runTheirs(await place.redis());
  const ours = await runOurs(store, 'plain', {});
  const budget = await runOurs(store, 'budget', { stallBudgetMs: BUDGET_MS, keepAliver: keepAliver(store.url) });
  const told = ({ told: seen }: Seen): string => {
    if (seen === null) return 'not at all';
    return seen.turns === 0 ? 'in the same statement' : `after ${seen.turns} turns of the loop`;
  };
  const yes = (is: boolean): string => (is ? 'yes' : 'no');
  return {
    title: `The loop stands still for ${STALL_MS} ms under a lock of ${TTL_MS} ms, store: ${store.name}. ` +
      'Theirs: redlock 5.0.0-beta.2 on one Redis',
    rows: [
      { what: 'first statement after the stall: held?', theirs: yes(theirs.held), ours: yes(ours.held) },
      { what: 'the store, at that moment: held?', theirs: yes(theirs.had), ours: yes(ours.had) },
      { what: 'the signal is aborted', theirs: told(theirs), ours: told(ours) },
      { what: `with a stall budget of ${BUDGET_MS / 1000} s: held?`, theirs: 'has none', ours: yes(budget.held) },
      { what: 'the store, at that moment: held?', theirs: '', ours: yes(budget.had) },
    ],
  };
}

/** Looks once before it lets the loop turn, then after each turn. */
async function toldAfter(signal: () => boolean): Promise<Seen['told']> {
  const from = performance.now();
  for (let turns = 0; performance.now() - from < PATIENCE_MS; turns += 1) {
    if (signal()) return { turns, ms: performance.now() - from };
    await turn();
  }
  return null;
}

async function runTheirs(port: number): Promise<Seen> {
  const client = new Redis({ port, host: '127.0.0.1' });
  // Until the server is up.
  client.on('error', () => undefined);
  const name: string = 'redlock';
  const { default: make } = await import(name) as { default: new (clients: Redis[]) => Redlock };
  const redlock = new make([client]);
  redlock.on('error', () => undefined);
  const seen: Seen[] = [];
  const work = async (signal: AbortSignal): Promise<void> => {
    block(STALL_MS);
    const held = !signal.aborted;
    const { stdout } = spawnSync('redis-cli', ['-p', `${port}`, 'EXISTS', 'job'], { encoding: 'utf8' });
    seen.push({ held, had: stdout.trim() === '1', told: await toldAfter(() => signal.aborted) });
  };
  // Its end rejects when the release finds the lock gone; what was seen is what counts here.
  const ended = await redlock.using(['job'], TTL_MS, work).then(() => null, (error: unknown) => error);
  client.disconnect();
  const [only] = seen;
  if (only === undefined) throw new Error('redlock ran nothing', { cause: ended });
  return only;
}

async function runOurs(store: Store, name: string, options: { stallBudgetMs?: number; keepAliver?: KeepAliver }): Promise<Seen> {
  const client = connect(store.url);
  const session = await Session.open(client, { ttlSeconds: TTL_MS / 1000, ...options });
  const held = await lock(session, name);
  // Where there is a thread it has started by then.
  await new Promise((resolve) => setTimeout(resolve, 500));
  block(STALL_MS);
  const { isHeld } = held;
  const had = hasKeys(store, `coterie/locks/${name}/`);
  const told = isHeld ? null : await toldAfter(() => held.signal.aborted);
  await session.close();
  await client.close();
  return { held: isHeld, had, told };
}

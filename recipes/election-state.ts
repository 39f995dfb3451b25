// Looking at an election from outside: who leads, who stands in line, and following both. Needs no session and stands in
// no line.
//
// Keys: <root><name>/<lease hex><mark>~<priority>   a candidate; the value is whatever it says of itself. etcd's layout but
//                                                   for the priority, which says that its owner follows when it is moved
//       coterie/chosen/<candidate>                  the create revision of the candidate that the leader has handed over to:
//                                                   it does not yield. On its lease
// The leader is the candidate with the lowest create revision, which is its term. The root is `coterie/elections/`; names
// and roots follow the rules of lock-names.ts, and entries of others (`etcdctl elect`, Go) stand in the same line.

import { onceAborted } from '../core/base/abort.js';
import { text, utf8 } from '../core/base/bytes.js';
import type { Clock } from '../core/base/clock.js';
import { systemClock } from '../core/base/clock.js';
import type { CallOptions, Client, KeyValue, LeaseId, RangeRequest, Revision } from '../core/client.js';
import { prefixRange } from '../core/client.js';
import { isApiError } from '../core/errors.js';
import { isWorthRepeating } from './entry.js';
import { escapeName } from './lock-names.js';
import { requestRelease } from './lock-state.js';
import { Backoff, bounded, chance, pause } from './pause.js';
import { rootedPath } from './rooted-names.js';
import { View } from './view.js';

export const ELECTIONS_ROOT = 'coterie/elections/';
const CHOSEN = 'coterie/chosen/';
/** So many candidates are looked at, those that came first. */
export const CANDIDATES_MAX = 1_000;
const CALL_MS = 5_000;
const RETRY_MS = 50;
const RETRY_MS_MAX = 2_000;

/** Somebody in an election's line. */
export interface Candidate {
  /** The end of its key: stays the same when it is moved. */
  readonly id: string;
  readonly key: string;
  readonly lease: LeaseId;
  /** The create revision: where it stands in the line. It changes when it is moved. */
  readonly since: Revision;
  /** 0 for a candidate that is not ours. */
  readonly priority: number;
  /** What it says of itself. */
  readonly value: string;
  readonly bytes: Uint8Array;
}

export interface Leader extends Candidate {
  /** The create revision of its entry: grows from one leader to the next, and is its fence. */
  readonly term: Revision;
  /** Of its newest value. */
  readonly revision: Revision;
  /** Null while known to be current; else since when (on the clock) the store could not be asked. */
  readonly staleSince: number | null;
}

export interface ElectionPlace {
  /** Default `coterie/elections/`; '' for the same election as `etcdctl elect NAME`. */
  readonly root?: string;
}

/** The prefix of its candidates. Throws `invalid_request`, naming the value, unless an election may be called that. */
export function electionLine(name: string, root?: string): string {
  return `${rootedPath('election', name, ELECTIONS_ROOT, root)}/`;
}

export function chosenKey(candidate: Uint8Array): Uint8Array {
  return utf8(`${CHOSEN}${text(candidate)}`);
}

/** Null: not one of ours, and so nothing that may be moved. */
export function priorityOf(key: Uint8Array): number | null {
  const [, priority] = /~(\d+)(?:\.\d+)?$/.exec(text(key)) ?? [];
  return priority === undefined ? null : Number(priority);
}

export function readCandidate(kv: KeyValue): Candidate {
  const { key, value, lease, createRevision } = kv;
  const [, id = ''] = /([^/]*?)(?:\.\d+)?$/.exec(text(key)) ?? [];
  return { id, key: text(key), lease, since: createRevision, priority: priorityOf(key) ?? 0, value: text(value), bytes: value };
}

function readLeader(kv: KeyValue, staleSince: number | null): Leader {
  return { ...readCandidate(kv), term: kv.createRevision, revision: kv.modRevision, staleSince };
}

/** Those of the line from the first on. */
export function inOrder(line: string, limit: number): RangeRequest {
  return { ...prefixRange(utf8(line)), sortTarget: 'create', sortOrder: 'ascend', limit };
}

/** Who leads now; null when nobody does. */
export async function leader(client: Client, name: string, options: ElectionPlace & CallOptions = {}): Promise<Leader | null> {
  const { root, ...call } = options;
  const [first] = (await client.range(inOrder(electionLine(name, root), 1), call)).kvs;
  return first === undefined ? null : readLeader(first, null);
}

/** The leader and those behind it, in the order of the line; at most the first 1,000. */
export async function candidates(
  client: Client,
  name: string,
  options: ElectionPlace & CallOptions = {},
): Promise<readonly Candidate[]> {
  const { root, ...call } = options;
  return (await client.range(inOrder(electionLine(name, root), CANDIDATES_MAX), call)).kvs.map(readCandidate);
}

/**
 * Asks the present leader to resign: its `wanted` aborts with `why`. False when nobody leads. A leader that is not ours, or
 * does not look at `wanted`, will not notice. Nothing is taken away from anybody.
 */
export async function requestResign(
  client: Client,
  name: string,
  why: string,
  options: ElectionPlace & CallOptions = {},
): Promise<boolean> {
  const { root = ELECTIONS_ROOT, ...call } = options;
  electionLine(name, root);
  const path = root === ELECTIONS_ROOT ? escapeName(name) : name;
  return await requestRelease(client, path, why, { ...call, root }) !== null;
}

export interface ObserveOptions extends ElectionPlace {
  /** Ends the iteration. */
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  /** Without a sign of life from the store for this long the leader is shown as stale. Default 9 s. */
  readonly livenessMs?: number;
}

/**
 * First who leads now, then whenever that has changed: another leader, null when there is none, the same leader with a new
 * value, or with another `staleSince`. In the store's order; leaders that came and went while nobody looked are not
 * mentioned. Ends when `signal` aborts or the client is closed; throws only what trying again would not mend.
 */
export async function* observe(
  client: Client,
  name: string,
  options: ObserveOptions = {},
): AsyncGenerator<Leader | null, void> {
  const line = electionLine(name, options.root);
  const { clock = systemClock, signal, livenessMs } = options;
  const stop = new AbortController();
  const onAbort = (): void => stop.abort();
  onceAborted(signal, onAbort);
  if (signal?.aborted === true) onAbort();
  const view = { clock, ...(livenessMs === undefined ? {} : { livenessMs }) };
  const backoff = new Backoff({ baseMs: RETRY_MS, maxMs: RETRY_MS_MAX, prng: chance(clock, line) });
  let told: Leader | null | undefined;
  try {
    while (!stop.signal.aborted) {
      const first = await firstOf(client, line, clock, stop.signal);
      if (first !== undefined) backoff.reset();
      const steps = first === undefined ? outdated(told, clock.now()) : follow(client, line, first, { view, stop: stop.signal });
      for await (const now of steps) {
        if (told !== undefined && isSame(told, now)) continue;
        told = now;
        yield now;
        if (stop.signal.aborted) return;
      }
      if (first === undefined) await pause(clock, backoff.next(), stop.signal);
    }
  } catch (error) {
    if (!stop.signal.aborted && !isApiError(error, 'closed')) throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Undefined: the store could not be asked; it may be worth trying again. */
async function firstOf(client: Client, line: string, clock: Clock, stop: AbortSignal): Promise<KeyValue | null | undefined> {
  const bounds = { timeoutMs: CALL_MS, outer: stop, what: 'asking who leads' };
  try {
    const answer = await bounded(clock, bounds, (signal) => client.range(inOrder(line, 1), { signal }));
    return answer.kvs[0] ?? null;
  } catch (error) {
    if (stop.aborted || !isWorthRepeating(error)) throw error;
    return undefined;
  }
}

/** What was told last, once more, while nobody can say what has become of it. */
function outdated(told: Leader | null | undefined, now: number): readonly Leader[] {
  return told === undefined || told === null || told.staleSince !== null ? [] : [{ ...told, staleSince: now }];
}

/**
 * The leader that was found first, for as long as it is: one key is followed, however many stand behind it. Without a
 * leader the line is, until somebody stands in it. Then it has to be asked again who is first.
 */
async function* follow(
  client: Client,
  line: string,
  first: KeyValue | null,
  options: { readonly view: { readonly clock: Clock; readonly livenessMs?: number }; readonly stop: AbortSignal },
): AsyncGenerator<Leader | null, void> {
  yield first === null ? null : readLeader(first, null);
  const view = View.follow(client, first === null ? { prefix: line } : { key: first.key }, options.view);
  const end = (): void => void view.close();
  onceAborted(options.stop, end);
  try {
    if (options.stop.aborted) return;
    for await (const { staleSince } of view.changes) {
      if (!view.synced) continue;
      if (first === null) {
        if (view.size > 0) return;
        continue;
      }
      const now = view.get(first.key);
      if (now?.createRevision !== first.createRevision) return;
      yield readLeader(now, staleSince);
    }
  } finally {
    options.stop.removeEventListener('abort', end);
    await view.close();
  }
}

function isSame(a: Leader | null, b: Leader | null): boolean {
  if (a === null || b === null) return a === b;
  return a.term === b.term && a.revision === b.revision && a.staleSince === b.staleSince && a.id === b.id;
}

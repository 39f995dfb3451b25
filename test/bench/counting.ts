// What the rows of the recipes share: a client that counts what is asked of it, so that a row can say how many operations
// a recipe costs, and sessions on it. Renewals of leases are not counted: they go with time, not with work.

import type { CallOptions, Client, RangeRequest, TxnRequest, WatchRequest } from '../../core/client.js';
import { connect } from '../../core/wire/remote-client.js';
import { Session } from '../../recipes/session.js';
import type { Target } from './targets.js';

const TTL_SECONDS = 60;

export interface Calls {
  readonly txn: number;
  readonly range: number;
  readonly watch: number;
  readonly lease: number;
}

export class Counting implements Client {
  readonly #client: Client;
  readonly #calls = { txn: 0, range: 0, watch: 0, lease: 0 };

  constructor(client: Client) {
    this.#client = client;
  }

  get calls(): Calls {
    return { ...this.#calls };
  }

  get total(): number {
    const { txn, range, watch, lease } = this.#calls;
    return txn + range + watch + lease;
  }

  range(request: RangeRequest, options?: CallOptions): ReturnType<Client['range']> {
    this.#calls.range += 1;
    return this.#client.range(request, options);
  }

  txn(request: TxnRequest, options?: CallOptions): ReturnType<Client['txn']> {
    this.#calls.txn += 1;
    return this.#client.txn(request, options);
  }

  watch(request: WatchRequest, options?: CallOptions): ReturnType<Client['watch']> {
    this.#calls.watch += 1;
    return this.#client.watch(request, options);
  }

  grant(...args: Parameters<Client['grant']>): ReturnType<Client['grant']> {
    this.#calls.lease += 1;
    return this.#client.grant(...args);
  }

  revoke(...args: Parameters<Client['revoke']>): ReturnType<Client['revoke']> {
    this.#calls.lease += 1;
    return this.#client.revoke(...args);
  }

  keepAlive(...args: Parameters<Client['keepAlive']>): ReturnType<Client['keepAlive']> {
    return this.#client.keepAlive(...args);
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}

export async function connected<T>(target: Target, work: (client: Counting) => Promise<T>): Promise<T> {
  const client = new Counting(connect(target.url));
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

export async function opened<T>(client: Client, count: number, work: (sessions: readonly Session[]) => Promise<T>): Promise<T> {
  const sessions = await Promise.all(Array.from({ length: count }, () => Session.open(client, { ttlSeconds: TTL_SECONDS })));
  try {
    return await work(sessions);
  } finally {
    await Promise.all(sessions.map((session) => session.close()));
  }
}

/** `at` from 0 to 1, of at least one value. */
export function quantile(values: readonly number[], at: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))] ?? NaN;
}

/** Fails where a row would otherwise tell of work that was not done. */
export function must(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`the bench itself went wrong: ${what}`);
}

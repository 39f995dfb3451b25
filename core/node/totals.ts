// What has happened in this member since it started, in plain counters: for metrics, which ask now and then. Nothing here is
// on disk, replicated, or read by any decision.
//
// What is counted as an operation follows etcd's `mvcc` counters: each get, put and delete that was carried out, those inside
// transactions too; a transaction counts once, and only when it carried out more than one.

import type { OpResponse } from '../client.js';
import type { Command } from '../store/command.js';
import type { Applied } from '../store/store.js';

export interface TotalsFacts {
  readonly ranges: number;
  readonly puts: number;
  readonly deletes: number;
  readonly txns: number;
  /** Keys and values of all puts. */
  readonly putBytes: number;
  /** Given to watches. */
  readonly events: number;
  readonly leasesGranted: number;
  readonly leasesRevoked: number;
  /** By this member, while it led. */
  readonly leasesRenewed: number;
  /** How many granted leases fell into each bucket of `TTL_BUCKETS`; the last one: longer than all. */
  readonly leaseTtls: readonly number[];
  readonly leaseTtlSeconds: number;
  /** Turns whose entries took the store longer than `slowApplyMs`. */
  readonly slowApplies: number;
}

/** Upper bounds of TTLs: 1 s, doubling, 24 times, as etcd counts them. */
export const TTL_BUCKETS: readonly number[] = Array.from({ length: 24 }, (_, i) => 2 ** i);

export class Totals implements TotalsFacts {
  ranges = 0;
  puts = 0;
  deletes = 0;
  txns = 0;
  putBytes = 0;
  events = 0;
  leasesGranted = 0;
  leasesRevoked = 0;
  leasesRenewed = 0;
  readonly leaseTtls = Array.from({ length: TTL_BUCKETS.length + 1 }, () => 0);
  leaseTtlSeconds = 0;
  slowApplies = 0;

  onApplied(command: Command, { reply, events }: Applied): void {
    if (reply.kind === 'lease_grant') this.#onGranted(reply.ttlSeconds);
    if (reply.kind === 'lease_revoke') this.leasesRevoked += 1;
    if (reply.kind === 'txn' && command.kind === 'txn') this.onOps(reply.responses);
    // Of a lease that ends only deletes come, and there may be very many.
    if (events === null || reply.kind === 'lease_revoke') return;
    for (const { kind, kv } of events.events) if (kind === 'put') this.putBytes += kv.key.length + kv.value.length;
  }

  /** The operations of one transaction, carried out. */
  onOps(responses: readonly OpResponse[]): void {
    if (this.#count(responses) > 1) this.txns += 1;
  }

  #count(responses: readonly OpResponse[]): number {
    let count = 0;
    for (const each of responses) {
      if (each.kind === 'txn') {
        count += this.#count(each.response.responses);
        continue;
      }
      count += 1;
      if (each.kind === 'put') this.puts += 1;
      else if (each.kind === 'range') this.ranges += 1;
      else this.deletes += 1;
    }
    return count;
  }

  #onGranted(ttlSeconds: number): void {
    this.leasesGranted += 1;
    this.leaseTtlSeconds += ttlSeconds;
    const bucket = TTL_BUCKETS.findIndex((bound) => ttlSeconds <= bound);
    const at = bucket === -1 ? TTL_BUCKETS.length : bucket;
    this.leaseTtls[at] = (this.leaseTtls[at] ?? 0) + 1;
  }
}

// What the generators know of the world so far, learned from etcd's answers alone: so the same seed asks the same questions
// however coterie answers.

import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import { CALLS, type CallName } from './calls.js';

/** Calls after which more is so than a revision. */
const TELLING: ReadonlySet<CallName> = new Set(['compact', 'grant', 'revoke', 'auth_enable', 'auth_disable']);

export class Knowledge {
  revision = 1;
  /** -1 before the first compaction. */
  compacted = -1;
  /** Alive; ids that a server chose under the names they have in requests. */
  readonly leases = new Set<bigint>();
  /** How many leases a server has chosen the id of. */
  chosen = 0;
  isAuthOn = false;
  /** Users with a token that is good. */
  readonly tokens = new Set<string>();

  /** Logins that failed one after the other, for each name. */
  readonly failedLogins = new Map<string, number>();

  learn(call: CallName, sent: Uint8Array, answer: Uint8Array): void {
    // Every answer begins with its header; the rest is passed over.
    const { header } = rpc.CompactionResponse.decode(answer);
    this.revision = Math.max(this.revision, header?.revision ?? 0);
    if (!TELLING.has(call)) return;
    const request = CALLS[call].request.read(sent);
    if (call === 'compact') this.compacted = Number(request['revision']);
    if (call === 'grant' && typeof request['ID'] === 'bigint' && request['ID'] !== 0n) this.leases.add(request['ID']);
    if (call === 'auth_enable') this.isAuthOn = true;
    if (call === 'auth_disable') this.isAuthOn = false;
    if (call === 'revoke' && typeof request['ID'] === 'bigint') this.leases.delete(request['ID']);
  }
}

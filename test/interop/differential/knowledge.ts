// What the generators know of the world so far, learned from etcd's answers alone: so the same seed asks the same questions
// however coterie answers.

import type { CallName, Message } from './calls.js';

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

  learn(call: CallName, request: Message, answer: Message): void {
    const header = answer['header'];
    if (typeof header === 'object' && header !== null && 'revision' in header) {
      this.revision = Math.max(this.revision, Number(header.revision));
    }
    if (call === 'compact') this.compacted = Number(request['revision']);
    if (call === 'grant' && typeof request['ID'] === 'bigint' && request['ID'] !== 0n) this.leases.add(request['ID']);
    if (call === 'auth_enable') this.isAuthOn = true;
    if (call === 'auth_disable') this.isAuthOn = false;
    if (call === 'revoke' && typeof request['ID'] === 'bigint') this.leases.delete(request['ID']);
  }
}

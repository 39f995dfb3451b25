// A client whose transactions meet what is worst for whoever writes: lost before they arrive, done without an answer, or
// done long after the caller was told that the connection is gone. All within the contract: the outcome is unknown.

import type { Clock } from '../../core/base/clock.js';
import type { Client, TxnRequest } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';

/** `late`: the store does it `delayMs` after the caller was told that the connection is lost. */
export type Fate = { readonly kind: 'normal' | 'unsent' | 'unanswered' } | { readonly kind: 'late'; readonly delayMs: number };

export function haunted(client: Client, clock: Clock, fate: (request: TxnRequest) => Fate): Client {
  return {
    range: (request, options) => client.range(request, options),
    watch: (request, options) => client.watch(request, options),
    grant: (ttl, options) => client.grant(ttl, options),
    keepAlive: (lease, options) => client.keepAlive(lease, options),
    revoke: (lease, options) => client.revoke(lease, options),
    close: () => client.close(),
    txn: async (request, options) => {
      const { signal, ...unbound } = options ?? {};
      const drawn = fate(request);
      if (drawn.kind === 'normal') return client.txn(request, signal === undefined ? unbound : { ...unbound, signal });
      if (drawn.kind === 'unanswered') await Promise.allSettled([client.txn(request)]);
      if (drawn.kind === 'late') clock.schedule(drawn.delayMs, () => void Promise.allSettled([client.txn(request)]));
      throw new ApiError('connection_lost');
    },
  };
}

/** Whether the request puts something under `prefix`: the creation of an entry. */
export function creates(request: TxnRequest, prefix: string): boolean {
  const [first] = request.success ?? [];
  return first?.kind === 'put' && Buffer.from(first.request.key).toString().startsWith(prefix);
}

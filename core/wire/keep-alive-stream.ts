// One LeaseKeepAlive stream (contract 6): answers in the order of the requests, status 0 when the caller sends no more. Requests
// that have come together are asked of the backend together and answered together, and the next are looked at only then: so a
// stream holds one such round, whatever the caller sends.

import type { Clock } from '../base/clock.js';
import type { Backend, LeaseId } from '../client.js';
import { ApiError } from '../errors.js';
import type { CallContext, RequestStream } from './call.js';
import type { LeaseCodec } from './hot-lease.js';
import { watchLeader } from './leader-check.js';
import { KEEP_ALIVES_TOGETHER_MAX } from './limits.js';
import * as rpc from './schema/generated/rpc.js';
import { asCaller, decode } from './unary.js';

type Send = (answer: Uint8Array) => Promise<void>;

export interface KeepAliveDoors {
  readonly backend: Backend;
  readonly clock: Clock;
  readonly codec: LeaseCodec;
}

export async function serveKeepAlive(
  doors: KeepAliveDoors, requests: RequestStream, call: CallContext, send: Send,
): Promise<void> {
  const leader = watchLeader(doors.backend, doors.clock, call);
  const answer = async (): Promise<void> => {
    for await (const first of requests) {
      await answerTogether(doors, first, requests.takeWaiting?.(KEEP_ALIVES_TOGETHER_MAX - 1) ?? NONE, call, send);
    }
  };
  try {
    await Promise.race([answer(), leader.lost]);
  } finally {
    leader.stop();
  }
  if (call.signal.aborted && call.signal.reason instanceof ApiError) throw call.signal.reason;
}

const NONE: readonly Uint8Array[] = Object.freeze([]);

/** One that cannot be read, or is refused, ends the stream: behind the answers to those that came before it. */
async function answerTogether(
  { backend, codec }: KeepAliveDoors, first: Uint8Array, others: readonly Uint8Array[], call: CallContext, send: Send,
): Promise<void> {
  const { ids, fault } = read(codec, first, others);
  const caller = await backend.identify(call);
  if (caller === null && ids.length > 0) {
    const { header, ttlSeconds } = await asCaller(backend, call, null, (options) => backend.keepAliveAll(ids, options));
    let sent: Promise<void> | null = null;
    for (const [i, id] of ids.entries()) sent = send(codec.keepAlive(header, id, ttlSeconds[i] ?? 0));
    // A reader that is slow is waited for once: what one round says is little.
    await sent;
  } else {
    for (const id of ids) {
      // Each is a question of its own to those who may be told no; who asks may change from one to the next.
      const asker = id === ids[0] ? caller : await backend.identify(call);
      const { header, ttlSeconds } = await asCaller(backend, call, asker, (options) => backend.keepAlive(id, options));
      await send(codec.keepAlive(header, id, ttlSeconds));
    }
  }
  if (fault !== null) throw fault;
}

/** The ids up to the first message that cannot be read, and what is wrong with that. */
function read(
  codec: LeaseCodec, first: Uint8Array, others: readonly Uint8Array[],
): { readonly ids: readonly LeaseId[]; readonly fault: Error | null } {
  const ids: LeaseId[] = [];
  try {
    for (let i = -1; i < others.length; i++) {
      const bytes = others[i] ?? first;
      ids.push(codec.readId(bytes) ?? decode(rpc.LeaseKeepAliveRequest, bytes, 'LeaseKeepAliveRequest').ID);
    }
  } catch (error) {
    return { ids, fault: error instanceof Error ? error : new Error(String(error)) };
  }
  return { ids, fault: null };
}

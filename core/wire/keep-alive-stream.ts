// One LeaseKeepAlive stream (contract 6): answers in the order of the requests, status 0 when the caller sends no more. Requests
// that have come together are asked of the backend together and answered together, and the next are looked at only then: so a
// stream holds one such round, whatever the caller sends.

import type { Clock } from '../base/clock.js';
import type { Backend, KeptAlive, LeaseId } from '../client.js';
import { ApiError, isApiError } from '../errors.js';
import type { CallContext, RequestStream } from './call.js';
import type { LeaseCodec } from './hot-lease.js';
import { whileLed } from './leader-check.js';
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
  const answer = async (): Promise<void> => {
    for await (const first of requests) {
      await answerTogether(doors, first, requests.takeWaiting?.(KEEP_ALIVES_TOGETHER_MAX - 1) ?? NONE, call, send);
    }
  };
  await whileLed(doors.backend, doors.clock, call, answer());
  if (call.signal.aborted && call.signal.reason instanceof ApiError) throw call.signal.reason;
}

const NONE: readonly Uint8Array[] = Object.freeze([]);

/** One that cannot be read, or is refused, ends the stream: behind the answers to those that came before it. */
async function answerTogether(
  { backend, codec }: KeepAliveDoors, first: Uint8Array, others: readonly Uint8Array[], call: CallContext, send: Send,
): Promise<void> {
  const { ids, fault } = read(codec, first, others);
  if (ids.length > 0) {
    const caller = await backend.identify(call);
    const asked = asCaller(backend, call, caller, (options) => backend.keepAliveAll(ids, options));
    const kept = await asked.catch((error: unknown) => {
      // What is refused for one of them is asked again for each, so that those before it have their answers.
      if (ids.length === 1 || !isApiError(error, 'permission_denied')) throw error;
      return null;
    });
    if (kept === null) await answerOneByOne({ backend, codec }, ids, call, send);
    else await answerAll(codec, ids, kept, send);
  }
  if (fault !== null) throw fault;
}

function answerAll(codec: LeaseCodec, ids: readonly LeaseId[], { header, ttlSeconds }: KeptAlive, send: Send): Promise<void> {
  let sent = Promise.resolve();
  for (const [i, id] of ids.entries()) sent = send(codec.keepAlive(header, id, ttlSeconds[i] ?? 0));
  // A reader that is slow is waited for once: what one round says is little.
  return sent;
}

async function answerOneByOne(
  { backend, codec }: Pick<KeepAliveDoors, 'backend' | 'codec'>, ids: readonly LeaseId[], call: CallContext, send: Send,
): Promise<void> {
  for (const id of ids) {
    const caller = await backend.identify(call);
    const { header, ttlSeconds } = await asCaller(backend, call, caller, (options) => backend.keepAlive(id, options));
    await send(codec.keepAlive(header, id, ttlSeconds));
  }
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

// What every plain method is made of: bytes to a message, whoever asks to a `Caller`, the backend's answer to bytes. A method
// that is not made here asks `optionsOf` itself, so that nothing reaches the backend without saying on whose behalf.

import type { BinaryReader } from '@bufbuild/protobuf/wire';
import { NOBODY, type Backend, type Caller, type CallOptions } from '../client.js';
import { ApiError, isApiError } from '../errors.js';
import type { CallContext, UnaryMethod } from './call.js';
import { deepReader } from './deep-reader.js';
import { demandLeader } from './leader-check.js';

/** What generated code offers for each message. */
export interface Decoder<T> {
  decode(input: BinaryReader | Uint8Array): T;
}

/** Makes methods of one service. What reads a request, and writes an answer, is generated code or does the same faster. */
export type UnaryOf = <Request, Answer>(
  name: string,
  request: Decoder<Request> | ((bytes: Uint8Array) => Request),
  run: (message: Request, options: CallOptions | undefined) => Promise<Answer>,
  encode: (answer: Answer) => { finish(): Uint8Array } | Uint8Array,
) => UnaryMethod;

/** Of a call that came while auth was off: one for all of them. */
const PLAIN: CallOptions = Object.freeze({ caller: NOBODY });

/** Whoever asks these is not asked who it is: a token that is no good any more is the reason to ask. */
const OPEN: ReadonlySet<string> = new Set(['etcdserverpb.Auth.Authenticate', 'etcdserverpb.Auth.AuthStatus']);

/** One promise between the backend's and the transport's; whatever is thrown on the way rejects it. */
export function unaryOf(service: string, backend: Backend): UnaryOf {
  return (name, request, run, encode) => {
    const isOpen = OPEN.has(`${service}.${name}`);
    const read = typeof request === 'function' ? request : (bytes: Uint8Array) => decode(request, bytes, `${service}.${name}`);
    return {
      kind: 'unary',
      service,
      name,
      handle(bytes, call) {
        try {
          const message = read(bytes);
          const caller = isOpen ? null : backend.identify(call);
          const answer = caller === null && !call.hasLeader
            ? run(message, PLAIN)
            : onBehalf(backend, call, caller, (options) => run(message, options));
          return answer.then((value) => {
            const bytesOut = encode(value);
            return bytesOut instanceof Uint8Array ? bytesOut : bytesOut.finish();
          });
        } catch (error) {
          return Promise.reject(error instanceof Error ? error : new Error(String(error)));
        }
      },
    };
  };
}

/** Where it takes more than a look to say who asks, or the caller demands a leader. */
async function onBehalf<T>(
  backend: Backend,
  call: CallContext,
  identified: Caller | null | Promise<Caller | null>,
  run: (options: CallOptions) => Promise<T>,
): Promise<T> {
  const caller = await identified;
  if (call.hasLeader) await demandLeader(backend);
  return asCaller(backend, call, caller, run);
}

/** `caller` null: auth is off. */
export async function asCaller<T>(
  backend: Backend, call: CallContext, caller: Caller | null, run: (options: CallOptions) => Promise<T>,
): Promise<T> {
  if (caller === null) return run(PLAIN);
  try {
    return await run({ caller });
  } catch (error) {
    if (!isApiError(error, 'auth_revision_old')) throw error;
    // Nothing was done. Users or roles have changed since; but a token that is still good says who it is now as well, unless
    // the revision is written in it.
    const again = await backend.identify(call);
    if (again !== null && again.authRevision <= caller.authRevision) throw error;
    return run(again === null ? PLAIN : { caller: again });
  }
}

/** The same for a stream, each time it asks something of the backend: who it is may change while it is open. */
export async function optionsOf(backend: Backend, call: CallContext): Promise<CallOptions> {
  const caller = await backend.identify(call);
  return caller === null ? PLAIN : { caller };
}

export function decode<T>(codec: Decoder<T>, bytes: Uint8Array, what: string): T {
  try {
    return codec.decode(deepReader(bytes));
  } catch (error) {
    throw new ApiError('invalid_request', { detail: `the bytes are not a message of ${what}`, cause: error });
  }
}

// What every plain method is made of: bytes to a message, whoever asks to a `Caller`, the backend's answer to bytes. A method
// that is not made here asks `optionsOf` itself, so that nothing reaches the backend without saying on whose behalf.

import type { BinaryReader } from '@bufbuild/protobuf/wire';
import type { Backend, Caller, CallOptions } from '../client.js';
import { ApiError } from '../errors.js';
import type { CallContext, UnaryMethod } from './call.js';
import { deepReader } from './deep-reader.js';
import { demandLeader } from './leader-check.js';

/** What generated code offers for each message. */
interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(input: BinaryReader | Uint8Array): T;
}

/** Makes methods of one service. */
export type UnaryOf = <Request, Answer>(
  name: string,
  request: Codec<Request>,
  run: (message: Request, options: CallOptions | undefined) => Promise<Answer>,
  encode: (answer: Answer) => { finish(): Uint8Array },
) => UnaryMethod;

/** One promise between the backend's and the transport's; whatever is thrown on the way rejects it. */
export function unaryOf(service: string, backend: Backend): UnaryOf {
  return (name, request, run, encode) => ({
    kind: 'unary',
    service,
    name,
    handle(bytes, call) {
      try {
        const message = decode(request, bytes, `${service}.${name}`);
        const caller = backend.identify(call);
        const isPlain = caller === null && !call.hasLeader;
        const answer = isPlain
          ? run(message, undefined)
          : prepared(backend, call, caller).then((options) => run(message, options));
        return answer.then((value) => encode(value).finish());
      } catch (error) {
        return Promise.reject(error instanceof Error ? error : new Error(String(error)));
      }
    },
  });
}

/** On whose behalf the backend is asked, where that takes more than a look or the caller demands a leader. */
async function prepared(
  backend: Backend, call: CallContext, identified: Caller | null | Promise<Caller | null>,
): Promise<CallOptions | undefined> {
  const caller = await identified;
  if (call.hasLeader) await demandLeader(backend);
  return caller === null ? undefined : { caller };
}

/** The same for a stream, each time it asks something of the backend: who it is may change while it is open. */
export async function optionsOf(backend: Backend, call: CallContext): Promise<CallOptions | undefined> {
  const caller = await backend.identify(call);
  return caller === null ? undefined : { caller };
}

export function decode<T>(codec: Pick<Codec<T>, 'decode'>, bytes: Uint8Array, what: string): T {
  try {
    return codec.decode(deepReader(bytes));
  } catch (error) {
    throw new ApiError('invalid_request', { detail: `the bytes are not a message of ${what}`, cause: error });
  }
}

// A method whose calls are told of as they begin and end: for what reaches a handler by another road than gRPC, whose server
// tells by itself, of the same `Count`. etcd's gateway is a client of its own server, so its calls stand in the same counters.

import type { Clock } from '../base/clock.js';
import { Status } from '../errors.js';
import type { CallContext, Method } from './call.js';
import { isFault, statusOf } from './status.js';
import type { CallName, ObserveWire, WireEvent } from './wire-events.js';

interface Doors {
  readonly observe: ObserveWire;
  readonly clock: Clock;
}

export function counted(method: Method, doors: Doors): Method {
  if (method.kind === 'unary') {
    return {
      ...method,
      handle: (request: Uint8Array, call: CallContext) => followed(method, doors, call, async (count) => {
        count.received(request);
        const answer = await method.handle(request, call);
        count.sent(answer);
        return answer;
      }),
    };
  }
  return {
    ...method,
    handle: (requests, call, send) => followed(method, doors, call, (count) => {
      return method.handle(each(requests, count), call, (answer, rest) => {
        count.sent(answer, rest);
        return send(answer, rest);
      });
    }),
  };
}

/** What goes to and fro in one call, and how long it took. */
export class Count {
  readonly #beganMs: number;
  #messagesReceived = 0;
  #messagesSent = 0;
  #bytesReceived = 0;
  #bytesSent = 0;

  constructor(beganMs: number) {
    this.#beganMs = beganMs;
  }

  received(bytes: Uint8Array): void {
    this.#messagesReceived++;
    this.#bytesReceived += bytes.length;
  }

  sent(bytes: Uint8Array, rest?: Uint8Array): void {
    this.#messagesSent++;
    this.#bytesSent += bytes.length + (rest?.length ?? 0);
  }

  handled(method: CallName, code: number, nowMs: number): WireEvent {
    return {
      kind: 'call_handled',
      method,
      code,
      messagesReceived: this.#messagesReceived,
      messagesSent: this.#messagesSent,
      bytesReceived: this.#bytesReceived,
      bytesSent: this.#bytesSent,
      tookMs: nowMs - this.#beganMs,
    };
  }
}

async function followed<T>(method: Method, doors: Doors, call: CallContext, run: (count: Count) => Promise<T>): Promise<T> {
  const { observe, clock } = doors;
  const count = new Count(clock.now());
  const end = (code: number): void => observe(count.handled(method, code, clock.now()));
  observe({ kind: 'call_started', method, clientVersion: null });
  try {
    const result = await run(count);
    end(method.kind === 'stream' && call.signal.aborted ? Status.canceled : Status.ok);
    return result;
  } catch (error) {
    if (isFault(error)) {
      observe({ kind: 'failed', where: 'http', error: error instanceof Error ? error : new Error(String(error)) });
    }
    end(statusOf(error).code);
    throw error;
  }
}

async function* each(requests: AsyncIterable<Uint8Array>, count: Count): AsyncGenerator<Uint8Array> {
  for await (const request of requests) {
    count.received(request);
    yield request;
  }
}

// A FenceGuard in front of HTTP handlers, in the shape that Express, Connect and plain node:http understand: a request
// carries its holder's fence in a header, and one that is stale is refused before any handler has seen it.
//
//   428  there is no fence in the request     412  it is stale; the newest one is in the answer
//   400  it is not a whole number             503  too many wait, or the turn did not come in time
//
// Requests for one resource are handled one after the other in this process; a turn ends when the response is finished or
// its connection has closed. A handler that goes on working after its caller has hung up does that work in `guard.run`.

import type { Revision } from '../core/client.js';
import { isApiError } from '../core/errors.js';
import { StaleFence, type FenceGuard } from './fence-guard.js';

const WAIT_MS = 10_000;
const FENCE = /^[1-9][0-9]{0,15}$/;

/** What is used of a request, a response and `next`: those of Express have it, and those of node:http. */
export interface FencedRequest {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
}

export interface FencedResponse {
  statusCode: number;
  setHeader(name: string, value: string): unknown;
  end(body: string): unknown;
  once(event: 'close', tell: () => void): unknown;
  readonly destroyed: boolean;
}

export interface FenceMiddlewareOptions<Request> {
  /** What the fence protects: the same name for everything that one lock stands before. */
  readonly resource: string | ((request: Request) => string);
  /** Default `fence`. */
  readonly header?: string;
  /** How long a request waits for those before it. Default 10 s. */
  readonly waitMs?: number;
}

/** `app.put('/reports/:name', fenced(guard, { resource: (request) => request.path }), handler)`. */
export function fenced<Request extends FencedRequest>(
  guard: FenceGuard,
  options: FenceMiddlewareOptions<Request>,
): (request: Request, response: FencedResponse, next: (error?: unknown) => void) => void {
  const { resource, header = 'fence', waitMs = WAIT_MS } = options;
  return (request, response, next) => {
    const given = request.headers[header.toLowerCase()];
    if (given === undefined) {
      refuse(response, 428, { error: 'fence_required', message: `send the fence of what you hold in the header ${header}` });
      return;
    }
    const fence = readFence(given);
    if (fence === null) {
      refuse(response, 400, { error: 'invalid_fence', message: `the header ${header} is not a whole number from 1 on` });
      return;
    }
    const handled = async (): Promise<void> => {
      const over = new Promise<void>((resolve) => {
        response.once('close', resolve);
      });
      // Whoever hung up while it waited is not served.
      if (response.destroyed) return;
      next();
      await over;
    };
    try {
      const name = typeof resource === 'string' ? resource : resource(request);
      guard.run(name, fence, handled, { timeoutMs: waitMs }).catch((error: unknown) => answer(response, error, next));
    } catch (error) {
      next(error);
    }
  };
}

function readFence(given: string | readonly string[]): Revision | null {
  if (typeof given !== 'string' || !FENCE.test(given)) return null;
  const fence = Number(given);
  return Number.isSafeInteger(fence) ? fence : null;
}

function answer(response: FencedResponse, error: unknown, next: (error?: unknown) => void): void {
  if (error instanceof StaleFence) {
    const { code, resource, fence, newest, message } = error;
    refuse(response, 412, { error: code, resource, fence, newest, message });
  } else if (isApiError(error, 'too_many_requests') || isApiError(error, 'deadline_exceeded')) {
    response.setHeader('retry-after', '1');
    refuse(response, 503, { error: error.code, message: error.message });
  } else {
    next(error);
  }
}

function refuse(response: FencedResponse, status: number, body: object): void {
  response.statusCode = status;
  response.setHeader('content-type', 'application/json');
  response.end(`${JSON.stringify(body)}\n`);
}

// gRPC's health service, as etcd has it: one service, '', which is well for as long as this server serves; others are
// unknown. That the cluster has a leader is not its matter (`/readyz` tells), since calls without one have errors of
// their own. Nobody has to say who he is to ask.

import { onceAborted } from '../base/abort.js';
import { ApiError, Status } from '../errors.js';
import type { CallContext, Method } from './call.js';
import {
  HealthCheckRequest, HealthCheckResponse, HealthCheckResponse_ServingStatus as Serving,
} from './schema/generated/health.js';
import { WireError } from './status.js';
import { decode } from './unary.js';

const SERVICE = 'grpc.health.v1.Health';

/** `isServing` is asked with each question. */
export function healthMethods(isServing: () => boolean): Method[] {
  const now = (): Serving => (isServing() ? Serving.SERVING : Serving.NOT_SERVING);
  return [
    {
      kind: 'unary',
      service: SERVICE,
      name: 'Check',
      async handle(bytes) {
        const { service } = decode(HealthCheckRequest, bytes, 'HealthCheckRequest');
        if (service !== '') throw new WireError(Status.not_found, 'unknown service');
        return said(now());
      },
    },
    {
      kind: 'stream',
      service: SERVICE,
      name: 'Watch',
      async handle(requests, call, send) {
        for await (const bytes of requests) {
          const { service } = decode(HealthCheckRequest, bytes, 'HealthCheckRequest');
          await send(said(service === '' ? now() : Serving.SERVICE_UNKNOWN));
          break;
        }
        // It changes once, to the end of this server; then the stream itself ends with that word.
        await ended(call);
      },
    },
  ];
}

function said(status: Serving): Uint8Array {
  return HealthCheckResponse.encode({ status }).finish();
}

function ended({ signal }: CallContext): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      if (signal.reason instanceof ApiError) reject(signal.reason);
      else resolve();
    };
    onceAborted(signal, end);
    if (signal.aborted) end();
  });
}

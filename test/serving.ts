// `serve` for tests of the port, on whichever gRPC server: our own, or the library's where COTERIE_GRPC_SERVER=grpc-js says so,
// as it does to `coterie serve`. `npm run second-server` runs them so. What every run tries on both stands in `onBoth`.

import test, { type ExecutionContext } from 'ava';
import { serve as serveOn, type ServeOptions, type WireServer } from '../core/wire/port.js';

export type { ServeOptions, WireServer };
export type GrpcServerName = 'own' | 'grpc-js';

const GRPC_SERVER: GrpcServerName = process.env.COTERIE_GRPC_SERVER === 'grpc-js' ? 'grpc-js' : 'own';

export function serve(backend: Parameters<typeof serveOn>[0], options: ServeOptions = {}): Promise<WireServer> {
  return serveOn(backend, { grpcServer: GRPC_SERVER, ...options });
}

/** `grpcServer` is for `serve`. */
export function onBoth(title: string, run: (t: ExecutionContext, grpcServer: GrpcServerName) => Promise<void>): void {
  for (const grpcServer of ['own', 'grpc-js'] as const) test(`${title} (${grpcServer})`, (t) => run(t, grpcServer));
}

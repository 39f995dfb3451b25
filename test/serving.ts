// `serve` for tests of the port, on whichever gRPC server: our own, or the library's where COTERIE_GRPC_SERVER=grpc-js says so,
// as it does to `coterie serve`. `npm run second-server` runs them so. Commands import this as well, so it knows no test runner.

import { serve as serveOn, type ServeOptions, type WireServer } from '../core/wire/port.js';

export type { ServeOptions, WireServer };
export type GrpcServerName = 'own' | 'grpc-js';

const GRPC_SERVER: GrpcServerName = process.env.COTERIE_GRPC_SERVER === 'grpc-js' ? 'grpc-js' : 'own';

export function serve(backend: Parameters<typeof serveOn>[0], options: ServeOptions = {}): Promise<WireServer> {
  return serveOn(backend, { grpcServer: GRPC_SERVER, ...options });
}

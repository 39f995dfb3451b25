// A test of what our own gRPC server and the library's must not differ in: run on both, each time.

import test, { type ExecutionContext } from 'ava';
import type { GrpcServerName } from './serving.js';

/** `grpcServer` is for `serve`. */
export function onBoth(title: string, run: (t: ExecutionContext, grpcServer: GrpcServerName) => Promise<void>): void {
  for (const grpcServer of ['own', 'grpc-js'] as const) test(`${title} (${grpcServer})`, (t) => run(t, grpcServer));
}

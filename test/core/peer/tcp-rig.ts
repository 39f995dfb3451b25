// Members on real sockets of this machine, for tests: started, watched, and all closed at the end.

import { readFileSync } from 'node:fs';
import { systemClock } from '../../../core/base/clock.js';
import { whenDone } from '../../../core/base/done.js';
import { Prng } from '../../../core/base/prng.js';
import type { PeerEvent } from '../../../core/peer/events.js';
import { TcpTransport, type TcpTransportOptions } from '../../../core/peer/tcp-transport.js';
import type { PeerTls } from '../../../core/peer/tls.js';
import type { Got, OpenMember, TransportHome } from '../../contract/transport.contract.js';

export interface TcpMember extends OpenMember {
  readonly transport: TcpTransport;
  readonly got: Got[];
  readonly events: PeerEvent[];
}

export const CLUSTER = 0xc0ffeen;

export function tlsOf(name: string): PeerTls {
  // Beside the sources: compiled tests run from a folder below the root.
  const folder = new URL('../../../../test/core/peer/certificates/', import.meta.url);
  const pem = (file: string): string => readFileSync(new URL(`${file}.pem`, folder), 'utf8');
  return { cert: pem(name), key: pem(`${name}-key`), ca: pem('authority') };
}

export class TcpRig implements TransportHome {
  readonly #listen: string;
  readonly #options: Partial<TcpTransportOptions>;
  readonly #open: TcpTransport[] = [];

  constructor(listen = 'http://127.0.0.1:0', options: Partial<TcpTransportOptions> = {}) {
    this.#listen = listen;
    this.#options = options;
  }

  async member(id: bigint, options: Partial<TcpTransportOptions> = {}): Promise<TcpMember> {
    const got: Got[] = [];
    const events: PeerEvent[] = [];
    const transport = new TcpTransport({
      listen: [this.#listen], self: id, clusterId: CLUSTER, clock: systemClock, dice: new Prng(Number(id)),
      observe: (event) => events.push(event), ...this.#options, ...options,
    });
    this.#open.push(transport);
    await whenDone((done) => transport.start((from, lane, frame) => got.push({ from, lane, frame }), done));
    return { transport, urls: transport.urls, got, events };
  }

  async until(holds: () => boolean, what: string): Promise<void> {
    const deadline = performance.now() + 15_000;
    while (!holds()) {
      if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#open.map((transport) => whenDone((done) => transport.close(done))));
  }
}

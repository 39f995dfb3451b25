// Members on real sockets of this machine, for tests: started, watched, and all closed at the end.

import { systemClock } from '../../../core/base/clock.js';
import { whenDone } from '../../../core/base/done.js';
import { Prng } from '../../../core/base/prng.js';
import type { PeerEvent } from '../../../core/peer/events.js';
import { TcpTransport, type TcpTransportOptions } from '../../../core/peer/tcp-transport.js';
import type { PeerTls } from '../../../core/peer/tls.js';
import { TestAuthority } from '../../certificates.js';
import type { Got, OpenMember, TransportHome } from '../../contract/transport.contract.js';

export interface TcpMember extends OpenMember {
  readonly transport: TcpTransport;
  readonly got: Got[];
  readonly events: PeerEvent[];
}

export const CLUSTER = 0xc0ffeen;

const authority = await TestAuthority.make('the rig');
const IDENTITIES = {
  member: await authority.issue('member'),
  /** For a name and an address that nobody dials here. */
  elsewhere: await authority.issue('elsewhere', { hosts: ['elsewhere.example', '192.0.2.1'] }),
  foreigner: await (await TestAuthority.make('elsewhere')).issue('foreigner'),
} as const;

export function tlsOf(name: keyof typeof IDENTITIES): PeerTls {
  const { cert, key } = IDENTITIES[name];
  return { cert, key, ca: authority.cert };
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
    const deadline = performance.now() + 60_000;
    while (!holds()) {
      if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#open.map((transport) => whenDone((done) => transport.close(done))));
  }
}

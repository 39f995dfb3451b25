// The transport's contract on sockets, plain and with certificates, over both families of addresses, and in memory.

import test from 'ava';
import { systemClock } from '../../core/base/clock.js';
import { whenDone } from '../../core/base/done.js';
import { Switchboard, type MemoryTransport } from '../core/peer/memory-transport.js';
import { TcpRig, tlsOf } from '../core/peer/tcp-rig.js';
import { transportContract, type Got } from './transport.contract.js';

transportContract(test, 'TcpTransport over TCP', () => Promise.resolve(new TcpRig()));
const tls = tlsOf('member');
transportContract(test, 'TcpTransport over TLS', () => Promise.resolve(new TcpRig('https://127.0.0.1:0', { tls })));
transportContract(test, 'TcpTransport over TLS and IPv6', () => Promise.resolve(new TcpRig('https://[::1]:0', { tls })));

transportContract(test, 'MemoryTransport', () => {
  const board = new Switchboard(systemClock);
  const open: MemoryTransport[] = [];
  const rig = new TcpRig();
  return Promise.resolve({
    async member(id: bigint) {
      const transport = board.transport(id);
      const got: Got[] = [];
      open.push(transport);
      await whenDone((done) => transport.start((from, lane, frame) => got.push({ from, lane, frame }), done));
      return { transport, urls: [`memory://${id}`], got };
    },
    until: (holds: () => boolean, what: string) => rig.until(holds, what),
    async close() {
      await Promise.all(open.map((transport) => whenDone((done) => transport.close(done))));
    },
  });
});

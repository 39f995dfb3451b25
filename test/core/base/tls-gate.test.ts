// How many handshakes a gate takes at the same time, on real sockets.

import { connect, createServer, type AddressInfo } from 'node:net';
import test from 'ava';
import { systemClock } from '../../../core/base/clock.js';
import { TlsGate } from '../../../core/base/tls-gate.js';
import { JudgedTls } from '../../../core/base/tls-terms.js';
import { TestAuthority } from '../../certificates.js';

test('SA9: handshakes at the same time are counted, those of one address and all, and what is over counts no more', async (t) => {
  const { cert, key } = await (await TestAuthority.make()).issue('server');
  const gate = new TlsGate(new JudgedTls({ cert, key }, Date.now()), {
    clock: systemClock, handshakeMs: 60_000, handshakesMax: 3, perAddressMax: 2, onSwept: () => undefined,
  });
  const told: string[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    gate.open(socket, null, (refused) => told.push(refused?.text ?? 'within'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const until = async (count: number): Promise<void> => {
    while (told.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const come = (localAddress: string): Promise<() => void> => new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress }, () => resolve(() => void socket.destroy()));
    socket.on('error', () => socket.destroy());
  });
  const leaves = [await come('127.0.0.1'), await come('127.0.0.1')];
  leaves.push(await come('127.0.0.1'));
  await until(1);
  t.deepEqual(told, ['too many TLS handshakes at the same time from one address: 2']);
  leaves.push(await come('127.0.0.2'), await come('127.0.0.3'));
  await until(2);
  t.is(told[1], 'too many TLS handshakes at the same time: 3');
  for (const leave of leaves) leave();
  await until(5);
  t.deepEqual(told.slice(2), Array.from({ length: 3 }, () => 'it hung up during the TLS handshake'));
  leaves.push(await come('127.0.0.1'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(told.length, 5, 'there is room again');
  gate.close();
  await until(6);
  t.is(told[5], 'closed here');
  for (const leave of leaves) leave();
  await new Promise((resolve) => server.close(resolve));
});

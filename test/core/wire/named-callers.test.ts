// Names of callers by the address they come from.

import { PassThrough } from 'node:stream';
import test from 'ava';
import { NamedCallers } from '../../../core/wire/named-callers.js';

const from = (remotePort: number): PassThrough & { remoteAddress: string; remotePort: number } =>
  Object.assign(new PassThrough(), { remoteAddress: '::1', remotePort });

async function leave(socket: PassThrough): Promise<void> {
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.destroy();
  await closed;
}

test('a name belongs to a connection, and to nobody where two cannot be told apart', async (t) => {
  const callers = new NamedCallers();
  const [alice, other, bob] = [from(1), from(1), from(2)];
  callers.add(alice, 'alice');
  callers.add(bob, 'bob');
  t.deepEqual([callers.nameOf('::1:1'), callers.nameOf('::1:2'), callers.nameOf('::1:3')], ['alice', 'bob', null]);
  callers.add(other, null);
  t.is(callers.nameOf('::1:1'), null);
  await leave(other);
  t.is(callers.nameOf('::1:1'), 'alice');
  await leave(alice);
  t.is(callers.nameOf('::1:1'), null);
  callers.add(from(1), 'carol');
  t.is(callers.nameOf('::1:1'), 'carol', 'who comes by the same address later is somebody else');
});

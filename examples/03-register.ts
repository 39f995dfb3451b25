// Register a service and discover it: two instances come, one changes, one drains, one is closed by a signal.
// Everything runs in this process; against a server, `connect('http://127.0.0.1:2379')` takes the node's place.
//
// Prints:
//   api is served by nobody yet
//   api is served by a 10.0.0.1:8080, b 10.0.0.2:8080
//   b weighs 5
//   b is draining
//   b has drained; api is served by a 10.0.0.1:8080
//   told to stop
//   api is served by nobody; left: a closed, b drained

import { once } from 'node:events';
import { startNode } from '../core/index.js';
import { discover, register, type ServiceState, type ServiceView } from '../recipes/index.js';

const node = await startNode({ dataDir: null });
const { client } = node;
const api = await discover(client, 'api').ready();
say(`api is served by ${hosts(api)} yet`);

const a = await register(client, { service: 'api', id: 'a', address: '10.0.0.1', port: 8080 });
const b = await register(client, { service: 'api', id: 'b', address: '10.0.0.2', port: 8080 });
await seen(api, ({ instances }) => instances.length === 2);
say(`api is served by ${hosts(api)}`);

// A registration is desired state: whatever happens to the connection, the latest state is put back.
await b.update({ weight: 5, tags: ['canary'] });
const changed = await seen(api, ({ instances }) => instances[1]?.weight === 5);
say(`b weighs ${changed.instances[1]?.weight}`);

const drained = b.drain({ graceMs: 100 });
await seen(api, ({ instances }) => instances[1]?.state === 'draining').then(() => say('b is draining'));
await drained;
await seen(api, ({ instances }) => instances.length === 1);
say(`b has drained; api is served by ${hosts(api)}`);

// What a service does when it is told to stop (a busy one drains first). A crash needs no code: the lease expires.
setImmediate(() => process.kill(process.pid, 'SIGTERM'));
await once(process, 'SIGTERM');
say('told to stop');
await a.close();
await seen(api, ({ instances }) => instances.length === 0);
say(`api is served by ${hosts(api)}; left: ${api.departures.map(({ id, reason }) => `${id} ${reason}`).join(', ')}`);
await api.close();
await node.close();

/** The first state that satisfies `holds`; states in between may be skipped, the latest never is. */
async function seen(view: ServiceView, holds: (state: ServiceState) => boolean): Promise<ServiceState> {
  for await (const state of view.changes) if (holds(state)) return state;
  throw new Error('the view was closed');
}

function hosts(view: ServiceView): string {
  return view.instances.map(({ id, address, port }) => `${id} ${address}:${port}`).join(', ') || 'nobody';
}

function say(words: string): void {
  process.stdout.write(`${words}\n`);
}

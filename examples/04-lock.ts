// One at a time: two workers want the same job, the second waits for the first; then a holder is lost, and what it still
// tries to write is refused, because the fence of whoever came after it is higher.
// Everything runs in this process; against a server, `connect('http://127.0.0.1:2379')` takes the node's place.
//
// Prints:
//   b waits behind a, who holds nightly
//   b holds nightly, with a higher fence
//   b is asked: ReleaseWanted: somebody asks for the release of lock nightly: an upgrade
//   nobody holds nightly
//   the job ran under the lock: 42
//   a has lost it: entry_lost
//   a is fenced out, and b's word stands: by b

import { startNode } from '../core/index.js';
import { EntryLost, FencedOut, lock, lockState, requestRelease, Session, withLock } from '../recipes/index.js';

const node = await startNode({ dataDir: null });
const { client } = node;
const [sessionA, sessionB] = await Promise.all([
  Session.open(client, { ttlSeconds: 10, name: 'a' }),
  Session.open(client, { ttlSeconds: 10, name: 'b' }),
]);

const a = await lock(sessionA, 'nightly');
const waiting = lock(sessionB, 'nightly', { timeoutMs: 30_000, info: { pid: process.pid } });
let state = await lockState(client, 'nightly');
while (state.waiting === 0) state = await lockState(client, 'nightly');
say(`${state.waiters[0]?.info.name} waits behind ${state.holder?.info.name}, who holds nightly`);
await a.release();
const b = await waiting;
say(`b holds nightly, with ${b.fence > a.fence ? 'a higher' : 'the same'} fence`);

b.wanted.addEventListener('abort', () => say(`b is asked: ${String(b.wanted.reason)}`));
await requestRelease(client, 'nightly', 'an upgrade');
while (!b.wanted.aborted) await new Promise(setImmediate);
await b.release();
say(`${(await lockState(client, 'nightly')).holder?.info.name ?? 'nobody'} holds nightly`);

say(`the job ran under the lock: ${await withLock(sessionA, 'nightly', () => 42)}`);

// A lease can be lost at any moment: by a stall, a cut link, an operator. The store refuses what comes too late.
const lost = await lock(sessionA, 'report');
const next = lock(sessionB, 'report');
await client.revoke(sessionA.lease);
await (await next).txn().put('report', 'by b').commit();
if (!lost.signal.aborted) await new Promise((resolve) => lost.signal.addEventListener('abort', resolve));
say(`a has lost it: ${lost.signal.reason instanceof EntryLost ? 'entry_lost' : String(lost.signal.reason)}`);
try {
  await lost.txn().put('report', 'by a').commit();
} catch (error) {
  if (!(error instanceof FencedOut)) throw error;
  const [report] = (await client.range({ key: Buffer.from('report') })).kvs;
  say(`a is fenced out, and b's word stands: ${Buffer.from(report?.value ?? '').toString()}`);
}
await Promise.all([sessionA.close(), sessionB.close()]);
await node.close();

function say(words: string): void {
  process.stdout.write(`${words}\n`);
}

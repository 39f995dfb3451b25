// Three workers that go on together: a latch says when all are ready, a barrier ends each round, and when one of them is
// lost, all the others are told. A group shows who is there. Against a server, `connect(url)` takes the node's place.
//
// Prints:
//   a b c are ready
//   round 1: 3 passed in 1 generation, as numbers 0 1 2
//   round 2: 3 passed in 1 generation, as numbers 0 1 2
//   c is lost: a, who waits, is told barrier_broken, lost
//   c is lost: b, who comes later, is told barrier_broken, lost
//   a b d are there: 3 passed in 1 generation, as numbers 0 1 2

import { startNode } from '../core/index.js';
import { arriveAt, BarrierBroken, barrierState, join, latch, members, resetBarrier, Session } from '../recipes/index.js';

const node = await startNode({ dataDir: null });
const { client } = node;
const group = await members(client, 'workers').ready();
const [a, b, c] = [await worker('a'), await worker('b'), await worker('c')];
const gates = await Promise.all([a, b, c].map((session) => latch(session, 'ready', { count: 3 })));
await Promise.all(gates.map((gate, i) => gate.countDown({ id: `worker-${i}` })));
await Promise.all(gates.map((gate) => gate.wait({ timeoutMs: 10_000 })));
say(`${await names()} are ready`);
for (const round of [1, 2]) say(`round ${round}: ${await together([a, b, c])}`);
// Two of three have come when one of them is lost. A crash is the same, but for the TTL it takes to be noticed.
const waiting = Promise.all([told(a), told(c)]);
for (let present = 0; present !== 2;) present = (await barrierState(client, 'round'))?.present ?? 0;
await c.close();
say(`c is lost: a, who waits, is told ${(await waiting)[0]}`);
say(`c is lost: b, who comes later, is told ${await told(b)}`);
await resetBarrier(client, 'round');
const d = await worker('d');
say(`${await names()} are there: ${await together([a, b, d])}`);

await Promise.all([a, b, d].map((session) => session.close()));
await group.close();
await node.close();

async function worker(name: string): Promise<Session> {
  const session = await Session.open(client, { ttlSeconds: 10, name });
  await join(session, 'workers', { data: name });
  return session;
}
async function together(sessions: readonly Session[]): Promise<string> {
  const all = await Promise.all(sessions.map((session) => arriveAt(session, 'round', { parties: 3, timeoutMs: 10_000 })));
  const generations = new Set(all.map(({ generation }) => generation)).size;
  const numbers = all.map(({ index }) => index).toSorted((a, b) => a - b);
  return `${all.length} passed in ${generations} generation, as numbers ${numbers.join(' ')}`;
}
async function told(session: Session): Promise<string> {
  const outcome = await arriveAt(session, 'round', { parties: 3 }).catch((error: unknown) => error);
  return outcome instanceof BarrierBroken ? `${outcome.code}, ${outcome.reason}` : String(outcome);
}
async function names(): Promise<string> {
  const listed = (): string => group.members.map(({ data }) => Buffer.from(data)).join(' ');
  for await (const change of group.changes) if (change.members.length === 3) return listed();
  return 'nobody';
}
function say(words: string): void {
  process.stdout.write(`${words}\n`);
}

// Work in a queue: an item that fails once, one that cannot be done, a group that keeps its order, an effect that is written
// together with the acknowledgement, and a worker that is lost with an item in its hands. Everything runs in this process;
// against a server, `connect('http://127.0.0.1:2379')` takes the node's place.
//
// Prints:
//   the second put of invoice-7 is a duplicate
//   invoice-7: attempt 1 failed (the printer is out of paper)
//   account a: +100
//   account a: -30
//   invoice-7: printed at attempt 2
//   nonsense: dead after attempt 1 (nobody can do that)
//   the balance, written with the acknowledgements: 70
//   a lost worker's item comes to another: attempt 2
//   and the lost one can end nothing: fenced_out

import { get, opPut, startNode, text, utf8 } from '../core/index.js';
import { type Delivery, FencedOut, Queue, Session } from '../recipes/index.js';

const node = await startNode({ dataDir: null });
const { client } = node;
const balance = async (): Promise<number> => Number(text((await get(client, utf8('balance')))?.value ?? utf8('0')));
const say = (words: string): boolean => process.stdout.write(`${words}\n`);

const jobs = new Queue<{ kind: string; amount?: number }>(client, 'jobs', { maxAttempts: 5, backoffMs: () => 1_000 });
await jobs.put({ kind: 'invoice' }, { id: 'invoice-7', priority: 9 });
const { duplicate } = await jobs.put({ kind: 'invoice' }, { id: 'invoice-7' });
say(`the second put of invoice-7 is ${duplicate ? 'a duplicate' : 'another item'}`);
for (const amount of [100, -30]) await jobs.put({ kind: 'book', amount }, { group: 'account a' });
await jobs.put({ kind: 'nonsense' }, { id: 'nonsense', delayMs: 3_000 });
const stop = new AbortController();
await jobs.consume(work, { leaseMs: 5_000, signal: stop.signal });
say(`the balance, written with the acknowledgements: ${await balance()}`);

const [lost, other] = [await Session.open(client, { ttlSeconds: 5 }), await Session.open(client, { ttlSeconds: 5 })];
await jobs.put({ kind: 'invoice' });
const first = await jobs.take(lost);
await client.revoke(lost.lease);
const second = await jobs.take(other);
say(`a lost worker's item comes to another: attempt ${second.attempt}`);
const refusal = await first.ack().catch((error: unknown) => error);
say(`and the lost one can end nothing: ${refusal instanceof FencedOut ? refusal.code : 'it could'}`);
await second.ack();
await node.close();

async function work(job: Delivery<{ kind: string; amount?: number }>): Promise<void> {
  const { kind, amount = 0 } = job.body;
  if (kind === 'book') {
    await job.ack({ also: [opPut(utf8('balance'), utf8(String(await balance() + amount)))] });
    say(`${job.group}: ${amount > 0 ? '+' : ''}${amount}`);
  } else if (kind === 'invoice' && job.attempt === 1) {
    say(`${job.id}: attempt 1 failed (the printer is out of paper)`);
    throw new Error('the printer is out of paper'); // It comes again, after the back-off.
  } else if (kind === 'invoice') {
    say(`${job.id}: printed at attempt ${job.attempt}`);
  } else {
    await job.nack({ dead: true, error: 'nobody can do that' });
    for await (const { id, attempts, reason } of jobs.dead()) say(`${id}: dead after attempt ${attempts} (${reason})`);
    stop.abort();
  }
}

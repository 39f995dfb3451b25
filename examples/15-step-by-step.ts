// Three workers take a step together: nobody begins before all have come, nobody goes before all are done (a double barrier).
// Inside, each needs two things at once (several locks as one), and whoever looks on is told live.
// Everything runs in this process; against a server, `connect('http://127.0.0.1:2379')` takes the node's place.
//
// Prints:
//   inside together: 3
//   with both locks at a time: 1
//   told live: a done (1), b done (2), c done (3)
//   the step is over for all, and the next begins: 2 generations
//   one of them fails, and all are told: barrier_broken, barrier_broken, no more paper

import { startNode, text } from '../core/index.js';
import { LiveTopic, lockAll, resetDoubleBarrier, Session, withBarrier } from '../recipes/index.js';

const node = await startNode({ dataDir: null });
const { client } = node;
const sessions = await Promise.all(['a', 'b', 'c'].map((name) => Session.open(client, { ttlSeconds: 10, name })));

const progress = new LiveTopic(client, 'progress');
const watching = progress.subscribe();
await watching.ready();
let [inside, most, holding, mostHolding] = [0, 0, 0, 0];
const generations = new Set<number>();

function step(work: (session: Session) => Promise<void>): Promise<PromiseSettledResult<void>[]> {
  return Promise.allSettled(sessions.map((session) => withBarrier(session, 'step', async ({ generation }) => {
    generations.add(generation);
    inside += 1;
    most = Math.max(most, inside);
    await work(session);
    inside -= 1;
  }, { parties: sessions.length, timeoutMs: 10_000 })));
}

await step(async (session) => {
  await using both = await lockAll(session, ['printer', 'tray']);
  holding += 1;
  mostHolding = Math.max(mostHolding, holding);
  await new Promise((resolve) => setTimeout(resolve, 20));
  holding -= 1;
  both.assertHeld();
});
say(`inside together: ${most}\nwith both locks at a time: ${mostHolding}`);

for (const { name } of sessions) await progress.publish(`${name} done`);
const told: string[] = [];
for await (const { body, position } of watching) if (told.push(`${text(body)} (${position})`) === sessions.length) break;
say(`told live: ${told.join(', ')}`);
await step(() => Promise.resolve());
say(`the step is over for all, and the next begins: ${generations.size} generations`);
const outcomes = await step(({ name }) => (name === 'c' ? Promise.reject(new Error('no more paper')) : Promise.resolve()));
const reasons = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason as Error & { code?: string } : null));
say(`one of them fails, and all are told: ${reasons.map((reason) => reason?.code ?? reason?.message ?? 'nothing').join(', ')}`);
await resetDoubleBarrier(client, 'step');
await Promise.all(sessions.map((session) => session.close()));
await node.close();

function say(words: string): void {
  process.stdout.write(`${words}\n`);
}

// One leads, the others stand by: three workers campaign for one office, an observer looks on, the leader hands over, and a
// leader whose session ends stops before anybody else leads. All in this process; against a server, `connect(url)` instead.
//
// Prints:
//   seen: nobody
//   seen: a
//   seen: a, busy
//   a stops what only the leader does
//   seen: c
//   b waits still
//   c is lost: session_lost
//   seen: nobody
//   b has led in between, in a higher term: true

import { startNode } from '../core/index.js';
import { campaign, candidates, lead, observe, Session } from '../recipes/index.js';

const node = await startNode({ dataDir: null });
const { client } = node;
const open = (name: string): Promise<Session> => Session.open(client, { ttlSeconds: 10, name });
const [a, b, c] = [await open('a'), await open('b'), await open('c')];

let seen = '';
const stop = new AbortController();
const looking = (async () => {
  for await (const leader of observe(client, 'scheduler', { signal: stop.signal })) {
    seen = leader?.value ?? 'nobody';
    if (seen !== 'b') say(`seen: ${seen}`);
  }
})();
await until(() => seen === 'nobody');
const first = await campaign(a, 'scheduler', 'a');
await until(() => seen === 'a');
await first.proclaim('a, busy');
await until(() => seen === 'a, busy');
const led = lead(b, 'scheduler', 'b', ({ term }) => term);
await until(async () => (await candidates(client, 'scheduler')).length === 2);
const candidacy = campaign(c, 'scheduler', 'c');
await until(async () => (await candidates(client, 'scheduler')).length === 3);
// The end has one order: the signal aborts, hooks run, somebody else is elected. Here c, though b has waited longer.
first.onEnd(() => say('a stops what only the leader does'));
await first.resign({ handTo: ({ value }) => value === 'c' });
const second = await candidacy;
await until(() => seen === 'c');
say(`${(await candidates(client, 'scheduler'))[1]?.value} waits still`);
second.onEnd((reason) => say(`c is lost: ${'code' in reason ? String(reason.code) : reason.message}`));
await c.close();
await until(() => seen === 'nobody');
say(`b has led in between, in a higher term: ${await led > second.term}`);
stop.abort();
await Promise.all([looking, a.close(), b.close()]);
await node.close();

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!await isSo()) await new Promise(setImmediate);
}

function say(words: string): void {
  process.stdout.write(`${words}\n`);
}

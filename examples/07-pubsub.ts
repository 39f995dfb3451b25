// Publish and subscribe: a reader that goes on where it was, a message published twice, one that came too late, and a group
// that shares the work, with effects that happen once.
// Everything runs in this process; against a server, `connect('http://127.0.0.1:2379')` takes the node's place.
//
// Prints:
//   the reader saw: one, two
//   published again: two has its old position
//   it goes on where it was: three, four
//   too late for 2 messages: gap
//   a and b work on three and four
//   sent: 2, each once

import { startNode } from '../core/index.js';
import { Gap, Session, Topic, type Subscription } from '../recipes/index.js';

const node = await startNode({ dataDir: null });
const { client } = node;
const news = new Topic(client, 'news', { retain: { count: 2, ageSeconds: 3600 } });

const reader = news.subscribe();
await reader.ready();
const first = await news.publish('one');
const second = await news.publish('two', { id: 'order 17' });
say(`the reader saw: ${(await take(reader, 2)).join(', ')}`);
const again = await news.publish('two', { id: 'order 17' });
say(`published again: two has ${again.position === second.position ? 'its old' : 'a new'} position`);

await Promise.all([news.publish('three'), news.publish('four')]);
say(`it goes on where it was: ${(await take(news.subscribe({ from: { after: second.position } }), 2)).join(', ')}`);
try {
  await take(news.subscribe({ from: { after: first.position - 1 } }), 1);
} catch (error) {
  if (!(error instanceof Gap)) throw error;
  say(`too late for ${error.to - error.from + 1} messages: ${error.code}`);
}

// Each message is handed to one of a group. `also` happens together with the acknowledgement, however often it is tried.
const session = await Session.open(client, { ttlSeconds: 10 });
const [a, b] = await Promise.all([news.group(session, 'mailers'), news.group(session, 'mailers')]);
const mails = [await a.take(), await b.take()];
say(`a and b work on ${mails.map(({ body }) => Buffer.from(body).toString()).join(' and ')}`);
for (const mail of mails) {
  const key = Buffer.from(`sent/${mail.position}`);
  await mail.ack({ also: [{ kind: 'put', request: { key, value: mail.body } }] });
}
const { count } = await client.range({ key: Buffer.from('sent/'), rangeEnd: Buffer.from('sent0') });
say(`sent: ${count}, each once`);
await Promise.all([a.close(), b.close()]);
await session.close();
await node.close();

async function take(subscription: Subscription, count: number): Promise<string[]> {
  const bodies: string[] = [];
  for await (const { body } of subscription) if (bodies.push(Buffer.from(body).toString()) === count) break;
  return bodies;
}

function say(words: string): void {
  process.stdout.write(`${words}\n`);
}

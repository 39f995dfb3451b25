// Following a queue from outside. What else can be seen of one, and done to it by hand, is in queue.test.ts and
// queue-more.test.ts.

import test from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { put } from '../../core/client.js';
import { Queue } from '../../recipes/queue.js';
import { Session } from '../../recipes/session.js';
import { world } from './world.js';

test('the ends are followed through a lost connection and through compaction, and what is forgotten is told', async (t) => {
  const w = await world(30);
  const link = w.link();
  const queue = new Queue<string>(w.store, 'jobs', { clock: w.clock });
  const session = await w.clock.until(Session.open(w.store, { ttlSeconds: 600, clock: w.clock }));
  const over = new AbortController();
  const told: string[] = [];
  const follow = async (from: number, client: Client, signal: AbortSignal): Promise<void> => {
    for await (const { id } of new Queue(client, 'jobs', { clock: w.clock }).ends({ from, signal })) told.push(id);
  };
  const ended = async (id: string): Promise<void> => {
    await w.clock.until(queue.put(id, { id }).then(() => queue.take(session)).then((item) => item.ack()));
  };
  const following = follow(0, link, over.signal);
  await w.clock.advance(10);
  await ended('a');
  await w.clock.advance(10);
  // Only what was told is forgotten; then one end is missed by the watch, but not by who asks again.
  for (const [id, cut] of [['b', () => link.down()], ['c', () => link.freeze()]] as const) {
    const { header } = await w.clock.until(put(w.store, utf8('other'), utf8('')));
    cut();
    await w.clock.until(w.store.compact(header.revision));
    await ended(id);
    link.thaw();
    link.up();
    await w.clock.advance(5_000);
  }
  t.deepEqual(told, ['a', 'b', 'c']);
  const { header } = await w.clock.until(put(w.store, utf8('other'), utf8('')));
  await w.clock.until(w.store.compact(header.revision));
  await t.throwsAsync(w.clock.until(follow(1, w.store, over.signal)), { message: /compacted/ });
  over.abort();
  await w.clock.until(following);
  t.deepEqual(told, ['a', 'b', 'c']);
  await w.end();
});

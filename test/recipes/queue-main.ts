// A process of its own that takes an item and keeps it: `queue-main.js URL QUEUE TTL`. Says `took FENCE`; tries to end it
// once its session has ended, and says what came of that.

import { connect } from '../../core/index.js';
import { Queue } from '../../recipes/queue.js';
import { Session } from '../../recipes/session.js';

const [, , url = '', name = '', ttl = '2'] = process.argv;
const client = connect(url);
const session = await Session.open(client, { ttlSeconds: Number(ttl) });
const item = await new Queue<string>(client, name).take(session);
process.stdout.write(`took ${item.fence}\n`);
await new Promise((resolve) => {
  item.signal.addEventListener('abort', resolve, { once: true });
});
try {
  await item.ack();
  process.stdout.write('ack done\n');
} catch (error) {
  process.stdout.write(`ack ${error instanceof Error && 'code' in error ? String(error.code) : String(error)}\n`);
}
await client.close();

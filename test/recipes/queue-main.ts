// A process of its own that takes an item and keeps it: `queue-main.js URLS QUEUE TTL EFFECT`. Says `took FENCE`; tries to end
// it once its session has ended, together with an effect, and says what came of that.

import { utf8 } from '../../core/base/bytes.js';
import { opPut } from '../../core/client.js';
import { connect } from '../../core/index.js';
import { Queue } from '../../recipes/queue.js';
import { opened } from './claims.js';

const [, , urls = '', name = '', ttl = '2', effect = 'effect'] = process.argv;
const client = connect(urls.split(','));
const session = await opened(client, Number(ttl));
const item = await new Queue<string>(client, name).take(session);
process.stdout.write(`took ${item.fence}\n`);
await new Promise((resolve) => {
  item.signal.addEventListener('abort', resolve, { once: true });
});
try {
  await item.ack({ also: [opPut(utf8(effect), utf8('first'))] });
  process.stdout.write('ack done\n');
} catch (error) {
  process.stdout.write(`ack ${error instanceof Error && 'code' in error ? String(error.code) : String(error)}\n`);
}
await client.close();

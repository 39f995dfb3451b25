// A process of its own for tests: holds a key on a session with a stall budget, says so, and then hangs for ever.

import { utf8 } from '../../core/base/bytes.js';
import { put } from '../../core/client.js';
import { connect, keepAliver } from '../../core/index.js';
import { Session } from '../../recipes/session.js';

const [url = '', key = '', ttlSeconds = '', stallBudgetMs = ''] = process.argv.slice(2);
const client = connect(url);
const session = await Session.open(client, {
  ttlSeconds: Number(ttlSeconds), stallBudgetMs: Number(stallBudgetMs), keepAliver: keepAliver(url),
});
await put(client, utf8(key), utf8('held'), { lease: session.lease });
// The thread is up by then, and has renewed.
await new Promise((resolve) => setTimeout(resolve, 1_000));
process.stdout.write('hangs\n', () => {
  for (;;);
});

// A process of its own for tests: holds a key on a session with a stall budget, says so, and then hangs for longer than any
// test waits.

import { utf8 } from '../../core/base/bytes.js';
import { put } from '../../core/client.js';
import { connect } from '../../core/index.js';
import { Session } from '../../recipes/session.js';
import { besideOf } from './beside.js';

const [url = '', key = '', ttlSeconds = '', stallBudgetMs = ''] = process.argv.slice(2);
const client = connect(url);
const beside = besideOf(url);
const session = await Session.open(client, {
  ttlSeconds: Number(ttlSeconds), stallBudgetMs: Number(stallBudgetMs), keepAliver: beside,
});
await put(client, utf8(key), utf8('held'), { lease: session.lease });
await beside.renewed();
process.stdout.write('hangs\n', () => {
  for (const until = performance.now() + 90_000; performance.now() < until;);
  process.exit(1);
});

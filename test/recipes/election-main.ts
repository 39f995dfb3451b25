// A process of its own for tests: a candidate until it is killed. Prints `ready`, then `elected <term>` and
// `lost <code>` for each of its leaderships.
// usage: election-main <endpoint,...> <name> <value> <ttlSeconds>

import { connect } from '../../core/index.js';
import { lead } from '../../recipes/lead.js';
import { Session } from '../../recipes/session.js';

const [endpoint = '', name = '', value = '', ttl = ''] = process.argv.slice(2);
const client = connect(endpoint.split(','));
process.stdout.write('ready\n');
await lead(() => Session.open(client, { ttlSeconds: Number(ttl) }), name, value, async ({ term, signal }) => {
  process.stdout.write(`elected ${term}\n`);
  await new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
    if (signal.aborted) resolve();
  });
  const code: unknown = signal.reason instanceof Error && 'code' in signal.reason ? signal.reason.code : '';
  process.stdout.write(`lost ${String(code)}\n`);
}, { again: true });

// A process of its own for tests: takes a lock and writes under its fence, over and over, until it is not its own any more.
// Prints `held <fence>` and then, as soon as it runs again after whatever happened to it, `lost <code>`.
// usage: lock-main <endpoint,...> <name> <ttlSeconds>

import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError } from '../../core/errors.js';
import { connect } from '../../core/index.js';
import { FencedOut } from '../../recipes/fenced-txn.js';
import { lock } from '../../recipes/lock.js';
import { Session } from '../../recipes/session.js';

const [endpoint = '', name = '', ttl = ''] = process.argv.slice(2);
const session = await Session.open(connect(endpoint.split(',')), { ttlSeconds: Number(ttl) });
const held = await lock(session, name);
process.stdout.write(`held ${held.fence}\n`);
for (;;) {
  try {
    held.assertHeld();
    await held.txn().put('effect', String(held.fence)).commit();
    await sleep(5);
  } catch (error) {
    // Whether that write came through is not known; whether the lock is still ours, the next look says.
    if (error instanceof ApiError) continue;
    const lost = error instanceof FencedOut && error.cause instanceof Error ? error.cause : error;
    const code: unknown = lost instanceof Error && 'code' in lost ? lost.code : String(lost);
    process.stdout.write(`lost ${String(code)}\n`);
    process.exit(0);
  }
}

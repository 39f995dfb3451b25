// A process of its own for the fail-over rows: leads so many elections, each on a session of its own, and ends or stands
// still when it is told to. It chooses a moment at which no renewal is on its way, so that it knows when each lease ends.
// Prints `leading`, then the ends of its leases as JSON (milliseconds of the machine's monotonic clock, which all processes
// share), then, if it goes on after that, how many of its offices still say that they lead.
// usage: leaders-main <endpoint> <name> <count> <ttlSeconds> SIGKILL|SIGSTOP

import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LeaseId } from '../../core/client.js';
import { connect } from '../../core/wire/remote-client.js';
import { campaign } from '../../recipes/election.js';
import { Session } from '../../recipes/session.js';
import { Counting } from './counting.js';
import { now } from './machine-clock.js';

const [url = '', name = '', count = '', ttl = '', signal = ''] = process.argv.slice(2);
/** When the newest renewal of each was sent; until it is answered the store may not know of it. */
const sentAt = new Map<LeaseId, number>();
let underWay = 0;

class Renewing extends Counting {
  override async keepAlive(...args: Parameters<Counting['keepAlive']>): ReturnType<Counting['keepAlive']> {
    const from = now();
    underWay += 1;
    try {
      const answer = await super.keepAlive(...args);
      sentAt.set(args[0], from);
      return answer;
    } finally {
      underWay -= 1;
    }
  }
}

const client = new Renewing(connect(url));
const ttlMs = Number(ttl) * 1000;
const offices = await Promise.all(Array.from({ length: Number(count) }, async (_, i) => {
  // So that their renewals, and with them their ends, are spread evenly.
  await sleep((i * ttlMs) / 3 / Number(count));
  const session = await Session.open(client, { ttlSeconds: Number(ttl) });
  return { session, office: await campaign(session, `${name} ${i}`, 'first') };
}));
writeSync(1, 'leading\n');
await new Promise((resolve) => {
  process.stdin.once('data', resolve);
});
process.stdin.destroy();
while (underWay > 0) await new Promise((resolve) => setImmediate(resolve));
writeSync(1, `${JSON.stringify(offices.map(({ session }) => (sentAt.get(session.lease) ?? NaN) + session.ttlMs))}\n`);
process.kill(process.pid, signal);
writeSync(1, `${offices.filter(({ office }) => office.isLeader).length}\n`);

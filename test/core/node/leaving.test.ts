// Whom a member believes that says it does not belong to the cluster.

import test, { type ExecutionContext } from 'ava';
import { Leaving } from '../../../core/node/leaving.js';
import { Reign } from '../../../core/node/reign.js';
import { SimClock } from '../../sim/clock.js';

const ELECTION_MS = 1000;

function stage(t: ExecutionContext): { reign: Reign; leaving: Leaving; clock: SimClock; ended: Error[]; refusals: string[] } {
  const clock = new SimClock();
  const reign = new Reign(ELECTION_MS, clock);
  const ended: Error[] = [];
  const refusals: string[] = [];
  const leaving = new Leaving({ id: 1n, heartbeatMs: 100, electionMs: ELECTION_MS }, {
    clock, reign, others: () => [2n, 3n], ask: () => undefined, end: (error) => ended.push(error),
    observe: (event) => event.kind === 'refused' && refusals.push(`${event.reason} by ${event.by}`),
  });
  t.teardown(() => leaving.cancel());
  reign.begin();
  return { reign, leaving, clock, ended, refusals };
}

test('who is no member is believed only as the leader that is followed, and only about the data', (t) => {
  const { reign, leaving, refusals } = stage(t);
  leaving.onNotice('other_incarnation', 9n, false);
  reign.onRole({ state: 'follower', term: 7, leader: 8n });
  leaving.onNotice('other_incarnation', 9n, false);
  leaving.onNotice('removed', 8n, false);
  t.deepEqual(refusals, []);
  leaving.onNotice('other_incarnation', 8n, false);
  t.deepEqual(refusals, ['other_incarnation by 8']);
});

test('a member is believed at once about the data, and about a removal only without a leader and with most others', (t) => {
  const { reign, leaving, refusals } = stage(t);
  reign.onRole({ state: 'follower', term: 7, leader: 3n });
  leaving.onNotice('removed', 2n, true);
  reign.onRole({ state: 'follower', term: 7, leader: 0n });
  leaving.onNotice('removed', 2n, true);
  leaving.onNotice('removed', 2n, true);
  t.deepEqual(refusals, []);
  leaving.onNotice('removed', 3n, true);
  t.deepEqual(refusals, ['removed by 3']);
  const other = stage(t);
  other.leaving.onNotice('other_incarnation', 2n, true);
  t.deepEqual(other.refusals, ['other_incarnation by 2']);
});

test('it ends a little later, with the remedy', async (t) => {
  const { leaving, clock, ended } = stage(t);
  leaving.leave('other_incarnation', 2n);
  t.deepEqual(ended, []);
  await clock.advance(200);
  t.regex(ended[0]?.message ?? '', /has lost its data/);
});

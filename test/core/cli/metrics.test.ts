// What /metrics says under names of our own. etcd's names are held against a live etcd: test/interop/metrics.test.ts.

import test from 'ava';
import { ServerMetrics } from '../../../core/cli/metrics.js';
import { isApiError } from '../../../core/errors.js';
import { startNode } from '../../../core/start-node.js';

test('SB13 wrong passwords are counted, and apart from them those that were not looked at', async (t) => {
  const node = await startNode({ dataDir: null, auth: { bcryptCost: 4 } });
  t.teardown(() => node.close());
  const { client, memberId } = node;
  await client.changeAuth({ kind: 'user_add', name: 'root', password: { plain: 'x' } });
  await client.changeAuth({ kind: 'user_grant', name: 'root', role: 'root' });
  await client.changeAuth({ kind: 'enable' });
  const metrics = new ServerMetrics({ isExtensive: false });
  const dbSizes = (): Promise<{ totalBytes: number; inUseBytes: number }> => Promise.resolve({ totalBytes: 0, inUseBytes: 0 });
  metrics.attach({ memberId, quotaBytes: 0, facts: () => node.facts(), dbSizes });
  const figures = async (): Promise<readonly string[]> => {
    const { body } = await metrics.scrape();
    return [...body.matchAll(/^coterie_logins_\w+ \d+$/gm)].map(([line]) => line);
  };
  t.deepEqual(await figures(), ['coterie_logins_failed_total 0', 'coterie_logins_throttled_total 0']);
  await client.authenticate('root', 'x');
  const guess = (): Promise<unknown> => client.authenticate('root', 'wrong').catch((error: unknown) => error);
  // Of one name eight wait at once.
  const together = await Promise.all(Array.from({ length: 10 }, guess));
  t.is(together.filter((error) => isApiError(error, 'auth_failed')).length, 8);
  t.is(together.filter((error) => isApiError(error, 'too_many_logins')).length, 2);
  t.deepEqual(await figures(), ['coterie_logins_failed_total 8', 'coterie_logins_throttled_total 2']);
});

test('ticks that came late and silences of a leader are counted, and the longest remembered', async (t) => {
  const metrics = new ServerMetrics({ isExtensive: false });
  metrics.onNode({ kind: 'beat', lateMs: 7, silenceMs: 110 });
  metrics.onNode({ kind: 'beat', lateMs: 2, silenceMs: 650 });
  metrics.onNode({ kind: 'beat', lateMs: 3, silenceMs: null });
  const { body } = await metrics.scrape();
  t.true(body.includes('coterie_tick_late_seconds_bucket{le="0.005"} 2\n'));
  t.true(body.includes('coterie_tick_late_seconds_count 3\n'));
  t.true(body.includes('coterie_leader_silence_seconds_bucket{le="0.6"} 1\n'));
  t.true(body.includes('coterie_leader_silence_seconds_count 2\n'));
  t.true(body.includes('coterie_tick_late_max_seconds 0.007\n'));
  t.true(body.includes('coterie_leader_silence_max_seconds 0.65\n'));
});

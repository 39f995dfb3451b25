// Topics and groups over real sockets, against coterie and against etcd, each in a process of its own. The tests share the
// servers and run side by side.

import test from 'ava';
import { connect } from '../../core/index.js';
import { Topic } from '../../recipes/topic.js';
import { clients, homesOfFile } from './homes.js';
import { aged, beforeDuringAfter, bodies, exactlyOnce, lateAck, numbers, take } from './topic-claims.js';

const everyHome = homesOfFile(test);

test('C7 over sockets: before, during and after the first publish; ids once; a token too old; live by numbers', async (t) => {
  await everyHome(t, (home) => beforeDuringAfter(t, home));
});

test('over sockets: connections cut and frozen under publishers and readers; everything once, in one order', async (t) => {
  await everyHome(t, (home) => exactlyOnce(t, home));
});

test('over sockets: retention by age hangs on leases, and the gap is told', async (t) => {
  await everyHome(t, (home) => aged(t, home));
});

test('over sockets: a consumer whose link freezes loses its message to another, and its late ack is refused', async (t) => {
  await everyHome(t, (home) => lateAck(t, home));
});

// Serial: a thousand readers in this process slow down what others measure.
test.serial('over sockets: 1,000 subscribers, and a message still costs its publisher one transaction', async (t) => {
  t.timeout(180_000);
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const reading = connect(`http://127.0.0.1:${home.port}`);
    t.teardown(() => reading.close());
    const readers = Array.from({ length: 1_000 }, () => new Topic(reading, 'wide').subscribe());
    await Promise.all(readers.map((reader) => reader.ready()));
    const all = Promise.all(readers.map((reader) => take(reader, 20)));
    const topic = new Topic(near, 'wide');
    const times: number[] = [];
    for (const body of numbers(1, 20)) {
      const from = performance.now();
      await topic.publish(body);
      times.push(performance.now() - from);
    }
    const from = performance.now();
    for (const messages of await all) t.deepEqual(bodies(messages), numbers(1, 20));
    const median = times.toSorted((x, y) => x - y)[10] ?? 0;
    const lag = Math.round(performance.now() - from);
    t.log(`${home.name}: publish p50 ${median.toFixed(1)} ms; all 1,000 had all ${lag} ms later`);
  });
});

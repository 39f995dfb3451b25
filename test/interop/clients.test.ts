// Other people's clients against our server: npm's etcd3, which is how most of Node speaks to etcd today.

import test from 'ava';
import { Etcd3 } from 'etcd3';
import { startNode, type RunningNode } from '../../core/start-node.js';
import { serve, type WireServer } from '../../core/wire/port.js';

let node: RunningNode | null = null;
let server: WireServer | null = null;

test.before('coterie starts', async () => {
  node = await startNode({ dataDir: null });
  server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
});
test.after.always('it ends', async () => {
  await server?.close();
  await node?.close();
});

function etcd3(): Etcd3 {
  return new Etcd3({ hosts: server?.urls[0] ?? '' });
}

test('etcd3 puts, gets, deletes and compares', async (t) => {
  const client = etcd3();
  await client.put('kv/a').value('1');
  await client.put('kv/b').value('2');
  t.is(await client.get('kv/a').string(), '1');
  t.is(await client.get('kv/none').string(), null);
  t.deepEqual(await client.getAll().prefix('kv/').strings(), { 'kv/a': '1', 'kv/b': '2' });
  const won = await client.if('kv/a', 'Value', '==', '1').then(client.put('kv/a').value('3')).commit();
  t.true(won.succeeded);
  t.is((await client.delete().prefix('kv/')).deleted, '2');
  client.close();
});

test('etcd3 watches', async (t) => {
  const client = etcd3();
  const watcher = await client.watch().prefix('w/').create();
  const seen = new Promise<string[]>((resolve) => {
    const events: string[] = [];
    const note = (text: string): void => {
      if (events.push(text) === 2) resolve(events);
    };
    watcher.on('put', (pair) => note(`put ${pair.key.toString()}=${pair.value.toString()}`));
    watcher.on('delete', (pair) => note(`delete ${pair.key.toString()}`));
  });
  await client.put('w/a').value('1');
  await client.delete().key('w/a');
  t.deepEqual(await seen, ['put w/a=1', 'delete w/a']);
  await watcher.cancel();
  client.close();
});

test('etcd3 holds leases and lets keys go with them', async (t) => {
  const client = etcd3();
  const lease = client.lease(10);
  await lease.put('l/a').value('1');
  t.is(await client.get('l/a').string(), '1');
  await lease.keepaliveOnce();
  await lease.revoke();
  t.is(await client.get('l/a').string(), null);
  client.close();
});

test('etcd3 locks one at a time', async (t) => {
  const client = etcd3();
  const first = await client.lock('lock').acquire();
  await t.throwsAsync(client.lock('lock').acquire());
  await first.release();
  const ran = await client.lock('lock').do(() => 'ran');
  t.is(ran, 'ran');
  client.close();
});

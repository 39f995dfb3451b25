// npm's etcd3 at its work, as its users write it: `say` hears each claim that held. Between the two halves it calls `pause`:
// a cluster loses its leader there. The client knows all members and goes from one to another by itself; what fails while
// there is no leader is tried again by the user. So is what needs a stream of its own: the client picks one member at random
// for it, dead or not, and tries only its single calls on another.

import { Etcd3, EtcdLockFailedError, type Watcher } from 'etcd3';
import { eventually } from '../cluster-processes.js';

export type Say = (claim: string) => void;

export async function etcd3Story(hosts: readonly string[], prefix: string, say: Say, pause: () => Promise<void>): Promise<void> {
  const client = new Etcd3({ hosts: [...hosts] });
  const own = client.namespace(prefix);
  try {
    const all = async (): Promise<void> => {
      await keysAndValues(client, prefix, say);
      await transactions(client, prefix, say);
      await watches(client, prefix, say);
      await leases(client, prefix, say);
      await locks(client, prefix, say);
      await elections(client, prefix, say);
    };
    await all();
    const watcher = await own.watch().prefix('across/').create();
    const seen = events(watcher, 1);
    await own.put('kept').value('before');
    const lease = own.lease(60);
    await lease.put('leased').value('1');
    await own.lease(1, { autoKeepAlive: false }).put('short').value('1');
    const lock = await own.lock('held').ttl(60).acquire();
    const office = own.election('office', 60).campaign('me');
    await office.wait();
    await pause();
    await eventually(async () => own.put('across/a').value('after'));
    same(await own.get('kept').string(), 'before');
    same(await seen, ['put across/a=after']);
    say('keeps what it wrote, and its watch goes on');
    same(await own.get('leased').string(), '1');
    await eventually(async () => lease.keepaliveOnce());
    await lock.release();
    same(await own.election('office').leader(), 'me');
    await office.resign();
    say('keeps its lease, its lock and its office');
    await eventually(async () => same(await own.get('short').string(), null));
    say('loses what is on a lease nobody renews');
    await watcher.cancel();
    await lease.revoke();
    await all();
  } finally {
    client.close();
  }
}

function same(actual: unknown, expected: unknown): void {
  const [is, should] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (is !== should) throw new Error(`${is} should be ${should}`);
}

/** The next events, once there are as many. */
function events(watcher: Watcher, count: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const seen: string[] = [];
    const note = (text: string): void => {
      if (seen.push(text) === count) resolve(seen);
    };
    watcher.on('put', (pair) => note(`put ${pair.key.toString()}=${pair.value.toString()}`));
    watcher.on('delete', (pair) => note(`delete ${pair.key.toString()}`));
    watcher.on('error', reject);
  });
}

async function keysAndValues(client: Etcd3, prefix: string, say: Say): Promise<void> {
  const own = client.namespace(prefix);
  await own.put('kv/a').value('1');
  await own.put('kv/b').value('2');
  same(await own.get('kv/a').string(), '1');
  same(await own.get('kv/none').string(), null);
  same(await own.getAll().prefix('kv/').strings(), { 'kv/a': '1', 'kv/b': '2' });
  same(await own.getAll().prefix('kv/').sort('Key', 'Descend').limit(1).keys(), ['kv/b']);
  same((await own.put('kv/a').value('3').getPrevious()).value.toString(), '1');
  same((await own.delete().key('kv/b')).deleted, '1');
  same((await own.delete().prefix('kv/')).deleted, '1');
  say('puts, gets, reads a prefix and deletes');
}

async function transactions(client: Etcd3, prefix: string, say: Say): Promise<void> {
  const own = client.namespace(prefix);
  await own.put('txn').value('1');
  const won = await own
    .if('txn', 'Value', '==', '1')
    .and('none', 'Create', '==', 0)
    .then(own.put('txn').value('2'), own.get('txn'))
    .else(own.get('txn'))
    .commit();
  same(won.succeeded, true);
  same((await own.if('txn', 'Value', '==', '1').then(own.put('txn').value('9')).commit()).succeeded, false);
  await own.stm().transact(async (tx) => tx.put('txn').value(`${await tx.get('txn').string()}${await tx.get('none').string()}`));
  same(await own.get('txn').string(), '2null');
  say('compares and changes in one transaction');
}

async function watches(client: Etcd3, prefix: string, say: Say): Promise<void> {
  const own = client.namespace(prefix);
  const watcher = await own.watch().prefix('w/').create();
  const seen = events(watcher, 2);
  await own.put('w/a').value('1');
  await own.delete().key('w/a');
  same(await seen, ['put w/a=1', 'delete w/a']);
  await watcher.cancel();
  say('watches a prefix until it cancels');
}

async function leases(client: Etcd3, prefix: string, say: Say): Promise<void> {
  const own = client.namespace(prefix);
  const lease = own.lease(60);
  await lease.put('l/a').value('1');
  await eventually(async () => lease.keepaliveOnce());
  same(await own.get('l/a').string(), '1');
  await lease.revoke();
  same(await own.get('l/a').string(), null);
  say('grants, renews and revokes a lease');
}

async function locks(client: Etcd3, prefix: string, say: Say): Promise<void> {
  const own = client.namespace(prefix);
  const lock = await own.lock('lock').acquire();
  const second = await own.lock('lock').acquire().catch((error: unknown) => error);
  same(second instanceof EtcdLockFailedError, true);
  await lock.release();
  same(await own.lock('lock').do(() => 'ran'), 'ran');
  say('locks, one at a time');
}

async function elections(client: Etcd3, prefix: string, say: Say): Promise<void> {
  const election = client.namespace(prefix).election('leader', 30);
  const first = election.campaign('first');
  await first.wait();
  const second = election.campaign('second');
  const observer = await election.observe();
  same(observer.leader(), 'first');
  const changed = new Promise<string | undefined>((resolve) => {
    observer.on('change', (leader) => {
      if (leader === 'second') resolve(leader);
    });
  });
  await first.resign();
  await second.wait();
  same(await changed, 'second');
  same(await election.leader(), 'second');
  await second.resign();
  await observer.cancel();
  say('elects, and sees who was elected');
}

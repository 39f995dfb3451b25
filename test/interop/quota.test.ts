// The quota and its alarm, put to real etcd and to coterie in the same words: who is refused, what still works, what it takes
// to go on.

import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { del, get, opDelete, opPut, opRange, opTxn, put, type Backend } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { connect } from '../../core/wire/remote-client.js';
import { startPair, type Side } from './pair.js';
import { isInstalled } from './real-etcd.js';

const QUOTA = 4 * 1024 * 1024;

async function said(call: Promise<unknown>): Promise<string> {
  return call.then(() => 'done', (error: unknown) => {
    return error instanceof ApiError ? `${error.status} ${error.message}` : String(error);
  });
}

async function alarmsOf(client: Backend): Promise<string> {
  const { alarms } = await client.alarm({ action: 'list', memberId: 0n, kind: null });
  return alarms.map(({ memberId, kind }) => `${memberId.toString(16)} ${kind}`).join();
}

/** What one side says to a whole story. */
async function story({ url }: Side): Promise<readonly (readonly [string, string])[]> {
  const client = connect(url);
  const told: (readonly [string, string])[] = [];
  const tell = async (what: string, call: Promise<unknown>): Promise<void> => {
    told.push([what, await said(call)]);
  };
  const health = async (): Promise<void> => {
    const answer = await fetch(`${url}/health`);
    told.push(['health', `${answer.status}`]);
  };
  const small = opPut(utf8('small'), utf8('1'));
  try {
    const { id } = await client.grant(1000);
    let puts = 0;
    while (puts < 100 && await said(put(client, utf8(`k${puts}`), new Uint8Array(200_000))) === 'done') puts += 1;
    told.push(['filled', puts > 5 && puts < 100 ? 'in between' : `${puts} puts`]);
    told.push(['alarms', await alarmsOf(client)]);
    told.push(['status', (await client.status()).errors.join()]);
    await health();
    await tell('put', put(client, utf8('small'), utf8('1')));
    // Larger than what did not fit before: whether a byte more would, depends on when etcd last looked at its file.
    await tell('put without a key', put(client, utf8(''), new Uint8Array(300_000)));
    await tell('txn that puts in the other branch', client.txn({ success: [opRange(utf8('k0'))], failure: [small] }));
    await tell('txn that deletes', client.txn({ success: [opDelete(utf8('k1')), opRange(utf8('k0'))] }));
    await tell('grant', client.grant(10));
    await tell('delete', del(client, utf8('k2')));
    await tell('get', get(client, utf8('k3')));
    await tell('revoke', client.revoke(id));
    await tell('delete all', del(client, utf8('k'), { rangeEnd: utf8('l') }));
    await tell('compact', client.status().then(({ header }) => client.compact(header.revision, { physical: true })));
    await tell('defragment', client.defragment());
    told.push(['size', (await client.status()).dbSizeBytes < QUOTA / 2 ? 'small' : 'large']);
    await tell('put after defragment', put(client, utf8('small'), utf8('1')));
    await tell('nested delete after defragment', client.txn({ success: [opTxn({ success: [opDelete(utf8('x'))] })] }));
    const memberId = (await client.status()).header.memberId;
    await tell('clear another kind', client.alarm({ action: 'clear', memberId, kind: 'corrupt' }));
    await tell('clear it of another member', client.alarm({ action: 'clear', memberId: 5n, kind: 'no_space' }));
    told.push(['alarms', await alarmsOf(client)]);
    await tell('clear', client.alarm({ action: 'clear', memberId, kind: 'no_space' }));
    told.push(['alarms', await alarmsOf(client)]);
    await health();
    await tell('put after all', put(client, utf8('small'), utf8('1')));
    await tell('raise corrupt', client.alarm({ action: 'raise', memberId, kind: 'corrupt' }));
    told.push(['status', (await client.status()).errors.join()]);
    await tell('put', put(client, utf8('small'), utf8('2')));
    await tell('delete', del(client, utf8('small')));
    await tell('grant', client.grant(10));
    await tell('compact', client.compact(2));
    await tell('txn', client.txn({ success: [small] }));
    await tell('empty txn', client.txn({}));
    told.push(['get', text((await get(client, utf8('small')))?.value ?? utf8(''))]);
    await tell('clear corrupt', client.alarm({ action: 'clear', memberId, kind: 'corrupt' }));
    await tell('put after all', put(client, utf8('small'), utf8('3')));
  } finally {
    await client.close();
  }
  return told;
}

test('a store that is full, and one that is corrupt, answer as etcd\'s do, step by step', async (t) => {
  if (!isInstalled('etcd', (line) => t.log(line))) {
    t.pass();
    return;
  }
  const pair = await startPair({
    flags: ['--quota-backend-bytes', `${QUOTA}`],
    node: { limits: { quotaBytes: QUOTA } },
  });
  try {
    const [etcd, coterie] = await Promise.all(pair.sides.map((side) => story(side)));
    t.deepEqual(coterie, etcd);
    t.true(etcd?.some(([what, answer]) => what === 'put' && answer === '8 etcdserver: mvcc: database space exceeded'));
    t.true(etcd?.some(([what, answer]) => what === 'delete' && answer === '15 etcdserver: corrupt cluster'));
  } finally {
    await pair.close();
  }
});

// Snapshots between etcd and coterie: what etcdctl saves from coterie, etcd's own tools restore, and a real etcd serves it
// with the same keys, history, revisions, leases, users and roles; and the same the other way round. So one can always leave,
// and come.

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { latin1, utf8 } from '../../core/base/bytes.js';
import { del, opDelete, opPut, put, type Backend } from '../../core/client.js';
import { startNode } from '../../core/start-node.js';
import { serve } from '../serving.js';
import { connect } from '../../core/wire/remote-client.js';
import { coterie } from '../core/cli/binary.js';
import { freePorts } from './free-ports.js';
import { isInstalled, startEtcd } from './real-etcd.js';
import { startServer } from './server-process.js';

const ALL = { key: utf8('\0'), rangeEnd: utf8('\0') };
const LEASE = 1234n;

async function fill(client: Backend): Promise<void> {
  await client.grant(600, { id: LEASE });
  for (let i = 0; i < 60; i++) await put(client, utf8(`key-${i % 25}`), utf8(`${i}`.repeat(1 + 40 * (i % 7))));
  const leased = opPut(utf8('y'), utf8('2'), { lease: LEASE });
  await client.txn({ success: [opPut(utf8('x'), utf8('1')), opDelete(utf8('key-3')), leased] });
  await put(client, utf8('large'), new Uint8Array(300_000).fill(7));
  await client.compact(30);
  await del(client, utf8('key-1'), { rangeEnd: utf8('key-19') });
  await put(client, utf8('key-10'), utf8('again'));
  await client.changeAuth({ kind: 'role_add', name: 'r' });
  const permission = { kind: 'readwrite', key: utf8('k'), rangeEnd: utf8('l') } as const;
  await client.changeAuth({ kind: 'role_grant', name: 'r', permission });
  await client.changeAuth({ kind: 'user_add', name: 'alice', password: { plain: 'secret' } });
  await client.changeAuth({ kind: 'user_add', name: 'bob', password: null });
  await client.changeAuth({ kind: 'user_grant', name: 'alice', role: 'r' });
}

/** All that can be asked of it. */
async function told(client: Backend): Promise<unknown> {
  const { header } = await client.range(ALL);
  const history: unknown[] = [];
  for (let revision = 30; revision <= header.revision; revision++) {
    const { kvs } = await client.range({ ...ALL, revision });
    history.push(kvs.map((kv) => {
      return { ...kv, key: latin1(kv.key), value: latin1(kv.value).slice(0, 50), length: kv.value.length };
    }));
  }
  const compacted = await client.range({ ...ALL, revision: 29 }).then(() => 'there', String);
  const lease = await client.leaseInfo(LEASE, { keys: true });
  return {
    revision: header.revision, history, compacted,
    lease: [lease.grantedTtlSeconds, lease.keys.map(latin1), lease.ttlSeconds > 500],
    users: (await client.users()).names, roles: (await client.user('alice')).roles,
    permissions: (await client.role('r')).permissions,
  };
}

/** In a process of its own while this one goes on: the server it asks may be here. */
async function etcdctl(...args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('etcdctl', args, { env: { ...process.env, ETCDCTL_API: '3' } });
  return stdout;
}

test('E9: from coterie to etcd and back, nothing is lost and no revision changes', async (t) => {
  if (!isInstalled('etcd', (line) => t.log(line))) {
    t.pass();
    return;
  }
  const directory = mkdtempSync(path.join(tmpdir(), 'coterie-leave-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const at = (name: string): string => path.join(directory, name);
  const node = await startNode({ dataDir: null });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  await fill(node.client);
  const before = await told(node.client);
  await etcdctl('--endpoints', server.urls[0] ?? '', 'snapshot', 'save', at('leave.db'));
  await server.close();
  await node.close();
  const status = JSON.parse(await etcdctl('snapshot', 'status', at('leave.db'), '-w', 'json')) as { revision: number };
  t.is(status.revision, (before as { revision: number }).revision);
  const [peer = 0] = await freePorts(1);
  const peerUrl = `http://127.0.0.1:${peer}`;
  const founding = ['--initial-cluster', `default=${peerUrl}`, '--initial-advertise-peer-urls', peerUrl];
  await etcdctl('snapshot', 'restore', at('leave.db'), '--data-dir', at('etcd'), ...founding);
  const etcd = await startEtcd({ dataDir: at('etcd') });
  const client = connect(etcd.url);
  try {
    t.deepEqual(await told(client), before);
    await put(client, utf8('key-2'), utf8('written by etcd'));
    await etcdctl('--endpoints', etcd.url, 'snapshot', 'save', at('return.db'));
    const after = await told(client);
    t.is((await coterie(['snapshot', 'restore', at('return.db'), '--data-dir', at('coterie')])).code, 0);
    const [port = 0] = await freePorts(1);
    const back = await startServer({ port, dataDir: at('coterie') });
    const returned = connect(back.url);
    try {
      t.deepEqual(await told(returned), after);
      const token = await returned.authenticate('alice', 'secret').then(() => 'given', String);
      t.regex(token, /authentication is not enabled/);
    } finally {
      await returned.close();
      await back.end('SIGKILL');
    }
  } finally {
    await client.close();
    await etcd.close();
  }
});

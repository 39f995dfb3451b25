// Our client's words about a cluster, towards real etcd: what it asks is understood, and what is answered is read rightly.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { put } from '../../core/client.js';
import { isApiError, type ErrorCode } from '../../core/errors.js';
import { memberId } from '../../core/identity.js';
import { connect, type RemoteClient } from '../../core/wire/remote-client.js';
import { eventually } from './cluster-processes.js';
import { isInstalled, startEtcd, type RealEtcd } from './real-etcd.js';

let etcd: RealEtcd | null = null;
let client: RemoteClient | null = null;

test.before('etcd starts', async (t) => {
  if (!isInstalled('etcd', (line) => t.log(line))) return;
  etcd = await startEtcd();
  client = connect(etcd.url);
  await put(client, utf8('a'), utf8('1'));
});
test.after.always('it ends', async () => {
  await client?.close();
  await etcd?.close();
});

function withEtcd(title: string, run: (t: ExecutionContext, remote: RemoteClient, real: RealEtcd) => Promise<void>): void {
  test.serial(title, async (t) => (client === null || etcd === null ? t.pass() : run(t, client, etcd)));
}

async function refused(t: ExecutionContext, call: Promise<unknown>, code: ErrorCode): Promise<void> {
  const error = await t.throwsAsync(call);
  t.true(isApiError(error, code), String(error));
}

withEtcd('a learner is added, known, moved and removed', async (t, remote, { peerUrl }) => {
  const self = memberId([peerUrl], 'etcd-cluster');
  t.deepEqual((await remote.members()).members.map(({ id }) => id), [self]);
  const request = { peerUrls: ['http://127.0.0.1:9'], isLearner: true };
  const added = await eventually(() => remote.addMember(request));
  t.like(added.member, { name: '', peerUrls: ['http://127.0.0.1:9'], clientUrls: [], isLearner: true });
  t.is(added.members.length, 2);
  t.is(added.header.revision, 0);
  await refused(t, remote.addMember({ ...request, peerUrls: ['http://127.0.0.1:8'] }), 'too_many_learners');
  await refused(t, remote.promoteMember(added.member.id), 'learner_not_ready');
  await refused(t, remote.promoteMember(self), 'not_learner');
  await refused(t, remote.moveLeader(added.member.id), 'bad_transferee');
  const moved = await remote.updateMember(added.member.id, ['http://127.0.0.1:7']);
  t.deepEqual(moved.members.find(({ id }) => id === added.member.id)?.peerUrls, ['http://127.0.0.1:7']);
  t.deepEqual((await remote.removeMember(added.member.id)).members.map(({ id }) => id), [self]);
  await refused(t, remote.removeMember(added.member.id), 'member_not_found');
  await refused(t, remote.updateMember(5n, ['http://127.0.0.1:7']), 'member_not_found');
  await refused(t, remote.addMember({ peerUrls: ['nonsense'] }), 'member_urls_invalid');
});

withEtcd('leadership stays where it is sent to itself, and a hash is a hash', async (t, remote, { peerUrl }) => {
  await remote.moveLeader(memberId([peerUrl], 'etcd-cluster'));
  const { hash, compactRevision, header } = await remote.hash(0);
  t.deepEqual([hash > 0, compactRevision, header.revision], [true, -1, 2]);
  await refused(t, remote.hash(100), 'future_revision');
});

withEtcd('a snapshot arrives whole, counts down, and is what etcdctl can read', async (t, remote, { url }) => {
  const pieces: Uint8Array[] = [];
  let remaining = Infinity;
  for await (const { bytes, remainingBytes } of remote.snapshot()) {
    t.true(remainingBytes < remaining);
    remaining = remainingBytes;
    pieces.push(bytes);
  }
  const size = pieces.reduce((sum, { length }) => sum + length, 0);
  t.deepEqual([remaining, size % 512], [0, 0]);
  if (!isInstalled('etcdctl', (line) => t.log(line))) return;
  const directory = mkdtempSync(path.join(tmpdir(), 'coterie-admin-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const file = path.join(directory, 'a.db');
  spawnSync('etcdctl', ['--endpoints', url, 'snapshot', 'save', file], { env: { ...process.env, ETCDCTL_API: '3' } });
  t.deepEqual(Buffer.concat(pieces), readFileSync(file).subarray(0, -32));
});

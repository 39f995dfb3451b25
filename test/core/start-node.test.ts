// Starting a whole node, above all when that fails: the reason is told, the directory given back, the process not ended.

import * as fs from 'node:fs';
import * as net from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../../core/base/clock.js';
import { whenDone } from '../../core/base/done.js';
import { text, utf8 } from '../../core/base/bytes.js';
import { get, put } from '../../core/client.js';
import { clusterId, memberId } from '../../core/identity.js';
import { WalStorage } from '../../core/log/wal.js';
import { startNode, type NodeOptions, type RunningNode } from '../../core/start-node.js';
import { freePorts } from '../interop/free-ports.js';
import { SimDisk } from '../sim/disk.js';

const EIO = Object.assign(new Error('EIO: injected'), { code: 'EIO' });

function freshDirectory(t: ExecutionContext): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'coterie-start-'));
  t.teardown(() => fs.rmSync(directory, { recursive: true }));
  return directory;
}

test('a snapshot that cannot be read is refused with path and remedy, and the directory can be taken again', async (t) => {
  const dataDir = freshDirectory(t);
  const node = await startNode({ dataDir, snapshotCount: 5 });
  for (let i = 0; i < 30; i++) await put(node.client, utf8(`k${i}`), utf8('a value'));
  await node.close();
  const name = fs.readdirSync(dataDir).find((each) => each.endsWith('.snap')) ?? '';
  const bytes = fs.readFileSync(path.join(dataDir, name));
  bytes[bytes.length - 60] = (bytes[bytes.length - 60] ?? 0) ^ 1;
  fs.writeFileSync(path.join(dataDir, name), bytes);
  for (let i = 0; i < 2; i++) {
    const error = await t.throwsAsync(startNode({ dataDir }));
    t.true(error?.message.includes(`${dataDir}/${name} is damaged at byte`), error?.message);
    t.regex(error?.message ?? '', /Restore the data directory from a backup/);
    t.false(fs.existsSync(path.join(dataDir, 'lock')));
  }
});

test('a snapshot whose content makes no sense is refused with the remedy', async (t) => {
  const files = new SimDisk();
  const self = memberId(['http://localhost:2380'], 'etcd-cluster');
  const identity = { clusterId: clusterId([self]), memberId: self, incarnation: 1n };
  const log = new WalStorage({ files, clock: systemClock, directory: '/d', identity });
  await whenDone((done) => log.open(done));
  const entries = [{ kind: 'empty' as const, term: 2, index: 1, data: new Uint8Array(0) }];
  const hard = { term: 2, vote: self, commit: 1 };
  await whenDone<void>((done) => log.append({ seq: 1, hard, truncateAfter: null, snapshot: null, entries }, done));
  const meta = { term: 2, index: 1, configuration: { voters: [self], outgoing: [], learners: [] } };
  // Too long a frame, then nothing that is a frame at all.
  const chunks = [Buffer.alloc(600, 0xff), Buffer.alloc(600, 1)];
  await whenDone<void>((done) => log.saveSnapshot(meta, chunks, done));
  await whenDone<void>((done) => log.close(done));
  const error = await t.throwsAsync(startNode({ dataDir: '/d', files }));
  t.regex(error?.message ?? '', /the snapshot at index 1 cannot be loaded: .*damaged at byte 0.*Start the release that wrote it/);
});

test('an error of the disk at any moment of a start names the directory, and the next start finds everything', async (t) => {
  let refused = 0;
  for (let at = 0; at < 24; at++) {
    const files = new SimDisk({ seed: at });
    const first = await startNode({ dataDir: '/d', files, snapshotCount: 10 });
    for (let i = 0; i < 25; i++) await put(first.client, utf8(`k${i % 7}`), utf8('v'));
    await first.close();
    files.setFault((_effect, number) => (number === at ? EIO : null));
    try {
      await (await startNode({ dataDir: '/d', files })).close();
    } catch (error) {
      refused++;
      t.regex(error instanceof Error ? error.message : '', /\/d cannot be used: EIO: injected/, `at effect ${at}`);
    }
    files.setFault(() => null);
    const again = await startNode({ dataDir: '/d', files });
    t.is(again.facts().revision, 26);
    await again.close();
  }
  t.true(refused >= 12, `only ${refused} starts were refused`);
});

test('numbers that make no sense are refused by name', async (t) => {
  const wrong = [{ heartbeatMs: 0 }, { heartbeatMs: NaN }, { electionMs: NaN }, { electionMs: 400 }, { snapshotCount: 0 }];
  for (const options of wrong) {
    const error = await t.throwsAsync(startNode({ dataDir: null, ...options }));
    t.true(error?.message.includes(`${Object.keys(options)[0]} (${Object.values(options)[0]})`), error?.message);
  }
});

async function specs(count: number): Promise<readonly { name: string; peerUrls: string[] }[]> {
  return (await freePorts(count)).map((port, i) => ({ name: `m${i}`, peerUrls: [`http://127.0.0.1:${port}`] }));
}

const QUICK: Partial<NodeOptions> = { heartbeatMs: 50, electionMs: 500 };

test('three members on real sockets elect, write, restart, and take in one that joins', async (t) => {
  const [joining = { name: '', peerUrls: [] }, ...founders] = await specs(4);
  const directories = new Map([joining, ...founders].map(({ name }) => [name, freshDirectory(t)]));
  const start = (spec: typeof joining, options: Partial<NodeOptions> = {}): Promise<RunningNode> => startNode({
    ...spec, initialCluster: founders, dataDir: directories.get(spec.name) ?? null, ...QUICK, ...options,
  });
  const nodes = await Promise.all(founders.map((spec) => start(spec)));
  await put(nodes[0]?.client ?? t.fail(), utf8('a'), utf8('1'));
  for (const { client } of nodes) t.is(text((await get(client, utf8('a')))?.value ?? utf8('')), '1');
  t.is(new Set(nodes.map((node) => node.facts().leader)).size, 1);

  const leader = nodes.findIndex((node) => node.facts().state === 'leader');
  await nodes[leader]?.close();
  const other = nodes[(leader + 1) % 3] ?? t.fail();
  await put(other.client, utf8('a'), utf8('2'));
  const spec = founders[leader] ?? t.fail();
  // Where there is data, the settings of the cluster are not looked at.
  const again = await start(spec, { initialCluster: [spec], listenPeerUrls: spec.peerUrls });
  t.is(text((await get(again.client, utf8('a')))?.value ?? utf8('')), '2');
  t.is(again.memberId, nodes[leader]?.memberId ?? 0n);

  await t.throwsAsync(start(joining, { initialCluster: [...founders, joining], initialClusterState: 'existing' }), {
    message: /the cluster has 3 members and the initial cluster names 4.*add it first/,
  });
  await new Promise((resolve) => systemClock.schedule(5500, () => resolve(null)));
  const { member } = await again.client.addMember({ peerUrls: joining.peerUrls });
  const joined = await start(joining, { initialCluster: [...founders, joining], initialClusterState: 'existing' });
  t.is(joined.memberId, member.id);
  t.is(text((await get(joined.client, utf8('a')))?.value ?? utf8('')), '2');
  t.is((await joined.client.members()).members.length, 4);
  await Promise.all([again, joined, ...nodes.filter((_, i) => i !== leader)].map((node) => node.close()));
});

test('a founder that lost its data is told to be removed and added anew, and the others go on', async (t) => {
  const founders = await specs(3);
  const start = (spec: (typeof founders)[number]): Promise<RunningNode> => {
    return startNode({ ...spec, initialCluster: founders, dataDir: freshDirectory(t), ...QUICK });
  };
  const nodes = await Promise.all(founders.map(start));
  await put(nodes[0]?.client ?? t.fail(), utf8('a'), utf8('1'));
  await nodes[2]?.close();
  await t.throwsAsync(start(founders[2] ?? t.fail()), { message: /has lost its data.*Remove the member and add it anew/ });
  await put(nodes[1]?.client ?? t.fail(), utf8('a'), utf8('2'));
  await Promise.all(nodes.slice(0, 2).map((node) => node.close()));
});

test('B19: members started on each other\'s data directories are refused, both named', async (t) => {
  const founders = await specs(3);
  const directories = founders.map(() => freshDirectory(t));
  const start = (spec: number, directory: number): Promise<RunningNode> => startNode({
    ...(founders[spec] ?? t.fail()), initialCluster: founders, dataDir: directories[directory] ?? null, ...QUICK,
  });
  const nodes = await Promise.all(founders.map((_, i) => start(i, i)));
  await Promise.all(nodes.map((node) => node.close()));
  await t.throwsAsync(start(0, 1), { message: /is that of member m1, and this one is told to be m0.*Give each member its own/ });
  await t.throwsAsync(start(1, 0), { message: /is that of member m0, and this one is told to be m1/ });
});

test('settings that contradict each other are refused before anything is made', async (t) => {
  const [a = { name: '', peerUrls: [] }, b = { name: '', peerUrls: [] }] = await specs(2);
  const dataDir = path.join(freshDirectory(t), 'data');
  const wrong: readonly [Partial<NodeOptions>, RegExp][] = [
    [{ name: 'x', initialCluster: [a, b] }, /names m0, m1, but not this member, x/],
    [{ ...a, peerUrls: ['http://127.0.0.1:1'], initialCluster: [a, b] }, /told to advertise http:.*:1. Make them equal/],
    [{ ...a, initialCluster: [a, { ...b, peerUrls: a.peerUrls }] }, /two members the same peer URLs/],
    [{ ...a, initialCluster: [a, b], initialClusterState: 'existing' }, /no member .* answers at .*; asking .* ECONNREFUSED/],
  ];
  for (const [options, message] of wrong) await t.throwsAsync(startNode({ ...options, dataDir }), { message });
  t.false(fs.existsSync(dataDir));
});

test('a peer port that is taken is named, and by then the directory is free for the next start', async (t) => {
  const [spec = { name: '', peerUrls: [] }] = await specs(1);
  const port = Number(new URL(spec.peerUrls[0] ?? '').port);
  const squatter = net.createServer();
  await new Promise((resolve) => squatter.listen(port, '127.0.0.1', () => resolve(null)));
  const options = { ...spec, dataDir: freshDirectory(t), listenPeerUrls: spec.peerUrls };
  await t.throwsAsync(startNode(options), { message: /cannot listen for other members on http.*--listen-peer-urls/ });
  t.false(fs.existsSync(path.join(options.dataDir, 'lock')));
  const again = startNode(options);
  await t.throwsAsync(again, { message: /cannot listen for other members on/ });
  await new Promise((resolve) => squatter.close(resolve));
  await (await startNode(options)).close();
});

test('where there is data the settings for founding are not looked at, wrong ones neither', async (t) => {
  const options = { name: 'a', dataDir: freshDirectory(t) };
  const peerUrls = ['http://127.0.0.1:1'];
  const first = await startNode({ ...options, peerUrls, initialCluster: [{ name: 'a', peerUrls }] });
  await put(first.client, utf8('a'), utf8('1'));
  await first.close();
  const wrong: readonly Partial<NodeOptions>[] = [
    { initialCluster: [{ name: 'somebody', peerUrls }] },
    { initialCluster: [{ name: 'a', peerUrls }], peerUrls: ['http://127.0.0.1:2'] },
    { initialCluster: [{ name: 'a', peerUrls }, { name: 'a', peerUrls }], clusterToken: 'another' },
    { initialCluster: [{ name: 'b', peerUrls }], initialClusterState: 'existing', name: 'renamed' },
  ];
  for (const settings of wrong) {
    const node = await startNode({ ...options, listenPeerUrls: [], ...settings });
    t.is(node.memberId, first.memberId);
    const { members } = await node.client.members();
    t.deepEqual(members.map((member) => member.peerUrls), [peerUrls]);
    t.is(text((await get(node.client, utf8('a')))?.value ?? utf8('')), '1');
    await node.close();
  }
});

test('a lone member that stops between adding the second one and seeing it join takes it in after its restart', async (t) => {
  const [first = { name: '', peerUrls: [] }, second = { name: '', peerUrls: [] }] = await specs(2);
  const options = { ...first, initialCluster: [first], dataDir: freshDirectory(t), listenPeerUrls: first.peerUrls, ...QUICK };
  const alone = await startNode(options);
  await put(alone.client, utf8('a'), utf8('1'));
  const { member } = await alone.client.addMember({ peerUrls: second.peerUrls });
  await alone.close();

  const again = startNode(options);
  const joining = { ...second, initialCluster: [first, second], initialClusterState: 'existing' as const, ...QUICK };
  const dataDir = freshDirectory(t);
  let joined: RunningNode | null = null;
  for (let i = 0; i < 50 && joined === null; i++) {
    joined = await startNode({ ...joining, dataDir }).catch((error: unknown) => {
      // The first one may not listen yet.
      if (!/no member of the cluster answers/.test(String(error))) throw error;
      return new Promise<null>((resolve) => systemClock.schedule(200, () => resolve(null)));
    });
  }
  t.is(joined?.memberId, member.id);
  t.is(text((await get((await again).client, utf8('a')))?.value ?? utf8('')), '1');
  await Promise.all([joined?.close(), (await again).close()]);
});

test('a leader whose snapshot was damaged on its disk saves another at once for who needs it', async (t) => {
  const [first = { name: '', peerUrls: [] }, second = { name: '', peerUrls: [] }] = await specs(2);
  const dataDir = freshDirectory(t);
  const shipped: boolean[] = [];
  const alone = await startNode({
    ...first, initialCluster: [first], dataDir, listenPeerUrls: first.peerUrls, snapshotCount: 25, limits: { catchUpEntries: 0 },
    observe: (event) => void (event.kind === 'snapshot_sent' && shipped.push(event.ok)), ...QUICK,
  });
  for (let i = 0; i < 30; i++) await put(alone.client, utf8(`k${i}`), utf8('a value'));
  const newest = fs.readdirSync(dataDir).filter((name) => name.endsWith('.snap')).toSorted().at(-1) ?? t.fail();
  const bytes = fs.readFileSync(path.join(dataDir, newest));
  bytes[bytes.length - 60] = (bytes[bytes.length - 60] ?? 0) ^ 1;
  fs.writeFileSync(path.join(dataDir, newest), bytes);

  await alone.client.addMember({ peerUrls: second.peerUrls });
  const joined = await startNode({
    ...second, initialCluster: [first, second], initialClusterState: 'existing', dataDir: freshDirectory(t), ...QUICK,
  });
  t.deepEqual([shipped[0], shipped.at(-1)], [false, true]);
  t.is(joined.facts().revision, 31);
  await Promise.all([alone.close(), joined.close()]);
});

test('a member added anew at its old address is dialled under its new id alone, and the removed one is told', async (t) => {
  const founders = await specs(3);
  const misdialled: string[] = [];
  const start = (spec: (typeof founders)[number], options: Partial<NodeOptions> = {}): Promise<RunningNode> => startNode({
    ...spec, initialCluster: founders, strictReconfig: false, ...QUICK, dataDir: freshDirectory(t), ...options,
    observe: (event) => void (event.kind === 'dial_failed' && /wants member/.test(event.reason) && misdialled.push(event.reason)),
  });
  const [first = t.fail(), second = t.fail(), third = t.fail()] = await Promise.all(founders.map((spec) => start(spec)));
  await first.client.removeMember(third.memberId);
  t.regex((await third.ended)?.message ?? '', /was removed from the cluster.*add it as a new member/);
  const { peerUrls } = founders[2] ?? t.fail();
  const { member } = await first.client.addMember({ peerUrls });
  const again = await start(founders[2] ?? t.fail(), { initialClusterState: 'existing' });
  t.is(again.memberId, member.id);
  await new Promise((resolve) => systemClock.schedule(3000, () => resolve(null)));
  t.deepEqual(misdialled, []);
  await Promise.all([first, second, again].map((node) => node.close()));
});

test('what is said of passwords and tokens holds: the cost of a hash, and how long a token is good unused', async (t) => {
  let aheadMs = 0;
  const clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
  const node = await startNode({ dataDir: null, clock, auth: { bcryptCost: 5, tokenTtlSeconds: 60 } });
  t.teardown(() => node.close());
  const { client } = node;
  await client.changeAuth({ kind: 'user_add', name: 'root', password: { plain: 'x' } });
  await client.changeAuth({ kind: 'user_grant', name: 'root', role: 'root' });
  await client.changeAuth({ kind: 'enable' });
  const pieces: Uint8Array[] = [];
  for await (const { bytes } of client.snapshot()) pieces.push(bytes);
  t.true(Buffer.concat(pieces).includes('$2a$05$'));
  const { token } = await client.authenticate('root', 'x');
  const who = async (): Promise<string | null> => (await client.identify({ token, certificateName: null }))?.user ?? null;
  for (let i = 0; i < 2; i++) {
    aheadMs += 59_000;
    t.is(await who(), 'root');
  }
  aheadMs += 61_000;
  await t.throwsAsync(who(), { message: /invalid auth token/ });
});

test('a member whose data differ does not serve where that is to be looked at, and leaves its directory free', async (t) => {
  const founders = await specs(2);
  const dataDir = freshDirectory(t);
  const start = (spec: (typeof founders)[number], options: Partial<NodeOptions>): Promise<RunningNode> => startNode({
    ...spec, initialCluster: founders, dataDir: null, ...QUICK, ...options,
  });
  const [first = { name: '', peerUrls: [] }, second = { name: '', peerUrls: [] }] = founders;
  const [other, one] = await Promise.all([start(first, {}), start(second, { dataDir })]);
  t.teardown(() => other.close());
  await put(other.client, utf8('a'), Buffer.alloc(200));
  await one.close();
  await (await start(second, { dataDir, verifyAtStart: true })).close();
  // Values this long are handed out as views of the store's own memory.
  const value = (await get(other.client, utf8('a'), { serializable: true }))?.value ?? t.fail();
  value[50] = 1;
  for (let i = 0; i < 2; i++) {
    const error = await t.throwsAsync(start(second, { dataDir, verifyAtStart: true }));
    t.true(error?.message.includes(`differ from those of ${other.memberId.toString(16)}.`), error?.message);
  }
  await (await start(second, { dataDir })).close();
});

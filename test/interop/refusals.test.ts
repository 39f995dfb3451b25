// Wrong operation, on real processes (reliability 2.7, E1 to E12): each is refused with a sentence that says what happened,
// why, and what to do, and an exit code that is not 0; and the members that are well go on.

import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { checksum } from '../../core/base/crc.js';
import { encodeHello, recordHead } from '../../core/peer/framing.js';
import { connect as dial } from '../../core/wire/remote-client.js';
import { play } from '../core/cli/in-process.js';
import { eventually, ProcessCluster, runCoterie, type Ended, type MemberProcess } from './cluster-processes.js';

/** Gone with its test. */
function fresh(t: ExecutionContext, token: string): ProcessCluster {
  const cluster = new ProcessCluster('coterie', token);
  t.teardown(() => cluster.close());
  return cluster;
}

async function started(t: ExecutionContext, names: readonly string[] = ['a', 'b', 'c']): Promise<ProcessCluster> {
  const cluster = fresh(t, 'refusals');
  await cluster.start(names);
  return cluster;
}

/** Exit code and last words, once it has ended by itself. */
async function refused(t: ExecutionContext, member: MemberProcess, says: readonly RegExp[]): Promise<Ended> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), 60_000);
  });
  const ended = await Promise.race([member.ended, late]);
  clearTimeout(timer);
  if (ended === null) throw new Error(`${member.name} goes on:\n${member.output.slice(-3000)}`);
  t.true(ended.code === 1 || ended.code === 2, `exit code ${ended.code}, ${ended.signal}\n${ended.output.slice(-3000)}`);
  const words = ended.output.split('\n').filter((line) => !line.startsWith('{')).join('\n');
  for (const what of says) t.regex(words, what);
  return ended;
}

async function cli(cluster: ProcessCluster, line: string): Promise<string> {
  const endpoints = cluster.members.filter(({ isRunning }) => isRunning).map(({ url }) => url).join(',');
  // In this process: some lines are asked again and again until leadership has settled, and each would start a program.
  const { code, stdout, stderr } = await play([...line.split(' '), '--endpoints', endpoints], { limitMs: 60_000 });
  if (code !== 0) throw new Error(stderr);
  return stdout;
}

/** Is refused with these words; rejects otherwise, so that it can be asked again while leadership settles. */
async function no(t: ExecutionContext, cluster: ProcessCluster, line: string, says: RegExp): Promise<void> {
  const said = await cli(cluster, line).then((text) => `it was done: ${text}`, (error: Error) => error.message);
  if (!says.test(said)) throw new Error(`coterie ${line}: ${said}`);
  t.pass();
}

/** Removes, however often it takes: an answer may be lost with the leader that was removed. */
async function remove(cluster: ProcessCluster, id: string): Promise<void> {
  await eventually(() => cli(cluster, `member remove ${id}`).catch((error: Error) => {
    if (!error.message.includes('member not found')) throw error;
  }));
}

async function idOf(cluster: ProcessCluster, name: string): Promise<string> {
  const client = dial(cluster.endpoints.split(','));
  try {
    const member = (await client.members()).members.find((each) => each.name === name);
    if (member === undefined) throw new Error(`no member ${name}`);
    return member.id.toString(16);
  } finally {
    await client.close();
  }
}

/** The one that leads, as it says itself. */
async function leaderOf(cluster: ProcessCluster): Promise<MemberProcess> {
  for (const member of cluster.members.filter(({ isRunning }) => isRunning)) {
    const client = dial(member.url);
    try {
      const { header, leader } = await client.status();
      if (leader === header.memberId) return member;
    } finally {
      await client.close();
    }
  }
  throw new Error('nobody leads');
}

async function countOf(member: MemberProcess, prefix: string): Promise<number> {
  const [key, end] = [prefix, `${prefix.slice(0, -1)}${String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)}`];
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const body = JSON.stringify({ key: base64(key), range_end: base64(end), count_only: true });
  const response = await fetch(`${member.url}/v3/kv/range`, { method: 'POST', body });
  return Number(((await response.json()) as { count?: string }).count);
}

async function works(t: ExecutionContext, member: MemberProcess, key: string): Promise<void> {
  const body = JSON.stringify({ key: Buffer.from(key).toString('base64'), value: 'eA==' });
  const answer = await eventually(async () => {
    const response = await fetch(`${member.url}/v3/kv/put`, { method: 'POST', body, signal: AbortSignal.timeout(10_000) });
    if (response.status !== 200) throw new Error(await response.text());
    return response.status;
  });
  t.is(answer, 200);
}

test.serial('E1: a member that comes back without its data is refused, and added anew it is welcome', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t);
  const [a, c] = [cluster.member('a'), cluster.member('c')];
  await works(t, a, 'before');
  await c.end('SIGKILL');
  rmSync(c.dataDir, { recursive: true });
  c.launch(cluster.foundingFlags);
  await refused(t, c, [/lost its data|already been bootstrapped/, /[Rr]emove/, /add it (anew|as a new member)/]);
  await works(t, a, 'meanwhile');
  const id = await idOf(cluster, 'c');
  await remove(cluster, id);
  const words = await eventually(() => cli(cluster, `member add c --peer-urls ${c.peerUrl}`));
  const list = /ETCD_INITIAL_CLUSTER="(.*)"/.exec(words)?.[1] ?? '';
  rmSync(c.dataDir, { recursive: true, force: true });
  c.launch(['--initial-cluster', list, '--initial-cluster-state', 'existing']);
  await c.ready();
  t.not(await idOf(cluster, 'c'), id, 'a new id');
  await works(t, c, 'after');
});

test.serial('E2: a member whose data was set back to an older copy stops with the remedy', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t);
  const [a, c] = [cluster.member('a'), cluster.member('c')];
  await works(t, c, 'early');
  await c.end('SIGTERM');
  const older = path.join(cluster.directory, 'older');
  cpSync(c.dataDir, older, { recursive: true });
  c.launch(cluster.foundingFlags);
  await c.ready();
  for (let i = 0; i < 5; i++) await works(t, c, `late${i}`);
  await c.end('SIGKILL');
  rmSync(c.dataDir, { recursive: true });
  cpSync(older, c.dataDir, { recursive: true });
  c.launch(cluster.foundingFlags);
  const { output } = await refused(t, c, [/its data was set back/, /add it anew/]);
  t.notRegex(output, /AssertionError|an error that nobody caught|a rejection that nobody handled/);
  t.is(await countOf(a, 'late'), 5, 'nothing acknowledged is lost');
});

test.serial('E3: a member that was removed stops, and stays away when it is started again', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t);
  const [a, c] = [cluster.member('a'), cluster.member('c')];
  await remove(cluster, await idOf(cluster, 'c'));
  const says = [/was removed from the cluster/, /add it as a new member/, /empty data directory/];
  await refused(t, c, says);
  c.launch(cluster.foundingFlags);
  await refused(t, c, says);
  await works(t, a, 'x');
});

test.serial('E4: a process whose URL was given to a new member learns that it was removed', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t);
  const [a, c] = [cluster.member('a'), cluster.member('c')];
  const old = await idOf(cluster, 'c');
  process.kill(c.pid, 'SIGSTOP');
  await remove(cluster, old);
  const words = await eventually(() => cli(cluster, `member add c --peer-urls ${c.peerUrl}`));
  process.kill(c.pid, 'SIGCONT');
  await refused(t, c, [/was removed from the cluster/, /add it as a new member/]);
  await works(t, a, 'meanwhile');
  rmSync(c.dataDir, { recursive: true });
  c.launch(['--initial-cluster', /ETCD_INITIAL_CLUSTER="(.*)"/.exec(words)?.[1] ?? '', '--initial-cluster-state', 'existing']);
  await c.ready();
  t.not(await idOf(cluster, 'c'), old);
  await works(t, c, 'after');
});

test.serial('E5: what could cost the majority is refused, what cannot is not', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t);
  const c = cluster.member('c');
  await c.end('SIGKILL');
  await eventually(() => no(t, cluster, 'member add d --peer-urls http://127.0.0.1:9', /unhealthy cluster|not enough started/));
  const a = await idOf(cluster, 'a');
  await eventually(() => no(t, cluster, `member remove ${a}`, /unhealthy cluster|not enough started/));
  t.regex(await eventually(async () => cli(cluster, `member remove ${await idOf(cluster, 'c')}`)), /removed from cluster/);
});

test.serial('E6: a learner that has not started is not promoted, nor one that votes already', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t, ['a']);
  await eventually(() => cli(cluster, 'member add d --learner --peer-urls http://127.0.0.1:9'));
  const rows = (await cli(cluster, 'member list')).split('\n').map((line) => line.split(', '));
  const learner = rows.find((cells) => cells[5] === 'true')?.[0] ?? '';
  await no(t, cluster, `member promote ${learner}`, /in sync with leader\n {2}start it and wait until it has caught up/);
  await no(t, cluster, `member promote ${await idOf(cluster, 'a')}`, /can only promote a learner member\n {2}it votes already/);
});

test.serial('E7: a leader that removes itself is gone once that is decided, and another one leads', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t);
  const leader = await leaderOf(cluster);
  const others = cluster.members.filter((member) => member !== leader);
  await remove(cluster, await idOf(cluster, leader.name));
  await refused(t, leader, [/was removed from the cluster/, /add it as a new member/]);
  for (const member of others) await works(t, member, member.name);
  t.true(others.includes(await leaderOf(cluster)));
});

test.serial('E8: leadership is not sent to a stranger; sent to and fro under load it loses nothing', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t);
  const ids = new Map<string, string>();
  for (const { name } of cluster.members) ids.set(name, await idOf(cluster, name));
  await no(t, cluster, 'move-leader 1234', /bad leader transferee\n {2}name a voting member by its id/);
  let [isOver, written] = [false, 0];
  const writer = (async () => {
    for (; !isOver; written++) await works(t, cluster.member('a'), `moved${written}`);
  })();
  for (let i = 0; i < 6; i++) {
    const from = await eventually(() => leaderOf(cluster));
    const to = cluster.members.find((member) => member !== from)?.name ?? '';
    await eventually(() => cli(cluster, `move-leader ${ids.get(to) ?? ''}`));
  }
  isOver = true;
  await writer;
  t.is(await countOf(cluster.member('b'), 'moved'), written);
  const leader = await eventually(() => leaderOf(cluster));
  const down = cluster.members.find((member) => member !== leader);
  if (down === undefined) return t.fail();
  await down.end('SIGKILL');
  const lost = await runCoterie(['move-leader', ids.get(down.name) ?? '', '--endpoints', cluster.endpoints]);
  t.is(lost.code, 1, lost.stdout);
  t.regex(lost.stderr, /^coterie move-leader: .+\n {2}\w/);
  await works(t, leader, 'still');
});

test.serial('E10: data of another format is refused by number, and left as it is', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t, ['a']);
  const a = cluster.member('a');
  await a.end('SIGTERM');
  const file = path.join(a.dataDir, 'identity');
  const content = readFileSync(file, 'utf8');
  const body = content.slice(0, content.lastIndexOf('checksum ')).replace(/format \d+/, 'format 99');
  const later = `${body}checksum ${checksum(Buffer.from(body)).toString(16).padStart(8, '0')}\n`;
  writeFileSync(file, later);
  a.launch(cluster.foundingFlags);
  await refused(t, a, [/has data of format 99, and this program reads format \d+\n {2}Use the version that made it/]);
  t.is(readFileSync(file, 'utf8'), later);
});

test.serial('E10: a member that speaks another protocol is sent away with both numbers, and that is in the log', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t, ['a']);
  const a = cluster.member('a');
  const hello = encodeHello({ group: 'control', clusterId: 1n, from: 2n, to: 3n }, 99);
  const socket = connect(Number(new URL(a.peerUrl).port), '127.0.0.1');
  socket.write(Buffer.concat([recordHead('hello', hello), hello]));
  let answer = '';
  for await (const chunk of socket as AsyncIterable<Buffer>) answer += chunk.toString('latin1');
  t.regex(answer, /protocol 99 between members; this release speaks \d+/);
  t.regex(a.output, /protocol 99 between members.*somebody was sent away from the port for members/);
  await works(t, a, 'x');
});

test.serial('E9: the majority is lost for ever: one member goes on alone with its data', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t);
  const [a, b, c] = ['a', 'b', 'c'].map((name) => cluster.member(name));
  if (a === undefined || b === undefined || c === undefined) return t.fail();
  await works(t, a, 'kept');
  const hash = async (): Promise<string | undefined> => (await cli(cluster, 'endpoint hashkv')).split('\n')[0]?.split(', ')[1];
  const before = await eventually(hash);
  for (const member of [b, c, a]) await member.end('SIGKILL');
  const nothing = await runCoterie(['serve', '--force-new-cluster', '--data-dir', path.join(cluster.directory, 'nothing')]);
  t.is(nothing.code, 1);
  t.regex(nothing.stderr, /--force-new-cluster: there is no data in .*nothing to go on with\n {2}name the directory/);
  a.launch([...cluster.foundingFlags, '--force-new-cluster']);
  await a.ready();
  t.is(await countOf(a, 'kept'), 1);
  t.regex(before ?? '', /^\d+$/);
  t.is(await hash(), before, 'all of its data, and nothing else');
  await works(t, a, 'alone');
  t.is((await cli(cluster, 'member list')).trim().split('\n').length, 1);
  await a.end('SIGTERM');
  a.launch(cluster.foundingFlags);
  await a.ready();
  await works(t, a, 'again');
  t.is(await countOf(a, 'alone'), 1);
});

test.serial('E9: restored from a snapshot, three members are a new cluster with the same data', async (t) => {
  t.timeout(240_000);
  const old = await started(t);
  await works(t, old.member('a'), 'kept');
  const file = path.join(old.directory, 'saved.db');
  const saved = await play(['snapshot', 'save', file, '--endpoints', old.member('a').url]);
  t.is(saved.code, 0, saved.stderr);
  const told = await play(['snapshot', 'status', file, '--json']);
  const status = JSON.parse(told.stdout) as { hash: number; revision: number };
  const next = fresh(t, 'restored');
  const members = await next.plan(['a', 'b', 'c']);
  const list = members.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',');
  const flags = ['--initial-cluster', list, '--initial-cluster-token', next.token];
  for (const { name, peerUrl, dataDir } of members) {
    const args = ['--name', name, '--data-dir', dataDir, ...flags, '--initial-advertise-peer-urls', peerUrl];
    const restored = await runCoterie(['snapshot', 'restore', file, ...args]);
    t.is(restored.code, 0, restored.stderr);
    t.regex(restored.stdout, /^Restored .* member [0-9a-f]+ of cluster [0-9a-f]+, revision \d+, 1 key\n$/);
    const twice = await runCoterie(['snapshot', 'restore', file, ...args]);
    t.is(twice.code, 1);
    t.regex(twice.stderr, /exists and is not empty\n {2}give one that does not exist yet/);
  }
  for (const member of members) member.launch(flags);
  await Promise.all(members.map((member) => member.ready()));
  const rows = (await cli(next, `endpoint hashkv --rev ${status.revision}`)).trim().split('\n');
  const hashes = rows.map((row) => row.split(', ')[1]);
  t.deepEqual(hashes, Array.from({ length: 3 }, () => String(status.hash)));
  for (const member of members) await works(t, member, member.name);
  const ids = (cluster: ProcessCluster): Promise<string[]> => Promise.all(['a', 'b', 'c'].map((name) => idOf(cluster, name)));
  const olds = await ids(old);
  t.true((await ids(next)).every((id) => !olds.includes(id)));
});

test.serial('E9: with revisions bumped, none is used twice, and who watched before hears of the gap', async (t) => {
  t.timeout(240_000);
  const old = await started(t, ['a']);
  await works(t, old.member('a'), 'kept');
  const file = path.join(old.directory, 'saved.db');
  t.is((await play(['snapshot', 'save', file, '--endpoints', old.member('a').url])).code, 0);
  const next = fresh(t, 'bumped');
  const [a] = await next.plan(['a']);
  if (a === undefined) return t.fail();
  const flags = ['--initial-cluster', `a=${a.peerUrl}`, '--initial-cluster-token', next.token];
  const args = ['--name', 'a', '--data-dir', a.dataDir, ...flags, '--initial-advertise-peer-urls', a.peerUrl];
  const bump = ['--bump-revision', '1000', '--mark-compacted', '--json'];
  const bumped = await runCoterie(['snapshot', 'restore', file, ...args, ...bump]);
  t.like(JSON.parse(bumped.stdout), { revision: 1002, keys: 1 });
  a.launch(flags);
  await a.ready();
  const body = '{"create_request":{"key":"a2VwdA==","start_revision":3}}';
  const watch = await fetch(`${a.url}/v3/watch`, { method: 'POST', body });
  const reader = watch.body?.getReader();
  let said = '';
  while (reader !== undefined && !said.includes('compact_revision')) {
    said += Buffer.from((await reader.read()).value ?? []).toString();
  }
  await reader?.cancel();
  t.regex(said, /"compact_revision":"1002"/);
  await works(t, a, 'kept');
});

test.serial('E12: a member with another token is not taken in, and says so', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t);
  const [a, c] = [cluster.member('a'), cluster.member('c')];
  await c.end('SIGKILL');
  rmSync(c.dataDir, { recursive: true });
  c.launch([...cluster.foundingFlags, '--initial-cluster-token', 'another']);
  await refused(t, c, [/another cluster|cluster id/i, /--initial-cluster-token|--initial-cluster/]);
  await works(t, a, 'x');
});

test.serial('E12: to join takes running members, the right list of them, and an invitation', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t);
  const [d] = await cluster.plan(['d']);
  if (d === undefined) return t.fail();
  const founders = cluster.members.slice(0, 3).map(({ name, peerUrl }) => `${name}=${peerUrl}`);
  const join = (...list: string[]): string[] => ['--initial-cluster', list.join(','), '--initial-cluster-state', 'existing'];
  const own = `d=${d.peerUrl}`;
  d.launch(join(own, 'x=http://127.0.0.1:9'));
  await refused(t, d, [/127\.0\.0\.1:9/, /running|reach|answer/]);
  d.launch(join(own, ...founders));
  await refused(t, d, [/member add/]);
  await eventually(() => cli(cluster, `member add d --peer-urls ${d.peerUrl}`));
  d.launch(join(own, ...founders.slice(1)));
  await refused(t, d, [/the initial cluster names 3/, /member list/]);
  t.false(existsSync(path.join(d.dataDir, 'identity')), 'nothing was written');
  d.launch(join(own, ...founders));
  await d.ready();
  await works(t, d, 'joined');
});

test.serial('E12: the data directory of another member is refused and left as it is', async (t) => {
  t.timeout(240_000);
  const cluster = await started(t);
  const [b, c] = [cluster.member('b'), cluster.member('c')];
  await b.end('SIGTERM');
  b.launch([...cluster.foundingFlags, '--data-dir', c.dataDir]);
  await refused(t, b, [/belongs to member/, /its own data directory/]);
  await c.end('SIGTERM');
  const copy = path.join(cluster.directory, 'copy');
  cpSync(c.dataDir, copy, { recursive: true });
  b.launch([...cluster.foundingFlags, '--data-dir', copy]);
  await refused(t, b, [/belongs to member/, /its own data directory/]);
  t.deepEqual(contentOf(copy), contentOf(c.dataDir));
});

function contentOf(directory: string): readonly (readonly [string, string])[] {
  return readdirSync(directory).toSorted().map((name) => [name, readFileSync(path.join(directory, name), 'base64')]);
}

const WORDS: readonly (readonly [what: string, flags: string, says: RegExp])[] = [
  [
    'its name is not in the list', '--name x --initial-cluster a=http://h:1,b=http://h:2',
    /does not name this member, x\n {2}use --name a or b/,
  ],
  [
    'one URL for two members', '--name a --initial-cluster a=http://h:1,b=http://h:1',
    /http:\/\/h:1 stands for a and for b\n {2}give each/,
  ],
  [
    'one name for two members',
    '--name a --initial-cluster a=http://h:1,a=http://h:2 --initial-advertise-peer-urls http://h:1',
    /differs for a from --initial-advertise-peer-urls http:\/\/h:1\n.*if a stands there for two members, give each a name/,
  ],
  [
    'another URL than it advertises',
    '--name a --initial-cluster a=http://h:1,b=http://h:2 --initial-advertise-peer-urls http://h:3',
    /differs for a from .*\n {2}give this member the same URLs in both/,
  ],
];

for (const [what, flags, says] of WORDS) {
  test(`E12: ${what}: refused before anything is touched`, async (t) => {
    const { code, stderr } = await runCoterie(['serve', '--data-dir', '/nowhere/at/all', ...flags.split(' ')]);
    t.is(code, 2);
    t.regex(stderr, says);
    t.false(existsSync('/nowhere'));
  });
}

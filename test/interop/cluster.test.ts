// Three real members and etcd's own etcdctl. The story of issue 3 as one test; then every command about a cluster, the same
// steps on three members of etcd and of coterie, printing the same after masking ids, ports and times; and our own command
// line against etcdctl on the same cluster, where nothing but times needs a mask.

import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { eventually, ProcessCluster, runCoterie, runEtcdctl, type Outcome } from './cluster-processes.js';
import { isInstalled } from './real-etcd.js';

const clusters = new Map<string, ProcessCluster>();
let equipped = false;

test.before('three members of each start', async (t) => {
  t.timeout(120_000);
  equipped = isInstalled('etcd', (line) => t.log(line)) && isInstalled('etcdctl', (line) => t.log(line));
  if (!equipped) return;
  for (const program of ['coterie', 'etcd'] as const) {
    const cluster = new ProcessCluster(program, 'interop');
    clusters.set(program, cluster);
    await cluster.start(['a', 'b', 'c']);
  }
});

test.after.always('all end', async () => {
  for (const cluster of clusters.values()) await cluster.close();
});

function clusterOf(t: ExecutionContext, program: 'coterie' | 'etcd' = 'coterie'): ProcessCluster | null {
  if (!equipped) t.pass();
  return clusters.get(program) ?? null;
}

interface Listed {
  readonly ID: string;
  readonly name?: string;
  readonly isLearner?: boolean;
}

/** Ids as text: they do not fit a number. */
async function membersOf(cluster: ProcessCluster): Promise<Listed[]> {
  const { stdout } = await runEtcdctl(cluster.endpoints, ['member', 'list', '-w', 'json']);
  const quoted = stdout.replace(/"(ID|cluster_id|member_id)":(\d+)/g, '"$1":"$2"');
  return (JSON.parse(quoted) as { members: Listed[] }).members;
}

async function idOf(cluster: ProcessCluster, name: string): Promise<string> {
  const found = (await membersOf(cluster)).find((member) => (member.name ?? '') === name);
  if (found === undefined) throw new Error(`no member is called ${JSON.stringify(name)}`);
  return BigInt(found.ID).toString(16);
}

/** The one that leads, by its name. */
async function leaderOf(cluster: ProcessCluster): Promise<string> {
  const { stdout } = await runEtcdctl(cluster.endpoints, ['endpoint', 'status']);
  const row = stdout.split('\n').map((line) => line.split(', ')).find((cells) => cells[4] === 'true');
  const leader = cluster.members.find(({ url }) => url === row?.[0]);
  if (leader === undefined) throw new Error(`nobody leads:\n${stdout}`);
  return leader.name;
}

async function ok(t: ExecutionContext, endpoints: string, line: string): Promise<string> {
  const { code, stdout, stderr } = await runEtcdctl(endpoints, line.split(' '));
  t.is(code, 0, `etcdctl ${line}: ${stderr}`);
  return stdout;
}

test.serial('the story: write through one, read from each; stop one, go on; start it again, read from it', async (t) => {
  t.timeout(120_000);
  const cluster = clusterOf(t);
  if (cluster === null) return;
  const [a, b, c] = ['a', 'b', 'c'].map((name) => cluster.member(name));
  if (a === undefined || b === undefined || c === undefined) return t.fail();
  const list = await ok(t, a.url, 'member list -w table');
  t.is(list.match(/\| started \|/g)?.length, 3, list);
  for (const { name, peerUrl, url } of cluster.members) {
    t.regex(list, new RegExp(`\\| +[0-9a-f]+ \\| started \\|\\s+${name} \\| ${peerUrl} \\| ${url} \\|\\s+false \\|`));
  }
  t.is(await ok(t, a.url, 'put story once'), 'OK\n');
  for (const { url } of cluster.members) t.is(await ok(t, url, 'get story'), 'story\nonce\n');
  const stopped = cluster.member(await leaderOf(cluster));
  t.is((await stopped.end('SIGTERM')).code, 0, 'the leader is stopped, which hands over first');
  const [one, other] = cluster.members.filter((member) => member !== stopped);
  if (one === undefined || other === undefined) return t.fail();
  t.is(await ok(t, one.url, 'put story twice'), 'OK\n');
  t.is(await ok(t, other.url, 'get story'), 'story\ntwice\n');
  await stopped.end('SIGKILL');
  stopped.launch(cluster.foundingFlags);
  await stopped.ready();
  t.is(await ok(t, stopped.url, 'get story'), 'story\ntwice\n');
  t.is(await ok(t, stopped.url, 'get story --consistency=s'), 'story\ntwice\n');
});

/** Ids, addresses and times; and the order of rows, which is that of the ids. */
function masked(text: string, cluster: ProcessCluster, ids: ReadonlyMap<string, string>): string[] {
  // Any endpoint may have answered.
  let result = text
    .replace(/"(cluster_id|member_id)":\d+/g, '"$1":<id>')
    .replace(/"(ClusterID|MemberID|RaftTerm)" : \d+/g, '"$1"');
  for (const [id, name] of ids) result = result.replaceAll(id, `<${name}>`).replaceAll(BigInt(`0x${id}`).toString(), `<${name}>`);
  for (const { name, url, peerUrl } of cluster.members) {
    result = result.replaceAll(url, `<client of ${name}>`).replaceAll(peerUrl, `<peer of ${name}>`);
  }
  return result
    .replace(/(cluster) +[0-9a-f]+/g, '$1 <id>')
    .replace(/,?"raft_term":\d+/g, '')
    .replace(/took = \S+/g, 'took = <time>')
    .replace(/"INITIAL_CLUSTER="[^"]*"/g, '')
    .replace(/-+/g, '-').replace(/ +/g, ' ')
    .replace(/ETCD_INITIAL_CLUSTER="(.*)"/, (_all, list: string) => `ETCD_INITIAL_CLUSTER="${list.split(',').sort().join()}"`)
    .replace(/"members":\[(.*)\]/g, (_all, list: string) => list.slice(1, -1).split('},{').sort().join())
    .split('\n')
    .sort();
}

const STEPS: readonly string[] = [
  'member list',
  'member list -w table',
  'member list -w json',
  'member list -w fields',
  'endpoint health --cluster',
  'member promote $b',
  'member add d --peer-urls nonsense',
  'member remove 1',
  'member update 1 --peer-urls http://127.0.0.1:9',
  'member promote 1',
  'move-leader $b',
  'move-leader 1',
  'member add d --learner --peer-urls $peer:d',
  'member list',
  'member list -w table',
  'member list -w json',
  'member add e --learner --peer-urls http://127.0.0.1:9',
  'member promote $d',
  'member list -w fields',
  'move-leader $d',
  // From here on etcd 3.4 takes the learner for a voter: it forgets that with the update.
  'member update $d --peer-urls http://127.0.0.1:9',
  'member remove $d -w json',
  'member remove $d',
  'member list',
];

test.serial('every step about members prints the same as with three members of etcd', async (t) => {
  t.timeout(180_000);
  const sides = [clusterOf(t, 'etcd'), clusterOf(t, 'coterie')];
  // Strict as both are, they change members only once all have been connected for five seconds.
  const printed = await Promise.all(sides.map(async (cluster) => {
    if (cluster === null) return [];
    await cluster.plan(['d']);
    const ask = async (line: string): Promise<string> => {
      const { code, stdout, stderr } = await runEtcdctl(cluster.endpoints, line.split(' '));
      if (code !== 0) throw new Error(stderr);
      return stdout;
    };
    const settled = await eventually(() => ask('member add settled --learner --peer-urls http://127.0.0.1:11'));
    await ask(`member remove ${/^Member +([0-9a-f]+)/.exec(settled)?.[1] ?? ''}`);
    const ids = new Map<string, string>();
    const outcomes: unknown[] = [];
    for (const line of STEPS) {
      for (const { ID, name } of await membersOf(cluster)) ids.set(BigInt(ID).toString(16), name ?? 'd');
      const args = line.split(' ').map((word) => {
        if (word.startsWith('$peer:')) return cluster.member(word.slice(6)).peerUrl;
        return word.startsWith('$') ? [...ids].find(([, name]) => name === word.slice(1))?.[0] ?? 'none' : word;
      });
      const outcome = await runEtcdctl(cluster.members.slice(0, 3).map(({ url }) => url).join(','), args);
      for (const { ID, name } of await membersOf(cluster)) ids.set(BigInt(ID).toString(16), name ?? 'd');
      const { code, stdout, stderr } = outcome;
      const said = /move-leader/.test(line) ? stdout.replace(/from [0-9a-f]+ /, 'from <leader> ') : stdout;
      outcomes.push({ line, code, stdout: masked(said, cluster, ids), stderr: masked(stderr, cluster, ids) });
    }
    return outcomes;
  }));
  const [etcd = [], coterie = []] = printed;
  STEPS.forEach((line, i) => t.deepEqual(coterie[i], etcd[i], line));
});

const FORMATS = ['simple', 'table', 'json', 'fields'] as const;

test.serial('coterie prints what etcdctl prints of the same cluster', async (t) => {
  t.timeout(120_000);
  const cluster = clusterOf(t);
  if (cluster === null) return;
  const timeless = ({ stdout, stderr }: Outcome): string[] => `${stdout}${stderr}`
    .replace(/took = \S+/g, 'took').replace(/"took":"[^"]*"/g, '"took"').replace(/"Took" : \S+/g, '"Took"')
    // A position in the log moves between two questions, a table is as wide as its times, and health comes in any order.
    .replace(/("raftIndex"|"raftAppliedIndex"):\d+/g, '$1').replace(/("RaftIndex"|"RaftAppliedIndex") : \d+/g, '$1')
    .replace(/"member_id":\d+/g, '').replace(/"MemberID" : \d+/g, '')
    .replace(/[\d.]+(ms|µs)/g, '<time>').replace(/-+/g, '-').replace(/ +/g, ' ')
    .split('\n').flatMap((line) => line.split(/(?<=\}),(?=\{)/).map((part) => part.replace(/^\[|\]$/g, ''))).sort();
  const endpoints = cluster.members.slice(0, 3).map(({ url }) => url).join(',');
  for (const words of ['member list', 'endpoint health', 'endpoint hashkv', 'endpoint status', 'endpoint status --cluster']) {
    for (const format of FORMATS) {
      const args = [...words.split(' '), '-w', format];
      const [theirs, ours] = await Promise.all([runEtcdctl(endpoints, args), runCoterie([...args, '--endpoints', endpoints])]);
      t.is(ours.code, theirs.code);
      t.deepEqual(timeless(ours), timeless(theirs), args.join(' '));
    }
  }
});

test.serial('leadership goes where it is sent, told by etcdctl and by coterie', async (t) => {
  const cluster = clusterOf(t);
  if (cluster === null) return;
  const endpoints = cluster.members.slice(0, 3).map(({ url }) => url).join(',');
  const from = await leaderOf(cluster);
  const [first = '', second = ''] = ['a', 'b', 'c'].filter((name) => name !== from);
  const to = await idOf(cluster, first);
  t.is(await ok(t, endpoints, `move-leader ${to}`), `Leadership transferred from ${await idOf(cluster, from)} to ${to}\n`);
  t.is(await leaderOf(cluster), first);
  const next = await idOf(cluster, second);
  const moved = await runCoterie(['move-leader', next, '--endpoints', endpoints]);
  t.deepEqual(moved, { code: 0, stdout: `Leadership transferred from ${to} to ${next}\n`, stderr: '' });
  const asked = await runCoterie(['move-leader', next, '--endpoints', cluster.member(first).url]);
  t.is(asked.code, 1);
  t.regex(asked.stderr, /^coterie move-leader: no leader endpoint given at \[http.*\]\n {2}name all members with --endpoints/);
});

test.serial('a learner joins, catches up, is promoted, moves and leaves, all by etcdctl', async (t) => {
  t.timeout(120_000);
  const cluster = clusterOf(t);
  if (cluster === null) return;
  const endpoints = cluster.members.slice(0, 3).map(({ url }) => url).join(',');
  const [member] = await cluster.plan(['learner']);
  if (member === undefined) return t.fail();
  const added = await eventually(async () => ok(t, endpoints, `member add learner --learner --peer-urls ${member.peerUrl}`));
  const words = new Map([...added.matchAll(/^ETCD_(\w+)="(.*)"$/gm)].map(([, name, value]) => [name ?? '', value ?? '']));
  t.is(words.get('INITIAL_CLUSTER_STATE'), 'existing');
  member.launch(['--initial-cluster', words.get('INITIAL_CLUSTER') ?? '', '--initial-cluster-state', 'existing']);
  await member.ready();
  const id = await idOf(cluster, 'learner');
  await eventually(() => ok(t, member.url, 'get story --consistency=s'));
  const refused = await runEtcdctl(member.url, ['get', 'story']);
  t.regex(refused.stderr, /rpc not supported for learner/);
  t.regex(await eventually(() => ok(t, endpoints, `member promote ${id}`)), /^Member [0-9a-f ]+ promoted in cluster/);
  t.is(await ok(t, member.url, 'put story thrice'), 'OK\n');
  t.regex(await ok(t, endpoints, `member remove ${id}`), /^Member [0-9a-f ]+ removed from cluster/);
  const { code, output } = await member.ended;
  t.not(code, 0);
  t.regex(output, /removed/);
});

test.serial('a snapshot is saved by either tool, is the same data, and says what is in it', async (t) => {
  const cluster = clusterOf(t);
  if (cluster === null) return;
  const { url } = cluster.member('a');
  const files = ['etcdctl', 'coterie'].map((name) => path.join(cluster.directory, `${name}.db`));
  const [theirs = '', ours = ''] = files;
  t.is(await ok(t, url, `snapshot save ${theirs}`), `Snapshot saved at ${theirs}\n`);
  const saved = await runCoterie(['snapshot', 'save', ours, '--endpoints', url]);
  t.deepEqual(saved, { code: 0, stdout: `Snapshot saved at ${ours}\n`, stderr: '' });
  t.deepEqual(files.map((file) => statSync(file).size % 512), [32, 32]);
  t.true(readFileSync(theirs).equals(readFileSync(ours)), 'nothing was written in between');
  const status = await runCoterie(['snapshot', 'status', ours, '--json']);
  const facts = JSON.parse(status.stdout) as { hash: number; revision: number; totalKey: number; totalSize: number };
  const hash = await ok(t, url, 'endpoint hashkv');
  t.is(`${url}, ${facts.hash}\n`, hash);
  t.is(facts.totalSize, statSync(ours).size - 32);
});

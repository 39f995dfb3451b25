// Other people's clients, as they are published, do their work against coterie and against etcd: on one member, and on three
// of which the leader is killed in between. What they do is in clients/; a story that holds against etcd is a right story.

import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { etcd3Story, type Say } from './clients/etcd3-story.js';
import { eventually, ProcessCluster, type MemberProcess, type Program } from './cluster-processes.js';
import { startPair, type Pair } from './pair.js';
import { isInstalled } from './real-etcd.js';

const PYTHON = '/usr/bin/python3';
const HALF = [
  'puts, gets, reads a prefix and deletes',
  'compares and changes in one transaction',
  'watches a prefix until it cancels',
  'grants, renews and revokes a lease',
  'locks, one at a time',
];
const BETWEEN = [
  'keeps what it wrote, and its watch goes on',
  'keeps its lease and its lock',
  'loses what is on a lease nobody renews',
];

/** Where a story is told: `hosts` for a client that knows all members, `survivor` for one that knows one. */
interface Place {
  readonly hosts: readonly string[];
  readonly survivor: string;
  readonly pause: () => Promise<void>;
}

interface Story {
  readonly client: string;
  readonly isHere: (log: Say) => boolean;
  readonly tell: (place: Place, say: Say) => Promise<void>;
  readonly claims: readonly string[];
}

const ELECTS = [...HALF, 'elects, and sees who was elected'];
const STORIES: readonly Story[] = [
  {
    client: 'npm etcd3',
    isHere: () => true,
    tell: ({ hosts, pause }, say) => etcd3Story(hosts, 'npm/', say, pause),
    claims: [...ELECTS, BETWEEN[0] ?? '', 'keeps its lease, its lock and its office', BETWEEN[2] ?? '', ...ELECTS],
  },
  ...[['python3-etcd3', 'etcd3'], ['python3-etcd3gw', 'etcd3gw']].map(([client = '', module = '']): Story => ({
    client,
    isHere: (log) => hasModule(module, log),
    tell: (place, say) => pythonStory(`python_${module}.py`, place, say),
    claims: [...HALF, ...BETWEEN, ...HALF],
  })),
];

function hasModule(module: string, log: Say): boolean {
  if (spawnSync(PYTHON, ['-c', `import ${module}`]).status === 0) return true;
  if (process.env['CI'] === 'true') throw new Error(`python3-${module} is not installed, but CI must have it`);
  log(`python3-${module} is not installed: it is not tried here`);
  return false;
}

function pythonStory(file: string, { survivor, pause }: Place, say: Say): Promise<void> {
  const script = fileURLToPath(new URL(`../../../test/interop/clients/${file}`, import.meta.url));
  const { hostname, port } = new URL(survivor);
  return new Promise((resolve, reject) => {
    const child = spawn(PYTHON, [script, hostname, port, `${file}/`], { stdio: ['pipe', 'pipe', 'pipe'] });
    const patience = setTimeout(() => child.kill('SIGKILL'), 90_000);
    let [half, stderr] = ['', ''];
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdout.on('data', (chunk: Buffer) => {
      const lines = (half + chunk.toString()).split('\n');
      half = lines.pop() ?? '';
      for (const line of lines) {
        if (line !== 'ready') say(line);
        else pause().then(() => child.stdin.write('go\n'), reject);
      }
    });
    child.stdin.on('error', () => undefined);
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(patience);
      if (code === 0) resolve();
      else reject(new Error(`${file} ended with ${code ?? signal ?? ''}: ${stderr.slice(-2000)}`));
    });
  });
}

/** All clients at once: each has its own keys, and one killed leader is enough for all. */
async function tellAll(t: ExecutionContext, stories: readonly Story[], place: Omit<Place, 'pause'>, kill: () => Promise<void>) {
  let waiting = stories.length;
  let release: () => void = () => undefined;
  const killed = new Promise<void>((resolve, reject) => {
    release = (): void => {
      if (--waiting === 0) kill().then(resolve, reject);
    };
  });
  killed.catch(() => undefined);
  const told = stories.map(async ({ client, tell, claims }) => {
    const said: string[] = [];
    let failure: unknown = null;
    let isPaused = false;
    const pause = (): Promise<void> => {
      isPaused = true;
      release();
      return killed;
    };
    try {
      await tell({ ...place, pause }, (claim) => said.push(claim));
    } catch (error) {
      failure = error;
      // The others need not wait for it.
      if (!isPaused) release();
    }
    t.deepEqual(said, claims, `${client}: ${failure instanceof Error ? (failure.stack ?? failure.message) : ''}`);
    t.is(failure, null);
  });
  await Promise.all(told);
}

async function leaderOf(cluster: ProcessCluster): Promise<MemberProcess> {
  for (const member of cluster.members) {
    const answer = await fetch(`${member.url}/v3/maintenance/status`, { method: 'POST', body: '{}' });
    const status = (await answer.json()) as { leader?: string; header?: { member_id?: string } };
    if (status.leader !== undefined && status.leader === status.header?.member_id) return member;
  }
  throw new Error('no leader');
}

let pair: Pair | null = null;
test.before('etcd and coterie start', async (t) => {
  if (isInstalled('etcd', (line) => t.log(line))) pair = await startPair();
});
test.after.always('both end', async () => pair?.close());

for (const [i, program] of (['etcd', 'coterie'] as const).entries()) {
  test(`other people's clients work with one member of ${program}`, async (t) => {
    const url = pair?.sides[i]?.url;
    if (url === undefined) return void t.pass();
    const stories = STORIES.filter(({ isHere }) => isHere((line) => t.log(line)));
    await tellAll(t, stories, { hosts: [url], survivor: url }, () => Promise.resolve());
  });
}

async function threeMembers(t: ExecutionContext, program: Program): Promise<void> {
  if (!isInstalled('etcd', (line) => t.log(line))) return void t.pass();
  const stories = STORIES.filter(({ isHere }) => isHere((line) => t.log(line)));
  const cluster = new ProcessCluster(program, `clients-${program}`);
  t.teardown(() => cluster.close());
  await cluster.start(['a', 'b', 'c']);
  const leader = await eventually(() => leaderOf(cluster));
  const survivor = cluster.members.find((member) => member !== leader);
  const place = { hosts: cluster.members.map(({ url }) => url), survivor: survivor?.url ?? '' };
  await tellAll(t, stories, place, async () => {
    t.is((await leader.end('SIGKILL')).signal, 'SIGKILL');
  });
}

test.serial('other people\'s clients get over the loss of a leader of etcd', async (t) => {
  // Shows that the stories themselves are right. python3-etcd3 now and then waits for ever on a stream that etcd has let go
  // of with its leader, so etcd gets a second chance, on new members; coterie does not.
  const first = await t.try(threeMembers, 'etcd');
  if (first.passed) return first.commit();
  first.discard();
  await threeMembers(t, 'etcd');
});
test.serial('other people\'s clients get over the loss of a leader of coterie', threeMembers, 'coterie');

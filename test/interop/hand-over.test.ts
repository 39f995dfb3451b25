// A leader that is told to end gives leadership away first: nobody waits for an election time-out, which is set so long here
// that waiting for one would show.

import test from 'ava';
import { eventually, ProcessCluster } from './cluster-processes.js';

const ELECTION_MS = 10_000;
const cluster = new ProcessCluster('coterie', 'hand-over');

test.after.always('all end', () => cluster.close());

interface Status {
  readonly leader: string;
  readonly header: { readonly member_id: string };
}

async function post(url: string, path: string, body: object): Promise<unknown> {
  const signal = AbortSignal.timeout(2000);
  const answer = await fetch(`${url}/v3/${path}`, { method: 'POST', body: JSON.stringify(body), signal });
  if (answer.status !== 200) throw new Error(await answer.text());
  return await answer.json();
}

async function leader(): Promise<string> {
  for (const { name, url } of cluster.members) {
    const status = (await post(url, 'maintenance/status', {})) as Status;
    if (status.leader === status.header.member_id) return name;
  }
  throw new Error('nobody leads');
}

test('SIGTERM hands leadership over: writes go on after a gap far below an election time-out, with exit code 0', async (t) => {
  t.timeout(120_000);
  await cluster.start(['a', 'b', 'c'], ['--election-timeout', String(ELECTION_MS)]);
  const old = await eventually(leader);
  const others = cluster.members.filter(({ name }) => name !== old);
  let [gapMs, lastMs, writes, isOver] = [0, performance.now(), 0, false];
  const writing = (async (): Promise<void> => {
    for (let i = 0; !isOver; i++) {
      const url = others[i % 2]?.url ?? '';
      const key = Buffer.from(`k${i}`).toString('base64');
      if (await post(url, 'kv/put', { key, value: key }).then(() => true, () => false)) {
        gapMs = Math.max(gapMs, performance.now() - lastMs);
        lastMs = performance.now();
        writes++;
      }
    }
  })();
  await eventually(() => (writes > 20 ? Promise.resolve() : Promise.reject(new Error('no writes'))));
  const { code, output } = await cluster.member(old).end('SIGTERM');
  const before = writes;
  await eventually(() => (writes > before + 20 ? Promise.resolve() : Promise.reject(new Error('writes do not go on'))));
  isOver = true;
  await writing;
  t.is(code, 0);
  t.regex(output, /"msg":"bye"/);
  t.true(gapMs < ELECTION_MS / 2, `the longest gap between two writes was ${Math.round(gapMs)} ms`);
  t.log(`gap: ${Math.round(gapMs)} ms, ${writes} writes`);
});

// Elections: how long nobody leads. Many elections side by side, led by a process that is killed or stopped; what is told is
// the time from the end of each leader's lease until the next one leads, since the lease's length is the user's choice. Then
// one election whose leaders resign to each other, told from the call of `resign`.

import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { campaign } from '../../recipes/election.js';
import type { Leadership } from '../../recipes/election.js';
import type { LineEvent } from '../../recipes/line.js';
import type { Session } from '../../recipes/session.js';
import { connected, must, opened, quantile } from './counting.js';
import { now } from './machine-clock.js';
import type { Survey } from './survey.js';
import { ended } from './stage.js';
import type { Target } from './targets.js';

/** The shortest that etcd grants. */
const TTL_SECONDS = 2;
const ELECTIONS = 100;
const RESIGNATIONS = 150;
const SETTLE_MS = 10;
const leadersFile = fileURLToPath(new URL('leaders-main.js', import.meta.url));

type End = 'SIGKILL' | 'SIGSTOP';

/** Milliseconds beyond the lease's end, one for each election. */
async function lost(target: Target, end: End): Promise<readonly number[]> {
  const name = `ended by ${end}`;
  const args = [leadersFile, target.url, name, `${ELECTIONS}`, `${TTL_SECONDS}`, end];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const line = async (): Promise<string> => String((await lines.next()).value);
    must(await line() === 'leading', 'the leaders did not come to lead');
    return await connected(target, (client) => opened(client, 1, async ([session]) => {
      must(session !== undefined, 'no session');
      const candidates = Array.from({ length: ELECTIONS }, (_, i) => candidate(session, `${name} ${i}`));
      await Promise.all(candidates.map(({ entered }) => entered));
      const elected = candidates.map(async ({ leads }) => ({ office: await leads, at: now() }));
      // Each lease has been renewed meanwhile.
      await sleep(TTL_SECONDS * 1000);
      child.stdin.write('now\n');
      const ends: unknown = JSON.parse(await line());
      must(Array.isArray(ends) && ends.length === ELECTIONS, 'the leaders did not say when their leases end');
      const late = (await Promise.all(elected)).map(({ at }, i) => at - Number(ends[i]));
      must(late.every((ms) => ms > 0), `somebody was elected ${-Math.min(...late)} ms before the leader's lease had ended`);
      if (end === 'SIGSTOP') must(await goneOn(child, line) === '0', 'a leader that was stopped still believes that it leads');
      return late;
    }));
  } finally {
    await ended(child, 'SIGKILL');
  }
}

async function goneOn(child: ChildProcess, line: () => Promise<string>): Promise<string> {
  child.kill('SIGCONT');
  return await line();
}

function candidate(session: Session, name: string): { readonly entered: Promise<void>; readonly leads: Promise<Leadership> } {
  let enter = (): void => undefined;
  const entered = new Promise<void>((resolve) => {
    enter = resolve;
  });
  const observe = ({ kind }: { readonly kind: LineEvent['kind'] | 'hook_failed' }): void => {
    if (kind === 'entered') enter();
  };
  return { entered, leads: campaign(session, name, 'next', { observe }) };
}

/** Two that resign to each other, on connections of their own. */
async function resigned(target: Target): Promise<readonly number[]> {
  return await connected(target, (one) => connected(target, (other) => opened(one, 1, ([a]) => opened(other, 1, async ([b]) => {
    must(a !== undefined && b !== undefined, 'no session');
    const late: number[] = [];
    let office = await campaign(a, 'resigned', 'first');
    for (let i = 0; i < RESIGNATIONS; i += 1) {
      const { entered, leads } = candidate(i % 2 === 0 ? b : a, 'resigned');
      await entered;
      // Its watches are open by then.
      await sleep(SETTLE_MS);
      const from = performance.now();
      const elected = leads.then((next) => ({ next, ms: performance.now() - from }));
      await office.resign();
      const { next, ms } = await elected;
      must(next.term > office.term, 'a later term is not higher');
      late.push(ms);
      office = next;
    }
    await office.resign();
    return late.slice(RESIGNATIONS / 3);
  }))));
}

function spread(values: readonly number[]): readonly number[] {
  return [quantile(values, 0.5), quantile(values, 0.99)];
}

const rows = (what: string): Survey['rows'] => ['p50', 'p99'].map((which) => {
  return { name: `recipes: election, ${what}, ${which}`, unit: 'ms', better: 'less' };
});

export const failOver: readonly Survey[] = [
  {
    rows: [
      ...rows('leader killed, beyond the lease\'s end'),
      ...rows('leader stopped, beyond the lease\'s end'),
      ...rows('leader resigned'),
    ],
    ask: async (target) => {
      // Both are waiting and no work.
      const [killed, stopped] = await Promise.all([lost(target, 'SIGKILL'), lost(target, 'SIGSTOP')]);
      return [killed, stopped, await resigned(target)].flatMap(spread);
    },
  },
];

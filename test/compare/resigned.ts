// A candidate that waits gives up, or its lease is revoked. Then the leader leaves. Is the candidate told that it has been
// elected, although the store knows nothing of it any more?

import { setTimeout as sleep } from 'node:timers/promises';
import { Etcd3 } from 'etcd3';
import { utf8 } from '../../core/base/bytes.js';
import { prefixRange } from '../../core/client.js';
import { connect } from '../../core/index.js';
import { campaign } from '../../recipes/election.js';
import { Session } from '../../recipes/session.js';
import type { Place, Row, Store } from './place.js';

const RUNS = 5;
const TTL_SECONDS = 10;
/** Whoever is told at all is told within this. */
const PATIENCE_MS = 3_000;

type Way = 'resigned' | 'revoked';

interface Outcome {
  readonly elected: boolean;
  /** Entries of candidates in the store at that moment. */
  readonly entries: number;
}

type Run = (store: Store, name: string, way: Way) => Promise<Outcome>;

export async function resigned(place: Place): Promise<{ title: string; rows: readonly Row[] }> {
  const store = await place.store();
  const rows: Row[] = [];
  for (const way of ['resigned', 'revoked'] as const) {
    const runs = (run: Run): Promise<Outcome[]> =>
      Promise.all(Array.from({ length: RUNS }, (_, i) => run(store, `${way}-${i}`, way)));
    const [theirs, ours] = [await runs(runTheirs), await runs(runOurs)];
    const said = (outcomes: readonly Outcome[]): string => `${outcomes.filter(({ elected }) => elected).length} of ${RUNS}`;
    const had = (outcomes: readonly Outcome[]): string => outcomes.map(({ entries }) => entries).join(' ');
    rows.push(
      { what: `a waiting candidate, ${way}: told that it is elected`, theirs: said(theirs), ours: said(ours) },
      { what: '  entries in the store at that moment', theirs: had(theirs), ours: had(ours) },
    );
  }
  return { title: `A candidate that is none any more, ${RUNS} runs, store: ${store.name}. Theirs: npm etcd3 1.1.2`, rows };
}

async function runTheirs(store: Store, name: string, way: Way): Promise<Outcome> {
  const near = connect(store.url);
  const [first, second] = [new Etcd3({ hosts: store.url }), new Etcd3({ hosts: store.url })];
  const leader = first.election(name, TTL_SECONDS).campaign('leader');
  leader.on('error', () => undefined);
  await leader.wait();
  const candidate = second.election(name, TTL_SECONDS).campaign('candidate');
  let elected = false;
  candidate.on('elected', () => (elected = true));
  candidate.on('error', () => undefined);
  const entry = Buffer.from(await candidate.getCampaignKey());
  await sleep(500);
  if (way === 'resigned') await candidate.resign();
  else await near.revoke((await near.range({ key: entry })).kvs[0]?.lease ?? 0n);
  await sleep(500);
  await leader.resign();
  await sleep(PATIENCE_MS);
  const { count } = await near.range({ ...prefixRange(utf8(`election/${name}/`)), countOnly: true });
  first.close();
  second.close();
  await near.close();
  return { elected, entries: count };
}

async function runOurs(store: Store, name: string, way: Way): Promise<Outcome> {
  const client = connect(store.url);
  const open = (): Promise<Session> => Session.open(client, { ttlSeconds: TTL_SECONDS });
  const sessions = [await open(), await open()];
  const [first, second] = sessions;
  if (first === undefined || second === undefined) throw new Error('no sessions');
  const leader = await campaign(first, name, 'leader');
  const abort = new AbortController();
  let elected = false;
  const waiting = campaign(second, name, 'candidate', { signal: abort.signal }).then(
    () => (elected = true),
    (error: unknown) => error,
  );
  await sleep(500);
  if (way === 'resigned') abort.abort();
  else await client.revoke(second.lease);
  await sleep(500);
  await leader.resign();
  await sleep(PATIENCE_MS);
  await waiting;
  const { count } = await client.range({ ...prefixRange(utf8(`coterie/elections/${name}/`)), countOnly: true });
  await Promise.all(sessions.map((session) => session.close()));
  await client.close();
  return { elected, entries: count };
}

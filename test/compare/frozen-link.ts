// The link freezes: packets get lost and nobody says so. When is the holder of a lease told that it has lost it, seen from
// the moment its key disappeared from the store? Before is right; after is time in which two hold the same thing.

import { setTimeout as sleep } from 'node:timers/promises';
import { Etcd3 } from 'etcd3';
import { utf8 } from '../../core/base/bytes.js';
import { put } from '../../core/client.js';
import { connect } from '../../core/index.js';
import { Session } from '../../recipes/session.js';
import { aborted, spread, type Place, type Row, type Store } from './place.js';

const RUNS = 10;
const TTL_SECONDS = 5;

export async function frozenLink(place: Place): Promise<{ title: string; rows: readonly Row[] }> {
  const store = await place.store();
  const runs = Array.from({ length: RUNS }, (_, run) => run);
  const [theirs, ours] = await Promise.all([
    Promise.all(runs.map((run) => once(place, store, `theirs/${run}`, run, holdTheirs))),
    Promise.all(runs.map((run) => once(place, store, `ours/${run}`, run, holdOurs))),
  ]);
  const late = (ms: readonly number[]): string => `${ms.filter((value) => value > 0).length} of ${ms.length}`;
  return {
    title: `Frozen link, a lease of ${TTL_SECONDS} s, ${RUNS} runs, store: ${store.name}. Theirs: npm etcd3 1.1.2`,
    rows: [
      { what: 'told, seen from the key\'s disappearance (least / median / most)', theirs: spread(theirs), ours: spread(ours) },
      { what: 'told too late', theirs: late(theirs), ours: late(ours) },
    ],
  };
}

interface Holder {
  readonly lost: Promise<void>;
  end(): Promise<void>;
}

type Hold = (url: string, key: string) => Promise<Holder>;

/** Milliseconds from the key's disappearance to the notice; negative: the notice came first. */
async function once(place: Place, store: Store, key: string, run: number, hold: Hold): Promise<number> {
  const near = connect(store.url);
  const proxy = await place.proxy(store.port);
  const holder = await hold(`http://127.0.0.1:${proxy.port}`, key);
  const gone = (async () => {
    for await (const batch of near.watch({ key: utf8(key) })) {
      if (batch.events.some(({ kind }) => kind === 'delete')) break;
    }
    return performance.now();
  })();
  const told = holder.lost.then(() => performance.now());
  // Each run meets the renewals at another point.
  await sleep(500 + (run * TTL_SECONDS * 1000) / RUNS);
  proxy.freeze();
  const difference = (await told) - (await gone);
  proxy.thaw();
  proxy.cut();
  await holder.end();
  await near.close();
  return difference;
}

async function holdTheirs(url: string, key: string): Promise<Holder> {
  const client = new Etcd3({ hosts: url });
  const lease = client.lease(TTL_SECONDS);
  const lost = new Promise<void>((resolve) => {
    lease.on('lost', () => resolve());
  });
  await lease.put(key).value('held').exec();
  return { lost, end: () => Promise.resolve(client.close()) };
}

async function holdOurs(url: string, key: string): Promise<Holder> {
  const client = connect(url);
  const session = await Session.open(client, { ttlSeconds: TTL_SECONDS });
  await put(client, utf8(key), utf8('held'), { lease: session.lease });
  return {
    lost: aborted(session.signal),
    end: async () => {
      await session.close();
      await client.close();
    },
  };
}

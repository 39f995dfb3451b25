// A data directory made from a snapshot or from a founding entry: there whole, or not taken for a member's.

import test from 'ava';
import { whenDone } from '../../../core/base/done.js';
import { createLog, type LogSeed } from '../../../core/log/create-log.js';
import { readIdentity } from '../../../core/log/identity-file.js';
import { LogError } from '../../../core/log/log-storage.js';
import type { Identity } from '../../../core/log/segment.js';
import { WalStorage, type WalOptions } from '../../../core/log/wal.js';
import type { Resumed } from '../../../core/raft/types.js';
import { SimClock } from '../../sim/clock.js';
import { SimDisk } from '../../sim/disk.js';
import { checkSnapshot, chunksOf, describe, snapshotMeta } from './history.js';

const META = snapshotMeta({ term: 4, index: 30 });
const ENTRY = { kind: 'members', term: 1, index: 1, data: Buffer.from('we') } as const;
const FOUNDING: LogSeed = { hard: { term: 1, vote: 0n, commit: 1 }, snapshot: null, entries: [ENTRY] };

function restored(): LogSeed {
  return { hard: { term: 4, vote: 0n, commit: 30 }, snapshot: { meta: META, chunks: chunksOf(META) }, entries: [] };
}

function options(files: SimDisk): WalOptions {
  return { files, clock: new SimClock(), directory: 'data', identity: { clusterId: 5n, memberId: 1n, incarnation: 7n } };
}

function create(disk: SimDisk, seed: LogSeed): Promise<void> {
  return whenDone((done) => createLog(options(disk), seed, done));
}

async function found(disk: SimDisk): Promise<string> {
  const log = new WalStorage(options(disk));
  const resumed = await whenDone<Resumed>((done) => log.open(done));
  await checkSnapshot(log, resumed.snapshot);
  await whenDone<void>((done) => log.close(done));
  return describe(resumed);
}

const SEEDS = [
  { make: restored, whole: 'term 4 vote 0 commit 30 snapshot 30: ' },
  { make: () => FOUNDING, whole: `term 1 vote 0 commit 1 snapshot 0: 1@1m${ENTRY.data.toString('hex')}` },
];

test('what a log was made from is what it holds, and a directory that holds one is refused and left', async (t) => {
  for (const { make, whole } of SEEDS) {
    const disk = new SimDisk({ seed: 1 });
    await create(disk, make());
    const before = disk.names().map((name) => disk.content(name).toString('hex'));
    await t.throwsAsync(create(disk, make()), { name: 'LogError', message: /data holds a log already; give an empty directory/ });
    t.deepEqual(disk.names().map((name) => disk.content(name).toString('hex')), before);
    t.is(await found(disk), whole);
  }
});

test('a power cut at any effect leaves the whole log, or nothing that a member would start from', async (t) => {
  for (const { make, whole } of SEEDS) {
    const disk = new SimDisk({ seed: 1 });
    disk.setFault(() => null);
    await create(disk, make());
    const effects = disk.effects.length;
    const seen = new Set<string>();
    for (let at = 0; at < effects * 3; at++) {
      const broken = new SimDisk({ seed: 1000 + at });
      let struck = false;
      broken.setFault((_effect, number) => {
        if (struck || number !== Math.floor(at / 3)) return null;
        struck = true;
        return 'cut';
      });
      create(broken, make()).catch(() => undefined);
      while (!struck) await new Promise((resolve) => setImmediate(resolve));
      broken.setFault(() => null);
      const identity = await whenDone<Identity | null>((done) => readIdentity(broken, 'data', done));
      const outcome = await found(broken).catch((error: unknown) => error);
      if (identity !== null) t.is(outcome, whole, `cut at effect ${Math.floor(at / 3)}`);
      else if (outcome instanceof LogError) t.regex(outcome.message, /identity is missing: .* a restore into this/);
      else t.is(outcome, 'term 0 vote 0 commit 0 snapshot 0: ', `cut at effect ${Math.floor(at / 3)}`);
      seen.add(outcome instanceof LogError ? 'refused' : String(outcome));
    }
    t.is(seen.size, 3, [...seen].join('; '));
  }
});

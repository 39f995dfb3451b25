// Segments are chained: one that is whole, and of this very member, but of another past of it (put back from a copy of the
// directory, say) is refused, though everything in it is as it was written.

import test from 'ava';
import { whenDone } from '../../../core/base/done.js';
import { LogError } from '../../../core/log/log-storage.js';
import { WalStorage } from '../../../core/log/wal.js';
import type { Persist, Resumed } from '../../../core/raft/types.js';
import { SimClock } from '../../sim/clock.js';
import { SimDisk } from '../../sim/disk.js';

const IDENTITY = { clusterId: 0xabcn, memberId: 0x12n, incarnation: 7n };

function logOn(disk: SimDisk): WalStorage {
  return new WalStorage({
    files: disk, clock: new SimClock(), directory: 'data', identity: IDENTITY, segmentBytes: 1024, observe: () => undefined,
  });
}

/** A closed directory of several segments. Of the same size for every `mark`, so that nothing but the chain tells them apart. */
async function past(mark: string): Promise<SimDisk> {
  const disk = new SimDisk({ seed: 1 });
  const log = logOn(disk);
  await whenDone<Resumed>((done) => log.open(done));
  for (let index = 1; index <= 30; index++) {
    const entry = { kind: 'command', term: 1, index, data: Buffer.alloc(100, mark) } as const;
    const batch: Persist = { seq: index, hard: null, truncateAfter: null, snapshot: null, entries: [entry] };
    await whenDone<void>((done) => log.append(batch, done));
  }
  await whenDone<void>((done) => log.close(done));
  return disk;
}

test('a segment of another past of the same member is refused, whichever it is', async (t) => {
  const other = await past('b');
  const names = other.names().filter((name) => name.endsWith('.wal'));
  t.true(names.length > 2);
  for (const name of names) {
    const disk = await past('a');
    disk.replace(name, other.content(name));
    const opened = whenDone<Resumed>((done) => logOn(disk).open(done));
    await t.throwsAsync(opened, { instanceOf: LogError, message: /log-\d+\.wal/ }, name);
  }
});

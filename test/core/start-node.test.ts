// Starting a whole node, above all when that fails: the reason is told, the directory given back, the process not ended.

import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../../core/base/clock.js';
import { whenDone } from '../../core/base/done.js';
import { utf8 } from '../../core/base/bytes.js';
import { put } from '../../core/client.js';
import { clusterId, memberId } from '../../core/identity.js';
import { WalStorage } from '../../core/log/wal.js';
import { startNode } from '../../core/start-node.js';
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

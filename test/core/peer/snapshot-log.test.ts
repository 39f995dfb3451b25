// Snapshots from one real log to another: whole and installed, or not there at all, whatever happens on the way.

import test, { type ExecutionContext } from 'ava';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../../core/base/clock.js';
import { whenDone } from '../../../core/base/done.js';
import { systemFiles, type Files } from '../../../core/base/files.js';
import { WalStorage } from '../../../core/log/wal.js';
import type { PeerEvent } from '../../../core/peer/events.js';
import { decodeFrame } from '../../../core/peer/frame.js';
import type { Resumed, SnapshotMeta } from '../../../core/raft/types.js';
import { SimDisk } from '../../sim/disk.js';
import { Rig, type RigPeer } from './rig.js';

function metaAt(index: number): SnapshotMeta {
  return { term: 3, index, configuration: { voters: [1n, 2n], outgoing: [], learners: [] } };
}

/** 20 pieces' worth. */
function chunksOf({ index }: SnapshotMeta): Uint8Array[] {
  return Array.from({ length: 40 }, (_, i) => Buffer.alloc(32_000 + i, `${index}/${i} `));
}

interface Home {
  readonly files: Files;
  readonly directory: string;
}

function storage({ files, directory }: Home, memberId: bigint): WalStorage {
  const identity = { clusterId: 42n, memberId, incarnation: 100n + memberId };
  return new WalStorage({ files, clock: systemClock, directory, identity });
}

function open(log: WalStorage): Promise<Resumed> {
  return whenDone((done) => log.open(done));
}

function close(log: WalStorage): Promise<void> {
  return whenDone((done) => log.close(done));
}

function save(log: WalStorage, meta: SnapshotMeta): Promise<void> {
  return whenDone((done) => log.saveSnapshot(meta, chunksOf(meta), done));
}

async function bytesOf(log: WalStorage, meta: SnapshotMeta): Promise<Buffer> {
  const read: Buffer[] = [];
  await whenDone<void>((done) => log.readSnapshot(meta, (chunk) => read.push(Buffer.from(chunk)), done));
  return Buffer.concat(read);
}

function simulated(): { disk: SimDisk; home: Home } {
  const disk = new SimDisk({ seed: 3 });
  return { disk, home: { files: disk, directory: 'data' } };
}

/** Member 1 has a snapshot at 50 and ships it to member 2, whose log is empty. */
class World {
  readonly rig = new Rig();
  readonly from: WalStorage;
  to: WalStorage;
  readonly one: RigPeer;
  two: RigPeer;
  pieces = 0;

  private constructor(from: WalStorage, to: WalStorage) {
    this.from = from;
    this.to = to;
    this.one = this.rig.peer(1n, { storage: from });
    this.two = this.rig.peer(2n, { storage: to });
    this.rig.introduce([this.one, this.two]);
    this.rig.board.delayMs = 2;
    this.rig.board.onFrame = ({ frame }) => {
      if (decodeFrame(frame).body.kind === 'piece') this.pieces++;
      return [frame];
    };
  }

  static async open(from: Home, to: Home): Promise<World> {
    const logs = [storage(from, 1n), storage(to, 2n)] as const;
    for (const log of logs) await open(log);
    await save(logs[0], metaAt(50));
    return new World(...logs);
  }

  begin(index = 50): void {
    this.one.peers.send([{ kind: 'snapshot', from: 1n, to: 2n, term: 7, snapshot: metaAt(index) }]);
  }

  /** Disks take turns of the real event loop, time-outs simulated time. */
  async until(holds: () => boolean, what: string): Promise<void> {
    for (let i = 0; i < 100_000; i++) {
      if (holds()) return;
      await this.rig.clock.advance(1);
    }
    throw new Error(`waited in vain: ${what}`);
  }

  /** The life of member 2 ends, and the next one begins with what is on its disk. */
  async restartReceiver(home: Home, session: number): Promise<Resumed> {
    this.two.peers.close(() => undefined);
    await close(this.to);
    this.to = storage(home, 2n);
    const resumed = await open(this.to);
    this.two = this.rig.peer(2n, { storage: this.to, session });
    this.rig.introduce([this.one, this.two]);
    return resumed;
  }

  async install(index: number): Promise<void> {
    const hard = { term: 7, vote: 0n, commit: index };
    const batch = { seq: 1, hard, truncateAfter: null, snapshot: metaAt(index), entries: [] };
    await whenDone<void>((done) => this.to.append(batch, done));
  }

  async end(): Promise<void> {
    for (const { peers } of [this.one, this.two]) peers.close(() => undefined);
    for (const log of [this.from, this.to]) await close(log);
  }
}

function failures({ events }: RigPeer): readonly string[] {
  return events.flatMap((event: PeerEvent) => (event.kind === 'snapshot_failed' ? [`${event.way}: ${event.reason}`] : []));
}

async function installed(t: ExecutionContext, world: World, home: Home, index = 50): Promise<void> {
  await world.until(() => world.two.snapshots.length === 1, 'it arrives');
  await world.until(() => world.one.sent.length > 0, 'the sender hears of it');
  const whole = Buffer.concat(chunksOf(metaAt(index)));
  t.true(Buffer.concat(world.two.chunks).equals(whole));
  await world.install(index);
  const resumed = await world.restartReceiver(home, 99);
  t.deepEqual(resumed.snapshot, metaAt(index));
  t.true((await bytesOf(world.to, metaAt(index))).equals(whole));
}

test('what one log saved the other one installs, on simulated disks', async (t) => {
  const [from, to] = [simulated(), simulated()];
  const world = await World.open(from.home, to.home);
  world.begin();
  await installed(t, world, to.home);
  t.true(world.pieces >= 20);
  await world.end();
});

test('what one log saved the other one installs, on a real disk', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'coterie-snapshot-'));
  const homes = ['one', 'two'].map((name) => ({ files: systemFiles, directory: join(root, name) }));
  const [from, to] = homes as [Home, Home];
  const world = await World.open(from, to);
  world.begin();
  await installed(t, world, to);
  t.false(readdirSync(to.directory).some((name) => name.startsWith('staged')));
  await world.end();
  rmSync(root, { recursive: true });
});

test('a break at any piece delays what is installed', async (t) => {
  for (let at = 0; at < 20; at += 3) {
    const [from, to] = [simulated(), simulated()];
    const world = await World.open(from.home, to.home);
    let lost = 0;
    world.rig.board.onFrame = ({ frame }) => {
      if (decodeFrame(frame).body.kind === 'piece') world.pieces++;
      return world.pieces > at && lost++ < 7 ? null : [frame];
    };
    world.begin();
    await installed(t, world, to.home);
    t.true(lost >= 7);
    await world.end();
  }
});

test('a newer snapshot that is saved meanwhile does not touch the one on its way', async (t) => {
  const [from, to] = [simulated(), simulated()];
  const world = await World.open(from.home, to.home);
  world.begin();
  await world.until(() => world.pieces >= 5, 'some of it is there');
  await save(world.from, metaAt(60));
  const snapshots = (): readonly string[] => from.disk.names().filter((name) => name.endsWith('.snap'));
  t.is(snapshots().length, 2);
  await installed(t, world, to.home);
  await world.until(() => snapshots().length === 1, 'nobody reads the older one any more');
  world.begin(60);
  await installed(t, world, to.home, 60);
  await world.end();
});

test('a receiver that stops in the middle leaves nothing that counts, and gets it the next time', async (t) => {
  const [from, to] = [simulated(), simulated()];
  const world = await World.open(from.home, to.home);
  world.begin();
  await world.until(() => world.pieces >= 5, 'some of it is there');
  const staged = (): boolean => to.disk.names().some((name) => name.includes('staged'));
  t.true(staged());
  const resumed = await world.restartReceiver(to.home, 55);
  t.is(resumed.snapshot.index, 0);
  t.false(staged(), 'the next life begins without what the last one had gathered');
  await installed(t, world, to.home);
  await world.end();
});

test('a snapshot damaged on the disk of who sends it is told of by both and never installed; a newer one is', async (t) => {
  const [from, to] = [simulated(), simulated()];
  const world = await World.open(from.home, to.home);
  const file = from.disk.names().find((name) => name.endsWith('.snap')) ?? '';
  const damaged = from.disk.content(file);
  damaged[600_000] = (damaged[600_000] ?? 0) ^ 1;
  from.disk.replace(file, damaged);
  world.begin();
  await world.until(() => world.one.sent.length === 1, 'it ends');
  t.deepEqual(world.one.sent, [{ to: 2n, ok: false }]);
  t.deepEqual(world.one.damaged, [true]);
  t.regex(failures(world.one).join(), /^sending: the receiver found it damaged$/);
  t.regex(failures(world.two).join(), /^receiving: what arrived is no snapshot: .*checksum of a chunk/);
  t.deepEqual(world.two.snapshots, []);
  t.is((await world.restartReceiver(to.home, 77)).snapshot.index, 0);
  await save(world.from, metaAt(60));
  world.begin();
  await installed(t, world, to.home, 60);
  await world.end();
});

test('a snapshot that is cut off, or gone, on the disk of who sends it is told of and ends', async (t) => {
  for (const [sizeBytes, reason] of [[500_000, /it ends at byte 500000|found it damaged/], [0, /it has 0 bytes/]] as const) {
    const [from, to] = [simulated(), simulated()];
    const world = await World.open(from.home, to.home);
    const file = from.disk.names().find((name) => name.endsWith('.snap')) ?? '';
    from.disk.replace(file, from.disk.content(file).subarray(0, sizeBytes));
    world.begin();
    await world.until(() => world.one.sent.length === 1, 'it ends');
    t.deepEqual(world.one.damaged, [true]);
    t.regex(failures(world.one).join(), reason);
    t.deepEqual(world.two.snapshots, []);
    await world.end();
  }
});

test('a disk of the receiver that fails ends the transfer, and the sender does not blame its own file', async (t) => {
  const [from, to] = [simulated(), simulated()];
  const world = await World.open(from.home, to.home);
  to.disk.setFault(({ call, file }) => {
    if (call !== 'append' || !file.includes('staged') || world.pieces < 5) return null;
    return Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
  });
  world.begin();
  await world.until(() => world.one.sent.length === 1, 'it ends');
  t.deepEqual([world.one.sent, world.one.damaged], [[{ to: 2n, ok: false }], [false]]);
  t.regex(failures(world.two).join(), /it cannot be kept: ENOSPC/);
  to.disk.setFault(() => null);
  world.begin();
  await world.until(() => world.two.snapshots.length === 1, 'with space it arrives');
  await world.end();
});

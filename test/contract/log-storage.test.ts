// The log storage's contract on the write-ahead log, over the system's files and over the simulated disk, and in memory.

import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import test from 'ava';
import { systemClock } from '../../core/base/clock.js';
import { systemFiles, type Files } from '../../core/base/files.js';
import { systemLock } from '../../core/base/lock.js';
import { MemoryLogStorage } from '../../core/log/memory-log-storage.js';
import { WalStorage } from '../../core/log/wal.js';
import { SimDisk } from '../sim/disk.js';
import { logStorageContract } from './log-storage.contract.js';

const identity = { clusterId: 2n ** 64n - 1n, memberId: 3n, incarnation: 7n };
const root = fs.mkdtempSync(path.join(os.tmpdir(), 'coterie-log-'));
let count = 0;

test.after.always(() => fs.rmSync(root, { recursive: true }));

function wal(files: Files, directory: string): WalStorage {
  return new WalStorage({ files, clock: systemClock, directory, identity, lock: systemLock, segmentBytes: 20_000 });
}

logStorageContract(test, 'WalStorage on the system\'s files', () => {
  const directory = path.join(root, `${++count}`, 'deep');
  return { again: () => wal(systemFiles, directory) };
});

logStorageContract(test, 'WalStorage on the simulated disk', () => {
  const files = new SimDisk({ seed: ++count });
  const options = { files, clock: systemClock, directory: 'data', identity, segmentBytes: 3000 };
  return { again: () => new WalStorage(options) };
});

logStorageContract(test, 'MemoryLogStorage', () => {
  const log = new MemoryLogStorage(systemClock);
  return { again: () => log };
});

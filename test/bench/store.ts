// What the store alone costs, without log, machine or network: applies per second, and memory and time for a million keys
// of 256 bytes. Each part runs in a process of its own, so that none sees what another left in memory.
// Run: node dist/test/bench/store.js

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { opPut } from '../../core/client.js';
import { decodeCommand, encodeCommand } from '../../core/store/command.js';
import { Hub } from '../../core/store/hub.js';
import { Store } from '../../core/store/store.js';
import { utf8 } from '../../core/base/bytes.js';

const KEYS = 1_000_000;
const VALUE = new Uint8Array(256).fill(120);

interface Row {
  readonly what: string;
  readonly result: string;
}

const rows: Row[] = [];

function seconds(run: () => void): number {
  const start = process.hrtime.bigint();
  run();
  return Number(process.hrtime.bigint() - start) / 1e9;
}

function report(what: string, count: number, took: number): void {
  rows.push({ what, result: `${Math.round(count / took).toLocaleString('en-US')}/s (${took.toFixed(2)} s)` });
}

function residentMb(): number {
  globalThis.gc?.();
  globalThis.gc?.();
  return Math.round(process.memoryUsage.rss() / 1e6);
}

/** A fixed walk through 0 … KEYS - 1 that looks random. */
function shuffled(i: number): number {
  return (i * 611_953) % KEYS;
}

function keyOf(i: number): Uint8Array {
  return utf8(`/registry/services/${String(i).padStart(8, '0')}`);
}

class Bench {
  store = new Store();
  index = 0;

  put(bytes: Uint8Array): void {
    this.store.apply({ term: 1, index: ++this.index }, decodeCommand(bytes));
  }
}

function puts(bench: Bench, order: (i: number) => number, count: number): number {
  const slice = 50_000;
  let took = 0;
  for (let from = 0; from < count; from += slice) {
    const batch: Uint8Array[] = [];
    for (let i = from; i < Math.min(count, from + slice); i++) {
      batch.push(encodeCommand({ kind: 'txn', request: { success: [opPut(keyOf(order(i)), VALUE)] } }));
    }
    took += seconds(() => {
      for (const bytes of batch) bench.put(bytes);
    });
  }
  return took;
}

function measureCodec(): void {
  const command = { kind: 'txn' as const, request: { success: [opPut(keyOf(1), VALUE)] } };
  const bytes = encodeCommand(command);
  for (const round of [1, 2]) {
    const encode = seconds(() => {
      for (let i = 0; i < KEYS; i++) encodeCommand(command);
    });
    const decode = seconds(() => {
      for (let i = 0; i < KEYS; i++) decodeCommand(bytes);
    });
    if (round === 1) continue;
    report('encode a put', KEYS, encode);
    report('decode a put', KEYS, decode);
  }
}

function filled(): Bench {
  const bench = new Bench();
  puts(bench, shuffled, KEYS);
  return bench;
}

function measureApply(): void {
  const before = residentMb();
  const bench = new Bench();
  report('decode and apply, new keys in random order', KEYS, puts(bench, shuffled, KEYS));
  rows.push({ what: 'resident for a million keys of 256 B', result: `${residentMb() - before} MB more than before` });
  rows.push({ what: '  of it counted', result: `${Math.round(bench.store.dbSizeBytes / 1e6)} MB` });
  report('decode and apply, keys overwritten in random order', KEYS, puts(bench, shuffled, KEYS));
  rows.push({ what: 'resident with both versions', result: `${residentMb() - before} MB more than before` });
  const revision = bench.store.revision;
  const compact = seconds(() => {
    bench.store.apply({ term: 1, index: ++bench.index }, { kind: 'compact', revision });
  });
  rows.push({ what: 'apply of a compaction of a million', result: `${(compact * 1000).toFixed(2)} ms` });
  const slices: number[] = [];
  let done = false;
  const slice = (): void => {
    done = bench.store.tidy(10_000);
  };
  while (!done) slices.push(seconds(slice));
  const worst = Math.max(...slices) * 1000;
  const sum = slices.reduce((total, each) => total + each, 0) * 1000;
  const removal = `${sum.toFixed(0)} ms in all, slice at most ${worst.toFixed(1)} ms`;
  rows.push({ what: 'its removal, in slices of 10,000 rows', result: removal });
  rows.push({ what: 'counted after it', result: `${Math.round(bench.store.dbSizeBytes / 1e6)} MB` });
}

function measureReads(): void {
  const { store } = filled();
  const all = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };
  report('count of a million keys', 1000, seconds(() => {
    for (let i = 0; i < 1000; i++) store.range({ ...all, countOnly: true });
  }));
  report('get of one key', KEYS, seconds(() => {
    for (let i = 0; i < KEYS; i++) store.range({ key: keyOf(shuffled(i)) });
  }));
  report('pairs of a range of a thousand', KEYS, seconds(() => {
    for (let i = 0; i < KEYS; i += 1000) store.range({ key: keyOf(i), rangeEnd: keyOf(i + 1000) });
  }));
}

function measureSnapshot(): void {
  const { store } = filled();
  const chunks: Uint8Array[] = [];
  const startedAt = process.hrtime.bigint();
  const frozen = store.freeze();
  const freezeMs = Number(process.hrtime.bigint() - startedAt) / 1e6;
  const write = seconds(() => {
    for (const chunk of frozen.chunks()) if (chunk.length > 0) chunks.push(chunk);
  });
  frozen.release();
  const sizeMb = Math.round(chunks.reduce((sum, chunk) => sum + chunk.length, 0) / 1e6);
  rows.push({ what: 'freeze', result: `${freezeMs.toFixed(2)} ms` });
  rows.push({ what: 'snapshot written', result: `${write.toFixed(2)} s, ${sizeMb} MB in ${chunks.length} pieces` });
  const loader = Store.load();
  const load = seconds(() => {
    for (const chunk of chunks) loader.push(chunk);
    loader.finish();
  });
  rows.push({ what: 'snapshot loaded', result: `${load.toFixed(2)} s` });
}

function measureHub(): void {
  const bench = new Bench();
  const hub = new Hub(() => bench.store, { bufferBytesMax: 4 * 1024 * 1024, catchUpRevisionsMax: 1000 });
  for (let i = 0; i < 10_000; i++) hub.open({ key: utf8(`/watched/${i}/`), rangeEnd: utf8(`/watched/${i}0`) }).next();
  const count = 200_000;
  const bytes = encodeCommand({ kind: 'txn', request: { success: [opPut(keyOf(7), VALUE)] } });
  report('apply and publish past 10,000 ranges that do not match', count, seconds(() => {
    for (let i = 0; i < count; i++) {
      const { events } = bench.store.apply({ term: 1, index: ++bench.index }, decodeCommand(bytes));
      if (events !== null) hub.publish(events);
    }
  }));
}

const PARTS: Readonly<Record<string, () => void>> = {
  codec: measureCodec,
  apply: measureApply,
  reads: measureReads,
  snapshot: measureSnapshot,
  hub: measureHub,
};

const part = process.argv[2];
if (part === undefined) {
  const file = fileURLToPath(import.meta.url);
  for (const name of Object.keys(PARTS)) spawnSync(process.execPath, ['--expose-gc', file, name], { stdio: 'inherit' });
} else {
  PARTS[part]?.();
  for (const row of rows) process.stdout.write(`${row.what.padEnd(56)}${row.result}\n`);
}

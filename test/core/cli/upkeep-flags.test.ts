// Quota, automatic compaction and the comparison of members, as the command line says them: etcd's words and errors.

import test from 'ava';
import { Refusal } from '../../../core/cli/refusal.js';
import { settle, upkeepFlags } from '../../../core/cli/settings.js';
import type { Upkeep } from '../../../core/cli/upkeep-flags.js';

function upkeep(flags: Readonly<Record<string, string>>): Upkeep {
  return upkeepFlags(settle(new Map(Object.entries(flags)), {}).all);
}

function retention(word: string, mode = 'periodic'): Upkeep['autoCompaction'] {
  return upkeep({ 'auto-compaction-retention': word, 'auto-compaction-mode': mode }).autoCompaction;
}

test('without flags there is etcd\'s quota, and nothing happens by itself', (t) => {
  t.deepEqual(upkeep({}), {
    autoCompaction: null, corruptCheckMs: 0, compactHashCheckMs: 0, quotaBytes: 2 ** 31, verifyAtStart: false, warnings: [],
  });
});

test('a quota of 0 is 2 GiB, a negative one is none, a huge one is warned of', (t) => {
  t.is(upkeep({ 'quota-backend-bytes': '0' }).quotaBytes, 2 ** 31);
  t.is(upkeep({ 'quota-backend-bytes': '-1' }).quotaBytes, Infinity);
  t.is(upkeep({ 'quota-backend-bytes': '16777216' }).quotaBytes, 16_777_216);
  t.regex(upkeep({ 'quota-backend-bytes': '9000000000' }).warnings[0] ?? '', /^--quota-backend-bytes 9000000000: .*8 GiB/);
});

test('a bare number of retention counts hours, or revisions; a duration is one', (t) => {
  t.deepEqual(retention('24'), { mode: 'periodic', periodMs: 86_400_000 });
  t.deepEqual(retention('10s'), { mode: 'periodic', periodMs: 10_000 });
  t.deepEqual(retention('1h30m', ''), { mode: 'periodic', periodMs: 5_400_000 });
  t.deepEqual(retention('1000', 'revision'), { mode: 'revision', keep: 1000 });
  for (const word of ['0', '', '0s']) t.is(retention(word), null);
});

test('what etcd refuses is refused in its words', (t) => {
  const said = (word: string, mode?: string): string => t.throws(() => retention(word, mode), { instanceOf: Refusal }).message;
  t.is(said('abc'), 'error parsing CompactionRetention: time: invalid duration "abc"');
  t.is(said('-5'), 'error parsing CompactionRetention: time: missing unit in duration "-5"');
  t.is(said('10q'), 'error parsing CompactionRetention: time: unknown unit "q" in duration "10q"');
  t.is(said('1', 'bogus'), 'unknown auto-compaction-mode "bogus"');
  t.regex(said('10m', 'revision'), /is a time, and .* counts revisions/);
});

test('comparing members is switched by flags of every release of etcd', (t) => {
  t.is(upkeep({ 'experimental-corrupt-check-time': '5m' }).corruptCheckMs, 300_000);
  t.is(upkeep({ 'corrupt-check-time': '1h' }).corruptCheckMs, 3_600_000);
  t.is(upkeep({ 'experimental-compact-hash-check-enabled': 'true' }).compactHashCheckMs, 60_000);
  const gated = upkeep({ 'feature-gates': 'CompactHashCheck=true, InitialCorruptCheck=true', 'compact-hash-check-time': '2m' });
  t.like(gated, { compactHashCheckMs: 120_000, verifyAtStart: true });
  t.true(upkeep({ 'experimental-initial-corrupt-check': 'true' }).verifyAtStart);
  t.false(upkeep({ 'feature-gates': 'TxnModeWriteWithSharedBuffer=false' }).verifyAtStart);
  t.throws(() => upkeep({ 'feature-gates': 'Bogus=true' }), { message: 'unrecognized feature gate: Bogus' });
  const message = 'missing bool value for feature gate CompactHashCheck';
  t.throws(() => upkeep({ 'feature-gates': 'CompactHashCheck' }), { message });
});

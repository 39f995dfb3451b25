// How much room a heap gets, and when that is reckoned. What it is worth is for the bench to say.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test from 'ava';
import { giveRoom, growthPercent } from '../../../core/cli/collector.js';
import { collect } from '../../collect.js';

const MB = 1024 * 1024;

test('a small heap gets room of a fixed size, at most four times its own', (t) => {
  t.is(growthPercent(4 * MB, 4096 * MB), 300);
  t.is(growthPercent(32 * MB, 4096 * MB), 300);
  t.is(growthPercent(48 * MB, 4096 * MB), 200);
  t.is(growthPercent(96 * MB, 4096 * MB), 100);
});

test('a large heap, and one in a small container, grows as V8 decides', (t) => {
  t.is(growthPercent(97 * MB, 4096 * MB), 0);
  t.is(growthPercent(1024 * MB, 4096 * MB), 0);
  t.is(growthPercent(30 * MB, 256 * MB), 0);
});

test('it is reckoned anew after each full collection, and told where it changes', async (t) => {
  const told: string[] = [];
  let liveBytes = 32 * MB;
  giveRoom([], { heap: () => ({ used_heap_size: liveBytes, heap_size_limit: 4096 * MB }), tell: (flag) => told.push(flag) });
  const collected = async (): Promise<void> => {
    collect();
    // An observer is told of it in one of the next turns.
    for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  await collected();
  t.deepEqual(told, ['--heap-growing-percent=300']);
  liveBytes = 64 * MB;
  while (told.length < 2) await collected();
  liveBytes = 500 * MB;
  while (told.length < 3) await collected();
  t.deepEqual(told, ['--heap-growing-percent=300', '--heap-growing-percent=150', '--heap-growing-percent=0']);
});

test('who has told Node how the heap is to grow is obeyed', (t) => {
  const tell = (): void => t.fail('V8 was told otherwise');
  giveRoom(['--heap_growing_percent=20'], { heap: () => ({ used_heap_size: MB, heap_size_limit: 4096 * MB }), tell });
  t.pass();
});

test('V8 knows the flag', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--v8-options']);
  t.regex(stdout, /--heap-growing-percent \(/);
});

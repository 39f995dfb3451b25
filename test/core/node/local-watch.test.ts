// How a watch in the same process begins and ends.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { opDelete, opPut, put, type WatchBatch } from '../../../core/client.js';
import { startNode } from '../../../core/start-node.js';
import { HISTORY_ROWS_MAX } from '../../../core/store/limits.js';
import { SimDisk } from '../../sim/disk.js';

test('a signal that is aborted already makes the iterator throw, not the call, and leaves nothing behind', async (t) => {
  const node = await startNode({ dataDir: null });
  const watch = node.client.watch({ key: utf8('a') }, { signal: AbortSignal.abort() });
  await t.throwsAsync(watch[Symbol.asyncIterator]().next(), { message: /canceled/ });
  t.is(node.facts().watchers, 0);
  await node.close();
});

test('when the disk stops the node, watches throw, those under way and those opened afterwards', async (t) => {
  const files = new SimDisk();
  const node = await startNode({ dataDir: '/d', files });
  const before = node.client.watch({ key: utf8('a') })[Symbol.asyncIterator]();
  await before.next();
  const next = before.next();
  files.setFault(() => Object.assign(new Error('EIO: injected'), { code: 'EIO' }));
  await t.throwsAsync(put(node.client, utf8('a'), utf8('1')));
  await t.throwsAsync(next, { message: /stopped/ });
  const after = node.client.watch({ key: utf8('a') })[Symbol.asyncIterator]();
  await t.throwsAsync(after.next(), { message: /stopped/ });
  t.true((await after.next()).done);
  t.regex((await node.ended)?.message ?? '', /EIO/);
});

test('a watch whose filter lets nothing of much history through goes on in later turns, iterated or tapped', async (t) => {
  const node = await startNode({ dataDir: null });
  for (let i = 0; i < 2.5 * HISTORY_ROWS_MAX; i += 100) {
    await node.client.txn({ success: Array.from({ length: 100 }, (_, j) => opPut(utf8(`k${i + j}`), utf8(''))) });
  }
  await node.client.txn({ success: [opDelete(utf8('k7'))] });
  const request = { key: utf8('k'), rangeEnd: utf8('l'), startRevision: 2, exclude: ['put'] } as const;
  const iterated = node.client.watch(request)[Symbol.asyncIterator]();
  const seen: (WatchBatch | undefined)[] = [];
  for (let i = 0; i < 2; i++) {
    const result: IteratorResult<WatchBatch, undefined> = await iterated.next();
    seen.push(result.done === true ? undefined : result.value);
  }
  t.is(seen[0]?.kind, 'created');
  t.is(seen[1]?.events[0]?.kind, 'delete');
  const tapped = node.client.watch(request);
  const kinds: string[] = [];
  let calls = 0;
  await new Promise<void>((resolve) => {
    const onReady = (): void => {
      calls += 1;
      for (let result = take?.(); result !== undefined && result !== null; result = take?.()) kinds.push(result.kind);
      if (kinds.length === 2) resolve();
    };
    const take = tapped.tap?.(onReady);
    onReady();
  });
  t.deepEqual(kinds, ['created', 'events']);
  t.true(calls > 2, String(calls));
  await iterated.return?.();
  tapped.close();
  await node.close();
});

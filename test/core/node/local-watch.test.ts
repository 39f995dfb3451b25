// How a watch in the same process begins and ends.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { put } from '../../../core/client.js';
import { startNode } from '../../../core/start-node.js';
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

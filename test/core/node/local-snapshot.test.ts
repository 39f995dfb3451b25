// How reading a snapshot in the same process begins and ends.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { put } from '../../../core/client.js';
import { isApiError } from '../../../core/errors.js';
import { startNode } from '../../../core/start-node.js';

test('a signal that is aborted already makes reading throw, not the call', async (t) => {
  const node = await startNode({ dataDir: null });
  const pieces = node.client.snapshot({ signal: AbortSignal.abort('before') })[Symbol.asyncIterator]();
  const error = await t.throwsAsync(pieces.next(), { message: /canceled/ });
  t.is(error?.cause, 'before');
  t.true((await pieces.next()).done);
  await node.close();
});

test('each piece says how much is still to come, and nothing that is written meanwhile changes that', async (t) => {
  const node = await startNode({ dataDir: null });
  for (let i = 0; i < 8; i++) await put(node.client, utf8(`key-${i}`), new Uint8Array(300_000));
  const sizes: number[] = [];
  const told: number[] = [];
  for await (const { bytes, remainingBytes } of node.client.snapshot()) {
    sizes.push(bytes.length);
    told.push(remainingBytes);
    await put(node.client, utf8(`key-${sizes.length}`), utf8('meanwhile'));
  }
  t.true(sizes.length > 4, `${sizes.length} pieces`);
  t.deepEqual(told, sizes.map((_, i) => sizes.slice(i + 1).reduce((sum, size) => sum + size, 0)));
  t.true(sizes.reduce((sum, size) => sum + size, 0) > 8 * 300_000);
  await node.close();
});

test('a closed client refuses to read, and ends what is being read', async (t) => {
  const node = await startNode({ dataDir: null });
  await put(node.client, utf8('a'), utf8('1'));
  const pieces = node.client.snapshot()[Symbol.asyncIterator]();
  const first = await pieces.next();
  t.is(first.done, false);
  const waiting = pieces.next();
  await node.client.close();
  t.true((await waiting).done);
  const refused = await t.throwsAsync(node.client.snapshot()[Symbol.asyncIterator]().next());
  t.true(isApiError(refused, 'closed'));
  await node.close();
});

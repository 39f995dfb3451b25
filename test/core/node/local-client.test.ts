// The client beside the node, where it does something of its own. What every client promises is its contract (test/contract).

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { get, put, type RangeForm } from '../../../core/client.js';
import { startNode } from '../../../core/start-node.js';

function fail(): never {
  throw new RangeError('no memory for it');
}

const FAILING: RangeForm<never> = { measure: fail, begin: fail, write: fail, end: fail, only: fail };

test('an answer that cannot be said fails the read it belongs to, and no other', async (t) => {
  const node = await startNode({ dataDir: null });
  t.teardown(() => node.close());
  const { client } = node;
  await put(client, utf8('a'), utf8('1'));
  for (const request of [{ key: utf8('a') }, { key: utf8('a'), rangeEnd: utf8('z') }]) {
    const failing = client.rangeAs?.(request, () => FAILING);
    const outcomes = await Promise.allSettled([get(client, utf8('a')), failing, get(client, utf8('a'))]);
    t.deepEqual(outcomes.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled']);
    t.is((await get(client, utf8('a')))?.version, 1, 'the node goes on');
  }
});

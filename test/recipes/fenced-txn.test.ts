// What only an owner can commit: over a whole node in this process.

import test from 'ava';
import { utf8, text } from '../../core/base/bytes.js';
import type { Client } from '../../core/client.js';
import { del, get, opPut, opRange, prefixRange, put, valueIs, versionIs } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { FencedOut, FencedTxn } from '../../recipes/fenced-txn.js';
import type { Ownership } from '../../recipes/fenced-txn.js';
import { EntryLost, EntryMayRemain, Released } from '../../recipes/held.js';
import type { World } from './world.js';
import { world } from './world.js';

async function owned(client: Client, key: string, ended: () => Error | null = () => null): Promise<Ownership> {
  const { header } = await put(client, utf8(key), utf8('mine'));
  const line = prefixRange(utf8(key.slice(0, key.lastIndexOf('/') + 1)));
  return { name: key, client, key: utf8(key), fence: header.revision, line, ended };
}

async function valueOf(w: World, key: string): Promise<string | null> {
  const kv = await w.clock.until(get(w.store, utf8(key)));
  return kv === null ? null : text(kv.value);
}

test('an owner commits, and its own failed compare is an answer and not an error', async (t) => {
  const w = await world(1);
  const own = await w.clock.until(owned(w.store, 'line/a'));
  const first = await w.clock.until(
    new FencedTxn(own).compare(versionIs(utf8('x'), '=', 0)).put('x', '1').range('line/a').commit(),
  );
  t.true(first.succeeded);
  t.deepEqual(first.responses.map(({ kind }) => kind), ['put', 'range']);
  t.is(await valueOf(w, 'x'), '1');
  const second = await w.clock.until(
    new FencedTxn(own).compare(valueIs(utf8('x'), '=', utf8('other'))).delete('x')
      .otherwise(opPut(utf8('y'), utf8('2'))).commit(),
  );
  t.false(second.succeeded);
  t.deepEqual(second.responses.map(({ kind }) => kind), ['put']);
  t.is(await valueOf(w, 'x'), '1');
  t.is(await valueOf(w, 'y'), '2');
  await w.clock.until(new FencedTxn(own).add(opPut(utf8('z'), utf8('3'))).delete('x').commit());
  t.is(await valueOf(w, 'x'), null);
  t.is(await valueOf(w, 'z'), '3');
  await w.end();
});

test('a stale owner is fenced out, writes nothing in either branch, and learns the newest fence', async (t) => {
  const w = await world(1);
  const own = await w.clock.until(owned(w.store, 'line/a'));
  const next = await w.clock.until(owned(w.store, 'line/b'));
  await w.clock.until(del(w.store, own.key));
  const stale = new FencedTxn(own).compare(versionIs(utf8('x'), '=', 7)).put('x', '1').otherwise(opPut(utf8('x'), utf8('2')));
  const refused = await t.throwsAsync(w.clock.until(stale.commit()), { instanceOf: FencedOut });
  t.is(refused.code, 'fenced_out');
  t.is(refused.token, own.fence);
  t.is(refused.newest, next.fence);
  t.is(await valueOf(w, 'x'), null);
  await w.end();
});

test('an entry created anew under the same key is another owner', async (t) => {
  const w = await world(1);
  const own = await w.clock.until(owned(w.store, 'line/a'));
  await w.clock.until(del(w.store, own.key));
  const again = await w.clock.until(owned(w.store, 'line/a'));
  const refused = await t.throwsAsync(w.clock.until(new FencedTxn(own).put('x', '1').commit()), { instanceOf: FencedOut });
  t.is(refused.newest, again.fence);
  await w.clock.until(new FencedTxn(again).put('x', '2').commit());
  t.is(await valueOf(w, 'x'), '2');
  await w.end();
});

test('what is known to be over is refused without asking the store', async (t) => {
  const w = await world(1);
  const link = w.link();
  const reason = new Released('line/a');
  const own = await w.clock.until(owned(link, 'line/a', () => reason));
  const sent = link.sent.txn;
  const refused = await t.throwsAsync(w.clock.until(new FencedTxn(own).put('x', '1').commit()), { instanceOf: FencedOut });
  t.is(refused.cause, reason);
  t.is(refused.newest, null);
  t.is(link.sent.txn, sent);
  await w.end();
});

test('of several owners all must hold, and the refusal names the one that does not', async (t) => {
  const w = await world(1);
  const a = await w.clock.until(owned(w.store, 'one/a'));
  const b = await w.clock.until(owned(w.store, 'two/b'));
  await w.clock.until(new FencedTxn(a, b).put('x', '1').commit());
  t.is(await valueOf(w, 'x'), '1');
  await w.clock.until(del(w.store, b.key));
  const refused = await t.throwsAsync(w.clock.until(new FencedTxn(a, b).put('x', '2').commit()), { instanceOf: FencedOut });
  t.is(refused.token, b.fence);
  t.is(refused.newest, null);
  t.is(await valueOf(w, 'x'), '1');
  await w.end();
});

test('further compares of the ownership fence too', async (t) => {
  const w = await world(1);
  const own = await w.clock.until(owned(w.store, 'line/a'));
  const also = { ...own, also: [versionIs(utf8('gate'), '=', 1)] };
  const error = await t.throwsAsync(w.clock.until(new FencedTxn(also).put('x', '1').commit()), { instanceOf: FencedOut });
  t.is(error.newest, null, 'the entry is ours still: there is nobody newer to be named');
  t.is(await valueOf(w, 'x'), null);
  await w.clock.until(put(w.store, utf8('gate'), utf8('')));
  await w.clock.until(new FencedTxn(also).add(opRange(utf8('gate'))).commit());
  await w.end();
});

test('an unknown outcome rejects as the client does', async (t) => {
  const w = await world(1);
  const link = w.link();
  const own = await w.clock.until(owned(link, 'line/a'));
  link.answerMs = () => 100;
  const commit = new FencedTxn(own).put('x', '1').commit();
  w.clock.schedule(50, () => link.down());
  const error = await t.throwsAsync(w.clock.until(commit));
  t.true(isApiError(error, 'connection_lost') && error.outcome === 'unknown');
  await w.end();
});

test('the ends of holding have stable codes and say what to do', (t) => {
  t.is(new EntryLost('lock nightly').code, 'entry_lost');
  t.regex(new EntryLost('lock nightly').message, /^lock nightly is not held any more: .*acquire it anew$/);
  t.is(new Released('lock nightly').code, 'released');
  const remains = new EntryMayRemain('deadline_exceeded', 'waiting for lock nightly', new Error('down'));
  t.true(isApiError(remains, 'deadline_exceeded'));
  t.true(remains.entryMayRemain);
  t.regex(remains.message, /our entry may remain/);
});

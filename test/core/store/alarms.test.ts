// Alarms: who may still write while one stands, and that all replicas agree about it.

import test from 'ava';
import { opDelete, opPut, opRange, opTxn, type Alarm, type Op } from '../../../core/client.js';
import { LEASE_COST, txnCost } from '../../../core/store/cost.js';
import { ALARMS_MAX as MAX } from '../../../core/store/limits.js';
import type { Reply } from '../../../core/store/store.js';
import { bytes, bytesOf, loadedFrom, Script } from './script.js';

const FULL: Alarm = { memberId: 2n ** 64n - 1n, kind: 'no_space' };
const CORRUPT: Alarm = { memberId: 7n, kind: 'corrupt' };
const ALARMS_MAX = BigInt(MAX);

function alarmed(...alarms: readonly Alarm[]): Script {
  const script = new Script();
  script.grant(1n);
  script.put('a', '1', { lease: 1n });
  for (const alarm of alarms) script.apply({ kind: 'alarm', action: 'raise', alarm });
  return script;
}

function word(reply: Reply): string {
  return reply.kind === 'error' ? reply.code : reply.kind;
}

const put = opPut(bytes('b'), bytes('2'));
const del = opDelete(bytes('a'));
const read = opRange(bytes('a'));

test('without space, whatever puts is refused, in either branch and nested, and everything else goes on', (t) => {
  const script = alarmed(FULL);
  const said = (success: readonly Op[], failure: readonly Op[] = []): string => word(script.txn({ success, failure }));
  t.is(said([put]), 'no_space');
  t.is(said([read, put]), 'no_space');
  t.is(said([], [put]), 'no_space');
  t.is(said([opTxn({ success: [opTxn({ failure: [put] })] })]), 'no_space');
  t.is(word(script.grant(2n)), 'no_space');
  t.is(said([del, read]), 'txn');
  t.is(word(script.compact(script.store.revision)), 'compact');
  t.is(word(script.revoke(1n).reply), 'lease_revoke');
  t.is(script.range({ key: bytes('b') }), '');
});

test('members known to differ write nothing at all, not even what deletes, compacts or revokes', (t) => {
  const script = alarmed(CORRUPT);
  const { revision } = script.store;
  t.is(word(script.ops(put)), 'corrupt');
  t.is(word(script.ops(del)), 'corrupt');
  t.is(word(script.grant(2n)), 'corrupt');
  t.is(word(script.revoke(1n).reply), 'corrupt');
  t.is(word(script.compact(revision)), 'corrupt');
  t.is(script.range({ key: bytes('a') }), 'a=1');
  t.deepEqual([script.store.revision, script.store.isCorrupt], [revision, true]);
});

test('corruption weighs more than lack of space, and each alarm ends only when it is cleared itself', (t) => {
  const script = alarmed(FULL, CORRUPT);
  const clear = (alarm: Alarm): Reply => script.apply({ kind: 'alarm', action: 'clear', alarm }).reply;
  t.is(word(script.ops(put)), 'corrupt');
  t.like(clear(CORRUPT), { kind: 'alarm', alarms: [CORRUPT] });
  t.is(word(script.ops(put)), 'no_space');
  t.like(clear({ ...FULL, memberId: 1n }), { kind: 'alarm', alarms: [] });
  t.is(word(script.ops(put)), 'no_space');
  t.like(clear(FULL), { kind: 'alarm', alarms: [FULL] });
  t.is(word(script.ops(put)), 'txn');
});

test('an alarm that stands is raised again with the same answer, and listed once', (t) => {
  const script = alarmed(FULL, CORRUPT, { ...FULL, memberId: 5n });
  t.like(script.apply({ kind: 'alarm', action: 'raise', alarm: FULL }).reply, { kind: 'alarm', alarms: [FULL] });
  t.deepEqual(script.store.alarms(), [{ ...FULL, memberId: 5n }, FULL, CORRUPT]);
  t.deepEqual(script.store.alarms(5n), [{ ...FULL, memberId: 5n }]);
  t.deepEqual(script.store.alarms(0n, 'corrupt'), [CORRUPT]);
  t.deepEqual(script.store.alarms(5n, 'corrupt'), []);
});

test('no more than so many alarms stand, of members that there are or not; those that do are raised again and cleared', (t) => {
  const script = alarmed();
  const raise = (memberId: bigint): string => {
    return word(script.apply({ kind: 'alarm', action: 'raise', alarm: { ...FULL, memberId } }).reply);
  };
  for (let i = 1n; i <= ALARMS_MAX; i++) t.is(raise(i), 'alarm');
  t.deepEqual([raise(ALARMS_MAX + 1n), raise(1n), script.store.alarms().length], ['limit_reached', 'alarm', MAX]);
  script.apply({ kind: 'alarm', action: 'clear', alarm: { ...FULL, memberId: 7n } });
  t.is(raise(ALARMS_MAX + 1n), 'alarm');
});

test('alarms are in a snapshot, and a store without any is written as it was before there were alarms', (t) => {
  const script = alarmed(FULL, CORRUPT);
  const copy = new Script(loadedFrom(bytesOf(script.store)));
  t.deepEqual(copy.store.alarms(), [FULL, CORRUPT]);
  t.is(word(copy.ops(del)), 'corrupt');
  const quiet = alarmed();
  const cleared = alarmed(FULL);
  cleared.apply({ kind: 'alarm', action: 'clear', alarm: FULL });
  const sections = (each: Script): number => [...each.store.freeze().chunks()].filter(({ length }) => length > 0).length;
  t.is(sections(cleared), sections(quiet));
  t.is(sections(script), sections(quiet) + 1);
});

test('a store that founds another cluster has no alarms of the old one\'s members', (t) => {
  const { store } = alarmed(FULL, CORRUPT);
  store.refound({ configuration: { voters: [9n], outgoing: [], learners: [] }, members: [], revisionsSkipped: 0 });
  t.deepEqual(store.alarms(), []);
});

test('a request costs what etcd reckons: its puts with 256 bytes for each, the dearer branch, nested ones too', (t) => {
  const five = opPut(bytes('key'), bytes('12'));
  t.is(txnCost({ success: [five] }), 256 + 3 + 2);
  t.is(txnCost({ success: [del] }), 0);
  t.is(txnCost({ success: [five, del, five], failure: [five, read] }), 2 * 261);
  t.is(txnCost({ success: [five], failure: [opTxn({ success: [five, five] }), five] }), 3 * 261);
  t.is(txnCost({}), 0);
  t.is(LEASE_COST, 64);
});

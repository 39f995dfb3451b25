// Who may ask what that is no command: strangers, users about themselves, holders of a role, watchers who are there already.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { NOBODY } from '../../../core/client.js';
import {
  refuseCommoner, refuseRead, refuseReadOfAll, refuseRoleQuestion, refuseStranger, refuseUserQuestion, refuseWatch, type Asker,
} from '../../../core/store/access.js';
import { AuthTable } from '../../../core/store/auth.js';

function guarded(): AuthTable {
  const table = new AuthTable();
  for (const name of ['root', 'u', 'v']) table.change({ kind: 'user_add', name, hash: 'h' });
  table.change({ kind: 'user_grant', name: 'root', role: 'root' });
  table.change({ kind: 'role_add', name: 'r' });
  table.change({ kind: 'role_grant', name: 'r', permission: { kind: 'read', key: utf8('a'), rangeEnd: utf8('c') } });
  table.change({ kind: 'user_grant', name: 'u', role: 'r' });
  table.change({ kind: 'enable' });
  return table;
}

function asker(table: AuthTable, user: string): Asker {
  return { user, authRevision: table.revision };
}

test('while auth is off everybody may ask everything', (t) => {
  const table = new AuthTable();
  const range = { key: utf8('a') };
  t.deepEqual([refuseStranger(table, NOBODY), refuseCommoner(table, NOBODY)], [null, null]);
  t.is(refuseRead(table, NOBODY, range), null);
  t.deepEqual([refuseUserQuestion(table, NOBODY, 'u'), refuseRoleQuestion(table, NOBODY, 'r')], [null, null]);
});

test('nobody in particular has no user, somebody who is not known no permission, whatever is asked', (t) => {
  const table = guarded();
  const questions = [
    (who: Asker) => refuseStranger(table, who), (who: Asker) => refuseCommoner(table, who),
    (who: Asker) => refuseRead(table, who, { key: utf8('a') }), (who: Asker) => refuseWatch(table, who, { key: utf8('a') }),
    (who: Asker) => refuseReadOfAll(table, who, () => []),
    (who: Asker) => refuseUserQuestion(table, who, 'gone'), (who: Asker) => refuseRoleQuestion(table, who, 'r'),
  ];
  for (const ask of questions) {
    t.is(ask(NOBODY), 'user_empty');
    t.is(ask(asker(table, 'gone')), 'permission_denied');
    t.is(ask(asker(table, 'root')), null);
  }
});

test('a user may ask about itself and about a role it holds, and an administrator about all', (t) => {
  const table = guarded();
  const [u, v, root] = ['u', 'v', 'root'].map((name) => asker(table, name));
  if (u === undefined || v === undefined || root === undefined) return t.fail();
  t.deepEqual([u, v, root].map((who) => refuseUserQuestion(table, who, 'u')), [null, 'permission_denied', null]);
  t.deepEqual([u, v, root].map((who) => refuseRoleQuestion(table, who, 'r')), [null, 'permission_denied', null]);
  t.is(refuseUserQuestion(table, { user: '', authRevision: 0 }, ''), 'permission_denied');
  t.deepEqual([u, root].map((who) => refuseStranger(table, who)), [null, null]);
  t.deepEqual([u, root].map((who) => refuseCommoner(table, who)), ['permission_denied', null]);
});

test('a change of permissions turns no watcher away that still has its own, and a reader has to come again', (t) => {
  const table = guarded();
  const u = asker(table, 'u');
  const range = { key: utf8('a'), rangeEnd: utf8('b') };
  table.change({ kind: 'role_add', name: 'other' });
  t.deepEqual([refuseWatch(table, u, range), refuseRead(table, u, range)], [null, 'auth_revision_old']);
  t.is(refuseWatch(table, u, { key: utf8('a'), rangeEnd: utf8('\0') }), 'permission_denied');
  table.change({ kind: 'user_revoke', name: 'u', role: 'r' });
  t.is(refuseWatch(table, u, range), 'permission_denied');
});

test('of many keys each must be held', (t) => {
  const table = guarded();
  const u = asker(table, 'u');
  t.is(refuseReadOfAll(table, u, () => [utf8('a'), utf8('b')]), null);
  t.is(refuseReadOfAll(table, u, () => [utf8('a'), utf8('c')]), 'permission_denied');
});

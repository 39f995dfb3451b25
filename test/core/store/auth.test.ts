// Users, roles and tokens as replicated state, and commands judged by them as they are applied.

import test from 'ava';
import { EMPTY, utf8 } from '../../../core/base/bytes.js';
import { opDelete, opPut, opRange, opTxn, type Permission, type TxnRequest } from '../../../core/client.js';
import { refuseTxn } from '../../../core/store/access.js';
import { compareNames, type StoredChange } from '../../../core/store/auth-records.js';
import { AuthTable } from '../../../core/store/auth.js';
import { ByteReader, ByteWriter } from '../../../core/store/binary.js';
import { decodeCommand, deedOf, encodeCommand, type Command } from '../../../core/store/command.js';
import { SNAPSHOT_CHUNK_BYTES, TOKENS_MAX, TOKENS_PER_USER_MAX } from '../../../core/store/limits.js';
import { Store, type Reply } from '../../../core/store/store.js';
import { takesLess } from '../../takes-less.js';

class Replica {
  store = new Store();
  #index = 0;

  apply(command: Command): Reply {
    this.#index += 1;
    return this.store.apply({ term: 1, index: this.#index }, decodeCommand(encodeCommand(command))).reply;
  }

  /** The process's own wish. */
  own(command: Command): Reply {
    return this.apply(this.store.auth.isEnabled ? { kind: 'as_user', user: null, authRevision: 1, command } : command);
  }

  as(user: string, command: Command, authRevision = this.store.auth.revision): Reply {
    return this.apply({ kind: 'as_user', user, authRevision, command });
  }

  change(change: StoredChange): string {
    const reply = this.own({ kind: 'auth_change', change });
    return reply.kind === 'error' ? reply.code : 'ok';
  }
}

function readwrite(key: string, rangeEnd = ''): Permission {
  return { kind: 'readwrite', key: utf8(key), rangeEnd: utf8(rangeEnd) };
}

function guarded(): Replica {
  const replica = new Replica();
  replica.change({ kind: 'user_add', name: 'root', hash: 'h' });
  replica.change({ kind: 'user_grant', name: 'root', role: 'root' });
  replica.change({ kind: 'user_add', name: 'u', hash: 'h' });
  replica.change({ kind: 'role_add', name: 'r' });
  replica.change({ kind: 'role_grant', name: 'r', permission: readwrite('a', 'b') });
  replica.change({ kind: 'user_grant', name: 'u', role: 'r' });
  replica.change({ kind: 'enable' });
  return replica;
}

function txn(request: TxnRequest): Command {
  return { kind: 'txn', request };
}

function codeOf(reply: Reply): string {
  return reply.kind === 'error' ? reply.code : 'ok';
}

test('SB11 auth comes on only with root and its role, and root cannot be taken away while it is', (t) => {
  const replica = new Replica();
  t.is(replica.change({ kind: 'enable' }), 'root_missing');
  replica.change({ kind: 'user_add', name: 'root', hash: 'h' });
  t.is(replica.change({ kind: 'enable' }), 'root_role_missing');
  // The role root needs no record.
  t.is(replica.change({ kind: 'user_grant', name: 'root', role: 'root' }), 'ok');
  t.is(replica.change({ kind: 'enable' }), 'ok');
  t.is(replica.change({ kind: 'enable' }), 'ok');
  t.is(replica.change({ kind: 'user_delete', name: 'root' }), 'auth_invalid_change');
  t.is(replica.change({ kind: 'user_revoke', name: 'root', role: 'root' }), 'auth_invalid_change');
  t.is(replica.change({ kind: 'role_delete', name: 'root' }), 'auth_invalid_change');
  t.is(replica.change({ kind: 'disable' }), 'ok');
  t.is(replica.change({ kind: 'user_delete', name: 'root' }), 'ok');
});

test('the auth revision begins at 1 and rises with each change, and with turning auth off, but not on', (t) => {
  const { store } = guarded();
  // Two users, two grants of roles, one role, one permission.
  t.is(store.auth.revision, 7);
  const replica = guarded();
  replica.change({ kind: 'user_grant', name: 'u', role: 'r' });
  t.is(replica.store.auth.revision, 7);
  replica.change({ kind: 'disable' });
  replica.change({ kind: 'disable' });
  t.is(replica.store.auth.revision, 8);
});

test('each change says what is wrong with it, in etcd\'s order', (t) => {
  const replica = guarded();
  const wrong: readonly (readonly [StoredChange, string])[] = [
    [{ kind: 'user_add', name: '', hash: 'h' }, 'user_empty'],
    [{ kind: 'user_add', name: 'u', hash: 'h' }, 'user_exists'],
    [{ kind: 'user_delete', name: 'x' }, 'user_not_found'],
    [{ kind: 'user_password', name: 'x', hash: 'h' }, 'user_not_found'],
    [{ kind: 'user_grant', name: 'x', role: 'x' }, 'user_not_found'],
    [{ kind: 'user_grant', name: 'u', role: 'x' }, 'role_not_found'],
    [{ kind: 'user_revoke', name: 'x', role: 'x' }, 'user_not_found'],
    [{ kind: 'user_revoke', name: 'u', role: 'x' }, 'role_not_granted'],
    [{ kind: 'role_add', name: '' }, 'role_empty'],
    [{ kind: 'role_add', name: 'r' }, 'role_exists'],
    [{ kind: 'role_delete', name: 'x' }, 'role_not_found'],
    [{ kind: 'role_grant', name: 'x', permission: readwrite('a') }, 'role_not_found'],
    [{ kind: 'role_grant', name: 'r', permission: null }, 'permission_empty'],
    [{ kind: 'role_grant', name: 'r', permission: readwrite('b', 'a') }, 'auth_invalid_change'],
    [{ kind: 'role_grant', name: 'r', permission: readwrite('', 'a') }, 'auth_invalid_change'],
    [{ kind: 'role_revoke', name: 'x', key: utf8('a'), rangeEnd: EMPTY }, 'role_not_found'],
    // Part of a grant is not a grant (SC12).
    [{ kind: 'role_revoke', name: 'r', key: utf8('a'), rangeEnd: EMPTY }, 'permission_not_granted'],
  ];
  for (const [change, code] of wrong) t.is(replica.change(change), code, JSON.stringify(change));
  t.is(replica.store.auth.revision, 7);
});

test('SC12 a grant of the same range replaces the old one, and taking it back needs its very bounds', (t) => {
  const replica = guarded();
  replica.change({ kind: 'role_grant', name: 'r', permission: { ...readwrite('a', 'b'), kind: 'read' } });
  replica.change({ kind: 'role_grant', name: 'r', permission: readwrite('A') });
  t.deepEqual(replica.store.auth.role('r')?.permissions.map(({ kind }) => kind), ['readwrite', 'read']);
  t.is(codeOf(replica.as('u', txn({ success: [opPut(utf8('a'), EMPTY)] }))), 'permission_denied');
  t.is(replica.change({ kind: 'role_revoke', name: 'r', key: utf8('a'), rangeEnd: utf8('b') }), 'ok');
  t.is(codeOf(replica.as('u', txn({ success: [opRange(utf8('a'))] }))), 'permission_denied');
});

test('SC3 a transaction is denied as a whole for any part of it, in any branch, however deep', (t) => {
  const replica = guarded();
  const [mine, other] = [utf8('a'), utf8('c')];
  const good = opPut(mine, utf8('1'));
  for (const bad of [opPut(other, EMPTY), opRange(other), opDelete(other), opDelete(mine, { rangeEnd: other })]) {
    for (const request of [{ success: [good, bad] }, { success: [good], failure: [bad] }]) {
      t.is(codeOf(replica.as('u', txn(request))), 'permission_denied');
      t.is(codeOf(replica.as('u', txn({ success: [good, opTxn({ failure: [opTxn(request)] })] }))), 'permission_denied');
    }
  }
  const compare = { key: other, result: '=', target: 'version', operand: 0 } as const;
  t.is(codeOf(replica.as('u', txn({ compare: [compare], success: [good] }))), 'permission_denied');
  t.is(codeOf(replica.as('u', txn({ success: [opTxn({ compare: [compare] })] }))), 'permission_denied');
  t.is(replica.store.revision, 1);
  t.is(codeOf(replica.as('u', txn({ success: [good] }))), 'ok');
});

test('SC4 a put on a lease needs every key that hangs there, in transactions too, and its previous value needs reading', (t) => {
  const replica = guarded();
  replica.change({ kind: 'role_add', name: 'w' });
  replica.change({ kind: 'role_grant', name: 'w', permission: { ...readwrite('w'), kind: 'write' } });
  replica.change({ kind: 'user_grant', name: 'u', role: 'w' });
  replica.own({ kind: 'lease_grant', id: 7n, ttlSeconds: 60 });
  t.is(codeOf(replica.as('u', txn({ success: [opPut(utf8('a'), EMPTY, { lease: 7n })] }))), 'ok');
  replica.own(txn({ success: [opPut(utf8('secret'), EMPTY, { lease: 7n })] }));
  const put = opPut(utf8('a2'), EMPTY, { lease: 7n });
  t.is(codeOf(replica.as('u', txn({ success: [put] }))), 'permission_denied');
  t.is(codeOf(replica.as('u', txn({ success: [opTxn({ success: [put] })] }))), 'permission_denied');
  t.is(codeOf(replica.as('u', { kind: 'lease_revoke', id: 7n, term: 0, granted: 0 })), 'permission_denied');
  t.is(codeOf(replica.as('u', txn({ success: [opPut(utf8('w'), EMPTY)] }))), 'ok');
  t.is(codeOf(replica.as('u', txn({ success: [opPut(utf8('w'), EMPTY, { prevKv: true })] }))), 'permission_denied');
  t.is(codeOf(replica.as('u', txn({ success: [opDelete(utf8('w'), { prevKv: true })] }))), 'permission_denied');
});

test('SC11 what was permitted when it was asked for and is not when it is applied is not done', (t) => {
  const replica = guarded();
  const { revision } = replica.store.auth;
  replica.change({ kind: 'role_delete', name: 'r' });
  t.is(codeOf(replica.as('u', txn({ success: [opPut(utf8('a'), EMPTY)] }), revision)), 'auth_revision_old');
  t.is(codeOf(replica.as('u', txn({ success: [opPut(utf8('a'), EMPTY)] }))), 'permission_denied');
  replica.change({ kind: 'user_delete', name: 'u' });
  t.is(codeOf(replica.as('u', txn({ success: [opRange(utf8('a'))] }))), 'permission_denied');
});

test('SC11 a command from a member that did not know that auth is on is not carried out', (t) => {
  const replica = guarded();
  t.is(codeOf(replica.apply(txn({ success: [opPut(utf8('a'), EMPTY)] }))), 'auth_revision_old');
  t.is(codeOf(replica.apply({ kind: 'auth_change', change: { kind: 'disable' } })), 'auth_revision_old');
  t.is(codeOf(replica.as('u', { kind: 'auth_change', change: { kind: 'disable' } })), 'permission_denied');
  t.is(codeOf(replica.as('u', { kind: 'compact', revision: 1 })), 'permission_denied');
  t.is(codeOf(replica.as('u', { kind: 'authenticate', user: 'root', digest: 'ab', authRevision: 7 })), 'permission_denied');
  t.true(replica.store.auth.isEnabled);
});

test('SB6 tokens go with the password they were had for, with the user, and with auth', (t) => {
  const token = (replica: Replica, user: string): number => {
    const { revision } = replica.store.auth;
    const reply = replica.own({ kind: 'authenticate', user, digest: 'ab'.repeat(32), authRevision: revision });
    return reply.kind === 'auth' ? reply.index : 0;
  };
  const replica = guarded();
  const [first, root] = [token(replica, 'u'), token(replica, 'root')];
  t.is(replica.store.auth.token(first)?.user, 'u');
  replica.change({ kind: 'role_add', name: 'unrelated' });
  t.is(replica.store.auth.token(first)?.user, 'u');
  replica.change({ kind: 'user_password', name: 'u', hash: 'other' });
  t.is(replica.store.auth.token(first), null);
  const second = token(replica, 'u');
  replica.change({ kind: 'user_delete', name: 'u' });
  t.is(replica.store.auth.token(second), null);
  t.is(replica.store.auth.token(root)?.user, 'root');
  replica.change({ kind: 'disable' });
  t.is(replica.store.auth.token(root), null);
  // The password may have changed between its check and this entry.
  const late = guarded();
  late.change({ kind: 'user_password', name: 'u', hash: 'new' });
  t.is(codeOf(late.own({ kind: 'authenticate', user: 'u', digest: 'ab', authRevision: 7 })), 'auth_revision_old');
});

test('beyond as many tokens as may stand, of one user and of all, the oldest go', (t) => {
  const table = new AuthTable();
  const names = ['root', ...Array.from({ length: TOKENS_MAX / TOKENS_PER_USER_MAX }, (_, i) => `u${i}`)];
  for (const name of names) table.change({ kind: 'user_add', name, hash: 'h' });
  table.change({ kind: 'user_grant', name: 'root', role: 'root' });
  table.change({ kind: 'enable' });
  let index = 0;
  const add = (user: string): unknown => table.addToken({ digest: 'ab', user, index: ++index }, table.revision);
  for (let i = 0; i <= TOKENS_PER_USER_MAX; i++) t.is(add('u0'), null);
  t.deepEqual([table.token(1), table.token(2)?.user, table.tokenCount], [null, 'u0', TOKENS_PER_USER_MAX]);
  for (const name of names.slice(2)) for (let i = 0; i < TOKENS_PER_USER_MAX; i++) add(name);
  t.deepEqual([table.token(2)?.user, table.tokenCount], ['u0', TOKENS_MAX]);
  add('root');
  t.deepEqual([table.token(2), table.token(3)?.user, table.tokenCount], [null, 'u0', TOKENS_MAX]);
  table.change({ kind: 'user_delete', name: 'u0' });
  t.deepEqual([table.token(3), table.tokenCount], [null, TOKENS_MAX - TOKENS_PER_USER_MAX + 1]);
});

test('a password is kept with another cost only while it is the one that was given, and nobody has to log in anew', (t) => {
  const replica = guarded();
  replica.own({ kind: 'authenticate', user: 'u', digest: 'ab'.repeat(32), authRevision: 7 });
  t.is(codeOf(replica.own({ kind: 'rehash', name: 'u', from: 'another', to: 'new' })), 'ok');
  t.is(replica.store.auth.user('u')?.hash, 'h');
  replica.own({ kind: 'rehash', name: 'u', from: 'h', to: 'new' });
  replica.own({ kind: 'rehash', name: 'nobody', from: 'h', to: 'new' });
  t.deepEqual([replica.store.auth.user('u')?.hash, replica.store.auth.revision, replica.store.auth.tokenCount], ['new', 7, 1]);
  t.is(replica.store.auth.user('nobody'), null);
});

test('a role that is deleted and made again belongs to nobody', (t) => {
  const replica = guarded();
  replica.change({ kind: 'role_delete', name: 'r' });
  replica.change({ kind: 'role_add', name: 'r' });
  t.deepEqual(replica.store.auth.user('u')?.roles, []);
  t.is(replica.change({ kind: 'user_revoke', name: 'u', role: 'r' }), 'role_not_granted');
});

test('no count in the bytes of users is believed beyond what is there', (t) => {
  const writer = new ByteWriter();
  for (const byte of [1, 1]) writer.byte(byte);
  for (const n of [5, 2 ** 40]) writer.varint(n);
  t.throws(() => AuthTable.read(new ByteReader(writer.take())), { message: /1099511627776 items are announced in 0 bytes/ });
});

test('SB12 users, roles and tokens come back from a snapshot, and one without any is as it was before there were users', (t) => {
  const replica = guarded();
  replica.change({ kind: 'user_add', name: 'cn', hash: null });
  replica.own({ kind: 'authenticate', user: 'u', digest: 'cd'.repeat(32), authRevision: 8 });
  const frozen = replica.store.freeze();
  const loader = Store.load();
  for (const chunk of frozen.chunks()) loader.push(chunk);
  const loaded = loader.finish();
  t.is(loaded.stateHash(), replica.store.stateHash());
  t.deepEqual([...loaded.auth.tokens()], [...replica.store.auth.tokens()]);
  t.deepEqual(loaded.auth.role('r'), replica.store.auth.role('r'));
  for (const name of ['u', 'cn']) t.deepEqual(loaded.auth.user(name), replica.store.auth.user(name));
  t.deepEqual([loaded.auth.user('cn')?.noPassword, loaded.auth.tokenCount, loaded.auth.revision], [true, 1, 8]);
  const bytes = Buffer.concat([...new Store().freeze().chunks()]);
  // The last frame says that nothing is missing: its payload is the one byte 6, and before it there is no section 8.
  t.is(bytes.at(-1), 6);
  t.false(new AuthTable().isEnabled);
});

test('however long the list of users is, it comes back from a snapshot, none of whose frames is large', (t) => {
  const replica = guarded();
  for (const letter of ['a', 'b', 'c']) replica.change({ kind: 'user_add', name: letter.repeat(400_000), hash: 'h' });
  const frozen = replica.store.freeze();
  const loader = Store.load();
  for (const chunk of frozen.chunks()) {
    t.true(chunk.length < SNAPSHOT_CHUNK_BYTES + 100, `${chunk.length} bytes`);
    loader.push(chunk);
  }
  frozen.release();
  t.is(loader.finish().stateHash(), replica.store.stateHash());
});

test('a command keeps its author through its bytes, and has one', (t) => {
  const command: Command = { kind: 'as_user', user: 'ü', authRevision: 9, command: { kind: 'compact', revision: 3 } };
  t.deepEqual(decodeCommand(encodeCommand(command)), command);
  t.deepEqual(deedOf(command), { kind: 'compact', revision: 3 });
  t.throws(() => decodeCommand(encodeCommand({ kind: 'as_user', user: null, authRevision: 1, command })));
  const changes: readonly StoredChange[] = [
    { kind: 'enable' }, { kind: 'user_add', name: 'n', hash: null }, { kind: 'user_password', name: 'n', hash: 'h' },
    { kind: 'role_grant', name: 'r', permission: readwrite('a', 'b') }, { kind: 'role_grant', name: 'r', permission: null },
    { kind: 'role_revoke', name: 'r', key: new Uint8Array([1]), rangeEnd: EMPTY },
  ];
  for (const change of changes) {
    const read = decodeCommand(encodeCommand({ kind: 'auth_change', change }));
    t.is(JSON.stringify(read), JSON.stringify({ kind: 'auth_change', change }));
  }
});

test('SC12 a role of ten thousand ranges costs a user little', (t) => {
  const table = new AuthTable();
  table.change({ kind: 'user_add', name: 'root', hash: 'h' });
  table.change({ kind: 'user_grant', name: 'root', role: 'root' });
  table.change({ kind: 'user_add', name: 'u', hash: 'h' });
  table.change({ kind: 'role_add', name: 'r' });
  table.change({ kind: 'user_grant', name: 'u', role: 'r' });
  t.true(takesLess(2500, () => {
    for (let i = 0; i < 10_000; i++) table.change({ kind: 'role_grant', name: 'r', permission: readwrite(`k${i}`) });
  }));
  table.change({ kind: 'enable' });
  const asker = { user: 'u', authRevision: table.revision };
  const request = { success: [opPut(utf8('k77'), EMPTY)] };
  t.true(takesLess(2500, () => {
    for (let i = 0; i < 10_000; i++) t.is(refuseTxn(table, asker, request, () => []), null);
  }));
});

test('SC4 the keys of a lease are looked at once for all puts of a transaction, and only up to the first foreign one', (t) => {
  const { store } = guarded();
  const asker = { user: 'u', authRevision: store.auth.revision };
  const puts = Array.from({ length: 20 }, (_, i) => opPut(utf8(`a${i}`), EMPTY, { lease: 7n }));
  const request: TxnRequest = { success: [...puts, opTxn({ failure: puts })] };
  let seen = 0;
  const keysOn = function* (names: readonly string[]): Iterable<Uint8Array> {
    for (const name of names) {
      seen += 1;
      yield utf8(name);
    }
  };
  t.is(refuseTxn(store.auth, asker, request, () => keysOn(['a1', 'a2', 'a3'])), null);
  t.is(seen, 3);
  seen = 0;
  t.is(refuseTxn(store.auth, asker, request, () => keysOn(['a1', 'z', 'a3', 'a4'])), 'permission_denied');
  t.is(seen, 2);
});

test('names are in the order of their bytes, beyond the basic plane too', (t) => {
  const units = ['', '\0', 'a', 'b', '\u007f', 'ü', '\u07ff', '\ud7ff', '\ue000', '\uffff'];
  const letters = [...units, '\u{10000}', '\u{103ff}', '\u{10ffff}'];
  const names = letters.flatMap((first) => letters.flatMap((second) => [`${first}${second}`, `x${second}${first}x`]));
  for (const a of names) {
    for (const b of names) {
      if (Math.sign(compareNames(a, b)) !== Buffer.compare(utf8(a), utf8(b))) t.fail(JSON.stringify([a, b]));
    }
  }
  const table = new AuthTable();
  for (const name of new Set(names)) table.change({ kind: 'user_add', name, hash: null });
  t.is(table.userCount, new Set(names).size - 1);
  t.deepEqual(table.userNames, [...table.userNames].sort((a, b) => Buffer.compare(utf8(a), utf8(b))));
});

test('a name that begins with a byte order mark is another name than without it, in the log and in a snapshot', (t) => {
  const command: Command = { kind: 'as_user', user: '\ufeffroot', authRevision: 9, command: { kind: 'compact', revision: 3 } };
  t.deepEqual(decodeCommand(encodeCommand(command)), command);
  const replica = guarded();
  t.is(replica.change({ kind: 'user_add', name: '\ufeffroot', hash: 'h' }), 'ok');
  t.is(codeOf(replica.as('\ufeffroot', { kind: 'compact', revision: 1 })), 'permission_denied');
  const frozen = replica.store.freeze();
  const loader = Store.load();
  for (const chunk of frozen.chunks()) loader.push(chunk);
  frozen.release();
  t.deepEqual(loader.finish().auth.userNames, ['root', 'u', '\ufeffroot']);
});

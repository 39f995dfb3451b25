// Users, tokens and rights in a cluster in one process: what one member grants or takes away, all members know.

import test, { type ExecutionContext } from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import type { TokenSigner } from '../../../core/base/jwt.js';
import { NOBODY, opPut, type AuthChange, type CallOptions, type Caller, type WatchBatch } from '../../../core/client.js';
import { isApiError, type ErrorCode } from '../../../core/errors.js';
import { Cluster, HEALTHY_MS, record, type ClusterOptions } from './cluster.js';

interface Guarded {
  readonly cluster: Cluster;
  /** On behalf of whoever has this token, as a port would ask. */
  as(id: bigint, token: string | null): Promise<CallOptions>;
  login(id: bigint, name: string): Promise<string>;
}

async function guarded(t: ExecutionContext, options: ClusterOptions = {}): Promise<Guarded> {
  const cluster = await Cluster.running(options);
  t.teardown(() => cluster.stopAll());
  const client = cluster.client(1n);
  const change = (wish: AuthChange): Promise<unknown> => cluster.until(client.changeAuth(wish));
  for (const name of ['root', 'u']) await change({ kind: 'user_add', name, password: { plain: name } });
  await change({ kind: 'user_grant', name: 'root', role: 'root' });
  await change({ kind: 'role_add', name: 'r' });
  const permission = { kind: 'readwrite', key: utf8('a'), rangeEnd: utf8('b') } as const;
  await change({ kind: 'role_grant', name: 'r', permission });
  await change({ kind: 'user_grant', name: 'u', role: 'r' });
  await change({ kind: 'enable' });
  await cluster.level();
  const as = async (id: bigint, token: string | null): Promise<CallOptions> => {
    const caller = await cluster.until(Promise.resolve(cluster.client(id).identify({ token, certificateName: null })));
    return { caller: caller ?? NOBODY };
  };
  const login = async (id: bigint, name: string): Promise<string> => {
    return (await cluster.until(cluster.client(id).authenticate(name, name))).token;
  };
  return { cluster, as, login };
}

async function refusedWith(t: ExecutionContext, work: Promise<unknown>, code: ErrorCode): Promise<void> {
  const error: unknown = await work.then(() => 'done', (failure: unknown) => failure);
  t.true(isApiError(error, code), String(error));
}

async function batchOf(batches: AsyncIterator<WatchBatch>): Promise<WatchBatch> {
  const next = await batches.next();
  if (next.done === true) throw new Error('the watch has ended');
  return next.value;
}

test('SB12 a token from one member is good at the others, after a change of leader, a restart and from a snapshot', async (t) => {
  const { cluster, as, login } = await guarded(t, { snapshotCount: 20 });
  const follower = await cluster.follower();
  const token = await login(follower, 'u');
  t.regex(token, /^[A-Za-z]{24}\.\d+$/);
  const put = async (id: bigint): Promise<void> => {
    const options = await as(id, token);
    await cluster.until(cluster.client(id).txn({ success: [opPut(utf8('a'), utf8('1'))] }, options));
    const other = cluster.client(id).txn({ success: [opPut(utf8('c'), utf8('1'))] }, options);
    await refusedWith(t, cluster.until(other), 'permission_denied');
  };
  for (const id of cluster.ids) await put(id);
  const leader = await cluster.leader();
  cluster.kill(leader);
  const next = await cluster.leader(leader);
  await put(next);
  // So far behind that it is sent a snapshot.
  for (let i = 0; i < 60; i++) await cluster.until(cluster.client(next).txn({ success: [opPut(utf8('x'), utf8(`${i}`))] }));
  await cluster.start(leader);
  await cluster.level();
  await put(leader);
});

test('SB12 a token is good at a member that has it from nothing but a snapshot, its own or another\'s', async (t) => {
  const { cluster, as, login } = await guarded(t, { snapshotCount: 20, limits: { catchUpEntries: 0 } });
  const leader = await cluster.leader();
  const [behind = 0n] = cluster.ids.filter((id) => id !== leader);
  cluster.board.onFrame = ({ from, to, frame }) => (from === behind || to === behind ? null : [frame]);
  const token = await login(leader, 'u');
  for (let i = 0; i < 60; i++) await cluster.until(cluster.client(leader).txn({ success: [opPut(utf8('x'), utf8(`${i}`))] }));
  cluster.board.onFrame = ({ frame }) => [frame];
  await cluster.level();
  t.true(cluster.events.some(({ id, event }) => id === behind && event.kind === 'snapshot_installed'));
  t.is((await as(behind, token)).caller?.user, 'u');
  cluster.kill(behind);
  await cluster.start(behind);
  t.true(cluster.events.some(({ id, event }) => id === behind && event.kind === 'restored' && event.snapshotIndex > 0));
  t.is((await as(behind, token)).caller?.user, 'u');
});

test('SB7 a signed token that was checked is believed for five seconds, and never beyond its own time', async (t) => {
  let checked = 0;
  const verify: TokenSigner['verify'] = (token, done) => {
    checked += 1;
    done(null, token === 'none' ? null : { user: token, authRevision: 9, leftMs: token === 'short' ? 1000 : 60_000 });
  };
  const { cluster, as } = await guarded(t, { size: 1, signer: { sign: (_user, _revision, done) => done(null, 'u'), verify } });
  const checksOf = async (token: string, laterMs: readonly number[]): Promise<readonly number[]> => {
    checked = 0;
    const counts: number[] = [];
    for (const ms of laterMs) {
      await cluster.clock.advance(ms);
      t.like((await as(1n, token)).caller, { user: token, authRevision: 9 });
      counts.push(checked);
    }
    return counts;
  };
  t.deepEqual(await checksOf('u', [0, 0, 4900, 200]), [1, 1, 1, 2]);
  t.deepEqual(await checksOf('short', [0, 900, 200]), [1, 1, 2]);
  for (let i = 0; i < 2; i++) await refusedWith(t, as(1n, 'none'), 'token_invalid');
});

test('who asks counts as bytes of a request, and what is no transaction is bounded as well', async (t) => {
  const { cluster, as, login } = await guarded(t, { size: 1, limits: { requestBytesMax: 2000 } });
  const client = cluster.client(1n);
  const options = await as(1n, await login(1n, 'u'));
  const most = async (caller: CallOptions): Promise<number> => {
    for (let bytes = 2000; bytes > 0; bytes--) {
      const put = client.txn({ success: [opPut(utf8('a'), new Uint8Array(bytes))] }, caller);
      const error: unknown = await cluster.until(put.then(() => null, (failure: unknown) => failure));
      if (error === null) return bytes;
      t.true(isApiError(error, 'request_too_large'));
    }
    return 0;
  };
  t.is(await most({}) - await most(options), 'u'.length + 2 + 2);
  await refusedWith(t, cluster.until(client.changeAuth({ kind: 'role_add', name: 'r'.repeat(70_000) })), 'request_too_large');
});

test('SB6 a token is good for 300 seconds after its last use, and what was never used for as long', async (t) => {
  const { cluster, as, login } = await guarded(t, { size: 1 });
  const [used, unused] = [await login(1n, 'u'), await login(1n, 'u')];
  for (let i = 0; i < 3; i++) {
    await cluster.clock.advance(200_000);
    t.is((await as(1n, used)).caller?.user, 'u');
  }
  await refusedWith(t, as(1n, unused), 'token_invalid');
  // Letters and entries there are, but not together.
  const [letters = '', index = ''] = used.split('.');
  const another = `${unused.split('.')[0]}.${index}`;
  const twisted = used.replace(/^./, (first) => (first === 'A' ? 'B' : 'A'));
  for (const token of ['', 'x', 'x.y', `${used}1`, twisted, another, letters, `.${index}`, 'Bearer x.1']) {
    await refusedWith(t, as(1n, token), 'token_invalid');
  }
  t.is((await as(1n, `Bearer ${used}`)).caller?.user, 'u');
  await cluster.clock.advance(301_000);
  await refusedWith(t, as(1n, used), 'token_invalid');
  await refusedWith(t, as(1n, used), 'token_invalid');
});

test('a member that lags waits until it has the entry a token is from, however many made-up tokens wait beside it', async (t) => {
  const { cluster, login } = await guarded(t);
  const leader = await cluster.leader();
  const behind = cluster.ids.find((id) => id !== leader) ?? 0n;
  cluster.board.onFrame = ({ from, to, frame }) => (from === behind || to === behind ? null : [frame]);
  const token = await login(leader, 'u');
  const began = cluster.clock.now();
  const who = (of: string): Promise<Caller | null> => {
    return Promise.resolve(cluster.client(behind).identify({ token: of, certificateName: null }));
  };
  const madeUp = Array.from({ length: 2000 }, () => refusedWith(t, who(`${'x'.repeat(24)}.1000000`), 'token_invalid'));
  const waiting = who(token);
  await cluster.clock.advance(300);
  t.is(cluster.member(behind).node.store.auth.tokenCount, 0);
  cluster.board.onFrame = ({ frame }) => [frame];
  t.is((await cluster.until(waiting))?.user, 'u');
  await cluster.until(Promise.all(madeUp));
  const waitedMs = cluster.clock.now() - began;
  t.true(waitedMs < 3000, String(waitedMs));
});

test('a made-up token that names an entry to come is refused as soon as nothing is left to catch up with', async (t) => {
  const { cluster, as } = await guarded(t);
  const began = cluster.clock.now();
  for (const id of cluster.ids) await refusedWith(t, as(id, `${'x'.repeat(24)}.1000000`), 'token_invalid');
  const waitedMs = cluster.clock.now() - began;
  t.true(waitedMs < 1000, String(waitedMs));
});

test('a learner, too, waits for the entry a token is from, and no longer than it takes to catch up', async (t) => {
  const { cluster, as, login } = await guarded(t);
  await cluster.clock.advance(HEALTHY_MS);
  const leader = await cluster.leader();
  const { member } = await cluster.until(cluster.client(leader).addMember({ peerUrls: ['http://l:1'], isLearner: true }));
  await cluster.start(member.id, { contacts: cluster.ids.map(record) });
  await cluster.level();
  cluster.board.onFrame = ({ to, frame }) => (to === member.id ? null : [frame]);
  const token = await login(leader, 'u');
  const learner = cluster.client(member.id);
  const waiting = Promise.resolve(learner.identify({ token, certificateName: null }));
  await cluster.clock.advance(100);
  cluster.board.onFrame = ({ frame }) => [frame];
  const caller = await cluster.until(waiting) ?? NOBODY;
  t.true((await cluster.until(learner.status({ caller }))).isLearner);
  const began = cluster.clock.now();
  await refusedWith(t, as(member.id, `${'x'.repeat(24)}.1000000`), 'token_invalid');
  t.true(cluster.clock.now() - began < 1000);
});

test('a member without a leader says that it cannot tell whose a token is, not that it is nobody\'s', async (t) => {
  const { cluster, as, login } = await guarded(t);
  const leader = await cluster.leader();
  const [behind = 0n, other = 0n] = cluster.ids.filter((id) => id !== leader);
  cluster.board.onFrame = ({ from, to, frame }) => (from === behind || to === behind ? null : [frame]);
  const token = await login(other, 'u');
  const began = cluster.clock.now();
  await refusedWith(t, as(behind, token), 'timeout_leader_lost');
  t.true(cluster.clock.now() - began < 12_000);
});

test('SC7 events stop with the entry that takes the right away, and a quiet watch is told within five seconds', async (t) => {
  const { cluster, as, login } = await guarded(t);
  const follower = await cluster.follower();
  const client = cluster.client(follower);
  const token = await login(follower, 'u');
  const options = await as(follower, token);
  const quiet = client.watch({ key: utf8('a1') }, options)[Symbol.asyncIterator]();
  const busy = client.watch({ key: utf8('a'), rangeEnd: utf8('b') }, options)[Symbol.asyncIterator]();
  const ofOwn = client.watch({ key: utf8('a') })[Symbol.asyncIterator]();
  for (const each of [quiet, busy, ofOwn]) await cluster.until(each.next());
  const put = (value: string): Promise<unknown> => cluster.until(client.txn({ success: [opPut(utf8('a'), utf8(value))] }));
  await put('1');
  t.is((await cluster.until(batchOf(busy))).events.length, 1);
  // It waits already, and nothing will ever happen on it.
  const told = refusedWith(t, quiet.next(), 'permission_denied');
  await cluster.until(client.changeAuth({ kind: 'role_delete', name: 'r' }));
  await put('2');
  const began = cluster.clock.now();
  await refusedWith(t, cluster.until<IteratorResult<WatchBatch>>(busy.next()), 'permission_denied');
  await cluster.until(told);
  t.true(cluster.clock.now() - began <= 5000);
  t.is((await cluster.until(batchOf(ofOwn))).events.length, 2);
  const late = client.watch({ key: utf8('a') }, options)[Symbol.asyncIterator]();
  await refusedWith(t, cluster.until<IteratorResult<WatchBatch>>(late.next()), 'permission_denied');
});

test('SC7 very many quiet watches are told within five seconds as well, in slices', async (t) => {
  const { cluster, as, login } = await guarded(t, { size: 1 });
  const client = cluster.client(1n);
  const options = await as(1n, await login(1n, 'u'));
  const { hub } = cluster.member(1n).node;
  const left = new Set<number>();
  const look = (): void => {
    left.add(hub.watcherCount);
    if (hub.watcherCount > 0) cluster.clock.schedule(0, look);
  };
  let told = 0;
  const end = (): void => {
    if (told === 0) look();
    told += 1;
  };
  for (let i = 0; i < 1700; i++) {
    const batches = client.watch({ key: utf8('a1') }, options)[Symbol.asyncIterator]();
    void batches.next().then(() => batches.next()).catch(end);
  }
  await cluster.clock.advance(2000);
  await cluster.until(client.changeAuth({ kind: 'role_delete', name: 'r' }));
  await cluster.clock.advance(5000);
  t.is(told, 1700);
  // Others have their turn in between.
  t.deepEqual([...left], [1200, 700, 200, 0]);
});

test('SB8 who was somebody before users or roles changed begins no watch as such, and loses none that is open', async (t) => {
  const { cluster, as, login } = await guarded(t);
  const client = cluster.client(1n);
  const options = await as(1n, await login(1n, 'root'));
  const open = client.watch({ key: utf8('secret') }, options)[Symbol.asyncIterator]();
  await cluster.until(open.next());
  await cluster.until(client.changeAuth({ kind: 'user_password', name: 'root', password: { plain: 'another' } }));
  const late = client.watch({ key: utf8('secret'), startRevision: 1 }, options)[Symbol.asyncIterator]();
  await refusedWith(t, cluster.until<IteratorResult<WatchBatch>>(late.next()), 'auth_revision_old');
  await cluster.until(client.txn({ success: [opPut(utf8('secret'), utf8('1'))] }));
  t.is((await cluster.until(batchOf(open))).events.length, 1);
});

test('SC11 while a role is taken away under a flood, every member does the same, and nothing is written after it', async (t) => {
  const { cluster, as, login } = await guarded(t);
  const token = await login(1n, 'u');
  const calls: Promise<unknown>[] = [];
  for (let i = 0; i < 200; i++) {
    const id = BigInt(1 + (i % 3));
    const options = await as(id, token);
    calls.push(cluster.client(id).txn({ success: [opPut(utf8(`a${i}`), utf8('1'))] }, options).then(() => 'ok', String));
    const revoke = { kind: 'role_revoke', name: 'r', key: utf8('a'), rangeEnd: utf8('b') } as const;
    if (i === 100) calls.push(cluster.client(2n).changeAuth(revoke));
  }
  const outcomes = await cluster.until(Promise.all(calls));
  t.true(outcomes.filter((each) => each === 'ok').length < 201);
  await cluster.level();
  t.is(new Set(cluster.ids.map((id) => cluster.member(id).node.store.stateHash())).size, 1);
  const { revision } = cluster.member(1n).node.store;
  const late = cluster.client(3n).txn({ success: [opPut(utf8('a'), utf8('2'))] }, await as(3n, token));
  await refusedWith(t, cluster.until(late), 'permission_denied');
  t.is(cluster.member(1n).node.store.revision, revision);
});

test('what a follower asks of its leader is judged by the leader, too', async (t) => {
  const { cluster, as, login } = await guarded(t);
  const follower = await cluster.follower();
  const client = cluster.client(follower);
  const user = await as(follower, await login(follower, 'u'));
  const root = await as(follower, await login(follower, 'root'));
  await refusedWith(t, cluster.until(client.removeMember(9n, user)), 'permission_denied');
  await refusedWith(t, cluster.until(client.removeMember(9n, root)), 'member_not_found');
  // A follower that does not know yet that auth is on, or that this one is no user any more, asks for whom it takes it to be.
  const { desk } = cluster.member(follower).node;
  for (const asker of [NOBODY, { ...NOBODY, user: 'u', authRevision: 1 }] satisfies Caller[]) {
    const said = new Promise<unknown>((resolve) => desk.changeMembers({ kind: 'remove', id: 9n }, asker, resolve));
    t.true(isApiError(await cluster.until(said), asker.user === null ? 'user_empty' : 'permission_denied'));
  }
});

test('SB5 who has no password logs in with none, an empty one is one, and unknown names fail like wrong ones', async (t) => {
  const { cluster } = await guarded(t, { size: 1 });
  const client = cluster.client(1n);
  await cluster.until(client.changeAuth({ kind: 'user_add', name: 'certified', password: null }));
  await cluster.until(client.changeAuth({ kind: 'user_add', name: 'empty', password: { plain: '' } }));
  for (const password of ['', 'x']) {
    await refusedWith(t, cluster.until(client.authenticate('certified', password)), 'auth_without_password');
  }
  t.truthy((await cluster.until(client.authenticate('empty', ''))).token);
  for (const [name, password] of [['empty', 'x'], ['u', ''], ['u', 'U'], ['nobody', ''], ['', '']] as const) {
    await refusedWith(t, cluster.until(client.authenticate(name, password)), 'auth_failed');
  }
  await cluster.until(client.changeAuth({ kind: 'disable' }));
  await refusedWith(t, cluster.until(client.authenticate('u', 'u')), 'auth_disabled');
});

test('SB1 a hash of another cost is replaced when its user logs in, and what is no hash is no password', async (t) => {
  const { cluster, login } = await guarded(t, { size: 1 });
  const { store } = cluster.member(1n).node;
  const [hash, revision] = [store.auth.user('u')?.hash ?? '', store.auth.revision];
  const client = cluster.client(1n);
  const cheaper = { bcrypt: hash.replace('$10$', '$06$') };
  await cluster.until(client.changeAuth({ kind: 'user_add', name: 'old', password: cheaper }));
  const token = (await cluster.until(client.authenticate('old', 'u'))).token;
  await cluster.clock.advance(100);
  t.regex(store.auth.user('old')?.hash ?? '', /^\$2a\$10\$/);
  t.is(store.auth.revision, revision + 1);
  t.is((await cluster.until(Promise.resolve(client.identify({ token, certificateName: null }))))?.user, 'old');
  for (const password of [{ bcrypt: 'plain' }, { plain: 'p'.repeat(73) }]) {
    const change = client.changeAuth({ kind: 'user_add', name: 'x', password });
    await refusedWith(t, cluster.until(change), 'password_unfit');
  }
  t.truthy(await login(1n, 'u'));
});

test('SB9 a certificate\'s name is a user where there is no token, and nobody where there is a bad one', async (t) => {
  const { cluster, login } = await guarded(t, { size: 1 });
  const client = cluster.client(1n);
  const who = async (token: string | null, certificateName: string | null): Promise<string | null | undefined> => {
    return (await cluster.until(Promise.resolve(client.identify({ token, certificateName }))))?.user;
  };
  t.is(await who(null, 'u'), 'u');
  t.is(await who(await login(1n, 'root'), 'u'), 'root');
  t.throws(() => client.identify({ token: 'bad', certificateName: 'u' }));
  t.is(await who(null, null), null);
  const stranger = { caller: { user: 'stranger', authRevision: 99, token: null } };
  await refusedWith(t, cluster.until(client.status(stranger)), 'permission_denied');
});

// What `Client` means: the eight promises of core/client.ts as a suite that every home of the data passes. Each test works
// under a prefix of its own, so that all run against one server at the same time, except for those about compaction.

import type { ExecutionContext, TestFn } from 'ava';
import { OPEN_END, text, utf8 } from '../../core/base/bytes.js';
import * as api from '../../core/client.js';
import { isApiError, type ApiError, type ErrorCode } from '../../core/errors.js';

export interface Home {
  readonly client: api.Client & api.Admin;
  /** Another client of the same data (in process there is only the one). Its `close` may do nothing. */
  another(): api.Client & api.Admin;
  /** A client whose end is its own: the test closes it. Its data may be its own too. */
  closable(): Promise<api.Client & api.Admin>;
  close(): Promise<void>;
}

/** What a home can do; a reason says why it cannot, is printed, and the behaviour without it is tested instead. */
export interface Supports {
  /** `requestProgress` is answered for a watch on which nothing has happened. */
  readonly progressOnRequest: true | string;
}

type Test = (t: ExecutionContext, home: Home, key: (name: string) => Uint8Array) => Promise<void>;

export function clientContract(
  test: TestFn,
  open: (log: (line: string) => void) => Promise<Home | null>,
  supports: Supports,
): void {
  let home: Home | null = null;
  let tests = 0;
  test.before('the home opens', async (t) => {
    home = await open((line) => t.log(line));
    if (home === null) t.log('this home is not here: its contract is not checked');
  });
  test.after.always('the home closes', async () => home?.close());
  const claim = (title: string, run: Test): void => {
    const prefix = `t${tests++}/`;
    test(title, async (t) => {
      if (home === null) {
        t.pass();
        return;
      }
      await run(t, home, (name) => utf8(prefix + name));
    });
  };
  writes(claim);
  reads(claim);
  transactions(claim);
  branches(claim);
  watches(claim);
  patientWatches(claim);
  progress(claim, supports);
  leases(claim);
  endings(claim);
  admin(claim);
  compaction(test, () => home);
}

type Claim = (title: string, run: Test) => void;

async function refused(t: ExecutionContext, promise: Promise<unknown>, code: ErrorCode): Promise<ApiError | null> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (isApiError(error)) {
    t.is(error.code, code);
    return error;
  }
  t.fail(`expected ${code}, got ${String(error)}`);
  return null;
}

/** Reads batches until `enough`, or for ever: the test's time-out judges. */
async function readUntil(watch: api.Watch, enough: (batches: api.WatchBatch[]) => boolean): Promise<api.WatchBatch[]> {
  const batches: api.WatchBatch[] = [];
  for await (const batch of watch) {
    batches.push(batch);
    if (enough(batches)) break;
  }
  return batches;
}

function eventsOf(batches: readonly api.WatchBatch[]): api.Event[] {
  return batches.flatMap((batch) => [...batch.events]);
}

function shown(events: readonly api.Event[]): string[] {
  return events.map(({ kind, kv }) => `${kind} ${text(kv.key).replace(/^.*\//, '')}=${text(kv.value)}`);
}

// Promise 1: a resolved write happened, once; a rejected one says whether it never happened.

function writes(claim: Claim): void {
  claim('a resolved put is there, once, at the revision of its answer', async (t, { client }, key) => {
    const answer = await api.put(client, key('a'), utf8('1'));
    const pair = await api.get(client, key('a'));
    t.is(text(pair?.value ?? OPEN_END), '1');
    t.is(pair?.version, 1);
    t.is(pair?.modRevision, answer.header.revision);
    t.is(pair?.createRevision, answer.header.revision);
    t.is(answer.prevKv, null);
  });
  claim('an overwrite keeps the create revision and can give back what was there', async (t, { client }, key) => {
    const first = await api.put(client, key('a'), utf8('1'));
    const second = await api.put(client, key('a'), utf8('2'), { prevKv: true });
    t.is(text(second.prevKv?.value ?? OPEN_END), '1');
    const pair = await api.get(client, key('a'));
    t.is(pair?.version, 2);
    t.is(pair?.createRevision, first.header.revision);
  });
  claim('a refused write never happened, and says so', async (t, { client }, key) => {
    const cases: [Promise<unknown>, ErrorCode][] = [
      [api.put(client, new Uint8Array(0), utf8('1')), 'key_empty'],
      [api.put(client, key('a'), utf8('1'), { lease: 4711n }), 'lease_not_found'],
      [api.put(client, key('a'), utf8('1'), { ignoreValue: true }), 'value_provided'],
      [api.put(client, key('a'), utf8(''), { ignoreValue: true }), 'key_not_found'],
      [client.txn({ success: [api.opPut(key('a'), utf8('1')), api.opPut(key('a'), utf8('2'))] }), 'duplicate_key'],
      [client.txn({ success: Array.from({ length: 200 }, (_, i) => api.opPut(key(`k${i}`), utf8('1'))) }), 'too_many_ops'],
    ];
    for (const [promise, code] of cases) {
      const error = await refused(t, promise, code);
      t.is(error?.outcome, 'never');
    }
    t.is(await api.get(client, key('a')), null);
  });
  claim('a value that is too large is refused and changes nothing', async (t, { client }, key) => {
    const error = await refused(t, api.put(client, key('a'), new Uint8Array(1_600_000)), 'request_too_large');
    t.is(error?.outcome, 'never');
    t.is(await api.get(client, key('a')), null);
  });
  claim('a delete tells how many and gives them back', async (t, { client }, key) => {
    await api.put(client, key('a'), utf8('1'));
    await api.put(client, key('b'), utf8('2'));
    const answer = await api.del(client, key(''), { ...api.prefixRange(key('')), prevKv: true });
    t.is(answer.deleted, 2);
    t.deepEqual(answer.prevKvs.map(({ value }) => text(value)), ['1', '2']);
    const nothing = await api.del(client, key('a'));
    t.is(nothing.deleted, 0);
    t.true(nothing.header.revision >= answer.header.revision);
  });
  claim('any byte may stand in a key and in a value', async (t, { client }, key) => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    const name = Uint8Array.from([...key(''), ...all]);
    await api.put(client, name, all);
    const pair = await api.get(client, name);
    t.deepEqual([...(pair?.key ?? [])], [...name]);
    t.deepEqual([...(pair?.value ?? [])], [...all]);
  });
}

// Promise 2: reads are linearizable unless the request says serializable.

function reads(claim: Claim): void {
  claim('a read sees every write that was acknowledged before it, whoever wrote', async (t, home, key) => {
    const other = home.another();
    for (let i = 0; i < 20; i++) {
      await api.put(home.client, key('a'), utf8(String(i)));
      t.is(text((await api.get(other, key('a')))?.value ?? OPEN_END), String(i));
    }
    t.is(text((await api.get(other, key('a'), { serializable: true }))?.value ?? OPEN_END).length > 0, true);
    await other.close();
  });
  claim('a range is in key order, is cut by the limit, and counts beyond it', async (t, { client }, key) => {
    for (const name of ['c', 'a', 'b']) await api.put(client, key(name), utf8(name));
    const whole = await client.range(api.prefixRange(key('')));
    t.deepEqual(whole.kvs.map(({ value }) => text(value)), ['a', 'b', 'c']);
    t.false(whole.more);
    const cut = await client.range({ ...api.prefixRange(key('')), limit: 2 });
    t.deepEqual(cut.kvs.map(({ value }) => text(value)), ['a', 'b']);
    t.true(cut.more);
    t.is(cut.count, 3);
    const half = await client.range({ key: key('a'), rangeEnd: key('c') });
    t.is(half.count, 2);
    const upwards = await client.range({ key: key('b'), rangeEnd: OPEN_END });
    t.true(upwards.count >= 2);
  });
  claim('sorting, filters, keys only and count only do what they say', async (t, { client }, key) => {
    for (const [name, value] of [['a', '3'], ['b', '1'], ['c', '2']] as const) await api.put(client, key(name), utf8(value));
    const range = api.prefixRange(key(''));
    const byValue = await client.range({ ...range, sortTarget: 'value', sortOrder: 'descend' });
    t.deepEqual(byValue.kvs.map(({ value }) => text(value)), ['3', '2', '1']);
    const newest = await client.range({ ...range, sortTarget: 'mod', sortOrder: 'descend', limit: 1 });
    t.is(text(newest.kvs[0]?.value ?? OPEN_END), '2');
    const keys = await client.range({ ...range, keysOnly: true });
    t.deepEqual(keys.kvs.map(({ value }) => value.length), [0, 0, 0]);
    const count = await client.range({ ...range, countOnly: true });
    t.deepEqual([count.kvs.length, count.count, count.more], [0, 3, false]);
    const since = newest.kvs[0]?.modRevision ?? 0;
    const filtered = await client.range({ ...range, minModRevision: since });
    t.is(filtered.kvs.length, 1);
    t.is(filtered.count, 3);
  });
  claim('a read at a revision sees the past, and its header the present', async (t, { client }, key) => {
    const { header } = await api.put(client, key('a'), utf8('1'));
    const { header: later } = await api.put(client, key('a'), utf8('2'));
    const past = await client.range({ key: key('a'), revision: header.revision });
    t.is(text(past.kvs[0]?.value ?? OPEN_END), '1');
    t.true(past.header.revision >= later.revision);
    await refused(t, client.range({ key: key('a'), revision: past.header.revision + 1_000_000 }), 'future_revision');
  });
  claim('a limit or a revision as large as numbers go is not an error of the form', async (t, { client }, key) => {
    await api.put(client, key('a'), utf8('1'));
    const all = await client.range({ ...api.prefixRange(key('')), limit: Number.MAX_SAFE_INTEGER });
    t.is(all.kvs.length, 1);
    await refused(t, client.range({ key: key('a'), revision: Number.MAX_SAFE_INTEGER }), 'future_revision');
  });
}

// Promise 3: a transaction is atomic and has one revision.

function transactions(claim: Claim): void {
  claim('writes of a transaction share one revision, and its reads see the writes before them', async (t, { client }, key) => {
    const answer = await client.txn({
      success: [api.opPut(key('a'), utf8('1')), api.opRange(key('a')), api.opPut(key('b'), utf8('2')), api.opDelete(key('c'))],
    });
    const { revision } = answer.header;
    t.is((await api.get(client, key('a')))?.modRevision, revision);
    t.is((await api.get(client, key('b')))?.modRevision, revision);
    const [put, range, , del] = answer.responses;
    t.is(put?.response.revision, revision);
    t.is(range?.kind === 'range' ? text(range.response.kvs[0]?.value ?? OPEN_END) : '', '1');
    t.is(del?.kind === 'delete' ? del.response.deleted : -1, 0);
  });
  claim('every kind of comparison decides the branch', async (t, { client }, key) => {
    const lease = await client.grant(60);
    const { header } = await api.put(client, key('a'), utf8('m'), { lease: lease.id });
    const at = header.revision;
    const holds: [api.Compare, boolean][] = [
      [api.created(key('a'), '=', at), true],
      [api.created(key('none'), '=', 0), true],
      [api.modified(key('a'), '<', at), false],
      [api.modified(key('a'), '>', at - 1), true],
      [api.versionIs(key('a'), '!=', 1), false],
      [api.versionIs(key('a'), '<', Number.MAX_SAFE_INTEGER), true],
      [api.valueIs(key('a'), '=', utf8('m')), true],
      [api.valueIs(key('a'), '>', utf8('l')), true],
      [api.valueIs(key('none'), '!=', utf8('m')), false],
      [api.leaseIs(key('a'), '=', lease.id), true],
      [api.leaseIs(key('a'), '=', 0n), false],
    ];
    for (const [compare, expected] of holds) {
      const answer = await client.txn({ compare: [compare], success: [api.opRange(key('a'))] });
      t.is(answer.succeeded, expected, `${compare.target} ${compare.result} ${String(compare.operand)}`);
    }
    await client.revoke(lease.id);
  });
}

function branches(claim: Claim): void {
  claim('one false comparison among many selects the other branch', async (t, { client }, key) => {
    const answer = await client.txn({
      compare: [api.created(key('a'), '=', 0), api.created(key('a'), '>', 0)],
      success: [api.opPut(key('a'), utf8('yes'))],
      failure: [api.opPut(key('a'), utf8('no')), api.opRange(key('a'))],
    });
    t.false(answer.succeeded);
    t.is(answer.responses.length, 2);
    t.is(text((await api.get(client, key('a')))?.value ?? OPEN_END), 'no');
  });
  claim('a transaction inside a transaction is part of it', async (t, { client }, key) => {
    const inner: api.TxnRequest = {
      compare: [api.created(key('a'), '=', 0)],
      success: [api.opPut(key('b'), utf8('inner'))],
    };
    const answer = await client.txn({ success: [api.opPut(key('a'), utf8('outer')), api.opTxn(inner)] });
    const [, nested] = answer.responses;
    t.true(nested?.kind === 'txn' && nested.response.succeeded);
    t.is((await api.get(client, key('b')))?.modRevision, (await api.get(client, key('a')))?.modRevision);
  });
  claim('a transaction that writes nothing makes no revision', async (t, home, key) => {
    const before = await api.put(home.client, key('a'), utf8('1'));
    const empty = await home.client.txn({});
    t.true(empty.succeeded);
    t.deepEqual(empty.responses, []);
    t.true(empty.header.revision >= before.header.revision);
    const again = await api.get(home.client, key('a'));
    t.is(again?.modRevision, before.header.revision);
  });
  claim('counters raised by compare and put from two clients lose nothing', async (t, home, key) => {
    const other = home.another();
    const raise = async (client: api.Client): Promise<void> => {
      for (;;) {
        const pair = await api.get(client, key('n'));
        const compare = [api.modified(key('n'), '=', pair?.modRevision ?? 0)];
        const next = utf8(String(Number(pair === null ? '0' : text(pair.value)) + 1));
        if ((await client.txn({ compare, success: [api.opPut(key('n'), next)] })).succeeded) return;
      }
    };
    await Promise.all(Array.from({ length: 20 }, (_, i) => raise(i % 2 === 0 ? home.client : other)));
    t.is(text((await api.get(home.client, key('n')))?.value ?? OPEN_END), '20');
    await other.close();
  });
}

// Promise 4: a watch yields every event from its start revision, ascending, none twice, a revision never split.

function watches(claim: Claim): void {
  claim('a watch says when it has taken hold, then yields every change', async (t, { client }, key) => {
    const watch = client.watch({ ...api.prefixRange(key('')), prevKv: true });
    const batches = await readUntil(watch, (got) => {
      if (got.length === 1) {
        void api
          .put(client, key('a'), utf8('1'))
          .then(() => api.put(client, key('a'), utf8('2')))
          .then(() => api.del(client, key('a')));
      }
      return eventsOf(got).length === 3;
    });
    t.is(batches[0]?.kind, 'created');
    const events = eventsOf(batches);
    t.deepEqual(shown(events), ['put a=1', 'put a=2', 'delete a=']);
    t.deepEqual(events.map(({ prevKv }) => (prevKv === null ? null : text(prevKv.value))), [null, '1', '2']);
    const revisions = events.map(({ kv }) => kv.modRevision);
    t.deepEqual(revisions, [...revisions].sort((a, b) => a - b));
  });
  claim('a transaction arrives whole, in the order of its operations', async (t, { client }, key) => {
    const { header } = await api.put(client, key('z'), utf8('0'));
    const ops = ['b', 'a', 'c'].map((name) => api.opPut(key(name), utf8(name)));
    await client.txn({ success: ops });
    const watch = client.watch({ ...api.prefixRange(key('')), startRevision: header.revision + 1 });
    const batches = await readUntil(watch, (got) => eventsOf(got).length >= 3);
    const events = batches.filter(({ kind }) => kind === 'events');
    t.is(events.length, 1);
    t.deepEqual(shown(eventsOf(events)), ['put b=b', 'put a=a', 'put c=c']);
  });
  claim('history replays from a start revision and runs on into the present without a seam', async (t, { client }, key) => {
    const { header } = await api.put(client, key('k0'), utf8('0'));
    for (let i = 1; i < 40; i++) await api.put(client, key(`k${i}`), utf8(String(i)));
    const watch = client.watch({ ...api.prefixRange(key('')), startRevision: header.revision });
    const writing = (async () => {
      for (let i = 40; i < 80; i++) await api.put(client, key(`k${i}`), utf8(String(i)));
    })();
    const batches = await readUntil(watch, (got) => eventsOf(got).length >= 80);
    await writing;
    t.deepEqual(eventsOf(batches).map(({ kv }) => text(kv.value)), Array.from({ length: 80 }, (_, i) => String(i)));
  });
}

function patientWatches(claim: Claim): void {
  claim('nothing below a future start revision is delivered', async (t, { client }, key) => {
    const { header } = await api.put(client, key('a'), utf8('0'));
    const watch = client.watch({ key: key('a'), startRevision: header.revision + 1_000_000 });
    const iterator = watch[Symbol.asyncIterator]();
    t.is((await iterator.next()).done === true ? '' : 'created', 'created');
    await api.put(client, key('a'), utf8('1'));
    const quiet = await Promise.race([
      iterator.next().then(() => 'event'),
      new Promise((resolve) => setTimeout(() => resolve('quiet'), 200)),
    ]);
    t.is(quiet, 'quiet');
    watch.close();
  });
  claim('excluded kinds are left out', async (t, { client }, key) => {
    const { header } = await api.put(client, key('a'), utf8('1'));
    await api.del(client, key('a'));
    await api.put(client, key('a'), utf8('2'));
    const watch = client.watch({ key: key('a'), startRevision: header.revision, exclude: ['put'] });
    const batches = await readUntil(watch, (got) => eventsOf(got).length >= 1);
    t.deepEqual(shown(eventsOf(batches)), ['delete a=']);
  });
  claim('a reader that takes its time loses nothing', async (t, { client }, key) => {
    const watch = client.watch(api.prefixRange(key('')));
    const iterator = watch[Symbol.asyncIterator]();
    await iterator.next();
    const value = new Uint8Array(100_000);
    for (let i = 0; i < 80; i++) await api.put(client, key(`k${i}`), value);
    const seen: string[] = [];
    while (seen.length < 80) {
      const result = await iterator.next();
      if (result.done === true) break;
      for (const { kv } of result.value.events) seen.push(text(kv.key).replace(/^.*\//, ''));
    }
    t.deepEqual(seen, Array.from({ length: 80 }, (_, i) => `k${i}`));
    watch.close();
  });
}

function progress(claim: Claim, supports: Supports): void {
  if (supports.progressOnRequest === true) {
    claim('a quiet watch tells on request how far it is', async (t, { client }, key) => {
      const watch = client.watch({ key: key('quiet') });
      const { header } = await api.put(client, key('other'), utf8('1'));
      const batches = await readUntil(watch, (got) => {
        if (got.length === 1) watch.requestProgress();
        return got.at(-1)?.kind === 'progress';
      });
      t.true((batches.at(-1)?.header.revision ?? 0) >= header.revision);
    });
  } else {
    const reason = supports.progressOnRequest;
    claim('a doubtful answer about progress is not passed on', async (t, { client }, key) => {
      t.log(reason);
      const watch = client.watch({ key: key('quiet') });
      const iterator = watch[Symbol.asyncIterator]();
      await iterator.next();
      await api.put(client, key('other'), utf8('1'));
      watch.requestProgress();
      const next = iterator.next();
      const first = await Promise.race([next, new Promise((resolve) => setTimeout(() => resolve('nothing'), 300))]);
      t.is(first, 'nothing');
      await api.put(client, key('quiet'), utf8('1'));
      const result = await next;
      t.is(result.done === true ? '' : result.value.kind, 'events');
      watch.close();
    });
  }
}

// Promises 5 and 6: keys on a lease go together and not early; a dead lease is an answer, not an error.

function leases(claim: Claim): void {
  claim('keys on a lease go together when it is revoked', async (t, { client }, key) => {
    const lease = await client.grant(60);
    for (const name of ['b', 'a']) await api.put(client, key(name), utf8('x'), { lease: lease.id });
    const info = await client.leaseInfo(lease.id, { keys: true });
    t.is(info.grantedTtlSeconds, 60);
    t.is(info.keys.length, 2);
    const before = await client.range({ key: key('a') });
    await client.revoke(lease.id);
    const watch = client.watch({ ...api.prefixRange(key('')), startRevision: before.header.revision + 1 });
    const batches = await readUntil(watch, (got) => eventsOf(got).length >= 2);
    t.is(batches.filter(({ kind }) => kind === 'events').length, 1);
    t.deepEqual(shown(eventsOf(batches)), ['delete a=', 'delete b=']);
    await refused(t, client.revoke(lease.id), 'lease_not_found');
  });
  claim('keys on a lease outlive its last acknowledged renewal by its TTL, and then go', async (t, { client }, key) => {
    const lease = await client.grant(2);
    await api.put(client, key('a'), utf8('x'), { lease: lease.id });
    await new Promise((resolve) => setTimeout(resolve, 700));
    const renewedAt = performance.now();
    const renewed = await client.keepAlive(lease.id);
    t.is(renewed.ttlSeconds, lease.ttlSeconds);
    const watch = client.watch({ key: key('a') });
    const batches = await readUntil(watch, (got) => eventsOf(got).length >= 1);
    const livedMs = performance.now() - renewedAt;
    t.deepEqual(shown(eventsOf(batches)), ['delete a=']);
    t.true(livedMs >= lease.ttlSeconds * 1000, `gone after ${livedMs} ms`);
    t.true(livedMs < lease.ttlSeconds * 1000 + 15_000, `gone only after ${livedMs} ms`);
    t.is((await client.keepAlive(lease.id)).ttlSeconds, 0);
  });
  claim('keepAlive of a dead lease resolves with 0', async (t, { client }) => {
    t.is((await client.keepAlive(123456789n)).ttlSeconds, 0);
    const lease = await client.grant(60);
    await client.revoke(lease.id);
    t.is((await client.keepAlive(lease.id)).ttlSeconds, 0);
  });
  claim('many keep-alives at once each get their own answer', async (t, { client }) => {
    const short = await client.grant(30);
    const long = await client.grant(90);
    const asked = Array.from({ length: 20 }, () => [short.id, long.id, 999n]).flat();
    const answers = await Promise.all(asked.map((id) => client.keepAlive(id)));
    const ttls = new Map([
      [short.id, 30],
      [long.id, 90],
    ]);
    t.deepEqual(answers.map(({ ttlSeconds }) => ttlSeconds), asked.map((id) => ttls.get(id) ?? 0));
    await client.revoke(short.id);
    await client.revoke(long.id);
  });
  claim('keep-alives asked for together are answered in their order, and refused together', async (t, { client }) => {
    const [short, long] = [await client.grant(30), await client.grant(90)];
    const { header, ttlSeconds } = await client.keepAliveAll([long.id, 999n, short.id, long.id]);
    t.deepEqual(ttlSeconds, [90, 0, 30, 90]);
    t.true(header.revision > 0);
    await client.revoke(short.id);
    t.deepEqual((await client.keepAliveAll([short.id, long.id])).ttlSeconds, [0, 90]);
    await client.revoke(long.id);
  });
  claim('a lease may be given a name, once', async (t, { client }) => {
    const id = BigInt(Math.floor(Math.random() * 2 ** 48)) + 2n ** 60n;
    t.is((await client.grant(60, { id })).id, id);
    await refused(t, client.grant(60, { id }), 'lease_exists');
    await refused(t, client.grant(9_000_000_001), 'lease_ttl_too_large');
    t.is((await client.grant(0)).ttlSeconds > 0, true);
    await client.revoke(id);
  });
}

// Promises 7 and 8: aborting and closing.

function endings(claim: Claim): void {
  claim('an aborted call rejects with canceled at once, and a write is then unknown', async (t, { client }, key) => {
    const signal = AbortSignal.abort();
    const error = await refused(t, api.put(client, key('a'), utf8('1'), { signal }), 'canceled');
    t.is(error?.outcome, 'unknown');
    const later = new AbortController();
    const pending = api.put(client, key('b'), utf8('1'), { signal: later.signal });
    later.abort();
    const result = await pending.then(() => null, (reason: unknown) => reason);
    t.true(result === null || isApiError(result, 'canceled'));
  });
  claim('an aborted watch rejects with canceled', async (t, { client }, key) => {
    const abort = new AbortController();
    const watch = client.watch({ key: key('a') }, { signal: abort.signal });
    await refused(t, readUntil(watch, () => {
      abort.abort();
      return false;
    }), 'canceled');
  });
  claim('a closed watch ends', async (t, { client }, key) => {
    const watch = client.watch({ key: key('a') });
    const batches = await readUntil(watch, () => {
      watch.close();
      return false;
    });
    t.is(batches.length, 1);
  });
  claim('after close every call rejects with closed and iterators end', async (t, home, key) => {
    const client = await home.closable();
    await api.put(client, key('a'), utf8('1'));
    const watch = client.watch({ key: key('a') });
    const reading = readUntil(watch, () => false);
    await client.range({ key: key('a') });
    await client.close();
    await reading;
    await refused(t, client.range({ key: key('a') }), 'closed');
    await refused(t, api.put(client, key('a'), utf8('2')), 'closed');
    await refused(t, client.grant(10), 'closed');
    await refused(t, client.keepAlive(1n), 'closed');
    t.deepEqual(await readUntil(client.watch({ key: key('a') }), () => false), []);
    await client.close();
  });
}

// Admin: what etcd's API has beyond the promises.

function admin(claim: Claim): void {
  claim('every answer names the same cluster and member', async (t, { client }, key) => {
    const { header } = await api.put(client, key('a'), utf8('1'));
    const status = await client.status();
    const members = await client.members();
    t.is(status.header.clusterId, header.clusterId);
    t.is(members.header.clusterId, header.clusterId);
    t.is(members.header.revision, 0);
    t.true(members.members.some(({ id }) => id === header.memberId));
    t.true(members.members.some(({ id }) => id === status.leader));
    t.true(status.raftIndex >= status.raftAppliedIndex - 1 && status.raftTerm > 0);
    t.regex(status.version, /^\d+\.\d+\.\d+$/);
  });
  claim('leases are listed, and one that is not there has -1 seconds left', async (t, { client }) => {
    const lease = await client.grant(60);
    t.true((await client.leases()).ids.includes(lease.id));
    const gone = await client.leaseInfo(424242n);
    t.deepEqual([gone.ttlSeconds, gone.grantedTtlSeconds, gone.keys.length], [-1, 0, 0]);
    await client.revoke(lease.id);
  });
}

/** Runs alone and before the others: what it compacts away they might still be reading. */
function compaction(test: TestFn, home: () => Home | null): void {
  test.serial('what was compacted is refused, with the revision to go on from', async (t) => {
    const client = home()?.client;
    if (client === undefined) {
      t.pass();
      return;
    }
    const key = utf8('compaction/a');
    const first = await api.put(client, key, utf8('1'));
    await api.put(client, key, utf8('2'));
    const third = await api.put(client, key, utf8('3'));
    await client.compact(third.header.revision);
    await refused(t, client.range({ key, revision: first.header.revision }), 'compacted');
    await refused(t, client.compact(third.header.revision), 'compacted');
    await refused(t, client.compact(third.header.revision + 1_000_000), 'future_revision');
    const at = await client.range({ key, revision: third.header.revision });
    t.is(text(at.kvs[0]?.value ?? OPEN_END), '3');
    const late = client.watch({ key, startRevision: first.header.revision });
    const error = await refused(t, readUntil(late, () => false), 'compacted');
    t.is(error?.compactRevision, third.header.revision);
  });
}

// Transactions that read and write as if alone, on a simulated clock and in bad weather; a naive account book judges.

import test from 'ava';
import type { ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { del, get, opPut, put } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { Session, SessionLost } from '../../recipes/session.js';
import type { Transaction } from '../../recipes/stm.js';
import { stm, StmConflict } from '../../recipes/stm.js';
import { haunted } from './ghosts.js';
import { Weather } from './weather.js';
import type { World } from './world.js';
import { keysUnder, world } from './world.js';

const number = (value: Uint8Array | null): number => (value === null ? 0 : Number(text(value)));

async function read(w: World, key: string): Promise<string | null> {
  const kv = await w.clock.until(get(w.store, utf8(key)));
  return kv === null ? null : text(kv.value);
}

async function set(w: World, key: string, value: string): Promise<void> {
  await w.clock.until(put(w.store, utf8(key), utf8(value)));
}

test('what is read is the state at one revision, whatever others write meanwhile', async (t) => {
  const w = await world(1);
  await set(w, 'a', '1');
  await set(w, 'b', '1');
  let runs = 0;
  const seen: string[] = [];
  await w.clock.until(stm(w.store, async (tx) => {
    runs += 1;
    const a = number(await tx.get('a'));
    if (runs === 1) await w.store.txn({ success: [opPut(utf8('a'), utf8('2')), opPut(utf8('b'), utf8('2'))] });
    seen.push(`${a} ${number(await tx.get('b'))}`);
    tx.put('sum', String(a + number(await tx.get('b'))));
  }, { clock: w.clock }));
  t.deepEqual(seen, ['1 1', '2 2'], 'the first run saw the old state of both, and had to run again');
  t.is(await read(w, 'sum'), '4');
  await w.end();
});

test('a transaction sees its own writes, in keys and in ranges', async (t) => {
  const w = await world(1);
  for (const key of ['p/a', 'p/b', 'p/c']) await set(w, key, 'old');
  const link = w.link();
  await w.clock.until(stm(link, async (tx) => {
    tx.put('p/b', 'new');
    tx.put('p/bb', 'added');
    tx.delete('p/a');
    t.is(text(await tx.get('p/b') ?? utf8('')), 'new');
    t.is(await tx.get('p/a'), null);
    t.is(link.sent.range, 0, 'which need not be asked of the store, nor compared');
    const all = await tx.range({ prefix: 'p/' });
    t.deepEqual(all.map(({ key, value }) => `${text(key)} ${text(value)}`), ['p/b new', 'p/bb added', 'p/c old']);
    const two = await tx.range({ prefix: 'p/' }, { limit: 2 });
    t.deepEqual(two.map(({ key }) => text(key)), ['p/b', 'p/bb']);
  }));
  t.deepEqual((await w.clock.until(keysUnder(w.store, 'p/'))).map(({ key }) => text(key)), ['p/b', 'p/bb', 'p/c']);
  await w.end();
});

test('one that only reads needs no commit and never conflicts', async (t) => {
  const w = await world(1);
  await set(w, 'a', '1');
  const link = w.link();
  const value = await w.clock.until(stm(link, async (tx) => {
    const before = number(await tx.get('a'));
    await w.store.txn({ success: [{ kind: 'put', request: { key: utf8('a'), value: utf8('9') } }] });
    return before + number(await tx.get('a'));
  }, { clock: w.clock }));
  t.is(value, 2);
  t.is(link.sent.txn, 0);
  await w.end();
});

/** Does `meddle` between the first run's reads and its commit; how often the code ran. */
async function runsWith(w: World, work: (tx: Transaction) => Promise<void>, meddle: () => Promise<unknown>): Promise<number> {
  let runs = 0;
  await w.clock.until(stm(w.store, async (tx) => {
    runs += 1;
    await work(tx);
    if (runs === 1) await meddle();
    tx.put('done', String(runs));
  }, { clock: w.clock }));
  return runs;
}

test('what the code reads side by side is read at once, and makes Node warn of nothing', async (t) => {
  const w = await world(1);
  const warnings: string[] = [];
  const warn = (warning: Error): void => void warnings.push(warning.message);
  process.on('warning', warn);
  const before = w.clock.now();
  const link = w.link();
  link.answerMs = () => 100;
  const found = await w.clock.until(stm(link, (tx) => {
    return Promise.all(Array.from({ length: 40 }, (_, i) => tx.get(`k${i}`)));
  }, { clock: w.clock }));
  await w.clock.advance(1);
  process.off('warning', warn);
  t.is(found.length, 40);
  t.true(w.clock.now() - before <= 201, 'the first read, and then all others');
  t.deepEqual(warnings, []);
  await w.end();
});

test('absent keys and whole ranges count as read: what appears, changes or goes in them makes it run again', async (t) => {
  const w = await world(1);
  const range = async (tx: Transaction): Promise<void> => void await tx.range({ prefix: 'r/' });
  const first = async (tx: Transaction): Promise<void> => void await tx.range({ prefix: 'r/' }, { limit: 1 });
  const absent = async (tx: Transaction): Promise<void> => void await tx.get('absent');
  const write = (key: string) => () => put(w.store, utf8(key), utf8('x'));
  const remove = (key: string) => () => del(w.store, utf8(key));
  await set(w, 'r/a', '1');
  await set(w, 'r/b', '1');
  t.is(await runsWith(w, range, write('other')), 1);
  t.is(await runsWith(w, range, write('r/aa')), 2, 'a new pair in the range');
  t.is(await runsWith(w, range, write('r/b')), 2, 'a changed pair');
  t.is(await runsWith(w, range, remove('r/aa')), 2, 'a pair that goes');
  t.is(await runsWith(w, range, async () => {
    await del(w.store, utf8('r/b'));
    await put(w.store, utf8('r/b'), utf8('x'));
  }), 2, 'a pair that goes and comes again');
  t.is(await runsWith(w, first, write('r/b')), 1, 'what lies behind the limit was not read');
  t.is(await runsWith(w, first, write('r/0')), 2, 'what lies before the last one found was');
  t.is(await runsWith(w, async (tx) => void await tx.range({ prefix: 'none/' }), write('none/a')), 2, 'an empty range');
  t.is(await runsWith(w, absent, write('absent')), 2, 'an absent key');
  await w.end();
});

test('write skew is refused: two who each read what the other writes do not both succeed on old reads', async (t) => {
  const w = await world(1);
  await set(w, 'on-call/a', 'yes');
  await set(w, 'on-call/b', 'yes');
  const leave = (who: string): Promise<boolean> => stm(w.link(), async (tx) => {
    const others = (await tx.range({ prefix: 'on-call/' })).filter(({ key }) => text(key) !== `on-call/${who}`);
    await new Promise<void>((resolve) => {
      w.clock.schedule(10, resolve);
    });
    if (others.length === 0) return false;
    tx.delete(`on-call/${who}`);
    return true;
  }, { clock: w.clock });
  const left = await w.clock.until(Promise.all([leave('a'), leave('b')]));
  t.is(left.filter(Boolean).length, 1);
  t.is((await w.clock.until(keysUnder(w.store, 'on-call/'))).length, 1);
  await w.end();
});

test('lasting contention ends with a typed error, after as many runs as were allowed, and nothing is written', async (t) => {
  const w = await world(1);
  let runs = 0;
  const failing = stm(w.store, async (tx) => {
    runs += 1;
    await tx.get('hot');
    await put(w.store, utf8('hot'), utf8(String(runs)));
    tx.put('done', '1');
  }, { clock: w.clock, attemptsMax: 7 });
  const error = await t.throwsAsync(w.clock.until(failing), { instanceOf: StmConflict });
  t.is(error.code, 'stm_conflict');
  t.is(error.attempts, 7);
  t.is(runs, 7);
  t.is(await read(w, 'done'), null);
  await w.end();
});

test('what the code throws ends it with nothing written; so do an abort and a time-out, also while the code waits', async (t) => {
  const w = await world(1);
  const own = new Error('no');
  t.is(await t.throwsAsync(w.clock.until(stm(w.store, async (tx) => {
    tx.put('a', '1');
    await tx.get('b');
    throw own;
  }))), own);
  const forever = (tx: Transaction): Promise<void> => new Promise(() => tx.put('a', '1'));
  const late = stm(w.store, forever, { clock: w.clock, timeoutMs: 100 });
  await t.throwsAsync(w.clock.until(late), { instanceOf: ApiError, message: /deadline/ });
  const control = new AbortController();
  const aborted = stm(w.store, forever, { clock: w.clock, signal: control.signal });
  w.clock.schedule(10, () => control.abort());
  await t.throwsAsync(w.clock.until(aborted), { instanceOf: ApiError, message: /canceled/ });
  let kept: Transaction | null = null;
  await w.clock.until(stm(w.store, (tx) => void (kept = tx)));
  t.throws(() => kept?.put('a', '1'), { instanceOf: ApiError, message: /over/ });
  t.is(await read(w, 'a'), null);
  await w.end();
});

test('a put on a lease that is gone is refused, and the session lives', async (t) => {
  const w = await world(1);
  const session = await w.clock.until(Session.open(w.link(), { ttlSeconds: 10, clock: w.clock }));
  const failing = stm(session, (tx) => tx.put('a', '1', { lease: 77n }));
  await t.throwsAsync(w.clock.until(failing), { message: /lease not found/ });
  await w.clock.advance(1_000);
  t.true(session.live);
  await w.clock.until(stm(session, (tx) => tx.put('a', '1', { lease: session.lease })));
  await w.clock.until(session.close());
  t.is(await read(w, 'a'), null);
  await w.end();
});

test('a revision that was compacted meanwhile makes it run again, from a newer one', async (t) => {
  const w = await world(1);
  await set(w, 'a', '1');
  let runs = 0;
  await w.clock.until(stm(w.store, async (tx) => {
    runs += 1;
    await tx.get('a');
    if (runs === 1) {
      const { header } = await put(w.store, utf8('b'), utf8('2'));
      await w.store.compact(header.revision);
    }
    tx.put('c', text(await tx.get('b') ?? utf8('')));
  }, { clock: w.clock }));
  t.is(runs, 2);
  t.is(await read(w, 'c'), '2');
  await w.end();
});

test('on a session a lost answer is settled, on a client alone it is told: never done twice', async (t) => {
  const w = await world(1);
  for (const fate of ['unanswered', 'unsent', 'late'] as const) {
    const link = w.link();
    let spared = 0;
    const client = haunted(link, w.clock, ({ success = [] }) => {
      const commits = success.some(({ kind, request }) => kind === 'put' && 'key' in request && text(request.key) === 'n');
      if (!commits || (spared += 1) > 1) return { kind: 'normal' };
      return fate === 'late' ? { kind: 'late', delayMs: 3_000 } : { kind: fate };
    });
    await set(w, 'n', '0');
    const increment = async (tx: Transaction): Promise<void> => tx.put('n', String(number(await tx.get('n')) + 1));
    const session = await w.clock.until(Session.open(client, { ttlSeconds: 10, clock: w.clock }));
    await w.clock.until(stm(session, increment));
    await w.clock.advance(5_000);
    t.is(await read(w, 'n'), '1', fate);
    spared = 0;
    const error = await t.throwsAsync(w.clock.until(stm(client, increment, { clock: w.clock })), { instanceOf: ApiError });
    t.is(error.outcome, 'unknown');
    await w.clock.advance(5_000);
    t.is(await read(w, 'n'), fate === 'unsent' ? '1' : '2', `${fate}: done once or never, as it said`);
    await w.clock.until(session.close());
  }
  t.deepEqual(await w.clock.until(keysUnder(w.store, 'coterie/')), []);
  await w.end();
});

test('a late write that read nothing cannot land after it was settled, over what others wrote since', async (t) => {
  const w = await world(1);
  let spared = 0;
  const client = haunted(w.link(), w.clock, ({ success = [] }) => {
    const commits = success.some(({ kind, request }) => kind === 'put' && 'key' in request && text(request.key) === 'x');
    return commits && (spared += 1) === 1 ? { kind: 'late', delayMs: 3_000 } : { kind: 'normal' };
  });
  const session = await w.clock.until(Session.open(client, { ttlSeconds: 10, clock: w.clock }));
  await w.clock.until(stm(session, (tx) => tx.put('x', 'ours')));
  await set(w, 'x', 'theirs, later');
  await w.clock.advance(5_000);
  t.is(await read(w, 'x'), 'theirs, later');
  await w.end();
});

test('a session that is lost while a commit is on its way says that the outcome is unknown', async (t) => {
  const w = await world(1);
  const link = w.link();
  const session = await w.clock.until(Session.open(link, { ttlSeconds: 3, clock: w.clock }));
  const working = stm(session, async (tx) => {
    await tx.get('n');
    link.freeze();
    tx.put('n', '1');
  });
  const error = await t.throwsAsync(w.clock.until(working), { instanceOf: ApiError });
  t.is(error.outcome, 'unknown');
  t.true(error.cause instanceof SessionLost);
  t.is(await t.throwsAsync(w.clock.until(stm(session, () => 1))), session.signal.reason, 'nothing begins on it any more');
  await w.clock.advance(2_000);
  link.thaw();
  await w.clock.advance(5_000);
  t.is(await read(w, 'n'), null, 'its receipt stands on a lease that is gone, so it could not land');
  await w.end();
});

const ACCOUNTS = 5;
const START = 100;

/** Transfers random amounts until it is over; each leaves a line in its own book, in the same transaction. */
async function teller(
  weather: Weather,
  client: Client,
  id: number,
  over: () => boolean,
): Promise<{ sure: number; unsure: number }> {
  const { w } = weather;
  const done = { sure: 0, unsure: 0 };
  for (let serial = 0; !over(); ) {
    try {
      await using session = await Session.open(client, { ttlSeconds: 4, clock: w.clock, timeoutMs: 3_000 });
      while (!over() && session.live) {
        serial += 1;
        const [from, to, amount] = [w.prng.below(ACCOUNTS), w.prng.below(ACCOUNTS), 1 + w.prng.below(20)];
        try {
          await stm(session, async (tx) => {
            const all = await tx.range({ prefix: 'accounts/' });
            const [a, b] = [number(await tx.get(`accounts/${from}`)), number(await tx.get(`accounts/${to}`))];
            if (all.reduce((sum, { value }) => sum + number(value), 0) !== ACCOUNTS * START) throw new Error('a torn read');
            if (from === to || a < amount) return;
            tx.put(`accounts/${from}`, String(a - amount));
            tx.put(`accounts/${to}`, String(b + amount));
            tx.put(`book/${id}/${serial}`, `${from} ${to} ${amount}`);
            tx.put(`count/${id}`, String(number(await tx.get(`count/${id}`)) + 1));
          }, w.prng.below(3) === 0 ? { timeoutMs: w.prng.below(400) } : { timeoutMs: 20_000 });
          done.sure += 1;
        } catch (error) {
          if (!(error instanceof ApiError || error instanceof SessionLost || error instanceof StmConflict)) throw error;
          done.unsure += 1;
        }
        await weather.sleep(w.prng.below(30));
      }
    } catch (error) {
      if (!(error instanceof ApiError || error instanceof SessionLost)) throw error;
      await weather.sleep(50);
    }
  }
  return done;
}

async function bank(t: ExecutionContext, seed: number): Promise<void> {
  const w = await world(seed);
  for (let i = 0; i < ACCOUNTS; i += 1) await set(w, `accounts/${i}`, String(START));
  const weather = new Weather(w);
  let over = false;
  const tellers = Array.from({ length: 5 }, (_, id) => teller(weather, weather.client(), id, () => over));
  await weather.blow(15_000);
  await w.clock.advance(3_000);
  over = true;
  const done = await w.clock.until(Promise.all(tellers), 60_000);
  await w.clock.advance(10_000);
  const accounts = await w.clock.until(keysUnder(w.store, 'accounts/'));
  const balances = accounts.map(({ value }) => number(value));
  t.is(balances.reduce((sum, value) => sum + value, 0), ACCOUNTS * START);
  t.true(balances.every((value) => value >= 0));
  // The books, replayed: every transfer that was done was done exactly once.
  const books = await w.clock.until(keysUnder(w.store, 'book/'));
  const replayed = Array.from({ length: ACCOUNTS }, () => START);
  for (const { value, version } of books) {
    const [from = 0, to = 0, amount = 0] = text(value).split(' ').map(Number);
    replayed[from] = (replayed[from] ?? 0) - amount;
    replayed[to] = (replayed[to] ?? 0) + amount;
    t.is(version, 1, 'no transfer was done twice');
  }
  t.deepEqual(balances, replayed);
  const counts = (await w.clock.until(keysUnder(w.store, 'count/'))).map(({ value }) => number(value));
  t.is(counts.reduce((sum, value) => sum + value, 0), books.length);
  t.deepEqual((await w.clock.until(keysUnder(w.store, 'coterie/'))).map(({ key }) => text(key)), []);
  t.log({ transfers: books.length, done });
  t.true(books.length > 50);
  await w.end();
}

for (const seed of [1, 2, 3]) {
  test(`random transfers in bad weather conserve the sum, and each is done once or never, seed ${seed}`, (t) => bank(t, seed));
}

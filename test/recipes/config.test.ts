// The configuration centre on a simulated clock, a bad network and a disk that loses power. The same claims against real
// servers are in config-homes.test.ts. Each test's id is the one its requirement has in the design.

import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { whenDone } from '../../core/base/done.js';
import type { Client, WatchBatch } from '../../core/client.js';
import { del, get, prefixRange, put } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import { ConfigSpace } from '../../recipes/config.js';
import type { ConfigOptions, ConfigRecord } from '../../recipes/config.js';
import type { ConfigChange, ConfigEvent, ConfigFollower, ConfigFollowOptions } from '../../recipes/config-follower.js';
import { ConfigAbsent, ConfigConflict, ConfigInvalid, placeOf } from '../../recipes/config-names.js';
import type { SnapshotOptions } from '../../recipes/config-snapshot.js';
import { readSnapshot, SnapshotRefused, writeSnapshot } from '../../recipes/config-snapshot.js';
import { SimDisk } from '../sim/disk.js';
import { haunted } from './ghosts.js';
import type { World } from './world.js';
import { keysUnder, switching, world } from './world.js';

const ROOT = 'coterie/config/app/';

type Settings = Readonly<Record<string, number>>;

/** Every setting is a number; an empty configuration is one as well, if somebody publishes it. */
function parse(value: unknown): Settings {
  if (typeof value !== 'object' || value === null) throw new Error('give an object');
  const entries = Object.entries(value);
  for (const [key, each] of entries) if (typeof each !== 'number') throw new Error(`${key} is ${String(each)}; give a number`);
  return Object.fromEntries(entries);
}

function space(w: World, client: Client, options: Partial<ConfigOptions<Settings>> = {}): ConfigSpace<Settings> {
  return new ConfigSpace(client, 'app', { parse, clock: w.clock, ...options });
}

async function following(
  w: World,
  client: Client,
  options: Omit<ConfigFollowOptions, 'clock'> = {},
): Promise<ConfigFollower<Settings>> {
  return w.clock.until(space(w, client).follow(options).ready({ timeoutMs: 60_000 }));
}

/** The same rules, for values of any type. */
function anyway(w: World): ConfigSpace<unknown> {
  return new ConfigSpace<unknown>(w.link(), 'app', { parse, clock: w.clock });
}

/** 50 settings of one publication. */
function fifty(value: number): Settings {
  return Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`key${i}`, value]));
}

async function all<T>(w: World, items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  const read = async (): Promise<void> => {
    for await (const item of items) found.push(item);
  };
  await w.clock.until(read());
  return found;
}

test('C1 empty: nothing was published, it was removed, the store is away, or it is meant to be', async (t) => {
  const w = await world(1);
  const link = w.link();
  const app = space(w, link);
  const early = app.follow();
  const error = await t.throwsAsync(w.clock.until(early.ready({ timeoutMs: 2_000 })), { instanceOf: ApiError });
  t.true(error.cause instanceof ConfigAbsent && error.cause.reason === 'missing');
  t.throws(() => early.current, { instanceOf: ConfigAbsent });
  await w.clock.until(app.publish({ a: 1 }, { expect: 0 }));
  await w.clock.until(app.publish({}, { expect: 1 }));
  await w.clock.advance(100);
  t.deepEqual(early.current, {}, 'empty on purpose is a configuration like any other');
  t.is(early.problem, null);
  await w.clock.until(app.publish({ a: 3 }, { expect: 2 }));
  await w.clock.until(del(w.store, utf8(`${ROOT}current`)));
  await w.clock.advance(100);
  t.deepEqual(early.current, { a: 3 }, 'what somebody deletes stays in use');
  t.true(early.problem instanceof ConfigAbsent && early.problem.reason === 'removed');
  t.is(await w.clock.until(app.publish({ a: 4 }, { expect: 0 })), 4, 'numbers are never given twice');
  await w.clock.advance(100);
  t.deepEqual([early.current, early.problem, early.stale], [{ a: 4 }, null, null]);
  link.freeze();
  await w.clock.advance(30_000);
  t.deepEqual(early.current, { a: 4 }, 'and what cannot be read stays, too');
  t.true((early.stale?.ageMs ?? 0) >= 15_000);
  link.thaw();
  await w.clock.advance(3_000);
  t.is(early.stale, null);
  await w.clock.until(early.close());
  await w.end();
});

test('C1 what breaks the rules, or is incomplete, is neither published nor used', async (t) => {
  const w = await world(2);
  const app = space(w, w.link());
  await w.clock.until(app.publish({ a: 1 }, { expect: 0 }));
  const events: ConfigEvent[] = [];
  const follower = await following(w, w.link(), { observe: (event) => events.push(event) });
  const loose = new ConfigSpace<unknown>(w.link(), 'app', { parse: (value) => value, clock: w.clock });
  const refused = await t.throwsAsync(w.clock.until(anyway(w).publish({ a: 'two' }, { expect: 1 })));
  t.true(refused instanceof ConfigInvalid && /a is two; give a number/.test(refused.message));
  for (const bad of [undefined, () => 1]) {
    await t.throwsAsync(w.clock.until(loose.publish(bad, { expect: 1 })), { instanceOf: ConfigInvalid });
  }
  await t.throwsAsync(w.clock.until(loose.publish('x'.repeat(2 ** 20), { expect: 1 })), { instanceOf: ConfigInvalid });
  t.is((await w.clock.until(app.pointer()))?.last, 1, 'nothing of all this was written');
  await w.clock.until(loose.publish({ a: 'two' }, { expect: 1 }));
  await w.clock.advance(100);
  t.deepEqual([follower.current, follower.version], [{ a: 1 }, 1]);
  t.true(follower.problem instanceof ConfigInvalid && follower.problem.version === 2);
  t.is(events.filter(({ kind }) => kind === 'refused').length, 1);
  await t.throwsAsync(w.clock.until(app.rollBack(2, { expect: 2 })), { instanceOf: ConfigInvalid });
  await t.throwsAsync(w.clock.until(app.rollBack(7, { expect: 2 })), { instanceOf: ConfigInvalid });
  await t.throwsAsync(w.clock.until(app.pin('i1', 7)), { instanceOf: ConfigInvalid });
  for (const broken of ['no json', '{"serial":"x"}', '{"serial":9,"version":1,"last":2,"rollout":{"version":1}}']) {
    await w.clock.until(put(w.store, utf8(`${ROOT}current`), utf8(broken)));
    await w.clock.advance(100);
    t.deepEqual(follower.current, { a: 1 });
    t.true(follower.problem instanceof ConfigInvalid);
    await t.throwsAsync(w.clock.until(app.publish({ a: 9 }, { expect: 2 })), { instanceOf: ConfigInvalid });
  }
  await w.clock.until(follower.close());
  await w.end();
});

test('C2 fifty settings change together: no reader ever sees a mix, also on a bad network', async (t) => {
  const w = await world(3);
  const app = space(w, w.link());
  await w.clock.until(app.publish(fifty(1), { expect: 0 }));
  const links = Array.from({ length: 4 }, () => w.link());
  const readers = await Promise.all(links.map((link) => following(w, link)));
  const seen: number[][] = readers.map(() => []);
  const stop = new AbortController();
  const watching = readers.map(async (reader, i) => {
    for await (const { to, version } of reader.changes({ signal: stop.signal })) {
      t.is(new Set(Object.values(to)).size, 1);
      t.is(Object.values(to).length, 50);
      t.is(Object.values(to)[0], version);
      seen[i]?.push(version);
    }
  });
  for (let version = 2; version <= 40; version += 1) {
    await w.clock.until(app.publish(fifty(version), { expect: version - 1 }));
    const link = links[w.prng.below(4)];
    if (w.prng.below(4) === 0) link?.down();
    if (link !== undefined) link.answerMs = () => w.prng.below(300);
    await w.clock.advance(w.prng.below(200));
    for (const each of links) each.up();
    for (const reader of readers) t.is(new Set(Object.values(reader.current)).size, 1);
  }
  await w.clock.advance(10_000);
  stop.abort();
  await w.clock.until(Promise.all(watching));
  for (const versions of seen) {
    t.is(versions.at(-1), 40);
    t.deepEqual(versions, versions.toSorted((a, b) => a - b));
  }
  await w.clock.until(Promise.all(readers.map((reader) => reader.close())));
  await w.end();
});

test('C3 publish, edit, roll back: byte for byte what it was, and the history has old and new, who and why', async (t) => {
  const w = await world(4);
  const app = space(w, w.link());
  await w.clock.until(app.publish({ a: 1, b: 2 }, { expect: 0, who: 'ann', note: 'first' }));
  const original = await w.clock.until(get(w.store, utf8(`${ROOT}versions/0000000000000001`)));
  await w.clock.until(app.publish({ a: 9 }, { expect: 1, who: 'bob', note: 'edit' }));
  await w.clock.until(app.rollBack(1, { expect: 2, who: 'ann', note: 'bob broke it' }));
  const follower = await following(w, w.link());
  t.deepEqual([follower.current, follower.version], [{ a: 1, b: 2 }, 1]);
  const now = await w.clock.until(get(w.store, utf8(`${ROOT}versions/0000000000000001`)));
  t.deepEqual(now, original);
  const history = await all<ConfigRecord>(w, app.history());
  const rows = history.map(({ serial, kind, from, to, before, after, who, note }) =>
    [serial, kind, from, to, before, after, who, note]);
  t.deepEqual(rows, [
    [3, 'rolled_back', 2, 1, '{"a":9}', '{"a":1,"b":2}', 'ann', 'bob broke it'],
    [2, 'published', 1, 2, '{"a":1,"b":2}', '{"a":9}', 'bob', 'edit'],
    [1, 'published', 0, 1, null, '{"a":1,"b":2}', 'ann', 'first'],
  ]);
  t.deepEqual(await w.clock.until(app.version(2)), { a: 9 });
  await w.clock.until(follower.close());
  await w.end();
});

test('C3 of publishers at the same time one wins, the others are told; and a result nobody heard of is found out', async (t) => {
  const w = await world(5);
  const ten = await w.clock.until(Promise.allSettled(
    Array.from({ length: 10 }, (_, i) => space(w, w.link()).publish({ a: i }, { expect: 0 })),
  ));
  t.is(ten.filter(({ status }) => status === 'fulfilled').length, 1);
  for (const one of ten) if (one.status === 'rejected') t.true(one.reason instanceof ConfigConflict && one.reason.version === 1);
  let wild = true;
  const clients = Array.from({ length: 3 }, () => haunted(w.link(), w.clock, (request) => {
    const dice = wild && (request.success?.[0]?.kind ?? '') === 'put' ? w.prng.below(100) : 100;
    if (dice < 20) return { kind: 'late', delayMs: w.prng.below(2_000) };
    if (dice < 40) return { kind: 'unanswered' };
    return { kind: dice < 55 ? 'unsent' : 'normal' };
  }));
  const published: string[] = [];
  await w.clock.until(Promise.all(clients.map(async (client, i) => {
    const app = space(w, client);
    for (let n = 0; n < 15;) {
      const { version = 0 } = await app.pointer() ?? {};
      try {
        const next = await app.publish({ a: i * 1_000 + n }, { expect: version });
        published.push(`${next}: ${i * 1_000 + n}`);
        n += 1;
      } catch (error) {
        if (!(error instanceof ConfigConflict)) throw error;
        t.true(error.version > version);
      }
    }
  })));
  wild = false;
  await w.clock.advance(5_000);
  const kvs = await w.clock.until(keysUnder(w.store, `${ROOT}versions/`));
  const stored = kvs.map(({ key, value }) => `${Number(text(key).slice(-16))}: ${parse(JSON.parse(text(value)))['a']}`);
  t.deepEqual(stored.slice(1).toSorted(), published.toSorted(), 'exactly those that resolved, each once');
  t.true(kvs.every(({ version }) => version === 1), 'no version was ever written twice');
  await w.end();
});

test('C4 pins come before roll-outs, roll-outs before the version for everybody; all converge in time', async (t) => {
  const w = await world(6);
  const app = space(w, w.link());
  await w.clock.until(app.publish({ a: 1 }, { expect: 0 }));
  const ids = Array.from({ length: 100 }, (_, i) => `i-${i}`);
  const link = w.link();
  const instances = ids.map((instance) => space(w, link).follow({ instance }));
  await w.clock.until(Promise.all(instances.map((each) => each.ready())));
  const using = (version: number): string[] => ids.filter((_, i) => instances[i]?.version === version);
  const settled = (): Promise<void> => w.clock.advance(1_000);
  await w.clock.until(app.pin('i-7', 1, { note: 'under investigation' }));
  t.is(await w.clock.until(app.publish({ a: 2 }, { expect: 1, rollout: { percent: 10 } })), 2);
  await settled();
  const tenth = using(2);
  t.deepEqual(tenth, ids.filter((id) => placeOf(id, 2) < 10 && id !== 'i-7'));
  t.true(tenth.length >= 3 && tenth.length <= 20, `${tenth.length}`);
  t.notDeepEqual(ids.filter((id) => placeOf(id, 3) < 10), ids.filter((id) => placeOf(id, 2) < 10), 'others come first next time');
  const conflict = await t.throwsAsync(w.clock.until(app.publish({ a: 3 }, { expect: 1 })), { instanceOf: ConfigConflict });
  t.is(conflict.rollout?.version, 2, 'a main release does not overwrite what is being rolled out');
  await w.clock.until(app.widen(2, { percent: 60 }));
  await settled();
  t.deepEqual(tenth.filter((id) => !using(2).includes(id)), [], 'who was in stays in');
  await w.clock.until(app.widen(2, { instances: ['i-1', 'i-7', 'i-50'] }));
  await settled();
  t.deepEqual(using(2), ['i-1', 'i-50'], 'the pinned one stays where it is');
  await w.clock.until(app.abandon(2));
  await settled();
  t.is(using(1).length, 100);
  await t.throwsAsync(w.clock.until(app.complete(2)), { instanceOf: ConfigConflict });
  await w.clock.until(app.publish({ a: 3 }, { expect: 1, rollout: { percent: 0 } }));
  await settled();
  t.is(using(3).length, 0);
  await w.clock.until(app.complete(3));
  await settled();
  t.deepEqual(using(1), ['i-7']);
  t.is(using(3).length, 99);
  await w.clock.until(app.pin('i-7', null));
  await settled();
  t.is(using(3).length, 100);
  const kinds = (await all<ConfigRecord>(w, app.history())).map(({ kind }) => kind);
  t.deepEqual(kinds, ['unpinned', 'completed', 'rollout', 'abandoned', 'rollout', 'rollout', 'rollout', 'pinned', 'published']);
  await w.clock.until(Promise.all(instances.map((each) => each.close())));
  await w.end();
});

test('C5 a notification that is lost for good is found by comparing revisions, within the stated time', async (t) => {
  const w = await world(7);
  const link = w.link();
  const app = space(w, w.link());
  await w.clock.until(app.publish({ a: 1 }, { expect: 0 }));
  const events: ConfigEvent[] = [];
  const deaf = lossy(link);
  const follower = await following(w, deaf, { checkMs: 20_000, observe: (event) => events.push(event) });
  deaf.loses = true;
  await w.clock.until(app.publish({ a: 2 }, { expect: 1 }));
  const from = w.clock.now();
  while (follower.version !== 2 && w.clock.now() - from < 60_000) await w.clock.advance(100);
  t.true(w.clock.now() - from <= 21_500, `${w.clock.now() - from} ms`);
  t.deepEqual(events.map(({ kind }) => kind), ['changed', 'missed_notification', 'changed']);
  deaf.loses = false;
  const before = { ...link.sent };
  await w.clock.advance(200_000);
  t.true(link.sent.range - before.range <= 45, `${link.sent.range - before.range} reads in 200 s`);
  t.true(link.sent.txn === before.txn);
  await w.clock.until(follower.close());
  await w.end();
});

/** Watches that go on, answer progress and all, and say nothing of what has changed. */
function lossy(client: Client): Client & { loses: boolean } {
  const self = {
    loses: false,
    range: client.range.bind(client),
    txn: client.txn.bind(client),
    grant: client.grant.bind(client),
    keepAlive: client.keepAlive.bind(client),
    revoke: client.revoke.bind(client),
    close: client.close.bind(client),
    watch: (request: Parameters<Client['watch']>[0], options: Parameters<Client['watch']>[1]) => {
      const inner = client.watch(request, options);
      const iterate = async function* (): AsyncGenerator<WatchBatch, undefined> {
        for await (const batch of inner) if (batch.kind !== 'events' || !self.loses) yield batch;
        return undefined;
      };
      return {
        requestProgress: () => inner.requestProgress(),
        close: () => inner.close(),
        [Symbol.asyncIterator]: iterate,
      };
    },
  };
  return self;
}

interface Machine {
  readonly disk: SimDisk;
  wall: number;
  readonly options: SnapshotOptions;
}

async function machine(w: World): Promise<Machine> {
  const disk = new SimDisk({ seed: 3 });
  await w.clock.until(whenDone((done) => disk.makeDirectory('/var', 0o700, done)));
  const startedAt = w.clock.now();
  const self = { disk, wall: 1_700_000_000_000 };
  const wallMs = (): number => self.wall + w.clock.now() - startedAt;
  return Object.assign(self, { options: { file: '/var/app.snapshot', maxAgeMs: 3_600_000, wallMs, files: disk } });
}

test('C6 without the store it starts from its snapshot, says so and how old it is, and goes on with the store', async (t) => {
  const w = await world(8);
  const { options, disk } = await machine(w);
  const app = space(w, w.link());
  await w.clock.until(app.publish({ a: 1 }, { expect: 0 }));
  const first = await following(w, w.link(), { snapshot: options, instance: 'i' });
  t.deepEqual([first.source, first.stale], ['store', null]);
  await w.clock.until(app.publish({ a: 2 }, { expect: 1 }));
  await w.clock.advance(100);
  await w.clock.until(first.close());
  disk.powerCut();
  await w.clock.advance(600_000);
  const link = w.link();
  link.down();
  const from = w.clock.now();
  const second = await following(w, link, { snapshot: options, instance: 'i' });
  t.true(w.clock.now() - from <= 3_100, 'within bootMs');
  t.deepEqual([second.current, second.version, second.source], [{ a: 2 }, 2, 'snapshot']);
  const age = second.stale?.ageMs ?? 0;
  t.true(age >= 600_000 && age < 610_000, `${age}`);
  const changes: ConfigChange<Settings>[] = [];
  second.onChange((change) => changes.push(change));
  link.up();
  await w.clock.advance(3_000);
  t.deepEqual([second.source, second.stale], ['store', null]);
  t.is(changes.length, 1, 'what was the same is no change');
  await w.clock.until(app.publish({ a: 3 }, { expect: 2 }));
  await w.clock.advance(100);
  t.deepEqual(changes.map(({ from: before, to, version, source }) => [before, to, version, source]), [
    [null, { a: 2 }, 2, 'snapshot'], [{ a: 2 }, { a: 3 }, 3, 'store'],
  ]);
  await w.clock.until(second.close());
  await w.end();
});

test('C6 a snapshot too old, damaged, forged, foreign or from the future is refused; a confirmed one stays young', async (t) => {
  const w = await world(9);
  const it = await machine(w);
  const disk = it.disk;
  const options = { ...it.options, maxAgeMs: 120_000 };
  const app = space(w, w.link());
  await w.clock.until(app.publish({ a: 1 }, { expect: 0 }));
  const first = await following(w, w.link(), { snapshot: options });
  await w.clock.advance(600_000);
  const wanted = { space: 'app', instance: null };
  const confirmed = await w.clock.until(readSnapshot(options, wanted));
  t.true(confirmed.ageMs <= 75_000, `unchanged for long, confirmed ${confirmed.ageMs} ms ago`);
  await w.clock.until(first.close());
  const away = w.link();
  away.down();
  const refusedWith = async (over: Partial<SnapshotOptions>, instance?: string): Promise<string | null> => {
    const snapshot = { ...options, ...over };
    const follower = space(w, away).follow({ snapshot, ...(instance === undefined ? {} : { instance }) });
    const error = await t.throwsAsync(w.clock.until(follower.ready({ timeoutMs: 4_000 })), { instanceOf: ApiError });
    t.is(error.code, 'deadline_exceeded');
    await w.clock.until(follower.close());
    return error.cause instanceof SnapshotRefused ? error.cause.reason : null;
  };
  t.is(await refusedWith({}, 'other'), 'foreign');
  t.is(await refusedWith({ file: '/var/none' }), 'missing');
  t.is(await refusedWith({ seal: (bytes) => `signed ${bytes.length}` }), 'damaged', 'not sealed with this key');
  it.wall -= 40 * 86_400_000;
  t.is(await refusedWith({}), 'from_the_future');
  it.wall += 40 * 86_400_000;
  await w.clock.advance(120_000);
  t.is(await refusedWith({}), 'too_old');
  const whole = await w.clock.until(whenDone<Uint8Array>((done) => disk.read(options.file, 0, 10_000, done)));
  for (let at = 0; at < whole.length; at += 1) {
    const bytes = Uint8Array.from(whole);
    bytes[at] = (bytes[at] ?? 0) ^ 4;
    const file = `/var/flipped-${at}`;
    await w.clock.until(whenDone((done) => disk.append(file, [bytes], done)));
    const error = await t.throwsAsync(w.clock.until(readSnapshot({ ...options, file, maxAgeMs: Infinity }, wanted)));
    t.true(error instanceof SnapshotRefused && error.reason === 'damaged', `byte ${at}: ${error.message}`);
  }
  await w.end();
});

test('C6 the power goes at any moment of writing: the old snapshot is there, or the new one', async (t) => {
  const w = await world(10);
  const seen = new Set<number>();
  for (let effect = 1; effect <= 12; effect += 1) {
    const { options, disk } = await machine(w);
    const record = (version: number): Parameters<typeof writeSnapshot>[1] => ({
      space: 'app', instance: null, version, content: utf8(`{"a":${version}}`),
    });
    await w.clock.until(writeSnapshot(options, record(1)));
    let cut = false;
    disk.setFault((_, number) => {
      if (number !== effect) return null;
      cut = true;
      return 'cut';
    });
    const writing = writeSnapshot(options, record(2));
    await w.clock.advance(100);
    disk.setFault(() => null);
    if (cut) disk.powerCut();
    else await w.clock.until(writing);
    const { version, content } = await w.clock.until(readSnapshot(options, { space: 'app', instance: null }));
    t.is(text(content), `{"a":${version}}`);
    seen.add(version);
    await w.clock.until(writeSnapshot(options, record(3)));
    const third = await w.clock.until(readSnapshot(options, { space: 'app', instance: null }));
    t.is(third.version, 3, 'what was left is no obstacle');
  }
  t.deepEqual([...seen].toSorted((a, b) => a - b), [1, 2]);
  await w.end();
});

test('C7 whoever follows before, during or after the first publication gets it, and each change after it', async (t) => {
  const w = await world(11);
  const link = w.link();
  const app = space(w, link);
  const seen: Record<string, [number, Settings | null][]> = { before: [], during: [], after: [], listener: [] };
  const followers: ConfigFollower<Settings>[] = [];
  const watch = (name: string): void => {
    const follower = app.follow();
    followers.push(follower);
    void (async () => {
      for await (const { version, from } of follower.changes()) seen[name]?.push([version, from]);
    })();
    if (name === 'before') follower.onChange(({ version, from }) => seen['listener']?.push([version, from]));
  };
  watch('before');
  await w.clock.advance(1_000);
  link.requestMs = () => 50;
  const publishing = app.publish({ a: 1 }, { expect: 0 });
  await w.clock.advance(60);
  watch('during');
  await w.clock.until(publishing);
  await w.clock.advance(1_000);
  watch('after');
  await w.clock.advance(1_000);
  await w.clock.until(app.publish({ a: 2 }, { expect: 1 }));
  await w.clock.advance(1_000);
  const expected = [[1, null], [2, { a: 1 }]];
  t.deepEqual(Object.values(seen), [expected, expected, expected, expected]);
  await w.clock.until(Promise.all(followers.map((each) => each.close())));
  await w.end();
});

test('a listener that throws stops nothing, and a slow reader gets the latest, with what it had before', async (t) => {
  const w = await world(12);
  const app = space(w, w.link());
  await w.clock.until(app.publish({ a: 1 }, { expect: 0 }));
  const events: ConfigEvent[] = [];
  const follower = await following(w, w.link(), { observe: (event) => events.push(event) });
  const heard: number[] = [];
  follower.onChange(() => {
    throw new Error('not my day');
  });
  const forget = follower.onChange(({ version }) => heard.push(version));
  const slow = follower.changes();
  t.is((await w.clock.until(slow.next())).value?.version, 1);
  for (let version = 2; version <= 5; version += 1) await w.clock.until(app.publish({ a: version }, { expect: version - 1 }));
  await w.clock.advance(100);
  const { value } = await w.clock.until(slow.next());
  t.deepEqual([value?.from, value?.to, value?.version], [{ a: 1 }, { a: 5 }, 5]);
  forget();
  await w.clock.until(app.publish({ a: 6 }, { expect: 5 }));
  await w.clock.advance(100);
  t.deepEqual([heard[0], heard.at(-1)], [1, 5]);
  t.true(events.some(({ kind }) => kind === 'listener_failed'));
  const waiting = follower.changes();
  await w.clock.until(waiting.next());
  const last = waiting.next();
  await w.clock.until(follower.close());
  t.deepEqual(await w.clock.until(last), { done: true, value: undefined });
  t.deepEqual(follower.current, { a: 6 }, 'readable after the end');
  await w.end();
});

test('old versions go, those in use never; a store that was replaced is noticed even where the numbers agree', async (t) => {
  const w = await world(13);
  const app = space(w, w.link(), { versionsKept: 5 });
  await w.clock.until(app.publish({ a: 1 }, { expect: 0 }));
  await w.clock.until(app.publish({ a: 2 }, { expect: 1 }));
  await w.clock.until(app.pin('old', 1));
  for (let version = 3; version <= 20; version += 1) await w.clock.until(app.publish({ a: version }, { expect: version - 1 }));
  const kept = async (): Promise<number[]> =>
    (await w.clock.until(keysUnder(w.store, `${ROOT}versions/`))).map(({ key }) => Number(text(key).slice(-16)));
  t.deepEqual(await kept(), [1, 16, 17, 18, 19, 20]);
  const pinned = await following(w, w.link(), { instance: 'old' });
  t.deepEqual(pinned.current, { a: 1 });
  await w.clock.until(pinned.close());
  await w.clock.until(app.rollBack(16, { expect: 20 }));
  for (let version = 21; version <= 30; version += 1) {
    await w.clock.until(app.publish({ a: version }, { expect: version === 21 ? 16 : version - 1, rollout: { percent: 50 } }));
    if (version < 30) await w.clock.until(app.complete(version));
  }
  t.deepEqual(await kept(), [1, 26, 27, 28, 29, 30]);
  const slow = w.link();
  const slowly = space(w, slow, { versionsKept: 5 });
  await w.clock.until(app.complete(30));
  slow.requestMs = (method) => (method === 'txn' ? 20 : 0);
  const back = t.throwsAsync(slowly.rollBack(26, { expect: 31 }), { instanceOf: ConfigInvalid });
  // It has been read and found good; before the change lands, versions go that are too old.
  await w.clock.advance(10);
  await w.clock.until(app.publish({ a: 31 }, { expect: 30 }));
  t.regex((await w.clock.until(back))?.message ?? '', /not kept any more/);
  t.is((await w.clock.until(app.pointer()))?.version, 31);
  const gone = (await all<ConfigRecord>(w, app.history())).find(({ to, kind }) => to === 3 && kind === 'published');
  t.deepEqual([gone?.before, gone?.after], [null, null], 'the history outlives what it speaks of');
  const other = await world(14);
  await w.clock.until(del(w.store, utf8(ROOT), { rangeEnd: prefixRange(utf8(ROOT)).rangeEnd }));
  await w.clock.until(space(w, w.store).publish({ a: 1 }, { expect: 0 }));
  const stores = { now: w.store as Client };
  const link = switching(stores);
  const follower = await following(w, link, { checkMs: 5_000 });
  await w.clock.until(put(other.store, utf8('x'), utf8('y')));
  await w.clock.until(new ConfigSpace(other.store, 'app', { parse, clock: w.clock }).publish({ a: 100 }, { expect: 0 }));
  stores.now = other.store;
  await w.clock.advance(30_000);
  t.deepEqual([follower.current, follower.version], [{ a: 100 }, 1]);
  await w.clock.until(follower.close());
  await other.end();
  await w.end();
});

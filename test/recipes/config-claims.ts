// What the configuration centre promises, as claims that are made of every place over real sockets: one member of coterie, one
// of etcd, and three whose leader is killed in the middle. Each function is the claim of the name that its comment begins with.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, WatchBatch } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import type { ConfigEvent, ConfigFollower } from '../../recipes/config-follower.js';
import type { ConfigRecord } from '../../recipes/config.js';
import { ConfigAbsent, ConfigConflict, ConfigInvalid } from '../../recipes/config-names.js';
import { SnapshotRefused } from '../../recipes/config-snapshot.js';
import { ConfigSpace } from '../../recipes/config.js';
import { type Claim, read, remove, until } from './claims.js';
import { clients } from './homes.js';

type Settings = Readonly<Record<string, number>>;

function parse(value: unknown): Settings {
  if (typeof value !== 'object' || value === null) throw new Error('give an object');
  for (const each of Object.values(value)) if (typeof each !== 'number') throw new Error('give numbers');
  return Object.fromEntries(Object.entries(value));
}

function space(client: Client, name: string): ConfigSpace<Settings> {
  return new ConfigSpace(client, name, { parse });
}

function fifty(value: number): Settings {
  return Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`key${i}`, value]));
}

function reaches(follower: ConfigFollower<Settings>, version: number): Promise<void> {
  return until(() => follower.version === version);
}

/** C1. Absent, removed, out of reach, invalid, and empty on purpose are five things. */
export const kindsOfEmpty: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const app = space(near, 'c1');
  const early = space(far, 'c1').follow({ livenessMs: 3_000 });
  const error = await t.throwsAsync(early.ready({ timeoutMs: 3_000 }), { instanceOf: ApiError });
  await until(() => early.problem !== null);
  t.true(error.code === 'deadline_exceeded' && early.problem instanceof ConfigAbsent, place.name);
  t.is(await app.publish({ a: 1 }, { expect: 0, who: 'ann' }), 1, place.name);
  await early.ready();
  t.deepEqual(early.current, { a: 1 });
  await app.publish({}, { expect: 1, who: 'bob' });
  await reaches(early, 2);
  t.deepEqual([early.current, early.problem], [{}, null], `${place.name}: empty on purpose`);
  const loose = new ConfigSpace<unknown>(near, 'c1', { parse });
  await t.throwsAsync(loose.publish({ a: 'x' }, { expect: 2 }), { instanceOf: ConfigInvalid });
  await app.publish({ a: 3 }, { expect: 2 });
  await reaches(early, 3);
  proxy.freeze();
  await place.trouble();
  await until(() => early.stale !== null);
  t.deepEqual(early.current, { a: 3 }, `${place.name}: what cannot be read stays`);
  proxy.thaw();
  await until(() => early.stale === null);
  const trouble = place.trouble();
  await remove(near, 'coterie/config/c1/current');
  await until(() => early.problem !== null);
  t.true(early.problem instanceof ConfigAbsent && early.problem.reason === 'removed', place.name);
  t.deepEqual(early.current, { a: 3 }, `${place.name}: what somebody deletes stays in use`);
  await trouble;
  t.is(await app.publish({ a: 4 }, { expect: 0 }), 4, `${place.name}: numbers are never given twice`);
  await reaches(early, 4);
  await early.close();
};

/** C2. */
export const noMix: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  await space(near, 'c2').publish(fifty(0), { expect: 0 });
  const readers = [far, near].map((client) => space(client, 'c2').follow({ livenessMs: 2_000 }));
  await Promise.all(readers.map((reader) => reader.ready()));
  const stop = new AbortController();
  const watching = readers.map(async (reader) => {
    let last = 0;
    for await (const { to, version } of reader.changes({ signal: stop.signal })) {
      t.is(new Set(Object.values(to)).size, 1, place.name);
      t.is(Object.values(to).length, 50);
      t.true(version > last);
      last = version;
    }
    return last;
  });
  let published = 1;
  const trouble = place.trouble();
  await Promise.all(Array.from({ length: 6 }, async (_, i) => {
    const app = space(i % 2 === 0 ? far : near, 'c2');
    for (let n = 0; n < 3;) {
      const { version = 0 } = await app.pointer() ?? {};
      try {
        await app.publish(fifty(i * 100 + n), { expect: version, timeoutMs: 60_000 });
        published += 1;
        n += 1;
      } catch (error) {
        if (!(error instanceof ConfigConflict)) throw error;
      }
      if (i === 0) proxy.cut();
    }
  }));
  await trouble;
  t.is((await space(near, 'c2').pointer())?.version, published, `${place.name}: each once`);
  await Promise.all(readers.map((reader) => reaches(reader, published)));
  stop.abort();
  t.deepEqual(await Promise.all(watching), [published, published]);
  await Promise.all(readers.map((reader) => reader.close()));
};

/** C3. */
export const rolledBack: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const app = space(near, 'c3');
  const follower = app.follow();
  await app.publish({ a: 1, b: 2 }, { expect: 0, who: 'ann', note: 'first' });
  const key = 'coterie/config/c3/versions/0000000000000001';
  const original = await read(near, key);
  const trouble = place.trouble();
  await app.publish({ a: 9 }, { expect: 1, who: 'bob', note: 'edit' });
  await trouble;
  const second = place.trouble();
  await app.rollBack(1, { expect: 2, who: 'ann', note: 'bob broke it' });
  await reaches(follower, 1);
  await second;
  t.deepEqual(follower.current, { a: 1, b: 2 });
  t.deepEqual(await read(near, key), original, place.name);
  const history: ConfigRecord[] = [];
  for await (const record of app.history()) history.push(record);
  t.deepEqual(history.map(({ serial, kind, from, to, before, after, who, note }) => {
    return [serial, kind, from, to, before, after, who, note];
  }), [
    [3, 'rolled_back', 2, 1, '{"a":9}', '{"a":1,"b":2}', 'ann', 'bob broke it'],
    [2, 'published', 1, 2, '{"a":1,"b":2}', '{"a":9}', 'bob', 'edit'],
    [1, 'published', 0, 1, null, '{"a":1,"b":2}', 'ann', 'first'],
  ], place.name);
  t.deepEqual(await app.version(2), { a: 9 });
  await follower.close();
};

/** C4. */
export const precedence: Claim = async (t, place) => {
  const { near } = await clients(t, place);
  const app = space(near, 'c4');
  await app.publish({ a: 1 }, { expect: 0 });
  const [pinned, named, other] = ['pinned', 'named', 'other'].map((instance) => app.follow({ instance }));
  if (pinned === undefined || named === undefined || other === undefined) throw new Error('three instances');
  const all = [pinned, named, other];
  await Promise.all(all.map((each) => each.ready()));
  await app.pin('pinned', 1);
  const trouble = place.trouble();
  await app.publish({ a: 2 }, { expect: 1, rollout: { instances: ['pinned', 'named'] } });
  await reaches(named, 2);
  await trouble;
  const conflict = await t.throwsAsync(app.publish({ a: 3 }, { expect: 1 }), { instanceOf: ConfigConflict });
  t.is(conflict.rollout?.version, 2, `${place.name}: a main release does not overwrite what is being rolled out`);
  t.deepEqual(all.map(({ version }) => version), [1, 2, 1], place.name);
  const second = place.trouble();
  await app.complete(2);
  await reaches(other, 2);
  await second;
  t.deepEqual(all.map(({ version }) => version), [1, 2, 2], place.name);
  await app.pin('pinned', null);
  await reaches(pinned, 2);
  await Promise.all(all.map((each) => each.close()));
};

/** Watches that go on, answer progress and all, and say nothing of what has changed. */
function deaf(client: Client): Client {
  return {
    range: (request, options) => client.range(request, options),
    txn: (request, options) => client.txn(request, options),
    grant: (ttlSeconds, options) => client.grant(ttlSeconds, options),
    keepAlive: (lease, options) => client.keepAlive(lease, options),
    revoke: (lease, options) => client.revoke(lease, options),
    close: () => client.close(),
    watch: (request, options) => {
      const inner = client.watch(request, options);
      const iterate = async function* (): AsyncGenerator<WatchBatch, undefined> {
        for await (const batch of inner) if (batch.kind !== 'events') yield batch;
        return undefined;
      };
      return { requestProgress: () => inner.requestProgress(), close: () => inner.close(), [Symbol.asyncIterator]: iterate };
    },
  };
}

/** C5. */
export const missedNotification: Claim = async (t, place) => {
  const { far, near } = await clients(t, place);
  const events: ConfigEvent['kind'][] = [];
  await space(near, 'c5').publish({ a: 1 }, { expect: 0 });
  const follower = space(deaf(far), 'c5').follow({ checkMs: 2_000, observe: ({ kind }) => events.push(kind) });
  await follower.ready();
  const trouble = place.trouble();
  await space(near, 'c5').publish({ a: 2 }, { expect: 1 });
  await reaches(follower, 2);
  await trouble;
  // Where a member is killed the watch is opened anew, which may find it first.
  if (place.ports.length === 1) t.true(events.includes('missed_notification'), `${place.name}: ${events.join()}`);
  await space(near, 'c5').publish({ a: 3 }, { expect: 2 });
  await reaches(follower, 3);
  t.deepEqual(follower.current, { a: 3 }, place.name);
  await follower.close();
};

/** C6. */
export const withoutTheStore: Claim = async (t, place) => {
  const { proxy, far, near } = await clients(t, place);
  const directory = await mkdtemp(path.join(tmpdir(), 'coterie-config-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const snapshot = { file: path.join(directory, 'app.snapshot'), maxAgeMs: 3_600_000, wallMs: () => Date.now() };
  const app = (client: Client): ConfigSpace<Settings> => space(client, 'c6');
  await app(near).publish({ a: 1 }, { expect: 0 });
  const running = await app(far).follow({ snapshot, livenessMs: 2_000, checkMs: 2_000 }).ready();
  await until(async () => (await readFile(snapshot.file, 'utf8').catch(() => '')).endsWith('\n{"a":1}'));
  proxy.freeze();
  const trouble = place.trouble();
  await app(near).publish({ a: 2 }, { expect: 1 });
  await trouble;
  await until(() => running.stale !== null);
  await sleep(1_000);
  const booted = await app(far).follow({ snapshot, bootMs: 300 }).ready();
  t.deepEqual([booted.current, booted.source], [{ a: 1 }, 'snapshot'], place.name);
  t.true((booted.stale?.ageMs ?? 0) >= 900, `${place.name}: ${booted.stale?.ageMs} ms old`);
  const refused = app(far).follow({ snapshot: { ...snapshot, maxAgeMs: 500 }, bootMs: 100 });
  const error = await t.throwsAsync(refused.ready({ timeoutMs: 4_000 }), { instanceOf: ApiError });
  t.true(error.cause instanceof SnapshotRefused && error.cause.reason === 'too_old', place.name);
  proxy.thaw();
  await Promise.all([reaches(running, 2), reaches(booted, 2)]);
  await until(() => booted.stale === null);
  t.is(booted.source, 'store', place.name);
  await Promise.all([running, booted, refused].map((each) => each.close()));
  const bytes = await readFile(snapshot.file, 'utf8');
  t.true(bytes.endsWith('\n{"a":2}'));
  await writeFile(snapshot.file, bytes.replace('"a":2', '"a":3'));
  proxy.refuse();
  const forged = app(far).follow({ snapshot, bootMs: 100 });
  const damaged = await t.throwsAsync(forged.ready({ timeoutMs: 4_000 }), { instanceOf: ApiError });
  t.true(damaged.cause instanceof SnapshotRefused && damaged.cause.reason === 'damaged', place.name);
  await forged.close();
  proxy.accept();
};

/** C7. */
export const beforeDuringAfter: Claim = async (t, place) => {
  const { far, near } = await clients(t, place);
  const app = space(near, 'c7');
  const followers: ConfigFollower<Settings>[] = [];
  const seen: (readonly [number, Settings | null])[][] = [];
  const follow = (client: Client): void => {
    const follower = space(client, 'c7').follow();
    const own: (readonly [number, Settings | null])[] = [];
    followers.push(follower);
    seen.push(own);
    follower.onChange(({ version, from }) => own.push([version, from]));
  };
  follow(near);
  follow(far);
  await sleep(300);
  const trouble = place.trouble();
  const publishing = app.publish({ a: 1 }, { expect: 0 });
  follow(far);
  await publishing;
  follow(near);
  await Promise.all(followers.map((follower) => reaches(follower, 1)));
  await trouble;
  const second = place.trouble();
  await app.publish({ a: 2 }, { expect: 1 });
  await Promise.all(followers.map((follower) => reaches(follower, 2)));
  await second;
  const expected = [[1, null], [2, { a: 1 }]] as const;
  t.deepEqual(seen, followers.map(() => [...expected]), place.name);
  await Promise.all(followers.map((follower) => follower.close()));
};

// The configuration centre over real sockets, against coterie and against etcd, and a real disk.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { utf8 } from '../../core/base/bytes.js';
import { del, get } from '../../core/client.js';
import type { Client } from '../../core/client.js';
import { ApiError } from '../../core/errors.js';
import type { ConfigFollower } from '../../recipes/config-follower.js';
import { ConfigAbsent, ConfigConflict, ConfigInvalid } from '../../recipes/config-names.js';
import { SnapshotRefused } from '../../recipes/config-snapshot.js';
import { ConfigSpace } from '../../recipes/config.js';
import type { Home } from './homes.js';
import { clients, homes } from './homes.js';

type Settings = Readonly<Record<string, number>>;

function parse(value: unknown): Settings {
  if (typeof value !== 'object' || value === null) throw new Error('give an object');
  for (const each of Object.values(value)) if (typeof each !== 'number') throw new Error('give numbers');
  return Object.fromEntries(Object.entries(value));
}

function space(client: Client): ConfigSpace<Settings> {
  return new ConfigSpace(client, 'app', { parse });
}

function fifty(value: number): Settings {
  return Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`key${i}`, value]));
}

async function everyHome(t: ExecutionContext, claim: (home: Home) => Promise<void>): Promise<void> {
  for (const home of await homes(t)) await claim(home);
}

async function reaches(follower: ConfigFollower<Settings>, version: number): Promise<void> {
  for await (const change of follower.changes({ signal: AbortSignal.timeout(10_000) })) if (change.version === version) return;
  throw new Error(`version ${version} was not seen in 10 s; it is ${follower.version}`);
}

test('C1 C3 C7 over sockets: absent, invalid and removed are three things; roll-back is byte for byte', async (t) => {
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const app = space(near);
    const early = app.follow();
    await t.throwsAsync(early.ready({ timeoutMs: 300 }), { instanceOf: ApiError });
    for (let i = 0; i < 100 && early.problem === null; i += 1) await sleep(50);
    t.true(early.problem instanceof ConfigAbsent);
    t.is(await app.publish({ a: 1 }, { expect: 0, who: 'ann' }), 1, home.name);
    await early.ready({ timeoutMs: 5_000 });
    const late = await space(near).follow().ready();
    t.deepEqual([early.current, late.current], [{ a: 1 }, { a: 1 }]);
    const key = utf8('coterie/config/app/versions/0000000000000001');
    const original = await get(near, key);
    await app.publish({}, { expect: 1, who: 'bob' });
    await reaches(early, 2);
    t.deepEqual(early.current, {});
    const loose = new ConfigSpace<unknown>(near, 'app', { parse });
    await t.throwsAsync(loose.publish({ a: 'x' }, { expect: 2 }), { instanceOf: ConfigInvalid });
    await app.rollBack(1, { expect: 2, who: 'ann', note: 'why not' });
    await Promise.all([reaches(early, 1), reaches(late, 1)]);
    t.deepEqual(await get(near, key), original);
    const history = [];
    for await (const record of app.history()) history.push(record);
    t.deepEqual(history.map(({ kind, before, after, who }) => [kind, before, after, who]), [
      ['rolled_back', '{}', '{"a":1}', 'ann'], ['published', '{"a":1}', '{}', 'bob'], ['published', null, '{"a":1}', 'ann'],
    ]);
    await del(near, utf8('coterie/config/app/current'));
    for (let i = 0; i < 100 && early.problem === null; i += 1) await sleep(50);
    t.true(early.problem instanceof ConfigAbsent && early.problem.reason === 'removed');
    t.deepEqual(early.current, { a: 1 });
    await Promise.all([early.close(), late.close()]);
  });
});

test('C2 over sockets: fifty settings of six publishers at once, over cut connections, and no reader sees a mix', async (t) => {
  t.timeout(60_000);
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    await space(near).publish(fifty(0), { expect: 0 });
    const readers = await Promise.all([far, near].map((client) => space(client).follow({ livenessMs: 2_000 }).ready()));
    const stop = new AbortController();
    const watching = readers.map(async (reader) => {
      let last = 0;
      for await (const { to, version } of reader.changes({ signal: stop.signal })) {
        t.is(new Set(Object.values(to)).size, 1, home.name);
        t.true(version > last);
        last = version;
      }
      return last;
    });
    let published = 1;
    await Promise.all(Array.from({ length: 6 }, async (_, i) => {
      const app = space(i % 2 === 0 ? far : near);
      for (let n = 0; n < 3;) {
        const { version = 0 } = await app.pointer() ?? {};
        try {
          await app.publish(fifty(i * 100 + n), { expect: version });
          published += 1;
          n += 1;
        } catch (error) {
          if (!(error instanceof ConfigConflict)) throw error;
        }
        if (i === 0) proxy.cut();
      }
    }));
    const pointer = await space(near).pointer();
    t.is(pointer?.version, published);
    await Promise.all(readers.map((reader) => reaches(reader, published)));
    stop.abort();
    t.deepEqual(await Promise.all(watching), [published, published]);
    await Promise.all(readers.map((reader) => reader.close()));
  });
});

test('C4 over sockets: a pin before a roll-out before the version for everybody, each told within a second', async (t) => {
  const slowest: number[] = [];
  await everyHome(t, async (home) => {
    const { near } = await clients(t, home);
    const app = space(near);
    await app.publish({ a: 1 }, { expect: 0 });
    const ids = ['pinned', 'named', 'other'];
    const [pinned, named, other] = await Promise.all(ids.map((instance) => app.follow({ instance }).ready()));
    if (pinned === undefined || named === undefined || other === undefined) throw new Error('three instances');
    await app.pin('pinned', 1);
    const from = performance.now();
    await app.publish({ a: 2 }, { expect: 1, rollout: { instances: ['pinned', 'named'] } });
    await reaches(named, 2);
    slowest.push(performance.now() - from);
    await t.throwsAsync(app.publish({ a: 3 }, { expect: 1 }), { instanceOf: ConfigConflict });
    t.deepEqual([pinned.version, named.version, other.version], [1, 2, 1], home.name);
    await app.complete(2);
    await reaches(other, 2);
    t.is(pinned.version, 1);
    await app.pin('pinned', null);
    await reaches(pinned, 2);
    await Promise.all([pinned, named, other].map((each) => each.close()));
  });
  t.log(`publish to seen: ${slowest.map((ms) => `${ms.toFixed(1)} ms`).join(', ')}`);
});

test('C5 C6 over sockets: silence is found out, a start without the store uses a fresh snapshot and no other', async (t) => {
  t.timeout(60_000);
  const directory = await mkdtemp(path.join(tmpdir(), 'coterie-config-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  await everyHome(t, async (home) => {
    const { proxy, far, near } = await clients(t, home);
    const snapshot = { file: path.join(directory, home.name), maxAgeMs: 60_000, wallMs: Date.now };
    await space(near).publish({ a: 1 }, { expect: 0 });
    const running = await space(far).follow({ snapshot, livenessMs: 2_000, checkMs: 2_000 }).ready();
    proxy.freeze();
    await space(near).publish({ a: 2 }, { expect: 1 });
    await sleep(2_500);
    t.true((running.stale?.ageMs ?? 0) > 0, home.name);
    const booted = await space(far).follow({ snapshot, bootMs: 300 }).ready({ timeoutMs: 5_000 });
    t.deepEqual([booted.current, booted.source], [{ a: 1 }, 'snapshot']);
    t.true((booted.stale?.ageMs ?? 0) >= 2_000);
    const refused = space(far).follow({ snapshot: { ...snapshot, maxAgeMs: 500 }, bootMs: 100 });
    const error = await t.throwsAsync(refused.ready({ timeoutMs: 1_000 }), { instanceOf: ApiError });
    t.true(error.cause instanceof SnapshotRefused && error.cause.reason === 'too_old');
    proxy.thaw();
    await Promise.all([reaches(running, 2), reaches(booted, 2)]);
    t.deepEqual([booted.source, booted.stale], ['store', null]);
    await Promise.all([running, booted, refused].map((each) => each.close()));
    const bytes = await readFile(snapshot.file, 'utf8');
    t.true(bytes.endsWith('\n{"a":2}'));
    await writeFile(snapshot.file, bytes.replace('"a":2', '"a":3'));
    proxy.refuse();
    const forged = space(far).follow({ snapshot, bootMs: 100 });
    const damaged = await t.throwsAsync(forged.ready({ timeoutMs: 1_000 }), { instanceOf: ApiError });
    t.true(damaged.cause instanceof SnapshotRefused && damaged.cause.reason === 'damaged');
    await forged.close();
    proxy.accept();
  });
});

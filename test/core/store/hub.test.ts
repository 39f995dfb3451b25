// The claims of contract 5 one by one; random watchers are in store-model.test.ts.

import v8 from 'node:v8';
import test from 'ava';
import { opDelete, opPut, opTxn } from '../../../core/client.js';
import type { Event, WatchRequest } from '../../../core/client.js';
import { Hub, type Watcher, type WatchResult } from '../../../core/store/hub.js';
import { EVENTS_MADE_MAX, HISTORY_ROWS_MAX } from '../../../core/store/limits.js';
import { bytes, bytesOf, loadedFrom, Script, told } from './script.js';
import { collect } from '../../collect.js';
import { takesLess } from '../../takes-less.js';

const ALL_KEYS: WatchRequest = { key: bytes('\0'), rangeEnd: bytes('\0') };

class World {
  readonly script = new Script();
  readonly hub: Hub;

  constructor(limits = { bufferBytesMax: 1_000_000, catchUpRevisionsMax: 1000 }) {
    this.hub = new Hub(() => this.script.store, limits);
    this.script.onEvents = (batch) => this.hub.publish(batch);
  }

  /** A watcher whose 'created' is taken. */
  open(request: WatchRequest = ALL_KEYS): Watcher {
    const watcher = this.hub.open(request);
    watcher.next();
    return watcher;
  }
}

/** `events 5: +a=1@5`, `progress 5`, `compacted 7`, `null`. */
function line(result: WatchResult | null): string {
  if (result === null) return 'null';
  if (result.kind === 'ended') return `${result.code} ${result.compactRevision}`;
  const { kind, revision, events } = result.batch;
  return events.length === 0 ? `${kind} ${revision}` : `${kind} ${revision}: ${told(events)}`;
}

function drain(watcher: Watcher): string[] {
  const lines: string[] = [];
  for (;;) {
    const result = watcher.next();
    if (result === null) return lines;
    lines.push(line(result));
  }
}

test('a watch begins with created, then tells each revision by itself', (t) => {
  const world = new World();
  world.script.put('before');
  const watcher = world.hub.open(ALL_KEYS);
  t.is(line(watcher.next()), 'created 2');
  t.is(watcher.next(), null);
  world.script.put('a', '1');
  t.deepEqual(drain(watcher), ['events 3: +a=1@3']);
  world.script.ops(opPut(bytes('b'), bytes('2')), opDelete(bytes('a')));
  t.deepEqual(drain(watcher), ['events 4: +b=2@4 -a@4']);
});

test('a reader that lags gets all that waits for it at once, in whole revisions, no more than a batch of history has', (t) => {
  const world = new World({ bufferBytesMax: 1_000_000, catchUpRevisionsMax: 3 });
  const watcher = world.open();
  world.script.put('a', '1');
  world.script.ops(opPut(bytes('b'), bytes('2')), opDelete(bytes('a')));
  t.deepEqual(drain(watcher), ['events 3: +a=1@2 +b=2@3 -a@3']);
  for (let i = 0; i < 5; i++) world.script.ops(opPut(bytes('a'), bytes('')), opPut(bytes('b'), bytes('')));
  t.is(line(watcher.next()), 'events 6: +a=@4 +b=@4 +a=@5 +b=@5 +a=@6 +b=@6');
  watcher.requestProgress();
  world.script.put('c');
  t.deepEqual(drain(watcher), ['events 9: +a=@7 +b=@7 +a=@8 +b=@8 +c=@9', 'progress 9']);
  t.is(world.hub.slowWatcherCount, 0);
});

test('a start in the past is served from history, up to the present', (t) => {
  const world = new World({ bufferBytesMax: 1_000_000, catchUpRevisionsMax: 2 });
  for (const value of ['1', '2', '3']) world.script.put('a', value);
  const watcher = world.open({ ...ALL_KEYS, startRevision: 2 });
  t.is(world.hub.slowWatcherCount, 1);
  t.is(line(watcher.next()), 'events 4: +a=1@2 +a=2@3');
  world.script.put('a', '4');
  t.deepEqual(drain(watcher), ['events 5: +a=3@4 +a=4@5']);
  t.is(world.hub.slowWatcherCount, 0);
  world.script.put('a', '5');
  t.deepEqual(drain(watcher), ['events 6: +a=5@6']);
});

test('a start in the future hides what comes before it, also from one that fell behind', (t) => {
  const world = new World();
  const watcher = world.open({ ...ALL_KEYS, startRevision: 4 });
  world.script.put('a', '1');
  world.script.store = loadedFrom(bytesOf(world.script.store));
  world.hub.restored();
  t.deepEqual(drain(watcher), []);
  world.script.put('a', '2');
  world.script.put('a', '3');
  t.deepEqual(drain(watcher), ['events 4: +a=3@4']);
});

test('a watcher sees its key, its interval or everything from its key on', (t) => {
  const world = new World();
  const requests: Record<string, WatchRequest> = {
    'only b': { key: bytes('b') },
    'a to c': { key: bytes('a'), rangeEnd: bytes('c') },
    'from b': { key: bytes('b'), rangeEnd: bytes('\0') },
    'empty key': { key: bytes(''), rangeEnd: bytes('\0') },
    'empty range': { key: bytes('c'), rangeEnd: bytes('a') },
  };
  const watchers = Object.entries(requests).map(([name, request]) => [name, world.open(request)] as const);
  for (const key of ['a', 'b', 'c']) world.script.put(key);
  const keysIn = (lines: readonly string[]): string => Array.from(lines.join().matchAll(/\+(.)/g), ([, key]) => key).join('');
  const seen = watchers.map(([name, watcher]) => [name, keysIn(drain(watcher))]);
  t.deepEqual(Object.fromEntries(seen), { 'only b': 'b', 'a to c': 'ab', 'from b': 'bc', 'empty key': 'abc', 'empty range': '' });
});

test('filters leave out kinds, and nothing is told when nothing is left', (t) => {
  const world = new World();
  const puts = world.open({ ...ALL_KEYS, exclude: ['delete'] });
  const deletes = world.open({ ...ALL_KEYS, exclude: ['put'] });
  let woken = 0;
  t.is(deletes.next(), null);
  deletes.onReady = () => (woken += 1);
  world.script.put('a', '1');
  t.is(woken, 0);
  world.script.ops(opPut(bytes('b'), bytes('2')), opDelete(bytes('a')));
  t.is(woken, 1);
  t.deepEqual(drain(puts), ['events 3: +a=1@2 +b=2@3']);
  t.deepEqual(drain(deletes), ['events 3: -a@3']);
});

test('previous values are as of the revision before', (t) => {
  const world = new World();
  const watcher = world.open({ ...ALL_KEYS, prevKv: true });
  const plain = world.open();
  world.script.put('a', '1');
  world.script.put('a', '2');
  const both = opTxn({ success: [opPut(bytes('n'), bytes('x'))] });
  world.script.ops(both, opTxn({ success: [opDelete(bytes('n'))] }), opDelete(bytes('a')));
  t.deepEqual(drain(watcher), ['events 4: +a=1@2 +a=2@3<1 +n=x@4 -n@4 -a@4<2']);
  t.deepEqual(drain(plain), ['events 4: +a=1@2 +a=2@3 +n=x@4 -n@4 -a@4']);
});

test('a key that is deleted and put in one revision is new: it had no value before', (t) => {
  const world = new World();
  const watcher = world.open({ ...ALL_KEYS, prevKv: true });
  world.script.put('a', '1');
  // The duplicate-key rule has a hole for a delete up to the end of the key space.
  world.script.ops(opDelete(bytes('\0'), { rangeEnd: bytes('\0') }), opPut(bytes('a'), bytes('2')));
  const late = world.open({ ...ALL_KEYS, prevKv: true, startRevision: 2 });
  t.deepEqual(drain(watcher), ['events 3: +a=1@2 -a@3<1 +a=2@3']);
  t.deepEqual(drain(late), ['events 3: +a=1@2 -a@3<1 +a=2@3']);
});

test('the consumer is told once for each time it found nothing', (t) => {
  const world = new World();
  const watcher = world.hub.open(ALL_KEYS);
  let told = 0;
  watcher.onReady = () => (told += 1);
  world.script.put('a');
  t.is(told, 0, 'it has not asked yet');
  t.is(line(watcher.next()), 'created 1');
  t.is(drain(watcher).length, 1);
  t.is(world.hub.pendingEventCount, 0);
  world.script.put('a');
  world.script.put('a');
  t.is(world.hub.pendingEventCount, 2);
  t.is(told, 1);
  watcher.next();
  world.script.put('a');
  t.is(told, 1, 'it has more to fetch');
  drain(watcher);
  world.script.put('a');
  t.is(told, 2);
});

test('a consumer may ask, open and close from within onReady', (t) => {
  const world = new World();
  const lines: string[] = [];
  const first = world.open();
  const second = world.open();
  first.next();
  second.next();
  first.onReady = () => {
    lines.push(...drain(first));
    second.close();
    lines.push(line(world.hub.open({ ...ALL_KEYS, startRevision: 2 }).next()));
  };
  second.onReady = () => lines.push('a closed watcher was told');
  world.script.put('a', '1');
  t.deepEqual(lines, ['events 2: +a=1@2', 'created 2']);
  t.is(world.hub.watcherCount, 2);
});

test('created tells the revision at which the watch was opened, whenever it is taken', (t) => {
  const world = new World();
  const [late, early] = [world.hub.open(ALL_KEYS), world.hub.open({ ...ALL_KEYS, startRevision: 2 })];
  world.script.put('a', '1');
  t.deepEqual(drain(late), ['created 1', 'events 2: +a=1@2']);
  t.deepEqual(drain(early), ['created 1', 'events 2: +a=1@2']);
});

test('a reader that is too slow falls behind and misses nothing', (t) => {
  const world = new World({ bufferBytesMax: 500, catchUpRevisionsMax: 3 });
  const watcher = world.open();
  const expected: string[] = [];
  for (let i = 0; i < 20; i++) {
    world.script.put('a', String(i));
    expected.push(`+a=${i}@${i + 2}`);
  }
  t.is(world.hub.slowWatcherCount, 1);
  const lines = drain(watcher);
  t.deepEqual(lines.flatMap((each) => each.replace(/^events 21: /, '').split(' ')), expected);
  t.is(world.hub.slowWatcherCount, 0);
  world.script.put('b', '');
  t.deepEqual(drain(watcher), ['events 22: +b=@22']);
});

test('a reader that keeps pace never falls behind, however much passes through', (t) => {
  const world = new World({ bufferBytesMax: 500, catchUpRevisionsMax: 3 });
  const watcher = world.open();
  world.script.put('a', 'first');
  for (let i = 0; i < 2000; i++) {
    world.script.put('a', String(i));
    t.is(world.hub.slowWatcherCount, 0);
    t.is(watcher.next()?.kind, 'batch');
  }
});

test('one revision larger than the buffer is told all the same', (t) => {
  const world = new World({ bufferBytesMax: 10, catchUpRevisionsMax: 3 });
  const watcher = world.open();
  world.script.ops(opPut(bytes('a'), bytes('long value')), opPut(bytes('b'), bytes('long value')));
  t.deepEqual(drain(watcher), ['events 2: +a=long value@2 +b=long value@2']);
});

test('a watcher whose history is compacted away ends with the revision to read from', (t) => {
  const world = new World();
  for (const value of ['1', '2', '3']) world.script.put('a', value);
  const late = world.hub.open({ ...ALL_KEYS, startRevision: 2 });
  const exact = world.open({ ...ALL_KEYS, startRevision: 3 });
  const negative = world.open({ ...ALL_KEYS, startRevision: -1 });
  world.script.compact(3);
  t.is(line(late.next()), 'created 4');
  t.is(line(late.next()), 'compacted 3');
  t.is(late.next(), null);
  t.is(line(negative.next()), 'compacted 3');
  t.deepEqual(drain(exact), ['events 4: +a=2@3 +a=3@4']);
  t.is(world.hub.watcherCount, 1);
  t.is(world.hub.slowWatcherCount, 0);
});

test('a watcher in step does not mind a compaction', (t) => {
  const world = new World();
  const watcher = world.open({ key: bytes('rare') });
  for (let i = 0; i < 5; i++) world.script.put('other', String(i));
  world.script.compact(5);
  world.script.put('rare', '1');
  t.deepEqual(drain(watcher), ['events 7: +rare=1@7']);
});

test('progress comes after every event before it', (t) => {
  const world = new World();
  const watcher = world.open();
  world.script.put('a', '1');
  watcher.requestProgress();
  t.deepEqual(drain(watcher), ['events 2: +a=1@2', 'progress 2']);
  let told = 0;
  watcher.onReady = () => (told += 1);
  watcher.requestProgress();
  watcher.requestProgress();
  t.is(told, 1);
  t.deepEqual(drain(watcher), ['progress 2']);
  const behind = world.open({ ...ALL_KEYS, startRevision: 2 });
  behind.requestProgress();
  t.deepEqual(drain(behind), ['events 2: +a=1@2', 'progress 2']);
});

test('a watch of the future makes no progress before its start is near', (t) => {
  const world = new World();
  const watcher = world.open({ key: bytes('never'), startRevision: 4 });
  t.is(watcher.next(), null);
  let told = 0;
  watcher.onReady = () => (told += 1);
  watcher.requestProgress();
  world.script.put('a');
  t.deepEqual([told, watcher.next()], [0, null]);
  world.script.put('a');
  t.is(told, 1);
  t.deepEqual(drain(watcher), ['progress 3']);
});

test('a closed watcher is silent and forgotten', (t) => {
  const world = new World();
  const watcher = world.open();
  const key = world.open({ key: bytes('a') });
  watcher.onReady = () => t.fail();
  watcher.close();
  watcher.close();
  key.close();
  world.script.put('a');
  watcher.requestProgress();
  t.is(watcher.next(), null);
  t.is(world.hub.watcherCount, 0);
});

test('after a restore watchers go on from the history of the new store', (t) => {
  const world = new World();
  const [asleep, unread] = [world.open(), world.open()];
  world.script.put('a', '1');
  drain(asleep);
  let told = 0;
  asleep.onReady = () => (told += 1);
  const leader = new Script(loadedFrom(bytesOf(world.script.store)));
  leader.put('a', '2');
  leader.put('a', '3');
  world.script.store = loadedFrom(bytesOf(leader.store));
  world.script.index = leader.index;
  world.hub.restored();
  t.is(told, 1);
  t.deepEqual(drain(asleep), ['events 4: +a=2@3 +a=3@4']);
  world.script.put('a', '4');
  t.deepEqual(drain(asleep), ['events 5: +a=4@5']);
  t.deepEqual(drain(unread), ['events 5: +a=1@2 +a=2@3 +a=3@4 +a=4@5']);
});

test('watchers that want the same get the same batch', (t) => {
  const world = new World();
  const watchers = Array.from({ length: 100 }, () => world.open({ ...ALL_KEYS, prevKv: true }));
  const other = world.open(ALL_KEYS);
  world.script.put('a', '1');
  const batches = new Set(watchers.map((watcher) => {
    const result = watcher.next();
    return result?.kind === 'batch' ? result.batch : null;
  }));
  t.is(batches.size, 1);
  const result = other.next();
  t.false(batches.has(result?.kind === 'batch' ? result.batch : null));
});

test('watchers that lag alike get the same batch, and pairs before are the same for those of other ranges', (t) => {
  const world = new World();
  const alike = [world.open(), world.open()];
  const whole = world.open({ ...ALL_KEYS, prevKv: true });
  const one = world.open({ key: bytes('a'), prevKv: true });
  world.script.put('a', '1');
  world.script.put('a', '2');
  const eventsOf = (watcher: Watcher): readonly Event[] => {
    const result = watcher.next();
    return result?.kind === 'batch' ? result.batch.events : [];
  };
  const [first = [], second] = alike.map(eventsOf);
  t.is(first.length, 2);
  t.is(second, first);
  const [seen, other] = [eventsOf(whole), eventsOf(one)];
  t.deepEqual(seen.map(({ prevKv }) => prevKv === null), [true, false]);
  t.is(other[1], seen[1]);
});

test('watchers that lag from the same place on, but read at different times, each get all', (t) => {
  const world = new World();
  const [first, second] = [world.open(), world.open()];
  world.script.put('a', '1');
  world.script.put('a', '2');
  t.deepEqual(drain(first), ['events 3: +a=1@2 +a=2@3']);
  world.script.put('a', '3');
  t.deepEqual(drain(second), ['events 4: +a=1@2 +a=2@3 +a=3@4']);
  t.deepEqual(drain(first), ['events 4: +a=3@4']);
});

test('what was read is let go of one by one, also after a reader has lagged for long', (t) => {
  const world = new World({ bufferBytesMax: 1_000_000, catchUpRevisionsMax: 500 });
  const watchers = [world.open(), world.open()];
  // Something is always left.
  const read = (): void => watchers.forEach((watcher) => void watcher.next());
  const live = (kind: 'minor' | 'major'): number => {
    collect(kind);
    return v8.getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space')?.space_used_size ?? 0;
  };
  let revision = 1;
  const publish = (): void => {
    revision += 1;
    const kv = { key: bytes('a'), value: bytes('1'), createRevision: 2, modRevision: revision, version: 1, lease: 0n };
    // What of the event is an object of its own is seen in the heap, buffers would not be.
    world.hub.publish({ revision, events: [{ kind: 'put', kv, prevKv: { ...kv, key: bytes('b') } }] });
  };
  for (let i = 0; i < 600; i++) publish();
  live('major');
  live('major');
  read();
  const before = live('minor');
  for (let i = 0; i < 20; i++) {
    for (let j = 0; j < 500; j++) publish();
    read();
    live('minor');
  }
  // One that grew old would keep all that came after it: ten thousand of them, some megabytes.
  t.true(live('minor') - before < 1_000_000);
});

test('what is published costs what matches, not what watches', (t) => {
  const world = new World();
  for (let i = 0; i < 10_000; i++) world.open({ key: bytes(`${i}/`), rangeEnd: bytes(`${i}0`) });
  for (let i = 0; i < 10_000; i++) world.open({ key: bytes(`key${i}`) });
  const one = world.open({ key: bytes('hot') });
  let count = 0;
  // Looking at each watcher would take two hundred million looks.
  t.true(takesLess(3000, () => {
    for (let i = 0; i < 10_000; i++, count++) world.script.put('hot');
  }));
  t.is(drain(one).join().split('+').length - 1, count);
});

test('of a lease with very many keys each watcher is told what is its own, as if each event had been looked at', (t) => {
  const COUNT = EVENTS_MADE_MAX + 50;
  const key = (i: number): string => `k${String(i).padStart(5, '0')}`;
  const wishes: WatchRequest[] = [
    ALL_KEYS,
    { ...ALL_KEYS, prevKv: true },
    { ...ALL_KEYS, exclude: ['delete'] },
    { key: bytes(key(7)), prevKv: true },
    { key: bytes(key(COUNT)) },
    { key: bytes(key(10)), rangeEnd: bytes(key(20)) },
    { key: bytes(key(15)), rangeEnd: bytes(key(30)) },
    { key: bytes(key(20)), rangeEnd: bytes(key(10)) },
    { key: bytes(key(COUNT - 3)), rangeEnd: bytes('\0') },
    { key: bytes('a'), rangeEnd: bytes('b') },
    { key: bytes('z'), rangeEnd: bytes('\0') },
    { key: bytes(''), rangeEnd: bytes('k00002') },
  ];
  const toldTo = (isPlain: boolean): readonly string[][] => {
    const world = new World();
    if (isPlain) world.script.onEvents = ({ revision, events }) => world.hub.publish({ revision, events });
    world.script.grant(1n);
    for (let i = 0; i < COUNT; i++) world.script.put(key((i * 7919) % COUNT), `${i}`, { lease: 1n });
    const watchers = wishes.map((wish) => world.open(wish));
    world.script.revoke(1n);
    return watchers.map(drain);
  };
  const lines = toldTo(false);
  t.deepEqual(lines, toldTo(true));
  t.deepEqual(lines.map((each) => each.join(' ').split(' -').length - 1), [COUNT, COUNT, 0, 1, 0, 10, 15, 0, 3, 0, 0, 2]);
});

test('of the events of a lease with very many keys none is made that nobody watches', (t) => {
  const world = new World();
  world.script.grant(1n);
  for (let i = 0; i <= EVENTS_MADE_MAX; i++) world.script.put(`k${i}`, '', { lease: 1n });
  const elsewhere = world.open({ key: bytes('other') });
  const near = world.open({ key: bytes('k7') });
  world.script.onEvents = ({ revision, parts }) => world.hub.publish({
    revision,
    ...(parts === undefined ? {} : { parts }),
    get events(): never {
      throw new Error('all events are made');
    },
  });
  world.script.revoke(1n);
  t.deepEqual(drain(elsewhere), []);
  t.is(drain(near).length, 1);
});

test('a watcher that finds nothing in much history says so, and no progress is told before it has read all of it', (t) => {
  const world = new World();
  for (let i = 0; i < 3 * HISTORY_ROWS_MAX; i += 100) {
    world.script.ops(...Array.from({ length: 100 }, (_, j) => opPut(bytes(`k${i + j}`), bytes(''))));
  }
  const watcher = world.open({ ...ALL_KEYS, startRevision: 2, exclude: ['put'] });
  t.false(watcher.isSearching);
  watcher.requestProgress();
  t.is(watcher.next(), null);
  t.true(watcher.isSearching);
  world.script.del('k5');
  const end = world.script.store.revision;
  const told: string[] = [];
  let turns = 1;
  for (; told.length < 2 && turns < 20; turns++) {
    const result = watcher.next();
    if (result === null) t.true(watcher.isSearching);
    else told.push(line(result));
  }
  t.true(turns > 2);
  t.deepEqual(told, [`events ${end}: -k5@${end}`, `progress ${end}`]);
  t.is(watcher.next(), null);
  t.false(watcher.isSearching);
  t.is(world.hub.slowWatcherCount, 0);
});

// The words of the command line, and the rows they name.

import test from 'ava';
import { themesFor } from './catalog.js';
import { readWords, type Words } from './words.js';

function words(...args: readonly string[]): Words {
  const read = readWords(args);
  if (typeof read === 'string') throw new Error(read);
  return read;
}

test('without a word there are five rounds of the usual rows', (t) => {
  t.like(words(), { rounds: 5, only: '', isQuick: false, isJson: false, writes: false, isSecured: false, hasRecipes: false });
  t.is(words('--quick').rounds, 2);
  t.is(words('--quick', '--rounds', '1').rounds, 1);
});

test('a wrong word is named', (t) => {
  const complaint = (word: string): string => {
    const read = readWords([word]);
    return typeof read === 'string' ? read : 'no complaint';
  };
  t.regex(complaint('--fast'), /--fast/);
  t.regex(complaint('put'), /put/);
  for (const rounds of ['0', '1.5', 'many', '100', '-1']) t.true(complaint(`--rounds=${rounds}`).includes(`'${rounds}'`));
});

test('rows have ids of their own, and --only takes an id or words of a name', (t) => {
  const ids = themesFor(words('--secured', '--recipes')).flatMap(({ rows }) => rows.map(({ id }) => id));
  t.is(new Set(ids).size, ids.length);
  t.true(ids.every((id) => /^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(id)));
  for (const id of ids) {
    const rows = themesFor(words('--secured', '--recipes', '--only', id)).flatMap((theme) => theme.rows);
    t.deepEqual(rows.map((row) => row.id), [id]);
  }
  t.deepEqual(themesFor(words('--only', 'one at a time: p50')).map(({ title }) => title), [
    'Durable puts, one member', 'A million keys, one member',
  ]);
  t.deepEqual(themesFor(words('--only', 'no such row')), []);
});

test('a quick run measures some of the rows, and what is wanted of the others is not told as missing', (t) => {
  const ids = (themes: ReturnType<typeof themesFor>): string[] => themes.flatMap(({ rows }) => rows.map(({ id }) => id));
  const [quick, all] = [ids(themesFor(words('--quick'))), ids(themesFor(words()))];
  t.true(quick.length < all.length);
  t.deepEqual(all.filter((id) => quick.includes(id)), quick);
  for (const id of ['put-10x20', 'put-cpu', 'put-10000-p99', 'get-linearizable', 'gateway-put']) t.true(quick.includes(id), id);
});

test('every row of the usual run that is compared with etcd by a goal has the goal that was set for it', (t) => {
  const goals = themesFor(words()).flatMap(({ rows }) => rows).filter(({ goal }) => goal !== null)
    .map(({ id, goal }) => `${id} ${goal?.at} ${goal?.value}`);
  t.deepEqual(goals, [
    'put-10x20 least 2', 'put-100x10 least 2', 'put-cpu most 0.7', 'put-alone-p50 most 1', 'put-10000-p99 most 1',
    'get-linearizable least 3', 'get-serializable least 3', 'txn least 1.5',
    'members-put-leader least 1.5', 'members-put-follower least 1.5',
    'members-get-leader least 1.5', 'members-get-follower least 1.5', 'members-heartbeats-late most 500',
    'watch-100 least 1.5', 'watch-1000 least 1.5',
    'lease-keep-alive least 2', 'lease-grant least 2', 'lease-expiry least 2', 'gateway-put least 3', 'gateway-range least 3',
    'memory-fresh most 0.7', 'memory-restarted most 0.7', 'restart most 0.7', 'range-10000 least 1', 'count-1000000 least 1',
    'put-growth least 0.8', 'get-growth least 0.8',
  ]);
});

// `coterie publish` and `coterie subscribe` as processes: what is published is printed by everybody who subscribes, in order,
// from any position on, through a lost connection; what a reader will not see is told.

import test from 'ava';
import { Topic } from '../../../recipes/topic.js';
import { Proxy } from '../../recipes/homes.js';
import { begin, useStores, type Running } from './running.js';

const { stores, fresh } = useStores('t');

/** A reader prints nothing of its own; it is there once it has printed the first message. */
async function isThere(reader: Running, publish: (body: string) => Promise<unknown>): Promise<void> {
  while (!reader.stdout().includes('hello')) await publish('hello');
}

test.serial('what is published reaches every reader, in order, and a reader goes on where it was', async (t) => {
  for (const { url, port, name: home } of stores()) {
    const name = fresh();
    const publish = async (...words: string[]): Promise<string> => {
      return (await begin(t, url, ['publish', name, ...words]).ended).stdout;
    };
    const one = Number(await publish('one'));
    t.true(one > 0, home);
    t.deepEqual(JSON.parse(await publish('two', '--id', 'x', '--json')), { position: one + 1, duplicate: false });
    t.deepEqual(JSON.parse(await publish('two', '--id', 'x', '--json')), { position: one + 1, duplicate: true });
    const proxy = await Proxy.start(t, port);
    const reader = begin(t, `http://127.0.0.1:${proxy.port}`, ['subscribe', name, '--from', 'oldest', '--json']);
    await reader.says(/^\{"position":\d+,"body":"one"\}\n\{"position":\d+,"body":"two"\}\n$/);
    proxy.cut();
    await publish('three');
    await reader.says(/"two"\}\n\{"position":\d+,"body":"three"\}\n$/);
    const later = await begin(t, url, ['subscribe', name, '--from', String(one), '--count', '2']).ended;
    t.deepEqual([later.code, later.stdout], [0, 'two\nthree\n']);
    reader.signal('SIGINT');
    t.is((await reader.ended).code, 130);
  }
});

test.serial('a reader from now on sees what comes, of either kind of topic', async (t) => {
  for (const { url } of stores()) {
    for (const kind of [[], ['--live']]) {
      const name = fresh();
      const publish = (body: string): Promise<unknown> => begin(t, url, ['publish', name, body, ...kind]).ended;
      await publish('before');
      const reader = begin(t, url, ['subscribe', name, ...kind]);
      await isThere(reader, publish);
      await publish('last');
      const [all] = await reader.says(/^[^]*last\n$/);
      t.regex(all, /^(?:hello\n)+last\n$/);
      reader.signal('SIGTERM');
      t.is((await reader.ended).code, 143);
    }
  }
});

test.serial('what is not kept any more is told, with what to do, or passed over when asked to', async (t) => {
  const [{ url, client }] = stores();
  const name = fresh();
  const topic = new Topic(client, name, { retain: { count: 1 } });
  const first = (await topic.publish('m0')).position;
  for (let i = 1; i < 40; i += 1) await topic.publish(`m${i}`);
  const behindFirst = ['--from', String(first), '--count', '1'];
  const told = await begin(t, url, ['subscribe', name, ...behindFirst]).ended;
  t.deepEqual([told.code, told.stdout], [1, '']);
  const words = / to (\d+) are not kept any more.*\n {2}coterie subscribe --from \1, or --skip-gaps\n$/;
  const [, to = ''] = words.exec(told.stderr) ?? [];
  const further = await begin(t, url, ['subscribe', name, '--from', to, '--count', '1']).ended;
  t.is(further.stdout, `m${Number(to) + 1 - first}\n`);
  const skipped = await begin(t, url, ['subscribe', name, ...behindFirst, '--skip-gaps']).ended;
  t.deepEqual([skipped.code, skipped.stdout], [0, further.stdout]);
  t.regex(skipped.stderr, /^coterie subscribe: topic t\d+: messages \d+ to \d+ are not kept any more/);
});

test.serial('a reader whose reader has gone ends; words that are wrong, or no store, are said', async (t) => {
  const [{ url }] = stores();
  const name = fresh();
  const reader = begin(t, url, ['subscribe', name]);
  await isThere(reader, (body) => begin(t, url, ['publish', name, body]).ended);
  reader.child.stdout?.destroy();
  await begin(t, url, ['publish', name, 'into the void']).ended;
  t.is((await reader.ended).code, 0);
  const wrong: readonly (readonly [words: string, says: string])[] = [
    ['publish t', 'a word is missing\n  usage: coterie publish TOPIC MESSAGE'],
    ['publish t m --live --id x', '--id with --live: only the newest is kept\n  leave one of them out'],
    ['publish t m --keep 0', '--keep 0: not such a number'],
    ['subscribe t --from x', '--from x: no position\n  give now, oldest, or a position'],
    ['subscribe t --live --from 5', '--from 5 with --live: not kept\n  give now or oldest'],
    ['subscribe t --count none', '--count none: not such a number'],
  ];
  for (const [words, says] of wrong) {
    const { code, stderr } = await begin(t, url, words.split(' ')).ended;
    t.deepEqual([code, stderr.includes(says)], [2, true], stderr);
  }
  for (const words of ['publish t m', 'subscribe t', 'queue put q m', 'queue dead q', 'queue pause q']) {
    const none = await begin(t, 'http://127.0.0.1:1', [...words.split(' '), '--dial-timeout', '200ms']).ended;
    t.deepEqual([none.code, none.stdout], [1, '']);
    t.regex(none.stderr, /: unavailable: no endpoint could be reached: .*\n {2}say whom to ask/, words);
  }
});

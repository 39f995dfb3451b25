// coterie watch: what it prints is compared with etcdctl's in test/interop; here are its own JSON, the command it runs for each
// event, and many watches from one input.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import { put } from '../../../core/client.js';
import { play } from './in-process.js';
import { begin, startStores, type Store } from './running.js';

let stores: readonly [Store, ...Store[]];

test.before('stores start', async (t) => {
  stores = await startStores((line) => t.log(line));
});
test.after.always('all end', () => Promise.all(stores.map((store) => store.close())));

test.serial('--json is an object a line, of what was put, of what was deleted, of progress', async (t) => {
  for (const { url } of stores) {
    for (const words of [['put', 'j/a', '1'], ['put', 'j/a', '2'], ['del', 'j/a'], ['put', 'j/b', 'end']]) {
      await play(['--endpoints', url, ...words]);
    }
    const { stdout } = await play(`watch j/ --prefix --rev 1 --prev-kv --json --endpoints ${url}`, {
      until: (text) => text.includes('end'),
    });
    const lines = stdout.trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
    t.like(lines, {
      0: { event: 'put', kv: { key: 'j/a', value: '1', version: 1 } },
      1: { event: 'put', kv: { value: '2' }, prevKv: { value: '1' } },
      2: { event: 'delete', kv: { key: 'j/a' }, prevKv: { value: '2' } },
      3: { event: 'put', kv: { key: 'j/b', value: 'end' } },
    });
    t.is(lines.length, 4);
  }
});

test.serial('a command runs once for each event, in their order, and its failure ends the watch', async (t) => {
  const [{ url, client }] = stores;
  for (const value of ['1', 'two words', '3']) await put(client, utf8('c'), utf8(value));
  const script = 'echo "$ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"';
  const watch = begin(t, url, ['watch', 'c', '--rev', '1', '--', 'sh', '-c', script]);
  await watch.says(/"PUT" "c" "1"\n[^]*"PUT" "c" "two words"\n[^]*"PUT" "c" "3"\n/);
  watch.signal('SIGINT');
  t.is((await watch.ended).code, 130);
  const failing = await begin(t, url, ['watch', 'c', '--rev', '1', '--', 'sh', '-c', 'exit 3']).ended;
  t.is(failing.code, 1);
  t.regex(failing.stderr, /command \["sh" "-c" "exit 3"\] ended with exit code 3\n {2}the events behind this one/);
});

test.serial('many watches are read from one input; a wrong line ends none of them, and is not forgotten', async (t) => {
  const [{ url, client }] = stores;
  await put(client, utf8('i1'), utf8('one'));
  await put(client, utf8('i2'), utf8('two'));
  const input = 'watch i1 --rev=1\nnonsense\nwatch "i2" --rev=1\nwatch i2 i1\nprogress\n';
  const seen = await play(`watch -i --endpoints ${url}`, { input, until: (text) => /one[^]*two|two[^]*one/.test(text) });
  t.regex(seen.stdout, /PUT\ni1\none\n/);
  t.regex(seen.stdout, /PUT\ni2\ntwo\n/);
  t.regex(seen.stderr, /Invalid command nonsense \(only support watch\)[^]*i2 i1: no key lies there/);
  t.is(seen.code, 2);
});

test.serial('one input has a thousand watches, however many of its lines are wrong', async (t) => {
  const [{ url }] = stores;
  const ended = new AbortController();
  const complained = (stderr: string): void => {
    if (stderr.includes('too many watches')) ended.abort();
  };
  const input = `${'nonsense\n'.repeat(1_000)}${'watch many\n'.repeat(1_001)}`;
  const { code, stderr } = await play(`watch -i --endpoints ${url}`, { input, complained, signal: ended.signal });
  t.is(code, 2);
  t.is(stderr.match(/too many watches\n {2}1000 at most/g)?.length, 1);
});

test.serial('history that is gone is said, with what to do', async (t) => {
  for (const { url } of stores) {
    await play(`put h 1 --endpoints ${url}`);
    const { stdout } = await play(`put h 2 --json --endpoints ${url}`);
    const { revision } = JSON.parse(stdout) as { revision: number };
    await play(`compaction ${revision} --endpoints ${url}`);
    const { code, stderr } = await play(`watch h --rev 1 --endpoints ${url}`);
    t.is(code, 1);
    t.regex(stderr, /^coterie watch: etcdserver: mvcc: required revision has been compacted\n {2}that revision is gone/);
  }
});

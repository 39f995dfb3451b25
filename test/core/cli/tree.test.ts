// Keys as a tree: what lies deeper than asked for costs no page of its own, and no key is lost at the end of one.

import test from 'ava';
import { utf8 } from '../../../core/base/bytes.js';
import type { Client, RangeRequest } from '../../../core/client.js';
import { opPut, put } from '../../../core/client.js';
import { listKeys } from '../../../core/cli/key-tree.js';
import { startNode } from '../../../core/index.js';
import { play } from './in-process.js';
import { serve } from '../../serving.js';

let url = '';
let client: Client | null = null;
let end = (): Promise<void> => Promise.resolve();

test.before('a server starts', async () => {
  const node = await startNode({ name: 't', dataDir: null });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  [url, client] = [server.urls[0] ?? '', node.client];
  end = async () => {
    await server.close();
    await node.close();
  };
  const keys = ['a', 'app', 'app/', 'app/web/1', 'app/web/2', 'app/web/deep/x', 'app/z', 'zoo\nline'];
  await node.client.txn({ success: keys.map((key) => opPut(utf8(key), utf8('v'))) });
  for (let from = 0; from < 3_000; from += 100) {
    const some = Array.from({ length: 100 }, (_, i) => opPut(utf8(`big/${String(from + i).padStart(5, '0')}/leaf`), utf8('v')));
    await node.client.txn({ success: some });
  }
});
test.after.always('it ends', () => end());

async function printed(line: string): Promise<string> {
  return (await play(line, { env: { COTERIE_ENDPOINTS: url } })).stdout;
}

test('ls shows one level, folders with a slash, and a key that is called like the folder', async (t) => {
  t.is(await printed('ls'), 'a\napp\napp/\nbig/\n"zoo\\nline"\n');
  t.is(await printed('ls app'), 'app\napp/\napp/web/\napp/z\n');
  t.is(await printed('ls app/web/'), 'app/web/1\napp/web/2\napp/web/deep/\n');
  t.is(await printed('ls nothing'), '');
  t.is((await printed('ls big')).split('\n').length, 3_001);
  t.is((await play('ls nothing --exit-code', { env: { COTERIE_ENDPOINTS: url } })).code, 3);
  t.regex(await printed('ls app/web -l'), /^CREATED +CHANGED +VERSION +LEASE +KEY\n2 +2 +1 +- +app\/web\/1\n/);
});

test('tree draws all of it, or as deep as asked', async (t) => {
  t.is(await printed('tree app/'), [
    'app/', '├── web/', '│   ├── 1', '│   ├── 2', '│   └── deep/', '│       └── x', '└── z', '', '5 keys', '',
  ].join('\n'));
  t.is(await printed('tree app/ --depth 1'), 'app/\n├── web/ …\n└── z\n\n2 keys, 1 folder not opened\n');
  const tree = JSON.parse(await printed('tree app/ --json')) as Record<string, unknown>;
  t.like(tree, { prefix: 'app/', children: { 0: { name: 'web/' }, 1: { name: 'z' } } });
});

test('a folder of thousands is jumped over', async (t) => {
  const asked: RangeRequest[] = [];
  const inner = client;
  if (inner === null) return t.fail();
  const range: Client['range'] = async (request) => {
    const answer = await inner.range(request);
    // Somebody writes between the pages.
    if (asked.push(request) < 3) await put(inner, utf8('big/00000/leaf'), utf8('w'));
    return answer;
  };
  const counting = { range } as Partial<Client> as Client;
  const { entries, revision } = await listKeys(counting, '', 1);
  t.is(entries.length, 5);
  t.true(asked.length <= 3, `${asked.length} pages`);
  t.true(asked.every(({ keysOnly }) => keysOnly === true));
  t.true(asked.length > 1 && asked.slice(1).every((page) => page.revision === revision), 'all pages are of one revision');
});

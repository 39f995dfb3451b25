// A whole node in this process: put, get, watch. What is written here goes through the real machine and the real log, in a
// directory that can be opened again. Run it: npm run example 01
//
// Prints:
//   put    greeting = hello       (revision 2)
//   get    greeting = hello
//   watch  greeting = hello again (revision 3)
//   watch  greeting is gone       (revision 4)
//   later  revision 4 is still known after a restart

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { del, get, put, startNode, text, utf8 } from '../core/index.js';
import type { Client } from '../core/index.js';

const directory = mkdtempSync(join(tmpdir(), 'coterie-example-'));
const key = utf8('greeting');

async function follow(client: Client, from: number): Promise<void> {
  for await (const batch of client.watch({ key, startRevision: from })) {
    for (const { kind, kv } of batch.events) {
      const what = kind === 'put' ? `greeting = ${text(kv.value)}` : 'greeting is gone      ';
      console.log(`watch  ${what} (revision ${kv.modRevision})`);
      if (kind === 'delete') return; // Leaving the loop ends the watch.
    }
  }
}

try {
  const node = await startNode({ dataDir: directory });
  const { header } = await put(node.client, key, utf8('hello'));
  console.log(`put    greeting = hello       (revision ${header.revision})`);
  const found = await get(node.client, key);
  console.log(`get    greeting = ${found === null ? '' : text(found.value)}`);

  const following = follow(node.client, header.revision + 1);
  await put(node.client, key, utf8('hello again'));
  await del(node.client, key);
  await following;
  await node.close();

  const again = await startNode({ dataDir: directory });
  const { header: later } = await again.client.range({ key });
  console.log(`later  revision ${later.revision} is still known after a restart`);
  await again.close();
} finally {
  rmSync(directory, { recursive: true, force: true });
}

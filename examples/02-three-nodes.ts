// A cluster of three in this process: write through one member, read from another, stop the leader, go on. Each member has a
// log of its own; they meet on real sockets of the loopback. Run it: npm run example 02
//
// Prints:
//   three members, and one of them leads
//   a  put greeting = hello       (revision 2)
//   b  get greeting = hello
//   c  get greeting = hello
//   the leader is gone: the other two chose another one
//   put greeting = hello again    (revision 3)
//   get greeting = hello again

import { createServer } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { get, put, startNode, text, utf8 } from '../core/index.js';
import type { RunningNode } from '../core/index.js';

const directory = mkdtempSync(join(tmpdir(), 'coterie-example-'));
const key = utf8('greeting');

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

async function value(node: RunningNode): Promise<string> {
  const found = await get(node.client, key);
  return found === null ? 'nothing' : text(found.value);
}

const ports = [await freePort(), await freePort(), await freePort()];
const initialCluster = ['a', 'b', 'c'].map((name, i) => ({ name, peerUrls: [`http://127.0.0.1:${ports[i] ?? 0}`] }));
// All at once: a member serves when a majority is there.
let nodes = await Promise.all(initialCluster.map(({ name, peerUrls }) => {
  return startNode({ name, dataDir: join(directory, name), peerUrls, listenPeerUrls: peerUrls, initialCluster });
}));
try {
  const leaders = nodes.filter((node) => node.facts().state === 'leader');
  console.log(`three members, and ${leaders.length === 1 ? 'one' : 'none'} of them leads`);
  const [a, b, c] = nodes as [RunningNode, RunningNode, RunningNode];
  console.log(`a  put greeting = hello       (revision ${(await put(a.client, key, utf8('hello'))).header.revision})`);
  console.log(`b  get greeting = ${await value(b)}\nc  get greeting = ${await value(c)}`);

  const leader = nodes.find((node) => node.facts().state === 'leader') ?? a;
  nodes = nodes.filter((node) => node !== leader);
  await leader.close(); // It hands over first.
  console.log('the leader is gone: the other two chose another one');
  const [one, other] = nodes as [RunningNode, RunningNode];
  console.log(`put greeting = hello again    (revision ${(await put(one.client, key, utf8('hello again'))).header.revision})`);
  console.log(`get greeting = ${await value(other)}`);
} finally {
  await Promise.all(nodes.map((node) => node.close()));
  rmSync(directory, { recursive: true, force: true });
}

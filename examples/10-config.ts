// Configuration: published, checked, rolled out to some first, rolled back, and at hand while the store is away.
// Everything runs in this process; against a server, `connect('http://127.0.0.1:2379')` takes the node's place.
//
// Prints:
//   web uses version 1: 10 connections
//   refused: connections is -5; give 1 to 1000
//   canary uses version 2, web version 1
//   rolled back by ann (too many): {"connections":50} -> {"connections":10}
//   started without the store: 10 connections, stale

import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { connect, startNode } from '../core/index.js';
import { ConfigInvalid, ConfigSpace, type ConfigFollower } from '../recipes/index.js';

/** The application's own rules, for what it publishes and for what it reads. */
function parse(value: unknown): { connections: number } {
  const connections = typeof value === 'object' && value !== null && 'connections' in value ? Number(value.connections) : NaN;
  if (!(connections >= 1 && connections <= 1000)) throw new Error(`connections is ${connections}; give 1 to 1000`);
  return { connections };
}

const node = await startNode({ dataDir: null });
const limits = new ConfigSpace(node.client, 'limits', { parse });
const file = path.join(tmpdir(), `limits-${process.pid}`);
const snapshot = { file, maxAgeMs: 24 * 3_600_000, wallMs: Date.now };
await limits.publish({ connections: 10 }, { expect: 0, who: 'ann' });
const web = await limits.follow({ instance: 'web-1', snapshot }).ready();
const canary = await limits.follow({ instance: 'canary-1' }).ready();
say(`web uses version ${web.version}: ${web.current.connections} connections`);
try {
  await limits.publish({ connections: -5 }, { expect: 1 });
} catch (error) {
  if (!(error instanceof ConfigInvalid && error.cause instanceof Error)) throw error;
  say(`refused: ${error.cause.message}`);
}
await limits.publish({ connections: 50 }, { expect: 1, rollout: { instances: ['canary-1'] } });
await reaches(canary, 2);
say(`canary uses version ${canary.version}, web version ${web.version}`);
await limits.complete(2);
await limits.rollBack(1, { expect: 2, who: 'ann', note: 'too many' });
await Promise.all([reaches(canary, 1), reaches(web, 1)]);
const { value: change } = await limits.history().next();
say(`rolled back by ${change?.who} (${change?.note}): ${change?.before} -> ${change?.after}`);
await Promise.all([web.close(), canary.close()]);
await node.close();

const away = connect('http://127.0.0.1:1');
const booted = await new ConfigSpace(away, 'limits', { parse }).follow({ instance: 'web-1', snapshot, bootMs: 200 }).ready();
say(`started without the store: ${booted.current.connections} connections, ${booted.stale === null ? 'current' : 'stale'}`);
await Promise.all([booted.close(), away.close(), rm(file)]);

async function reaches(follower: ConfigFollower<{ connections: number }>, wanted: number): Promise<void> {
  for await (const { version } of follower.changes()) if (version === wanted) return;
}

function say(words: string): void {
  process.stdout.write(`${words}\n`);
}

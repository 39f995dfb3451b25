// Shared, alone, or no more than so many: readers share what a writer changes alone, and three workers share two permits.
// All in this process; against a server, `connect('http://127.0.0.1:2379')` takes the node's place.
//
// Prints:
//   2 readers at once
//   the writer waits, and so does a reader that came after it
//   the writer is alone
//   then 1 reader reads version 2
//   first and second work, 1 waits
//   third has what first gave back
//   a caller who thinks there are 5: semaphore_limit_differs
//   with one more there is room for first again

import { startNode } from '../core/index.js';
import {
  acquirePermits, readLock, resizeSemaphore, rwLockState, SemaphoreLimitDiffers, semaphoreState, Session, writeLock,
} from '../recipes/index.js';

const node = await startNode({ dataDir: null });
const { client } = node;
const session = await Session.open(client, { ttlSeconds: 10 });

const readers = await Promise.all([readLock(session, 'config'), readLock(session, 'config')]);
say(`${(await rwLockState(client, 'config')).holders.length} readers at once`);
const writing = writeLock(session, 'config', { timeoutMs: 30_000 });
while ((await rwLockState(client, 'config')).waiters.length < 1) await new Promise(setImmediate);
const reading = readLock(session, 'config');
while ((await rwLockState(client, 'config')).waiters.length < 2) await new Promise(setImmediate);
say('the writer waits, and so does a reader that came after it');
for (const reader of readers) await reader.release();
const writer = await writing;
say(`the ${(await rwLockState(client, 'config')).holders[0]?.kind === 'write' ? 'writer is alone' : 'readers are first'}`);
await writer.txn().put('config', 'version 2').commit();
await writer.release();
const reader = await reading;
const read = await reader.txn().range('config').commit();
const [found] = read.responses;
const value = found?.kind === 'range' ? Buffer.from(found.response.kvs[0]?.value ?? '').toString() : '';
say(`then ${(await rwLockState(client, 'config')).holders.length} reader reads ${value}`);
await reader.release();
const take = (limit = 2): ReturnType<typeof acquirePermits> => acquirePermits(session, 'workers', { limit });
const [first, second] = [await take(), await take()];
const waiting = take();
while ((await semaphoreState(client, 'workers')).waiting < 1) await new Promise(setImmediate);
say(`first and second work, ${(await semaphoreState(client, 'workers')).waiting} waits`);
await first.release();
const third = await waiting;
say('third has what first gave back');
const refused: unknown = await take(5).catch((error: unknown) => error);
say(`a caller who thinks there are 5: ${refused instanceof SemaphoreLimitDiffers ? refused.code : String(refused)}`);
await resizeSemaphore(client, 'workers', { from: 2, to: 3 });
const again = await take(3);
say('with one more there is room for first again');
for (const each of [second, third, again]) await each.release();
await session.close();
await node.close();

function say(words: string): void {
  process.stdout.write(`${words}\n`);
}

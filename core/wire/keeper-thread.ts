// The thread in which leases are kept: it takes orders from keep-aliver.ts and has one client of its own. It ends when it
// is told to, or with the process.

import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../base/assert.js';
import { processNs, systemClock } from '../base/clock.js';
import { KeepCell } from './keep-cell.js';
import type { FromThread, ThreadOptions, ToThread } from './keep-aliver.js';
import { Keeper } from './keeper.js';
import { connect } from './remote-client.js';

const port = parentPort;
assert(port !== null, 'keeper-thread.js is run as a worker thread');
const { endpoints, options } = workerData as ThreadOptions;
const client = connect(endpoints, options);
const keepers = new Map<number, Keeper>();

function tell(news: FromThread): void {
  port?.postMessage(news);
}

port.on('message', (message: ToThread) => {
  if (message.kind === 'keep') {
    const { id, memory, order } = message;
    const onGone = (): void => tell({ kind: 'gone', id });
    keepers.set(id, new Keeper(order, new KeepCell(memory), { client, clock: systemClock, nowNs: processNs, onGone }));
  } else if (message.kind === 'drop') {
    keepers.get(message.id)?.stop();
    keepers.delete(message.id);
  } else {
    for (const keeper of keepers.values()) keeper.stop();
    void client.close();
    port.close();
  }
});

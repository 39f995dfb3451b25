// That nobody is handed a port that somebody else was told, be it in this process or in another one.

import { Worker } from 'node:worker_threads';
import { connect } from 'node:net';
import test from 'ava';
import { freePorts } from './free-ports.js';

const module = new URL('free-ports.js', import.meta.url).href;

async function portsOf(worker: Worker): Promise<number[]> {
  return await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

test('ports handed out at the same time, here and by others, are never the same, and nobody listens on them', async (t) => {
  const code = `const { freePorts } = await import(${JSON.stringify(module)});
    const { parentPort } = await import('node:worker_threads');
    parentPort.postMessage(await freePorts(120));
    setInterval(() => undefined, 1000);`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  const workers = Array.from({ length: 3 }, () => new Worker(url));
  t.teardown(() => Promise.all(workers.map((worker) => worker.terminate())));
  const told = (await Promise.all([freePorts(120), freePorts(30), ...workers.map(portsOf)])).flat();
  t.is(told.length, 510);
  t.is(new Set(told).size, 510);
  const port = told.at(-1) ?? 0;
  const error = await new Promise<NodeJS.ErrnoException>((resolve) => connect(port, '127.0.0.1').once('error', resolve));
  t.is(error.code, 'ECONNREFUSED');
});

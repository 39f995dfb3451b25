// A process of its own for tests: one member in memory, serving on a free port of loopback; prints its url. At each SIGUSR2
// its wall clock steps: an hour ahead, an hour back, and so on by turns.

import { serve, startNode } from '../../core/index.js';

const HOUR_MS = 3_600_000;
const { now } = Date;
let shiftMs = 0;
process.on('SIGUSR2', () => {
  shiftMs = shiftMs > 0 ? -HOUR_MS : HOUR_MS;
  Date.now = () => now() + shiftMs;
});

const node = await startNode({ name: 't', dataDir: null });
const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
process.stdout.write(`${server.urls[0]}\n`);

// A process of its own for tests: one member in memory, serving on a free port of loopback; prints its url.

import { startNode } from '../../core/index.js';
import { serve } from '../serving.js';

const node = await startNode({ name: 't', dataDir: null });
const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
process.stdout.write(`${server.urls[0]}\n`);

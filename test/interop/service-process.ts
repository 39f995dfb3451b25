// A small HTTP service as a process of its own that registers itself: what the timing campaign starts and kills.
// argv: store URL, id, TTL in seconds. On stdin the line `register` makes it do so; on stdout it says `listening` and
// `registered`. It answers every request with its id.

import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { connect } from '../../core/wire/remote-client.js';
import { register } from '../../recipes/registry.js';

const [url = '', id = '', ttl = '2'] = process.argv.slice(2);
const server = createServer((_request, response) => {
  response.setHeader('x-instance', id);
  response.end('ok\n');
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const address = server.address();
if (address === null || typeof address === 'string') throw new Error('a TCP server has a port');
const client = connect(url);
process.stdout.write(`listening ${address.port}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== 'register') continue;
  await register(client, { service: 'web', id, address: '127.0.0.1', port: address.port }, { ttlSeconds: Number(ttl) });
  process.stdout.write('registered\n');
}

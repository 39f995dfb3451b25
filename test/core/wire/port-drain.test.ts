// A server that goes lets its readers take what it has said, over HTTP/1 and over HTTP/2. Ours alone: the library's server has no
// HTTP in HTTP/2.

import { request, type IncomingMessage } from 'node:http';
import { connect, type ClientHttp2Stream } from 'node:http2';
import test, { type ExecutionContext } from 'ava';
import { startNode } from '../../../core/start-node.js';
import { serve, type WireServer } from '../../../core/wire/port.js';

/** More than two sockets hold between them; and than what a caller of HTTP/2 lets come unasked. */
const BYTES = 16_000_000;
const WINDOW_BYTES = 1_000_000;

async function start(t: ExecutionContext, bytes: number): Promise<WireServer> {
  const node = await startNode({ dataDir: null });
  t.teardown(() => node.close());
  const metrics = () => Promise.resolve({ contentType: 'text/plain', body: 'a'.repeat(bytes) });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'], metrics });
  t.teardown(() => server.close());
  return server;
}

/** What comes of an answer whose reader waits until the server is going. */
async function takenWhile(server: WireServer, answer: IncomingMessage | ClientHttp2Stream): Promise<number> {
  let bytes = 0;
  answer.pause();
  const drained = server.drain(60_000);
  answer.on('data', (part: Buffer) => (bytes += part.length));
  answer.on('error', () => undefined);
  const over = new Promise((resolve) => answer.once('close', resolve));
  // In later turns: what is cut off is so in the first.
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  answer.resume();
  await over;
  await drained;
  return bytes;
}

test('an answer that was said and not taken outlasts a server that goes, over HTTP/1', async (t) => {
  const server = await start(t, BYTES);
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    request(`${server.urls[0]}/metrics`, resolve).on('error', reject).end();
  });
  t.is(await takenWhile(server, answer), BYTES);
});

test('and over HTTP/2', async (t) => {
  const server = await start(t, WINDOW_BYTES);
  const session = connect(server.urls[0] ?? '');
  t.teardown(() => session.destroy());
  const answer = session.request({ ':path': '/metrics' });
  await new Promise((resolve) => answer.once('response', resolve));
  t.is(await takenWhile(server, answer), WINDOW_BYTES);
});

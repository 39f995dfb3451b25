// Heads that the short way reads, and those it leaves to others although nothing is wrong with them.

import test from 'ava';
import type { UnaryMethod } from '../../../../core/wire/call.js';
import { BODY_BYTES_MAX } from '../../../../core/wire/http1/limits.js';
import { mayBeHead, readHead, type RequestHead } from '../../../../core/wire/http1/request-head.js';

const MAPPING = { toBytes: () => new Uint8Array(), toText: () => '', takesMany: false };

function read(lines: readonly string[], more: Partial<UnaryMethod> = {}): RequestHead | null {
  const plain: UnaryMethod = { kind: 'unary', service: 's', name: 'n', handle: () => Promise.resolve(new Uint8Array()), ...more };
  const route = { method: plain, plain, mapping: MAPPING };
  return readHead(['POST /v3/kv/range HTTP/1.1', ...lines].join('\r\n'), (path) => (path === '/v3/kv/range' ? route : null));
}

const USUAL = ['Host: x', 'Content-Length: 2'];

test('what is known of a head is what it says, whatever the case and the space around it', (t) => {
  t.is(read(USUAL)?.bodyBytes, 2);
  const head = read(['HOST:x', 'content-LENGTH: \t2\t ', 'X:', 'Connection: Close', 'grpc-metadata-TOKEN:  a b  ', 'X: \xff']);
  t.deepEqual([head?.fields.host, head?.bodyBytes, head?.isLast, head?.fields.metadataToken], ['x', 2, true, 'a b']);
  t.false(read([...USUAL, 'Connection: Keep-Alive'])?.isLast);
  t.is(read(['Host: \xa0', 'Content-Length: 2'])?.fields.host, '\xa0');
});

test('a body of any size but a large one, and a method that answers by itself, is for the short way', (t) => {
  t.is(read(['Host: x', `Content-Length: ${BODY_BYTES_MAX}`])?.bodyBytes, BODY_BYTES_MAX);
  t.is(read(['Host: x', `Content-Length: ${BODY_BYTES_MAX + 1}`]), null);
  t.is(read(USUAL, { waits: true }), null);
  for (const name of ['Transfer-Encoding', 'Expect', 'Upgrade', 'TE', 'Trailer', 'Proxy-Connection', 'HTTP2-Settings']) {
    t.is(read([...USUAL, `${name}: x`]), null, name);
  }
  for (const connection of ['x', 'close, x', 'keep-alive, Host', '']) t.is(read([...USUAL, `Connection: ${connection}`]), null);
});

test('SD3: a field that is nothing but space is read once, not once for each space', (t) => {
  t.is(read([`Host:${' '.repeat(8000)}x\t`, 'Content-Length: 2'])?.fields.host, 'x');
  t.is(read(['Host: \t ', 'Content-Length: 2'])?.fields.host, '');
  // Each space once more for each would take minutes.
  const lines = [...USUAL, `X:${' '.repeat(8000)}\u0001`];
  let heads = 0;
  for (let i = 0; i < 10_000; i++) if (read(lines) !== null) heads += 1;
  t.is(heads, 0);
});

test('what cannot become such a head is known by its first bytes', (t) => {
  for (const opening of ['P', 'POST ', 'POST /v3', 'POST /v3/kv/put HTTP/1.1']) t.true(mayBeHead(Buffer.from(opening)), opening);
  for (const opening of ['G', 'PUT', 'POST /v2', 'POST  /v3', 'post /v3', '\r\n']) {
    t.false(mayBeHead(Buffer.from(opening)), opening);
  }
});

// What may cross the proxy in a message head.

import test from 'ava';

import {
  isReplayable, readFraming, readPath, requestHeaders, responseHeaders, upgradeHeaders,
} from '../../sidecar/proxy-headers.js';
import type { Peer } from '../../sidecar/proxy-headers.js';

const STRANGER: Peer = { address: '203.0.113.9', secure: false, port: 80, trusted: false };

function head(headers: Record<string, string>, method = 'GET', url = '/') {
  return { method, url, headers };
}

function framing(...pairs: [string, string][]) {
  return readFraming(head(Object.fromEntries(pairs)), pairs.flat());
}

test('a length that could be read in two ways is refused', (t) => {
  t.like(framing(['content-length', '3'], ['transfer-encoding', 'chunked']), {
    refused: 'both Content-Length and Transfer-Encoding are present',
  });
  t.like(framing(['content-length', '3'], ['content-length', '4']), { refused: 'more than one content-length header' });
  t.like(framing(['host', 'a'], ['host', 'b']), { refused: 'more than one host header' });
  for (const encoding of ['gzip, chunked', 'chunked, identity', 'identity', 'xchunked']) {
    t.like(framing(['transfer-encoding', encoding]), { refused: `unknown Transfer-Encoding ${JSON.stringify(encoding)}` });
  }
  for (const length of ['-1', '+3', '0x3', '3, 3', '1e3', ' ']) {
    t.like(framing(['content-length', length]), { refused: `bad Content-Length ${JSON.stringify(length)}` });
  }
});

test('a length that can be read in one way is understood', (t) => {
  t.is(framing(), 'none');
  t.is(framing(['content-length', '0']), 'none');
  t.is(framing(['content-length', '17']), 'length');
  t.is(framing(['transfer-encoding', 'Chunked']), 'chunked');
});

test('hop-by-hop headers stay on their hop, also those that Connection names', (t) => {
  const sent = requestHeaders(head({
    host: 'a', connection: 'close, X-Secret', 'x-secret': '1', te: 'trailers', 'keep-alive': 'timeout=5',
    'proxy-authorization': 'Basic x',
    'proxy-connection': 'keep-alive', upgrade: 'h2c', trailer: 'x', expect: '100-continue', accept: '*/*',
  }), 'none', STRANGER);
  t.deepEqual(Object.keys(sent).sort(), [
    'accept', 'host', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-proto',
  ]);
  const answered = { connection: 'x-a', 'x-a': '1', 'keep-alive': 'timeout=5', 'transfer-encoding': 'chunked', etag: 'e' };
  t.deepEqual(responseHeaders(answered), { etag: 'e' });
});

test('Connection cannot strip what frames or addresses the request', (t) => {
  const said = { host: 'a', 'content-length': '5', authorization: 'x', connection: 'host, content-length, authorization' };
  const sent = requestHeaders(head(said), 'length', STRANGER);
  t.like(sent, { host: 'a', 'content-length': '5', authorization: 'x' });
});

test('a chunked body is announced to the instance as chunked, whatever the method', (t) => {
  t.is(requestHeaders(head({ 'transfer-encoding': 'chunked' }, 'DELETE'), 'chunked', STRANGER)['transfer-encoding'], 'chunked');
});

test('a stranger cannot say where it comes from', (t) => {
  const lies = {
    host: 'a.example', 'x-forwarded-for': '10.0.0.1', 'x-forwarded-host': 'evil', 'x-forwarded-proto': 'https',
    'x-forwarded-port': '1',
    'x-forwarded-server': 'evil', 'x-real-ip': '10.0.0.1', forwarded: 'for=10.0.0.1',
  };
  t.deepEqual(requestHeaders(head(lies), 'none', STRANGER), {
    host: 'a.example', 'x-forwarded-for': '203.0.113.9', 'x-forwarded-proto': 'http', 'x-forwarded-port': '80',
    'x-forwarded-host': 'a.example',
  });
});

test('a trusted proxy is believed, and the chain grows by its address', (t) => {
  const chain = { 'x-forwarded-for': '198.51.100.1', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'shop.example' };
  const said = { ...chain, host: 'inner' };
  t.like(requestHeaders(head(said), 'none', { ...STRANGER, trusted: true }), {
    ...said, 'x-forwarded-for': '198.51.100.1, 203.0.113.9',
  });
});

test('an upgrade carries the proxy\'s own connection headers', (t) => {
  const said = { connection: 'keep-alive, Upgrade, x-a', 'x-a': '1', upgrade: 'WebSocket', 'sec-websocket-key': 'k' };
  const sent = upgradeHeaders(head(said), STRANGER);
  t.like(sent, { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': 'k', 'x-forwarded-for': '203.0.113.9' });
  t.false('x-a' in sent);
});

test('a request target is passed on as a path, untouched', (t) => {
  for (const path of ['/', '/a//b?c=//d?e', '/%2e%2e/x', '*', '//evil.example/x']) t.is(readPath(path), path);
  t.is(readPath('http://a.example/b?c'), '/b?c');
  t.is(readPath('http://a.example'), '/');
  t.is(readPath('http://a.example?q'), '/?q');
  for (const bad of ['a.example:443', 'ftp://a/b', 'x', 'http:///x']) t.is(readPath(bad), null, bad);
});

test('only what is idempotent and has no body may be sent twice', (t) => {
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE']) t.true(isReplayable(method, 'none'));
  for (const method of ['POST', 'PATCH', 'CONNECT', 'PROPFIND']) t.false(isReplayable(method, 'none'));
  t.false(isReplayable('PUT', 'length'));
  t.false(isReplayable('DELETE', 'chunked'));
});

// The figure of a server's memory, over each way that its clients reach it.

import { createServer as createPlain, type RequestListener, type Server } from 'node:http';
import { createServer } from 'node:https';
import test, { type ExecutionContext } from 'ava';
import { residentBytes } from '../../../core/cli/resident.js';
import { TestAuthority } from '../../certificates.js';

const figures: RequestListener = (request, response) => {
  response.statusCode = request.url === '/metrics' ? 200 : 404;
  response.end('process_open_fds 7\nprocess_resident_memory_bytes 1.5e+07\n');
};

async function at(t: ExecutionContext, server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const address = server.address();
  return `127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`;
}

test('memory is asked for without TLS, as an endpoint says or leaves out', async (t) => {
  const endpoint = await at(t, createPlain(figures));
  t.is(await residentBytes(endpoint, null), 15_000_000);
  t.is(await residentBytes(`http://${endpoint}`, null), 15_000_000);
});

test('memory is asked for with the authority and the certificate of the flags, and of nobody else', async (t) => {
  const authority = await TestAuthority.make();
  const own = await authority.issue('server');
  const alice = await authority.issue('alice');
  const terms = { cert: own.cert, key: own.key, ca: authority.cert, requestCert: true, rejectUnauthorized: true };
  const endpoint = await at(t, createServer(terms, figures));
  const tls = { ca: authority.cert, cert: alice.cert, key: alice.key };
  t.is(await residentBytes(endpoint, tls), 15_000_000);
  t.is(await residentBytes(`https://${endpoint}`, tls), 15_000_000);
  await t.throwsAsync(residentBytes(endpoint, { ca: authority.cert }), { code: 'unavailable' });
  await t.throwsAsync(residentBytes(`https://${endpoint}`, null), { code: 'unavailable', message: /\/metrics \(.*certificate/ });
});

test('a server that does not say how much it takes is named', async (t) => {
  const endpoint = await at(t, createPlain((_request, response) => void response.end('nothing')));
  await t.throwsAsync(residentBytes(endpoint, null), { message: new RegExp(`http://${endpoint}/metrics does not say`) });
});

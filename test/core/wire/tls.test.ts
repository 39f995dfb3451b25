// The port for clients under TLS, row by row of the checklist in test/README.md (SA1 to SA9, SA12): who is let in, who is not,
// and what becomes of those who are within when trust changes. On real sockets, with certificates made here.

import { connect as connectPlain } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { JudgedTls, TlsFault, type TlsTerms } from '../../../core/base/tls-terms.js';
import { connect, keepAliver, put, startNode, utf8, type WireServer } from '../../../core/index.js';
import { NOBODY, type Caller, type Credentials } from '../../../core/client.js';
import { systemClock } from '../../../core/base/clock.js';
import type { WireEvent } from '../../../core/wire/wire-events.js';
import { TestAuthority, type Identity } from '../../certificates.js';
import { serve } from '../../serving.js';

const DAY_MS = 86_400_000;
/** On a machine that has other things to do a handshake takes seconds. */
const PATIENT = { connectTimeoutMs: 30_000, timeoutMs: 30_000 } as const;
const ANY = 'https://127.0.0.1:0';
const authority = await TestAuthority.make();
const other = await TestAuthority.make('another authority');
const own = await authority.issue('server');
const alice = await authority.issue('alice');
const bob = await authority.issue('bob');

const node = await startNode({ dataDir: null });
test.after.always(() => node.close());

interface Open {
  readonly server: WireServer;
  readonly url: string;
  readonly port: number;
  readonly events: WireEvent[];
  refusals(): readonly string[];
}

async function open(t: ExecutionContext, tls: Partial<TlsTerms> = {}, urls = ['https://127.0.0.1:0']): Promise<Open> {
  const events: WireEvent[] = [];
  const observe = (event: WireEvent): void => void events.push(event);
  const server = await serve(node.client, { urls, tls: { cert: own.cert, key: own.key, ...tls }, observe });
  t.teardown(() => server.close());
  const url = server.urls[0] ?? '';
  const refusals = (): readonly string[] => events.flatMap((event) => (event.kind === 'handshake_refused' ? [event.reason] : []));
  return { server, url, port: Number(new URL(url).port), events, refusals };
}

const MUTUAL = { ca: authority.cert, requireClientCert: true } as const;

/** What a visitor gets: an answer to a request, or how he was sent away. */
async function visit(port: number, options: ConnectionOptions): Promise<string> {
  return await new Promise((resolve) => {
    let text = '';
    const socket = connectTls({ host: '127.0.0.1', port, ca: authority.cert, ...options }, () => {
      socket.write('GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    });
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(`refused ${error.code ?? error.message}`));
    socket.on('close', () => resolve(text.startsWith('HTTP/1.1 200') ? 'answered' : `closed ${text}`));
  });
}

function shows({ cert, key }: Identity): ConnectionOptions {
  return { cert, key };
}

async function until(holds: () => boolean, limitMs = 60_000): Promise<boolean> {
  for (const end = performance.now() + limitMs; performance.now() < end;) {
    if (holds()) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return holds();
}

function plain(port: number, bytes: string | Uint8Array): Promise<{ answer: string; tookMs: number }> {
  return new Promise((resolve) => {
    const at = performance.now();
    let answer = '';
    const socket = connectPlain({ host: '127.0.0.1', port }, () => socket.write(bytes));
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => resolve({ answer, tookMs: performance.now() - at }));
  });
}

test('SA1: plain text on a TLS port and TLS on a plain one are closed quickly, without an answer, told once', async (t) => {
  const secret = await open(t);
  for (let i = 0; i < 3; i++) {
    const { answer, tookMs } = await plain(secret.port, 'GET /version HTTP/1.1\r\nHost: a\r\n\r\n');
    t.deepEqual([answer, tookMs < 9000], ['', true], 'long before a handshake\'s time is over');
  }
  t.true(await until(() => secret.refusals().length > 0));
  t.is(secret.refusals().length, 1);
  const clear = await open(t, {}, ['http://127.0.0.1:0']);
  for (let i = 0; i < 3; i++) t.regex(await visit(clear.port, {}), /^refused/);
  t.deepEqual(clear.refusals(), ['it speaks TLS, and this port does not']);
  t.is((await fetch(`${clear.url}/version`)).status, 200, 'it goes on serving');
});

test('SA2: TLS 1.2 is the least and 1.3 preferred; no suites without forward secrecy, no renegotiation', async (t) => {
  const usual = await open(t);
  const spoken = (port: number, options: ConnectionOptions): Promise<string> => new Promise((resolve) => {
    const socket: TLSSocket = connectTls({ host: '127.0.0.1', port, ca: authority.cert, ...options }, () => {
      resolve(`${socket.getProtocol()} ${socket.getCipher().name}`);
      socket.destroy();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(`refused ${error.code ?? ''}`));
  });
  t.regex(await spoken(usual.port, {}), /^TLSv1\.3 /);
  t.regex(await spoken(usual.port, { maxVersion: 'TLSv1.2' }), /^TLSv1\.2 ECDHE-ECDSA-AES128-GCM-SHA256$/);
  const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' } as const;
  t.regex(await spoken(usual.port, old), /^refused/);
  for (const ciphers of ['ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0', 'AES128-SHA', 'aNULL:@SECLEVEL=0', 'eNULL:@SECLEVEL=0']) {
    t.regex(await spoken(usual.port, { maxVersion: 'TLSv1.2', ciphers }), /^refused/, ciphers);
  }
  const renegotiated = await new Promise<string>((resolve) => {
    const socket = connectTls({ host: '127.0.0.1', port: usual.port, ca: authority.cert, maxVersion: 'TLSv1.2' }, () => {
      socket.renegotiate({}, (error) => resolve(error === null ? 'renegotiated' : 'refused'));
    });
    socket.on('error', () => resolve('refused'));
    socket.on('close', () => resolve('refused'));
    setTimeout(() => resolve('ignored'), 500);
  });
  t.not(renegotiated, 'renegotiated');
  const strict = await open(t, { minVersion: 'TLSv1.3' });
  t.regex(await spoken(strict.port, { maxVersion: 'TLSv1.2' }), /^refused/);
  const chosen = await open(t, { cipherSuites: ['TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384'], maxVersion: 'TLSv1.2' });
  t.is(await spoken(chosen.port, {}), 'TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384');
  const judged = (terms: Partial<TlsTerms>): JudgedTls => new JudgedTls({ cert: own.cert, key: own.key, ...terms }, Date.now());
  const broken = { cipherSuites: ['TLS_RSA_WITH_RC4_128_SHA'] };
  t.throws(() => judged(broken), { instanceOf: TlsFault, message: /unexpected TLS cipher/ });
  t.throws(() => judged({ minVersion: 'TLSv1.3', maxVersion: 'TLSv1.2' }), { instanceOf: TlsFault });
});

test('SA3: only a certificate of the authority is let in, valid now, for clients, in a chain that may be so long', async (t) => {
  const now = Date.now();
  const middle = await TestAuthority.make('a middle authority', { parent: authority });
  const below = await TestAuthority.make('one below that may vouch for none', {
    parent: await TestAuthority.make('short', { parent: authority, wishes: { authority: { pathLengthMax: 0 } } }),
  });
  const unlisted = await TestAuthority.make('one without a list', { parent: authority });
  const crl = (await authority.crl([bob])) + (await middle.crl([]));
  const { port, refusals } = await open(t, { ...MUTUAL, ca: authority.cert + middle.cert, crl });
  const good: readonly (readonly [string, Identity])[] = [
    ['of the authority', alice], ['with an intermediate', await middle.issue('carol')],
    ['for clients alone', await authority.issue('dave', { usages: ['client'] })],
  ];
  for (const [what, identity] of good) t.is(await visit(port, shows(identity)), 'answered', what);
  const itself = await TestAuthority.make('itself');
  const bad: readonly (readonly [string, ConnectionOptions])[] = [
    ['none', {}],
    ['of nobody but itself', shows(await itself.issue('alice'))],
    ['of another authority', shows(await other.issue('alice'))],
    ['expired', shows(await authority.issue('alice', { notBeforeMs: now - 2 * DAY_MS, notAfterMs: now - DAY_MS }))],
    ['not yet valid', shows(await authority.issue('alice', { notBeforeMs: now + DAY_MS, notAfterMs: now + 2 * DAY_MS }))],
    ['for servers alone', shows(await authority.issue('alice', { usages: ['server'] }))],
    ['revoked', shows(bob)],
    ['below an authority that may not vouch for others', shows(await below.issue('alice'))],
    ['below an authority without a list', shows(await unlisted.issue('alice'))],
  ];
  for (const [what, options] of bad) t.not(await visit(port, options), 'answered', what);
  t.true(await until(() => refusals().length >= 6), refusals().join('; '));
});

test('SA3: below an authority that was revoked nobody comes in by a forged one of its name', async (t) => {
  const middle = await TestAuthority.make('middle', { parent: authority });
  const leaf = await middle.issue('mallory');
  const crl = (await authority.crl([middle])) + (await middle.crl([]));
  const { port, refusals } = await open(t, { ...MUTUAL, ca: authority.cert + middle.cert, crl });
  // OpenSSL leaves out what has expired, and goes on to the true one.
  const wishes = { notBeforeMs: Date.now() - 2 * DAY_MS, notAfterMs: Date.now() - DAY_MS };
  const forged = await TestAuthority.make('middle', { parent: await TestAuthority.make(), wishes });
  const ownEnd = leaf.cert.indexOf(middle.cert);
  const beside = leaf.cert.slice(0, ownEnd) + forged.cert + leaf.cert.slice(ownEnd);
  for (const cert of [leaf.cert, beside]) t.not(await visit(port, { cert, key: leaf.key }), 'answered');
  t.true(await until(() => refusals().some((reason) => reason.includes('was revoked'))), refusals().join('; '));
});

test('SA4: a revocation list counts on the same port for gRPC, for HTTP, and on ports for HTTP and health alone', async (t) => {
  const events: WireEvent[] = [];
  const server = await serve(node.client, {
    urls: [ANY], httpUrls: [ANY], sideUrls: [ANY], observe: (event) => void events.push(event),
    tls: { cert: own.cert, key: own.key, ...MUTUAL, crl: await authority.crl([bob]) },
  });
  t.teardown(() => server.close());
  const http = [...server.httpUrls, ...server.sideUrls].map((url) => Number(new URL(url).port));
  for (const port of http) {
    const visited = await Promise.all([alice, bob].map((who) => visitPath(port, shows(who), '/health')));
    t.deepEqual(visited, [true, false]);
  }
  const verdicts = await Promise.all([alice, bob].map(async ({ cert, key }) => {
    // Who is refused is waited for in vain; who is not may take his time.
    const connectTimeoutMs = cert === bob.cert ? 3000 : 30_000;
    const client = connect(server.urls, { tls: { ca: authority.cert, cert, key }, connectTimeoutMs, timeoutMs: 30_000 });
    const answered = await client.range({ key: utf8('a') }).then(() => true, () => false);
    await client.close();
    return answered;
  }));
  t.deepEqual(verdicts, [true, false]);
  t.true(events.some((event) => event.kind === 'handshake_refused' && /was revoked/.test(event.reason)));
});

function visitPath(port: number, options: ConnectionOptions, where: string): Promise<boolean> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connectTls({ host: '127.0.0.1', port, ca: authority.cert, ...options }, () => {
      socket.write(`GET ${where} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    });
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(text.startsWith('HTTP/1.1 200')));
  });
}

test('SA5: a revocation list that is missing, expired, of another authority or forged is not started with', async (t) => {
  const judge = (crl: string): JudgedTls => new JudgedTls({ cert: own.cert, key: own.key, ca: authority.cert, crl }, Date.now());
  const past = { fromMs: Date.now() - 3 * DAY_MS, untilMs: Date.now() - DAY_MS };
  const forged = await TestAuthority.make();
  const cut = (await authority.crl([bob])).replace(/\n.{20}/, '\n');
  const [list, endless] = [await authority.crl([]), await authority.crl([bob], { untilMs: null })];
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['', /holds no revocation list; give a file/],
    ['garbage', /holds no revocation list/],
    [await authority.crl([bob], past), /has expired, \d+Z; fetch the newest/],
    [await authority.crl([bob], { fromMs: Date.now() + DAY_MS, untilMs: null }), /not valid yet; /],
    [await other.crl([bob]), /is the list of another authority; /],
    [await forged.crl([bob]), /its signature is wrong; /],
    [await authority.crl([], { critical: '2.5.29.27' }), /is only a part of a list, or changes to one; /],
    [`${endless}${list.slice(0, 200)}`, /holds a list that is cut off; write/],
    [cut, /is damaged|signature is wrong|another authority/],
  ];
  for (const [crl, says] of wrong) t.throws(() => judge(crl), { instanceOf: TlsFault, message: says });
  const half = `${other.cert}${authority.cert.slice(0, 300)}`;
  t.throws(() => new JudgedTls({ cert: own.cert, key: own.key, ca: half }, Date.now()), {
    instanceOf: TlsFault, message: /^it holds a certificate that is cut off; write the whole file anew$/,
  });
  t.throws(() => new JudgedTls({ cert: own.cert, key: own.key, crl: list }, Date.now()), { message: /whose list/ });
  t.notThrows(() => judge(endless), 'one without an end');
  await t.throwsAsync(serve(node.client, {
    urls: ['https://127.0.0.1:0'], tls: { cert: own.cert, key: own.key, ca: authority.cert, crl: 'garbage' },
  }), { instanceOf: TlsFault });
  const { server, port } = await open(t, { ...MUTUAL, crl: await authority.crl([bob]) });
  t.throws(() => server.renewTls({ cert: own.cert, key: own.key, ...MUTUAL, crl: 'garbage' }), { instanceOf: TlsFault });
  t.is(await visit(port, shows(alice)), 'answered', 'the old list stays in use');
  t.not(await visit(port, shows(bob)), 'answered');
});

test('SA6: new certificates and authorities are in use with the next handshake, a pair that does not fit is not', async (t) => {
  const { server, port } = await open(t, MUTUAL);
  const shown = (): Promise<string> => new Promise((resolve, reject) => {
    const socket = connectTls({ host: '127.0.0.1', port, ca: [authority.cert, other.cert], ...shows(alice) }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on('error', reject);
  });
  t.is(await shown(), 'server');
  t.is(await visit(port, shows(alice)), 'answered', 'a whole visit: whoever served it serves others afterwards');
  const next = await authority.issue('next server');
  server.renewTls({ cert: next.cert, key: next.key, ...MUTUAL });
  t.is(await shown(), 'next server');
  t.throws(() => server.renewTls({ cert: own.cert, key: next.key, ...MUTUAL }), { instanceOf: TlsFault, message: /not the key/ });
  t.throws(() => server.renewTls({ cert: own.cert.slice(0, 300), key: own.key, ...MUTUAL }), { instanceOf: TlsFault });
  t.throws(() => server.renewTls({ cert: own.cert, key: '', ...MUTUAL }), { instanceOf: TlsFault });
  t.is(await shown(), 'next server', 'what was in use stays in use');
  server.renewTls({ cert: next.cert, key: next.key, ca: authority.cert + other.cert, requireClientCert: true });
  t.is(await visit(port, shows(await other.issue('erin'))), 'answered');
});

/** Bob, who comes back by what was given to him before. */
class Returning {
  readonly sessions: Buffer[] = [];
  readonly #options: ConnectionOptions;

  constructor(port: number, maxVersion: 'TLSv1.2' | 'TLSv1.3') {
    this.#options = { host: '127.0.0.1', port, ca: authority.cert, ...shows(bob), maxVersion };
  }

  come(session?: Buffer): Promise<string> {
    return new Promise((resolve) => {
      let [answer, how] = ['', ''];
      const socket: TLSSocket = connectTls({ ...this.#options, ...(session === undefined ? {} : { session }) }, () => {
        // Once it is closed nobody can tell.
        how = socket.isSessionReused() ? 'answered by a session' : 'answered';
        socket.write('GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
      });
      socket.on('session', (one: Buffer) => this.sessions.push(one));
      socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
      socket.on('error', () => resolve('refused'));
      socket.on('close', () => resolve(answer === '' ? 'refused' : how));
    });
  }
}

test('SA7: nobody comes back to a port that asks for certificates by a session of before', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const { server, port } = await open(t, { ...MUTUAL, crl: await authority.crl([]) });
    const visitor = new Returning(port, maxVersion);
    t.is(await visitor.come(), 'answered');
    const given = [...visitor.sessions];
    for (const session of given) t.is(await visitor.come(session), 'answered', `${maxVersion}: a whole handshake each time`);
    server.renewTls({ cert: own.cert, key: own.key, ...MUTUAL, crl: await authority.crl([bob]) });
    for (const session of [...given, undefined]) t.is(await visitor.come(session), 'refused', maxVersion);
  }
});

test('SA7: elsewhere a session is good until the certificates are renewed', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const { server, port } = await open(t);
    const visitor = new Returning(port, maxVersion);
    t.is(await visitor.come(), 'answered');
    t.is(await visitor.come(visitor.sessions[0]), 'answered by a session', maxVersion);
    server.renewTls({ cert: own.cert, key: own.key });
    for (const session of [...visitor.sessions]) t.is(await visitor.come(session), 'answered', maxVersion);
  }
});

test('SA8: who is connected by a certificate that is revoked, or of an authority that is gone, is cut off at once', async (t) => {
  const both = authority.cert + other.cert;
  const { server, url, events } = await open(t, { ...MUTUAL, ca: both });
  const clientOf = ({ cert, key }: Identity): ReturnType<typeof connect> => {
    const client = connect(url, { tls: { ca: authority.cert, cert, key }, connectTimeoutMs: 10_000, timeoutMs: 60_000 });
    t.teardown(() => client.close());
    return client;
  };
  const [forAlice, forBob, forErin] = [clientOf(alice), clientOf(bob), clientOf(await other.issue('erin'))];
  await Promise.all([forAlice, forBob, forErin].map((client) => put(client, utf8('SA8'), utf8('0'))));
  const swept = (): readonly string[] => events.flatMap((event) => (event.kind === 'connection_swept' ? [event.reason] : []));
  const lists = (await authority.crl([bob])) + (await other.crl([]));
  server.renewTls({ cert: own.cert, key: own.key, ...MUTUAL, ca: both, crl: lists });
  t.is(swept().length, 1);
  t.regex(swept()[0] ?? '', /was revoked/);
  server.renewTls({ cert: own.cert, key: own.key, ...MUTUAL, crl: await authority.crl([bob]) });
  t.is(swept().length, 2);
  t.regex(swept()[1] ?? '', /authority that is not trusted/);
  await t.notThrowsAsync(put(forAlice, utf8('SA8'), utf8('1')), 'others are left alone');
  for (const client of [forBob, forErin]) await t.throwsAsync(client.range({ key: utf8('a') }), { message: /could be reached/ });
});

test('SA8: with the option, who is connected when his certificate expires is cut off, too', async (t) => {
  const { port, events } = await open(t, { ...MUTUAL, sweepExpired: true });
  const isSwept = (): boolean => events.some((event) => {
    return event.kind === 'connection_swept' && event.reason === 'its certificate has expired';
  });
  // On a busy machine a certificate may end before it is looked at: then the next one lives longer.
  for (let lifeMs = 4000; !isSwept() && lifeMs <= 32_000; lifeMs *= 2) {
    const brief = await authority.issue('brief', { notAfterMs: Date.now() + lifeMs });
    await new Promise<void>((resolve) => {
      const socket = connectTls({ host: '127.0.0.1', port, ca: authority.cert, ...shows(brief) });
      socket.on('error', () => undefined);
      socket.on('close', () => resolve());
    });
  }
  t.true(isSwept());
});

// Alone, because it is about how much comes at the same time. Of how many: core/base/tls-gate.
test.serial('SA9: a flood of handshakes that never end is bounded in time, and keeps nobody else out', async (t) => {
  const FASTER = 4;
  const clock = {
    now: () => systemClock.now() * FASTER,
    schedule: (delayMs: number, run: () => void) => systemClock.schedule(delayMs / FASTER, run),
  };
  const events: WireEvent[] = [];
  const server = await serve(node.client, {
    urls: ['https://127.0.0.1:0'], tls: { cert: own.cert, key: own.key }, clock, observe: (event) => void events.push(event),
  });
  t.teardown(() => server.close());
  const port = Number(new URL(server.urls[0] ?? '').port);
  const COUNT = 700;
  let closed = 0;
  const come = (i: number): Promise<void> => new Promise((resolve) => {
    const socket = connectPlain({ host: '127.0.0.1', port }, () => {
      // Half of them begin to speak TLS, and go no further.
      if (i % 2 === 0) socket.write(Buffer.from([0x16, 3, 1, 2, 0, 1]));
      resolve();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      closed += 1;
      resolve();
    });
  });
  await Promise.all(Array.from({ length: COUNT }, (_, i) => come(i)));
  t.is(await visitFrom('127.0.9.9', port), 'answered', 'somebody else is served');
  t.true(await until(() => closed === COUNT), `${closed} of ${COUNT} were hung up on`);
  const told = events.flatMap((event) => (event.kind === 'handshake_refused' ? [event.reason] : []));
  t.true(told.includes('no end of the TLS handshake within 10000 ms'), told.join('; '));
});

function visitFrom(localAddress: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const raw = connectPlain({ host: '127.0.0.1', port, localAddress }, () => {
      const socket = connectTls({ socket: raw, host: '127.0.0.1', ca: authority.cert }, () => {
        socket.write('GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
      });
      let text = '';
      socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
      socket.on('error', (error: Error) => resolve(error.message));
      socket.on('close', () => resolve(text.startsWith('HTTP/1.1 200') ? 'answered' : `closed ${text}`));
    });
    raw.on('error', (error) => resolve(error.message));
  });
}

test('SA12: our client verifies authority and name, of addresses too, unless it is told loudly not to', async (t) => {
  const { url, port } = await open(t);
  const wrong = await authority.issue('server', { hosts: ['elsewhere.example', '192.0.2.1'] });
  const elsewhere = await open(t, { cert: wrong.cert, key: wrong.key });
  const stale = await authority.issue('server', { notBeforeMs: Date.now() - 2 * DAY_MS, notAfterMs: Date.now() - DAY_MS });
  const late = await open(t, { cert: stale.cert, key: stale.key });
  const ask = async (endpoint: string, options: Parameters<typeof connect>[1]): Promise<boolean> => {
    const client = connect(endpoint, options);
    const answer = await client.range({ key: utf8('a') }).then(() => true, () => false);
    await client.close();
    return answer;
  };
  type Trust = Pick<Parameters<typeof connect>[1] & object, 'tls'>;
  // Who is let in may take his time on a busy machine; who is not is waited for to no end.
  const reaches = (to: string, tls: Trust): Promise<boolean> => ask(to, { ...PATIENT, ...tls });
  const fails = (to: string, tls: Trust = {}): Promise<boolean> => ask(to, { connectTimeoutMs: 3000, ...tls });
  const ca = authority.cert;
  const verdicts = await Promise.all([
    reaches(url, { tls: { ca } }), reaches(`https://localhost:${port}`, { tls: { ca } }),
    reaches(`127.0.0.1:${port}`, { tls: { ca } }),
    reaches(elsewhere.url, { tls: { ca, serverName: 'elsewhere.example' } }),
    reaches(elsewhere.url, { tls: { ca, insecureSkipVerify: true } }),
    fails(url), fails(url, { tls: { ca: other.cert } }), fails(elsewhere.url, { tls: { ca } }),
    fails(late.url, { tls: { ca } }), fails(url.replace('https', 'http')),
  ]);
  t.deepEqual(verdicts, [true, true, true, true, true, false, false, false, false, false]);
  const half = { ca, cert: alice.cert };
  t.throws(() => connect(url, { tls: half }), { message: /a certificate is shown with its key; give both/ });
  t.throws(() => connect(url, { tls: { ca: 'garbage', cert: 'x', key: 'y' } }), { message: /cannot be used .*; give PEM/ });
});

/** The backend of these tests, which says there are users and writes down who calls. */
function named(seen: Credentials[]): typeof node.client {
  return new Proxy(node.client, {
    get: (target, property): unknown => {
      if (property === 'identify') {
        return ({ token, certificateName }: Credentials): Caller | null => {
          seen.push({ token, certificateName });
          return NOBODY;
        };
      }
      const value: unknown = Reflect.get(target, property);
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
}

test('the CommonName of a certificate names the caller of gRPC where that is asked for, never of the gateway', async (t) => {
  const seen: Credentials[] = [];
  const { cert, key } = own;
  const asked = await serve(named(seen), { urls: [ANY], tls: { cert, key, ...MUTUAL } });
  const unasked = await serve(named(seen), { urls: [ANY], tls: { cert, key, ca: MUTUAL.ca } });
  t.teardown(() => Promise.all([asked.close(), unasked.close()]));
  const nobody = await authority.issue('');
  const calls = [[asked, alice, 'alice'], [asked, bob, 'bob'], [asked, nobody, null], [unasked, alice, null]] as const;
  for (const [server, who, name] of calls) {
    const client = connect(server.urls, { tls: { ca: authority.cert, cert: who.cert, key: who.key }, ...PATIENT });
    seen.length = 0;
    await client.range({ key: utf8('a') });
    await client.close();
    t.deepEqual(seen, [{ token: null, certificateName: name }]);
  }
  const port = Number(new URL(asked.urls[0] ?? '').port);
  const say = (who: Identity, words: string): Promise<string> => new Promise((resolve, reject) => {
    let text = '';
    const socket = connectTls({ host: '127.0.0.1', port, ca: authority.cert, ...shows(who) }, () => socket.write(words));
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
  });
  const post = (who: Identity): Promise<string> => {
    return say(who, 'POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\nConnection: close\r\n\r\n{"key":"YQ=="}');
  };
  const upgrade = 'GET /v3/kv/range HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
    + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
  for (const refused of [await post(alice), await say(alice, upgrade)]) {
    t.regex(refused, /^HTTP\/1\.1 400 /);
    t.true(refused.endsWith('CommonName of client sending a request against gateway will be ignored and not used as expected\n'));
  }
  seen.length = 0;
  t.regex(await post(nobody), /^HTTP\/1\.1 200 /);
  t.deepEqual(seen.map(({ certificateName }) => certificateName), [null]);
});

test('leases are kept from beside the main loop over TLS, too', async (t) => {
  const { url } = await open(t, MUTUAL);
  const tls = { ca: authority.cert, cert: alice.cert, key: alice.key };
  const client = connect(url, { tls, ...PATIENT });
  t.teardown(() => client.close());
  const { id } = await client.grant(5);
  const keeping = keepAliver(url, { tls }).keep({ lease: id, ttlMs: 5000, stallBudgetMs: 60_000, tell: () => undefined });
  t.true(await until(() => keeping.ageMs() < 5000), 'a renewal was confirmed');
  keeping.stop();
});

/** What is agreed on (ALPN) with who offers these; or why nothing is. */
async function agreed(port: number, offered: readonly string[]): Promise<string> {
  return await new Promise((resolve) => {
    const socket = connectTls({ host: '127.0.0.1', port, ca: authority.cert, ALPNProtocols: [...offered] }, () => {
      resolve(String(socket.alpnProtocol));
      socket.destroy();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

test('who offers h2 alone, as clients of gRPC do, gets it; who offers both gets what the port serves', async (t) => {
  const tls = { cert: own.cert, key: own.key };
  const both = await serve(node.client, { urls: [ANY], tls, grpcServer: 'own' });
  const library = await serve(node.client, { urls: [ANY], tls, grpcServer: 'grpc-js' });
  const apart = await serve(node.client, { urls: [ANY], httpUrls: [ANY], tls });
  t.teardown(async () => {
    await both.close();
    await library.close();
    await apart.close();
  });
  const portOf = (urls: readonly string[]): number => Number(new URL(urls[0] ?? '').port);
  const ask = async (port: number): Promise<string[]> => [
    await agreed(port, ['h2']), await agreed(port, ['http/1.1']), await agreed(port, ['h2', 'http/1.1']),
    await agreed(port, ['x']),
  ];
  const NONE = 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL';
  for (let i = 0; i < 2; i++) {
    t.deepEqual(await ask(portOf(both.urls)), ['h2', 'http/1.1', 'h2', NONE]);
    t.deepEqual(await ask(portOf(library.urls)), ['h2', 'http/1.1', 'http/1.1', NONE]);
    t.deepEqual(await ask(portOf(apart.urls)), ['h2', NONE, 'h2', NONE]);
    t.deepEqual(await ask(portOf(apart.httpUrls)), [NONE, 'http/1.1', 'http/1.1', NONE]);
  }
});

// Certificates that do not fit, and TLS at one end alone: both ends say what is wrong, the one that listens also whose fault it
// is, and each says what to do. On real sockets, with real certificates.

import test, { type ExecutionContext } from 'ava';
import { createServer as createHttpServer } from 'node:http';
import { connect as connectPlain, type TcpNetConnectOpts } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { systemClock } from '../../../core/base/clock.js';
import { HANDSHAKE_MS } from '../../../core/peer/limits.js';
import { reasonOf, type PeerTls } from '../../../core/peer/tls.js';
import { TestAuthority, type Identity } from '../../certificates.js';
import { TcpRig, tlsOf, type TcpMember } from './tcp-rig.js';

const authority = await TestAuthority.make('members');
const clients = await TestAuthority.make('clients');
const PLAIN = 'http://127.0.0.1:0';
const TLS = 'https://127.0.0.1:0';
const ONE_AUTHORITY = /; compare --peer-trusted-ca-file of both members/;
const ONE_SCHEME = /; give all members URLs of one kind: http:\/\/ throughout, or https:\/\/ with --peer-cert-file/;

const on = (title: string, run: (rig: TcpRig, t: ExecutionContext) => Promise<void>): void => {
  test(title, async (t) => {
    const rig = new TcpRig(PLAIN);
    try {
      await run(rig, t);
    } finally {
      await rig.close();
    }
  });
};

function portOf({ urls }: TcpMember): number {
  return Number(new URL(urls[0] ?? '').port);
}

function refusedAt({ events }: TcpMember): readonly { address: string; reason: string }[] {
  return events.flatMap((event) => (event.kind === 'connection_refused' ? [event] : []));
}

/** Why its first attempt to connect came to nothing. */
function whyNot({ events }: TcpMember): string | null {
  return events.flatMap((event) => (event.kind === 'dial_failed' ? [event.reason] : []))[0] ?? null;
}

/** What both say once `one` has dialled `two` in vain: who dialled, and who listens. */
async function inVain(rig: TcpRig, one: TcpMember, two: TcpMember, url: string): Promise<{ dialled: string; heard: string }> {
  one.transport.setPeers(new Map([[2n, [url]]]));
  await rig.until(() => whyNot(one) !== null && refusedAt(two).length > 0, 'both tell of it');
  const [first] = refusedAt(two);
  return { dialled: whyNot(one) ?? '', heard: `${first?.address} ${first?.reason}` };
}

async function pair(rig: TcpRig, own: PeerTls, other: PeerTls): Promise<{ dialled: string; heard: string }> {
  const one = await rig.member(1n, { listen: [TLS], tls: own });
  const two = await rig.member(2n, { listen: [TLS], tls: other });
  return inVain(rig, one, two, two.urls[0] ?? '');
}

/** A client that is no member, until it is hung up on. */
function visit(port: number, options: ConnectionOptions & Pick<TcpNetConnectOpts, 'localAddress'>): Promise<void> {
  return new Promise((resolve) => {
    const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => resolve());
  });
}

on('who dials with a certificate of another authority is named by address, with the reason, at both ends', async (rig, t) => {
  const { dialled, heard } = await pair(rig, tlsOf('foreigner'), tlsOf('member'));
  t.regex(heard, /^127\.0\.0\.1 its certificate is not accepted \(UNABLE_TO_VERIFY_LEAF_SIGNATURE\)/);
  t.regex(heard, ONE_AUTHORITY);
  t.regex(dialled, /closed before it was answered/);
  t.regex(dialled, ONE_AUTHORITY);
});

on('who trusts another authority than the one that is shown says which setting to compare', async (rig, t) => {
  const { dialled, heard } = await pair(rig, { ...tlsOf('member'), ca: tlsOf('foreigner').cert }, tlsOf('member'));
  t.regex(dialled, /self-signed certificate in certificate chain/);
  t.regex(dialled, ONE_AUTHORITY);
  t.regex(heard, /^127\.0\.0\.1 it hung up during the TLS handshake/);
  t.regex(heard, ONE_AUTHORITY);
});

on('a certificate for another name says so', async (rig, t) => {
  const { dialled } = await pair(rig, tlsOf('member'), tlsOf('elsewhere'));
  t.regex(dialled, /not in the cert's list.*; its certificate must name the host or address of this URL/);
});

on('who shows no certificate is named, and told what it needs', async (rig, t) => {
  const member = await rig.member(1n, { listen: [TLS], tls: tlsOf('member') });
  await visit(portOf(member), {});
  await rig.until(() => refusedAt(member).length > 0, 'it is told');
  t.like(refusedAt(member)[0], {
    address: '127.0.0.1',
    reason: 'peer did not return a certificate; every member needs --peer-cert-file and --peer-key-file',
  });
});

on('each of many handshakes that fail at once is told under its own address', async (rig, t) => {
  const member = await rig.member(1n, { listen: [TLS], tls: tlsOf('member') });
  const { cert, key } = tlsOf('foreigner');
  const hosts = Array.from({ length: 24 }, (_, i) => `127.0.1.${i + 1}`);
  await Promise.all(hosts.map((localAddress, i) => {
    return visit(portOf(member), { localAddress, ...(i % 2 === 0 ? { cert, key } : {}) });
  }));
  await rig.until(() => refusedAt(member).length >= hosts.length, 'all are told');
  const told = new Map(refusedAt(member).map(({ address, reason }) => [address, reason]));
  t.is(refusedAt(member).length, hosts.length);
  hosts.forEach((host, i) => {
    t.regex(told.get(host) ?? '', i % 2 === 0 ? /is not accepted/ : /did not return a certificate/, host);
  });
});

on('a URL that says https where nobody speaks TLS: both say that, and what to do', async (rig, t) => {
  const one = await rig.member(1n, { listen: [TLS], tls: tlsOf('member') });
  const two = await rig.member(2n);
  const { dialled, heard } = await inVain(rig, one, two, `https://127.0.0.1:${portOf(two)}`);
  t.regex(heard, /^127\.0\.0\.1 it speaks TLS, and this port does not; /);
  t.regex(heard, ONE_SCHEME);
  t.regex(dialled, /it does not speak TLS; /);
  t.regex(dialled, ONE_SCHEME);
});

on('a URL that says http where TLS is spoken: both say that, and what to do', async (rig, t) => {
  const one = await rig.member(1n);
  const two = await rig.member(2n, { listen: [TLS], tls: tlsOf('member') });
  const { dialled, heard } = await inVain(rig, one, two, `http://127.0.0.1:${portOf(two)}`);
  t.regex(heard, /^127\.0\.0\.1 it does not speak TLS, and this port does; /);
  t.regex(heard, ONE_SCHEME);
  t.regex(dialled, /^refused: it does not speak TLS, and this port does; /);
});

on('a URL of a port for clients is told from one for members', async (rig, t) => {
  const server = createHttpServer((_request, response) => response.end());
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
  const one = await rig.member(1n);
  one.transport.setPeers(new Map([[2n, [`http://127.0.0.1:${port}`]]]));
  await rig.until(() => whyNot(one) !== null, 'it is told');
  t.is(whyNot(one), 'it speaks HTTP; give the URL where that member listens for others (--listen-peer-urls)');
  server.close();
});

test('a handshake that does not end is cut off in time, and told once', async (t) => {
  const FASTER = 20;
  const clock = {
    now: () => systemClock.now() * FASTER,
    schedule: (delayMs: number, run: () => void) => systemClock.schedule(delayMs / FASTER, run),
  };
  const rig = new TcpRig(TLS, { tls: tlsOf('member'), clock });
  const member = await rig.member(1n);
  await new Promise<void>((resolve) => {
    const socket = connectPlain(portOf(member), '127.0.0.1', () => socket.write(Buffer.from([0x16, 3, 1, 2, 0, 1])));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => resolve());
  });
  await rig.until(() => refusedAt(member).length > 0, 'it is told');
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.deepEqual(refusedAt(member).map(({ reason }) => reason), [`no end of the TLS handshake within ${HANDSHAKE_MS} ms`]);
  await rig.close();
});

test('a failure whose remedy is known is told with it, others as they are', (t) => {
  const failure = (message: string, more: object): Error => Object.assign(new Error(message), more);
  t.is(reasonOf(failure('certificate has expired', { code: 'CERT_HAS_EXPIRED' })),
    'certificate has expired; renew it, or set the clocks of both machines');
  const logged = failure('0A:error:lib::no ciphers available', { code: 'ERR_SSL_NO_CIPHERS', reason: 'no ciphers available' });
  t.is(reasonOf(logged), 'no ciphers available');
  t.is(reasonOf(failure('connect ECONNREFUSED 127.0.0.1:1', { code: 'ECONNREFUSED' })), 'connect ECONNREFUSED 127.0.0.1:1');
  t.is(reasonOf('a word'), 'a word');
});

function termsOf(identity: Identity, more: Partial<PeerTls> = {}): PeerTls {
  return { cert: identity.cert, key: identity.key, ca: authority.cert, ...more };
}

/** On a busy machine a handshake may end without this reason at first; it is tried again. */
async function sentAway(rig: TcpRig, member: TcpMember, why: RegExp): Promise<void> {
  await rig.until(() => refusedAt(member).some(({ reason }) => why.test(reason)), String(why));
}

async function failsToDial(rig: TcpRig, { events }: TcpMember, why: RegExp): Promise<void> {
  await rig.until(() => events.some((event) => event.kind === 'dial_failed' && why.test(event.reason)), String(why));
}

function dials(one: TcpMember, two: TcpMember): void {
  one.transport.setPeers(new Map([[2n, [two.urls[0] ?? '']]]));
}

async function meet(rig: TcpRig, one: TcpMember, two: TcpMember): Promise<boolean> {
  dials(one, two);
  await rig.until(() => one.transport.isConnected(2n), 'they meet');
  return one.transport.isConnected(2n);
}

on('SA4: a revocation list counts between members as well, at both ends', async (rig, t) => {
  const [good, bad] = [await authority.issue('good'), await authority.issue('bad')];
  const crl = await authority.crl([bad]);
  const one = await rig.member(1n, { listen: [TLS], tls: termsOf(bad) });
  const two = await rig.member(2n, { listen: [TLS], tls: termsOf(good, { crl }) });
  dials(one, two);
  await sentAway(rig, two, /its certificate was revoked/);
  two.transport.setPeers(new Map([[1n, [one.urls[0] ?? '']]]));
  await failsToDial(rig, two, /its certificate was revoked/);
  t.false(one.transport.isConnected(2n));
});

on('SA8: members that meet by a certificate that is revoked are parted at once', async (rig, t) => {
  const [good, bad] = [await authority.issue('good'), await authority.issue('bad')];
  const one = await rig.member(1n, { listen: [TLS], tls: termsOf(bad) });
  const two = await rig.member(2n, { listen: [TLS], tls: termsOf(good) });
  t.true(await meet(rig, one, two));
  two.transport.renewTls(termsOf(good, { crl: await authority.crl([bad]) }));
  await rig.until(() => one.events.some(({ kind }) => kind === 'peer_lost'), 'the connection is cut');
  t.true(refusedAt(two).some(({ reason }) => /its certificate was revoked/.test(reason)));
  const three = await authority.issue('three');
  one.transport.renewTls(termsOf(three));
  await rig.until(() => one.transport.isConnected(2n), 'with another certificate they meet again');
});

on('SA8: who dialled parts from a member whose certificate is revoked or, where that is asked for, expires', async (rig, t) => {
  const [good, bad] = [await authority.issue('good'), await authority.issue('bad')];
  const one = await rig.member(1n, { listen: [TLS], tls: termsOf(good) });
  const two = await rig.member(2n, { listen: [TLS], tls: termsOf(bad) });
  t.true(await meet(rig, one, two));
  one.transport.renewTls(termsOf(good, { crl: await authority.crl([bad]) }));
  await rig.until(() => one.events.some(({ kind }) => kind === 'peer_lost'), 'the connection is cut');
  t.true(refusedAt(one).some(({ reason }) => /its certificate was revoked/.test(reason)));
  const strict = await rig.member(3n, { listen: [TLS], tls: termsOf(await authority.issue('strict'), { sweepExpired: true }) });
  const isSwept = (): boolean => refusedAt(strict).some(({ reason }) => reason === 'its certificate has expired');
  // On a busy machine a certificate may end before they meet: then the next one lives longer.
  for (let lifeMs = 4000; !isSwept() && lifeMs <= 32_000; lifeMs *= 2) {
    const brief = await authority.issue('brief', { notAfterMs: Date.now() + lifeMs });
    two.transport.renewTls(termsOf(brief));
    dials(strict, two);
    await new Promise((resolve) => setTimeout(resolve, lifeMs + 2500));
  }
  t.true(isSwept());
});

test('a pair that does not fit is refused at the start, the one for dialling as well', async (t) => {
  const [one, two] = [await authority.issue('one'), await authority.issue('two')];
  const rig = new TcpRig(TLS);
  const wrong = [{ key: two.key }, { clientCert: two.cert }, { clientCert: two.cert, clientKey: one.key }, { clientKey: 'x' }];
  for (const pair of wrong) {
    await t.throwsAsync(rig.member(1n, { tls: termsOf(one, pair) }), { message: /cannot meet other members with TLS: it / });
  }
  await t.notThrowsAsync(rig.member(1n, { tls: termsOf(one, { clientCert: two.cert, clientKey: two.key }) }));
  await rig.close();
});

on('SA2: the least version of TLS counts for who dials as well', async (rig, t) => {
  const one = await rig.member(1n, { listen: [TLS], tls: termsOf(await authority.issue('one'), { minVersion: 'TLSv1.3' }) });
  const two = await rig.member(2n, { listen: [TLS], tls: termsOf(await authority.issue('two'), { maxVersion: 'TLSv1.2' }) });
  dials(one, two);
  await failsToDial(rig, one, /protocol version/);
  t.false(one.transport.isConnected(2n));
});

on('SA10: a client does not pass for a member: its authority is another, or its name is not allowed', async (rig, t) => {
  const allowedNames = ['member-1', 'member-2'];
  const two = await rig.member(2n, { listen: [TLS], tls: termsOf(await authority.issue('member-2'), { allowedNames }) });
  const visits: readonly (readonly [Identity, RegExp])[] = [
    [await clients.issue('a client'), /its certificate is not accepted/],
    [await authority.issue('a client'), /its certificate is for "a client", which is not among the allowed names/],
    [await authority.issue(''), /its certificate is for nobody/],
  ];
  for (const [{ cert, key }, says] of visits) {
    const before = refusedAt(two).length;
    await visit(portOf(two), { cert, key });
    await rig.until(() => refusedAt(two).length > before, 'it is told');
    t.regex(refusedAt(two).at(-1)?.reason ?? '', says);
  }
  const one = await rig.member(1n, { listen: [TLS], tls: termsOf(await authority.issue('member-1')) });
  t.true(await meet(rig, one, two));
  const forOneHost = termsOf(await authority.issue('x'), { allowedHostnames: ['db.example'] });
  const hosts = await rig.member(3n, { listen: [TLS], tls: forOneHost });
  const stranger = await authority.issue('y', { hosts: ['127.0.0.1', 'web.example'] });
  await visit(portOf(hosts), { cert: stranger.cert, key: stranger.key });
  await rig.until(() => refusedAt(hosts).length > 0, 'it is told');
  t.regex(refusedAt(hosts)[0]?.reason ?? '', /valid for none of the allowed host names \(db\.example\)/);
});

on('SA11: a member is believed under the address it was dialled at, and dials from one its certificate names', async (rig, t) => {
  const two = await rig.member(2n, { listen: [TLS], tls: termsOf(await authority.issue('two')) });
  const elsewhere = await authority.issue('one', { hosts: ['192.0.2.1', '*.example.invalid'] });
  const one = await rig.member(1n, { listen: [TLS], tls: termsOf(elsewhere) });
  dials(one, two);
  await sentAway(rig, two, /is for IP Address:192\.0\.2\.1, DNS:\*\.example\.invalid, and none of these is/);
  two.transport.setPeers(new Map([[1n, [one.urls[0] ?? '']]]));
  await failsToDial(rig, two, /its certificate must name the host or address of this URL/);
  const lenient = await rig.member(2n, { listen: [TLS], tls: termsOf(await authority.issue('two'), { checksAddress: false }) });
  one.transport.setPeers(new Map([[2n, [lenient.urls[0] ?? '']]]));
  await rig.until(() => one.transport.isConnected(2n), 'unless that is not asked for');
  const named = await rig.member(3n, { listen: [TLS], tls: termsOf(await authority.issue('three', { hosts: ['localhost'] })) });
  named.transport.setPeers(new Map([[2n, [two.urls[0] ?? '']]]));
  await rig.until(() => named.transport.isConnected(2n), 'a name is looked up forwards');
  t.true(named.transport.isConnected(2n));
});

on('SG1: the port for members sends away who has no certificate, or one of clients', async (rig, t) => {
  const member = await rig.member(2n, { listen: [TLS], tls: termsOf(await authority.issue('member')) });
  const client = await clients.issue('client');
  await visit(portOf(member), {});
  await visit(portOf(member), { cert: client.cert, key: client.key });
  await rig.until(() => refusedAt(member).length >= 2, 'both are told of');
  t.regex(refusedAt(member)[0]?.reason ?? '', /did not return a certificate/);
  t.regex(refusedAt(member)[1]?.reason ?? '', /its certificate is not accepted/);
});

on('SA14: members that vouch for themselves meet in secret, without anybody being known', async (rig, t) => {
  const own = async (): Promise<PeerTls> => {
    const itself = await TestAuthority.make();
    const { cert, key } = await itself.issue('itself');
    return { cert, key, requireClientCert: false, isAnonymous: true };
  };
  const one = await rig.member(1n, { listen: [TLS], tls: await own() });
  const two = await rig.member(2n, { listen: [TLS], tls: await own() });
  t.true(await meet(rig, one, two));
});

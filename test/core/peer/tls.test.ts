// Certificates that do not fit, and TLS at one end alone: both ends say what is wrong, the one that listens also whose fault it
// is, and each says what to do. On real sockets, with real certificates.

import test, { type ExecutionContext } from 'ava';
import { createServer as createHttpServer } from 'node:http';
import { connect as connectPlain, type TcpNetConnectOpts } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { systemClock } from '../../../core/base/clock.js';
import { HANDSHAKE_MS } from '../../../core/peer/limits.js';
import { reasonOf, type PeerTls } from '../../../core/peer/tls.js';
import { TcpRig, tlsOf, type TcpMember } from './tcp-rig.js';

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

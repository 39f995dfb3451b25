// Who knocks at the port of members and says nothing, says it slowly, or says too much: bounded in time, number and bytes,
// and members still come in.

import test, { type ExecutionContext } from 'ava';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { systemClock, type Clock } from '../../../core/base/clock.js';
import { whenDone } from '../../../core/base/done.js';
import { Prng } from '../../../core/base/prng.js';
import { encodeHello, recordHead } from '../../../core/peer/framing.js';
import { HANDSHAKE_MS, INBOUND_MAX, STRANGERS_MAX } from '../../../core/peer/limits.js';
import { TcpTransport, type TcpTransportOptions } from '../../../core/peer/tcp-transport.js';
import { CLUSTER, TcpRig, tlsOf, type TcpMember } from './tcp-rig.js';

const FASTER = 20;
function clockOf(speed: number): Clock {
  return { now: () => systemClock.now() * speed, schedule: (delayMs, run) => systemClock.schedule(delayMs / speed, run) };
}

/** Time-outs of seconds, in tests of milliseconds. */
const hastyClock = clockOf(FASTER);
/** Nobody's time runs out on a machine that is busy with other tests. */
const patientClock = clockOf(1 / FASTER);

const PLAIN = 'http://127.0.0.1:0';
const TLS = 'https://127.0.0.1:0';

function portOf({ urls }: TcpMember): number {
  return Number(new URL(urls[0] ?? '').port);
}

function reasons({ events }: TcpMember): string {
  return events.flatMap((event) => (event.kind === 'connection_refused' ? [event.reason] : [])).join('; ');
}

class Knocks {
  readonly sockets: Socket[] = [];
  closed = 0;
  answers = '';

  async knock(port: number, bytes: Uint8Array = Buffer.alloc(0)): Promise<Socket> {
    const socket = connect(port, '127.0.0.1');
    this.sockets.push(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.closed++);
    socket.on('data', (chunk: Buffer) => (this.answers += chunk.toString('latin1')));
    await new Promise<void>((resolve) => {
      socket.on('connect', () => resolve());
      socket.on('close', () => resolve());
    });
    if (bytes.length > 0) socket.write(bytes);
    return socket;
  }
}

const on = (
  title: string, options: Partial<TcpTransportOptions> & { listen: readonly string[] },
  run: (rig: TcpRig, knocks: Knocks, t: ExecutionContext) => Promise<void>,
): void => {
  test(title, async (t) => {
    const { listen: [url], ...rest } = options;
    const rig = new TcpRig(url, rest);
    const knocks = new Knocks();
    try {
      await run(rig, knocks, t);
    } finally {
      for (const socket of knocks.sockets) socket.destroy();
      await rig.close();
    }
  });
};

/** A greeting in TLS of which the rest never comes. */
const GREETING = Uint8Array.of(0x16, 3, 1, 2, 0, 1);
const WAYS = [['plain', PLAIN, {}, new Uint8Array(0)], ['TLS', TLS, { tls: tlsOf('member') }, GREETING]] as const;
for (const [how, listen, tls, beginning] of WAYS) {
  const options = { listen: [listen], ...tls };
  on(`who says nothing is sent away in time (${how})`, { ...options, clock: hastyClock }, async (rig, knocks, t) => {
    const member = await rig.member(1n);
    const start = hastyClock.now();
    await knocks.knock(portOf(member));
    await rig.until(() => knocks.closed === 1, 'it is hung up');
    t.true(hastyClock.now() - start >= HANDSHAKE_MS / 2);
    t.regex(reasons(member), /no hello within/);
  });

  on(`a flood of connections that say nothing keeps no member out (${how})`, options, async (rig, knocks, t) => {
    const [one, two] = [await rig.member(1n), await rig.member(2n)];
    const flood = STRANGERS_MAX + 60;
    for (let i = 0; i < flood; i++) await knocks.knock(portOf(two), beginning);
    await rig.until(() => knocks.closed >= flood - STRANGERS_MAX, 'the oldest were hung up');
    t.regex(reasons(two), /too many connections without a hello/);
    one.transport.setPeers(new Map([[2n, two.urls]]));
    await rig.until(() => one.transport.send(2n, 'raft', Buffer.from('x')), 'a member comes in');
    await rig.until(() => two.got.length === 1, 'and is heard');
    t.true(flood - knocks.closed <= STRANGERS_MAX, 'the others still wait for their time');
  });

  on(`connections come and go without a trace (${how})`, options, async (rig, knocks, t) => {
    const [one, two] = [await rig.member(1n), await rig.member(2n)];
    for (let i = 0; i < INBOUND_MAX + 40; i++) (await knocks.knock(portOf(two))).destroy();
    await rig.until(() => knocks.closed === INBOUND_MAX + 40, 'all are gone');
    one.transport.setPeers(new Map([[2n, two.urls]]));
    await rig.until(() => one.transport.isConnected(2n), 'a member comes in');
    t.false(reasons(two).includes('too many'), reasons(two));
  });
}

on('more members than there can be are sent away, told of', { listen: [PLAIN], clock: patientClock }, async (rig, knocks, t) => {
  const member = await rig.member(1n);
  const known = { group: 'control', clusterId: CLUSTER, to: 1n } as const;
  for (let i = 0; i < INBOUND_MAX + 5; i++) {
    const hello = encodeHello({ ...known, from: BigInt(i + 2) });
    await knocks.knock(portOf(member), Buffer.concat([recordHead('hello', hello), hello]));
  }
  await rig.until(() => reasons(member).includes('too many'), 'the last ones are sent away');
  t.regex(reasons(member), /too many connections: 512/);
  await rig.until(() => knocks.closed === 5, 'they notice');
});

on('nobody is waited for who announces much before saying who it is', { listen: [PLAIN] }, async (rig, knocks, t) => {
  const member = await rig.member(1n);
  const body = Buffer.alloc(1 << 20);
  await knocks.knock(portOf(member), recordHead('raft', body));
  await rig.until(() => knocks.closed === 1, 'it is refused at the head');
  t.regex(knocks.answers, /a raft record of 1048576 bytes; at most 1024/);
});

on('TLS at a plain port is hung up at once, and told once', { listen: [PLAIN] }, async (rig, knocks, t) => {
  const member = await rig.member(1n);
  for (let i = 0; i < 3; i++) {
    const error = await new Promise<Error>((resolve) => {
      connectTls({ port: portOf(member), host: '127.0.0.1', rejectUnauthorized: false }).on('error', resolve);
    });
    t.regex(String(error), /SSL|TLS|ECONNRESET|socket/);
  }
  t.is(member.events.length, 1);
  t.deepEqual(knocks.sockets, []);
});

on('plain members at a TLS port are hung up at once', { listen: [TLS], tls: tlsOf('member') }, async (rig, _knocks, t) => {
  const member = await rig.member(1n);
  const plain = await rig.member(2n, { listen: [PLAIN] });
  plain.transport.setPeers(new Map([[1n, [`http://127.0.0.1:${portOf(member)}`]]]));
  await rig.until(() => plain.events.length > 0 && member.events.length > 0, 'both tell of it');
  t.is(plain.events[0]?.kind, 'dial_failed');
  t.is(member.events[0]?.kind, 'connection_refused');
});

on('who cannot be reached is told of as that, with its id', { listen: [PLAIN] }, async (rig, _knocks, t) => {
  const member = await rig.member(1n);
  member.transport.setPeers(new Map([[7n, ['http://127.0.0.1:1']]]));
  await rig.until(() => member.events.length > 0, 'it is told');
  t.like(member.events[0], { kind: 'dial_failed', peer: 7n, url: 'http://127.0.0.1:1', count: 1 });
  t.true(member.events.every(({ kind }) => kind === 'dial_failed'));
});

test('a transport that is closed before it listens frees the port and answers', async (t) => {
  const rig = new TcpRig();
  const { urls } = await rig.member(1n);
  await rig.close();
  const transport = new TcpTransport({
    listen: urls, self: 1n, clusterId: CLUSTER, clock: systemClock, dice: new Prng(1), observe: () => undefined,
  });
  const started = whenDone((done) => transport.start(() => undefined, done));
  await whenDone((done) => transport.close(done));
  await t.throwsAsync(started, { message: /closed before it listened/ });
  await rig.member(2n, { listen: urls });
  await rig.close();
});

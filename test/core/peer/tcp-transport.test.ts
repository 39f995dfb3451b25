// The real network at its worst: wrong doors, broken streams, silence, floods, and certificates that prove nothing.

import test, { type ExecutionContext } from 'ava';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Prng } from '../../../core/base/prng.js';
import { systemClock } from '../../../core/base/clock.js';
import { whenDone } from '../../../core/base/done.js';
import { fetchDescription } from '../../../core/peer/join.js';
import { encodeHello, recordHead } from '../../../core/peer/framing.js';
import { HANDSHAKE_MS, LANES, SILENCE_MS, SOCKET_BYTES_MAX } from '../../../core/peer/limits.js';
import { freePorts } from '../../interop/free-ports.js';
import { CLUSTER, TcpRig, tlsOf, type TcpMember } from './tcp-rig.js';

function portOf(url: string | undefined): number {
  return Number(new URL(url ?? '').port);
}

const on = (title: string, run: (rig: TcpRig, t: ExecutionContext) => Promise<void>, listen?: string): void => {
  test(title, async (t) => {
    const rig = new TcpRig(listen, listen?.startsWith('https') === true ? { tls: tlsOf('member') } : {});
    try {
      await run(rig, t);
    } finally {
      await rig.close();
    }
  });
};

/** Everything a stranger is answered until the connection ends. */
function knock(port: number, bytes: Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => resolve(answer));
  });
}

function refusals({ events }: TcpMember): readonly string[] {
  return events.flatMap((event) => ('reason' in event && event.kind !== 'peer_lost' ? [event.reason] : []));
}

function lost({ events }: TcpMember): readonly string[] {
  return events.flatMap((event) => (event.kind === 'peer_lost' ? [event.reason] : []));
}

/** A relay that tests can break. */
class Relay {
  readonly sockets: Socket[] = [];
  onChunk: (chunk: Buffer, isForward: boolean) => Buffer | null = (chunk) => chunk;
  connections = 0;
  readonly #server: Server;
  readonly #port: number;

  constructor(port: number) {
    this.#port = port;
    this.#server = createServer((socket) => {
      this.connections++;
      const target = connect(this.#port, '127.0.0.1');
      this.#pipe(socket, target, true);
      this.#pipe(target, socket, false);
    });
  }

  #pipe(from: Socket, to: Socket, isForward: boolean): void {
    this.sockets.push(from);
    from.on('data', (chunk: Buffer) => {
      const passed = this.onChunk(chunk, isForward);
      if (passed !== null) to.write(passed);
    });
    from.on('error', () => from.destroy());
    from.on('close', () => to.destroy());
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', () => resolve()));
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

/** Member 1 reaches member 2 through a relay. */
async function relayed(rig: TcpRig): Promise<{ one: TcpMember; two: TcpMember; relay: Relay }> {
  const [one, two] = [await rig.member(1n), await rig.member(2n)];
  const relay = new Relay(portOf(two.urls[0]));
  one.transport.setPeers(new Map([[2n, [await relay.listen()]]]));
  await rig.until(() => one.transport.isConnected(2n), 'connected through the relay');
  return { one, two, relay };
}

on('HTTP at the door of members is answered in HTTP, and told once', async (rig, t) => {
  const member = await rig.member(1n);
  const answer = await knock(portOf(member.urls[0]), Buffer.from('GET /health HTTP/1.1\r\nHost: x\r\n\r\n'));
  t.regex(answer, /^HTTP\/1\.1 400 /);
  t.regex(answer, /for members of a coterie cluster/);
  await knock(portOf(member.urls[0]), Buffer.from('GET /health HTTP/1.1\r\nHost: x\r\n\r\n'));
  t.deepEqual(refusals(member), ['it speaks HTTP']);
});

on('garbage closes the connection and nothing else', async (rig, t) => {
  const [one, two] = [await rig.member(1n), await rig.member(2n)];
  const dice = new Prng(8);
  await Promise.all(Array.from({ length: 40 }, () =>
    knock(portOf(two.urls[0]), Buffer.from(Array.from({ length: 16 + dice.below(200) }, () => dice.below(256))))));
  one.transport.setPeers(new Map([[2n, two.urls]]));
  await rig.until(() => one.transport.send(2n, 'raft', Buffer.from('x')), 'members still connect');
  await rig.until(() => two.got.length === 1, 'and speak');
  t.true(two.events.length < 5, 'told at a bounded rate');
});

on('a hello of another cluster, of another protocol or to another member is refused with the reason', async (rig, t) => {
  const member = await rig.member(2n);
  const hello = { group: 'control', clusterId: CLUSTER, from: 1n, to: 2n } as const;
  const bodies = [
    encodeHello({ ...hello, clusterId: 5n }), encodeHello({ ...hello, to: 3n }), encodeHello(hello, 99),
    encodeHello({ ...hello, from: 0n }),
  ];
  const answers: string[] = [];
  for (const body of bodies) answers.push(await knock(portOf(member.urls[0]), Buffer.concat([recordHead('hello', body), body])));
  t.regex(answers[0] ?? '', /belongs to cluster 5/);
  t.regex(answers[1] ?? '', /wants member 3/);
  t.regex(answers[2] ?? '', /protocol 99/);
  t.regex(answers[3] ?? '', /wants member/);
  t.is(refusals(member).length, 4);
});

on('frames in two pieces arrive whole and in order, be they written at once or made to wait', async (rig, t) => {
  const [one, two] = [await rig.member(1n), await rig.member(2n)];
  one.transport.setPeers(new Map([[2n, two.urls]]));
  two.transport.setPeers(new Map([[1n, one.urls]]));
  await rig.until(() => one.transport.isConnected(2n), 'connected');
  const large = Buffer.alloc(300_000, 8);
  const pieces = [[10, 5000], [5000, 100_000], [10, 300_000], [20, 300_000], [10, 1], [10, 300_000]] as const;
  for (const [first, rest] of pieces) {
    t.true(one.transport.sendPieces(2n, 'raft', Buffer.alloc(first, 9), large.subarray(0, rest)));
  }
  await rig.until(() => two.got.length === pieces.length, 'they arrive');
  for (const [i, [first, rest]] of pieces.entries()) {
    const whole = Buffer.concat([Buffer.alloc(first, 9), large.subarray(0, rest)]);
    t.is(Buffer.compare(two.got[i]?.frame ?? Buffer.alloc(0), whole), 0);
  }
  t.is(one.transport.traffic(2n)?.sentBytes, pieces.reduce((sum, [first, rest]) => sum + first + rest, 0));
});

on('a damaged byte drops the connection, and what it was in is never received', async (rig, t) => {
  const { one, two, relay } = await relayed(rig);
  relay.onChunk = (chunk, isForward) => {
    if (!isForward) return chunk;
    const damaged = Buffer.from(chunk);
    damaged[damaged.length - 1] = (damaged[damaged.length - 1] ?? 0) ^ 1;
    return damaged;
  };
  one.transport.send(2n, 'raft', Buffer.from('precious'));
  await rig.until(() => !one.transport.isConnected(2n), 'the connection is dropped');
  t.deepEqual(two.got, []);
  relay.onChunk = (chunk) => chunk;
  await rig.until(() => one.transport.send(2n, 'raft', Buffer.from('again')), 'it comes back');
  await rig.until(() => two.got.length === 1, 'it arrives');
  t.is(Buffer.from(two.got[0]?.frame ?? []).toString(), 'again');
  relay.close();
});

on('a connection that breaks within a frame loses that frame alone', async (rig, t) => {
  const { one, two, relay } = await relayed(rig);
  let passed = 0;
  relay.onChunk = (chunk, isForward) => {
    if (!isForward) return chunk;
    passed += chunk.length;
    if (passed < 100_000) return chunk;
    for (const socket of relay.sockets) socket.destroy();
    return null;
  };
  one.transport.send(2n, 'raft', Buffer.from('small'));
  one.transport.send(2n, 'raft', Buffer.alloc(1 << 20, 1));
  await rig.until(() => !one.transport.isConnected(2n), 'it broke');
  relay.onChunk = (chunk) => chunk;
  await rig.until(() => one.transport.send(2n, 'raft', Buffer.from('after')), 'it comes back');
  await rig.until(() => two.got.some(({ frame }) => Buffer.from(frame).toString() === 'after'), 'it arrives');
  t.false(two.got.some(({ frame }) => frame.length > 5));
  t.is(lost(one).length, 1);
  relay.close();
});

on('a network that swallows everything without a word is noticed by both ends', async (rig, t) => {
  const { one, two, relay } = await relayed(rig);
  relay.onChunk = () => null;
  await rig.until(() => !one.transport.isConnected(2n), 'silence is noticed');
  // Whichever end notices first.
  const why = lost(one).join();
  t.regex(why, /^(?:nothing was heard for \d+ ms|the other side closed the connection)$/);
  t.true(Number(/\d+/.exec(why)?.[0] ?? SILENCE_MS) >= SILENCE_MS, why);
  relay.onChunk = (chunk) => chunk;
  await rig.until(() => one.transport.send(2n, 'raft', Buffer.from('back')), 'it comes back');
  await rig.until(() => two.got.length === 1, 'it arrives');
  relay.close();
});

on('a receiver that does not read fills a bounded queue, and then frames are dropped', async (rig, t) => {
  const { one, relay } = await relayed(rig);
  for (const socket of relay.sockets) socket.pause();
  const frame = Buffer.alloc(1 << 20);
  let taken = 0;
  while (taken < 1000 && one.transport.send(2n, 'raft', frame)) taken++;
  t.true(taken < 1000, 'it drops in the end');
  t.true(one.transport.queuedBytes(2n) <= LANES.raft.bytesMax + frame.length, `${one.transport.queuedBytes(2n)} bytes wait`);
  // What the kernel holds for both sockets is not ours.
  const most = LANES.raft.bytesMax + SOCKET_BYTES_MAX + 16 * frame.length;
  t.true(taken * frame.length <= most, `${taken} frames were taken`);
  relay.close();
});

on('a call does not wait for all that the machine has queued', async (rig, t) => {
  const { one, two, relay } = await relayed(rig);
  for (const socket of relay.sockets) socket.pause();
  while (one.transport.queuedBytes(2n) < (16 << 20)) t.true(one.transport.send(2n, 'raft', Buffer.alloc(256 << 10)));
  const waiting = one.transport.queuedBytes(2n) / (256 << 10);
  t.true(one.transport.send(2n, 'call', Buffer.from('an answer')));
  for (const socket of relay.sockets) socket.resume();
  await rig.until(() => one.transport.queuedBytes(2n) === 0, 'all is written');
  await rig.until(() => two.got.some(({ lane }) => lane === 'call'), 'the call arrives');
  await rig.until(() => two.got.filter(({ lane }) => lane === 'raft').length >= waiting, 'the rest arrives');
  const behind = two.got.length - 1 - two.got.findIndex(({ lane }) => lane === 'call');
  t.true(behind > waiting / 2, `${behind} frames came after it, ${waiting} waited before it`);
  relay.close();
});

on('bytes to and from a member are counted, and echoes say how long there and back takes', async (rig, t) => {
  const [a, b] = [await rig.member(1n), await rig.member(2n)];
  t.is(a.transport.traffic(2n), null, 'nobody was spoken with yet');
  a.transport.setPeers(new Map([[2n, b.urls]]));
  b.transport.setPeers(new Map([[1n, a.urls]]));
  await rig.until(() => a.transport.isConnected(2n) && b.transport.isConnected(1n), 'both are connected');
  t.true(a.transport.send(2n, 'call', Buffer.alloc(1000)));
  t.true(b.transport.send(1n, 'snapshot', Buffer.alloc(7)) || b.transport.send(1n, 'call', Buffer.alloc(7)));
  await rig.until(() => a.got.length === 1 && b.got.length === 1, 'both frames arrive');
  t.deepEqual(a.transport.traffic(2n), { sentBytes: 1000, receivedBytes: 7 });
  t.deepEqual(b.transport.traffic(1n), { sentBytes: 7, receivedBytes: 1000 });
  const trips = (): readonly number[] => a.events.flatMap((event) => (event.kind === 'peer_round_trip' ? [event.tookMs] : []));
  await rig.until(() => trips().length > 0, 'an echo comes back');
  t.true(trips().every((tookMs) => tookMs >= 0 && tookMs < SILENCE_MS));
  a.transport.setPeers(new Map());
  await rig.until(() => b.transport.send(1n, 'call', Buffer.alloc(7)) && a.got.length > 1, 'it dials and speaks again');
  t.is(a.transport.traffic(2n), null, 'who is no member any more is not counted');
});

on('several URLs are tried in turn', async (rig, t) => {
  const [one, two] = [await rig.member(1n), await rig.member(2n)];
  one.transport.setPeers(new Map([[2n, ['http://127.0.0.1:1', 'nonsense', ...two.urls]]]));
  await rig.until(() => one.transport.isConnected(2n), 'the third one answers');
  t.true(one.events.some(({ kind }) => kind === 'peer_connected'));
  t.true(refusals(one).length >= 2);
});

on('an attempt at an address where nobody answers is given up for a new address', async (rig, t) => {
  const [one, two] = [await rig.member(1n), await rig.member(2n)];
  const held: Socket[] = [];
  const server = createServer((socket) => held.push(socket.on('error', () => socket.destroy())));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const address = server.address();
  one.transport.setPeers(new Map([[2n, [`http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`]]]));
  await rig.until(() => held.length === 2, 'both connections wait for an answer');
  const start = performance.now();
  one.transport.setPeers(new Map([[2n, two.urls]]));
  await rig.until(() => one.transport.isConnected(2n), 'it is found at the new address');
  t.true(performance.now() - start < HANDSHAKE_MS / 2, 'the old one is not waited for');
  t.deepEqual(refusals(one), [], 'nor complained of');
  for (const socket of held) socket.destroy();
  server.close();
});

on('a member that is not in the address book is answered the way it came', async (rig, t) => {
  const [one, two] = [await rig.member(1n), await rig.member(2n)];
  one.transport.setPeers(new Map([[2n, two.urls]]));
  await rig.until(() => one.transport.send(2n, 'raft', Buffer.from('who am I?')), 'connected');
  await rig.until(() => two.got.length === 1, 'heard');
  t.true(two.transport.send(1n, 'raft', Buffer.from('a member that was removed')));
  await rig.until(() => one.got.length === 1, 'answered');
  t.is(one.got[0]?.from, 2n);
});

/** Twelve, and no pause as long as half of them all: two crowds, one after the other, are none. */
function isSpread(times: readonly number[]): boolean {
  const pauses = times.slice(1).map((time, i) => time - (times[i] ?? time));
  const span = pauses.reduce((sum, pause) => sum + pause, 0);
  return times.length === 12 && span > 100 && Math.max(...pauses) < span / 2;
}

on('members that come back together do not knock at the same moment', async (rig, t) => {
  // Not one that the system gives to outgoing connections: it would be taken before somebody listens there.
  const [port = 0] = await freePorts(1);
  const members = await Promise.all([1n, 2n, 3n, 4n, 5n, 6n].map((id) => rig.member(id)));
  for (const { transport } of members) transport.setPeers(new Map([[9n, [`http://127.0.0.1:${port}`]]]));
  await new Promise((resolve) => setTimeout(resolve, 1200));
  const times: number[] = [];
  const server = createServer((socket) => {
    times.push(performance.now());
    socket.on('error', () => socket.destroy());
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', () => resolve()));
  // Those that came while this process was kept waiting are seen at one moment, whenever they came.
  const areSpread = (): boolean => times.some((_, i) => isSpread(times.slice(i, i + 12)));
  await rig.until(areSpread, 'twelve knocks are neither at one moment nor at two');
  server.close();
  t.true(times.length >= 12);
});

on('a port that is taken is refused with what to do', async (rig, t) => {
  const member = await rig.member(1n);
  const error = await t.throwsAsync(rig.member(2n, { listen: [...member.urls] }));
  t.regex(error.message, /cannot listen for other members on http:\/\/127\.0\.0\.1:\d+: .*EADDRINUSE.*--listen-peer-urls/);
});

const WRONG = [['a certificate of another authority', 'foreigner'], ['a certificate for another name', 'elsewhere']] as const;
for (const [who, name] of WRONG) {
  on(`${who} is not believed by who dials`, async (rig, t) => {
    const one = await rig.member(1n);
    const two = await rig.member(2n, { tls: tlsOf(name) });
    one.transport.setPeers(new Map([[2n, two.urls]]));
    await rig.until(() => refusals(one).length > 0, 'it is refused');
    t.false(one.transport.isConnected(2n));
    t.regex(refusals(one).join(), /certificate|altnames|IP/i);
  }, 'https://127.0.0.1:0');
}

on('nobody is let in without a certificate of the authority', async (rig, t) => {
  const member = await rig.member(1n);
  const port = portOf(member.urls[0]);
  const { cert, key } = tlsOf('foreigner');
  for (const own of [{}, { cert, key }]) {
    await new Promise<void>((resolve) => {
      const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ...own });
      socket.on('error', () => socket.destroy());
      socket.on('close', () => resolve());
      socket.on('data', () => t.fail('it was answered'));
      socket.on('secureConnect', () => socket.write(recordHead('describe', Buffer.alloc(0))));
    });
  }
  t.true(refusals(member).length >= 1);
  t.is(await knock(port, Buffer.from('GET / HTTP/1.1\r\n\r\n')).then((answer) => answer.includes('200')), false);
}, 'https://127.0.0.1:0');

on('who joins is told who the members are, and only who may', async (rig, t) => {
  const description = Buffer.from('whatever the members are to say of each other');
  const member = await rig.member(1n, { describe: () => description });
  const url = member.urls[0] ?? '';
  const bytes = await whenDone<Uint8Array>((done) => fetchDescription(url, tlsOf('member'), systemClock, 5000, done));
  t.deepEqual(Buffer.from(bytes), description);
  const silent = await rig.member(2n);
  const ask = (to: string, tls: ReturnType<typeof tlsOf> | null): Promise<Uint8Array> =>
    whenDone((done) => fetchDescription(to, tls, systemClock, 2000, done));
  await t.throwsAsync(ask(silent.urls[0] ?? '', tlsOf('member')), { message: /describes its cluster to nobody/ });
  await t.throwsAsync(ask(url, tlsOf('foreigner')), { message: /asking https/ });
  await t.throwsAsync(ask('http://127.0.0.1:1', null), { message: /ECONNREFUSED/ });
  await t.throwsAsync(ask('nonsense', null), { message: /not an http/ });
}, 'https://127.0.0.1:0');

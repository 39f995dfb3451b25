// Frames over TCP or TLS. Each member dials each other one, twice: one connection for messages and calls, one for snapshots,
// so that a snapshot delays no heartbeat. Frames go out on what was dialled; what is answered to somebody who is not in the
// address book, as a member just added or just removed, goes back the way it came.
//
// Whoever does not speak our protocol, or TLS where TLS is spoken (tls.ts), or means another cluster or member, is sent away in
// one reported event.

import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { assert } from '../base/assert.js';
import { EMPTY, utf8 } from '../base/bytes.js';
import type { Clock } from '../base/clock.js';
import type { TlsGate } from '../base/tls-gate.js';
import type { Done } from '../base/done.js';
import type { Prng } from '../base/prng.js';
import type { NodeId } from '../raft/types.js';
import { addressOf } from './address.js';
import { checkAddress } from './address-check.js';
import { DecodeError } from './codec.js';
import type { PeerEvent } from './events.js';
import {
  decodeHello, encodeHello, FrameReader, groupOf, recordHead, type FrameRecord, type Hello, type LaneGroup, type RecordKind,
} from './framing.js';
import {
  DESCRIPTION_BYTES_MAX, HANDSHAKE_MS, HELLO_BYTES_MAX, INBOUND_MAX, LINGER_MS, REASON_BYTES_MAX, REPORT_MS, REPORTED_MAX,
  STRANGERS_MAX,
} from './limits.js';
import { Link } from './link.js';
import { isHttp, isTlsGreeting, ONE_SCHEME } from './opening.js';
import { Outbound } from './outbound.js';
import { Tally } from '../base/tally.js';
import { dial, PeerSecurity, reasonOf, whyNot, type PeerTls } from './tls.js';
import type { Lane, Receive, Traffic, Transport } from './transport.js';

export interface TcpTransportOptions {
  /** Such as `http://127.0.0.1:2380`; port 0 picks a free one. */
  readonly listen: readonly string[];
  readonly self: NodeId;
  readonly clusterId: bigint;
  readonly clock: Clock;
  /** Spreads attempts to connect. */
  readonly dice: Prng;
  /** Needed for https. */
  readonly tls?: PeerTls;
  /** The bytes for somebody who joins (join.ts); absent: nobody is told. */
  readonly describe?: () => Uint8Array;
  readonly observe: (event: PeerEvent) => void;
}

interface Stranger {
  readonly socket: Socket;
  /** It has said who it is, is gone, or was sent away. */
  readonly leave: () => void;
  /** Why it is sent away; only the first reason is told. */
  readonly tell: (reason: string) => void;
  /** Its time is over. */
  onLate: () => void;
}

const GROUPS: readonly LaneGroup[] = ['control', 'bulk'];
/** What a client that speaks HTTP reads when it knocks at the wrong door. */
const HTTP_ANSWER_BODY = 'this port is for members of a coterie cluster; clients use --listen-client-urls (2379)\n';
const HTTP_ANSWER = 'HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n'
  + `Content-Length: ${HTTP_ANSWER_BODY.length}\r\n\r\n${HTTP_ANSWER_BODY}`;

export class TcpTransport implements Transport {
  readonly #options: TcpTransportOptions;
  readonly #servers: Server[] = [];
  readonly #urls: string[] = [];
  readonly #outbound = new Map<NodeId, ReadonlyMap<LaneGroup, Outbound>>();
  /** The newest connection of each member and group, dialled by them. */
  readonly #inbound = new Map<NodeId, Map<LaneGroup, Link>>();
  readonly #links = new Set<Link>();
  readonly #traffic = new Map<NodeId, { sentBytes: number; receivedBytes: number }>();
  readonly #sockets = new Set<Socket>();
  readonly #reports: Tally;
  /** Those who have not said who they are, the oldest first. */
  readonly #strangers = new Set<Stranger>();
  #receive: Receive | null = null;
  #security: PeerSecurity | null = null;
  /** Where members are reached, for certificates that name them. */
  #hosts: readonly string[] = [];
  #isClosed = false;

  constructor(options: TcpTransportOptions) {
    this.#options = options;
    this.#reports = new Tally(options.clock, { intervalMs: REPORT_MS, kindsMax: REPORTED_MAX });
  }

  /** Where it listens, with actual ports, in the order asked for. */
  get urls(): readonly string[] {
    return this.#urls;
  }

  /** Bytes that wait for `to`, in all lanes. */
  queuedBytes(to: NodeId): number {
    return [...(this.#outbound.get(to)?.values() ?? [])].reduce((sum, each) => sum + each.queuedBytes, 0);
  }

  start(receive: Receive, done: Done): void {
    assert(this.#receive === null, 'a transport starts once');
    this.#receive = receive;
    const { tls, clock } = this.#options;
    try {
      const onSwept = (address: string, reason: string): void => this.#report(address, reason);
      this.#security = tls === undefined ? null : new PeerSecurity(tls, clock, onSwept);
    } catch (error) {
      const problem = `cannot meet other members with TLS: ${reasonOf(error)}`;
      return void clock.schedule(0, () => done(new Error(`${problem}. Give other files with --peer-cert-file and the like`)));
    }
    this.#listen(0, done);
  }

  /** New certificates, authorities and lists; throws a `TlsFault`, and keeps the old, where they cannot be used. */
  renewTls(tls: PeerTls): void {
    assert(this.#security !== null, 'TLS is renewed where there is some');
    this.#security.renew(tls);
  }

  #listen(i: number, done: Done): void {
    const { listen, clock, tls } = this.#options;
    const url = listen[i];
    if (url === undefined) return void clock.schedule(0, () => done(null));
    const fail = (reason: string): void => {
      const problem = `cannot listen for other members on ${url}: ${reason}`;
      this.close(() => done(new Error(`${problem}. Give a free address with --listen-peer-urls`)));
    };
    const address = addressOf(url);
    if (address === null) return fail('it is not an http:// or https:// address');
    if (address.isTls && tls === undefined) return fail('https needs a certificate: --peer-cert-file and --peer-key-file');
    const gate = address.isTls ? this.#security?.gate ?? null : null;
    const server = createServer((socket) => this.#admit(socket, gate));
    this.#servers.push(server);
    const onError = (error: Error): void => fail(reasonOf(error));
    server.once('error', onError);
    server.listen({ host: address.host, port: address.port }, () => {
      server.off('error', onError);
      if (this.#isClosed) return void server.close(() => done(new Error(`closed before it listened on ${url}`)));
      // What a listening socket meets later, such as too many open files, passes.
      server.on('error', (error) => this.#report(url, reasonOf(error)));
      this.#urls.push(urlOf(server.address(), address.isTls));
      this.#listen(i + 1, done);
    });
  }

  /**
   * Takes a connection in, a stranger until its hello. When there are too many strangers the oldest one makes room: a member
   * says its hello at once, whoever floods the port does not.
   */
  #admit(socket: Socket, gate: TlsGate | null): void {
    // Once it is cut off nobody can tell.
    const address = socket.remoteAddress ?? 'unknown';
    socket.on('error', () => socket.destroy());
    if (this.#isClosed || this.#sockets.size >= INBOUND_MAX) {
      this.#report(address, `too many connections: ${INBOUND_MAX}`);
      return void socket.destroy();
    }
    const [oldest] = this.#strangers;
    if (oldest !== undefined && this.#strangers.size >= STRANGERS_MAX) {
      oldest.tell(`too many connections without a hello: ${STRANGERS_MAX}`);
      oldest.leave();
      this.#sockets.delete(oldest.socket);
      oldest.socket.destroy();
    }
    let isTold = false;
    const stranger: Stranger = {
      socket,
      leave: () => {
        cancel();
        this.#strangers.delete(stranger);
      },
      tell: (reason) => {
        if (!isTold) this.#report(address, reason);
        isTold = true;
      },
      onLate: () => socket.destroy(),
    };
    const cancel = this.#options.clock.schedule(HANDSHAKE_MS, () => stranger.onLate());
    this.#sockets.add(socket);
    this.#strangers.add(stranger);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      stranger.leave();
    });
    this.#accept(socket, stranger, gate);
  }

  /** `gate`: TLS comes first. Null: there is none at this port, or `socket` is TLS over the stranger's own. */
  #accept(socket: Socket, stranger: Stranger, gate: TlsGate | null): void {
    const reader = new FrameReader(HELLO_BYTES_MAX);
    let isStranger = true;
    const known = (): void => {
      isStranger = false;
      stranger.leave();
    };
    const sendAway = (reason: string, bytes: Uint8Array): void => {
      known();
      stranger.tell(reason);
      this.#endWith(socket, bytes);
    };
    const refuse = (reason: string): void => sendAway(reason, framed('refused', utf8(reason).subarray(0, REASON_BYTES_MAX)));
    stranger.onLate = () => refuse(`no hello within ${HANDSHAKE_MS} ms`);
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('close', known);
    const onData = (chunk: Buffer): void => {
      if (!isStranger) return;
      const isFirst = reader.heldBytes === 0;
      if (isFirst && isHttp(chunk)) return sendAway('it speaks HTTP', utf8(HTTP_ANSWER));
      if (gate !== null && isTlsGreeting(chunk)) {
        socket.off('data', onData).off('close', known);
        return this.#secure(socket, chunk, stranger, gate);
      }
      if (gate !== null) return refuse(`it does not speak TLS, and this port does; ${ONE_SCHEME}`);
      if (isFirst && isTlsGreeting(chunk)) return refuse(`it speaks TLS, and this port does not; ${ONE_SCHEME}`);
      try {
        const records = reader.push(chunk);
        if (records.length === 0) return;
        known();
        socket.off('data', onData);
        this.#greet(socket, reader, records, refuse);
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        refuse(error.message);
      }
    };
    socket.on('data', onData);
  }

  /** `first`: the bytes by which it was known to speak TLS. */
  #secure(socket: Socket, first: Buffer, stranger: Stranger, gate: TlsGate): void {
    stranger.onLate = () => {
      stranger.tell(`no end of the TLS handshake within ${HANDSHAKE_MS} ms`);
      socket.destroy();
    };
    socket.pause();
    socket.unshift(first);
    const address = socket.remoteAddress ?? 'unknown';
    gate.open(socket, null, (refused, secured) => {
      if (refused !== null) stranger.tell(whyNot(refused));
      if (secured === null) return;
      const { socket: secure, chain: [leaf] } = secured;
      secure.on('error', () => secure.destroy());
      if (leaf === undefined || this.#security?.checksAddress !== true) return this.#accept(secure, stranger, null);
      checkAddress(leaf, address, this.#hosts, (reason) => {
        if (secure.destroyed || this.#isClosed) return;
        if (reason === null) return this.#accept(secure, stranger, null);
        stranger.tell(`${reason}; give each member a certificate for its own address`);
        this.#options.clock.schedule(0, () => secure.destroy());
      });
    });
  }

  /** The last word. Whoever does not hang up then is cut off. */
  #endWith(socket: Socket, bytes: Uint8Array): void {
    socket.end(bytes);
    const cancel = this.#options.clock.schedule(LINGER_MS, () => socket.destroy());
    socket.on('close', cancel);
  }

  #greet(socket: Socket, reader: FrameReader, records: readonly FrameRecord[], refuse: (reason: string) => void): void {
    const { clusterId, self, describe } = this.#options;
    const [first, ...early] = records;
    assert(first !== undefined, 'a greeting begins with a record');
    if (first.kind === 'describe') {
      if (describe === undefined) return refuse('this member describes its cluster to nobody');
      const description = describe();
      if (description.length > DESCRIPTION_BYTES_MAX) return refuse(`its description of ${description.length} bytes is too long`);
      return this.#endWith(socket, framed('description', description));
    }
    if (first.kind !== 'hello') return refuse(`a ${first.kind} record before the hello`);
    const hello = decodeHello(first.body);
    if (hello.clusterId !== clusterId) {
      return refuse(`it belongs to cluster ${hello.clusterId.toString(16)}, this member to ${clusterId.toString(16)}`);
    }
    if (hello.to !== self || hello.from === self || hello.from === 0n) {
      return refuse(`it wants member ${hello.to.toString(16)}, this is ${self.toString(16)}`);
    }
    const { from, group } = hello;
    socket.write(framed('welcome', encodeHello({ group, clusterId, from: self, to: from })));
    this.#open(socket, reader, hello, early);
  }

  #open(socket: Socket, reader: FrameReader, { from, group }: Hello, early: readonly FrameRecord[]): void {
    const link: Link = new Link(socket, group, reader, {
      clock: this.#options.clock,
      onFrame: (lane, frame) => this.#onFrame(from, lane, frame),
      onClose: () => {
        this.#links.delete(link);
        const links = this.#inbound.get(from);
        if (links?.get(group) === link) links.delete(group);
        if (links?.size === 0) this.#inbound.delete(from);
      },
    });
    this.#links.add(link);
    const links = this.#inbound.get(from) ?? new Map<LaneGroup, Link>();
    // A member has one connection of each kind: an earlier one is what is left of a broken network.
    links.get(group)?.close('the member has connected anew');
    this.#inbound.set(from, links);
    links.set(group, link);
    socket.on('data', (chunk: Buffer) => link.take(chunk));
    socket.on('error', (error) => link.close(reasonOf(error)));
    socket.on('close', () => link.close('the other side closed the connection'));
    link.deliver(early);
  }

  setPeers(addresses: ReadonlyMap<NodeId, readonly string[]>): void {
    if (this.#isClosed) return;
    this.#hosts = [...addresses.values()].flat().map((url) => addressOf(url)?.host ?? '');
    for (const [id, outbound] of this.#outbound) {
      if (addresses.has(id)) continue;
      this.#outbound.delete(id);
      this.#traffic.delete(id);
      for (const each of outbound.values()) each.close();
      for (const link of [...(this.#inbound.get(id)?.values() ?? [])]) link.close('it is no member any more');
    }
    for (const [id, urls] of addresses) {
      const outbound = this.#outbound.get(id);
      if (outbound !== undefined) for (const each of outbound.values()) each.setUrls(urls);
      else this.#outbound.set(id, new Map(GROUPS.map((group) => [group, this.#connect(id, group, urls)])));
    }
  }

  #connect(id: NodeId, group: LaneGroup, urls: readonly string[]): Outbound {
    const { clock, dice, clusterId, self, observe } = this.#options;
    const isControl = group === 'control';
    return new Outbound(id, group, urls, {
      clock, dice, clusterId, self,
      dial: (url, ready) => dial(url, this.#security, ready),
      onFrame: (lane, frame) => this.#onFrame(id, lane, frame),
      ...(isControl ? { onRoundTrip: (tookMs: number) => observe({ kind: 'peer_round_trip', peer: id, tookMs }) } : {}),
      onUp: () => { if (isControl) observe({ kind: 'peer_connected', peer: id }); },
      onDown: (reason) => { if (isControl && !this.#isClosed) observe({ kind: 'peer_lost', peer: id, reason }); },
      onFailure: (url, reason) => {
        const count = isControl && !this.#isClosed ? this.#reports.add(`${id} ${url} ${reason}`) : 0;
        if (count > 0) observe({ kind: 'dial_failed', peer: id, url, reason, count });
      },
    });
  }

  send(to: NodeId, lane: Lane, frame: Uint8Array): boolean {
    return this.sendPieces(to, lane, frame, EMPTY);
  }

  sendPieces(to: NodeId, lane: Lane, frame: Uint8Array, rest: Uint8Array): boolean {
    if (this.#isClosed) return false;
    const group = groupOf(lane);
    const way = (this.#outbound.get(to) ?? this.#inbound.get(to))?.get(group);
    if (way === undefined || !way.send(lane, frame, rest)) return false;
    this.#trafficOf(to).sentBytes += frame.length + rest.length;
    return true;
  }

  traffic(peer: NodeId): Traffic | null {
    return this.#traffic.get(peer) ?? null;
  }

  #onFrame(from: NodeId, lane: Lane, frame: Uint8Array): void {
    this.#trafficOf(from).receivedBytes += frame.length;
    this.#receive?.(from, lane, frame);
  }

  #trafficOf(peer: NodeId): { sentBytes: number; receivedBytes: number } {
    const known = this.#traffic.get(peer);
    if (known !== undefined) return known;
    const traffic = { sentBytes: 0, receivedBytes: 0 };
    // Kept of those in the address book alone: anybody else could fill this table.
    if (this.#outbound.has(peer)) this.#traffic.set(peer, traffic);
    return traffic;
  }

  isConnected(to: NodeId): boolean {
    return this.#outbound.get(to)?.get('control')?.isUp ?? false;
  }

  close(done: Done): void {
    this.#isClosed = true;
    this.#receive = null;
    this.#security?.gate.close();
    for (const outbound of this.#outbound.values()) for (const each of outbound.values()) each.close();
    this.#outbound.clear();
    for (const link of [...this.#links]) link.close('closed here');
    for (const socket of [...this.#sockets]) socket.destroy();
    const open = this.#servers.filter((server) => server.listening);
    let left = open.length;
    const { clock } = this.#options;
    if (left === 0) return void clock.schedule(0, () => done(null));
    for (const server of open) {
      server.close(() => {
        if (--left === 0) clock.schedule(0, () => done(null));
      });
    }
  }

  #report(address: string, reason: string): void {
    if (this.#isClosed) return;
    const count = this.#reports.add(`${address} ${reason}`);
    if (count > 0) this.#options.observe({ kind: 'connection_refused', address, reason, count });
  }
}

function urlOf(address: string | AddressInfo | null, isTls: boolean): string {
  assert(address !== null && typeof address !== 'string', 'a listening server has an address');
  const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return `${isTls ? 'https' : 'http'}://${host}:${address.port}`;
}

function framed(kind: RecordKind, body: Uint8Array = EMPTY): Buffer {
  return Buffer.concat([recordHead(kind, body), body]);
}

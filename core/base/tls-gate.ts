// Where connections become TLS: one gate for each listening side. It bounds handshakes, in time and in number, lets in whom
// the terms let in, and knows who is within, so that a change of terms reaches those who are connected as well.
//
// A server of `node:tls` does not say whose handshake came to nothing once the socket is gone; so each handshake has one to
// itself, which serves the next afterwards.

import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { X509Certificate } from 'node:crypto';
import { commonNameOf } from './certificate.js';
import { calendarMs, type Clock } from './clock.js';
import { endOf, EXPIRED, reasonOf, type JudgedTls } from './tls-terms.js';

/** Servers that are kept for the next handshakes; making one reads the certificates anew. */
const KEPT_MAX = 8;
/** A handshake that made way for others was under way for so long at least: who is served is not thrown out. */
const SLOW_MS = 1000;
/** How often it is looked whose certificate has expired, where that counts. */
const SWEEP_MS = 2000;
/** Certificates of one chain; those beyond are not looked at. */
const CHAIN_MAX = 16;

export interface TlsGateOptions {
  readonly clock: Clock;
  /** From the first byte to the end of the handshake. */
  readonly handshakeMs: number;
  /** Handshakes at the same time, from everywhere and from one address. */
  readonly handshakesMax: number;
  readonly perAddressMax: number;
  /** Somebody who was connected was cut off. */
  readonly onSwept: (address: string, reason: string) => void;
}

export interface TlsRefusal {
  /** Of OpenSSL or of the system; empty: our own word. */
  readonly code: string;
  readonly text: string;
}

export interface Secured {
  readonly socket: TLSSocket;
  /** The certificates that were shown, leaf first; none where none are asked for. */
  readonly chain: readonly X509Certificate[];
  /** The CommonName of the first. */
  readonly certificateName: string | null;
}

type Opened = (refused: TlsRefusal | null, secured: Secured | null) => void;

interface Handshake {
  readonly address: string;
  readonly startedAt: number;
  readonly giveUp: (reason: string) => void;
}

/** A server for the next handshake at which the same is spoken. */
interface Spare {
  readonly server: Server;
  readonly protocols: readonly string[] | null;
}

interface Connected {
  readonly address: string;
  /** When its certificate expires. */
  readonly endMs: number;
  /** By which it was let in. */
  chain: readonly X509Certificate[];
}

export class TlsGate {
  readonly #options: TlsGateOptions;
  #tls: JudgedTls;
  #idle: Spare[] = [];
  /** Oldest first. */
  readonly #handshakes = new Set<Handshake>();
  readonly #perAddress = new Map<string, number>();
  readonly #connected = new Map<TLSSocket, Connected>();
  #cancelSweep: () => void = () => undefined;

  constructor(tls: JudgedTls, options: TlsGateOptions) {
    this.#tls = tls;
    this.#options = options;
    this.#sweepLater();
  }

  /** From now on on these terms: the next handshake, those under way, and those who are connected. */
  renew(tls: JudgedTls): void {
    this.#tls = tls;
    this.#idle = [];
    this.#cancelSweep();
    this.#sweep();
    this.#sweepLater();
  }

  close(): void {
    this.#cancelSweep();
    for (const handshake of [...this.#handshakes]) handshake.giveUp('closed here');
  }

  /**
   * Why the other end, which shows these certificates, is not believed; null: it is, and from now on it is one of those who are
   * connected. For who was dialled as well.
   */
  keep(secure: TLSSocket, address: string, shown: readonly X509Certificate[]): string | null {
    const judged = this.#tls.judge(shown, calendarMs());
    if (typeof judged === 'string') return judged;
    const [leaf] = judged;
    this.#connected.set(secure, { address, endMs: leaf === undefined ? Infinity : endOf(leaf), chain: judged });
    secure.on('close', () => this.#connected.delete(secure));
    return null;
  }

  /**
   * `done` once: with the connection within, or why there is none; then the socket is gone. `protocols`: what is spoken within,
   * by preference (ALPN); who offers others and none of these is refused. Null: nobody is asked.
   */
  open(socket: Socket, protocols: readonly string[] | null, done: Opened): void {
    // Once it is cut off nobody can tell.
    const address = socket.remoteAddress ?? 'unknown';
    const full = this.#makeRoom(address);
    if (full !== null) {
      socket.destroy();
      return done({ code: '', text: full }, null);
    }
    const tls = this.#tls;
    const server = this.#serverFor(protocols);
    const end = (refused: TlsRefusal | null, secured: Secured | null): void => {
      if (!this.#handshakes.delete(handshake)) return;
      cancel();
      this.#leave(address);
      server.off('secureConnection', onSecure);
      // Not from within the runtime's own reading of the handshake: it would go on with what is freed.
      if (refused !== null) this.#options.clock.schedule(0, () => socket.destroy());
      done(refused, secured);
    };
    // A server that was given up on may still tell of this handshake: it serves no other.
    const spare = (): void => {
      server.off('tlsClientError', onError);
      if (tls !== this.#tls) return;
      // The oldest makes room: it may be for protocols that nobody asks for now.
      if (this.#idle.length >= KEPT_MAX) this.#idle.shift();
      this.#idle.push({ server, protocols });
    };
    const onSecure = (secure: TLSSocket): void => {
      spare();
      this.#admit(secure, address, end);
    };
    const onError = (error: Error, secure: TLSSocket): void => {
      spare();
      end(refusalOf(error, secure), null);
    };
    const { clock, handshakeMs } = this.#options;
    const handshake: Handshake = {
      address, startedAt: clock.now(), giveUp: (reason) => end({ code: '', text: reason }, null),
    };
    const cancel = clock.schedule(handshakeMs, () => handshake.giveUp(`no end of the TLS handshake within ${handshakeMs} ms`));
    this.#handshakes.add(handshake);
    this.#perAddress.set(address, (this.#perAddress.get(address) ?? 0) + 1);
    server.on('secureConnection', onSecure).on('tlsClientError', onError);
    server.emit('connection', socket);
  }

  #serverFor(protocols: readonly string[] | null): Server {
    const at = this.#idle.findLastIndex((spare) => spare.protocols === protocols);
    const [spare] = at === -1 ? [] : this.#idle.splice(at, 1);
    if (spare !== undefined) return spare.server;
    const alpn = protocols === null ? {} : { ALPNProtocols: [...protocols] };
    return createServer({ ...this.#tls.serverOptions, ...alpn, handshakeTimeout: 2 * this.#options.handshakeMs });
  }

  /** Of too many the oldest makes room, if it is slow; else nobody is let in. Null: there is room. */
  #makeRoom(address: string): string | null {
    const { handshakesMax, perAddressMax, clock } = this.#options;
    const isCrowded = (this.#perAddress.get(address) ?? 0) >= perAddressMax;
    if (!isCrowded && this.#handshakes.size < handshakesMax) return null;
    const reason = isCrowded
      ? `too many TLS handshakes at the same time from one address: ${perAddressMax}`
      : `too many TLS handshakes at the same time: ${handshakesMax}`;
    for (const handshake of this.#handshakes) {
      if (isCrowded && handshake.address !== address) continue;
      if (clock.now() - handshake.startedAt < SLOW_MS) return reason;
      handshake.giveUp(reason);
      return null;
    }
    return reason;
  }

  #leave(address: string): void {
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#perAddress.set(address, left);
    else this.#perAddress.delete(address);
  }

  #admit(secure: TLSSocket, address: string, end: Opened): void {
    if (!this.#tls.requiresCertificate) return end(null, { socket: secure, chain: [], certificateName: null });
    const chain = chainOf(secure);
    const against = this.keep(secure, address, chain);
    if (against !== null) {
      secure.on('error', () => undefined);
      return end({ code: '', text: against }, null);
    }
    const [leaf] = chain;
    end(null, { socket: secure, chain, certificateName: leaf === undefined ? null : commonNameOf(leaf) });
  }

  #sweep(): void {
    for (const [socket, connected] of this.#connected) {
      const judged = this.#tls.judgeAgain(connected.chain, calendarMs());
      if (typeof judged === 'string') this.#cutOff(socket, connected, judged);
      else connected.chain = judged;
    }
  }

  #sweepExpired(): void {
    const now = calendarMs();
    for (const [socket, connected] of this.#connected) {
      if (connected.endMs <= now) this.#cutOff(socket, connected, EXPIRED);
    }
  }

  #cutOff(socket: TLSSocket, { address }: Connected, reason: string): void {
    this.#connected.delete(socket);
    socket.destroy();
    this.#options.onSwept(address, reason);
  }

  #sweepLater(): void {
    if (!this.#tls.sweepsExpired) return;
    this.#cancelSweep = this.#options.clock.schedule(SWEEP_MS, () => {
      this.#sweepExpired();
      this.#sweepLater();
    });
  }
}

/** The certificates the other end has shown, leaf first, with those of authorities as far as they are known; linked by names. */
export function chainOf(socket: TLSSocket): readonly X509Certificate[] {
  const chain: X509Certificate[] = [];
  let shown = socket.getPeerCertificate(true);
  while (shown?.raw !== undefined && chain.length < CHAIN_MAX) {
    chain.push(new X509Certificate(shown.raw));
    if (shown.issuerCertificate === shown || shown.issuerCertificate === undefined) break;
    shown = shown.issuerCertificate;
  }
  return chain;
}

/** A certificate that is not believed shows only as a connection that was cut; the reason stands beside it, as a code. */
function refusalOf(error: Error, { authorizationError }: { readonly authorizationError: unknown }): TlsRefusal {
  if (typeof authorizationError === 'string') {
    return { code: authorizationError, text: `its certificate is not accepted (${authorizationError})` };
  }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (code === 'ECONNRESET') return { code, text: 'it hung up during the TLS handshake' };
  return { code, text: reasonOf(error) };
}

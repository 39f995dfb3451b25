// What TLS adds between members: dialling with it, letting it in, and saying what went wrong in words an operator can act on.
// With https both ends show certificates of the same authority, and the dialled end one for the name or address dialled.

import { connect as connectPlain, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { calendarMs, type Clock } from '../base/clock.js';
import { chainOf, TlsGate, type TlsRefusal } from '../base/tls-gate.js';
import { JudgedTls, judgePair, reasonOf as wordsOf, type TlsTerms } from '../base/tls-terms.js';
import { addressOf } from './address.js';
import { HANDSHAKE_MS, STRANGERS_MAX } from './limits.js';
import { ONE_SCHEME } from './opening.js';

/** Texts are PEM. Here a member without a certificate is refused unless `requireClientCert` is false. */
export interface PeerTls extends TlsTerms {
  /** Shown where this member dials; default: `cert`, with its key. */
  readonly clientCert?: string;
  readonly clientKey?: string;
  /** Nobody vouches for anybody (etcd: --peer-auto-tls): what passes cannot be read, but who is there is not known. */
  readonly isAnonymous?: boolean;
  /** A certificate that names hosts is taken from these alone (address-check.ts). Default true. */
  readonly checksAddress?: boolean;
}

/** TLS of one member, to both sides. Throws a `TlsFault` where it cannot be used. */
export class PeerSecurity {
  readonly gate: TlsGate;
  #tls: PeerTls;
  #judged: JudgedTls;

  constructor(tls: PeerTls, clock: Clock, onSwept: (address: string, reason: string) => void) {
    this.#tls = tls;
    this.#judged = judgedPeer(tls);
    const limits = { handshakeMs: HANDSHAKE_MS, handshakesMax: STRANGERS_MAX, perAddressMax: STRANGERS_MAX };
    this.gate = new TlsGate(this.#judged, { clock, ...limits, onSwept });
  }

  get checksAddress(): boolean {
    return this.#tls.checksAddress ?? true;
  }

  /** New certificates, authorities and lists, for whoever comes and for whoever is connected. Throws as the constructor. */
  renew(tls: PeerTls): void {
    this.#judged = judgedPeer(tls);
    this.#tls = tls;
    this.gate.renew(this.#judged);
  }

  /** `ready` once, when the other end has proven to be who it should be. */
  dial(to: { readonly host: string; readonly port: number }, ready: () => void): Socket {
    const { cert, key, clientCert = cert, clientKey = key, isAnonymous = false } = this.#tls;
    const name = isIP(to.host) === 0 ? { servername: to.host } : {};
    const socket: TLSSocket = connectTls({
      ...to, ...name, ...this.#judged.clientOptions, cert: clientCert, key: clientKey, rejectUnauthorized: !isAnonymous,
    }, () => {
      const against = isAnonymous ? null : this.gate.keep(socket, socket.remoteAddress ?? 'unknown', chainOf(socket));
      if (against !== null) return void socket.destroy(new Error(`${against}; ${ONE_AUTHORITY}`));
      ready();
    });
    return socket;
  }
}

/** Throws a `TlsFault`, about what is shown where this member dials as well. */
export function judgedPeer(tls: PeerTls): JudgedTls {
  const { cert, key, clientCert = cert, clientKey = key, requireClientCert = true } = tls;
  const judged = new JudgedTls({ ...tls, requireClientCert }, calendarMs());
  judgePair({ cert: clientCert, key: clientKey }, { cert: 'clientCert', key: 'clientKey' });
  return judged;
}

/** Connects to a member's URL. `ready` once, when the other end has proven to be who it should be, as far as its URL asks. */
export function dial(url: string, security: PeerSecurity | null, ready: () => void): Socket {
  const { host, port, isTls } = addressOf(url) ?? { host: '', port: 0, isTls: false };
  // An address nobody can dial fails like one where nobody answers.
  const to = { host: host === '' ? '0.0.0.0' : host, port };
  const socket = isTls ? dialTls(to, security, ready) : connectPlain(to, ready);
  socket.setNoDelay(true);
  return socket;
}

/** Without a certificate of our own, whoever this machine trusts is believed. */
function dialTls(to: { readonly host: string; readonly port: number }, security: PeerSecurity | null, ready: () => void): Socket {
  if (security !== null) return security.dial(to, ready);
  const name = isIP(to.host) === 0 ? { servername: to.host } : {};
  return connectTls({ ...to, ...name, rejectUnauthorized: true, minVersion: 'TLSv1.2' }, ready);
}

/** Why somebody was not let in, with what to do about it. */
export function whyNot({ code, text }: TlsRefusal): string {
  return code === 'ECONNRESET' ? `${text}; ${ONE_AUTHORITY}` : advised(text, code);
}

const ONE_AUTHORITY = 'compare --peer-trusted-ca-file of both members: each must name the authority of the other\'s certificate';
const NOT_NOW = 'renew it, or set the clocks of both machines';
const NO_CERTIFICATE = 'every member needs --peer-cert-file and --peer-key-file';

const ADVICE: Readonly<Record<string, string>> = {
  SELF_SIGNED_CERT_IN_CHAIN: ONE_AUTHORITY,
  DEPTH_ZERO_SELF_SIGNED_CERT: ONE_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT: ONE_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ONE_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ONE_AUTHORITY,
  CERT_SIGNATURE_FAILURE: ONE_AUTHORITY,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: ONE_AUTHORITY,
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: ONE_AUTHORITY,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN: ONE_AUTHORITY,
  CERT_HAS_EXPIRED: NOT_NOW,
  CERT_NOT_YET_VALID: NOT_NOW,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: NOT_NOW,
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate must name the host or address of this URL',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: NO_CERTIFICATE,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: NO_CERTIFICATE,
  ERR_SSL_WRONG_VERSION_NUMBER: `it does not speak TLS; ${ONE_SCHEME}`,
};

/** What failed, and what to do where the failure tells. The only reader of foreign errors in this room. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = codeOf(error);
  return advised(code.startsWith('ERR_SSL_') ? wordsOf(error) : error.message, code);
}

/** A connection that ended before its first answer. */
export function hungUp(url: string): string {
  const what = 'the connection was closed before it was answered';
  return addressOf(url)?.isTls === true ? `${what}; ${ONE_AUTHORITY}` : what;
}

function advised(what: string, code: string): string {
  const advice = ADVICE[code];
  return advice === undefined ? what : `${what}; ${advice}`;
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : '';
}

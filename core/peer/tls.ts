// What TLS adds between members: dialling with it, letting it in, and saying what went wrong in words an operator can act on.
// With https both ends show certificates of the same authority, and the dialled end one for the name or address dialled.

import { connect as connectPlain, isIP, type Socket } from 'node:net';
import { connect as connectTls, createServer, type Server, type TLSSocket } from 'node:tls';
import { addressOf } from './address.js';
import { GATES_KEPT_MAX, HANDSHAKE_MS } from './limits.js';
import { ONE_SCHEME } from './opening.js';

/** PEM texts. */
export interface PeerTls {
  readonly cert: string;
  readonly key: string;
  /** Who may sign certificates of members. Absent: the authorities this machine trusts. */
  readonly ca?: string;
  /** Default true: a member without a certificate is refused. */
  readonly requireClientCert?: boolean;
}

/** Connects to a member's URL. `ready` once, when the other end has proven to be who it should be, as far as its URL asks. */
export function dial(url: string, tls: PeerTls | undefined, ready: () => void): Socket {
  const address = addressOf(url) ?? { host: '', port: 0, isTls: false };
  const { host, port, isTls } = address;
  // An address nobody can dial fails like one where nobody answers.
  const to = { host: host === '' ? '0.0.0.0' : host, port };
  let socket: Socket;
  if (isTls) {
    const { cert, key, ca } = tls ?? {};
    const own = cert === undefined || key === undefined ? {} : { cert, key };
    const authority = ca === undefined ? {} : { ca };
    const name = isIP(host) === 0 ? { servername: host } : {};
    socket = connectTls({ ...to, ...own, ...authority, ...name, rejectUnauthorized: true, minVersion: 'TLSv1.2' }, ready);
  } else {
    socket = connectPlain(to, ready);
  }
  socket.setNoDelay(true);
  return socket;
}

type Opened = (refused: string | null, secure: TLSSocket) => void;

/**
 * Lets TLS in, over connections whose first bytes were looked at. A server of `node:tls` does not say whose handshake came to
 * nothing once the socket is gone; so each handshake has one to itself, which serves the next afterwards.
 */
export class TlsGate {
  readonly #tls: PeerTls;
  readonly #idle: Server[];

  /** Throws where certificate and key are none, or not a pair. */
  constructor(tls: PeerTls) {
    this.#tls = tls;
    this.#idle = [this.#server()];
  }

  #server(): Server {
    const { cert, key, ca, requireClientCert = true } = this.#tls;
    const authority = ca === undefined ? {} : { ca };
    const verify = { requestCert: requireClientCert, rejectUnauthorized: requireClientCert };
    return createServer({ cert, key, ...authority, ...verify, handshakeTimeout: HANDSHAKE_MS, minVersion: 'TLSv1.2' });
  }

  /** `done` once: with the connection within, or why there is none. */
  open(socket: Socket, done: Opened): void {
    const server = this.#idle.pop() ?? this.#server();
    const end: Opened = (refused, secure) => {
      server.off('secureConnection', onSecure).off('tlsClientError', onError);
      if (this.#idle.length < GATES_KEPT_MAX) this.#idle.push(server);
      done(refused, secure);
    };
    const onSecure = (secure: TLSSocket): void => end(null, secure);
    const onError = (error: Error, secure: TLSSocket): void => end(whyNot(error, secure), secure);
    server.on('secureConnection', onSecure).on('tlsClientError', onError);
    server.emit('connection', socket);
  }
}

/** A certificate that is not believed shows only as a connection that was cut; the reason stands beside it, as a code. */
function whyNot(error: Error, { authorizationError }: { readonly authorizationError: unknown }): string {
  if (typeof authorizationError === 'string') {
    return advised(`its certificate is not accepted (${authorizationError})`, authorizationError);
  }
  return codeOf(error) === 'ECONNRESET' ? `it hung up during the TLS handshake; ${ONE_AUTHORITY}` : reasonOf(error);
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
  // The message of an error of OpenSSL is a line of its log.
  const isOpenSsl = code.startsWith('ERR_SSL_') && 'reason' in error && typeof error.reason === 'string';
  return advised(isOpenSsl ? String(error.reason) : error.message, code);
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

// On what terms a TLS port lets somebody in, as data, and the judgement whether terms can be kept at all. Judged terms answer
// for a certificate that has passed the handshake: whether lists, names or a later change speak against it. The same for
// clients and for members.

import { constants, createPrivateKey, randomBytes, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { createSecureContext, type SecureContextOptions, type TlsOptions } from 'node:tls';
import { blocksOf, commonNameOf } from './certificate.js';
import { Revocations } from './revocation.js';

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** Texts are PEM. */
export interface TlsTerms {
  /** The certificate shown, followed by those of intermediate authorities. */
  readonly cert: string;
  readonly key: string;
  /** Whose certificates are believed. Absent: the authorities this machine trusts. */
  readonly ca?: string;
  /** Revocation lists of those authorities. Each that vouches for a certificate, its own chain up, must have one here. */
  readonly crl?: string;
  /** Who shows no certificate is refused. Default: true where `ca` is given, as with etcd. */
  readonly requireClientCert?: boolean;
  /** CommonNames of which a certificate must have one; absent or empty: any. */
  readonly allowedNames?: readonly string[];
  /** Host names or addresses of which a certificate must be valid for one; absent or empty: any. */
  readonly allowedHostnames?: readonly string[];
  /** By their names in TLS or in OpenSSL. Default: those of TLS 1.2 with forward secrecy and authenticated encryption. */
  readonly cipherSuites?: readonly string[];
  /** Default TLSv1.2. */
  readonly minVersion?: TlsVersion;
  readonly maxVersion?: TlsVersion;
  /** Hang up on who is connected when his certificate expires. Default false: it counts when he connects. */
  readonly sweepExpired?: boolean;
}

/** Those of members (peer/tls.ts) have a second pair. */
export type TlsField = keyof TlsTerms | 'clientCert' | 'clientKey';

/** Terms that cannot be kept. The message says what is wrong and, after its semicolon, what to do. */
export class TlsFault extends Error {
  readonly field: TlsField;

  constructor(field: TlsField, message: string, options?: ErrorOptions) {
    super(message, options);
    this.field = field;
  }
}

const TLS13_SUITES = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];
const DEFAULT_SUITES = [
  'ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305',
];

/** OpenSSL's names by those of the standard, which are etcd's; the broken ones (RC4, 3DES) are not among them. */
const SUITES: ReadonlyMap<string, string> = new Map(Object.entries({
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 'ECDHE-ECDSA-AES128-GCM-SHA256',
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: 'ECDHE-ECDSA-AES256-GCM-SHA384',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: 'ECDHE-RSA-AES128-GCM-SHA256',
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: 'ECDHE-RSA-AES256-GCM-SHA384',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: 'ECDHE-ECDSA-AES128-SHA',
  TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: 'ECDHE-ECDSA-AES256-SHA',
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256: 'ECDHE-ECDSA-AES128-SHA256',
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: 'ECDHE-RSA-AES128-SHA',
  TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: 'ECDHE-RSA-AES256-SHA',
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256: 'ECDHE-RSA-AES128-SHA256',
  TLS_RSA_WITH_AES_128_GCM_SHA256: 'AES128-GCM-SHA256',
  TLS_RSA_WITH_AES_256_GCM_SHA384: 'AES256-GCM-SHA384',
  TLS_RSA_WITH_AES_128_CBC_SHA: 'AES128-SHA',
  TLS_RSA_WITH_AES_256_CBC_SHA: 'AES256-SHA',
  TLS_RSA_WITH_AES_128_CBC_SHA256: 'AES128-SHA256',
}));

export const EXPIRED = 'its certificate has expired';

/** Terms that can be kept. */
export class JudgedTls {
  readonly requiresCertificate: boolean;
  readonly sweepsExpired: boolean;
  /** What a server of `node:tls` is made with; tickets of other judgements are not taken. */
  readonly serverOptions: TlsOptions;
  /** Whom this side believes where it dials, and in which protocol. */
  readonly clientOptions: SecureContextOptions;
  /** When the own certificate ends. */
  readonly ownEndMs: number;
  /** When the first of the revocation lists ends. */
  readonly listsEndMs: number;
  readonly #terms: TlsTerms;
  readonly #authorities: readonly X509Certificate[];
  readonly #revocations: Revocations | null;

  /** Throws a `TlsFault`. */
  constructor(terms: TlsTerms, nowMs: number) {
    this.#terms = terms;
    this.requiresCertificate = terms.requireClientCert ?? terms.ca !== undefined;
    this.sweepsExpired = terms.sweepExpired ?? false;
    this.ownEndMs = judgePair(terms, { cert: 'cert', key: 'key' });
    this.#authorities = terms.ca === undefined ? [] : authoritiesOf(terms.ca);
    this.#revocations = revocationsOf(terms, this.#authorities, nowMs);
    this.listsEndMs = this.#revocations?.nextUpdateMs ?? Infinity;
    const { cert, key, ca } = terms;
    this.clientOptions = { ...(ca === undefined ? {} : { ca }), ...protocolOf(terms) };
    const options = { cert, key, ...this.clientOptions };
    this.serverOptions = {
      ...options,
      requestCert: this.requiresCertificate,
      rejectUnauthorized: this.requiresCertificate,
      // Who resumes a session shows no certificate: where one counts, every connection shows it.
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION | (this.requiresCertificate ? constants.SSL_OP_NO_TICKET : 0),
      ticketKeys: randomBytes(48),
    };
    try {
      createSecureContext(options);
    } catch (cause) {
      throw new TlsFault('cert', `they cannot be used (${reasonOf(cause)}); give PEM that OpenSSL accepts`, { cause });
    }
  }

  /**
   * By which chain who shows these certificates, leaf first, is let in: each is signed by the next. Or why he is not, although
   * he is who he says. None are shown where none are asked for.
   */
  judge(shown: readonly X509Certificate[], nowMs: number): readonly X509Certificate[] | string {
    const [leaf] = shown;
    if (leaf === undefined) return this.requiresCertificate ? 'it showed no certificate' : shown;
    const chain = this.#authorities.length === 0 ? shown : pathOf(leaf, shown, this.#authorities);
    if (chain === null) return 'its certificate is of an authority that is not trusted';
    return this.#against(leaf, chain, nowMs) ?? chain;
  }

  /** The same for a chain of an earlier judgement: its signatures hold, and looking at them takes most of the time. */
  judgeAgain(chain: readonly X509Certificate[], nowMs: number): readonly X509Certificate[] | string {
    const [leaf, top] = [chain[0], chain.at(-1)];
    const isTrusted = top !== undefined && this.#authorities.some(({ raw }) => raw.equals(top.raw));
    if (leaf === undefined || !isTrusted) return this.judge(chain, nowMs);
    return this.#against(leaf, chain, nowMs) ?? chain;
  }

  #against(leaf: X509Certificate, chain: readonly X509Certificate[], nowMs: number): string | null {
    if (this.sweepsExpired && endOf(leaf) <= nowMs) return EXPIRED;
    const revoked = this.#revocations?.against(chain) ?? null;
    if (revoked !== null) return revoked;
    const { allowedNames = [], allowedHostnames = [] } = this.#terms;
    const name = allowedNames.length > 0 ? commonNameOf(leaf) : null;
    if (allowedNames.length > 0 && (name === null || !allowedNames.includes(name))) {
      return `its certificate is for ${name === null ? 'nobody' : JSON.stringify(name)}, which is not among the allowed names`;
    }
    const isFor = (host: string): boolean => {
      return (isIP(host) === 0 ? leaf.checkHost(host, NO_SUBJECT) : leaf.checkIP(host)) !== undefined;
    };
    if (allowedHostnames.length === 0 || allowedHostnames.some(isFor)) return null;
    return `its certificate is valid for none of the allowed host names (${allowedHostnames.join(', ')})`;
  }
}

/**
 * From the leaf to an authority that is trusted and vouches for itself, each certificate signed by the next; null: no such path.
 * What was shown is linked by names alone, and beside what a handshake verified somebody may show certificates of his own
 * making, under the name of an authority that was revoked.
 */
function pathOf(
  leaf: X509Certificate, shown: readonly X509Certificate[], authorities: readonly X509Certificate[],
): readonly X509Certificate[] | null {
  const path = [leaf];
  for (const one of path) {
    if (one.issuer === one.subject && authorities.some(({ raw }) => raw.equals(one.raw))) return path;
    const vouches = (above: X509Certificate): boolean => one.checkIssued(above) && one.verify(above.publicKey);
    const above = authorities.find(vouches) ?? shown.find(vouches);
    if (above === undefined || path.length > shown.length + authorities.length) return null;
    path.push(above);
  }
  return null;
}

/** A certificate with names of hosts is for those alone; the CommonName is for people. */
const NO_SUBJECT = { subject: 'never' } as const;

/** When the certificate ends. Throws a `TlsFault` about one of these fields. */
export function judgePair(
  { cert, key }: { readonly cert: string; readonly key: string }, fields: { readonly cert: TlsField; readonly key: TlsField },
): number {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch (cause) {
    throw new TlsFault(fields.cert, `it holds no certificate (${reasonOf(cause)}); give PEM`, { cause });
  }
  let fits: boolean;
  try {
    fits = certificate.checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw new TlsFault(fields.key, `it holds no usable key (${reasonOf(cause)}); give PEM without a passphrase`, { cause });
  }
  if (!fits) throw new TlsFault(fields.key, 'it is not the key of the certificate; give the one the certificate was made for');
  return endOf(certificate);
}

export function endOf({ validTo }: X509Certificate): number {
  return Date.parse(validTo);
}

function authoritiesOf(pem: string): readonly X509Certificate[] {
  const blocks = blocksOf(pem, 'CERTIFICATE');
  if (blocks === null) throw new TlsFault('ca', 'it holds a certificate that is cut off; write the whole file anew');
  if (blocks.length === 0) throw new TlsFault('ca', 'it holds no certificate; give PEM');
  return blocks.map((bytes) => {
    try {
      return new X509Certificate(bytes);
    } catch (cause) {
      throw new TlsFault('ca', `it holds a certificate that is damaged (${reasonOf(cause)}); give PEM`, { cause });
    }
  });
}

function revocationsOf(
  { crl, ca }: TlsTerms, authorities: readonly X509Certificate[], nowMs: number,
): Revocations | null {
  if (crl === undefined) return null;
  if (ca === undefined) throw new TlsFault('crl', 'nobody says whose list it must be; name the trusted authorities as well');
  try {
    return Revocations.read(crl, authorities, nowMs);
  } catch (cause) {
    throw new TlsFault('crl', reasonOf(cause), { cause });
  }
}

function protocolOf({ cipherSuites = [], minVersion = 'TLSv1.2', maxVersion = 'TLSv1.3' }: TlsTerms): SecureContextOptions {
  if (minVersion > maxVersion) {
    throw new TlsFault('minVersion', `${minVersion} is above the greatest version, ${maxVersion}; exchange them`);
  }
  const suites = cipherSuites.map((name) => {
    const suite = SUITES.get(name) ?? name;
    if (TLS13_SUITES.includes(suite) || [...SUITES.values()].includes(suite)) return suite;
    throw new TlsFault('cipherSuites', `unexpected TLS cipher suite ${JSON.stringify(name)}; give names such as ${EXAMPLE}`);
  });
  if (suites.length > 0 && minVersion === 'TLSv1.3') {
    throw new TlsFault('cipherSuites', 'cipher suites cannot be configured when only TLS1.3 is enabled; leave them out');
  }
  const newer = suites.filter((suite) => TLS13_SUITES.includes(suite));
  const older = suites.filter((suite) => !TLS13_SUITES.includes(suite));
  const ciphers = [...(newer.length > 0 ? newer : TLS13_SUITES), ...(older.length > 0 ? older : DEFAULT_SUITES)].join(':');
  return { minVersion, maxVersion, ciphers, honorCipherOrder: true };
}

const EXAMPLE = 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256';

/** What went wrong, in OpenSSL's words where it is hers: her messages are lines of a log. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return 'reason' in error && typeof error.reason === 'string' ? error.reason : error.message;
}

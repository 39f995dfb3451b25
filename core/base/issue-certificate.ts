// Makes certificates (RFC 5280 4.1) for keys on the curve P-256: for a server that is to speak TLS without having been given
// any, and for tests. No certificate authority: nobody is asked who he is, and no list of what was issued is kept.

import { generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { der, derInteger, derOid, derTime, TAG } from './der.js';

export interface CertificateOrder {
  readonly commonName: string;
  readonly publicKey: KeyObject;
  /** Names and addresses the certificate is valid for. */
  readonly hosts: readonly string[];
  readonly usages: readonly ('server' | 'client')[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Who vouches; with the own name and key it vouches for itself. */
  readonly issuer: { readonly commonName: string; readonly privateKey: KeyObject };
  /** Present: it may itself vouch for others, over so many authorities at most. */
  readonly authority?: { readonly pathLengthMax: number };
  /** Default: 16 bytes of chance. */
  readonly serial?: Uint8Array;
}

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export function newKeyPair(): KeyPair {
  return generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
}

export function pemOfKey(privateKey: KeyObject): string {
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

const EC_WITH_SHA256 = der(TAG.sequence, derOid('1.2.840.10045.4.3.2'));
const COMMON_NAME = derOid('2.5.4.3');
const USAGES = { server: derOid('1.3.6.1.5.5.7.3.1'), client: derOid('1.3.6.1.5.5.7.3.2') } as const;
const KEY_USAGE = derOid('2.5.29.15');
const ALTERNATIVE_NAMES = derOid('2.5.29.17');
const BASIC_CONSTRAINTS = derOid('2.5.29.19');
const EXTENDED_KEY_USAGE = derOid('2.5.29.37');
const YES = der(TAG.boolean, Uint8Array.of(0xff));
/** digitalSignature; keyCertSign and cRLSign. */
const SIGNS_HANDSHAKES = der(TAG.bitString, Uint8Array.of(7, 0x80));
const SIGNS_OTHERS = der(TAG.bitString, Uint8Array.of(1, 0x06));
/** Context tags: of the version, the extensions, and the two kinds of alternative names. */
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const DNS_NAME = 0x82;
const ADDRESS = 0x87;

/** The certificate, PEM. */
export function issueCertificate(order: CertificateOrder): string {
  const validity = der(TAG.sequence, derTime(order.notBeforeMs), derTime(order.notAfterMs));
  return pemOf('CERTIFICATE', signed(order.issuer.privateKey, [
    der(VERSION, derInteger(Uint8Array.of(2))),
    derInteger(order.serial ?? randomBytes(16)),
    EC_WITH_SHA256,
    nameOf(order.issuer.commonName),
    validity,
    nameOf(order.commonName),
    order.publicKey.export({ type: 'spki', format: 'der' }),
    der(EXTENSIONS, der(TAG.sequence, ...extensionsOf(order))),
  ]));
}

/** What is signed, the algorithm and the signature: the form of certificates and of revocation lists. */
export function signed(privateKey: KeyObject, parts: readonly Uint8Array[]): Uint8Array {
  const body = der(TAG.sequence, ...parts);
  return der(TAG.sequence, body, EC_WITH_SHA256, der(TAG.bitString, Uint8Array.of(0), sign('sha256', body, privateKey)));
}

export function nameOf(commonName: string): Uint8Array {
  const pair = der(TAG.sequence, COMMON_NAME, der(TAG.utf8, new TextEncoder().encode(commonName)));
  return commonName === '' ? der(TAG.sequence) : der(TAG.sequence, der(TAG.set, pair));
}

export function pemOf(label: string, bytes: Uint8Array): string {
  const lines = Buffer.from(bytes).toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

function extensionsOf({ authority, usages, hosts }: CertificateOrder): readonly Uint8Array[] {
  const extension = (id: Uint8Array, isCritical: boolean, value: Uint8Array): Uint8Array => {
    return der(TAG.sequence, id, ...(isCritical ? [YES] : []), der(TAG.octetString, value));
  };
  const constraints = authority === undefined
    ? der(TAG.sequence)
    : der(TAG.sequence, YES, derInteger(Uint8Array.of(authority.pathLengthMax)));
  const extensions = [
    extension(BASIC_CONSTRAINTS, true, constraints),
    extension(KEY_USAGE, true, authority === undefined ? SIGNS_HANDSHAKES : SIGNS_OTHERS),
  ];
  if (usages.length > 0) {
    extensions.push(extension(EXTENDED_KEY_USAGE, false, der(TAG.sequence, ...usages.map((usage) => USAGES[usage]))));
  }
  if (hosts.length > 0) extensions.push(extension(ALTERNATIVE_NAMES, false, der(TAG.sequence, ...hosts.map(alternativeName))));
  return extensions;
}

function alternativeName(host: string): Uint8Array {
  const address = addressBytes(host);
  return address === null ? der(DNS_NAME, new TextEncoder().encode(host)) : der(ADDRESS, address);
}

/** The bytes of an address; null: `host` is a name. */
function addressBytes(host: string): Uint8Array | null {
  if (/^\d+\.\d+\.\d+\.\d+$/.test(host)) return Uint8Array.from(host.split('.').map(Number));
  if (!host.includes(':')) return null;
  const [before = '', after = ''] = host.split('::');
  const groups = (part: string): number[] => part.split(':').filter((group) => group !== '').map((group) => parseInt(group, 16));
  const [first, last] = [groups(before), groups(after)];
  const zeros = Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => 0);
  return Uint8Array.from([...first, ...zeros, ...last].flatMap((group) => [group >> 8, group & 0xff]));
}

// Makes certificates (RFC 5280 4.1) for keys on the curve P-256: for a server that is to speak TLS without having been given
// any, and for tests. No certificate authority: nobody is asked who he is, and no list of what was issued is kept. The library
// that writes them is loaded with the first one: it takes as long as the rest of a command's start.

import { KeyObject, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import type * as x509Library from '@peculiar/x509';

export interface CertificateOrder {
  readonly commonName: string;
  readonly publicKey: webcrypto.CryptoKey;
  /** Names and addresses the certificate is valid for. */
  readonly hosts: readonly string[];
  readonly usages: readonly ('server' | 'client')[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Who vouches; with the own name and key it vouches for itself. */
  readonly issuer: { readonly commonName: string; readonly privateKey: webcrypto.CryptoKey };
  /** Present: it may itself vouch for others, over so many authorities at most. */
  readonly authority?: { readonly pathLengthMax: number };
  /** Default: 16 bytes of chance. */
  readonly serial?: Uint8Array;
}

export type KeyPair = webcrypto.CryptoKeyPair;

export type X509 = typeof x509Library;

export const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export async function loadX509(): Promise<X509> {
  // It must be there before the other looks for it.
  await import('reflect-metadata');
  return await import('@peculiar/x509');
}

export async function newKeyPair(): Promise<KeyPair> {
  return await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify']);
}

export function pemOfKey(privateKey: webcrypto.CryptoKey): string {
  return KeyObject.from(privateKey).export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** The certificate, PEM. */
export async function issueCertificate(order: CertificateOrder): Promise<string> {
  const x509 = await loadX509();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: Buffer.from(order.serial ?? webcrypto.getRandomValues(new Uint8Array(16))).toString('hex'),
    issuer: nameOf(x509, order.issuer.commonName),
    subject: nameOf(x509, order.commonName),
    notBefore: new Date(order.notBeforeMs),
    notAfter: new Date(order.notAfterMs),
    publicKey: order.publicKey,
    signingKey: order.issuer.privateKey,
    signingAlgorithm: P256,
    extensions: extensionsOf(x509, order),
  });
  return `${certificate.toString('pem')}\n`;
}

/** As data: within text a comma would begin another part of the name, and a # bytes of any kind. */
export function nameOf(x509: X509, commonName: string): InstanceType<X509['Name']> {
  return new x509.Name(commonName === '' ? [] : [{ CN: [{ utf8String: commonName }] }]);
}

function extensionsOf(x509: X509, { authority, usages, hosts }: CertificateOrder): InstanceType<X509['Extension']>[] {
  const { KeyUsageFlags, ExtendedKeyUsage } = x509;
  const signs = authority === undefined ? KeyUsageFlags.digitalSignature : KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign;
  const extensions: InstanceType<X509['Extension']>[] = [
    new x509.BasicConstraintsExtension(authority !== undefined, authority?.pathLengthMax, true),
    new x509.KeyUsagesExtension(signs, true),
  ];
  const kinds = { server: ExtendedKeyUsage.serverAuth, client: ExtendedKeyUsage.clientAuth } as const;
  if (usages.length > 0) extensions.push(new x509.ExtendedKeyUsageExtension(usages.map((usage) => kinds[usage])));
  const names = hosts.map((value) => ({ type: isIP(value) === 0 ? 'dns' as const : 'ip' as const, value }));
  if (names.length > 0) extensions.push(new x509.SubjectAlternativeNameExtension(names));
  return extensions;
}

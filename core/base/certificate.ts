// What stands in a certificate and is compared: names and numbers as their bytes (RFC 5280 4.1), for the texts that the
// runtime makes of whole names are for people, and nobody is to become somebody else by a comma in his name.

import type { X509Certificate } from 'node:crypto';
import { element, elements, TAG } from './der.js';

/** In hex. */
interface Fields {
  readonly serial: string;
  readonly issuer: string;
  readonly subject: string;
}

/** Throws a `RangeError` for what is no certificate. */
export function fieldsOf(raw: Uint8Array): Fields {
  const all = elements(element(element(raw, TAG.sequence).content, TAG.sequence).content);
  const [serial, , issuer, , subject] = all[0]?.tag === TAG.integer ? all : all.slice(1);
  if (serial === undefined || issuer === undefined || subject === undefined) throw new RangeError('parts are missing');
  return { serial: hex(serial.content), issuer: hex(issuer.whole), subject: hex(subject.whole) };
}

/** The last CommonName, as etcd's language takes it; null where there is none, or none that is text. */
export function commonNameOf(certificate: X509Certificate): string | null {
  // Its parts are as they are, and there are none where one is no text.
  const subject: { readonly CN?: string | readonly string[] } | undefined = certificate.toLegacyObject().subject;
  const name = [subject?.CN ?? ''].flat().at(-1) ?? '';
  return name === '' ? null : name;
}

/**
 * What stands in PEM between the lines with this label. Null: one of them is not whole, as in a file that is still being
 * written; those that are would pass for all there is.
 */
export function blocksOf(pem: string, label: 'CERTIFICATE' | 'X509 CRL'): readonly Buffer[] | null {
  const [, ...begun] = pem.split(`-----BEGIN ${label}-----`);
  const blocks: Buffer[] = [];
  for (const text of begun) {
    const base64 = text.slice(0, Math.max(0, text.indexOf(`-----END ${label}-----`)));
    if (!/^[A-Za-z0-9+/=\s]+$/.test(base64)) return null;
    blocks.push(Buffer.from(base64, 'base64'));
  }
  return blocks;
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
}

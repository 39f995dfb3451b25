// What stands in a certificate, read from its bytes (RFC 5280 4.1): the texts the runtime makes of names are for people, and
// nobody is to become somebody else by a comma in his name.

import { element, elements, TAG, type Element } from './der.js';

interface Fields {
  /** In hex, as are the names, so that they can be compared. */
  readonly serial: string;
  readonly issuer: string;
  readonly subject: string;
  readonly subjectElement: Element;
}

/** Throws a `RangeError` for what is no certificate. */
export function fieldsOf(raw: Uint8Array): Fields {
  const all = elements(element(element(raw, TAG.sequence).content, TAG.sequence).content);
  const [serial, , issuer, , subject] = all[0]?.tag === TAG.integer ? all : all.slice(1);
  if (serial === undefined || issuer === undefined || subject === undefined) throw new RangeError('parts are missing');
  return { serial: hex(serial.content), issuer: hex(issuer.whole), subject: hex(subject.whole), subjectElement: subject };
}

const COMMON_NAME = '550403';

/** The last CommonName, as etcd's language takes it; null where there is none, or none that is text. */
export function commonNameOf(raw: Uint8Array): string | null {
  let name: string | null = null;
  for (const set of elements(fieldsOf(raw).subjectElement.content)) {
    for (const pair of elements(set.content)) {
      const [type, value] = elements(pair.content);
      if (type !== undefined && value !== undefined && hex(type.content) === COMMON_NAME) name = textOf(value);
    }
  }
  return name === '' ? null : name;
}

const PRINTABLE = 0x13;
const IA5 = 0x16;

function textOf({ tag, content }: Element): string | null {
  if (tag !== TAG.utf8 && tag !== PRINTABLE && tag !== IA5) return null;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
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

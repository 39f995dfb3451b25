// Certificate revocation lists (RFC 5280 5): read, believed only when one of the given authorities signed them and while they
// are valid, then asked about the chains of whoever connects. Unlike etcd, which takes any list's serial numbers for those of
// any authority, a number counts only for certificates of the authority whose list it is in.

import { verify, type X509Certificate } from 'node:crypto';
import { blocksOf, fieldsOf, hex } from './certificate.js';
import { element, elements, TAG, timeOf, type Element } from './der.js';

interface List {
  readonly issuer: string;
  readonly serials: ReadonlySet<string>;
  readonly nextUpdateMs: number;
}

/** By the signature algorithm's OID, in hex of its DER content. null: the key says which. */
const HASHES: ReadonlyMap<string, string | null> = new Map([
  ['2a864886f70d01010b', 'sha256'], ['2a864886f70d01010c', 'sha384'], ['2a864886f70d01010d', 'sha512'],
  ['2a8648ce3d040302', 'sha256'], ['2a8648ce3d040303', 'sha384'], ['2a8648ce3d040304', 'sha512'],
  ['2b6570', null], ['2b6571', null],
]);

export class Revocations {
  readonly #lists: readonly List[];

  private constructor(lists: readonly List[]) {
    this.#lists = lists;
  }

  /** Throws an `Error` that says what is wrong with the lists, and what to do, unless all of them can be believed now. */
  static read(pem: string, authorities: readonly X509Certificate[], nowMs: number): Revocations {
    const texts = blocksOf(pem, 'X509 CRL');
    if (texts === null) throw new Error('it holds a list that is cut off; write the whole file anew');
    if (texts.length === 0) throw new Error('it holds no revocation list; give a file with a block BEGIN X509 CRL');
    return new Revocations(texts.map((bytes) => {
      try {
        return readList(bytes, authorities, nowMs);
      } catch (cause) {
        if (!(cause instanceof RangeError)) throw cause;
        throw new Error(`it is damaged (${cause.message}); fetch it anew`, { cause });
      }
    }));
  }

  /** When the first of the lists ends. */
  get nextUpdateMs(): number {
    return Math.min(...this.#lists.map(({ nextUpdateMs }) => nextUpdateMs));
  }

  /**
   * Why the chain, each signed by the next, is not to be believed; null: nothing speaks against it. Whose authority has no list
   * here is not believed, at any link: nobody could tell whether it was revoked.
   */
  against(chain: readonly X509Certificate[]): string | null {
    for (const { raw, serialNumber } of chain) {
      const { issuer, serial } = fieldsOf(raw);
      const lists = this.#lists.filter((list) => list.issuer === issuer);
      if (lists.some(({ serials }) => serials.has(serial))) return `its certificate was revoked (serial ${serialNumber})`;
      if (lists.length === 0) return 'no revocation list is there for the authority of its certificate';
    }
    return null;
  }
}

function readList(bytes: Uint8Array, authorities: readonly X509Certificate[], nowMs: number): List {
  const [body, algorithm, signature] = elements(element(bytes, TAG.sequence).content);
  if (body === undefined || algorithm === undefined || signature === undefined) throw new RangeError('parts are missing');
  const parts = [...elements(body.content)];
  if (parts[0]?.tag === TAG.integer) parts.shift();
  const [, issuer, thisUpdate, ...rest] = parts;
  if (issuer === undefined || thisUpdate === undefined) throw new RangeError('parts are missing');
  const next = rest[0];
  const hasEnd = next?.tag === TAG.utcTime || next?.tag === TAG.generalizedTime;
  const nextUpdateMs = hasEnd ? timeOf(next) : Infinity;
  refuseUnsigned({ body, algorithm, signature }, hex(issuer.whole), authorities);
  if (timeOf(thisUpdate) > nowMs) throw new Error('it is not valid yet; set this machine\'s clock, or fetch it anew');
  if (nextUpdateMs <= nowMs) throw new Error(`it has expired, ${shown(next)}; fetch the newest from its authority`);
  refusePartial(rest.find(({ tag }) => tag === TAG.extensions));
  const revoked = rest.slice(hasEnd ? 1 : 0).find(({ tag }) => tag === TAG.sequence);
  const entries = revoked === undefined ? [] : elements(revoked.content);
  return { issuer: hex(issuer.whole), serials: new Set(entries.map(({ content }) => serialOf(content))), nextUpdateMs };
}

/**
 * What must be understood says that a list is not all there is: changes to an earlier one, a part of the certificates, those of
 * others as well (RFC 5280 5.2.4 and 5.2.5). A reader that does not know it must not use the list (5.2).
 */
function refusePartial(extensions: Element | undefined): void {
  if (extensions === undefined) return;
  for (const { content } of elements(element(extensions.content, TAG.sequence).content)) {
    const [, critical] = elements(content);
    if (critical?.tag !== TAG.boolean || critical.content[0] === 0) continue;
    throw new Error('it is only a part of a list, or changes to one; give the full list of its authority');
  }
}

function shown(end: Element | undefined): string {
  return end === undefined ? '' : String.fromCharCode(...end.content);
}

interface Signed {
  readonly body: Element;
  readonly algorithm: Element;
  readonly signature: Element;
}

function refuseUnsigned({ body, algorithm, signature }: Signed, issuer: string, authorities: readonly X509Certificate[]): void {
  const named = authorities.filter((authority) => fieldsOf(authority.raw).subject === issuer);
  if (named.length === 0) {
    throw new Error('it is the list of another authority; give the list of one in the file of trusted authorities');
  }
  const hash = HASHES.get(hex(element(algorithm.content, TAG.oid).content));
  if (hash === undefined) throw new Error('its signature is of an unknown kind; sign it with RSA, ECDSA or EdDSA and SHA-2');
  const isSigned = named.some(({ publicKey }) => verify(hash, body.whole, publicKey, signature.content.subarray(1)));
  if (!isSigned) throw new Error('its signature is wrong; fetch it anew from its authority');
}

function serialOf(content: Uint8Array): string {
  return hex(element(content, TAG.integer).content);
}

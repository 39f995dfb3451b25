// Certificates for tests, made as they are needed: nothing to renew, no keys in the repository. Authorities that vouch for
// members, clients and further authorities, and take back what they said.

import { randomBytes } from 'node:crypto';
import { der, derInteger, derTime, TAG } from '../core/base/der.js';
import {
  issueCertificate, nameOf, newKeyPair, pemOf, pemOfKey, signed, type CertificateOrder, type KeyPair,
} from '../core/base/issue-certificate.js';

const DAY_MS = 86_400_000;

export interface Identity {
  /** The leaf, then the authorities between it and the root. */
  readonly cert: string;
  readonly key: string;
  readonly serial: Uint8Array;
}

type Wishes = Partial<Omit<CertificateOrder, 'publicKey' | 'issuer' | 'commonName'>>;

export class TestAuthority {
  readonly cert: string;
  readonly serial = randomBytes(16);
  readonly #name: string;
  readonly #keys: KeyPair = newKeyPair();
  /** Certificates between this one and the root, this one's own first; none of a root. */
  readonly #chain: string;

  constructor(name = 'test authority', from: { parent: TestAuthority; wishes?: Wishes } | null = null) {
    this.#name = name;
    const authority = { pathLengthMax: 3 };
    const wishes: Wishes = { hosts: [], usages: [], authority, serial: this.serial, ...from?.wishes };
    this.cert = from === null
      ? issueCertificate({ ...order(name, this.#keys, wishes), issuer: { commonName: name, privateKey: this.#keys.privateKey } })
      : from.parent.#sign(name, this.#keys, wishes);
    this.#chain = from === null ? '' : this.cert + from.parent.#chain;
  }

  /** For this machine, as a client or as a server, unless the wishes say otherwise. */
  issue(commonName: string, wishes: Wishes = {}): Identity {
    const keys = newKeyPair();
    const serial = wishes.serial ?? randomBytes(16);
    const cert = this.#sign(commonName, keys, { ...wishes, serial }) + this.#chain;
    return { cert, key: pemOfKey(keys.privateKey), serial };
  }

  /** The list of what was revoked, PEM. */
  crl(revoked: readonly { readonly serial: Uint8Array }[], times: { fromMs?: number; untilMs?: number | null } = {}): string {
    const { fromMs = Date.now() - DAY_MS, untilMs = Date.now() + DAY_MS } = times;
    const entries = revoked.map(({ serial }) => der(TAG.sequence, derInteger(serial), derTime(fromMs)));
    return pemOf('X509 CRL', signed(this.#keys.privateKey, [
      derInteger(Uint8Array.of(1)), EC_WITH_SHA256, nameOf(this.#name), derTime(fromMs),
      ...(untilMs === null ? [] : [derTime(untilMs)]),
      ...(entries.length === 0 ? [] : [der(TAG.sequence, ...entries)]),
    ]));
  }

  #sign(commonName: string, keys: KeyPair, wishes: Wishes): string {
    const issuer = { commonName: this.#name, privateKey: this.#keys.privateKey };
    return issueCertificate({ ...order(commonName, keys, wishes), issuer });
  }
}

/** The algorithm as it stands in what is signed with the keys made here. */
const EC_WITH_SHA256 = Uint8Array.from(Buffer.from('300a06082a8648ce3d040302', 'hex'));

function order(commonName: string, keys: KeyPair, wishes: Wishes): Omit<CertificateOrder, 'issuer'> {
  return {
    commonName, publicKey: keys.publicKey, hosts: ['localhost', '127.0.0.1', '::1'], usages: ['server', 'client'],
    notBeforeMs: Date.now() - DAY_MS, notAfterMs: Date.now() + DAY_MS, ...wishes,
  };
}

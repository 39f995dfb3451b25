// Certificates for tests, made as they are needed: nothing to renew, no keys in the repository. Authorities that vouch for
// members, clients and further authorities, and take back what they said.

import { randomBytes } from 'node:crypto';
import {
  issueCertificate, loadX509, nameOf, newKeyPair, P256, pemOfKey, type CertificateOrder, type KeyPair,
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
  readonly serial: Uint8Array;
  readonly #name: string;
  readonly #keys: KeyPair;
  /** Certificates between this one and the root, this one's own first; none of a root. */
  readonly #chain: string;

  private constructor(name: string, keys: KeyPair, { cert, chain, serial }: { cert: string; chain: string; serial: Uint8Array }) {
    this.#name = name;
    this.#keys = keys;
    this.cert = cert;
    this.serial = serial;
    this.#chain = chain;
  }

  static async make(
    name = 'test authority', from: { parent: TestAuthority; wishes?: Wishes } | null = null,
  ): Promise<TestAuthority> {
    const keys = await newKeyPair();
    const serial = randomBytes(16);
    const wishes: Wishes = { hosts: [], usages: [], authority: { pathLengthMax: 3 }, serial, ...from?.wishes };
    const cert = from === null
      ? await issueCertificate({ ...order(name, keys, wishes), issuer: { commonName: name, privateKey: keys.privateKey } })
      : await from.parent.#sign(name, keys, wishes);
    return new TestAuthority(name, keys, { cert, serial, chain: from === null ? '' : cert + from.parent.#chain });
  }

  /** For this machine, as a client or as a server, unless the wishes say otherwise. */
  async issue(commonName: string, wishes: Wishes = {}): Promise<Identity> {
    const keys = await newKeyPair();
    const serial = wishes.serial ?? randomBytes(16);
    const cert = (await this.#sign(commonName, keys, { ...wishes, serial })) + this.#chain;
    return { cert, key: pemOfKey(keys.privateKey), serial };
  }

  /** The list of what was revoked, PEM. `critical`: the OID of a part that whoever reads it must understand. */
  async crl(
    revoked: readonly { readonly serial: Uint8Array }[],
    wishes: { fromMs?: number; untilMs?: number | null; critical?: string } = {},
  ): Promise<string> {
    const { fromMs = Date.now() - DAY_MS, untilMs = Date.now() + DAY_MS, critical } = wishes;
    const x509 = await loadX509();
    const list = await x509.X509CrlGenerator.create({
      issuer: nameOf(x509, this.#name),
      thisUpdate: new Date(fromMs),
      ...(untilMs === null ? {} : { nextUpdate: new Date(untilMs) }),
      entries: revoked.map(({ serial }) => ({
        serialNumber: Buffer.from(serial).toString('hex'), revocationDate: new Date(fromMs),
      })),
      ...(critical === undefined ? {} : { extensions: [new x509.Extension(critical, true, Uint8Array.of(2, 1, 1))] }),
      signingAlgorithm: P256,
      signingKey: this.#keys.privateKey,
    });
    // By the library's own label (CRL) OpenSSL would not know it.
    return `-----BEGIN X509 CRL-----\n${list.toString('base64')}\n-----END X509 CRL-----\n`;
  }

  #sign(commonName: string, keys: KeyPair, wishes: Wishes): Promise<string> {
    const issuer = { commonName: this.#name, privateKey: this.#keys.privateKey };
    return issueCertificate({ ...order(commonName, keys, wishes), issuer });
  }
}

function order(commonName: string, keys: KeyPair, wishes: Wishes): Omit<CertificateOrder, 'issuer'> {
  return {
    commonName, publicKey: keys.publicKey, hosts: ['localhost', '127.0.0.1', '::1'], usages: ['server', 'client'],
    notBeforeMs: Date.now() - DAY_MS, notAfterMs: Date.now() + DAY_MS, ...wishes,
  };
}

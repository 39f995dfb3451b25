// The bytes of certificates: times and names are read as the calendar and OpenSSL have them, and what is damaged is refused.

import { X509Certificate } from 'node:crypto';
import test from 'ava';
import fc from 'fast-check';
import { commonNameOf, fieldsOf } from '../../../core/base/certificate.js';
import { der, derInteger, derOid, derTime, elements, element, TAG, timeOf } from '../../../core/base/der.js';
import { issueCertificate, newKeyPair } from '../../../core/base/issue-certificate.js';
import { TestAuthority } from '../../certificates.js';

const SECOND = 1000;

test('a time is written and read as the calendar has it, before 1970 and far beyond 2050', (t) => {
  const seconds = fc.integer({ min: Date.UTC(1950, 0, 1) / SECOND, max: Date.UTC(9999, 11, 31) / SECOND });
  fc.assert(fc.property(seconds, (at) => {
    const [written] = elements(derTime(at * SECOND));
    t.is(written === undefined ? NaN : timeOf(written), at * SECOND);
    const digits = Buffer.from(written?.content ?? []).toString().replace('Z', '');
    const full = written?.tag === TAG.utcTime ? new Date(at * SECOND).getUTCFullYear().toString().slice(0, 2) + digits : digits;
    t.is(full, new Date(at * SECOND).toISOString().replaceAll(/\D/g, '').slice(0, 14));
  }), { numRuns: 300 });
});

test('elements are found again as they were put together, and what is cut off is refused', (t) => {
  for (const size of [0, 1, 127, 128, 255, 256, 70_000]) {
    const whole = der(TAG.sequence, der(TAG.octetString, new Uint8Array(size)), derOid('2.5.4.3'));
    const inner = elements(element(whole, TAG.sequence).content);
    t.deepEqual(inner.map(({ tag, content }) => [tag, content.length]), [[TAG.octetString, size], [TAG.oid, 3]]);
    for (const cut of [1, 2, Math.min(whole.length - 1, 300)]) {
      t.throws(() => elements(whole.subarray(0, whole.length - cut)), { instanceOf: RangeError });
    }
  }
  t.throws(() => elements(Uint8Array.of(0x30, 0x80, 0, 0)), { instanceOf: RangeError }, 'without a length');
  t.throws(() => elements(Uint8Array.of(0x30, 0x88, 1, 1, 1, 1, 1, 1, 1, 1)), { instanceOf: RangeError }, 'too long');
  t.deepEqual([...derInteger(Uint8Array.of(0, 0, 0x80))], [2, 2, 0, 0x80]);
});

test('the name of a certificate is its CommonName as bytes have it, whatever stands in it', (t) => {
  const keys = newKeyPair();
  const named = (commonName: string): string | null => {
    const now = Date.now();
    const issuer = { commonName: 'x', privateKey: keys.privateKey };
    const order = { publicKey: keys.publicKey, hosts: [], usages: [], notBeforeMs: now, notAfterMs: now + 1e6, issuer };
    return commonNameOf(new X509Certificate(issueCertificate({ ...order, commonName })).raw);
  };
  const names = ['alice', 'a,CN=root', 'root\nCN=alice', 'a=b/CN=c', 'grün', 'x\0y', ' root', 'root '];
  for (const name of names) t.is(named(name), name);
  t.is(named(''), null);
});

test('serial numbers and names are those that OpenSSL reads', (t) => {
  const authority = new TestAuthority('above');
  for (const serial of [Uint8Array.of(1), Uint8Array.of(0x80, 1), Uint8Array.from({ length: 20 }, (_, i) => i + 1)]) {
    const certificate = new X509Certificate(authority.issue('below', { serial }).cert);
    t.is(BigInt(`0x${fieldsOf(certificate.raw).serial}`), BigInt(`0x${certificate.serialNumber}`));
    t.is(fieldsOf(certificate.raw).issuer, fieldsOf(new X509Certificate(authority.cert).raw).subject);
  }
  t.throws(() => fieldsOf(Uint8Array.of(1, 2, 3)), { instanceOf: RangeError });
});

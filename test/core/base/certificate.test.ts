// The bytes of certificates: times and names are read as the calendar and OpenSSL have them, and what is damaged is refused.

import { X509Certificate } from 'node:crypto';
import test from 'ava';
import fc from 'fast-check';
import { commonNameOf, fieldsOf } from '../../../core/base/certificate.js';
import { elements, element, TAG, timeOf } from '../../../core/base/der.js';
import { issueCertificate, loadX509, newKeyPair, P256 } from '../../../core/base/issue-certificate.js';
import { JudgedTls } from '../../../core/base/tls-terms.js';
import { TestAuthority } from '../../certificates.js';

const SECOND = 1000;

function read(digits: string): number {
  const tag = digits.length === 14 ? TAG.generalizedTime : TAG.utcTime;
  const content = Buffer.from(`${digits}Z`);
  return timeOf({ tag, content, whole: content });
}

test('a time is read as the calendar has it, before 1970 and far beyond 2050', (t) => {
  const seconds = fc.integer({ min: Date.UTC(1950, 0, 1) / SECOND, max: Date.UTC(9999, 11, 31) / SECOND });
  fc.assert(fc.property(seconds, (at) => {
    const digits = new Date(at * SECOND).toISOString().replaceAll(/\D/g, '').slice(0, 14);
    t.is(read(digits), at * SECOND);
    if (digits < '2050') t.is(read(digits.slice(2)), at * SECOND);
  }), { numRuns: 300 });
  for (const wrong of ['', '2026', '20260101', '2026010100000x']) t.throws(() => read(wrong), { instanceOf: RangeError });
});

test('elements are found again as they were put together, and what is cut off is refused', async (t) => {
  const authority = await TestAuthority.make();
  const { raw } = new X509Certificate((await authority.issue('x'.repeat(300))).cert);
  const parts = elements(element(raw, TAG.sequence).content);
  t.is(parts.length, 3);
  t.deepEqual(Buffer.concat(parts.map(({ whole }) => whole)), Buffer.from(element(raw, TAG.sequence).content));
  for (let cut = 1; cut < raw.length; cut++) {
    t.throws(() => elements(raw.subarray(0, raw.length - cut)), { instanceOf: RangeError });
  }
  t.throws(() => elements(Uint8Array.of(0x30, 0x80, 0, 0)), { instanceOf: RangeError }, 'without a length');
  t.throws(() => elements(Uint8Array.of(0x30, 0x88, 1, 1, 1, 1, 1, 1, 1, 1)), { instanceOf: RangeError }, 'too long');
});

test('the name of a certificate is its CommonName as bytes have it, whatever stands in it', async (t) => {
  const keys = await newKeyPair();
  const named = async (commonName: string): Promise<string | null> => {
    const now = Date.now();
    const issuer = { commonName: 'x', privateKey: keys.privateKey };
    const order = { publicKey: keys.publicKey, hosts: [], usages: [], notBeforeMs: now, notAfterMs: now + 1e6, issuer };
    return commonNameOf(new X509Certificate(await issueCertificate({ ...order, commonName })));
  };
  const names = [
    'alice', 'a,CN=root', 'root\nCN=alice', 'a=b/CN=c', 'grün', 'x\0y', ' root', 'root ', '#0500', '"root"', 'a+CN=b',
  ];
  for (const name of names) t.is(await named(name), name);
  t.is(await named(''), null);
  const x509 = await loadX509();
  const now = new Date();
  const twice = await x509.X509CertificateGenerator.createSelfSigned({
    keys, signingAlgorithm: P256, notBefore: now, notAfter: now, name: new x509.Name([{ CN: ['first'] }, { CN: ['last'] }]),
  });
  t.is(commonNameOf(new X509Certificate(twice.toString('pem'))), 'last');
});

test('serial numbers and names are those that OpenSSL reads', async (t) => {
  const authority = await TestAuthority.make('above');
  for (const serial of [Uint8Array.of(1), Uint8Array.of(0x80, 1), Uint8Array.from({ length: 20 }, (_, i) => i + 1)]) {
    const { cert, key } = await authority.issue('below', { serial });
    const certificate = new X509Certificate(cert);
    t.is(BigInt(`0x${fieldsOf(certificate.raw).serial}`), BigInt(`0x${certificate.serialNumber}`));
    t.is(fieldsOf(certificate.raw).issuer, fieldsOf(new X509Certificate(authority.cert).raw).subject);
    const judged = new JudgedTls({ cert, key, ca: authority.cert, crl: await authority.crl([{ serial }]) }, Date.now());
    t.regex(String(judged.judge([certificate], Date.now())), /was revoked/);
  }
  t.throws(() => fieldsOf(Uint8Array.of(1, 2, 3)), { instanceOf: RangeError });
});

test('a certificate is for the names and addresses, the time and the purpose that were ordered', async (t) => {
  const [notBeforeMs, notAfterMs] = [Date.UTC(1970, 0, 2), Date.UTC(2061, 5, 6)];
  const keys = await newKeyPair();
  const issuer = { commonName: 'x', privateKey: keys.privateKey };
  const hosts = ['localhost', '10.0.0.1', '::1', 'fd00::ffff:1', '*.db.example'];
  const order = { commonName: 'x', publicKey: keys.publicKey, hosts, notBeforeMs, notAfterMs, issuer };
  const certificate = new X509Certificate(await issueCertificate({ ...order, usages: ['server'] }));
  t.deepEqual([Date.parse(certificate.validFrom), Date.parse(certificate.validTo)], [notBeforeMs, notAfterMs]);
  for (const host of ['localhost', 'a.db.example']) t.is(typeof certificate.checkHost(host), 'string', host);
  for (const address of ['10.0.0.1', '::1', 'fd00::ffff:1']) t.is(typeof certificate.checkIP(address), 'string', address);
  t.is(certificate.checkIP('10.0.0.2'), undefined);
  t.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1']);
  t.false(certificate.ca);
  t.true(certificate.verify(certificate.publicKey));
});

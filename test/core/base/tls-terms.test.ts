// The judgement of chains that a handshake has verified: by whom each link is vouched for, and which revocation lists it needs.

import { X509Certificate } from 'node:crypto';
import test from 'ava';
import { issueCertificate, newKeyPair, pemOfKey } from '../../../core/base/issue-certificate.js';
import { JudgedTls, type TlsTerms } from '../../../core/base/tls-terms.js';
import { TestAuthority } from '../../certificates.js';

const root = await TestAuthority.make('root');
const middle = await TestAuthority.make('middle', { parent: root });
const own = await root.issue('server');
const leaf = await middle.issue('alice');

function parsed(...certificates: readonly string[]): readonly X509Certificate[] {
  return certificates.map((pem) => new X509Certificate(pem));
}

/** What is said of Alice, or of whoever shows these. */
function verdict(terms: Partial<TlsTerms>, shown = parsed(leaf.cert, middle.cert, root.cert)): string | null {
  const now = Date.now();
  const judged = new JudgedTls({ cert: own.cert, key: own.key, ca: root.cert + middle.cert, ...terms }, now).judge(shown, now);
  return typeof judged === 'string' ? judged : null;
}

test('SA5: each authority of a chain needs a list, and is judged by its own', async (t) => {
  const [ofRoot, ofMiddle] = [await root.crl([]), await middle.crl([])];
  t.is(verdict({}), null);
  t.is(verdict({ crl: ofRoot + ofMiddle }), null);
  for (const crl of [ofRoot, ofMiddle]) t.regex(verdict({ crl }) ?? '', /no revocation list is there for the authority/);
  t.regex(verdict({ crl: ofRoot + await middle.crl([leaf]) }) ?? '', /was revoked/);
  t.regex(verdict({ crl: ofMiddle + await root.crl([middle]) }) ?? '', /was revoked/);
  t.is(verdict({ crl: ofMiddle + await root.crl([leaf]) }), null, 'the same number of another authority');
});

test('an authority is followed from what was signed, not from the names that somebody shows', async (t) => {
  const forged = await TestAuthority.make('middle', { parent: await TestAuthority.make('root') });
  const crl = (await middle.crl([])) + (await root.crl([middle]));
  for (const shown of [[leaf.cert, forged.cert, root.cert], [leaf.cert, forged.cert, middle.cert, root.cert], [leaf.cert]]) {
    t.regex(verdict({ crl }, parsed(...shown)) ?? '', /was revoked/);
    t.not(verdict({ crl: await root.crl([middle]), ca: root.cert }, parsed(...shown)), null);
  }
  const itself = await TestAuthority.make('middle');
  const stranger = await itself.issue('alice');
  t.regex(verdict({}, parsed(stranger.cert, itself.cert, root.cert)) ?? '', /of an authority that is not trusted/);
  t.regex(verdict({}, parsed(stranger.cert, forged.cert, root.cert)) ?? '', /of an authority that is not trusted/);
});

test('who is within by a chain is judged anew by lists and authorities, not by what he showed besides', async (t) => {
  const [now, terms] = [Date.now(), { cert: own.cert, key: own.key }];
  const judge = (more: Partial<TlsTerms>): JudgedTls => new JudgedTls({ ...terms, ca: root.cert, ...more }, now);
  const chain = judge({}).judge(parsed(leaf.cert, middle.cert), now);
  if (typeof chain === 'string') return t.fail(chain);
  t.is(chain.length, 3, 'up to the root, which was not shown');
  t.is(judge({}).judgeAgain(chain, now), chain);
  t.regex(String(judge({ crl: await root.crl([middle]) }).judgeAgain(chain, now)), /no revocation list is there/);
  const lists = { ca: root.cert + middle.cert, crl: (await root.crl([middle])) + (await middle.crl([])) };
  t.regex(String(judge(lists).judgeAgain(chain, now)), /was revoked/);
  t.regex(String(judge({ ca: (await TestAuthority.make('root')).cert }).judgeAgain(chain, now)), /is not trusted/);
});

test('a certificate that vouches for itself is believed where it is named, although it may not vouch for others', async (t) => {
  const keys = await newKeyPair();
  const now = Date.now();
  const cert = await issueCertificate({
    commonName: 'itself', publicKey: keys.publicKey, issuer: { commonName: 'itself', privateKey: keys.privateKey },
    hosts: ['localhost'], usages: ['server', 'client'], notBeforeMs: now - 1e6, notAfterMs: now + 1e6,
  });
  t.is(verdict({ cert, key: pemOfKey(keys.privateKey), ca: cert }, parsed(cert)), null);
  t.regex(verdict({}, parsed(cert)) ?? '', /of an authority that is not trusted/);
});

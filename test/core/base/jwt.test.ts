// Signed tokens: what they say, and every way to make one that must not be believed.

import { createHmac, createSign, generateKeyPairSync, type KeyObject } from 'node:crypto';
import test from 'ava';
import { whenDone } from '../../../core/base/done.js';
import { jwtSigner, type TokenFacts, type TokenSigner } from '../../../core/base/jwt.js';

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 });

function pem(key: KeyObject): Buffer {
  return Buffer.from(key.export({ type: key.type === 'public' ? 'spki' : 'pkcs8', format: 'pem' }));
}

const RS256 = { method: 'RS256', publicKey: pem(publicKey), privateKey: pem(privateKey), ttlSeconds: 300 };

function verify(signer: TokenSigner, token: string): Promise<TokenFacts | null> {
  return whenDone((done) => signer.verify(token, done));
}

const nowSeconds = (): number => Math.floor(Date.now() / 1000);

function b64(text: string): string {
  return Buffer.from(text).toString('base64url');
}

/** Signed by whom you like, whatever it says. */
function forged(payload: unknown, header: object = { alg: 'RS256' }, key = privateKey): string {
  const body = typeof payload === 'string' ? payload : JSON.stringify(payload);
  const input = `${b64(JSON.stringify(header))}.${b64(body)}`;
  return `${input}.${createSign('RSA-SHA256').update(input).sign(key).toString('base64url')}`;
}

function good(): { username: string; revision: number; exp: number } {
  return { username: 'u', revision: 3, exp: nowSeconds() + 100 };
}

test('a token says whose it is and at which auth revision, with each method there is', async (t) => {
  const ec = (namedCurve: string): { publicKey: KeyObject; privateKey: KeyObject } => generateKeyPairSync('ec', { namedCurve });
  const pairs: readonly (readonly [string, { publicKey: KeyObject; privateKey: KeyObject }])[] = [
    ['RS512', { publicKey, privateKey }], ['PS384', { publicKey, privateKey }], ['ES256', ec('P-256')], ['ES384', ec('P-384')],
    ['ES512', ec('P-521')], ['EdDSA', generateKeyPairSync('ed25519')],
  ];
  for (const [method, pair] of pairs) {
    const signer = jwtSigner({ method, publicKey: null, privateKey: pem(pair.privateKey), ttlSeconds: 300 });
    const reader = jwtSigner({ method, publicKey: pem(pair.publicKey), privateKey: null, ttlSeconds: 300 });
    const token = await whenDone<string>((done) => signer.sign('ü', 7, done));
    const facts = await verify(reader, token);
    t.is(facts?.user, 'ü', method);
    t.is(facts?.authRevision, 7);
    await t.throwsAsync(whenDone<string>((done) => reader.sign('u', 1, done)), { message: /no private key/ });
  }
  const secret = jwtSigner({ method: 'HS256', publicKey: null, privateKey: Buffer.alloc(32, 7), ttlSeconds: 300 });
  t.is((await verify(secret, await whenDone<string>((done) => secret.sign('u', 1, done))))?.user, 'u');
});

test('SB7 what is not signed as configured, for us, now, by name and revision, is refused without a crash', async (t) => {
  const signer = jwtSigner(RS256);
  t.is((await verify(signer, forged(good())))?.user, 'u');
  const confused = (): string => {
    // The public key, which everybody has, as the secret of another algorithm.
    const input = `${b64('{"alg":"HS256"}')}.${b64(JSON.stringify(good()))}`;
    return `${input}.${createHmac('sha256', pem(publicKey)).update(input).digest('base64url')}`;
  };
  const { username, revision, exp } = good();
  const strangersJwk = stranger.publicKey.export({ format: 'jwk' });
  const hostile: Readonly<Record<string, string>> = {
    'no algorithm': `${b64('{"alg":"none"}')}.${b64(JSON.stringify(good()))}.`,
    'another algorithm': confused(),
    'another key': forged(good(), { alg: 'RS256' }, stranger.privateKey),
    'another key that it brings along': forged(good(), { alg: 'RS256', jwk: strangersJwk }, stranger.privateKey),
    'a demand nobody knows': forged(good(), { alg: 'RS256', crit: ['x'], x: 1 }),
    'an audience': forged({ ...good(), aud: 'others' }),
    'expired': forged({ ...good(), exp: nowSeconds() - 61 }),
    'not yet': forged({ ...good(), nbf: nowSeconds() + 120 }),
    'for ever': forged({ ...good(), exp: nowSeconds() + 10 * 365 * 86_400 }),
    'never expiring': forged({ username, revision }),
    'nobody': forged({ revision, exp }),
    'an empty name': forged({ ...good(), username: '' }),
    'no revision': forged({ username, exp }),
    'a revision that is text': forged({ ...good(), revision: '3' }),
    'a name that is none': forged({ ...good(), username: { root: true } }),
    'a revision that is none': forged({ ...good(), revision: 1.5 }),
    'a negative revision': forged({ ...good(), revision: -1 }),
    'an expiry that is text': forged({ ...good(), exp: String(exp) }),
    'two names': forged(`{"username":"u","username":"root","revision":3,"exp":${exp}}`),
    'two names, one in disguise': forged(`{"username":"u","\\u0075sername":"root","revision":3,"exp":${exp}}`),
    'a list': forged([1]),
    'no JSON': forged('{'),
    'a megabyte': forged({ ...good(), padding: 'x'.repeat(1_000_000) }),
    'nothing': '',
    'dots': '..',
    'garbage': 'a.b.c',
    'a simple token': `${'x'.repeat(24)}.7`,
  };
  for (const [what, token] of Object.entries(hostile)) t.is(await verify(signer, token), null, what);
  // Clocks may differ by a minute, and a name for the key is no reason to look for another one.
  t.is((await verify(signer, forged({ ...good(), exp: nowSeconds() - 30 })))?.user, 'u');
  t.is((await verify(signer, forged(good(), { alg: 'RS256', kid: '../../etc/passwd' })))?.user, 'u');
});

test('SB7 while keys change over, tokens of the old and of the new one are good', async (t) => {
  const both = Buffer.concat([pem(stranger.publicKey), pem(publicKey)]);
  const signer = jwtSigner({ ...RS256, publicKey: both, privateKey: null });
  t.is((await verify(signer, forged(good())))?.user, 'u');
  t.is((await verify(signer, forged(good(), { alg: 'RS256' }, stranger.privateKey)))?.user, 'u');
});

test('keys that do not fit are refused in words, before anything starts', (t) => {
  t.throws(() => jwtSigner({ ...RS256, method: 'none' }), { message: /none is no way to sign tokens/ });
  t.throws(() => jwtSigner({ ...RS256, method: 'ES256' }), { message: /rsa cannot be used with ES256/ });
  t.throws(() => jwtSigner({ ...RS256, publicKey: null, privateKey: null }), { message: /neither a private nor a public key/ });
  t.throws(() => jwtSigner({ ...RS256, method: 'HS256', privateKey: Buffer.from('short') }), { message: /cannot be guessed/ });
  t.throws(() => jwtSigner({ ...RS256, publicKey: Buffer.from('nothing'), privateKey: null }), { message: /no PEM block/ });
});

test('a key the method cannot use is refused at the start, not with the first login, nor beside one that fits', (t) => {
  const unfit: readonly (readonly [string, { publicKey: KeyObject; privateKey: KeyObject }, RegExp])[] = [
    ['ES256', generateKeyPairSync('ec', { namedCurve: 'P-384' }), /ec secp384r1 cannot be used with ES256, which takes ec prime/],
    ['ES512', generateKeyPairSync('ec', { namedCurve: 'P-256' }), /ec prime256v1 cannot be used with ES512/],
    ['EdDSA', generateKeyPairSync('ed448'), /ed448 cannot be used with EdDSA/],
    ['PS256', generateKeyPairSync('rsa-pss', { modulusLength: 2048 }), /rsa-pss cannot be used with PS256/],
    ['RS256', generateKeyPairSync('rsa', { modulusLength: 1024 }), /rsa key of 1024 bits cannot be used with RS256/],
  ];
  for (const [method, pair, message] of unfit) {
    const keys = { publicKey: pem(pair.publicKey), privateKey: pem(pair.privateKey) };
    t.throws(() => jwtSigner({ ...RS256, ...keys, method }), { message });
  }
  const small = pem(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey);
  t.throws(() => jwtSigner({ ...RS256, publicKey: Buffer.concat([small, pem(publicKey)]) }), { message: /1024 bits/ });
});

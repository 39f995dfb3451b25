// JSON web tokens as proof of who somebody is (RFC 7519), signed and checked with keys the operator named. The algorithm is
// the configured one and no other, whatever a token says of itself; keys come from the configuration and never from a token.
// The library is loaded with the first token.

import { createPrivateKey, createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import type { JWTPayload } from 'jose';
import { calendarMs } from './clock.js';
import type { Done } from './done.js';

export interface TokenFacts {
  readonly user: string;
  readonly authRevision: number;
  /** Until it expires. */
  readonly leftMs: number;
}

export interface TokenSigner {
  sign(user: string, authRevision: number, done: Done<string>): void;
  /** Null for whatever is not such a token, good now. */
  verify(token: string, done: Done<TokenFacts | null>): void;
}

export const JWT_METHODS: readonly string[] = [
  'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'HS256', 'HS384', 'HS512', 'EdDSA',
];

export interface JwtSettings {
  /** One of JWT_METHODS. */
  readonly method: string;
  /** PEM, several one after the other while keys change over; of HS methods the secret itself. Null: what the private one has. */
  readonly publicKey: Uint8Array | null;
  /** PEM, or the secret. Null: tokens are checked here and made elsewhere. */
  readonly privateKey: Uint8Array | null;
  readonly ttlSeconds: number;
}

/** A longer one is not looked at. */
const TOKEN_LENGTH_MAX = 8192;
/** By how much clocks may differ. */
const SKEW_SECONDS = 60;
/** Nobody is given a token for longer than the larger of this and the configured time. */
const LIFE_SECONDS_MAX = 24 * 3600;
/** RFC 7518, 3.3 and 3.5. */
const RSA_BITS_MIN = 2048;
/** What a key has to be; of all other methods it is an RSA key. */
const KEY_KINDS: Readonly<Record<string, string>> = {
  ES256: 'ec prime256v1', ES384: 'ec secp384r1', ES512: 'ec secp521r1', EdDSA: 'ed25519',
};
/** A secret shorter than its digest would be the weakest part. */
const SECRET_BYTES_MIN = 32;

/** Throws, in words for an operator, when the keys do not fit the method. */
export function jwtSigner(settings: JwtSettings): TokenSigner {
  const { method, ttlSeconds } = settings;
  const { signing, checking } = keysOf(settings);
  const sign = async (user: string, authRevision: number): Promise<string> => {
    if (signing === null) throw new Error('tokens are only checked here: no private key was given to sign one with');
    const { SignJWT } = await import('jose');
    const claims = { username: user, revision: authRevision };
    return new SignJWT(claims).setProtectedHeader({ alg: method, typ: 'JWT' }).setExpirationTime(`${ttlSeconds}s`).sign(signing);
  };
  const verify = async (token: string): Promise<TokenFacts | null> => {
    if (token.length > TOKEN_LENGTH_MAX) return null;
    const { jwtVerify, errors } = await import('jose');
    for (const key of checking) {
      try {
        const { payload } = await jwtVerify(token, key, {
          algorithms: [method], clockTolerance: SKEW_SECONDS, requiredClaims: ['exp'],
        });
        return factsOf(token, payload, Math.max(LIFE_SECONDS_MAX, ttlSeconds));
      } catch (error) {
        // The next key may be the one; whatever else is wrong with it stays wrong.
        if (!(error instanceof errors.JWSSignatureVerificationFailed)) return null;
      }
    }
    return null;
  };
  return {
    sign: (user, authRevision, done) => void settle(sign(user, authRevision), done),
    verify: (token, done) => void settle(verify(token), done),
  };
}

function settle<T>(work: Promise<T>, tell: Done<T>): Promise<void> {
  return work.then(
    (value) => tell(null, value),
    (error: unknown) => tell(error instanceof Error ? error : new Error(String(error))),
  );
}

/** All claims it is judged by must be there, once, and of their type. An audience is never us: none is configured. */
function factsOf(token: string, payload: JWTPayload, lifeSecondsMax: number): TokenFacts | null {
  const { username, revision, exp, aud } = payload;
  if (aud !== undefined || typeof exp !== 'number' || typeof username !== 'string' || username === '') return null;
  if (typeof revision !== 'number' || !Number.isSafeInteger(revision) || revision < 1) return null;
  const leftSeconds = exp - Math.floor(calendarMs() / 1000);
  if (leftSeconds > lifeSecondsMax + SKEW_SECONDS || hasTwins(token)) return null;
  return { user: username, authRevision: revision, leftMs: (leftSeconds + SKEW_SECONDS) * 1000 };
}

/** Whether a claim stands in the token twice: readers would differ in which of the two they believe. */
function hasTwins(token: string): boolean {
  const text = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8');
  const names = new Set<string>();
  let depth = 0;
  for (const [piece, colon] of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g)) {
    if (piece === '{' || piece === '[') depth += 1;
    else if (piece === '}' || piece === ']') depth -= 1;
    else if (depth === 1 && colon !== undefined) {
      const name: unknown = JSON.parse(piece.slice(0, piece.length - colon.length));
      if (names.has(String(name))) return true;
      names.add(String(name));
    }
  }
  return false;
}

function keysOf({ method, publicKey, privateKey }: JwtSettings): { signing: KeyObject | null; checking: readonly KeyObject[] } {
  if (!JWT_METHODS.includes(method)) throw new Error(`${method} is no way to sign tokens; there are ${JWT_METHODS.join(', ')}`);
  if (publicKey === null && privateKey === null) throw new Error('neither a private nor a public key for tokens was given');
  if (method.startsWith('HS')) {
    const secret = privateKey ?? publicKey ?? new Uint8Array(0);
    if (secret.length < SECRET_BYTES_MIN) {
      throw new Error(`the secret for ${method} has ${secret.length} bytes; at least ${SECRET_BYTES_MIN} cannot be guessed`);
    }
    const key = createSecretKey(secret);
    return { signing: key, checking: [key] };
  }
  const signing = privateKey === null ? null : createPrivateKey(Buffer.from(privateKey));
  const checking = publicKey === null ? [] : pemsIn(publicKey).map((pem) => createPublicKey(pem));
  if (signing !== null) checking.unshift(createPublicKey(signing));
  if (checking.length === 0) throw new Error('the file of the public key for tokens holds no PEM block');
  for (const key of checking) refuseUnfit(method, key);
  return { signing, checking };
}

function pemsIn(bytes: Uint8Array): readonly string[] {
  return Buffer.from(bytes).toString('utf8').match(/-----BEGIN [^-]+-----[^-]+-----END [^-]+-----/g) ?? [];
}

/** What the library would refuse with the first token is refused before anything starts. */
function refuseUnfit(method: string, key: KeyObject): void {
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  const kind = [key.asymmetricKeyType ?? 'none', ...(namedCurve === undefined ? [] : [namedCurve])].join(' ');
  const wanted = KEY_KINDS[method] ?? 'rsa';
  if (kind !== wanted) throw new Error(`a key of kind ${kind} cannot be used with ${method}, which takes ${wanted}`);
  if (wanted !== 'rsa' || modulusLength >= RSA_BITS_MIN) return;
  throw new Error(`an rsa key of ${modulusLength} bits cannot be used with ${method}, which takes ${RSA_BITS_MIN} or more`);
}

// How users prove who they are, from the flags: --auth-token in etcd's own little language
// (`jwt,pub-key=FILE,priv-key=FILE,sign-method=RS256,ttl=10m`), and what goes with it. Keys are read once, at the start: a
// member that is told to sign with a key it cannot use does not start.

import { readFileSync } from 'node:fs';
import { JWT_METHODS, jwtSigner, type JwtSettings } from '../base/jwt.js';
import type { AuthOptions } from '../start-node.js';
import { nearest, Refusal } from './refusal.js';
import { numberOf, textOf, type Setting } from './settings.js';
import { readDuration } from './values.js';

type All = ReadonlyMap<string, Setting>;

const PARTS: readonly string[] = ['pub-key', 'priv-key', 'sign-method', 'ttl'];
/** etcd's. */
const TTL_MS = 300_000;

export function authFlags(all: All): AuthOptions {
  const [kind = '', ...words] = textOf(all, 'auth-token').split(',');
  const options = { bcryptCost: numberOf(all, 'bcrypt-cost'), tokenTtlSeconds: numberOf(all, 'auth-token-ttl') };
  if (kind === 'simple' && words.length === 0) return options;
  if (kind !== 'jwt') {
    const remedy = 'write simple, or jwt,pub-key=FILE,priv-key=FILE,sign-method=RS256';
    throw new Refusal(`--auth-token ${textOf(all, 'auth-token')}: there is no such kind of tokens`, remedy);
  }
  const jwt = jwtOf(partsOf(words));
  try {
    jwtSigner(jwt);
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    throw new Refusal(`--auth-token: ${said}`, 'name keys made for the sign-method, as PEM', { cause: error });
  }
  return { ...options, jwt };
}

function partsOf(words: readonly string[]): ReadonlyMap<string, string> {
  const parts = new Map<string, string>();
  for (const word of words) {
    const at = word.indexOf('=');
    const name = at === -1 ? word : word.slice(0, at);
    if (!PARTS.includes(name) || at === -1) {
      const guess = nearest(name, PARTS);
      const remedy = guess === null || guess === name ? `there are ${PARTS.join(', ')}, each with =` : `did you mean ${guess}=?`;
      throw new Refusal(`--auth-token: ${word} says nothing about tokens`, remedy);
    }
    if (parts.has(name)) throw new Refusal(`--auth-token: ${name} is given twice`, 'give it once');
    parts.set(name, word.slice(at + 1));
  }
  return parts;
}

function jwtOf(parts: ReadonlyMap<string, string>): JwtSettings {
  const method = parts.get('sign-method') ?? '';
  if (!JWT_METHODS.includes(method)) {
    const problem = method === '' ? '--auth-token: no sign-method' : `--auth-token: sign-method=${method} is none`;
    throw new Refusal(problem, `choose one of ${JWT_METHODS.join(', ')}`);
  }
  const ttl = parts.get('ttl');
  const ttlMs = ttl === undefined ? TTL_MS : readDuration(ttl);
  if (typeof ttlMs !== 'number') throw new Refusal(`--auth-token: ttl=${ttl}: ${ttlMs.wrong}`, ttlMs.remedy);
  return { method, publicKey: fileOf(parts, 'pub-key'), privateKey: fileOf(parts, 'priv-key'), ttlSeconds: ttlMs / 1000 };
}

function fileOf(parts: ReadonlyMap<string, string>, name: string): Uint8Array | null {
  const file = parts.get(name);
  if (file === undefined || file === '') return null;
  try {
    return readFileSync(file);
  } catch (error) {
    const problem = `--auth-token: ${name}=${file}: ${error instanceof Error ? error.message : String(error)}`;
    throw new Refusal(problem, 'name a file this user may read', { exitCode: 1, cause: error });
  }
}

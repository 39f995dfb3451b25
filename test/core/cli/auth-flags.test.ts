// How users prove who they are, as the command line says it: --auth-token in etcd's words, and that a server does as it is told.

import { generateKeyPairSync } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { authFlags } from '../../../core/cli/auth-flags.js';
import { Refusal } from '../../../core/cli/refusal.js';
import { settle } from '../../../core/cli/settings.js';
import type { AuthOptions } from '../../../core/start-node.js';
import { post, serveIn, temporaryDirectory } from './binary.js';

function flags(words: Readonly<Record<string, string>>): AuthOptions {
  return authFlags(settle(new Map(Object.entries(words)), {}).all);
}

function refused(t: ExecutionContext, word: string): string {
  const { message, remedy } = t.throws(() => flags({ 'auth-token': word }), { instanceOf: Refusal });
  return `${message} / ${remedy}`;
}

async function fileWith(t: ExecutionContext, text: string): Promise<string> {
  const file = path.join(await temporaryDirectory(t), 'key');
  writeFileSync(file, text);
  return file;
}

test('tokens are simple unless told, and last as long as etcd\'s', (t) => {
  t.deepEqual(flags({}), { bcryptCost: 10, tokenTtlSeconds: 300 });
  t.deepEqual(flags({ 'bcrypt-cost': '4', 'auth-token-ttl': '7' }), { bcryptCost: 4, tokenTtlSeconds: 7 });
});

test('signed tokens have the method, the keys and the time that were named', async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const pub = await fileWith(t, publicKey.export({ type: 'spki', format: 'pem' }).toString());
  const priv = await fileWith(t, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
  const both = `jwt,pub-key=${pub},priv-key=${priv},sign-method=EdDSA`;
  const keys = { publicKey: readFileSync(pub), privateKey: readFileSync(priv) };
  t.deepEqual(flags({ 'auth-token': both }).jwt, { method: 'EdDSA', ...keys, ttlSeconds: 300 });
  t.is(flags({ 'auth-token': `${both},ttl=1h30m` }).jwt?.ttlSeconds, 5400);
  t.is(flags({ 'auth-token': `jwt,sign-method=EdDSA,pub-key=${pub}` }).jwt?.privateKey, null, 'a member that only checks them');
  const unfit = `jwt,sign-method=ES256,priv-key=${priv}`;
  t.regex(refused(t, unfit), /^--auth-token: .* \/ name keys made for the sign-method, as PEM$/);
});

test('what says nothing about tokens is refused, with what would', async (t) => {
  const secret = await fileWith(t, 'x'.repeat(32));
  t.regex(refused(t, 'bearer'), /^--auth-token bearer: there is no such kind of tokens \/ write simple, or jwt,/);
  t.regex(refused(t, 'simple,ttl=5m'), /there is no such kind of tokens/);
  t.regex(refused(t, ''), /there is no such kind of tokens/);
  const guess = 'did you mean sign-method=?';
  t.is(refused(t, 'jwt,sing-method=RS256'), `--auth-token: sing-method=RS256 says nothing about tokens / ${guess}`);
  t.regex(refused(t, 'jwt,ttl'), /ttl says nothing about tokens \/ there are pub-key, priv-key, sign-method, ttl, each with =/);
  t.is(refused(t, 'jwt,ttl=1s,ttl=2s'), '--auth-token: ttl is given twice / give it once');
  t.regex(refused(t, `jwt,priv-key=${secret}`), /^--auth-token: no sign-method \/ choose one of RS256, /);
  t.regex(refused(t, `jwt,priv-key=${secret},sign-method=none`), /^--auth-token: sign-method=none is none/);
  const signed = 'sign-method=HS256';
  t.regex(refused(t, `jwt,priv-key=${secret},${signed},ttl=5`), /^--auth-token: ttl=5: not a duration \/ give digits and a unit/);
  const missing = `jwt,priv-key=/nonexistent,${signed}`;
  t.regex(refused(t, missing), /^--auth-token: priv-key=\/nonexistent: ENOENT.* \/ name a file/);
});

test('a server signs as it was told, and its passwords cost what was said', async (t) => {
  const secret = await fileWith(t, 'a secret of no less than thirty-two bytes');
  const directory = await temporaryDirectory(t);
  const words = ['--auth-token', `jwt,priv-key=${secret},sign-method=HS384,ttl=10m`, '--bcrypt-cost', '5'];
  const { url } = await serveIn(t, directory, words);
  await post(url, 'auth/user/add', { name: 'root', password: 'pw' });
  await post(url, 'auth/role/add', { name: 'root' });
  await post(url, 'auth/user/grant', { user: 'root', role: 'root' });
  await post(url, 'auth/enable', {});
  const before = Date.now() / 1000;
  const { token } = await post(url, 'auth/authenticate', { name: 'root', password: 'pw' });
  const [head = '', body = ''] = String(token).split('.');
  const read = (part: string): Record<string, unknown> => {
    return JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>;
  };
  t.is(read(head)['alg'], 'HS384');
  t.is(read(body)['username'], 'root');
  const lastsSeconds = Number(read(body)['exp']) - before;
  t.true(lastsSeconds > 590 && lastsSeconds < 660, String(lastsSeconds));
  const entries = readdirSync(path.join(directory, 'data'), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const bytes = files.map((entry) => readFileSync(path.join(entry.parentPath, entry.name), 'latin1')).join('');
  t.regex(bytes, /\$2[aby]\$05\$/);
});

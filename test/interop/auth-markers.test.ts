// Marked passwords and tokens, looked for in everything that a real server leaves behind or says.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import { get, put } from '../../core/client.js';
import { connect } from '../../core/wire/remote-client.js';
import { freePort } from './free-ports.js';
import { startServer } from './server-process.js';

/** In whatever form they might be written down. */
function forms(secret: string): readonly Buffer[] {
  const bytes = Buffer.from(secret);
  // Of base64 the letters that are the secret's alone, wherever among three bytes it begins in what was written.
  const base64 = [0, 1, 2].map((before) => {
    const letters = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
    return Buffer.from(letters.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6)));
  });
  return [bytes, ...base64, Buffer.from(bytes.toString('hex'))];
}

async function filesIn(directory: string): Promise<readonly (readonly [string, Buffer])[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Promise.all(files.map(async (name) => [name, await readFile(name)] as const));
}

test('SB3 passwords and tokens are in no file, log, metric, snapshot or error', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'coterie-markers-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const flags = ['--bcrypt-cost', '4', '--log-level', 'debug', '--snapshot-count', '10'];
  const server = await startServer({ port: await freePort(), dataDir: join(directory, 'data'), flags });
  t.teardown(() => server.end('SIGKILL'));
  const secrets = [
    'MarkerOfRoot-7d1', 'MarkerOfUser-9c4', 'MarkerChanged-2f8', 'MarkerWrong-5e3', `MarkerLong-${'x'.repeat(80)}`,
  ];
  const [rootSecret = '', userSecret = '', newSecret = '', wrong = '', long = ''] = secrets;
  const errors: string[] = [];
  const failing = async (work: Promise<unknown>): Promise<void> => {
    await work.then(() => t.fail('it was to fail'), (error: unknown) => errors.push(String(error), JSON.stringify(error)));
  };
  const open = connect(server.url);
  await open.changeAuth({ kind: 'user_add', name: 'root', password: { plain: rootSecret } });
  await open.changeAuth({ kind: 'user_grant', name: 'root', role: 'root' });
  await open.changeAuth({ kind: 'user_add', name: 'u', password: { plain: userSecret } });
  await failing(open.changeAuth({ kind: 'user_add', name: 'u', password: { plain: wrong } }));
  await failing(open.changeAuth({ kind: 'user_add', name: 'long', password: { plain: long } }));
  await failing(open.changeAuth({ kind: 'user_add', name: 'hashed', password: { bcrypt: wrong } }));
  await open.changeAuth({ kind: 'enable' });
  const tokens = [(await open.authenticate('u', userSecret)).token, (await open.authenticate('root', rootSecret)).token];
  await failing(open.authenticate('u', wrong));
  await failing(open.authenticate(wrong, wrong));
  const root = connect(server.url, { user: 'root', password: rootSecret });
  const user = connect(server.url, { token: () => tokens[0] ?? '' });
  await failing(get(user, utf8('a')));
  const stranger = connect(server.url, { token: () => `${wrong}.7` });
  await failing(get(stranger, utf8('a')));
  await root.changeAuth({ kind: 'user_password', name: 'u', password: { plain: newSecret } });
  await failing(get(user, utf8('a')));
  // A snapshot of its own, and log behind it.
  for (let i = 0; i < 25; i++) await put(root, utf8(`k${i}`), utf8('v'));
  const snapshot: Uint8Array[] = [];
  for await (const { bytes } of root.snapshot()) snapshot.push(bytes);
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  await Promise.all([open, root, user, stranger].map((client) => client.close()));
  await server.end('SIGTERM');
  const places = [
    ...(await filesIn(directory)), ['output', Buffer.from(server.output())], ['metrics', Buffer.from(metrics)],
    ['snapshot', Buffer.concat(snapshot)], ['errors', Buffer.from(errors.join('\n'))],
  ] as const;
  t.true(errors.length >= 14 && metrics.length > 1000 && server.output().length > 500);
  // What is looked through is what it should be: the user is in there, his hash, and a digest.
  const all = Buffer.concat(places.map(([, bytes]) => bytes));
  t.true(all.includes('root') && text(all).includes('$2a$04$'));
  for (const secret of [...secrets, ...tokens, ...tokens.map((token) => token.split('.')[0] ?? token)]) {
    for (const form of forms(secret)) {
      const found = places.filter(([, bytes]) => bytes.includes(form)).map(([name]) => name);
      t.deepEqual(found, [], `${secret} as ${form.toString('latin1')}`);
    }
  }
});

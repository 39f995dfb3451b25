// The real door to secrets: bcrypt in its thread, digests and chance.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test from 'ava';
import { whenDone } from '../../../core/base/done.js';
import { costOf, isBcryptHash, systemSecrets } from '../../../core/base/secrets.js';

test('SB1 passwords are hashed as bcrypt has them, and hashes that etcd wrote are read', async (t) => {
  const secrets = systemSecrets();
  t.teardown(() => secrets.close());
  const hash = await whenDone<string>((done) => secrets.hash('pass word ü', 4, done));
  t.true(isBcryptHash(hash) && hash.startsWith('$2a$04$'), hash);
  t.is(costOf(hash), 4);
  const verify = (password: string, of = hash): Promise<boolean> => whenDone((done) => secrets.verify(password, of, done));
  t.true(await verify('pass word ü'));
  t.false(await verify('pass word u'));
  t.false(await verify(''));
  // Go's implementation ends where the password does, not at a NUL in it.
  const withNul = await whenDone<string>((done) => secrets.hash('a\0b', 4, done));
  t.deepEqual([await verify('a\0b', withNul), await verify('a\0c', withNul), await verify('a', withNul)], [true, false, false]);
  // Of another implementation, in the form that Go's writes.
  const known = '$2a$06$DCq7YPn5Rq63x1Lad4cll.Yc223knJwpNXstmdXiA3yHMkAkyZ.0q';
  t.true(await verify('correct horse', known));
  for (const none of ['', 'plain', known.slice(0, -1)]) t.false(await verify('', none));
});

test('SB2 hashing stops neither the event loop nor the threads that sync files', async (t) => {
  const secrets = systemSecrets();
  t.teardown(() => secrets.close());
  await whenDone<string>((done) => secrets.hash('x', 4, done));
  const hashing = whenDone<string>((done) => secrets.hash('x', 11, done));
  let turns = 0;
  let isOver = false;
  void hashing.then(() => (isOver = true));
  while (!isOver) {
    await new Promise((resolve) => setImmediate(resolve));
    turns += 1;
  }
  t.true(turns > 100, String(turns));
});

test('SB4 a hash that belongs to nobody costs what a real one does', async (t) => {
  const secrets = systemSecrets();
  t.teardown(() => secrets.close());
  const real = await whenDone<string>((done) => secrets.hash('x', 7, done));
  const timed = async (hash: string): Promise<number> => {
    const began = performance.now();
    await whenDone<boolean>((done) => secrets.verify('y', hash, done));
    return performance.now() - began;
  };
  let [nobody, somebody] = [Infinity, Infinity];
  // The machine may be busy, so the least of many counts, taken in turn: it stays three times off if the work differs.
  for (let i = 0; i < 100 && (i < 5 || nobody < somebody / 3 || nobody > somebody * 3); i++) {
    nobody = Math.min(nobody, await timed(`$2a$07$${'.'.repeat(53)}`));
    somebody = Math.min(somebody, await timed(real));
  }
  t.true(nobody > somebody / 3 && nobody < somebody * 3, `${nobody} ms, ${somebody} ms`);
});

test('SB6 what tokens are drawn from is not the same twice, and texts are compared as wholes', (t) => {
  const secrets = systemSecrets();
  t.notDeepEqual(secrets.random(32), secrets.random(32));
  t.is(secrets.digest('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  t.deepEqual([secrets.isSame('ab', 'ab'), secrets.isSame('ab', 'ac'), secrets.isSame('ab', 'abc')], [true, false, false]);
});

test('who waits for a hash when the thread is ended is told', async (t) => {
  const secrets = systemSecrets();
  const waiting = whenDone<string>((done) => secrets.hash('x', 12, done));
  secrets.close();
  await t.throwsAsync(waiting, { message: /was ended/ });
  t.true(isBcryptHash(await whenDone<string>((done) => secrets.hash('x', 4, done))));
  secrets.close();
});

test('a thread that has nothing to hash keeps no process', async (t) => {
  const file = JSON.stringify(new URL('../../../core/base/secrets.js', import.meta.url).href);
  const script = `import { systemSecrets } from ${file};
    systemSecrets().hash('x', 4, (error) => console.log(error ?? 'hashed'));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { timeout: 60_000 });
  t.is(stdout, 'hashed\n');
});

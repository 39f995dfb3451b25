// Users and roles from the command line, on etcd, and on coterie: what is granted is shown, what a user may not do is said with
// what to do, and no password is printed by anything.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { temporaryDirectory } from './binary.js';
import { play, type Printed, type Stage } from './in-process.js';
import { startStores, type Store } from './running.js';

const SECRET = 'm4rker-pa55word';
let stores: readonly [Store, ...Store[]];

test.before('stores start', async (t) => {
  stores = await startStores((line) => t.log(line));
});
test.after.always('all end', () => Promise.all(stores.map((store) => store.close())));

test('users and roles are made, granted, shown, guarded and removed', async (t) => {
  const file = path.join(await temporaryDirectory(t), 'password');
  writeFileSync(file, `${SECRET}\n`);
  for (const store of stores) {
    const all: Printed[] = [];
    const as = async (line: string, stage: Stage = {}): Promise<Printed> => {
      const told = await play(`${line} --endpoints ${store.url}`, stage);
      all.push(told);
      return told;
    };
    const says = async (line: string, stdout: string, stage: Stage = {}): Promise<void> => {
      const told = await as(line, stage);
      t.deepEqual([told.stdout, told.stderr.replace(/(?:Password of|Type).*?: /g, '')], [stdout, ''], `${store.name}: ${line}`);
    };
    await says(`user add root:${SECRET}`, 'User root created\n');
    await says('user add ann', 'User ann created\n', { secrets: [SECRET, SECRET] });
    await says('user add bob --interactive=false', 'User bob created\n', { input: `${SECRET}\n` });
    await says(`user add cid --new-password-file ${file}`, 'User cid created\n');
    await says('user add dee --no-password', 'User dee created\n');
    t.regex((await as('user add eve', { secrets: [SECRET, 'other'] })).stderr, /the two passwords differ/);
    t.regex((await as('user add eve', { input: '' })).stderr, /empty password/);
    await says('user list', 'ann\nbob\ncid\ndee\nroot\n');
    await says('role add reader', 'Role reader created\n');
    await says('role grant-permission reader read p/ --prefix', 'Role reader updated\n');
    await says('role grant-permission reader readwrite a c', 'Role reader updated\n');
    await says('role grant-permission reader write z --from-key', 'Role reader updated\n');
    await says('user grant-role ann reader', 'Role reader is granted to user ann\n');
    const role = 'Role reader\nKV Read:\n\t[a, c)\n\t[p/, p0) (prefix p/)\nKV Write:\n\t[a, c)\n\t[z, <open ended>\n';
    await says('role get reader', role);
    await says('user get ann', 'User: ann\nRoles: reader\n');
    await says('user get ann --detail', `User: ann\n\n${role}`);
    await says('auth enable', 'Authentication Enabled\n');
    const denied = await as('put p/1 x --user ann', { secrets: [SECRET] });
    t.deepEqual([denied.code, denied.stdout], [1, ''], store.name);
    t.regex(denied.stderr, /etcdserver: permission denied\n {2}a user with the role root can grant it/);
    t.regex((await as('get p/1')).stderr, /user name is empty\n {2}the server wants to know who asks/);
    t.regex((await as('get p/1 --user ann:wrong')).stderr, /authentication failed.*\n {2}look at --user/);
    t.is((await as('get p/1', { env: { ETCDCTL_USER: `ann:${SECRET}` } })).code, 0);
    t.is((await as(`put a x --user ann --password-file ${file}`)).stdout, 'OK\n');
    const root: Stage = { env: { COTERIE_USER: 'root', COTERIE_PASSWORD: SECRET } };
    await says('role revoke-permission reader p/ --prefix', 'Permission of range [p/, p0) is revoked from role reader\n', root);
    await says('user revoke-role ann reader', 'Role reader is revoked from user ann\n', root);
    await says('user passwd ann --interactive=false', 'Password updated\n', { ...root, input: 'another\n' });
    await says('auth disable', 'Authentication Disabled\n', root);
    await says('role delete reader', 'Role reader deleted\n');
    await says('user delete ann', 'User ann deleted\n');
    t.false(all.some(({ stdout, stderr }) => `${stdout}${stderr}`.includes(SECRET)), 'no password is ever printed');
  }
});

const WRONG: readonly (readonly [line: string, says: string])[] = [
  ['user add', 'a word is missing\n  usage: coterie user add NAME[:PASSWORD]'],
  [`user add :${SECRET}`, 'not a user'],
  [`user add x:${SECRET} --no-password`, 'a password with --no-password'],
  ['role grant-permission r foo k', 'invalid permission type: foo\n  give one of read, write, readwrite'],
  ['role grant-permission r read a b --prefix', 'b: an end with --prefix'],
  ['user grant-role u', 'a word is missing'],
  ['auth foo', 'foo: no such command\n  give one of enable, disable, status'],
];

for (const [line, says] of WRONG) {
  test(`refused before anything is asked: coterie ${line.replace(SECRET, '…')}`, async (t) => {
    const { code, stdout, stderr } = await play(`${line} --endpoints 127.0.0.1:1`);
    t.deepEqual([code, stdout], [2, '']);
    t.true(stderr.includes(says), stderr);
    t.false(stderr.includes(SECRET));
  });
}

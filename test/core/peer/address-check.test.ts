// From where a certificate that names hosts may be shown, with names of our own making.

import { X509Certificate } from 'node:crypto';
import test from 'ava';
import { checkAddress } from '../../../core/peer/address-check.js';
import { NAMES_MAX } from '../../../core/peer/limits.js';
import { TestAuthority } from '../../certificates.js';

const authority = await TestAuthority.make();
const ADDRESSES: Readonly<Record<string, readonly string[]>> = {
  'a.db.example': ['10.0.0.1', '10.0.0.2'], 'b.db.example': ['10.0.0.3'], 'web.example': ['10.0.0.9'],
};

/** Whether it is taken from there, and which names were looked up. */
async function taken(hosts: readonly string[], from: string, known: readonly string[] = []): Promise<[boolean, string[]]> {
  const certificate = new X509Certificate((await authority.issue('x', { hosts })).cert);
  const asked: string[] = [];
  return await new Promise((resolve) => {
    checkAddress(certificate, from, known, (reason) => resolve([reason === null, asked]), (name, done) => {
      asked.push(name);
      done(ADDRESSES[name] ?? []);
    });
  });
}

test('SA11: a certificate is taken from its addresses, and from those of its names', async (t) => {
  t.deepEqual(await taken([], '10.0.0.7'), [true, []], 'who names no host may be anywhere');
  t.deepEqual(await taken(['10.0.0.7'], '10.0.0.7'), [true, []]);
  t.deepEqual(await taken(['10.0.0.7'], '::ffff:10.0.0.7'), [true, []]);
  t.deepEqual(await taken(['10.0.0.7'], '10.0.0.8'), [false, []]);
  t.deepEqual(await taken(['web.example', 'a.db.example'], '10.0.0.2'), [true, ['web.example', 'a.db.example']]);
  t.deepEqual(await taken(['a.db.example'], '10.0.0.3', ['b.db.example']), [false, ['a.db.example']]);
});

test('SA11: one for a wildcard is for the known hosts that it covers', async (t) => {
  const known = ['web.example', 'b.db.example', '10.0.0.3', ''];
  t.deepEqual(await taken(['*.db.example'], '10.0.0.3', known), [true, ['b.db.example']]);
  t.deepEqual(await taken(['*.db.example'], '10.0.0.9', known), [false, ['b.db.example']]);
  t.deepEqual(await taken(['*.db.example'], '10.0.0.1'), [false, []], 'whoever else may call himself so');
});

test('SA11: so many names are looked up and no more', async (t) => {
  const many = Array.from({ length: NAMES_MAX + 5 }, (_, i) => `n${i}.example`);
  const [isTaken, asked] = await taken([...many, 'a.db.example'], '10.0.0.1');
  t.deepEqual([isTaken, asked.length], [false, NAMES_MAX]);
});

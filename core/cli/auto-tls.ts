// TLS without having been given certificates (etcd: --auto-tls, --peer-auto-tls): one that vouches for itself is made once and
// kept in the data directory. It hides what passes from who listens; it proves nobody's identity, so whoever stands in
// between can still take part. The key is for the owner's eyes alone.

import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import path from 'node:path';
import { calendarMs } from '../base/clock.js';
import { issueCertificate, newKeyPair, pemOfKey } from '../base/issue-certificate.js';
import { listOf, numberOf, textOf, type Setting } from './settings.js';
import { addressOf } from './values.js';

const YEAR_MS = 365 * 86_400_000;
/** Clocks of others may be behind. */
const EARLY_MS = 60 * 60_000;

/** Where they lie, made if there are none. A pair of which one half is missing is made anew. */
export async function autoFiles(
  all: ReadonlyMap<string, Setting>, side: 'client' | 'peer',
): Promise<{ readonly cert: string; readonly key: string }> {
  const folder = path.join(textOf(all, 'data-dir'), 'fixtures', side);
  const [cert, key] = [path.join(folder, 'cert.pem'), path.join(folder, 'key.pem')];
  if (existsSync(cert) && existsSync(key)) return { cert, key };
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const keys = await newKeyPair();
  const now = calendarMs();
  const commonName = 'coterie, vouching for itself';
  const text = await issueCertificate({
    commonName, publicKey: keys.publicKey, issuer: { commonName, privateKey: keys.privateKey },
    hosts: hostsOf(all, side), usages: side === 'peer' ? ['server', 'client'] : ['server'],
    notBeforeMs: now - EARLY_MS, notAfterMs: now + numberOf(all, 'self-signed-cert-validity') * YEAR_MS,
  });
  for (const file of [cert, key]) rmSync(file, { force: true });
  writeFileSync(key, pemOfKey(keys.privateKey), { mode: 0o600, flag: 'wx' });
  writeFileSync(cert, text, { mode: 0o600, flag: 'wx' });
  return { cert, key };
}

/** Where it listens and what it advertises; where it listens everywhere, all addresses it has. */
function hostsOf(all: ReadonlyMap<string, Setting>, side: 'client' | 'peer'): readonly string[] {
  const flags = side === 'client'
    ? ['listen-client-urls', 'advertise-client-urls'] : ['listen-peer-urls', 'initial-advertise-peer-urls'];
  const hosts = flags.flatMap((flag) => listOf(all, flag)).map((url) => addressOf(url).host);
  const isAnywhere = hosts.some((host) => host === '0.0.0.0' || host === '::');
  const own = isAnywhere ? Object.values(networkInterfaces()).flatMap((found) => found ?? []).map(({ address }) => address) : [];
  return [...new Set(['localhost', ...hosts.filter((host) => host !== '0.0.0.0' && host !== '::'), ...own])];
}

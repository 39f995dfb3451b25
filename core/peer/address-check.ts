// Whether a certificate that names hosts or addresses is shown from one of them (etcd checks the same). Names are looked up
// forwards only: who owns an address says what it is called, so a name found backwards would let him choose his own.

import { lookup } from 'node:dns';
import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { NAMES_MAX } from './limits.js';

/** Tells the addresses of a name, none where there are none. */
export type Lookup = (name: string, done: (addresses: readonly string[]) => void) => void;

/** `done` once, from a later turn or from here: null, or why not. `known`: hosts at which members are reached. */
export function checkAddress(
  certificate: X509Certificate, from: string, known: readonly string[], done: (reason: string | null) => void,
  look: Lookup = systemLookup,
): void {
  const alternatives = certificate.subjectAltName ?? '';
  const hasAddresses = /(?:^|, )IP Address:/.test(alternatives);
  const names = [...alternatives.matchAll(/(?:^|, )DNS:([^,"*\s]+)(?=,|$)/g)].map((match) => match[1] ?? '');
  const hasNames = /(?:^|, )DNS:/.test(alternatives);
  const address = from.replace(/^::ffff:(?=\d+\.)/i, '');
  if (!hasAddresses && !hasNames) return done(null);
  if (hasAddresses && isIP(address) !== 0 && certificate.checkIP(address) !== undefined) return done(null);
  // One for *.example.org is for the members that are known to live there.
  const meant = known.filter((host) => {
    return host !== '' && isIP(host) === 0 && certificate.checkHost(host, { subject: 'never' }) !== undefined;
  });
  const candidates = [...new Set([...names, ...meant])].slice(0, NAMES_MAX);
  const reason = `its certificate is for ${alternatives.slice(0, 200)}, and none of these is ${address}`;
  lookNext(candidates, address, look, (isThere) => done(isThere ? null : reason));
}

function lookNext(names: readonly string[], address: string, look: Lookup, done: (isThere: boolean) => void): void {
  const [name, ...others] = names;
  if (name === undefined) return done(false);
  look(name, (addresses) => {
    if (addresses.includes(address)) done(true);
    else lookNext(others, address, look, done);
  });
}

function systemLookup(name: string, done: (addresses: readonly string[]) => void): void {
  lookup(name, { all: true }, (error, found) => done(error === null ? found.map(({ address }) => address) : []));
}

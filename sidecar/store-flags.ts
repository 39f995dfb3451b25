// How the sidecar and the proxy reach the store: the flags that both have, and the client made of them. Part of their
// composition roots. There is no flag for a password: everybody on the machine can read the words of a process.

import type { Command } from 'commander';
import { clientTlsFromFiles, connect, FlagFault, passwordFromFile, type Client } from '../core/index.js';

export interface StoreFlags {
  readonly cacert?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly insecureSkipTlsVerify?: true;
  readonly user?: string;
  readonly passwordFile?: string;
}

export function addStoreFlags(command: Command): Command {
  return command
    .option('--cacert <file>', 'whose certificates of the store are believed; default: those this machine trusts')
    .option('--cert <file>', 'certificate shown to the store')
    .option('--key <file>', 'the key of that certificate')
    .option('--insecure-skip-tls-verify', 'talk to whoever answers; for trying things out, never else')
    .option('--user <name>', 'who reads, where the store has users; or COTERIE_USER')
    .option('--password-file <file>', 'its first line is the password; or COTERIE_PASSWORD');
}

/** Throws a `FlagFault`; an `ApiError` is about the endpoints. */
export function connectStore(
  endpoints: string | readonly string[], flags: StoreFlags, env: Readonly<Record<string, string | undefined>>,
): Client {
  const { cacert, cert, key, insecureSkipTlsVerify = false } = flags;
  const tls = clientTlsFromFiles({ cacert, cert, key, insecureSkipVerify: insecureSkipTlsVerify });
  return connect(endpoints, { ...(tls === undefined ? {} : { tls }), ...loginOf(flags, env) });
}

function loginOf(
  flags: StoreFlags, env: Readonly<Record<string, string | undefined>>,
): { user?: string; password?: string } {
  const user = flags.user ?? env['COTERIE_USER'] ?? '';
  const file = flags.passwordFile;
  const password = file === undefined ? env['COTERIE_PASSWORD'] ?? '' : passwordFromFile('--password-file', file);
  if (user === '' && password === '' && file === undefined) return {};
  if (user === '') throw new FlagFault('a password, but nobody whose it is; name the user with --user');
  if (password === '') throw new FlagFault(`--user ${user} without a password; give --password-file, or COTERIE_PASSWORD`);
  return { user, password };
}

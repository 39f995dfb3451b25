// How a command reaches its servers: from the flags of global-flags.ts to a client's options, credentials included. A
// password is read from a file or asked for without being shown, and is never printed.

import type { RemoteOptions } from '../wire/remote-client.js';
import { connectionTls, passwordIn } from './connection-tls.js';
import { FlagValues, type CommandFlag } from './flags.js';
import { Refusal } from './refusal.js';
import type { Terminal } from './terminal.js';

/** etcd closes connections whose clients ask more often than every five seconds. */
const PING_MS_LEAST = 6_000;

/** `password` is that of `--user`, settled. */
export function remoteOptions(flags: FlagValues, password: string | null, terminal: Terminal): RemoteOptions {
  const user = userOf(flags);
  return {
    connectTimeoutMs: flags.milliseconds('dial-timeout', 2000),
    pingMs: Math.max(PING_MS_LEAST, flags.milliseconds('keepalive-time', PING_MS_LEAST)),
    pingTimeoutMs: flags.milliseconds('keepalive-timeout', 4000),
    ...connectionTls(flags, (line) => terminal.err(`${line}\n`)),
    ...(user === null || password === null ? {} : { user, password }),
  };
}

function userOf(flags: FlagValues): string | null {
  const word = flags.text('user');
  if (word === null || word === '') return null;
  return word.split(':', 1)[0] ?? null;
}

/** The password of `--user`; null where nobody is named. */
export async function settleCredentials(flags: FlagValues, terminal: Terminal): Promise<string | null> {
  const name = userOf(flags);
  const given = passwordGiven(flags);
  if (name === null) {
    if (given === null) return null;
    throw new Refusal('a password, but nobody whose it is', 'name the user with --user');
  }
  if (name === '') throw new Refusal('--user without a name', 'write --user NAME or --user NAME:PASSWORD');
  if (given !== null) return given;
  if (!terminal.isInteractive) {
    throw new Refusal(`--user ${name} without a password`, 'give --password-file, COTERIE_PASSWORD or --user NAME:PASSWORD');
  }
  return await terminal.secret(`Password of ${name}: `);
}

function passwordGiven(flags: FlagValues): string | null {
  const user = flags.text('user') ?? '';
  const colon = user.indexOf(':');
  const inUser = colon < 0 ? null : user.slice(colon + 1);
  const apart = flags.text('password');
  const file = flags.text('password-file');
  const ways = [inUser, apart, file].filter((way) => way !== null);
  if (ways.length > 1) {
    throw new Refusal('the password is given more than once', 'give it in --user, in --password or in --password-file');
  }
  return file === null ? inUser ?? apart : passwordIn(file, '--password-file');
}

/** Of the cluster that a mirror is made in. */
export const DESTINATION_FLAGS: readonly CommandFlag[] = [
  { name: 'dest-user', value: 'NAME[:PASSWORD]', help: 'who writes at the destination' },
  { name: 'dest-password', value: 'PASSWORD', help: 'of --dest-user' },
  { name: 'dest-cacert', value: 'FILE', help: 'whose certificates are believed at the destination' },
  { name: 'dest-cert', value: 'FILE', help: 'certificate shown there' },
  { name: 'dest-key', value: 'FILE', help: 'the key of that certificate' },
  { name: 'dest-insecure-transport', help: 'said for http at the destination; the address says it as well' },
];

export async function destinationOptions(flags: FlagValues, terminal: Terminal): Promise<RemoteOptions> {
  const theirs = new FlagValues((name) => {
    const word = ['user', 'password', 'cacert', 'cert', 'key'].includes(name) ? flags.text(`dest-${name}`) : null;
    return word ?? (['dial-timeout', 'keepalive-time', 'keepalive-timeout'].includes(name) ? flags.text(name) : null);
  });
  return remoteOptions(theirs, await settleCredentials(theirs, terminal), terminal);
}

/** Where to ask: `--endpoints`, or what a name service says of `--discovery-srv`. */
export async function settleEndpoints(flags: FlagValues): Promise<readonly string[]> {
  const domain = flags.text('discovery-srv');
  if (domain === null || domain === '') return flags.list('endpoints') ?? ['http://127.0.0.1:2379'];
  // Loaded by those alone who ask for it.
  const { discoverEndpoints } = await import('./discovery.js');
  const zone = { domain, serviceName: flags.text('discovery-srv-name') ?? '', servers: flags.list('dns-servers') ?? [] };
  return await discoverEndpoints(zone, !flags.isOff('insecure-discovery'));
}

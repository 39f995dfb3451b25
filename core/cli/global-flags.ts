// The flags that every command talking to a cluster has, in one table: etcdctl's, and ours. Light on purpose: the binary looks
// here before it loads anything else, because these may stand before the command (`coterie --endpoints … get k`).
//
// What counts for one of them, the first that says something: the flag, COTERIE_<NAME>, ETCDCTL_<NAME>, the context
// (contexts.ts), the default. etcdctl refuses a flag and its variable together; here the flag wins, as with coterie serve.

import type { CommandFlag } from './flags.js';

export const OUTPUT_FLAGS: readonly CommandFlag[] = [
  {
    name: 'write-out', value: 'FORMAT', short: 'w',
    help: 'simple, table, json, fields or protobuf, as etcdctl\'s; default simple',
    words: ['simple', 'table', 'json', 'fields', 'protobuf'],
  },
  { name: 'json', help: 'JSON of our own: keys and values as text, ids in hex' },
  { name: 'hex', help: 'keys and values as hex in simple output' },
];

export const CONNECTION_FLAGS: readonly CommandFlag[] = [
  {
    name: 'endpoints', value: 'URLS', repeated: true, help: 'where to ask, separated by commas; default http://127.0.0.1:2379',
  },
  { name: 'context', value: 'NAME', help: 'the saved endpoints and credentials of that name; default: the one in use' },
  { name: 'cacert', value: 'FILE', help: 'whose certificates of servers are believed; default: those this machine trusts' },
  { name: 'cert', value: 'FILE', help: 'certificate shown to servers that ask for one' },
  { name: 'key', value: 'FILE', help: 'the key of that certificate' },
  { name: 'insecure-skip-tls-verify', help: 'talk to whoever answers; for trying things out, never else' },
  { name: 'insecure-transport', help: 'taken for etcdctl\'s sake: http or https in an address says it' },
  {
    name: 'discovery-srv', value: 'DOMAIN', short: 'd',
    help: 'ask its SRV records where the servers are, instead of --endpoints',
  },
  { name: 'discovery-srv-name', value: 'NAME', help: 'of the service, behind a dash in those records' },
  { name: 'insecure-discovery', help: 'take records of servers without TLS (default); --insecure-discovery=false: only others' },
  { name: 'dns-servers', value: 'ADDRESSES', help: 'whom to ask for them; default: whom this machine asks' },
  { name: 'user', value: 'NAME[:PASSWORD]', help: 'who asks; without a password it is asked for' },
  { name: 'password', value: 'PASSWORD', help: 'of --user; better in a file, or asked for' },
  { name: 'password-file', value: 'FILE', help: 'its first line is the password of --user' },
  { name: 'command-timeout', value: 'DURATION', help: 'how long one call may take; default 5s' },
  { name: 'timeout', value: 'DURATION', help: 'the same as --command-timeout' },
  { name: 'dial-timeout', value: 'DURATION', help: 'how long to look for a server; default 2s' },
  { name: 'keepalive-time', value: 'DURATION', help: 'how often a connection with open calls is tried; at least 6s' },
  { name: 'keepalive-timeout', value: 'DURATION', help: 'how long such a trial may take; default 4s' },
  { name: 'debug', help: 'say on standard error what is asked of whom, and as whom' },
];

/** Those of commands that talk to nobody are the first three only. */
export const GLOBAL_FLAGS: readonly CommandFlag[] = [...OUTPUT_FLAGS, ...CONNECTION_FLAGS];

const PREFIXES: readonly string[] = ['COTERIE', 'ETCDCTL'];

export function fromEnvironment(env: Readonly<Record<string, string | undefined>>, name: string): string | null {
  const variable = name.toUpperCase().replaceAll('-', '_');
  for (const prefix of PREFIXES) {
    const found = env[`${prefix}_${variable}`] ?? '';
    if (found !== '') return found;
  }
  return null;
}

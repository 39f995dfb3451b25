// DNS instead of a list: who the members are, and where clients ask, from SRV records with etcd's names (contract 14.3).
//
//   _etcd-server-ssl._tcp.DOMAIN   members met with https      _etcd-client-ssl._tcp.DOMAIN   endpoints with https
//   _etcd-server._tcp.DOMAIN       members met with http       _etcd-client._tcp.DOMAIN       endpoints with http
//
// What DNS says is believed no more than what was typed: an https URL from it is held to the same certificates, and an entry
// that leads to this very member is this member, by whatever name, never another one (CVE-2020-15114, CVE-2020-15136).

import { Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { Refusal } from './refusal.js';
import { addressOf } from './values.js';

export interface Zone {
  readonly domain: string;
  /** Follows the name of the service behind a dash; may be empty. */
  readonly serviceName: string;
  /** Whom to ask in place of the system's servers, as `127.0.0.1:5353`; empty: those. */
  readonly servers: readonly string[];
}

const ENTRIES_MAX = 1000;
const TIMEOUT_MS = 2000;
const TRIES = 3;

interface Entry {
  readonly url: string;
  readonly host: string;
  readonly port: number;
}

/** The members by name: this one as `name`, the others as numbers, as etcd names them. */
export async function discoverMembers(
  zone: Zone, own: { readonly name: string; readonly peerUrls: readonly string[] },
): Promise<ReadonlyMap<string, readonly string[]>> {
  const resolver = resolverOf(zone);
  const entries = await lookUp(resolver, zone, 'etcd-server', { withPlain: true });
  const ours = new Set<string>();
  for (const url of own.peerUrls) {
    const { host, port } = addressOf(url);
    for (const address of await addressesOf(resolver, host)) ours.add(`${address} ${port}`);
  }
  const members = new Map<string, string[]>();
  let number = 0;
  for (const { url, host, port } of entries) {
    const isOwn = own.peerUrls.some((candidate) => candidate.replace(/\/$/, '') === url)
      || (await addressesOf(resolver, host)).some((address) => ours.has(`${address} ${port}`));
    // By the URL in DNS: that is the one from which the others reckon this member's id.
    if (isOwn) members.set(own.name, [...(members.get(own.name) ?? []), url]);
    else members.set(String(number++), [url]);
  }
  if (members.has(own.name)) return members;
  const named = entries.map(({ url }) => url).join(', ');
  const problem = `--discovery-srv ${zone.domain} names ${named}, and none of them is this member`;
  throw new Refusal(problem, `add ${own.peerUrls.join(' or ')} to the records, or correct --initial-advertise-peer-urls`, {
    exitCode: 1,
  });
}

/** For a client: `isInsecure` false leaves endpoints without TLS out. In the order DNS wants them tried. */
export async function discoverEndpoints(zone: Zone, isInsecure: boolean): Promise<readonly string[]> {
  const entries = await lookUp(resolverOf(zone), zone, 'etcd-client', { withPlain: isInsecure });
  return entries.map(({ url }) => url);
}

function resolverOf({ servers }: Zone): Resolver {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES });
  try {
    if (servers.length > 0) resolver.setServers(servers);
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    throw new Refusal(`--dns-servers ${servers.join(',')}: ${said}`, 'give addresses such as 10.0.0.53 or 127.0.0.1:8600', {
      cause: error,
    });
  }
  return resolver;
}

async function lookUp(
  resolver: Resolver, { domain, serviceName }: Zone, service: string, { withPlain }: { readonly withPlain: boolean },
): Promise<readonly Entry[]> {
  const suffix = serviceName === '' ? '' : `-${serviceName}`;
  const kinds = [['https', `${service}-ssl`], ...(withPlain ? [['http', service] as const] : [])] as const;
  const faults: string[] = [];
  const entries: Entry[] = [];
  for (const [scheme, word] of kinds) {
    const name = `_${word}${suffix}._tcp.${domain.replace(/\.$/, '')}`;
    try {
      const records = await resolver.resolveSrv(name);
      records.sort((a, b) => a.priority - b.priority || b.weight - a.weight || (a.name < b.name ? -1 : 1));
      for (const { name: target, port } of records.slice(0, ENTRIES_MAX)) {
        const host = target.replace(/\.$/, '');
        // Where there is a dot alone, the service is decidedly not offered (RFC 2782).
        if (host !== '') entries.push({ url: `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`, host, port });
      }
    } catch (error) {
      faults.push(`${name}: ${error instanceof Error && 'code' in error ? String(error.code) : String(error)}`);
    }
  }
  if (entries.length > 0) return entries;
  const problem = `--discovery-srv ${domain} leads to nobody${faults.length === 0 ? '' : ` (${faults.join('; ')})`}`;
  throw new Refusal(problem, 'look at the records with: dig SRV and the name shown', { exitCode: 1 });
}

/** None when nobody knows the name: then it is nobody's address, this member's neither. */
async function addressesOf(resolver: Resolver, host: string): Promise<readonly string[]> {
  if (isIP(host) !== 0) return [host];
  const found = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
  return found.flatMap((outcome) => (outcome.status === 'fulfilled' ? outcome.value : []));
}

// Where the proxy may connect to. The list of instances comes from the registry, so whoever may register could point the
// proxy at anything it can reach: itself, the machine's own services, the cloud's metadata address. Therefore an
// allow-list of ports and networks. It is checked when an instance enters the list, and for host names again on the
// resolved address at connect time, because a name can change what it means. Connects nowhere itself.

import { lookup } from 'node:dns';
import type { LookupAddress, LookupOptions } from 'node:dns';
import { BlockList, isIP } from 'node:net';

export interface TargetPolicy {
  /** Inclusive ranges. Absent: every port from 1 to 65535. */
  readonly ports?: readonly { readonly from: number; readonly to: number }[];
  /**
   * Networks in CIDR form ("10.0.0.0/8", "127.0.0.1/32"). Given: only these, and what they name is allowed even if it is
   * on the list of the never-by-default. Absent: everything but loopback, link-local, metadata, multicast, unspecified.
   */
  readonly networks?: readonly string[];
}

/** Same shape as `net`'s `lookup` option: an agent given this one cannot be led out of the allowed networks by DNS. */
export type Lookup = (
  hostname: string,
  options: LookupOptions,
  done: (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void,
) => void;

export interface Targets {
  /** Null when allowed, else the reason, which names the bad value. */
  refuse(address: string, port: number): string | null;
  readonly lookup: Lookup;
}

const NEVER_BY_DEFAULT = [
  '0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '255.255.255.255/32', '100.100.100.200/32',
  '168.63.129.16/32', '192.0.0.192/32',
  '::/128', '::1/128', 'fe80::/10', 'ff00::/8', 'fd00:ec2::254/128', 'fd20:ce::254/128', 'fd00:c1::a9fe:a9fe/128',
  // The same IPv4 addresses through a NAT64 gateway (RFC 6052).
  '64:ff9b::0.0.0.0/104', '64:ff9b::127.0.0.0/104', '64:ff9b::169.254.0.0/112', '64:ff9b::224.0.0.0/100',
  '64:ff9b::255.255.255.255/128', '64:ff9b::100.100.100.200/128', '64:ff9b::168.63.129.16/128', '64:ff9b::192.0.0.192/128',
] as const;

const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$/i;

/** Throws on a network or port range that cannot be understood: a rule that is silently dropped would allow everything. */
export function createTargets(policy: TargetPolicy = {}): Targets {
  const named = policy.networks === undefined ? null : toBlockList(policy.networks);
  const never = toBlockList(NEVER_BY_DEFAULT);
  const ports = policy.ports ?? [{ from: 1, to: 65_535 }];
  for (const { from, to } of ports) {
    if (isPort(from) && isPort(to) && from <= to) continue;
    throw new RangeError(`bad port range ${from}-${to}: expected 1 <= from <= to <= 65535`);
  }

  const refuseIp = (ip: string): string | null => {
    const family = isIP(ip) === 6 ? 'ipv6' : 'ipv4';
    if (named !== null) return named.check(ip, family) ? null : `address ${ip} is outside the allowed networks`;
    if (!never.check(ip, family)) return null;
    return `address ${ip} is loopback, link-local or otherwise special; name its network to allow it`;
  };

  return {
    refuse(address, port) {
      if (!isPort(port) || !ports.some(({ from, to }) => port >= from && port <= to)) return `port ${port} is not allowed`;
      if (isIP(address) !== 0) return refuseIp(address);
      // The C library and browsers read "0x7f.1" and "2130706433" as addresses; as names they would slip past the check.
      if (!HOST_NAME.test(address) || /^[0-9.]+$|^0x/i.test(address)) {
        return `address ${JSON.stringify(address)} is neither an IP address nor a host name`;
      }
      return null;
    },
    lookup(hostname, options, done) {
      lookup(hostname, { ...options, all: true }, (error, addresses) => {
        if (error !== null) return done(error, []);
        const allowed = addresses.filter((one) => refuseIp(one.address) === null);
        const first = allowed[0];
        if (first === undefined) {
          const found = addresses.map((one) => one.address).join(', ');
          return done(new Error(`${hostname} resolves to ${found}, outside the allowed networks`), []);
        }
        return options.all === true ? done(null, allowed) : done(null, first.address, first.family);
      });
    },
  };
}

/** The networks as a list to check against; also used for `trustedProxies`. */
export function toBlockList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits = ''] = network.split('/');
    const family = isIP(address);
    const most = family === 6 ? 128 : 32;
    const length = bits === '' && !network.includes('/') ? most : Number(bits);
    if (family === 0 || (network.includes('/') && !/^\d{1,3}$/.test(bits)) || length > most) {
      throw new RangeError(`bad network ${JSON.stringify(network)}: expected CIDR form, for instance 10.0.0.0/8 or fd00::/8`);
    }
    list.addSubnet(address, length, family === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

/** Whether `ip` lies in one of the networks; false for what is no address. */
export function isInside(list: BlockList, ip: string): boolean {
  const family = isIP(ip);
  return family !== 0 && list.check(ip, family === 6 ? 'ipv6' : 'ipv4');
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}

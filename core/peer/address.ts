// Where a member listens or is dialled: `http://` is plain, `https://` TLS, as in etcd.

export interface Address {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
}

/** Null: not an address of a member. */
export function addressOf(url: string): Address | null {
  if (!URL.canParse(url)) return null;
  const { protocol, hostname, port } = new URL(url);
  if ((protocol !== 'http:' && protocol !== 'https:') || hostname === '') return null;
  const isTls = protocol === 'https:';
  // A URL leaves out the port that its scheme implies.
  const usual = isTls ? 443 : 80;
  return { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? usual : Number(port), isTls };
}

// What keeps a page in somebody's browser from talking to this server as if it were that person's program (contract 11.5;
// CVE-2018-1098, CVE-2018-1099, CVE-2018-5702). With etcd's defaults, `*`, every origin and every name is let in; no cookie
// speaks for anybody but on a WebSocket of our own page (websocket.ts). Once --cors names origins, a request another page sends
// is refused, not only unreadable for it, which is more than etcd does: a write has happened by the time its answer is withheld.

import type { NextFunction, Request, RequestHandler, Response } from 'express';
import { sendText } from './health-routes.js';

export interface CrossSiteRules {
  /** Origins such as `https://console.example:8080`; null: any. */
  readonly origins: readonly string[] | null;
  /** Names under which this server may be called without TLS; null: any. */
  readonly hosts: readonly string[] | null;
}

export const ANY_SITE: CrossSiteRules = { origins: null, hosts: null };

/** What a page that may ask is told, besides its origin. */
export const ACCESS_FIELDS: readonly (readonly [name: string, value: string])[] = [
  ['Access-Control-Allow-Headers', 'accept, content-type, authorization'],
  ['Access-Control-Allow-Methods', 'POST, GET, OPTIONS, PUT, DELETE'],
];

export function crossSiteGuard(rules: CrossSiteRules): RequestHandler {
  const { origins } = rules;
  return (request: Request, response: Response, next: NextFunction): void => {
    const asked = { host: request.get('host') ?? '', origin: request.get('origin'), isSecure: request.secure };
    const fault = siteFault(rules, asked);
    // An origin that is not let in is not told so when it asks beforehand: it is not given the headers.
    const isAnswered = fault === null || (fault.status === 403 && request.method === 'OPTIONS');
    if (!isAnswered) return sendText(response, fault.status, fault.text);
    const allowed = origins === null ? '*' : asked.origin;
    if (allowed !== undefined && (origins === null || origins.includes(allowed))) {
      for (const [name, value] of ACCESS_FIELDS) response.setHeader(name, value);
      response.setHeader('Access-Control-Allow-Origin', allowed);
    }
    if (request.method === 'OPTIONS') response.status(200).end();
    else next();
  };
}

/** What a request shows of the page and the name it comes by. */
export interface Site {
  readonly host: string;
  readonly origin: string | undefined;
  readonly isSecure: boolean;
}

/** Why a request is not served; null: it is. */
export function siteFault({ origins, hosts }: CrossSiteRules, site: Site): { status: number; text: string } | null {
  const host = nameIn(site.host);
  // What comes with TLS was dialled under a name that the certificate proves.
  if (hosts !== null && !site.isSecure && !hosts.includes(host)) return { status: 421, text: misdirected(host) };
  if (origins === null || site.origin === undefined || origins.includes(site.origin) || isOwn(site)) return null;
  return { status: 403, text: 'the origin of this request is not among those of --cors' };
}

/** A page that this very server sent, as far as its name says. */
export function isOwn({ host, origin, isSecure }: Site): boolean {
  return origin === `${isSecure ? 'https' : 'http'}://${host}`;
}

/** Without the port, and without the brackets of an IPv6 address, as etcd compares it. */
function nameIn(host: string): string {
  return /^\[(.*)\](?::\d+)?$/.exec(host)?.[1] ?? host.replace(/:\d*$/, '');
}

/** etcd's words, which its clients' users know to search for. */
function misdirected(host: string): string {
  return `
etcd received your request, but the Host header was unrecognized.

To fix this, choose one of the following options:
- Enable TLS, then any HTTPS request will be allowed.
- Add the hostname you want to use to the whitelist in settings.
  - e.g. etcd --host-whitelist ${JSON.stringify(host)}

This requirement has been added to help prevent "DNS Rebinding" attacks (CVE-2018-5702).
`;
}

// What may cross the proxy in a message head, and in what form. Pure: heads in, heads out.
//
// Three rules. A request whose length could be read in two ways is refused, never repaired (request smuggling lives in
// repairs). What concerns one connection only stays on that connection (RFC 9110 §7.6.1). What a client says about who it
// is (X-Forwarded-*, Forwarded) is dropped unless a trusted proxy says it.

import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';

/** The part of a request's head that these rules look at. */
export interface RequestHead {
  readonly method: string;
  /** As it stands on the request line. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

export interface Peer {
  readonly address: string;
  readonly secure: boolean;
  /** The port the client connected to. */
  readonly port: number;
  readonly trusted: boolean;
}

/** How the body of a request is delimited. */
export type Framing = 'none' | 'length' | 'chunked';

const ONE_HOP = [
  'connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization', 'te', 'trailer',
  'transfer-encoding', 'upgrade',
] as const;

// `Connection: content-length` must not strip what frames the message or says whom it is for.
const NOT_ONE_HOP: ReadonlySet<string> = new Set([
  'host', 'content-length', 'content-type', 'cookie', 'authorization', 'cache-control',
]);

const ABOUT_THE_CLIENT = [
  'forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-proto', 'x-forwarded-server', 'x-real-ip',
] as const;

const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE']);

/** The framing, or why the request is refused. `rawHeaders` is the head as it came, where nothing has been joined. */
export function readFraming(head: RequestHead, rawHeaders: readonly string[]): Framing | { readonly refused: string } {
  const { 'content-length': length, 'transfer-encoding': encoding } = head.headers;
  if (length !== undefined && encoding !== undefined) return { refused: 'both Content-Length and Transfer-Encoding are present' };
  const names = rawHeaders.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase());
  for (const name of ['content-length', 'transfer-encoding', 'host']) {
    if (names.indexOf(name) !== names.lastIndexOf(name)) return { refused: `more than one ${name} header` };
  }
  if (encoding !== undefined) {
    if (encoding.trim().toLowerCase() === 'chunked') return 'chunked';
    return { refused: `unknown Transfer-Encoding ${JSON.stringify(encoding)}` };
  }
  if (length === undefined) return 'none';
  if (!/^\d{1,15}$/.test(length)) return { refused: `bad Content-Length ${JSON.stringify(length)}` };
  return Number(length) === 0 ? 'none' : 'length';
}

/** The path to ask the instance for: the origin form, also of an absolute one; null for what is no path (RFC 9112 §3.2). */
export function readPath(url: string): string | null {
  if (url.startsWith('/') || url === '*') return url;
  const absolute = /^https?:\/\/[^/?#]+(?<path>[/?].*)?$/i.exec(url);
  if (absolute === null) return null;
  const path = absolute.groups?.['path'] ?? '/';
  return path.startsWith('?') ? `/${path}` : path;
}

/** Sending it twice has the effect of sending it once, and there is no body that would have to be kept (RFC 9110 §9.2.2). */
export function isReplayable(method: string, framing: Framing): boolean {
  return framing === 'none' && IDEMPOTENT.has(method);
}

/** The head for the instance. The body's framing is restated from what was understood, not copied from what was said. */
export function requestHeaders(head: RequestHead, framing: Framing, peer: Peer): IncomingHttpHeaders {
  const headers = withoutOneHop(head.headers);
  // The server has answered "100 Continue" by the time the body is read; a second expectation would wait for nobody.
  delete headers['expect'];
  if (framing === 'chunked') headers['transfer-encoding'] = 'chunked';
  const before = text(headers['x-forwarded-for']);
  if (!peer.trusted) for (const name of ABOUT_THE_CLIENT) delete headers[name];
  headers['x-forwarded-for'] = peer.trusted && before !== '' ? `${before}, ${peer.address}` : peer.address;
  headers['x-forwarded-proto'] ??= peer.secure ? 'https' : 'http';
  headers['x-forwarded-port'] ??= String(peer.port);
  if (head.headers.host !== undefined) headers['x-forwarded-host'] ??= head.headers.host;
  return headers;
}

/** The same for an upgrade to WebSocket, whose two connection headers are the proxy's own on either side. */
export function upgradeHeaders(head: RequestHead, peer: Peer): IncomingHttpHeaders {
  return { ...requestHeaders(head, 'none', peer), connection: 'Upgrade', upgrade: 'websocket' };
}

/** The head for the client. Node frames the body itself. */
export function responseHeaders(headers: IncomingHttpHeaders): IncomingHttpHeaders & OutgoingHttpHeaders {
  return withoutOneHop(headers);
}

function withoutOneHop(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const kept: IncomingHttpHeaders = { ...headers };
  for (const token of text(headers.connection).split(',')) {
    const name = token.trim().toLowerCase();
    if (!NOT_ONE_HOP.has(name)) delete kept[name];
  }
  for (const name of ONE_HOP) delete kept[name];
  return kept;
}

function text(value: string | string[] | undefined): string {
  return Array.isArray(value) ? value.join(', ') : (value ?? '');
}

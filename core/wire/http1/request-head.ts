// The head of an HTTP/1.1 request (RFC 9112), where it is one that the short way serves: POST to a plain call of the API, with a
// Content-Length. Strict: whatever is doubtful, unusual or somebody else's to judge (folded lines, bare line ends, repeated
// fields that matter, Transfer-Encoding, Expect, Upgrade) is not read here but by Node's server.

import type { Route } from '../http-gateway.js';
import { BODY_BYTES_MAX } from './limits.js';

export interface RequestHead {
  readonly route: Route;
  readonly bodyBytes: number;
  /** The caller wants no more than this of its connection. */
  readonly isLast: boolean;
  readonly fields: KnownFields;
}

/** What is looked at of the fields; undefined: not sent. */
export interface KnownFields {
  readonly host: string;
  readonly origin: string | undefined;
  readonly authorization: string | undefined;
  readonly metadataAuthorization: string | undefined;
  readonly metadataToken: string | undefined;
  readonly hasLeader: string | undefined;
}

const METHOD = 'POST ';
const VERSION = ' HTTP/1.1';
/** A field's name is a token. */
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** What may stand in its value: visible characters, space, and what is beyond ASCII. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const LENGTH = /^(?:0|[1-9]\d{0,8})$/;

/** These are looked at; a second of one kind is somebody else's to judge. */
const KNOWN: ReadonlySet<string> = new Set([
  'host', 'content-length', 'connection', 'origin', 'authorization', 'grpc-metadata-authorization', 'grpc-metadata-token',
  'grpc-metadata-hasleader',
]);
/** Requests with these are not for the short way. */
const FOREIGN: ReadonlySet<string> = new Set([
  'transfer-encoding', 'expect', 'upgrade', 'te', 'trailer', 'keep-alive', 'proxy-connection', 'http2-settings',
]);

/** `text`: all bytes up to the empty line, as Latin-1. Null: not for the short way. */
export function readHead(text: string, routeAt: (path: string) => Route | null): RequestHead | null {
  const [first = '', ...lines] = text.split('\r\n');
  if (!first.startsWith(METHOD) || !first.endsWith(VERSION)) return null;
  const route = routeAt(first.slice(METHOD.length, -VERSION.length));
  if (route === null || route.method.kind !== 'unary' || route.method.waits === true) return null;
  const fields = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon)).toLowerCase();
    const value = line.slice(colon + 1);
    if (!VALUE.test(value) || !NAME.test(name) || FOREIGN.has(name)) return null;
    if (!KNOWN.has(name)) continue;
    if (fields.has(name)) return null;
    fields.set(name, unpadded(value));
  }
  const host = fields.get('host');
  const length = fields.get('content-length') ?? '';
  if (host === undefined || !LENGTH.test(length) || Number(length) > BODY_BYTES_MAX) return null;
  const connection = (fields.get('connection') ?? 'keep-alive').toLowerCase();
  if (connection !== 'keep-alive' && connection !== 'close') return null;
  return {
    route,
    bodyBytes: Number(length),
    isLast: connection === 'close',
    fields: {
      host,
      origin: fields.get('origin'),
      authorization: fields.get('authorization'),
      metadataAuthorization: fields.get('grpc-metadata-authorization'),
      metadataToken: fields.get('grpc-metadata-token'),
      hasLeader: fields.get('grpc-metadata-hasleader'),
    },
  };
}

/** Space around a value is not its own. No pattern, which would look at each of many spaces again and again. */
function unpadded(value: string): string {
  let [from, to] = [0, value.length];
  while (from < to && isSpace(value.charCodeAt(from))) from += 1;
  while (from < to && isSpace(value.charCodeAt(to - 1))) to -= 1;
  return value.slice(from, to);
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/** Whether these first bytes may become such a head. */
export function mayBeHead(bytes: Buffer): boolean {
  const known = Math.min(bytes.length, OPENING.length);
  return bytes.compare(OPENING, 0, known, 0, known) === 0;
}

const OPENING = Buffer.from(`${METHOD}/v3`);

// What the header fields of one request say, as far as gRPC has a use for it, or else as it is; whether they are well formed
// (RFC 9113, section 8). Of gRPC the authority is not looked at: old Go clients send a whole url there, and etcd takes it.

import type { HeaderSink } from './header-decoder.js';
import { OF_A_CONNECTION } from './protocol.js';

export interface RequestHead {
  readonly method: string;
  readonly path: string;
  readonly contentType: string;
  /** As sent; empty: none. */
  readonly timeout: string;
  /** Of compressed messages. */
  readonly encoding: string;
  /** -1: not said. */
  readonly contentLength: number;
  readonly token: string | undefined;
  readonly authorization: string | undefined;
  readonly hasLeader: boolean;
  readonly clientVersion: string | null;
  /** Of what is no gRPC; null: it is. */
  readonly plain: PlainHead | null;
}

/** What HTTP has to know beyond that. */
export interface PlainHead {
  /** Empty: not said. */
  readonly authority: string;
  /** Name and value in turn, as they came. */
  readonly fields: readonly string[];
}

/** Collects one block. `head` is null when the fields are not those of a request. */
export class HeadReader implements HeaderSink {
  #method: string | null = null;
  #path: string | null = null;
  #scheme: string | null = null;
  #authority: string | null = null;
  readonly #fields: string[] = [];
  #contentType = '';
  #timeout = '';
  #encoding = '';
  #contentLength = -1;
  #token: string | undefined = undefined;
  #authorization: string | undefined = undefined;
  #hasLeader = false;
  #clientVersion: string | null = null;
  #isMalformed = false;
  #isPastPseudo = false;

  onField(name: string, value: string): void {
    if (name.charCodeAt(0) === COLON) return this.#onPseudo(name, value);
    this.#isPastPseudo = true;
    this.#fields.push(name, value);
    switch (name) {
      case 'content-type':
        this.#contentType = value;
        break;
      case 'te':
        if (value !== 'trailers') this.#isMalformed = true;
        break;
      case 'grpc-timeout':
        this.#timeout = value;
        break;
      case 'grpc-encoding':
        this.#encoding = value;
        break;
      // Of several, the first counts, as Go reads them.
      case 'token':
        this.#token ??= value;
        break;
      case 'authorization':
        this.#authorization ??= value;
        break;
      case 'hasleader':
        this.#hasLeader = value === 'true';
        break;
      case 'client-api-version':
        this.#clientVersion ??= value;
        break;
      default:
        this.#onOther(name, value);
    }
    if (!isValue(value)) this.#isMalformed = true;
  }

  get head(): RequestHead | null {
    if (this.#isMalformed || this.#method === null || this.#path === null || this.#scheme === null) return null;
    if (this.#path === '') return null;
    return {
      method: this.#method,
      path: this.#path,
      contentType: this.#contentType,
      timeout: this.#timeout,
      encoding: this.#encoding,
      contentLength: this.#contentLength,
      token: this.#token,
      authorization: this.#authorization,
      hasLeader: this.#hasLeader,
      clientVersion: this.#clientVersion,
      plain: GRPC.test(this.#contentType) ? null : { authority: this.#authority ?? '', fields: this.#fields },
    };
  }

  #onPseudo(name: string, value: string): void {
    if (this.#isPastPseudo || !isValue(value)) this.#isMalformed = true;
    if (name === ':method' && this.#method === null) this.#method = value;
    else if (name === ':path' && this.#path === null) this.#path = value;
    else if (name === ':scheme' && this.#scheme === null) this.#scheme = value;
    else if (name === ':authority' && this.#authority === null) this.#authority = value;
    else this.#isMalformed = true;
  }

  #onOther(name: string, value: string): void {
    if (name === 'content-length') {
      const length = /^\d{1,15}$/.test(value) ? Number(value) : null;
      if (length === null || (this.#contentLength !== -1 && this.#contentLength !== length)) this.#isMalformed = true;
      else this.#contentLength = length;
    } else if (OF_A_CONNECTION.has(name) || !isName(name)) {
      this.#isMalformed = true;
    }
  }
}

/** Trailers of a request: nothing in them is of use, but they may be malformed. */
export class TrailerReader implements HeaderSink {
  isMalformed = false;

  onField(name: string, value: string): void {
    if (!isName(name) || OF_A_CONNECTION.has(name) || !isValue(value)) this.isMalformed = true;
  }
}

const COLON = 0x3a;
/** With or without the name of an encoding of messages, and with parameters. */
const GRPC = /^application\/grpc(?:[+;]|$)/;

/** Section 8.2.1: no upper case, no colon, no space or below, nothing beyond ASCII. */
const NAME = /^[!-9;-@[-~]+$/;
const VALUE_FAULT = /[\0\r\n]|^[ \t]|[ \t]$/;

function isName(name: string): boolean {
  return NAME.test(name);
}

function isValue(value: string): boolean {
  return !VALUE_FAULT.test(value);
}

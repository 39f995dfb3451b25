// One stream of bytes over the gRPC library, for the watches or the keep-alives of a remote client: opened at whichever
// endpoint is ready, with the token of whoever it is opened for.

import { Metadata, type ClientDuplexStream } from '@grpc/grpc-js';
import { view } from '../base/bytes.js';
import { ApiError, isApiError } from '../errors.js';
import { failureOf } from './remote-call.js';
import type { Link, Links } from './remote-links.js';
import { RemoteLogin } from './remote-login.js';
import type { ByteStream, StreamHandlers } from './remote-stream.js';

/** A client's own login; or the token of whoever it asks for; or null: nobody's. */
export type Identity = RemoteLogin | string | null;

/** The library would have messages; here they are bytes both ways. */
export function same(bytes: Buffer): Buffer {
  return bytes;
}

/** Plain bytes over the same memory: what a caller gets must not be a Buffer in one home and an array in another. */
export function plain(bytes: Buffer): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

type GrpcStream = ClientDuplexStream<Buffer, Buffer>;

export class RemoteStream implements ByteStream {
  readonly #links: Links;
  readonly #path: string;
  readonly #handlers: StreamHandlers;
  readonly #onDone: () => void;
  readonly #identity: Identity;
  /** What it was opened with. */
  #token: string | null = null;
  #link: Link | null = null;
  #stream: GrpcStream | null = null;
  #queue: Uint8Array[] = [];
  #done = false;
  readonly #giveUp: () => void;

  constructor(links: Links, path: string, identity: Identity, handlers: StreamHandlers, onDone: () => void) {
    this.#links = links;
    this.#path = path;
    this.#handlers = handlers;
    this.#onDone = onDone;
    this.#identity = identity;
    this.#giveUp = links.whenReady(Infinity, (error, link) => {
      if (link === null) this.#end(error);
      else this.#introduce(link);
    });
  }

  send(bytes: Uint8Array): void {
    if (this.#stream === null) this.#queue.push(bytes);
    else this.#stream.write(view(bytes));
  }

  cancel(): void {
    if (this.#done) return;
    this.#done = true;
    this.#onDone();
    this.#giveUp();
    this.#stream?.cancel();
  }

  forsake(): void {
    if (this.#link !== null) this.#links.suspect(this.#link);
    this.cancel();
  }

  disown(): boolean {
    if (!(this.#identity instanceof RemoteLogin)) return false;
    this.#identity.spoil(this.#token);
    return true;
  }

  #introduce(link: Link): void {
    this.#link = link;
    const identity = this.#identity;
    if (!(identity instanceof RemoteLogin)) return this.#start(link, identity);
    identity.get().then(
      (token) => this.#start(link, token),
      (error: unknown) => this.#end(isApiError(error) ? error : new ApiError('internal', { cause: error })),
    );
  }

  #start(link: Link, token: string | null): void {
    if (this.#done) return;
    this.#token = token;
    // A member that has lost its leader ends the stream, so that it is opened at one that has not (contract 1.3).
    const metadata = new Metadata();
    metadata.set('hasleader', 'true');
    if (token !== null) metadata.set('token', token);
    const stream: GrpcStream = link.client.makeBidiStreamRequest(this.#path, same, same, metadata);
    this.#stream = stream;
    stream.on('metadata', (headers: Metadata) => {
      if (!this.#done) this.#handlers.onOpen(headers.get('coterie-version').length > 0);
    });
    stream.on('data', (bytes: Buffer) => this.#onMessage(bytes));
    stream.on('error', (error: Error & { code?: number; details?: string }) => {
      const failure = failureOf(error);
      if (isApiError(failure, 'connection_lost') || isApiError(failure, 'no_leader')) this.#links.suspect(link);
      this.#end(failure);
    });
    stream.on('end', () => this.#end(new ApiError('connection_lost', { detail: 'the server ended the stream' })));
    for (const bytes of this.#queue) stream.write(view(bytes));
    this.#queue = [];
  }

  #onMessage(bytes: Buffer): void {
    if (this.#done) return;
    try {
      this.#handlers.onMessage(plain(bytes));
    } catch (cause) {
      this.#stream?.cancel();
      this.#end(new ApiError('internal', { detail: 'the answer cannot be read', cause }));
    }
  }

  #end(error: ApiError): void {
    if (this.#done) return;
    this.#done = true;
    this.#onDone();
    this.#handlers.onEnd(error);
  }
}

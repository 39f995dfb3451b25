// Who the certificates of callers say they are, where certificates name users (etcd: --client-cert-auth). A call is known by
// the address it comes from, because that is what the gRPC library tells of its connection. Two connections from the same
// address and port, to two ports of ours, cannot be told apart: then neither has a name.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Auth } from '../client.js';

interface Connection {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

/** In etcd's words (contract 8.2). */
const NOT_BY_GATEWAY = 'CommonName of client sending a request against gateway will be ignored and not used as expected';

export class NamedCallers {
  readonly #names = new Map<string, (string | null)[]>();
  readonly #bySocket = new WeakMap<Duplex, string>();

  /** Every connection of the port, with TLS or without, is told of before its first call; `socket` carries the calls. */
  add(socket: Duplex & Connection, name: string | null): void {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`;
    const names = this.#names.get(peer) ?? [];
    names.push(name);
    this.#names.set(peer, names);
    if (name !== null) this.#bySocket.set(socket, name);
    socket.on('close', () => {
      names.splice(names.indexOf(name), 1);
      if (names.length === 0 && this.#names.get(peer) === names) this.#names.delete(peer);
    });
  }

  /** `end` carries a request of HTTP that came on `socket`. */
  carry(end: Duplex, socket: Duplex): void {
    const name = this.#bySocket.get(socket);
    if (name !== undefined) this.#bySocket.set(end, name);
  }

  /** `peer`: address and port of the other side. */
  nameOf(peer: string): string | null {
    const names = this.#names.get(peer);
    return names?.length === 1 ? names[0] ?? null : null;
  }

  /**
   * The gateway's callers have no name: what stands between them and us may show one certificate for all. etcd tells those
   * who may expect otherwise. True: this one was told.
   */
  async refuse(request: IncomingMessage, response: ServerResponse, backend: Pick<Auth, 'identify'>): Promise<boolean> {
    if (!/^\/v3(?:beta)?\//.test(request.url ?? '') || !this.#bySocket.has(request.socket)) return false;
    // As this member knows it, as in etcd: a majority would be asked once more for each call, and be waited for without one.
    const isGuarded = (await backend.identify({ token: null, certificateName: null })) !== null;
    if (!isGuarded) return false;
    const body = `${NOT_BY_GATEWAY}\n`;
    response.writeHead(400, {
      'Content-Type': 'text/plain; charset=utf-8', 'X-Content-Type-Options': 'nosniff', 'Content-Length': body.length,
    });
    response.end(body);
    return true;
  }
}

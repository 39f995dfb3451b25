// The connections that take the short way through HTTP/1: where they begin, and how they end with the server.

import type { Socket } from 'node:net';
import { AnswerHeads } from './answer-heads.js';
import { HttpConnection, type ConnectionDoors } from './connection.js';
import { mayBeHead } from './request-head.js';

export type DoorOptions = Omit<ConnectionDoors, 'heads' | 'forget'>;

export class HttpDoor {
  readonly #doors: ConnectionDoors;
  readonly #connections = new Set<HttpConnection>();

  constructor(options: DoorOptions) {
    this.#doors = {
      ...options,
      heads: new AnswerHeads(options.crossSite),
      forget: (connection) => void this.#connections.delete(connection),
    };
  }

  /** Takes a connection whose first bytes are these, if it may be for the short way; they are still to be read from it. */
  accept(socket: Socket, opening: Buffer): boolean {
    if (opening.length === 0 || !mayBeHead(opening)) return false;
    this.#connections.add(new HttpConnection(socket, 'encrypted' in socket && socket.encrypted === true, this.#doors));
    return true;
  }

  /** Answers under way are finished and are the last of their connections. */
  stop(): void {
    for (const connection of this.#connections) connection.stop();
  }
}

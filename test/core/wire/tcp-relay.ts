// A relay between a client and a server, to do to connections what networks do: cut them, freeze them, come back.

import { connect, createServer, type Server, type Socket } from 'node:net';

export class TcpRelay {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #target: number;
  #frozen = false;
  port = 0;

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((inner) => this.#relay(inner));
  }

  static async start(target: number): Promise<TcpRelay> {
    const relay = new TcpRelay(target);
    await new Promise<void>((resolve) => relay.#server.listen(0, '127.0.0.1', resolve));
    const address = relay.#server.address();
    relay.port = address !== null && typeof address === 'object' ? address.port : 0;
    return relay;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  aim(target: number): void {
    this.#target = target;
  }

  /** Resets every connection. New ones are accepted. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Existing and new connections stay open and carry nothing any more, until thawed; then new ones do. */
  freeze(frozen: boolean): void {
    this.#frozen = frozen;
    for (const socket of this.#sockets) socket.pause();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #relay(inner: Socket): void {
    const outer = connect(this.#target, '127.0.0.1');
    for (const [from, to] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      this.#sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.on('data', (chunk) => void to.write(chunk));
      if (this.#frozen) from.pause();
    }
  }
}

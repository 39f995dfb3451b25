// A relay of HTTP/2 streams, to do to single streams what proxies do: hold back what they carry, reset them with a code of
// their own. Connections stay; `TcpRelay` is for those.

import { connect, createServer, type ClientHttp2Session, type Http2Server, type ServerHttp2Stream } from 'node:http2';

export class StreamRelay {
  readonly #server: Http2Server;
  readonly #target: ClientHttp2Session;
  readonly #streams = new Set<ServerHttp2Stream>();
  #held = 0;
  #holding = false;
  #onHeld: () => void = () => undefined;
  url = '';

  private constructor(target: string) {
    this.#target = connect(target);
    this.#server = createServer();
    this.#server.on('stream', (inner, headers) => this.#relay(inner, headers));
  }

  static async start(target: string): Promise<StreamRelay> {
    const relay = new StreamRelay(target);
    await new Promise<void>((resolve) => relay.#server.listen(0, '127.0.0.1', resolve));
    const address = relay.#server.address();
    relay.url = `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`;
    return relay;
  }

  /** While it holds, messages from the client go nowhere, and are lost. */
  hold(holding: boolean): void {
    this.#holding = holding;
    this.#held = 0;
  }

  /** Resolves when so many messages are held. */
  async holds(count = 1): Promise<void> {
    while (this.#held < count) {
      await new Promise<void>((resolve) => {
        this.#onHeld = resolve;
      });
    }
  }

  /** Ends every stream with this code. */
  reset(code: number): void {
    for (const stream of this.#streams) stream.close(code);
  }

  async close(): Promise<void> {
    this.#target.destroy();
    for (const stream of this.#streams) stream.session?.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #relay(inner: ServerHttp2Stream, headers: Record<string, unknown>): void {
    const outer = this.#target.request(
      Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)])),
      { endStream: false },
    );
    let trailers: Record<string, string> = {};
    this.#streams.add(inner);
    inner.on('error', () => outer.close());
    outer.on('error', () => inner.close());
    inner.on('close', () => {
      this.#streams.delete(inner);
      outer.close();
    });
    inner.on('data', (chunk) => {
      if (!this.#holding) return void outer.write(chunk);
      this.#held++;
      this.#onHeld();
    });
    inner.on('end', () => (this.#holding ? undefined : outer.end()));
    outer.on('response', ({ ':status': status, ...rest }) => {
      if (!inner.destroyed) inner.respond({ ':status': status ?? 200, ...rest }, { waitForTrailers: true });
    });
    outer.on('trailers', (received: Readonly<Record<string, unknown>>) => {
      trailers = Object.fromEntries(Object.entries(received).map(([name, value]) => [name, String(value)]));
    });
    inner.on('wantTrailers', () => inner.sendTrailers(trailers));
    outer.on('data', (chunk) => (inner.destroyed ? undefined : inner.write(chunk)));
    outer.on('end', () => (inner.destroyed ? undefined : inner.end()));
  }
}

// A gRPC client that hides nothing: status and text of each answer, metadata of one's own, streams answer by answer. For
// comparing servers by what they say, where a client library would already have interpreted it.

import { Client, credentials, Metadata, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';

interface Encoding<T> {
  encode(message: T): { finish(): Uint8Array };
}

interface Decoding<T> {
  decode(bytes: Uint8Array): T;
}

/** What a call ended with: a message, or the status with its text. */
export type Outcome<T> = { readonly answer: T } | { readonly code: number; readonly text: string };

export interface Pending<T> {
  readonly outcome: Promise<Outcome<T>>;
  cancel(): void;
}

function same(bytes: Buffer): Buffer {
  return bytes;
}

function metadataOf(headers: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(headers)) metadata.set(key, value);
  return metadata;
}

export class RawClient {
  readonly #client: Client;

  constructor(url: string, options: Readonly<Record<string, string | number>> = {}) {
    this.#client = new Client(new URL(url).host, credentials.createInsecure(), options);
  }

  begin<Q, A>(
    path: string, request: Encoding<Q>, answer: Decoding<A>, message: Q, headers: Readonly<Record<string, string>> = {},
  ): Pending<A> {
    let cancel = (): void => undefined;
    const outcome = new Promise<Outcome<A>>((resolve) => {
      const bytes = Buffer.from(request.encode(message).finish());
      const call = this.#client.makeUnaryRequest(path, same, same, bytes, metadataOf(headers), {}, (error, value) => {
        if (error !== null) resolve({ code: error.code, text: error.details });
        else resolve({ answer: answer.decode(value ?? Buffer.alloc(0)) });
      });
      cancel = () => call.cancel();
    });
    return { outcome, cancel: () => cancel() };
  }

  call<Q, A>(
    path: string, request: Encoding<Q>, answer: Decoding<A>, message: Q, headers?: Readonly<Record<string, string>>,
  ): Promise<Outcome<A>> {
    return this.begin(path, request, answer, message, headers).outcome;
  }

  stream<Q, A>(
    path: string, request: Encoding<Q>, answer: Decoding<A>, headers: Readonly<Record<string, string>> = {},
  ): RawStream<Q, A> {
    const stream = this.#client.makeBidiStreamRequest(path, same, same, metadataOf(headers));
    return new RawStream(stream, request, answer);
  }

  close(): void {
    this.#client.close();
  }
}

/** `next` waits for one more answer, or for the end, whose status it then is. */
export class RawStream<Q, A> {
  readonly #stream: ClientDuplexStream<Buffer, Buffer>;
  readonly #request: Encoding<Q>;
  readonly #answers: A[] = [];
  #end: { readonly code: number; readonly text: string } | null = null;
  #wake: () => void = () => undefined;

  constructor(stream: ClientDuplexStream<Buffer, Buffer>, request: Encoding<Q>, answer: Decoding<A>) {
    this.#stream = stream;
    this.#request = request;
    stream.on('data', (bytes: Buffer) => {
      this.#answers.push(answer.decode(bytes));
      this.#wake();
    });
    stream.on('error', (error: ServiceError) => {
      this.#end ??= { code: error.code, text: error.details };
      this.#wake();
    });
    stream.on('end', () => {
      this.#end ??= { code: 0, text: '' };
      this.#wake();
    });
  }

  write(message: Q): void {
    this.#stream.write(Buffer.from(this.#request.encode(message).finish()));
  }

  halfClose(): void {
    this.#stream.end();
  }

  cancel(): void {
    this.#stream.cancel();
  }

  async next(waitMs = 5000): Promise<A | { readonly code: number; readonly text: string } | 'nothing'> {
    // No clock beside the timer, which fires a little before its time: nobody would wake this again.
    let isLate = false;
    const deadline = setTimeout(() => {
      isLate = true;
      this.#wake();
    }, waitMs);
    try {
      while (this.#answers.length === 0 && this.#end === null && !isLate) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearTimeout(deadline);
    }
    return this.#answers.shift() ?? this.#end ?? 'nothing';
  }
}

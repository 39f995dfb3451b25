// Ids that stand for others in messages: what a server chose, and what it is called here. Most messages hold none of them,
// and that is seen in their bytes, without reading them.

import { BinaryWriter } from '@bufbuild/protobuf/wire';

export class Ids {
  readonly #meant = new Map<bigint, bigint>();
  /** How each id is written. */
  readonly #written: Buffer[] = [];

  set(id: bigint, meant: bigint): void {
    this.#meant.set(id, meant);
    this.#written.push(Buffer.from(new BinaryWriter().int64(id).finish()));
  }

  get(id: bigint): bigint | undefined {
    return this.#meant.get(id);
  }

  /** False: certainly not. */
  mayBeIn(bytes: Uint8Array): boolean {
    if (this.#written.length === 0) return false;
    const searched = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return this.#written.some((id) => searched.includes(id));
  }
}

// The hash of a store's pairs and history, made a slice at a time: for comparing members (HashKV, contract 4.8), whose loops
// must not stand still for it. Meanwhile nothing is removed from memory; what is written meanwhile is above what is hashed.

import { checksum } from '../base/crc.js';
import type { Revision } from '../client.js';
import { ByteWriter } from './binary.js';
import type { Table } from './table.js';

export interface StoreHash {
  readonly hash: number;
  readonly revision: Revision;
  readonly compactRevision: Revision;
}

export interface HashBounds {
  /** The last revision that counts. */
  readonly through: Revision;
  /** Of the store, as they were when it began. */
  readonly revision: Revision;
  readonly compacted: Revision;
}

export class Hashing {
  readonly #table: Table;
  readonly #bounds: HashBounds;
  readonly #writer = new ByteWriter();
  #row: number;
  #hash = 0;
  #onRelease: (() => void) | null;

  constructor(table: Table, bounds: HashBounds, onRelease: () => void) {
    this.#table = table;
    this.#bounds = bounds;
    this.#row = table.rows.first(0);
    this.#onRelease = onRelease;
  }

  /** Takes up to about `rowsMax` rows more; the hash once there are none left. */
  step(rowsMax: number): StoreHash | null {
    const { rows, keys } = this.#table;
    const { through, revision, compacted } = this.#bounds;
    const writer = this.#writer;
    for (let left = rowsMax; this.#row < rows.length && rows.main(this.#row) <= through; left--) {
      if (left <= 0) return null;
      const row = this.#row;
      this.#row = rows.after(row);
      if (this.#table.isSuperseded(row, compacted)) continue;
      writer.clear();
      writer.bytes(keys.bytes(rows.slot(row)));
      for (const fact of [rows.main(row), rows.create(row), rows.version(row)]) writer.varint(fact);
      writer.i64(rows.lease(row));
      this.#hash = checksum(this.#table.value(row), checksum(writer.peek(), this.#hash));
      // Long values take longer.
      left -= rows.valueLength(row) >>> 12;
    }
    return { hash: this.#hash, revision, compactRevision: compacted };
  }

  /** To be called once; until then the store keeps everything where it is. */
  release(): void {
    this.#onRelease?.();
    this.#onRelease = null;
  }
}

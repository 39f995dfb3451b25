// Keys that are soon to be looked up, by their hashes. In a large store each step of a look-up, from the hash to the slot, the
// newest row, the bytes of the key and those of the value, waits for memory that is in no cache, and the next step for that
// one. Taken one step for all keys at a time, these waits overlap. Nothing but time depends on it: what is not foreseen is only
// slower, and what is foreseen in vain was only looked at.

import type { TxnRequest } from '../client.js';
import type { Command } from './command.js';
import { hashOf } from './keys.js';
import { FORESEEN_KEYS_MAX, FORESEEN_KEYS_MIN } from './limits.js';
import { NONE } from './rows.js';
import type { Table } from './table.js';

export class Foresight {
  readonly #hashes = new Uint32Array(FORESEEN_KEYS_MAX);
  /** Where the keys looked at last may be; NONE: nowhere that is known. */
  readonly #slots = new Uint32Array(FORESEEN_KEYS_MAX);
  /** Of those found: the newest row. */
  readonly #rows = new Uint32Array(FORESEEN_KEYS_MAX);
  #count = 0;
  /** Keys that were looked at, and before those looked at last. */
  #seen = 0;
  #seenBefore = 0;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** Of more than there is room for, those that come last are not foreseen. Returns what `slotOf` is asked with. */
  expect(key: Uint8Array): number {
    if (this.#count === FORESEEN_KEYS_MAX) return -1;
    this.#hashes[this.#count] = hashOf(key);
    return this.#seen + this.#count++;
  }

  /** Where an expected key may be, for `Keys.find` to try first; NONE when it was not looked at, or others have been since. */
  slotOf(expected: number): number {
    return expected >= this.#seenBefore && expected < this.#seen ? (this.#slots[expected - this.#seenBefore] as number) : NONE;
  }

  /** What a command will look up for certain, or nearly so. */
  expectCommand(command: Command): void {
    if (command.kind === 'as_user') this.expectCommand(command.command);
    else if (command.kind === 'txn') this.#expectTxn(command.request);
  }

  /** Brings near what was expected since the last time. A small store is near as it is: see `Store.isLarge`. */
  look(table: Table, withValues: boolean): void {
    const count = this.#count;
    this.#count = 0;
    this.#seen += count;
    this.#seenBefore = this.#seen;
    if (count < FORESEEN_KEYS_MIN) return;
    this.#seenBefore -= count;
    const rows = this.#rows;
    const found = table.keys.bringNear(this.#hashes, count, this.#slots, rows);
    table.rows.bringNear(rows, found);
    if (withValues) for (let i = 0; i < found; i++) table.bringValueNear(rows[i] as number);
  }

  #expectTxn({ compare, success }: TxnRequest): void {
    if (compare !== undefined) for (const { key } of compare) this.expect(key);
    if (success === undefined) return;
    for (const op of success) if (op.kind === 'put' || op.kind === 'delete') this.expect(op.request.key);
  }
}

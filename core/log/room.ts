// Where the groups of one segment go. The file is longer than the log: groups are written over zeros that were put there
// before, so that a sync of one is a write of the disk and needs nothing of the file system's journal. The group that does
// not fit any more brings the zeros for those after it, up to the segment's limit: a segment that is full has none left.

/** What goes to a file, and where. */
export interface Layout {
  readonly from: number;
  readonly pieces: readonly Uint8Array[];
}

export interface RoomLimits {
  readonly segmentBytes: number;
  readonly reserveBytes: number;
}

export class Room {
  readonly #limits: RoomLimits;
  /** Given out again and again: memory made anew each time would be what the collector hears of most. */
  readonly #zeros: Uint8Array;
  #offset: number;
  /** The size of the file; from `#offset` on it is zeros. */
  #sizeBytes: number;

  /** The groups so far end at `offset`, and the file with them. `before`: of the segment before, with the same limits. */
  constructor(offset: number, limits: RoomLimits, before: Room | null = null) {
    this.#zeros = before === null ? new Uint8Array(limits.reserveBytes) : before.#zeros;
    this.#offset = offset;
    this.#sizeBytes = offset;
    this.#limits = limits;
  }

  /** Where the next group begins. */
  get offset(): number {
    return this.#offset;
  }

  get isFull(): boolean {
    return this.#offset >= this.#limits.segmentBytes;
  }

  /** It counts as written; if it cannot be, nothing more is. */
  take(group: Uint8Array): Layout {
    const { segmentBytes, reserveBytes } = this.#limits;
    const from = this.#offset;
    this.#offset += group.length;
    if (this.#offset <= this.#sizeBytes) return { from, pieces: [group] };
    const spareBytes = Math.max(0, Math.min(reserveBytes, segmentBytes - this.#offset));
    this.#sizeBytes = this.#offset + spareBytes;
    return { from, pieces: spareBytes > 0 ? [group, this.#zeros.subarray(0, spareBytes)] : [group] };
  }
}

// Who the members are: names, addresses and incarnations, beside the machine's `Configuration`, which alone says who votes.
// Written only by applying entries, so that every replica agrees; part of every snapshot. Ids are never used twice: those
// removed are remembered for ever.

/** What everybody knows about a member. */
export interface MemberRecord {
  readonly id: bigint;
  /** Empty until it has started and published itself. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
  /** The life of its data directory, published at its first start; 0n before. Another one under this id has lost its disk. */
  readonly incarnation: bigint;
}

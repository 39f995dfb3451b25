// Requests of the key-value service: valid ones, and everything a client may get wrong. Few keys, values and leases, so that
// everything meets everything. What a real etcd 3.4 does not survive is not drawn (test/interop/DIFFERENCES.md).

import type * as rpc from '../../../core/wire/schema/generated/rpc.js';
import type { Dice } from './dice.js';
import type { Knowledge } from './knowledge.js';

const EMPTY = new Uint8Array(0);
const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);

const latin = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));

/** Neighbours of each other in every way that byte order knows. */
const ODD_KEYS = [
  'a', 'aa', 'ab', 'a\0', 'a\xff', 'b', 'b\0', 'b\xff', 'c', '\0', '\0\0', '\x01', '\xff', '\xff\xff', '\xc3\xa9', '\xfe', 'k',
].map(latin);
const MANY = Array.from({ length: 150 }, (_, i) => latin(`k${String(i).padStart(3, '0')}`));
const ENDS = ['\0', '\0', '\0\0', 'b', 'c', 'ab', 'k', 'k05', 'k1', 'l', '\xff', '\xff\xff', 'a', '\xff\xff\xff'].map(latin);
const VALUES = ['', '1', '2', 'two', 'zwei', '\xff\0', '\0', 'a longer value, of more bytes than the others have'].map(latin);

export class KeyValueRequests {
  readonly #dice: Dice;
  readonly #known: Knowledge;
  /** In this world, a key in `#manyShare` of ten is one of many. */
  readonly #manyShare: number;

  constructor(dice: Dice, known: Knowledge) {
    this.#dice = dice;
    this.#known = known;
    this.#manyShare = dice.one([0, 2, 5, 8]);
  }

  key(): Uint8Array {
    if (this.#dice.once(300)) return EMPTY;
    return this.#dice.one(this.#dice.below(10) < this.#manyShare ? MANY : ODD_KEYS);
  }

  rangeEnd(): Uint8Array {
    const kind = this.#dice.below(10);
    if (kind < 4) return EMPTY;
    return kind < 8 ? this.#dice.one(ENDS) : this.key();
  }

  value(): Uint8Array {
    if (this.#dice.once(40)) return latin('x'.repeat(this.#dice.below(3000)));
    return this.#dice.one(VALUES);
  }

  /** 0 mostly; else one that lives, one that was, or one that never will. */
  lease(): bigint {
    return this.#dice.below(10) < 7 ? 0n : this.someLease();
  }

  someLease(): bigint {
    if (this.#dice.once(12)) return this.#dice.one([77n, -77n, INT64_MIN + 5n]);
    return this.#dice.one([...this.#known.leases, 1n, 2n, -3n]);
  }

  /** Around what there is: now, before, compacted, to come, and nonsense. */
  revision(): bigint {
    const { revision, compacted } = this.#known;
    const past = (): number => compacted + this.#dice.below(Math.max(1, revision - compacted + 1));
    const drawn = this.#dice.weighted<() => number | bigint>([
      [40, () => revision - this.#dice.below(6)],
      [30, past],
      [6, () => compacted],
      [6, () => compacted - 1 - this.#dice.below(3)],
      [6, () => revision + 1 + this.#dice.below(3)],
      [2, () => -1 - this.#dice.below(3)],
      [1, () => this.#dice.one([INT64_MAX, INT64_MIN, 2n ** 53n, 2n ** 53n + 1n, 2n ** 32n])],
    ]);
    return BigInt(drawn());
  }

  /** A bound of a filter. */
  #bound(): bigint {
    if (!this.#dice.once(8)) return 0n;
    return this.#dice.once(20) ? this.#dice.one([-1n, INT64_MAX, INT64_MIN]) : this.revision();
  }

  range(atRevision = 4): rpc.RangeRequest {
    const dice = this.#dice;
    const hasSort = dice.once(3);
    // An unknown target ends etcd 3.4.
    const sortTarget = hasSort ? dice.one([0, 1, 2, 3, 4] as const) : 0;
    const sortOrder = dice.once(60) ? (dice.one([3, 77, -1]) as 0) : dice.one([0, 1, 2] as const);
    return {
      key: this.key(),
      rangeEnd: this.rangeEnd(),
      limit: dice.once(3) ? dice.one([1n, 1n, 2n, 3n, 5n, 11n, 40n, -1n, INT64_MAX, INT64_MIN]) : 0n,
      revision: dice.once(atRevision) ? this.revision() : 0n,
      sortOrder: hasSort ? sortOrder : 0,
      sortTarget,
      serializable: dice.once(4),
      keysOnly: dice.once(6),
      countOnly: dice.once(8),
      minModRevision: this.#bound(),
      maxModRevision: this.#bound(),
      minCreateRevision: this.#bound(),
      maxCreateRevision: this.#bound(),
    };
  }

  put(): rpc.PutRequest {
    const dice = this.#dice;
    const ignoreValue = dice.once(10);
    const ignoreLease = dice.once(10);
    // Once in a while what is to be ignored is given all the same.
    return {
      key: this.key(),
      value: ignoreValue && !dice.once(6) ? EMPTY : this.value(),
      lease: ignoreLease && !dice.once(6) ? 0n : this.lease(),
      prevKv: dice.once(3),
      ignoreValue,
      ignoreLease,
    };
  }

  delete(): rpc.DeleteRangeRequest {
    const rangeEnd = this.#dice.once(3) ? this.rangeEnd() : EMPTY;
    return { key: this.key(), rangeEnd, prevKv: this.#dice.once(3) };
  }

  compare(): rpc.Compare {
    const dice = this.#dice;
    const target = dice.once(40) ? (dice.one([5, 9, -1]) as 0) : dice.one([0, 1, 2, 3, 4] as const);
    const operand = this.#operand(dice.once(25) ? dice.below(5) : target);
    // Ids that the servers chose are in no order.
    const isUnordered = operand?.$case === 'lease' && operand.value > 2n ** 32n && operand.value < INT64_MAX;
    const known = isUnordered ? dice.one([0, 3] as const) : dice.one([0, 0, 1, 2, 3] as const);
    const result = dice.once(40) ? (dice.one([4, 9, -1]) as 0) : known;
    return { key: this.key(), rangeEnd: dice.once(3) ? this.rangeEnd() : EMPTY, result, target, targetUnion: operand };
  }

  #operand(target: number): rpc.Compare['targetUnion'] {
    const dice = this.#dice;
    if (dice.once(25)) return undefined;
    const odd = dice.once(30) ? dice.one([-1n, INT64_MAX, INT64_MIN, 2n ** 53n + 1n]) : null;
    switch (target) {
      case 0:
        return { $case: 'version', value: odd ?? BigInt(dice.below(4)) };
      case 1:
        return { $case: 'createRevision', value: odd ?? (dice.once(2) ? 0n : this.revision()) };
      case 2:
        return { $case: 'modRevision', value: odd ?? (dice.once(2) ? 0n : this.revision()) };
      case 3:
        return { $case: 'value', value: this.value() };
      default:
        return { $case: 'lease', value: dice.once(2) ? 0n : this.someLease() };
    }
  }

  /** `size`: about how many operations a branch has. */
  txn(depth: number, size: number): rpc.TxnRequest {
    const dice = this.#dice;
    return {
      compare: dice.times(dice.one([0, 0, 1, 1, 2, 4]), () => this.compare()),
      success: dice.times(dice.below(size + 1), () => this.#op(depth, size)),
      failure: dice.times(dice.below(size + 1), () => this.#op(depth, size)),
    };
  }

  #op(depth: number, size: number): rpc.RequestOp {
    const dice = this.#dice;
    if (dice.once(150)) return { request: undefined };
    const kind = dice.below(depth > 0 ? 11 : 9);
    if (kind < 4) return { request: { $case: 'requestPut', value: this.put() } };
    if (kind < 7) return { request: { $case: 'requestRange', value: this.range(8) } };
    if (kind < 9) return { request: { $case: 'requestDeleteRange', value: this.delete() } };
    return { request: { $case: 'requestTxn', value: this.txn(depth - 1, Math.max(1, size - 1)) } };
  }

  /** Read-only: served without the log. */
  readTxn(): rpc.TxnRequest {
    const ops = (): rpc.RequestOp[] =>
      this.#dice.times(this.#dice.below(4), () => ({ request: { $case: 'requestRange', value: this.range(8) } }));
    return { compare: this.#dice.times(this.#dice.below(3), () => this.compare()), success: ops(), failure: ops() };
  }

  /** As many operations, or as deep, as is allowed, or a little more. */
  bigTxn(): rpc.TxnRequest {
    const dice = this.#dice;
    const count = dice.one([126, 127, 128, 129, 130]);
    if (dice.once(2)) return deepTxn(count - 1, this.put());
    const put = (i: number): rpc.RequestOp => {
      const value = { ...this.put(), key: latin(`wide${i}`), ignoreValue: false, ignoreLease: false, lease: 0n };
      return { request: { $case: 'requestPut', value } };
    };
    if (dice.once(3)) return { compare: dice.times(count, () => this.compare()), success: [put(0)], failure: [] };
    const ops = Array.from({ length: count }, (_, i) => put(i));
    return { compare: [], success: ops, failure: [] };
  }

  compaction(): rpc.CompactionRequest {
    const { revision, compacted } = this.#known;
    const dice = this.#dice;
    const drawn = dice.weighted<() => number | bigint>([
      [20, () => revision - dice.below(40)],
      [8, () => revision],
      [8, () => compacted + dice.below(Math.max(1, revision - compacted))],
      [3, () => compacted],
      [2, () => compacted - 1],
      [2, () => revision + 1 + dice.below(3)],
      [2, () => dice.one([0, -1, -2])],
      [1, () => dice.one([INT64_MAX, INT64_MIN, 2n ** 53n + 1n])],
    ]);
    return { revision: BigInt(drawn()), physical: dice.once(3) };
  }
}

function deepTxn(depth: number, put: rpc.PutRequest): rpc.TxnRequest {
  let ops: rpc.RequestOp[] = [{ request: { $case: 'requestPut', value: put } }];
  for (let i = 0; i < depth; i++) ops = [{ request: { $case: 'requestTxn', value: { compare: [], success: ops, failure: [] } } }];
  return { compare: [], success: ops, failure: [] };
}

/**
 * etcd's server stops for good on a put that is to keep what an earlier operation of the transaction deleted, where the
 * duplicate-key rule has a hole. In a transaction that deletes anything, puts keep nothing of what might be deleted.
 */
export function survivable(request: rpc.TxnRequest): rpc.TxnRequest {
  const deletes: rpc.DeleteRangeRequest[] = [];
  eachOp(request, (op) => {
    if (op.request?.$case === 'requestDeleteRange') deletes.push(op.request.value);
  });
  if (deletes.length === 0) return request;
  eachOp(request, (op) => {
    if (op.request?.$case !== 'requestPut') return;
    const { value } = op.request;
    if (!deletes.some((each) => covers(each, value.key))) return;
    if (value.ignoreValue || value.ignoreLease) op.request.value = { ...value, ignoreValue: false, ignoreLease: false };
  });
  return request;
}

function eachOp(request: rpc.TxnRequest, visit: (op: rpc.RequestOp) => void): void {
  for (const op of [...request.success, ...request.failure]) {
    visit(op);
    if (op.request?.$case === 'requestTxn') eachOp(op.request.value, visit);
  }
}

function covers({ key, rangeEnd }: rpc.DeleteRangeRequest, put: Uint8Array): boolean {
  const from = Buffer.compare(put, key);
  if (rangeEnd.length === 0) return from === 0;
  return from >= 0 && ((rangeEnd.length === 1 && rangeEnd[0] === 0) || Buffer.compare(put, rangeEnd) < 0);
}

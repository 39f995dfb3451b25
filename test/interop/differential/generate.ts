// Which operation comes next: the weights of a world, and the short stories that only make sense in one piece.

import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import type { CallName } from './calls.js';
import { corners } from './corners.js';
import { Dice } from './dice.js';
import { AuthRequests, BOGUS, isInverted, STALE } from './generate-auth.js';
import { KeyValueRequests, survivable } from './generate-kv.js';
import type { Operation } from './operation.js';
import type { World } from './world.js';

const latin = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));
const NO_PUT = { lease: 0n, prevKv: false, ignoreValue: false, ignoreLease: false };
const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);
/** Long enough that none runs out in a world; leases that shall run out are granted in `#expiry`. */
const TTLS = [100_000n, 250_000n, 1_000_000n, 9_000_000_000n];
const STREAMS = 3;
const WATCHES_MAX = 8;

export interface Taste {
  /** Leases that run out take seconds. */
  readonly hasExpiry: boolean;
  /** What chance seldom finds comes first. */
  readonly hasCorners: boolean;
}

export class Generator {
  readonly #dice: Dice;
  readonly #world: World;
  readonly #kv: KeyValueRequests;
  readonly #auth: AuthRequests;
  readonly #taste: Taste;
  /** The rest of a story. */
  readonly #next: Operation[] = [];
  #drawn = 0;

  constructor(seed: number, world: World, taste: Taste) {
    this.#dice = new Dice(seed);
    this.#world = world;
    this.#taste = taste;
    this.#kv = new KeyValueRequests(this.#dice, world.known);
    if (taste.hasCorners) this.#next.push(...corners());
    this.#auth = new AuthRequests(this.#dice, world.known, this.#kv);
  }

  next(): Operation {
    this.#drawn++;
    // Not more than so much is held for a comparison.
    if (this.#drawn % 40 === 0) return { kind: 'sync' };
    return this.#next.shift() ?? this.#named(this.#draw());
  }

  #named(operation: Operation): Operation {
    if (!this.#world.known.isAuthOn) return operation;
    if (operation.kind === 'keep_alive') return { kind: 'sync' };
    if (!('bytes' in operation) || operation.kind === 'expire' || operation.as !== undefined) return operation;
    return operation.kind === 'call' ? this.#auth.named(operation) : { ...operation, as: 'root' };
  }

  /** Auth goes on for a while, now and then. */
  #authStory(): Operation {
    const isOn = this.#world.known.isAuthOn;
    if (this.#dice.once(isOn ? 3 : 2)) this.#next.push(...(isOn ? this.#auth.disabling() : this.#auth.enabling()));
    return isOn && this.#dice.once(2) ? this.#watchAs() : this.#auth.draw();
  }

  /** Somebody watches, or may not, on a stream of their own. */
  #watchAs(): Operation {
    const as = this.#dice.one([...this.#world.known.tokens, ...this.#world.known.tokens, BOGUS, STALE]);
    const drawn = { ...this.#creation(() => 0n), startRevision: 0n, watchId: 0n };
    // 3.4 judges a watch from a key on by that key alone.
    const isUndecided = isInverted(drawn) || drawn.key.length === 0 || drawn.rangeEnd.every((byte) => byte === 0);
    const isOne = drawn.rangeEnd.length === 0 && drawn.key.length > 0;
    const value = isUndecided && !isOne ? { ...drawn, key: latin('a'), rangeEnd: latin('b') } : drawn;
    const bytes = rpc.WatchRequest.encode({ requestUnion: { $case: 'createRequest', value } }).finish();
    this.#next.push({ kind: 'leave', stream: STREAMS + 1 });
    return { kind: 'watch', stream: STREAMS + 1, bytes, as };
  }

  #draw(): Operation {
    const kv = this.#kv;
    const auth = this.#world.known.isAuthOn;
    return this.#dice.weighted<() => Operation>([
      [260, () => call('range', rpc.RangeRequest.encode(kv.range()))],
      [250, () => call('put', rpc.PutRequest.encode(kv.put()))],
      [70, () => call('delete', rpc.DeleteRangeRequest.encode(kv.delete()))],
      [200, () => this.#txn(kv.txn(this.#dice.below(4), this.#dice.one([1, 2, 3, 6])))],
      [50, () => ({ ...call('txn', rpc.TxnRequest.encode(kv.readTxn())), isRead: true })],
      [5, () => this.#txn(kv.bigTxn())],
      [8, () => call('compact', rpc.CompactionRequest.encode(kv.compaction()))],
      [25, () => this.#grant()],
      [18, () => call('revoke', rpc.LeaseRevokeRequest.encode({ ID: kv.someLease() }))],
      [25, () => call('ttl', rpc.LeaseTimeToLiveRequest.encode({ ID: kv.someLease(), keys: this.#dice.once(2) }))],
      [10, () => call('leases', rpc.LeaseLeasesRequest.encode({}))],
      [15, () => ({ kind: 'keep_alive', bytes: rpc.LeaseKeepAliveRequest.encode({ ID: kv.someLease() }).finish() })],
      [6, () => call('hash', rpc.HashKVRequest.encode({ revision: this.#dice.once(3) ? 0n : kv.revision() }))],
      [30, () => this.#watch()],
      [auth ? 80 : 25, () => this.#auth.draw()],
      [auth ? 4 : 3, () => this.#authStory()],
      [auth ? 0 : 2, () => this.#large()],
      [auth ? 0 : 1, () => this.#fragments()],
      ...(this.#taste.hasExpiry && !auth ? [[1, () => this.#expiry()] as const] : []),
    ])();
  }

  #txn(request: rpc.TxnRequest): Operation {
    return call('txn', rpc.TxnRequest.encode(survivable(request)));
  }

  #grant(): Operation {
    const dice = this.#dice;
    if (dice.once(20)) {
      const TTL = dice.one([9_000_000_001n, INT64_MAX, 9_000_000_000n]);
      return call('grant', rpc.LeaseGrantRequest.encode({ TTL, ID: dice.one([1n, 2n, 5n]) }));
    }
    const isChosen = dice.once(12) && this.#world.known.chosen < 20;
    const ID = isChosen ? 0n : dice.one([1n, 1n, 2n, 2n, 3n, 4n, -3n, INT64_MAX, INT64_MIN]);
    return call('grant', rpc.LeaseGrantRequest.encode({ TTL: dice.one(TTLS), ID }));
  }

  /** A lease too short to be left alone: it gets a key, and runs out. */
  #expiry(): Operation {
    if (!this.#dice.once(8)) return { kind: 'sync' };
    const ID = 4242n;
    const bytes = rpc.LeaseTimeToLiveRequest.encode({ ID, keys: true }).finish();
    const put = (): Operation => call('put', rpc.PutRequest.encode({ ...this.#kv.put(), lease: ID, ignoreLease: false }));
    this.#next.push(
      ...this.#dice.times(this.#dice.below(4), put),
      { kind: 'keep_alive', bytes: rpc.LeaseKeepAliveRequest.encode({ ID }).finish() },
      { kind: 'expire', bytes },
      call('range', rpc.RangeRequest.encode({ ...this.#kv.range(), serializable: false })),
    );
    return call('grant', rpc.LeaseGrantRequest.encode({ TTL: this.#dice.one([0n, 1n, 2n, -5n, INT64_MIN]), ID }));
  }

  /** Sizes around what is allowed; what was taken is removed again. */
  #large(): Operation {
    const dice = this.#dice;
    const key = new Uint8Array(Buffer.from('large'));
    const value = new Uint8Array(dice.one([1_572_864 - 40, 1_400_000, 700_000]) + dice.below(60) - 30).fill(97);
    const put: rpc.PutRequest = { key, value, lease: 0n, prevKv: dice.once(2), ignoreValue: false, ignoreLease: false };
    this.#next.push({ kind: 'sync' });
    if (dice.once(2)) this.#next.push(call('range', rpc.RangeRequest.encode({ ...this.#kv.range(), key })));
    this.#next.push(call('delete', rpc.DeleteRangeRequest.encode({ key, rangeEnd: new Uint8Array(0), prevKv: dice.once(2) })));
    this.#next.push({ kind: 'sync' });
    if (dice.once(2)) return call('put', rpc.PutRequest.encode(put));
    const success: rpc.RequestOp[] = [{ request: { $case: 'requestPut', value: put } }];
    return call('txn', rpc.TxnRequest.encode({ compare: [], success, failure: [] }));
  }

  /** Revisions too large for one message, with a watch that takes them in parts. */
  #fragments(): Operation {
    const key = latin('large');
    const rangeEnd = latin('largf');
    const base = { key, rangeEnd, startRevision: 0n, progressNotify: false, filters: [], prevKv: this.#dice.once(2) };
    const watch = (requestUnion: rpc.WatchRequest['requestUnion']): Operation =>
      ({ kind: 'watch', stream: 0, bytes: rpc.WatchRequest.encode({ requestUnion }).finish() });
    const watchId = BigInt(5_000_000 + this.#drawn);
    const sizes = this.#dice.one([[700_000, 700_000], [100, 800_000, 100, 600_000], [500_000, 500_000, 400_000]]);
    const puts = sizes.map((bytes, i): rpc.RequestOp => {
      const value = { ...NO_PUT, key: latin(`large${i}`), value: new Uint8Array(bytes + this.#dice.below(9)).fill(98) };
      return { request: { $case: 'requestPut', value } };
    });
    const txn = call('txn', rpc.TxnRequest.encode({ compare: [], success: puts, failure: [] }));
    const sync: Operation = { kind: 'sync' };
    const remove = call('delete', rpc.DeleteRangeRequest.encode({ key, rangeEnd, prevKv: this.#dice.once(2) }));
    this.#next.push(sync, txn, sync, txn, sync, remove, sync, watch({ $case: 'cancelRequest', value: { watchId } }));
    return watch({ $case: 'createRequest', value: { ...base, watchId, fragment: true } });
  }

  #watch(): Operation {
    const dice = this.#dice;
    const { watches, known } = this.#world;
    const stream = dice.below(STREAMS);
    const open = watches.openIds(stream);
    const kind = dice.weighted([
      [open.length < WATCHES_MAX ? 10 : 0, 'create'],
      [open.length > 0 ? 6 : 1, 'cancel'],
      [watches.isPresent(stream, known.revision) ? 3 : 0, 'progress'],
      [1, 'nothing'],
      [1, 'leave'],
      [1, 'before'],
    ] as const);
    if (kind === 'leave') return { kind: 'leave', stream };
    const request = (requestUnion: rpc.WatchRequest['requestUnion']): Extract<Operation, { kind: 'watch' }> =>
      ({ kind: 'watch', stream, bytes: rpc.WatchRequest.encode({ requestUnion }).finish() });
    if (kind === 'before') {
      const startRevision = dice.one([-1n, -2n, INT64_MIN]);
      return { ...request({ $case: 'createRequest', value: { ...this.#creation(() => 0n), startRevision } }), stream: STREAMS };
    }
    if (kind === 'nothing') return request(undefined);
    if (kind === 'progress') return request({ $case: 'progressRequest', value: {} });
    const anyIds = [0n, 7n, 9n, 100n, -5n, INT64_MAX];
    const someId = (): bigint => dice.one(dice.once(5) || open.length === 0 ? anyIds : open);
    if (kind === 'cancel') return request({ $case: 'cancelRequest', value: { watchId: someId() } });
    return request({ $case: 'createRequest', value: this.#creation(someId) });
  }

  #creation(someId: () => bigint): rpc.WatchCreateRequest {
    const dice = this.#dice;
    const { revision, compacted } = this.#world.known;
    const drawn = dice.once(2) ? 0n : this.#kv.revision();
    // Negative ones have a stream of their own.
    const startRevision = drawn < 0n ? BigInt(Math.max(1, revision - 3)) : drawn;
    const isAtCompaction = Number(startRevision) === compacted;
    const watchId = dice.once(3) ? someId() : 0n;
    const filter = (): rpc.WatchCreateRequest['filters'][number] => dice.one([0, 1, 0, 1, 2 as 0, -1 as 0]);
    return {
      key: this.#kv.key(),
      rangeEnd: this.#kv.rangeEnd(),
      startRevision,
      progressNotify: dice.once(4),
      filters: dice.once(3) ? dice.times(1 + dice.below(2), filter) : [],
      prevKv: dice.once(2),
      // What is lost at the compacted revision must be known before the watch is answered.
      watchId: isAtCompaction ? BigInt(1000 + dice.below(1_000_000)) : watchId,
      fragment: dice.once(4),
    };
  }
}

function call(name: CallName, encoded: { finish(): Uint8Array }): Extract<Operation, { kind: 'call' }> {
  return { kind: 'call', call: name, bytes: encoded.finish() };
}


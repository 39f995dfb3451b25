// A network in this process: a switchboard between members, each link with its own delay, cut in one direction or both, with
// a hand on every frame that passes. Frames arrive in order, from a later turn of the clock.

import type { Clock } from '../../../core/base/clock.js';
import type { Done } from '../../../core/base/done.js';
import type { Lane, Receive, Transport } from '../../../core/peer/transport.js';
import type { NodeId } from '../../../core/raft/types.js';

export interface Passing {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly lane: Lane;
  readonly frame: Uint8Array;
}

const LANE_FRAMES_MAX = 10_000;

export class Switchboard {
  delayMs = 0;
  /** What becomes of a frame: null drops it, several repeat it. */
  onFrame: (passing: Passing) => readonly Uint8Array[] | null = ({ frame }) => [frame];
  readonly #clock: Clock;
  readonly #members = new Map<NodeId, MemoryTransport>();
  readonly #cuts = new Set<string>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  transport(id: NodeId): MemoryTransport {
    return new MemoryTransport(this, this.#clock, id);
  }

  /** Nothing passes from one to the other any more; the sender does not learn of it. */
  cut(from: NodeId, to: NodeId): void {
    this.#cuts.add(`${from}>${to}`);
  }

  isolate(id: NodeId): void {
    for (const other of this.#members.keys()) {
      this.cut(id, other);
      this.cut(other, id);
    }
  }

  heal(): void {
    this.#cuts.clear();
  }

  isOpen(from: NodeId, to: NodeId): boolean {
    return this.#members.has(to) && !this.#cuts.has(`${from}>${to}`);
  }

  attach(id: NodeId, transport: MemoryTransport): void {
    this.#members.set(id, transport);
  }

  detach(id: NodeId, transport: MemoryTransport): void {
    if (this.#members.get(id) === transport) this.#members.delete(id);
  }

  carry(passing: Passing, landed: () => void): void {
    const { from, to, lane } = passing;
    this.#clock.schedule(this.delayMs, () => {
      landed();
      if (!this.isOpen(from, to)) return;
      for (const frame of this.onFrame(passing) ?? []) this.#members.get(to)?.deliver(from, lane, frame);
    });
  }
}

export class MemoryTransport implements Transport {
  readonly #board: Switchboard;
  readonly #clock: Clock;
  readonly #id: NodeId;
  readonly #inFlight = new Map<string, number>();
  #peers: ReadonlyMap<NodeId, readonly string[]> = new Map();
  /** Who spoke to this one: can be answered, as over the connection they dialled. */
  readonly #heard = new Set<NodeId>();
  #receive: Receive | null = null;

  constructor(board: Switchboard, clock: Clock, id: NodeId) {
    this.#board = board;
    this.#clock = clock;
    this.#id = id;
  }

  start(receive: Receive, done: Done): void {
    this.#receive = receive;
    this.#board.attach(this.#id, this);
    this.#clock.schedule(0, () => done(null));
  }

  setPeers(addresses: ReadonlyMap<NodeId, readonly string[]>): void {
    this.#peers = addresses;
  }

  send(to: NodeId, lane: Lane, frame: Uint8Array): boolean {
    const key = `${to} ${lane}`;
    const inFlight = this.#inFlight.get(key) ?? 0;
    const isReachable = this.#peers.has(to) || this.#heard.has(to);
    if (this.#receive === null || !isReachable || inFlight >= LANE_FRAMES_MAX) return false;
    this.#inFlight.set(key, inFlight + 1);
    this.#board.carry({ from: this.#id, to, lane, frame }, () => {
      this.#inFlight.set(key, (this.#inFlight.get(key) ?? 1) - 1);
    });
    return true;
  }

  sendPieces(to: NodeId, lane: Lane, frame: Uint8Array, rest: Uint8Array): boolean {
    return this.send(to, lane, Buffer.concat([frame, rest]));
  }

  isConnected(to: NodeId): boolean {
    return this.#receive !== null && this.#peers.has(to) && this.#board.isOpen(this.#id, to);
  }

  close(done: Done): void {
    this.#receive = null;
    this.#board.detach(this.#id, this);
    this.#clock.schedule(0, () => done(null));
  }

  deliver(from: NodeId, lane: Lane, frame: Uint8Array): void {
    this.#heard.add(from);
    this.#receive?.(from, lane, frame);
  }
}

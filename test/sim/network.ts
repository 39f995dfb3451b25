// The simulated network between members. Directed links with delay, loss, duplication, reordering, damage and a capacity;
// cuts in one direction or both. Two kinds, one per world: 'datagram' (each frame for itself, the worst case for Raft) and
// 'stream' (in order per connection; a break loses everything in flight and takes time to mend).
//
// Frames go to an address, not to a process: whoever lives there receives them, whatever id it has.

import type { Done } from '../../core/base/done.js';
import type { Lane, Receive, Transport } from '../../core/peer/transport.js';
import type { NodeId } from '../../core/raft/types.js';
import type { EventLoop } from './loop.js';
import { Dice } from './random.js';
import { Kind, type Scheduler } from './scheduler.js';

export interface NetworkProfile {
  readonly kind: 'datagram' | 'stream';
  readonly delayMs: number;
  /** Probability that a frame takes very long, and how long about. */
  readonly lateChance: number;
  readonly lateMs: number;
  readonly lossChance: number;
  readonly duplicateChance: number;
  /** Of a datagram, to arrive damaged; of a connection, to break at a frame. */
  readonly damageChance: number;
  readonly breakChance: number;
  readonly bytesPerMs: number;
  /** Bytes in flight on one link; more is dropped, and the sender is told. */
  readonly capacityBytes: number;
}

export interface NetworkCounts {
  frames: number;
  bytes: number;
  lost: number;
  duplicated: number;
  damaged: number;
  cut: number;
  broken: number;
  refused: number;
}

interface LinkState {
  inFlightBytes: number;
  /** When the wire is free again. */
  freeAt: number;
  /** Streams: nothing overtakes. */
  lastArrival: number;
  /** Frames of an earlier connection never arrive. */
  epoch: number;
  brokenUntil: number;
  /** Who forbids this link, each by its own name; empty: it is open. */
  readonly cuts: Set<string>;
  /** A lossy spell, on top of the profile. */
  extraLoss: number;
}

interface Parcel {
  readonly sender: NodeId;
  readonly lane: Lane;
  readonly frame: Uint8Array;
}

/** Mending a connection takes about so long. */
const RECONNECT_MS = 150;
/** What a calm network takes at most, as a multiple of what it takes mostly. */
const CALM_TAIL = 4;
/** A connection whose frames do not arrive for so long is given up by both ends. */
const STALLED_MS = 3000;
/** Whoever spoke this long ago still listens for the answer. */
const WAY_BACK_MS = 3000;

export class Network {
  readonly counts: NetworkCounts = {
    frames: 0, bytes: 0, lost: 0, duplicated: 0, damaged: 0, cut: 0, broken: 0, refused: 0,
  };
  /** Sees each frame as it leaves. */
  onFrame: (from: number, lane: Lane, frame: Uint8Array) => void = () => undefined;
  readonly #scheduler: Scheduler;
  readonly #seed: number;
  readonly #profile: NetworkProfile;
  #isCalm = false;
  readonly #places = new Map<number, SimTransport>();
  readonly #links = new Map<number, LinkState>();
  readonly #dice = new Map<number, Dice>();

  constructor(scheduler: Scheduler, seed: number, profile: NetworkProfile) {
    this.#scheduler = scheduler;
    this.#seed = seed;
    this.#profile = profile;
  }

  get now(): number {
    return this.#scheduler.now;
  }

  transport(place: number, id: NodeId, loop: EventLoop): SimTransport {
    return new SimTransport(this, place, id, loop);
  }

  attach(place: number, transport: SimTransport): void {
    this.#places.set(place, transport);
  }

  detach(place: number, transport: SimTransport): void {
    if (this.#places.get(place) !== transport) return;
    this.#places.delete(place);
    for (const [key, link] of this.#links) {
      if (Math.floor(key / 256) !== place && key % 256 !== place) continue;
      link.epoch++;
      link.lastArrival = 0;
    }
  }

  /** Forbids the way from one place to another, under a name. */
  cut(name: string, from: number, to: number): void {
    if (from !== to) this.#link(from, to).cuts.add(name);
  }

  /** Lifts what was forbidden under this name. */
  mend(name: string): void {
    for (const link of this.#links.values()) link.cuts.delete(name);
  }

  disturb(from: number, to: number, extraLoss: number): void {
    this.#link(from, to).extraLoss = extraLoss;
  }

  /** From now on the network is a good one: what it loses, it loses no more, and nothing is late. */
  calm(): void {
    this.#isCalm = true;
    for (const link of this.#links.values()) {
      link.cuts.clear();
      link.extraLoss = 0;
    }
  }

  isOpen(from: number, to: number): boolean {
    return this.#link(from, to).cuts.size === 0;
  }

  isConnected(from: number, to: number): boolean {
    if (!this.#places.has(to)) return false;
    if (this.#profile.kind === 'datagram') return true;
    const link = this.#link(from, to);
    return link.cuts.size === 0 && link.brokenUntil <= this.#scheduler.now;
  }

  carry(from: number, to: number, sender: NodeId, lane: Lane, frame: Uint8Array): boolean {
    const link = this.#link(from, to);
    const dice = this.#diceOf(from, to);
    const profile = this.#profile;
    const now = this.#scheduler.now;
    this.onFrame(from, lane, frame);
    this.counts.frames++;
    this.counts.bytes += frame.length;
    if (profile.kind === 'stream' && link.brokenUntil > now) return this.#refuse();
    // One frame always has room, or a large one would never pass.
    if (link.inFlightBytes > 0 && link.inFlightBytes + frame.length > profile.capacityBytes) return this.#refuse();
    const isCalm = this.#isCalm;
    if (profile.kind === 'stream' && !isCalm && dice.chance(profile.breakChance + link.extraLoss / 20)) {
      this.#break(link, dice);
      return this.#refuse();
    }
    if (profile.kind === 'datagram') {
      if (link.cuts.size > 0) return this.#lose('cut');
      if (!isCalm && dice.chance(profile.lossChance + link.extraLoss)) return this.#lose('lost');
      if (!isCalm && dice.chance(profile.duplicateChance)) {
        this.counts.duplicated++;
        this.#deliver(from, to, { sender, lane, frame: Buffer.from(frame) }, link, dice);
      }
    }
    this.#deliver(from, to, { sender, lane, frame }, link, dice);
    return true;
  }

  #refuse(): false {
    this.counts.refused++;
    return false;
  }

  /** The sender does not learn of it. */
  #lose(how: 'cut' | 'lost'): true {
    this.counts[how]++;
    return true;
  }

  #break(link: LinkState, dice: Dice): void {
    this.counts.broken++;
    link.epoch++;
    link.lastArrival = 0;
    link.brokenUntil = this.#scheduler.now + dice.tailed(RECONNECT_MS);
  }

  #deliver(
    from: number, to: number, parcel: Parcel, link: LinkState, dice: Dice,
  ): void {
    const profile = this.#profile;
    const now = this.#scheduler.now;
    link.freeAt = Math.max(link.freeAt, now) + parcel.frame.length / profile.bytesPerMs;
    const isCalm = this.#isCalm;
    const delayMs = dice.tailed(profile.delayMs);
    let arrival = link.freeAt + (isCalm ? Math.min(delayMs, CALM_TAIL * profile.delayMs) : delayMs);
    if (!isCalm && dice.chance(profile.lateChance)) arrival += dice.tailed(profile.lateMs);
    if (profile.kind === 'stream') {
      arrival = Math.max(arrival, link.lastArrival + 0.001);
      link.lastArrival = arrival;
      if (arrival - now > STALLED_MS) this.#giveUp(from, to, link);
    }
    let frame = parcel.frame;
    if (!isCalm && dice.chance(profile.damageChance)) {
      this.counts.damaged++;
      frame = damaged(frame, dice);
    }
    const epoch = link.epoch;
    link.inFlightBytes += parcel.frame.length;
    this.#arrange(arrival, from, to, () => {
      link.inFlightBytes -= parcel.frame.length;
      if (link.epoch !== epoch) return this.#lose('lost');
      return this.#arrive(from, to, { ...parcel, frame }, link, now);
    });
  }

  /** What stands still for so long is a connection both ends give up, with all that waits behind. */
  #giveUp(from: number, to: number, link: LinkState): void {
    const { epoch } = link;
    this.#arrange(this.#scheduler.now + STALLED_MS, from, to, () => {
      if (link.epoch === epoch) this.#break(link, this.#diceOf(from, to));
    });
  }

  #arrange(at: number, from: number, to: number, run: () => unknown): void {
    this.#scheduler.at(at, Kind.frame, from * 16 + to, run);
  }

  #arrive(from: number, to: number, parcel: Parcel, link: LinkState, sentAt: number): void {
    if (link.cuts.size > 0) {
      // A stream's frames are sent again and again until the way is open or the connection is given up.
      if (this.#profile.kind === 'datagram') return void this.#lose('cut');
      if (this.#scheduler.now - sentAt > STALLED_MS) return this.#break(link, this.#diceOf(from, to));
      const epoch = link.epoch;
      const again = Math.max(this.#scheduler.now + RECONNECT_MS, link.lastArrival + 0.001);
      link.lastArrival = again;
      link.inFlightBytes += parcel.frame.length;
      return this.#arrange(again, from, to, () => {
        link.inFlightBytes -= parcel.frame.length;
        if (link.epoch === epoch) this.#arrive(from, to, parcel, link, sentAt);
      });
    }
    const { sender, lane, frame } = parcel;
    this.#scheduler.note(frame.length, frame.length > 4 ? (frame[frame.length - 1] ?? 0) * 256 + (frame[4] ?? 0) : 0);
    this.#places.get(to)?.take(from, sender, lane, frame);
  }

  #link(from: number, to: number): LinkState {
    const key = from * 256 + to;
    let link = this.#links.get(key);
    if (link === undefined) {
      link = { inFlightBytes: 0, freeAt: 0, lastArrival: 0, epoch: 0, brokenUntil: 0, cuts: new Set(), extraLoss: 0 };
      this.#links.set(key, link);
    }
    return link;
  }

  #diceOf(from: number, to: number): Dice {
    const key = from * 256 + to;
    let dice = this.#dice.get(key);
    if (dice === undefined) {
      dice = new Dice(this.#seed, 'link', key);
      this.#dice.set(key, dice);
    }
    return dice;
  }
}

/** One process's door to the network. */
export class SimTransport implements Transport {
  readonly #network: Network;
  readonly #place: number;
  readonly #id: NodeId;
  readonly #loop: EventLoop;
  #receive: Receive | null = null;
  #peers = new Map<NodeId, number>();
  /** Who spoke to this one last from where: can be answered without an address, as over the connection they dialled. */
  readonly #heard = new Map<NodeId, { readonly place: number; readonly at: number }>();

  constructor(network: Network, place: number, id: NodeId, loop: EventLoop) {
    this.#network = network;
    this.#place = place;
    this.#id = id;
    this.#loop = loop;
  }

  start(receive: Receive, done: Done): void {
    this.#loop.door();
    this.#receive = receive;
    this.#network.attach(this.#place, this);
    this.#loop.complete(() => done(null));
  }

  setPeers(addresses: ReadonlyMap<NodeId, readonly string[]>): void {
    this.#loop.door();
    this.#peers = new Map();
    for (const [id, urls] of addresses) {
      const place = placeOf(urls[0] ?? '');
      if (place !== null && id !== this.#id) this.#peers.set(id, place);
    }
  }

  send(to: NodeId, lane: Lane, frame: Uint8Array): boolean {
    if (!this.#loop.isAlive) return false;
    this.#loop.door();
    const place = this.#peers.get(to) ?? this.#wayBack(to);
    return place !== undefined && this.#network.carry(this.#place, place, this.#id, lane, frame);
  }

  sendPieces(to: NodeId, lane: Lane, frame: Uint8Array, rest: Uint8Array): boolean {
    return this.send(to, lane, Buffer.concat([frame, rest]));
  }

  isConnected(to: NodeId): boolean {
    const place = this.#peers.get(to);
    return place !== undefined && this.#network.isConnected(this.#place, place);
  }

  close(done: Done): void {
    this.drop();
    this.#loop.complete(() => done(null));
  }

  /** From the network. */
  take(place: number, from: NodeId, lane: Lane, frame: Uint8Array): void {
    this.#heard.set(from, { place, at: this.#network.now });
    this.#loop.arrive(() => this.#receive?.(from, lane, frame));
  }

  #wayBack(to: NodeId): number | undefined {
    const heard = this.#heard.get(to);
    return heard !== undefined && this.#network.now - heard.at < WAY_BACK_MS ? heard.place : undefined;
  }

  drop(): void {
    this.#network.detach(this.#place, this);
    this.#receive = null;
  }
}

/** The address of a machine, and back. */
export function urlOf(place: number): string {
  return `http://place-${place}:2380`;
}

function placeOf(url: string): number | null {
  const match = /^http:\/\/place-(\d+):2380$/.exec(url);
  return match === null ? null : Number(match[1]);
}

function damaged(frame: Uint8Array, dice: Dice): Uint8Array {
  const copy = Buffer.from(frame);
  const how = dice.below(3);
  if (how === 0 && copy.length > 1) return copy.subarray(0, dice.below(copy.length));
  if (how === 1) return Buffer.concat([copy, Buffer.from([dice.below(256)])]);
  const at = dice.below(copy.length);
  copy[at] = (copy[at] ?? 0) ^ (1 << dice.below(8));
  return copy;
}

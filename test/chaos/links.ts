// The network between members: in front of each member stands a listener of ours, and its address is what the member
// advertises. Who dials is found by asking the kernel which process owns the other end of the connection, so one address
// for all still gives one rule for each ordered pair of members. What flows from A to B obeys the rule of A to B, whoever
// dialled.
//
// With a frame splitter the unit is a message of the target's own protocol: messages are lost, doubled, delayed and
// overtaken without breaking the stream. Without one the unit is bytes, and a cut holds them back: when it ends they either
// arrive late or their connection is reset, which the campaign draws.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer, connect, type Server, type Socket } from 'node:net';
import type { Prng } from '../../core/base/prng.js';

/** One message, or, without a splitter, a run of bytes of no known kind. */
export interface Piece {
  readonly bytes: Uint8Array;
  /** Lane and kinds of messages, as far as known: what rules select by. */
  readonly tags: readonly string[];
}

export type Splitter = (chunk: Uint8Array) => readonly Piece[];

export interface Rule {
  /** Nothing passes. */
  readonly isCut?: boolean;
  /** Only pieces with one of these tags are touched by `lossPercent` and `isCut`. Absent: all. */
  readonly onlyTags?: readonly string[];
  readonly lossPercent?: number;
  readonly duplicatePercent?: number;
  /** Every piece waits this long, and up to `jitterMs` more; with a splitter, jitter lets them overtake each other. */
  readonly delayMs?: number;
  readonly jitterMs?: number;
  readonly bytesPerSecond?: number;
  /** One byte of the message is changed on the way. */
  readonly damagePercent?: number;
  /** Half of the message arrives, then the connection ends. */
  readonly tearPercent?: number;
}

const OPEN: Rule = {};
/** Held back for one direction of one connection; beyond it the sender feels the cut as back-pressure. */
const HELD_BYTES_MAX = 1 << 20;

export interface LinkEnd {
  readonly name: string;
  pid(): number | null;
}

export interface LinkCounts {
  pieces: number;
  lost: number;
  duplicated: number;
  damaged: number;
  torn: number;
  resets: number;
}

export class Links {
  readonly counts: LinkCounts = { pieces: 0, lost: 0, duplicated: 0, damaged: 0, torn: 0, resets: 0 };
  readonly #dice: Prng;
  readonly #newSplitter: (() => Splitter) | null;
  readonly #ends: LinkEnd[] = [];
  readonly #rules = new Map<string, Rule>();
  readonly #servers = new Map<string, Server>();
  readonly #connections = new Set<Connection>();

  constructor(dice: Prng, newSplitter: (() => Splitter) | null) {
    this.#dice = dice;
    this.#newSplitter = newSplitter;
  }

  get hasFrames(): boolean {
    return this.#newSplitter !== null;
  }

  /** Listens on `port` for connections to `end`, which itself listens on `targetPort`. */
  async add(end: LinkEnd, port: number, targetPort: number): Promise<void> {
    this.#ends.push(end);
    const server = createServer({ allowHalfOpen: false }, (socket) => this.#accept(end, socket, port, targetPort));
    this.#servers.set(end.name, server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => resolve());
    });
  }

  #accept(to: LinkEnd, socket: Socket, port: number, targetPort: number): void {
    const from = this.#dialler(socket.remotePort ?? 0, port);
    // A process that died while it dialled, or somebody who is no member: nobody's link.
    if (from === null) return void socket.destroy();
    const target = connect(targetPort, '127.0.0.1');
    const split = (): Splitter => this.#newSplitter?.() ?? ((bytes) => [{ bytes, tags: [] }]);
    const connection = new Connection(from.name, to.name, [
      new Pipe(socket, target, { rule: () => this.rule(from.name, to.name), split: split(), links: this, dice: this.#dice }),
      new Pipe(target, socket, { rule: () => this.rule(to.name, from.name), split: split(), links: this, dice: this.#dice }),
    ]);
    this.#connections.add(connection);
    for (const side of [socket, target]) {
      side.setNoDelay(true);
      side.on('error', () => side.destroy());
      side.on('close', () => {
        connection.close();
        this.#connections.delete(connection);
      });
    }
  }

  #dialler(port: number, listenPort: number): LinkEnd | null {
    const inode = inodeOfSocket(port, listenPort);
    if (inode === null) return null;
    return this.#ends.find((end) => ownsSocket(end.pid(), inode)) ?? null;
  }

  rule(from: string, to: string): Rule {
    return this.#rules.get(`${from}>${to}`) ?? OPEN;
  }

  /** Everything that flows from `from` to `to` obeys `rule` from now on. */
  set(from: string, to: string, rule: Rule): void {
    this.#rules.set(`${from}>${to}`, rule);
    for (const connection of this.#connections) connection.wake();
  }

  isCut(from: string, to: string): boolean {
    const rule = this.rule(from, to);
    return rule.isCut === true && rule.onlyTags === undefined;
  }

  /** No rules any more. Connections that were held back deliver late, or are reset, as the dice say. */
  heal(): void {
    const touched = [...this.#connections].filter((connection) => connection.isHeld);
    this.#rules.clear();
    for (const connection of touched) {
      if (this.#dice.below(2) === 0) {
        this.counts.resets++;
        connection.close();
      }
    }
    for (const connection of this.#connections) connection.wake();
  }

  /** Resets the connections between two members, whoever dialled. */
  reset(a: string, b: string): void {
    for (const connection of this.#connections) {
      if (!connection.isBetween(a, b)) continue;
      this.counts.resets++;
      connection.close();
    }
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.close();
    await Promise.all([...this.#servers.values()].map((server) => new Promise((resolve) => server.close(resolve))));
  }
}

class Connection {
  readonly #from: string;
  readonly #to: string;
  readonly #pipes: readonly [Pipe, Pipe];

  constructor(from: string, to: string, pipes: readonly [Pipe, Pipe]) {
    this.#from = from;
    this.#to = to;
    this.#pipes = pipes;
  }

  get isHeld(): boolean {
    return this.#pipes.some((pipe) => pipe.heldBytes > 0);
  }

  isBetween(a: string, b: string): boolean {
    return (this.#from === a && this.#to === b) || (this.#from === b && this.#to === a);
  }

  wake(): void {
    for (const pipe of this.#pipes) pipe.pump();
  }

  close(): void {
    for (const pipe of this.#pipes) pipe.close();
  }
}

interface PipeDoors {
  readonly rule: () => Rule;
  readonly split: Splitter;
  readonly links: Links;
  readonly dice: Prng;
}

/** One direction of one connection: pieces wait here until their rule lets them go. */
class Pipe {
  heldBytes = 0;
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #doors: PipeDoors;
  #queue: { readonly dueAt: number; readonly piece: Piece }[] = [];
  #timer: NodeJS.Timeout | null = null;
  #freeAt = 0;
  #isClosed = false;

  constructor(source: Socket, sink: Socket, doors: PipeDoors) {
    this.#source = source;
    this.#sink = sink;
    this.#doors = doors;
    source.on('data', (chunk: Buffer) => this.#take(chunk));
    sink.on('drain', () => this.pump());
  }

  #take(chunk: Buffer): void {
    const { links, dice } = this.#doors;
    for (const piece of this.#doors.split(chunk)) {
      const rule = this.#doors.rule();
      links.counts.pieces++;
      if (links.hasFrames && this.#isLost(piece, rule)) {
        links.counts.lost++;
        continue;
      }
      this.#enqueue(links.hasFrames ? this.#damaged(piece, rule) : piece, rule);
      if (links.hasFrames && dice.below(100) < (rule.duplicatePercent ?? 0)) {
        links.counts.duplicated++;
        this.#enqueue(piece, rule);
      }
    }
    if (this.heldBytes > HELD_BYTES_MAX) this.#source.pause();
    this.pump();
  }

  /** With frames a cut loses them; a stream without known borders cannot lose anything and go on. */
  #isLost(piece: Piece, rule: Rule): boolean {
    if (rule.onlyTags !== undefined && !rule.onlyTags.some((tag) => piece.tags.includes(tag))) return false;
    return rule.isCut === true || this.#doors.dice.below(100) < (rule.lossPercent ?? 0);
  }

  #damaged(piece: Piece, rule: Rule): Piece {
    const { links, dice } = this.#doors;
    if (dice.below(100) >= (rule.damagePercent ?? 0)) return piece;
    links.counts.damaged++;
    const bytes = Uint8Array.from(piece.bytes);
    const at = dice.below(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.below(8));
    return { ...piece, bytes };
  }

  #enqueue(piece: Piece, rule: Rule): void {
    const jitter = rule.jitterMs === undefined ? 0 : this.#doors.dice.below(rule.jitterMs + 1);
    const dueAt = performance.now() + (rule.delayMs ?? 0) + jitter;
    this.heldBytes += piece.bytes.length;
    let at = this.#queue.length;
    if (this.#doors.links.hasFrames) {
      while (at > 0 && (this.#queue[at - 1]?.dueAt ?? 0) > dueAt) at--;
    }
    this.#queue.splice(at, 0, { dueAt, piece });
  }

  pump(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const rule = this.#doors.rule();
    const isHolding = rule.isCut === true && !this.#doors.links.hasFrames;
    while (!this.#isClosed && !isHolding && !this.#sink.writableNeedDrain) {
      const next = this.#queue[0];
      if (next === undefined) break;
      const now = performance.now();
      const waitMs = Math.max(next.dueAt, this.#freeAt) - now;
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), waitMs);
        return;
      }
      this.#queue.shift();
      this.heldBytes -= next.piece.bytes.length;
      if (rule.bytesPerSecond !== undefined) this.#freeAt = now + (next.piece.bytes.length * 1000) / rule.bytesPerSecond;
      if (this.#doors.links.hasFrames && this.#doors.dice.below(100) < (rule.tearPercent ?? 0)) {
        this.#doors.links.counts.torn++;
        this.#sink.write(next.piece.bytes.subarray(0, next.piece.bytes.length >> 1), () => this.close());
        return;
      }
      this.#sink.write(next.piece.bytes);
    }
    if (this.heldBytes <= HELD_BYTES_MAX && this.#source.isPaused()) this.#source.resume();
  }

  close(): void {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#queue = [];
    this.heldBytes = 0;
    this.#source.destroy();
    this.#sink.destroy();
  }
}

/** The kernel's number of the socket that dialled from `port` to `listenPort`; null: there is none (any more). */
function inodeOfSocket(port: number, listenPort: number): string | null {
  const hex = (value: number): string => value.toString(16).toUpperCase().padStart(4, '0');
  const ends = `0100007F:${hex(port)} 0100007F:${hex(listenPort)} `;
  const table = readFileSync('/proc/net/tcp', 'latin1');
  const at = table.indexOf(ends);
  if (at === -1) return null;
  const row = table.slice(at, table.indexOf('\n', at)).trim().split(/\s+/);
  return row[8] ?? null;
}

function ownsSocket(pid: number | null, inode: string): boolean {
  if (pid === null) return false;
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).some((fd) => linkOf(`${folder}/${fd}`) === `socket:[${inode}]`);
  } catch {
    // The process is gone: it owns nothing.
    return false;
  }
}

function linkOf(file: string): string | null {
  try {
    return readlinkSync(file);
  } catch {
    // Closed since the folder was read.
    return null;
  }
}

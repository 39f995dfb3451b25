// The other members, as a node sees them: an address book, and three lanes over a Transport. Decides who is believed: only
// frames of our cluster, meant for us, from a member that was not removed and has the data directory it is known by. Who is
// not believed any more is told so, now and then. Nothing here waits, and no handler is called from within a call to here.
//
// Somebody unknown may be a member whose addition this one has not applied yet: its messages and its snapshots count, or
// this member could never learn of the addition; its requests do not.

import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { LogStorage } from '../log/log-storage.js';
import type { Entry, Message, NodeId, SnapshotMeta, Term } from '../raft/types.js';
import { CallLane } from './call-lane.js';
import {
  DecodeError, entryPieces, messageBytes, MESSAGES_HEAD_BYTES, type Append, type EntryPieces, type PlainMessage,
} from './codec.js';
import type { DropReason, PeerEvent } from './events.js';
import {
  decodeFrame, encodeAppendStart, encodeFrame, ENVELOPE_BYTES, laneOf, type Body, type Frame, type Refusal,
} from './frame.js';
import {
  COUNTER_MAX, FRAME_BYTES_MAX, FRAME_BYTES_TARGET, MESSAGES_MAX, NOTICE_MS, REPORT_MS, REPORTED_MAX, SHARED_BYTES_MIN,
  TERM_JUMP_MAX,
} from './limits.js';
import { SnapshotReceiver } from './snapshot-receiver.js';
import { SnapshotSenders, type SendEnd } from './snapshot-sender.js';
import { Tally } from '../base/tally.js';
import type { Lane, Transport } from './transport.js';

export { CallFailed } from './call-lane.js';

export interface PeersConfig {
  readonly clusterId: bigint;
  readonly self: NodeId;
  readonly incarnation: bigint;
  /** Random for each start of the process; below 2^48. */
  readonly session: number;
}

export interface PeersDoors {
  readonly clock: Clock;
  readonly transport: Transport;
  readonly log: Pick<LogStorage, 'openSnapshot' | 'stageSnapshot'>;
  observe(event: PeerEvent): void;
}

export interface PeerMember {
  readonly id: NodeId;
  readonly peerUrls: readonly string[];
  /** 0n: it has not told anybody yet. */
  readonly incarnation: bigint;
}

export interface PeersHandlers {
  /** Checked: our cluster, a member not removed, its right incarnation, `to` is us. 'snapshot' messages never come here. */
  onMessages(messages: readonly Message[]): void;
  /** A request, at most once each. `answer` may be called once, later; nothing happens when the asker is gone. */
  onCall(from: NodeId, request: Uint8Array, answer: (reply: Uint8Array) => void): void;
  /** A snapshot begins to arrive: say where its chunks go, or null to refuse. An earlier one that has not ended never will. */
  onSnapshotBegin(meta: SnapshotMeta): ((chunk: Uint8Array) => void) | null;
  /** It is whole, verified and staged: feed the machine. */
  onSnapshotEnd(message: Extract<Message, { readonly kind: 'snapshot' }>): void;
  /** `isDamaged`: the newest snapshot cannot be read, here or there; only another one helps. */
  onSnapshotSent(to: NodeId, ok: boolean, isDamaged: boolean): void;
  /** Messages to `peer` are being lost. */
  onUnreachable(peer: NodeId): void;
  /**
   * A member that must know says that we are not, or not any more, who we think: we were removed, or our data directory is
   * not the one known under this id. `isMember`: it is one as far as this one knows; else it may claim anything.
   */
  onRefused(reason: Refusal, by: NodeId, isMember: boolean): void;
}

export class Peers {
  readonly #config: PeersConfig;
  readonly #doors: PeersDoors;
  readonly #handlers: PeersHandlers;
  readonly #calls: CallLane;
  readonly #senders: SnapshotSenders;
  readonly #receiver: SnapshotReceiver;
  readonly #drops: Tally;
  readonly #members = new Map<NodeId, PeerMember>();
  readonly #toldAt = new Map<NodeId, number>();
  readonly #unreachable = new Set<NodeId>();
  #isRemoved: (id: NodeId) => boolean = () => false;
  #state: 'new' | 'running' | 'closed' = 'new';
  /** The newest that this process has said or believed; it never believes one much later (G5). */
  #term: Term = 0;
  /** Entries that were last encoded, while messages are sent: the next member gets the same, if its message comes next. */
  #shared: { readonly entries: readonly Entry[]; readonly pieces: EntryPieces } | null = null;

  constructor(config: PeersConfig, doors: PeersDoors, handlers: PeersHandlers) {
    assert(config.session >= 0 && config.session <= COUNTER_MAX, `the session ${config.session} is not below 2^48`);
    this.#config = config;
    this.#doors = doors;
    this.#handlers = handlers;
    const { clock, log } = doors;
    const send = (to: NodeId, body: Body): boolean => this.#send(to, body);
    this.#calls = new CallLane({
      clock, session: config.session, send, onCall: (from, request, answer) => handlers.onCall(from, request, answer),
    });
    this.#senders = new SnapshotSenders({
      clock, log, send, onSent: (to, end) => this.#onSent(to, end),
    });
    this.#receiver = new SnapshotReceiver({
      clock, log, send,
      onBegin: (meta) => handlers.onSnapshotBegin(meta),
      onFailed: (from, reason) => this.#onSnapshotFailed(from, 'receiving', reason),
      onEnd: (from, term, snapshot) => handlers.onSnapshotEnd({ kind: 'snapshot', from, to: config.self, term, snapshot }),
    });
    this.#drops = new Tally(clock, { intervalMs: REPORT_MS, kindsMax: REPORTED_MAX });
  }

  start(done: Done): void {
    assert(this.#state === 'new', 'peers start once');
    this.#state = 'running';
    this.#doors.transport.start((from, lane, frame) => this.#receive(from, lane, frame), done);
  }

  /** Calls fail with 'closed', snapshots on their way are given up; done when the transport is closed. */
  close(done: Done): void {
    this.#state = 'closed';
    this.#calls.close();
    this.#senders.close();
    this.#receiver.close();
    this.#doors.transport.close(done);
  }

  /** Who the other members are; replaces what was said before. */
  setMembers(members: readonly PeerMember[], isRemoved: (id: NodeId) => boolean): void {
    this.#isRemoved = isRemoved;
    this.#members.clear();
    for (const member of members) if (member.id !== this.#config.self) this.#members.set(member.id, member);
    this.#doors.transport.setPeers(new Map([...this.#members.values()].map(({ id, peerUrls }) => [id, peerUrls])));
    this.#calls.forget((id) => this.#members.has(id));
    this.#senders.keep((id) => !isRemoved(id));
  }

  /** This member leads no term before `term` any more: it ships nothing more in their name. */
  stopShipping(term: Term): void {
    this.#senders.stopBefore(term);
  }

  /** Groups by destination; a 'snapshot' message begins shipping, one for each destination. Never waits. */
  send(messages: readonly Message[]): void {
    if (this.#state !== 'running') return;
    const groups = new Map<NodeId, PlainMessage[]>();
    for (const message of messages) {
      assert(message.to !== this.#config.self, `a ${message.kind} message from a member to itself`);
      if (message.term > this.#term) this.#term = message.term;
      if (message.kind === 'snapshot') this.#senders.begin(message);
      else {
        const group = groups.get(message.to);
        if (group === undefined) groups.set(message.to, [message]);
        else group.push(message);
      }
    }
    for (const [to, group] of groups) this.#sendGroup(to, group);
    this.#shared = null;
  }

  /** One request, one answer; the error is `CallFailed`. Requests are never repeated. */
  call(to: NodeId, request: Uint8Array, timeoutMs: number, done: Done<Uint8Array>): void {
    this.#calls.call(to, request, timeoutMs, done);
  }

  isConnected(to: NodeId): boolean {
    return this.#state === 'running' && this.#doors.transport.isConnected(to);
  }

  #sendGroup(to: NodeId, messages: readonly PlainMessage[]): void {
    let frame: PlainMessage[] = [];
    let bytes = MESSAGES_HEAD_BYTES;
    const flush = (): void => {
      if (frame.length > 0 && !this.#send(to, { kind: 'messages', messages: frame })) this.#markUnreachable(to);
      frame = [];
      bytes = MESSAGES_HEAD_BYTES;
    };
    for (const message of messages) {
      const more = messageBytes(message);
      if (more + ENVELOPE_BYTES + MESSAGES_HEAD_BYTES > FRAME_BYTES_MAX) {
        this.#drop(to, 'too_large', `a message of ${more} bytes; a frame has at most ${FRAME_BYTES_MAX}`);
        continue;
      }
      if (message.kind === 'append' && more >= SHARED_BYTES_MIN) {
        flush();
        if (!this.#sendAppend(to, message)) this.#markUnreachable(to);
        continue;
      }
      if (bytes + more > FRAME_BYTES_TARGET || frame.length === MESSAGES_MAX) flush();
      frame.push(message);
      bytes += more;
    }
    flush();
  }

  /** In a frame of its own, whose end is shared with all who get these entries. */
  #sendAppend(to: NodeId, message: Append): boolean {
    const { entries } = message;
    if (this.#shared?.entries !== entries) this.#shared = { entries, pieces: entryPieces(entries) };
    const { pieces } = this.#shared;
    const { clusterId, self, incarnation, session } = this.#config;
    const start = encodeAppendStart({ clusterId, from: self, to, incarnation, session }, message, pieces);
    return this.#doors.transport.sendPieces(to, 'raft', start, pieces.rest);
  }

  #send(to: NodeId, body: Body): boolean {
    if (this.#state !== 'running') return false;
    const { clusterId, self, incarnation, session } = this.#config;
    if ((body.kind === 'request' || body.kind === 'reply') && body.payload.length > FRAME_BYTES_MAX - ENVELOPE_BYTES - 16) {
      this.#drop(to, 'too_large', `a ${body.kind} of ${body.payload.length} bytes; a frame has at most ${FRAME_BYTES_MAX}`);
      return false;
    }
    const frame = encodeFrame({ clusterId, from: self, to, incarnation, session }, body);
    return this.#doors.transport.send(to, laneOf(body.kind), frame);
  }

  /** Told in a later turn, once for all messages lost in this one. */
  #markUnreachable(peer: NodeId): void {
    if (this.#unreachable.size === 0) {
      this.#doors.clock.schedule(0, () => {
        const peers = [...this.#unreachable];
        this.#unreachable.clear();
        for (const each of peers) if (this.#state === 'running') this.#handlers.onUnreachable(each);
      });
    }
    this.#unreachable.add(peer);
  }

  #receive(from: NodeId, lane: Lane, bytes: Uint8Array): void {
    if (this.#state !== 'running') return;
    let frame: Frame;
    try {
      frame = decodeFrame(bytes);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      return this.#drop(from, 'malformed', error.message);
    }
    if (frame.from !== from || laneOf(frame.body.kind) !== lane) {
      const claim = `a ${frame.body.kind} frame of member ${frame.from.toString(16)}`;
      return this.#drop(from, 'malformed', `${claim} in the ${lane} lane`);
    }
    if (this.#isBelieved(frame) && this.#isOfOurTime(frame)) this.#take(frame);
  }

  #isBelieved(frame: Frame): boolean {
    const { clusterId, self } = this.#config;
    const { from } = frame;
    if (frame.clusterId !== clusterId) {
      this.#drop(from, 'other_cluster', `its cluster is ${frame.clusterId.toString(16)}, ours ${clusterId.toString(16)}`);
      return false;
    }
    if (frame.to !== self || from === self) {
      this.#drop(from, 'other_member', `meant for member ${frame.to.toString(16)}, this is ${self.toString(16)}`);
      return false;
    }
    if (this.#isRemoved(from)) {
      this.#refuse(frame, 'removed', 'it was removed from the cluster');
      return false;
    }
    const known = this.#members.get(from)?.incarnation ?? 0n;
    if (known !== 0n && known !== frame.incarnation) {
      const lives = `it runs on data directory ${frame.incarnation.toString(16)}, known is ${known.toString(16)}`;
      this.#refuse(frame, 'other_incarnation', lives);
      return false;
    }
    return true;
  }

  #isOfOurTime({ from, body }: Frame): boolean {
    let newest = this.#term;
    if (body.kind === 'messages') for (const { term } of body.messages) newest = Math.max(newest, term);
    else if (body.kind === 'offer') newest = Math.max(newest, body.term);
    if (newest - this.#term > TERM_JUMP_MAX) {
      this.#drop(from, 'malformed', `term ${newest}, when the newest known is ${this.#term}`);
      return false;
    }
    this.#term = newest;
    return true;
  }

  #onSent(to: NodeId, end: SendEnd): void {
    if (!end.ok) this.#onSnapshotFailed(to, 'sending', end.reason);
    if (this.#state === 'running') this.#handlers.onSnapshotSent(to, end.ok, !end.ok && end.isDamaged);
  }

  #onSnapshotFailed(peer: NodeId, way: 'sending' | 'receiving', reason: string): void {
    const count = this.#state === 'running' ? this.#drops.add(`${way} ${peer}`) : 0;
    if (count > 0) this.#doors.observe({ kind: 'snapshot_failed', peer, way, reason, count });
  }

  #take(frame: Frame): void {
    const { from, body } = frame;
    switch (body.kind) {
      case 'messages':
        return this.#handlers.onMessages(body.messages);
      case 'request':
        if (!this.#members.has(from)) return this.#drop(from, 'stranger', 'a request from no member known here');
        if (!this.#calls.onRequest(frame, body.call, body.payload)) this.#drop(from, 'too_many', 'too many unanswered requests');
        return;
      case 'reply':
        return this.#calls.onReply(from, body.session, body.call, body.payload);
      case 'notice':
        // About an earlier life under this id: not about us.
        if (body.incarnation === this.#config.incarnation) this.#handlers.onRefused(body.reason, from, this.#members.has(from));
        return;
      case 'offer':
      case 'piece':
      case 'abort':
        return this.#receiver.receive(frame, body);
      case 'accept':
        return this.#senders.receive(frame, body);
    }
  }

  /** Drops, and lets the sender know, for it can only stop: not more often than it helps. Notices answer no notices. */
  #refuse(frame: Frame, reason: Refusal, detail: string): void {
    this.#drop(frame.from, reason, detail);
    const now = this.#doors.clock.now();
    const toldAt = this.#toldAt.get(frame.from);
    if (frame.body.kind === 'notice' || (toldAt !== undefined && now - toldAt < NOTICE_MS)) return;
    if (toldAt === undefined && this.#toldAt.size >= REPORTED_MAX) this.#toldAt.clear();
    this.#toldAt.set(frame.from, now);
    this.#send(frame.from, { kind: 'notice', reason, incarnation: frame.incarnation });
  }

  #drop(peer: NodeId, reason: DropReason, detail: string): void {
    const count = this.#drops.add(`${reason} ${peer}`);
    if (count > 0) this.#doors.observe({ kind: 'frames_dropped', peer, reason, count, detail });
  }
}

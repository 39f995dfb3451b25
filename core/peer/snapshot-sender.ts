// Ships the newest snapshot to other members, one to each at a time, a few at once in all. The receiver leads: its `accept`
// says how much it has, and the sender goes on from there, so that a lost piece, a broken connection or a receiver that began
// anew all end in the same way. Silence is answered by asking again, long silence by giving up.
//
//   begin ─► wait for a turn ─► open the file ─► offer ─► accept(offset) ─► pieces ... accept(offset) ... ─► accept(done)
//
// Pieces on their way are bounded by a window that begins with one and grows with each answer: on a slow link the next piece
// is not sent before it can arrive.

import type { Clock } from '../base/clock.js';
import type { LogStorage, SnapshotFile } from '../log/log-storage.js';
import type { Message, NodeId, Term } from '../raft/types.js';
import type { Body, Frame, SnapshotBody } from './frame.js';
import {
  PIECE_BYTES, SENDERS_MAX, SNAPSHOT_ASK_MS, SNAPSHOT_BYTES_MAX, SNAPSHOT_RETRY_MS, SNAPSHOT_SILENCE_MS, WINDOW_PIECES,
} from './limits.js';

type Accept = Extract<SnapshotBody, { readonly kind: 'accept' }>;
type SnapshotMessage = Extract<Message, { readonly kind: 'snapshot' }>;

export interface SenderDoors {
  readonly clock: Clock;
  readonly log: Pick<LogStorage, 'openSnapshot'>;
  send(to: NodeId, body: Body): boolean;
  /** In a later turn than `begin`. */
  onSent(to: NodeId, end: SendEnd): void;
}

export type SendEnd =
  | { readonly ok: true }
  /** `isDamaged`: the file itself is at fault, as far as one can tell: trying again with the same one is no use. */
  | { readonly ok: false; readonly reason: string; readonly isDamaged: boolean };

export class SnapshotSenders {
  readonly #doors: SenderDoors;
  /** In order of their beginning; the first few are under way. */
  readonly #senders = new Map<NodeId, SnapshotSender>();
  #transfers = 0;

  constructor(doors: SenderDoors) {
    this.#doors = doors;
  }

  /** A second wish for the same member in one term changes nothing: the first will be answered. */
  begin(message: SnapshotMessage): void {
    const { to, term } = message;
    this.stopBefore(term);
    if (this.#senders.has(to)) return;
    const sender: SnapshotSender = new SnapshotSender(message, ++this.#transfers, this.#doors, (end) => {
      if (this.#senders.get(to) !== sender) return;
      if (end !== 'held') {
        this.#senders.delete(to);
        this.#doors.onSent(to, end);
      }
      this.#startNext();
    });
    this.#senders.set(to, sender);
    this.#startNext();
  }

  receive(frame: Frame, accept: Accept): void {
    this.#senders.get(frame.from)?.onAccept(frame.session, accept);
  }

  /** Those to others are given up without a word: nobody waits for them. */
  keep(isMember: (id: NodeId) => boolean): void {
    this.#stop((_, to) => !isMember(to));
  }

  /** Whoever led before `term` ships nothing more: its snapshot would count for nothing, and keep out the one that does. */
  stopBefore(term: Term): void {
    this.#stop((sender) => sender.term < term);
  }

  close(): void {
    this.#stop(() => true);
  }

  #stop(isOver: (sender: SnapshotSender, to: NodeId) => boolean): void {
    for (const [to, sender] of this.#senders) {
      if (!isOver(sender, to)) continue;
      this.#senders.delete(to);
      sender.stop();
    }
    this.#startNext();
  }

  #startNext(): void {
    let active = 0;
    for (const sender of [...this.#senders.values()]) {
      if (active >= SENDERS_MAX) return;
      sender.start();
      if (!sender.isHeld) active++;
    }
  }
}

class SnapshotSender {
  readonly #message: SnapshotMessage;
  readonly #transfer: number;
  readonly #doors: SenderDoors;
  readonly #tell: (end: SendEnd | 'held') => void;
  #state: 'waiting' | 'opening' | 'open' | 'ended' = 'waiting';
  #file: SnapshotFile | null = null;
  #isReading = false;
  /** The receiver's stage, and the process that named it; -1: it has not answered. */
  #stage = -1;
  #session = -1;
  /** Invariant: kept <= sent <= file.sizeBytes; everything before `kept` is with the receiver. */
  #kept = 0;
  #sent = 0;
  #window = 1;
  #heardAt = 0;
  #askedAt = 0;
  #isHeld = false;
  #cancelAsk: () => void = nothing;
  #cancelRetry: () => void = nothing;

  constructor(message: SnapshotMessage, transfer: number, doors: SenderDoors, tell: (end: SendEnd | 'held') => void) {
    this.#message = message;
    this.#transfer = transfer;
    this.#doors = doors;
    this.#tell = tell;
  }

  get term(): Term {
    return this.#message.term;
  }

  /** The receiver has other work, perhaps for long, such as a disk that hangs: others need not wait for that. */
  get isHeld(): boolean {
    return this.#isHeld;
  }

  start(): void {
    if (this.#state !== 'waiting') return;
    this.#state = 'opening';
    this.#doors.log.openSnapshot((error, file) => {
      if (this.#state === 'ended') return file?.close(ignored);
      // A damaged file is no reason to stop: the next snapshot replaces it.
      if (error !== null) return this.#fail(`it cannot be opened: ${error.message}`, true);
      if (file === null || file === undefined) return this.#fail('there is none');
      this.#file = file;
      const { index } = this.#message.snapshot;
      if (file.meta.index < index) return this.#fail(`the newest one is at index ${file.meta.index}, before ${index}`);
      if (file.sizeBytes === 0 || file.sizeBytes > SNAPSHOT_BYTES_MAX) return this.#fail(`it has ${file.sizeBytes} bytes`, true);
      this.#state = 'open';
      this.#heardAt = this.#askedAt = this.#doors.clock.now();
      this.#ask();
    });
  }

  /** The offer is also the question "where are you?". */
  #ask(): void {
    const { clock } = this.#doors;
    if (this.#state !== 'open' || this.#file === null) return;
    const now = clock.now();
    // A process that stood still has not listened: it asks once more.
    if (now - this.#askedAt >= 2 * SNAPSHOT_ASK_MS) this.#heardAt = Math.max(this.#heardAt, now - SNAPSHOT_ASK_MS);
    this.#askedAt = now;
    if (now - this.#heardAt >= SNAPSHOT_SILENCE_MS) return this.#fail(`no answer for ${SNAPSHOT_SILENCE_MS} ms`);
    const { meta, sizeBytes } = this.#file;
    const { to, term } = this.#message;
    this.#doors.send(to, { kind: 'offer', transfer: this.#transfer, term, sizeBytes, sent: this.#sent, meta });
    this.#askLater();
  }

  #askLater(): void {
    this.#cancelAsk();
    this.#askedAt = this.#doors.clock.now();
    this.#cancelAsk = this.#doors.clock.schedule(SNAPSHOT_ASK_MS, () => this.#ask());
  }

  onAccept(session: number, accept: Accept): void {
    if (this.#state !== 'open' || this.#file === null || accept.transfer !== this.#transfer) return;
    this.#heardAt = this.#doors.clock.now();
    this.#askLater();
    switch (accept.state) {
      case 'done':
      case 'unwanted':
        // Not wanted: it has one at least as new.
        return this.#end({ ok: true });
      case 'failed':
        return this.#fail('the receiver cannot keep it');
      case 'damaged':
        return this.#fail('the receiver found it damaged', true);
      case 'busy':
      case 'whole':
        if (this.#isHeld) return;
        this.#isHeld = true;
        return this.#tell('held');
      case 'receiving':
        this.#isHeld = false;
        if (Math.max(accept.offset, accept.taken) > this.#file.sizeBytes) return this.#fail('the receiver has more of it');
        this.#goOn(session, accept);
    }
  }

  #goOn(session: number, { stage, offset, taken, asked }: Accept): void {
    const isNew = session !== this.#session || stage > this.#stage;
    // A late answer: about a stage that is no more, or an earlier one about this.
    if (!isNew && (stage < this.#stage || offset < this.#kept)) return;
    if (isNew || taken < asked) {
      // Begun anew; or what was sent before the question has not arrived: it is lost.
      this.#sent = taken;
      this.#window = 1;
    } else {
      if (offset > this.#kept) this.#window = Math.min(this.#window + 1, WINDOW_PIECES);
      this.#sent = Math.max(this.#sent, taken);
    }
    this.#session = session;
    this.#stage = stage;
    this.#kept = offset;
    this.#pump();
  }

  #pump(): void {
    const file = this.#file;
    if (this.#state !== 'open' || file === null || this.#isReading || this.#stage < 0) return;
    if (this.#sent >= file.sizeBytes || this.#sent - this.#kept >= this.#window * PIECE_BYTES) return;
    const offset = this.#sent;
    const stage = this.#stage;
    this.#isReading = true;
    file.read(offset, Math.min(PIECE_BYTES, file.sizeBytes - offset), (error, bytes) => {
      this.#isReading = false;
      if (this.#state === 'ended') return this.#release();
      if (error !== null) return this.#fail(`it cannot be read at byte ${offset}: ${error.message}`, true);
      if (bytes === undefined || bytes.length === 0) return this.#fail(`it ends at byte ${offset} of ${file.sizeBytes}`, true);
      // Sent back or begun anew meanwhile.
      if (offset !== this.#sent || stage !== this.#stage) return this.#pump();
      if (this.#doors.send(this.#message.to, { kind: 'piece', stage, offset, bytes })) {
        this.#sent = offset + bytes.length;
        return this.#pump();
      }
      this.#cancelRetry();
      this.#cancelRetry = this.#doors.clock.schedule(SNAPSHOT_RETRY_MS, () => this.#pump());
    });
  }

  /** Without a word to anybody here; the receiver is told, so that it need not wait. */
  stop(): void {
    if (this.#state === 'open') this.#doors.send(this.#message.to, { kind: 'abort', transfer: this.#transfer });
    this.#state = 'ended';
    this.#cancelAsk();
    this.#cancelRetry();
    this.#release();
  }

  #fail(reason: string, isDamaged = false): void {
    this.#end({ ok: false, reason, isDamaged });
  }

  #end(end: SendEnd): void {
    if (end.ok) this.#state = 'ended';
    this.stop();
    this.#tell(end);
  }

  /** A file is not closed under a read. */
  #release(): void {
    if (this.#isReading || this.#file === null) return;
    const file = this.#file;
    this.#file = null;
    file.close(ignored);
  }
}

function nothing(): void {
  // No timer is running.
}

function ignored(): void {
  // A file that was only read has nothing to lose.
}

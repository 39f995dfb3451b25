// Takes in a snapshot of another member, one at a time, into a stage of the log. Only bytes that follow without a gap are
// kept, so what is staged is always a true beginning of the sender's file; the whole is checked by the log before anybody
// hears of it. Every offer is answered with how far this is: asking again, going on after a break and beginning anew are the
// same to the sender.
//
//   offer ─► opening the stage ─► receiving pieces ─► whole: the log checks it ─► done: the machine is fed
//
// A stage is kept through a break for a while; a sender in a later term, or one who asks when the other was silent for long,
// takes the place of an earlier one.

import type { Clock } from '../base/clock.js';
import type { LogStorage, SnapshotStage } from '../log/log-storage.js';
import type { NodeId, SnapshotMeta, Term } from '../raft/types.js';
import type { Body, Frame, SnapshotBody, StageState } from './frame.js';
import { PIECE_BYTES, SNAPSHOT_ASK_MS, SNAPSHOT_SILENCE_MS, WINDOW_PIECES } from './limits.js';

export interface ReceiverDoors {
  readonly clock: Clock;
  readonly log: Pick<LogStorage, 'stageSnapshot'>;
  send(to: NodeId, body: Body): boolean;
  onBegin(meta: SnapshotMeta): ((chunk: Uint8Array) => void) | null;
  onEnd(from: NodeId, term: Term, meta: SnapshotMeta): void;
  onFailed(from: NodeId, reason: string): void;
}

type Offer = Extract<SnapshotBody, { readonly kind: 'offer' }>;
type Piece = Extract<SnapshotBody, { readonly kind: 'piece' }>;

interface Arriving {
  readonly from: NodeId;
  readonly session: number;
  /** The newest of offers for the same file: the sender's name for its attempt, and its term. */
  offer: Offer;
  /** What is staged; later offers do not change it. */
  readonly meta: SnapshotMeta;
  readonly stageNumber: number;
  readonly each: (chunk: Uint8Array) => void;
  stage: SnapshotStage | null;
  state: 'opening' | 'receiving' | 'whole';
  /** Invariant: written <= taken <= offer.sizeBytes; what lies between waits in `queue`. */
  written: number;
  taken: number;
  readonly queue: Uint8Array[];
  isWriting: boolean;
  heardAt: number;
}

export class SnapshotReceiver {
  readonly #doors: ReceiverDoors;
  #arriving: Arriving | null = null;
  /** A stage that is being given up blocks the next one: the log has room for one. */
  #isLeaving = false;
  #ended: { readonly from: NodeId; readonly session: number; readonly transfer: number } | null = null;
  #stages = 0;
  /** The newest of an offer: who leads an earlier one has been deposed, and its snapshot would count for nothing. */
  #term: Term = 0;
  #cancelTimer: () => void = () => undefined;
  #isClosed = false;

  constructor(doors: ReceiverDoors) {
    this.#doors = doors;
  }

  receive(frame: Frame, body: Exclude<SnapshotBody, { readonly kind: 'accept' }>): void {
    if (this.#isClosed) return;
    switch (body.kind) {
      case 'offer': return this.#onOffer(frame, body);
      case 'piece': return this.#onPiece(frame, body);
      case 'abort': return this.#onAbort(frame, body.transfer);
    }
  }

  /** What is staged stays for `open` of the log to remove. */
  close(): void {
    this.#isClosed = true;
    this.#cancelTimer();
    this.#arriving = null;
  }

  #onOffer({ from, session }: Frame, offer: Offer): void {
    const { transfer } = offer;
    const ended = this.#ended;
    if (ended !== null && ended.from === from && ended.session === session && ended.transfer === transfer) {
      return this.#answer(from, transfer, 'done');
    }
    // Two that take turns in ousting each other would never end.
    if (offer.term < this.#term) return this.#answer(from, transfer, 'busy');
    this.#term = offer.term;
    const arriving = this.#arriving;
    if (arriving !== null) {
      if (isSameFile(arriving, { from, session, offer })) {
        if (transfer >= arriving.offer.transfer) arriving.offer = offer;
        arriving.heardAt = this.#doors.clock.now();
        return this.#tell(arriving, offer.sent);
      }
      if (!this.#yields(arriving, { from, session, offer })) return this.#answer(from, transfer, 'busy');
      this.#leave();
    }
    if (this.#isLeaving) return this.#answer(from, transfer, 'busy');
    this.#begin(from, session, offer);
  }

  /** Whether the one under way makes room. Once whole it is only a moment from its end. */
  #yields(arriving: Arriving, next: { from: NodeId; session: number; offer: Offer }): boolean {
    if (arriving.state === 'whole') return false;
    if (next.from === arriving.from) return next.session !== arriving.session || next.offer.transfer > arriving.offer.transfer;
    if (next.offer.term > arriving.offer.term) return true;
    return this.#doors.clock.now() - arriving.heardAt >= SNAPSHOT_SILENCE_MS;
  }

  #begin(from: NodeId, session: number, offer: Offer): void {
    const each = this.#doors.onBegin(offer.meta);
    if (each === null) return this.#answer(from, offer.transfer, 'unwanted');
    const arriving: Arriving = {
      from, session, offer, meta: offer.meta, each, stageNumber: ++this.#stages, stage: null, state: 'opening', written: 0,
      taken: 0, queue: [], isWriting: false, heardAt: this.#doors.clock.now(),
    };
    this.#arriving = arriving;
    this.#watch(arriving);
    this.#doors.log.stageSnapshot(offer.meta, (error, stage) => {
      if (this.#isClosed) return;
      if (this.#arriving !== arriving) return stage === undefined ? this.#left() : stage.discard(() => this.#left());
      arriving.state = 'receiving';
      if (error !== null || stage === undefined) return this.#fail(arriving, 'failed', error);
      arriving.stage = stage;
      this.#tell(arriving);
    });
  }

  #onPiece({ from, session }: Frame, { stage, offset, bytes }: Piece): void {
    const arriving = this.#arriving;
    if (arriving === null || arriving.from !== from || arriving.session !== session || arriving.stageNumber !== stage) return;
    if (arriving.state !== 'receiving') return;
    arriving.heardAt = this.#doors.clock.now();
    // A gap, a repetition or more than there should be: the sender learns what is kept, and asks when nothing follows.
    if (offset !== arriving.taken || offset + bytes.length > arriving.offer.sizeBytes) return;
    if (arriving.taken - arriving.written > WINDOW_PIECES * PIECE_BYTES) return;
    arriving.taken += bytes.length;
    arriving.queue.push(bytes);
    this.#write(arriving);
  }

  #write(arriving: Arriving): void {
    const bytes = arriving.queue[0];
    if (bytes === undefined || arriving.isWriting || arriving.stage === null) return;
    arriving.queue.shift();
    arriving.isWriting = true;
    arriving.stage.write(bytes, (error) => {
      arriving.isWriting = false;
      if (this.#isClosed) return;
      if (this.#arriving !== arriving) return this.#discard(arriving);
      if (error !== null) return this.#fail(arriving, 'failed', error);
      arriving.written += bytes.length;
      if (arriving.written === arriving.offer.sizeBytes) return this.#finish(arriving);
      this.#tell(arriving);
      this.#write(arriving);
    });
  }

  #finish(arriving: Arriving): void {
    arriving.state = 'whole';
    this.#tell(arriving);
    const guarded = (chunk: Uint8Array): void => {
      if (!this.#isClosed) arriving.each(chunk);
    };
    arriving.stage?.finish(guarded, (error) => {
      if (this.#isClosed) return;
      // The log has discarded it: the bytes are not what they claim to be.
      if (error !== null) arriving.stage = null;
      if (error !== null) return this.#fail(arriving, 'damaged', error);
      this.#arriving = null;
      this.#cancelTimer();
      const { from, session, offer, meta } = arriving;
      this.#ended = { from, session, transfer: offer.transfer };
      this.#answer(from, offer.transfer, 'done');
      this.#doors.onEnd(from, offer.term, meta);
    });
  }

  #onAbort({ from, session }: Frame, transfer: number): void {
    const arriving = this.#arriving;
    if (arriving === null || arriving.state === 'whole') return;
    if (arriving.from === from && arriving.session === session && arriving.offer.transfer === transfer) this.#leave();
  }

  #fail({ from, offer }: Arriving, state: 'failed' | 'damaged', error: Error | null): void {
    this.#answer(from, offer.transfer, state);
    this.#leave();
    this.#doors.onFailed(from, `${state === 'damaged' ? 'what arrived is no snapshot' : 'it cannot be kept'}: ${error?.message}`);
  }

  /** Gives up what is arriving. A stage that is being opened or written to is discarded by the answer to that. */
  #leave(): void {
    const arriving = this.#arriving;
    if (arriving === null) return;
    this.#arriving = null;
    this.#cancelTimer();
    this.#isLeaving = true;
    if (arriving.state !== 'opening' && !arriving.isWriting) this.#discard(arriving);
  }

  #discard(arriving: Arriving): void {
    if (arriving.stage === null) return this.#left();
    const stage = arriving.stage;
    arriving.stage = null;
    stage.discard(() => this.#left());
  }

  #left(): void {
    this.#isLeaving = false;
  }

  /** Nobody speaks any more: make room. */
  #watch(arriving: Arriving): void {
    this.#cancelTimer();
    const dueAt = this.#doors.clock.now() + SNAPSHOT_SILENCE_MS;
    this.#cancelTimer = this.#doors.clock.schedule(SNAPSHOT_SILENCE_MS, () => {
      if (this.#arriving !== arriving) return;
      const now = this.#doors.clock.now();
      // A process that stood still has not listened: nobody was silent.
      const wasAsleep = now - dueAt >= SNAPSHOT_ASK_MS;
      const isSilent = !wasAsleep && now - arriving.heardAt >= SNAPSHOT_SILENCE_MS;
      if (!isSilent || arriving.state !== 'receiving') return this.#watch(arriving);
      this.#leave();
      this.#doors.onFailed(arriving.from, `no word of it for ${SNAPSHOT_SILENCE_MS} ms`);
    });
  }

  /** How far it is; `asked` when somebody wants to know what of so many bytes has arrived. */
  #tell({ from, offer, state, stageNumber: stage, written: offset, taken }: Arriving, asked = 0): void {
    if (state === 'opening') return;
    this.#doors.send(from, { kind: 'accept', transfer: offer.transfer, stage, offset, taken, asked, state });
  }

  #answer(to: NodeId, transfer: number, state: StageState): void {
    this.#doors.send(to, { kind: 'accept', transfer, stage: 0, offset: 0, taken: 0, asked: 0, state });
  }
}

function isSameFile(arriving: Arriving, { from, session, offer }: { from: NodeId; session: number; offer: Offer }): boolean {
  const { meta, sizeBytes } = arriving.offer;
  const isSameSender = arriving.from === from && arriving.session === session;
  return isSameSender && sizeBytes === offer.sizeBytes && meta.index === offer.meta.index && meta.term === offer.meta.term;
}

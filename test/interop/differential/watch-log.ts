// What one side said on one stream of watches, in the form in which two sides can be compared: for each watch the events in
// their order, told apart from how they were packed, and the words about the watch itself. How a batch of history is cut
// and which revision its header shows depends on when it was read; the rules that hold all the same are checked here, and
// what breaks one is noted among what was said.

import type { ClientDuplexStream } from '@grpc/grpc-js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import { WATCH } from './calls.js';
import type { Ids } from './ids.js';
import { plain } from './operation.js';

export interface SeenEvent {
  readonly revision: number;
  readonly isDelete: boolean;
  readonly key: Uint8Array;
}

interface WatchState {
  /** Words and events since the last comparison. */
  said: string[];
  events: number;
  /** Of the last event, and whether its response said that more of it follows. */
  lastRevision: number;
  isFragment: boolean;
  /** From the present on: each response is of one moment. */
  isLive: boolean;
}

/** Events that may differ are not counted and not kept. */
export type Hidden = (id: bigint, event: SeenEvent) => boolean;

export class WatchLog {
  readonly #stream: ClientDuplexStream<Uint8Array, Uint8Array>;
  readonly #watches = new Map<bigint, WatchState>();
  readonly #names: Ids;
  readonly #hidden: Hidden;
  readonly #onNews: () => void;
  readonly #onEvent: (event: SeenEvent) => void;
  #isLeft = false;
  /** Who answered, in which term, with what counts. */
  readonly #speakers = new Set<string>();
  /** Answers to requests to create, in the order of the requests. */
  readonly created: rpc.WatchResponse[] = [];
  readonly canceled = new Set<bigint>();
  progress = 0;

  constructor(
    stream: ClientDuplexStream<Uint8Array, Uint8Array>,
    names: Ids,
    on: { hidden: Hidden; news: () => void; event?: (event: SeenEvent) => void },
  ) {
    this.#stream = stream;
    this.#names = names;
    this.#hidden = on.hidden;
    this.#onNews = on.news;
    this.#onEvent = on.event ?? ((): void => undefined);
    stream.on('data', (bytes: Uint8Array) => this.#onAnswer(bytes));
    stream.on('error', (error: Error) => this.#onEnd(error.message));
    stream.on('end', () => this.#onEnd('ended'));
  }

  send(bytes: Uint8Array): void {
    this.#stream.write(bytes);
  }

  leave(): void {
    this.#isLeft = true;
    this.#stream.cancel();
  }

  eventsOf(id: bigint): number {
    return this.#watches.get(id)?.events ?? 0;
  }

  /** The watch starts where the store is. */
  markLive(id: bigint): void {
    this.#stateOf(id).isLive = true;
  }

  /** The id is free again. */
  forget(id: bigint): void {
    this.canceled.delete(id);
    const state = this.#watches.get(id);
    if (state !== undefined) this.#watches.set(id, { ...newState(), said: state.said });
  }

  said(): Record<string, readonly string[]> {
    const all = [...this.#watches].filter(([, { said }]) => said.length > 0);
    const sorted = all.sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, { said }]) => [`watch ${id}`, said] as const);
    return { ...Object.fromEntries(sorted), speakers: [...this.#speakers] };
  }

  drop(): void {
    for (const state of this.#watches.values()) state.said = [];
    this.#speakers.clear();
  }

  #stateOf(id: bigint): WatchState {
    const known = this.#watches.get(id);
    if (known !== undefined) return known;
    const state = newState();
    this.#watches.set(id, state);
    return state;
  }

  #onEnd(reason: string): void {
    if (this.#isLeft) return;
    this.#stateOf(-2n).said.push(`the stream ended: ${reason}`);
    this.#onNews();
  }

  #onAnswer(bytes: Uint8Array): void {
    const answer = rpc.WatchResponse.decode(WATCH.answer.translate(bytes, this.#names));
    if (answer.events.length > 0) this.#onEvents(answer);
    else this.#onWord(answer);
    this.#onNews();
  }

  #onWord(answer: rpc.WatchResponse): void {
    const state = this.#stateOf(answer.watchId);
    state.said.push(JSON.stringify(plain(answer)));
    if (answer.created) this.created.push(answer);
    if (answer.canceled) this.canceled.add(answer.watchId);
    if (answer.watchId === -1n && !answer.created) this.progress++;
  }

  #onEvents(answer: rpc.WatchResponse): void {
    const { header, watchId, events, fragment, ...rest } = answer;
    const state = this.#stateOf(watchId);
    const note = (text: string): void => void state.said.push(`${text}: ${JSON.stringify(plain({ header, ...rest }))}`);
    if (rest.created || rest.canceled || rest.compactRevision !== 0 || rest.cancelReason !== '') note('events with a word');
    const revision = header?.revision ?? 0;
    for (const [i, event] of events.entries()) {
      const seen = { revision: event.kv?.modRevision ?? 0, isDelete: event.type === 1, key: event.kv?.key ?? new Uint8Array(0) };
      this.#onEvent(seen);
      const isCut = i === 0 && seen.revision === state.lastRevision && !state.isFragment;
      if (isCut) note(`revision ${seen.revision} came in two parts`);
      if (seen.revision < state.lastRevision) note(`revision ${seen.revision} came after ${state.lastRevision}`);
      state.lastRevision = seen.revision;
      if (this.#hidden(watchId, seen)) continue;
      this.#speakers.add(`${header?.clusterId} ${header?.memberId} ${header?.raftTerm}`);
      state.events++;
      state.said.push(JSON.stringify(plain(event)));
    }
    if (revision < state.lastRevision) note(`a header older than its events (${state.lastRevision})`);
    if (state.isLive && revision !== state.lastRevision) note(`a header not of its events (${state.lastRevision})`);
    const isPart = state.isLive && (fragment || state.isFragment);
    if (isPart) state.said.push(`a fragment of ${events.length}, ${fragment ? 'not ' : ''}the last`);
    state.isFragment = fragment;
  }
}

function newState(): WatchState {
  return { said: [], events: 0, lastRevision: 0, isFragment: false, isLive: false };
}

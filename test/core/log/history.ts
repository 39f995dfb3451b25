// Random histories for a log, as a machine would write them: batches of entries, conflicts that cut the tail, terms and
// votes, now and then a snapshot. And what the log must hold after any number of them.

import type { Prng } from '../../../core/base/prng.js';
import { whenDone } from '../../../core/base/done.js';
import { NO_SNAPSHOT, type LogStorage } from '../../../core/log/log-storage.js';
import type { Entry, HardState, Persist, Resumed, SnapshotMeta } from '../../../core/raft/types.js';

export interface State {
  readonly hard: HardState;
  readonly entries: readonly Entry[];
}

const FRESH: State = { hard: { term: 0, vote: 0n, commit: 0 }, entries: [] };

/** One life of a log: what was asked of it, and what it has acknowledged. */
export class History {
  /** `states[k]`: after k batches. */
  readonly states: State[];
  acknowledged: number;
  /** The newest that is durable, and one under way. */
  snapshot: SnapshotMeta;
  saving: SnapshotMeta | null = null;
  failed = 0;
  readonly #prng: Prng;
  #seq = 0;

  constructor(prng: Prng, before: { state: State; snapshot: SnapshotMeta } = { state: FRESH, snapshot: NO_SNAPSHOT }) {
    this.#prng = prng;
    this.states = [before.state];
    this.acknowledged = 0;
    this.snapshot = before.snapshot;
  }

  get last(): State {
    return this.states.at(-1) ?? FRESH;
  }

  get isSettled(): boolean {
    return this.acknowledged === this.states.length - 1 && this.saving === null;
  }

  /** Gives the log its next batch; counts the answer. */
  append(log: LogStorage): void {
    const batch = this.#nextBatch();
    this.states.push(after(this.last, batch));
    const count = this.states.length - 1;
    log.append(batch, (error) => {
      if (error !== null) this.failed++;
      else if (this.failed > 0) throw new Error('an append was acknowledged after one had failed');
      else if (count !== this.acknowledged + 1) throw new Error(`batch ${count} was acknowledged after ${this.acknowledged}`);
      else this.acknowledged = count;
    });
  }

  /** Saves a snapshot of what is acknowledged and committed, then compacts. */
  snapshotAndCompact(log: LogStorage): void {
    const { hard, entries } = this.states[this.acknowledged] ?? FRESH;
    const entry = entries.find(({ index }) => index === hard.commit);
    if (entry === undefined || this.saving !== null || entry.index <= this.snapshot.index) return;
    const meta = snapshotMeta(entry);
    this.saving = meta;
    log.saveSnapshot(meta, chunksOf(meta), (error) => {
      // After an error it is there or it is not.
      if (error !== null) {
        this.failed++;
        return;
      }
      this.saving = null;
      this.snapshot = meta;
      log.compact(meta.index, (failure) => {
        if (failure !== null) this.failed++;
      });
    });
  }

  #nextBatch(): Persist {
    const { hard, entries } = this.last;
    const prng = this.#prng;
    const seq = ++this.#seq;
    const lastIndex = entries.at(-1)?.index ?? this.snapshot.index;
    const newTerm = prng.below(6) === 0;
    const term = Math.max(1, hard.term + (newTerm ? 1 : 0));
    const floor = Math.max(hard.commit, this.snapshot.index, this.saving?.index ?? 0);
    const truncateAfter = newTerm && lastIndex > floor && prng.below(2) === 0 ? floor + prng.below(lastIndex - floor) : null;
    const from = truncateAfter ?? lastIndex;
    const count = prng.below(5);
    const added: Entry[] = Array.from({ length: count }, (_, i) => ({
      kind: i === 0 && newTerm ? 'empty' : 'command', term, index: from + 1 + i,
      data: Buffer.alloc(prng.below(prng.below(8) === 0 ? 3000 : 60), `${from + 1 + i}@${term} `),
    }));
    const commit = floor + prng.below(from - floor + 1);
    const vote = newTerm ? BigInt(prng.below(3)) : hard.vote;
    const changed = term !== hard.term || vote !== hard.vote || prng.below(3) === 0;
    return { seq, hard: changed ? { term, vote, commit } : null, truncateAfter, snapshot: null, entries: added };
  }
}

export function after(state: State, batch: Persist): State {
  const cut = batch.truncateAfter;
  const kept = cut === null ? state.entries : state.entries.filter(({ index }) => index <= cut);
  return { hard: batch.hard ?? state.hard, entries: [...kept, ...batch.entries] };
}

export function snapshotMeta(id: { term: number; index: number }): SnapshotMeta {
  const { term, index } = id;
  return { term, index, configuration: { voters: [1n, 2n, 3n], outgoing: [], learners: [9n] } };
}

/** Chunks of odd sizes, different for each snapshot. */
export function chunksOf(meta: SnapshotMeta): Uint8Array[] {
  return [10, 0, 700, 3000].map((size) => Buffer.alloc(size, `snapshot ${meta.index} `));
}

/**
 * How many of the history's batches the log held, as `open` found it: all that were acknowledged, perhaps more, and nothing
 * that was never given to it. Throws otherwise.
 */
export function judge(history: History, resumed: Resumed): number {
  const { snapshot } = resumed;
  const known = [history.snapshot.index, history.saving?.index ?? history.snapshot.index];
  if (!known.includes(snapshot.index)) throw new Error(`snapshot ${snapshot.index} is there; durable: ${known.join(' or ')}`);
  const found = describe(resumed);
  for (let count = history.states.length - 1; count >= history.acknowledged; count--) {
    const state = history.states[count] ?? FRESH;
    if (describe({ ...state, snapshot }) === found) return count;
  }
  const expected = history.states.slice(history.acknowledged).map((state) => describe({ ...state, snapshot }));
  const states = expected.join('\n  ');
  throw new Error(`after ${history.acknowledged} acknowledged batches the log holds\n  ${found}\nnone of\n  ${states}`);
}

export function describe({ hard, snapshot, entries }: Resumed): string {
  const list = entries.filter(({ index }) => index > snapshot.index);
  const text = list.map(({ kind, term, index, data }) => `${index}@${term}${kind[0]}${Buffer.from(data).toString('hex')}`);
  return `term ${hard.term} vote ${hard.vote} commit ${hard.commit} snapshot ${snapshot.index}: ${text.join(' ')}`;
}

/** The chunks of the snapshot, joined; checks them against what was saved. */
export async function checkSnapshot(log: LogStorage, meta: SnapshotMeta): Promise<void> {
  if (meta.index === 0) return;
  const read: Uint8Array[] = [];
  await whenDone<void>((done) => log.readSnapshot(meta, (chunk) => read.push(Buffer.from(chunk)), done));
  const same = Buffer.concat(read).equals(Buffer.concat(chunksOf(meta)));
  if (!same) throw new Error(`snapshot ${meta.index} reads back differently`);
}

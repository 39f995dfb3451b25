// Where consumers wait while nothing is ready: in one of few lines, of which only the first watches. So an item wakes few,
// however many wait, and a first that has just died keeps nobody waiting but those behind it.

import { utf8 } from '../core/base/bytes.js';
import type { Holding } from './holding.js';
import { acquire, behindAll, tryAcquire } from './line.js';
import type { QueueKeys } from './queue-keys.js';
import type { Session } from './session.js';

const LANES = 3;
/** Tried before standing in one behind others. */
const LANES_TRIED = 2;

export class Lane {
  readonly #session: Session;
  readonly #keys: QueueKeys;
  #number: number;
  #holding: Holding | null = null;

  /** `chance` chooses the lane to begin with. */
  constructor(session: Session, keys: QueueKeys, chance: { below(limit: number): number }) {
    this.#session = session;
    this.#keys = keys;
    this.#number = chance.below(LANES);
  }

  /** Our place at the head of a lane; null: we have none, or not any more. */
  get head(): Holding | null {
    return this.#holding?.isHeld === true ? this.#holding : null;
  }

  /** Resolves once we are the first of a lane; a free one if there is one. Rejects when `stop` aborts. */
  async stand(stop: AbortSignal): Promise<void> {
    for (let i = 0; i < LANES_TRIED && this.head === null; i += 1) {
      if (i > 0) this.#number = (this.#number + 1) % LANES;
      this.#holding = await tryAcquire(this.#session, this.#place(), { signal: stop });
    }
    if (this.head === null) this.#holding = await acquire(this.#session, this.#place(), { signal: stop });
  }

  async leave(): Promise<void> {
    const holding = this.#holding;
    this.#holding = null;
    await holding?.release();
  }

  #place() {
    const { name } = this.#keys;
    const line = this.#keys.lane(this.#number);
    return { name, what: `the turn for queue ${name}`, line, value: utf8(this.#session.name), rule: behindAll(line) };
  }
}

// Bad weather for recipes: links that freeze, break, delay and refuse, and transactions that land late or without an answer.
// What a test does in it is its own business; how it ends is decided by what the store itself holds.

import type { Client } from '../../core/client.js';
import type { Fate } from './ghosts.js';
import { haunted } from './ghosts.js';
import type { Link } from './link.js';
import type { World } from './world.js';

export class Weather {
  readonly w: World;
  readonly links: Link[] = [];
  isWild = true;

  constructor(w: World) {
    this.w = w;
  }

  /** A client of its own, out in the weather. */
  client(): Client {
    const { w } = this;
    const link = w.link();
    link.requestMs = () => w.prng.below(10);
    this.links.push(link);
    return haunted(link, w.clock, () => this.#fate());
  }

  /** So much time passes, in gusts; then it is calm. `each` is called every 100 ms. */
  async blow(ms: number, each: () => void = () => undefined): Promise<void> {
    const { w } = this;
    const gusts: Promise<void>[] = [];
    for (let passed = 0; passed < ms; passed += 100) {
      await w.clock.advance(100);
      const link = this.links[w.prng.below(Math.max(1, this.links.length))];
      if (link !== undefined && w.prng.below(6) === 0) gusts.push(this.#gust(link));
      each();
    }
    this.isWild = false;
    await w.clock.until(Promise.all(gusts));
  }

  #fate(): Fate {
    const { prng } = this.w;
    const dice = this.isWild ? prng.below(100) : 100;
    if (dice < 5) return { kind: 'late', delayMs: prng.below(6_000) };
    if (dice < 10) return { kind: 'unanswered' };
    return { kind: dice < 15 ? 'unsent' : 'normal' };
  }

  async #gust(link: Link): Promise<void> {
    const { prng } = this.w;
    const kind = prng.below(4);
    if (kind === 0) link.freeze();
    if (kind === 1) link.down();
    if (kind === 2) link.answerMs = () => prng.below(1_500);
    if (kind === 3) link.refuse = () => prng.below(2) === 0;
    await this.sleep(1 + prng.below(prng.below(4) === 0 ? 6_000 : 1_000));
    link.thaw();
    link.up();
    link.answerMs = () => prng.below(10);
    link.refuse = () => false;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.w.clock.schedule(Math.max(1, ms), resolve);
    });
  }
}

// A KeepAliver that tells whether it has renewed yet: a thread needs a moment to start, the longer the busier the machine.

import type { KeepAliver } from '../../core/client.js';
import { keepAliver } from '../../core/index.js';

export interface Beside extends KeepAliver {
  /** Every lease it was given has been renewed at least once. */
  renewed(): Promise<void>;
}

export function besideOf(url: string | readonly string[]): Beside {
  const inner = keepAliver(url);
  const ages: (() => number)[] = [];
  return {
    keep: (order) => {
      const keeping = inner.keep(order);
      let isStopped = false;
      ages.push(() => {
        if (isStopped && keeping.ageMs() === Infinity) throw new Error('the session was over before the thread had renewed');
        return keeping.ageMs();
      });
      return {
        beat: () => keeping.beat(),
        ageMs: () => keeping.ageMs(),
        get isGone() {
          return keeping.isGone;
        },
        stop: () => {
          isStopped = true;
          keeping.stop();
        },
      };
    },
    renewed: async () => {
      while (!ages.every((age) => age() < Infinity)) await new Promise((resolve) => setTimeout(resolve, 20));
    },
  };
}

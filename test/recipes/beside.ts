// A KeepAliver that tells whether it has renewed yet: a thread needs a moment to start, the longer the busier the machine.

import type { KeepAliver } from '../../core/client.js';
import { keepAliver } from '../../core/index.js';

export interface Beside extends KeepAliver {
  /** Every lease it was given has been renewed at least once. */
  renewed(): Promise<void>;
}

export function besideOf(url: string): Beside {
  const inner = keepAliver(url);
  const ages: (() => number)[] = [];
  return {
    keep: (order) => {
      const keeping = inner.keep(order);
      ages.push(() => keeping.ageMs());
      return keeping;
    },
    renewed: async () => {
      while (!ages.every((age) => age() < Infinity)) await new Promise((resolve) => setTimeout(resolve, 20));
    },
  };
}

// The garbage collector, asked to run now: for tests of what is let go of. Where it cannot be asked, such a test fails.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

// Contexts made from now on have it.
setFlagsFromString('--expose-gc');
const gc: unknown = runInNewContext('gc');

/** `minor`: of what is young alone. */
export function collect(kind: 'major' | 'minor' = 'major'): void {
  if (typeof gc !== 'function') throw new Error('memory cannot be looked at: V8 does not say how to collect garbage');
  // With words of its own the full one is another, which leaves more.
  Reflect.apply(gc, undefined, kind === 'minor' ? [{ type: kind }] : []);
}

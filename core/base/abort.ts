// Listening to an AbortSignal that many may wait for at once: a caller may well hand one signal to a hundred calls. Node
// takes the eleventh listener for a leak and warns; here each of them is forgotten with the call that it belongs to.

import { setMaxListeners } from 'node:events';

/** Whoever listens removes `tell` again when it is of no more use. Not called if the signal has aborted before. */
export function onceAborted(signal: AbortSignal | undefined, tell: () => void): void {
  if (signal === undefined) return;
  setMaxListeners(0, signal);
  signal.addEventListener('abort', tell, { once: true });
}

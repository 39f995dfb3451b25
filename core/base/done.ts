// Completion below the client interface is a callback, never a promise, so that the simulator and not the microtask
// queue chooses every interleaving. The contract of `Done`: called exactly once, always from a later turn, never
// re-entrantly from the call that was handed the callback.

export type Done<T = void> = (error: Error | null, value?: T) => void;

/** The only bridge from callbacks to promises, but for streams (pipe.ts): starts the work and settles with its outcome. */
export function whenDone<T>(start: (done: Done<T>) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    start((error, value) => {
      if (error === null) resolve(value as T);
      else reject(error);
    });
  });
}

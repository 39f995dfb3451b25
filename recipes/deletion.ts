// Waiting for something to be deleted, by watches and without polling. What was deleted since a revision is always seen:
// the watches start right behind it.

import type { Client, RangeRequest, Revision } from '../core/client.js';
import { ApiError } from '../core/errors.js';
import { orStopped } from './entry.js';

export type Range = Pick<RangeRequest, 'key' | 'rangeEnd'>;

/** Which range something was deleted from after `revision`; or what kept us from seeing it: then look again. */
export async function deletion(
  client: Pick<Client, 'watch'>,
  ranges: readonly Range[],
  revision: Revision,
  stop: AbortSignal,
): Promise<{ readonly range: number; readonly error: Error | null }> {
  const watches = ranges.map((range) => client.watch({ ...range, startRevision: revision + 1, exclude: ['put'] }));
  const first = async (range: number): Promise<{ range: number; error: Error | null }> => {
    try {
      for await (const { events } of watches[range] ?? []) {
        if (events.some(({ kind }) => kind === 'delete')) return { range, error: null };
      }
      return { range, error: new ApiError('connection_lost', { detail: 'a watch ended by itself' }) };
    } catch (error) {
      return { range, error: asError(error) };
    }
  };
  try {
    return await orStopped(Promise.race(watches.map((_, range) => first(range))), stop);
  } finally {
    for (const watch of watches) watch.close();
  }
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

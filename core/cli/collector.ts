// How much garbage the collector may let pile up before it looks at the whole heap of this process. V8 sees to it that the
// heap grows by a share of itself: a server whose values lie in memory outside holds 30 MB there, and the 20 MB that it is
// then granted are filled by three hundred messages of 64 KiB, or some thousand small ones: half of all work was collecting.
// So a small heap gets room of a fixed size, and a large one what V8 thinks right. It is a matter of the server's own
// process, not of the library: whoever embeds that decides for himself.

import { constants, PerformanceObserver, type PerformanceEntry } from 'node:perf_hooks';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';

/** Room up to the next collection, and at most this share of the largest heap allowed, as in a small container. */
const ROOM_BYTES = 96 * 1024 * 1024;
const ROOM_SHARE = 1 / 16;
/** As much as V8 ever grants; and below the least it is left alone, for it grants about as much itself. */
const PERCENT_MAX = 300;
const PERCENT_MIN = 100;
/** What differs by less is not worth telling. */
const PERCENT_STEP = 25;
const FLAG = 'heap-growing-percent';

/** By how much a heap that holds `liveBytes` may grow, in percent; 0: as V8 decides. */
export function growthPercent(liveBytes: number, limitBytes: number): number {
  const roomBytes = Math.min(ROOM_BYTES, limitBytes * ROOM_SHARE);
  const percent = Math.floor((100 * roomBytes) / Math.max(1, liveBytes) / PERCENT_STEP) * PERCENT_STEP;
  return percent < PERCENT_MIN ? 0 : Math.min(percent, PERCENT_MAX);
}

export interface CollectorDoors {
  heap(): { readonly used_heap_size: number; readonly heap_size_limit: number };
  tell(flag: string): void;
}

const V8: CollectorDoors = { heap: getHeapStatistics, tell: setFlagsFromString };

/** From now on, until the process ends: after each full collection it is reckoned anew. `execArgv`: what was asked of Node. */
export function giveRoom(execArgv: readonly string[], v8: CollectorDoors = V8): void {
  if (execArgv.some((word) => word.replaceAll('_', '-').includes(FLAG))) return;
  let told = 0;
  const reckon = (): void => {
    const { used_heap_size: liveBytes, heap_size_limit: limitBytes } = v8.heap();
    const percent = growthPercent(liveBytes, limitBytes);
    if (percent === told) return;
    told = percent;
    // 0 is V8's own default: it decides by how fast garbage is made and collected.
    v8.tell(`--${FLAG}=${percent}`);
  };
  reckon();
  new PerformanceObserver((list) => {
    if (list.getEntries().some(isFull)) reckon();
  }).observe({ entryTypes: ['gc'] });
}

function isFull(entry: PerformanceEntry): boolean {
  const detail: unknown = 'detail' in entry ? entry.detail : null;
  const kind: unknown = typeof detail === 'object' && detail !== null && 'kind' in detail ? detail.kind : null;
  return kind === constants.NODE_PERFORMANCE_GC_MAJOR;
}

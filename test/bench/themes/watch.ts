// One writer, many watchers of the same prefix: how fast every event reaches every watcher. The watchers are spread over ten
// connections with a stream each, as ten clients would hold them; the writer has 64 puts under way, so that the sync of each put
// to disk is not what is measured.

import { loadInProcess } from '../client-load.js';
import { startTarget } from '../targets.js';
import { atLeast, rate, type Theme } from '../theme.js';

const CONNECTIONS = 10;
const PUTS_UNDER_WAY = 64;

const parts = [
  { watchers: 100, warmUpEvents: 4_000, events: 20_000, shortEvents: 6_000 },
  { watchers: 1_000, warmUpEvents: 400, events: 2_500, shortEvents: 800 },
].map((part) => ({
  ...part,
  row: rate({
    id: `watch-${part.watchers}`, unit: 'events/s',
    name: `watch: one writer, ${part.watchers.toLocaleString('en-US')} watchers, events delivered`,
  }, atLeast(1.5)),
}));

export const watchTheme: Theme = {
  title: 'Watches, one member',
  rows: parts.map(({ row }) => row),
  quickRows: parts.slice(0, 1).map(({ row }) => row),
  seconds: (pace) => pace.isShort ? 3 : 5,
  async measure(bench) {
    const { url, stop } = await startTarget(bench.stage, bench.name);
    try {
      for (const { row, watchers, warmUpEvents, events, shortEvents } of parts) {
        if (!bench.wants(row)) continue;
        const load = { url, watchers, streams: CONNECTIONS, connections: CONNECTIONS, depth: PUTS_UNDER_WAY };
        const measured = { ...load, events: bench.pace.isShort ? shortEvents : events };
        const { perSecond } = await loadInProcess('watch', [[{ ...load, events: warmUpEvents }], [measured]]);
        bench.record(row, { value: perSecond });
      }
    } finally {
      await stop();
    }
  },
};

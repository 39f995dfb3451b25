// Rows asked again with TLS, and with auth on: what each of them costs, beside the same at etcd. Not part of the usual run:
// `--secured`.

import { getLoad, putLoad, type Shape } from '../grpc-loads.js';
import type { Figure, Row } from '../report.js';
import { startTarget, type Setting, type Target } from '../targets.js';
import { loadSeconds, rate, type Theme } from '../theme.js';
import { gatewayLoad } from './gateway.js';

interface Part {
  readonly row: Row;
  load(server: Target, shape: Shape): Promise<Figure>;
}

function partsOf(setting: Setting, said: string): readonly Part[] {
  const row = (id: string, name: string, unit: string): Row =>
    rate({ id: `${setting}-${id}`, name: `${said}: ${name}`, unit }, null);
  return [
    { row: row('put-10x20', 'durable put, 10 x 20', 'puts/s'), load: putLoad },
    { row: row('get-linearizable', 'linearizable get, 10 x 20', 'gets/s'), load: (server, shape) => getLoad(server, shape) },
    {
      row: row('gateway-put', 'JSON gateway put, 50 connections', 'puts/s'),
      load: (server, shape) => gatewayLoad(server, 'put', shape),
    },
    {
      row: row('gateway-range', 'JSON gateway range of one key, 50 connections', 'gets/s'),
      load: (server, shape) => gatewayLoad(server, 'range', shape),
    },
  ];
}

function theme(setting: Setting, said: string): Theme {
  const parts = partsOf(setting, said);
  return {
    title: `With ${said}, one member`,
    rows: parts.map(({ row }) => row),
    quickRows: [],
    seconds: (pace) => 2 + loadSeconds(pace, parts.length),
    async measure(bench) {
      const server = await startTarget(bench.stage, bench.name, setting);
      try {
        let warmUpSeconds = bench.pace.firstWarmUpSeconds;
        for (const { row, load } of parts) {
          if (!bench.wants(row)) continue;
          bench.record(row, await load(server, { connections: 10, depth: 20, warmUpSeconds, seconds: bench.pace.seconds }));
          warmUpSeconds = bench.pace.warmUpSeconds;
        }
      } finally {
        await server.stop();
      }
    },
  };
}

export const securedThemes: readonly Theme[] = [theme('tls', 'TLS'), theme('auth', 'auth')];

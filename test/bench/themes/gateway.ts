// The JSON gateway, over HTTP/1.1: 50 connections, one request at a time on each.

import { utf8 } from '../../../core/base/bytes.js';
import { figureOf, mustHaveValues, putKey, writing, type Reached } from '../grpc-loads.js';
import { runLoad } from '../load.js';
import { KEY, VALUE_BYTES } from '../messages.js';
import type { Figure } from '../report.js';
import { startTarget } from '../targets.js';
import { atLeast, loadSeconds, rate, type Pace, type Theme } from '../theme.js';

const put = rate({ id: 'gateway-put', name: 'JSON gateway put, 50 connections', unit: 'puts/s' }, atLeast(3));
const range = rate({ id: 'gateway-range', name: 'JSON gateway range of one key, 50 connections', unit: 'gets/s' }, atLeast(3));

const base64 = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString('base64');

export const gatewayTheme: Theme = {
  title: 'JSON gateway, one member',
  rows: [put, range],
  quickRows: [put, range],
  seconds: (pace) => 1 + loadSeconds(pace, 2),
  async measure(bench) {
    const server = await startTarget(bench.stage, bench.name);
    try {
      let { firstWarmUpSeconds: warmUpSeconds } = bench.pace;
      for (const row of [put, range]) {
        if (!bench.wants(row)) continue;
        bench.record(row, await gatewayLoad(server, row === put ? 'put' : 'range', { ...bench.pace, warmUpSeconds }));
        warmUpSeconds = bench.pace.warmUpSeconds;
      }
    } finally {
      await server.stop();
    }
  },
};

/** The gateway takes a token from another header than gRPC does. */
export async function gatewayLoad(
  server: Reached, path: 'put' | 'range', { warmUpSeconds, seconds }: Pick<Pace, 'warmUpSeconds' | 'seconds'>,
): Promise<Figure> {
  const headers = server.headers.map((header) => header.replace(/^token:/, 'authorization:'));
  const message = { key: base64(KEY), ...(path === 'put' ? { value: base64(Buffer.alloc(VALUE_BYTES)) } : {}) };
  const load = {
    path: `/v3/kv/${path}`, body: utf8(JSON.stringify(message)), connections: 50, depth: 1, warmUpSeconds, seconds, isHttp1: true,
  };
  if (path === 'put') return await writing(server, () => runLoad({ ...server, headers }, load));
  await putKey(server);
  const result = await runLoad({ ...server, headers }, load);
  mustHaveValues(server, result);
  return figureOf(result);
}


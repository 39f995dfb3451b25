// The paths of an HTTP port that programs watch a server by: /health, /livez, /readyz and /metrics (contract 13). They stand
// on the port for clients and, alone, on those of --listen-metrics-urls. Only GET; nothing here tells of keys or callers.

import type { Express, Request, Response } from 'express';
import type { Clock } from '../base/clock.js';
import type { Backend } from '../client.js';
import { healthChecks, healthFault, report, type HealthCheck } from './health.js';
import type { ObserveWire } from './wire-events.js';

export interface MetricsText {
  readonly contentType: string;
  readonly body: string;
}

export interface HealthRouteOptions {
  /** Checks of /readyz beyond the server's own. */
  readonly checks: readonly HealthCheck[];
  readonly metrics: (() => Promise<MetricsText>) | null;
  readonly observe: ObserveWire;
  readonly clock: Clock;
}

/** The paths that `mountHealthRoutes` serves. Others answer 404. */
export function healthPaths({ metrics }: HealthRouteOptions): string[] {
  return ['/health', '/livez', '/readyz', ...(metrics === null ? [] : ['/metrics'])];
}

export function mountHealthRoutes(app: Express, backend: Backend, options: HealthRouteOptions): void {
  const { checks: extra, metrics, observe, clock } = options;
  const { live, ready } = healthChecks(backend, extra);
  app.get('/health', async (request, response) => {
    const excluded = queryValues(request.query['exclude']);
    const fault = await healthFault(backend, { excluded, isSerializable: request.query['serializable'] === 'true' });
    observe({ kind: 'health_checked', well: fault === null });
    response.setHeader('Content-Type', 'text/plain; charset=utf-8');
    // 3.4 says no more than that; the reason is 3.5's.
    const body = fault === null ? { health: 'true' } : { health: 'false', reason: fault };
    response.status(fault === null ? 200 : 503).end(JSON.stringify(body));
  });
  const mount = (path: string, checks: readonly HealthCheck[]): void => {
    app.get([path, `${path}/:check`], async (request, response) => {
      const { check } = request.params;
      const chosen = check === undefined ? checks : checks.filter(({ name }) => name === check);
      if (chosen.length === 0) return sendText(response, 404, '404 page not found');
      const { well, lines } = await report(chosen, queryValues(request.query['exclude']), clock);
      const verbose = request.query['verbose'] !== undefined;
      const text = well && !verbose ? 'ok' : [...lines, ...(well ? ['ok'] : [])].join('\n');
      return sendText(response, well ? 200 : 503, text);
    });
  };
  mount('/livez', live);
  mount('/readyz', ready);
  if (metrics === null) return;
  app.get('/metrics', async (_request, response) => {
    const { contentType, body } = await metrics();
    response.setHeader('Content-Type', contentType);
    response.end(body);
  });
}

export function notAllowed(_request: Request, response: Response): void {
  response.setHeader('Allow', 'GET');
  sendText(response, 405, 'Method Not Allowed');
}

export function sendText(response: Response, status: number, text: string): void {
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.status(status).end(`${text}\n`);
}

function queryValues(value: unknown): ReadonlySet<string> {
  const values: unknown[] = Array.isArray(value) ? value : [value];
  return new Set(values.filter((one) => typeof one === 'string'));
}

// What stands on ports beside those for clients, for whoever watches a server (etcd: --listen-metrics-urls): health and
// metrics only, and profiles where those were asked for. Without the gateway there is nothing here to read or write data by.
// Listening is port.ts; it goes on while the server drains, so that /readyz can say so.

import express from 'express';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Backend } from '../client.js';
import { healthPaths, mountHealthRoutes, notAllowed, sendText, type HealthRouteOptions } from './health-routes.js';
import { HTTP_HEADERS_MS, HTTP_IDLE_MS } from './limits.js';

export interface SidePortOptions extends HealthRouteOptions {
  /** Answers what begins with /debug; null: nobody does. */
  readonly debug: RequestListener | null;
}

export class SidePort {
  readonly #http: Server;
  readonly #sockets = new Set<Socket>();

  constructor(backend: Backend, options: SidePortOptions) {
    const app = express();
    app.disable('x-powered-by').disable('etag').enable('case sensitive routing').enable('strict routing');
    app.head(healthPaths(options), notAllowed);
    mountHealthRoutes(app, backend, options);
    app.all(healthPaths(options), notAllowed);
    const { debug } = options;
    app.use((request, response, next) => {
      if (debug !== null && request.path.startsWith('/debug/')) debug(request, response);
      else next();
    });
    app.use((_request, response) => sendText(response, 404, '404 page not found'));
    const limits = { headersTimeout: HTTP_HEADERS_MS, requestTimeout: HTTP_HEADERS_MS, keepAliveTimeout: HTTP_IDLE_MS };
    this.#http = createServer(limits, app);
    // It never listens itself; without the event it would time nothing out.
    this.#http.emit('listening');
  }

  get connections(): number {
    return this.#sockets.size;
  }

  accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    this.#http.emit('connection', socket);
  }

  close(): void {
    this.#http.close(() => undefined);
    for (const socket of this.#sockets) socket.destroy();
  }
}

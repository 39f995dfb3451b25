// --enable-pprof: what Node can tell of a running server, below /debug/pprof/ as with etcd. Only where a connection came to
// the loopback of this machine under a name of the loopback, and never on a port for clients: a heap snapshot holds every key,
// value and token there is. One at a time, because each of them slows the server down.

import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { Session } from 'node:inspector/promises';
import { isIP } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { getHeapSnapshot } from 'node:v8';
import type { NodeFacts } from '../start-node.js';
import { isLoopback } from './values.js';

const SECONDS_MAX = 120;
const PAGE = `profile?seconds=30  where the processor's time goes (.cpuprofile: load it in Chrome's or VS Code's viewer)
heap                what memory holds (.heapsnapshot): keys, values and tokens are in it
loop?seconds=10     how long the event loop stands still, in milliseconds
`;

type Answer = (query: URLSearchParams, response: ServerResponse) => Promise<void> | void;

/** Answers what begins with /debug. */
export function profiles(facts: () => NodeFacts): RequestListener {
  let isBusy = false;
  const alone = (answer: Answer): Answer => async (query, response) => {
    if (isBusy) return say(response, 503, 'another profile is being taken');
    isBusy = true;
    try {
      await answer(query, response);
    } finally {
      isBusy = false;
    }
  };
  const answers: ReadonlyMap<string, Answer> = new Map<string, Answer>([
    ['/debug/pprof/', (_query, response) => say(response, 200, PAGE)],
    ['/debug/pprof/profile', alone(cpuProfile)],
    ['/debug/pprof/heap', alone(heapSnapshot)],
    ['/debug/pprof/loop', alone(loopDelay)],
    ['/debug/vars', (_query, response) => {
      const { state, term, leader, committed, applied } = facts();
      const raft = { term, commit: committed, lead: leader.toString(16), raftState: state, applied };
      json(response, { memstats: process.memoryUsage(), 'raft.status': raft });
    }],
  ]);
  return (request, response) => {
    if (!isFromHere(request)) return say(response, 403, 'only from this machine, by an address of its loopback');
    const url = new URL(request.url ?? '/', 'http://localhost');
    const answer = request.method === 'GET' ? answers.get(url.pathname) : undefined;
    if (answer === undefined) return say(response, 404, '404 page not found');
    Promise.resolve(answer(url.searchParams, response)).catch(() => response.destroy());
  };
}

const cpuProfile: Answer = async (query, response) => {
  const session = new Session();
  session.connect();
  try {
    await session.post('Profiler.enable');
    await session.post('Profiler.start');
    await pause(secondsOf(query, 30), response);
    const { profile } = await session.post('Profiler.stop');
    response.setHeader('Content-Disposition', 'attachment; filename="coterie.cpuprofile"');
    json(response, profile);
  } finally {
    session.disconnect();
  }
};

const heapSnapshot: Answer = async (_query, response) => {
  response.setHeader('Content-Type', 'application/json');
  response.setHeader('Content-Disposition', 'attachment; filename="coterie.heapsnapshot"');
  for await (const chunk of getHeapSnapshot()) {
    if (!response.write(chunk)) await new Promise<void>((resolve) => void response.once('drain', resolve).once('close', resolve));
    if (response.closed) return;
  }
  response.end();
};

const loopDelay: Answer = async (query, response) => {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await pause(secondsOf(query, 10), response);
  delay.disable();
  const ms = (nanoseconds: number): number => Math.round(nanoseconds / 1000) / 1000;
  const { min, mean, max } = delay;
  json(response, {
    min: ms(min), mean: ms(mean), p50: ms(delay.percentile(50)), p99: ms(delay.percentile(99)), max: ms(max),
  });
};

/** Ends early when nobody waits any more. */
function pause(seconds: number, response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    response.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function secondsOf(query: URLSearchParams, fallback: number): number {
  const seconds = Number(query.get('seconds') ?? fallback);
  return seconds > 0 && seconds <= SECONDS_MAX ? seconds : fallback;
}

/** A page in a browser of this machine can come to the loopback too, but only under the name that its own address has. */
function isFromHere(request: IncomingMessage): boolean {
  const host = (request.headers.host ?? '').replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1');
  return isLoopback(request.socket.localAddress ?? '') && (host === 'localhost' || isIP(host) !== 0);
}

function json(response: ServerResponse, value: unknown): void {
  response.setHeader('Content-Type', 'application/json');
  response.end(`${JSON.stringify(value)}\n`);
}

function say(response: ServerResponse, status: number, text: string): void {
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.writeHead(status).end(`${text.trimEnd()}\n`);
}

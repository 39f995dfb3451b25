// The end: what the run has shown, in words or as one JSON object.

import type { BalancerName } from './balancers.js';
import type { Board, Note } from './board.js';
import { kinds, painter } from './screen.js';

export interface Summary {
  readonly requests: number;
  /** All of them, whatever the reason. */
  readonly failed: number;
  /** Of these, how many were under way when a service was killed (see board.ts). */
  readonly failedDuringCrash: number;
  readonly events: readonly Note[];
  readonly timeToLiveMs: number | null;
  readonly timeToQuietMs: number | null;
  readonly balancer: BalancerName;
}

export function summarize(board: Board, balancer: BalancerName): Summary {
  const { requests, failed, failedDuringCrash, notes: events, timeToLiveMs, timeToQuietMs } = board;
  return { requests, failed, failedDuringCrash, events, timeToLiveMs, timeToQuietMs, balancer };
}

export function summaryWords(board: Board, summary: Summary, options: { colour: boolean; told: boolean }): string {
  const paint = painter(options.colour);
  const planned = summary.failed - summary.failedDuringCrash;
  const lost = summary.failedDuringCrash;
  const crash = lost === 0 ? 'nothing was lost' : `${lost} lost, in flight when the service died`;
  const unplanned = paint('red', `${planned} failed (${kinds(board)})`);
  const whole = options.told ? 'while adding, draining and restarting the store' : 'up to here';
  const nothing = paint('green', `0 failed ${whole}`);
  const held = board.heldBack === 0 ? '' : `; ${board.heldBack} held back, the machine was busy`;
  const rows: (readonly [string, string])[] = [
    ['requests', `${summary.requests} through ${board.balancer.name} in ${Math.round(board.elapsedMs / 1000)} s${held}`],
    ['planned', planned === 0 ? nothing : unplanned],
    ['kill -9', board.crash === null ? 'not reached' : paint(lost === 0 ? 'green' : 'yellow', crash)],
    ['live', summary.timeToLiveMs === null ? 'not reached' : `${summary.timeToLiveMs} ms from registering to the first request`],
    ['quiet', summary.timeToQuietMs === null ? 'not reached' : `${summary.timeToQuietMs} ms from draining to the last request`],
  ];
  const next: readonly (readonly [string, string])[] = [
    ['npm start', 'a server on port 2379 for etcdctl and etcd clients'],
    ['npm run example 01', 'the same in twenty lines of code'],
    ['npm run demo -- --keep', 'until Ctrl-C; --balancer nginx|haproxy|builtin'],
  ];
  const name = paint('bold', 'coterie demo');
  const head = options.told ? `${paint('cyan', '●')} ${name}` : `${paint('yellow', '○')} ${name} (cut short)`;
  const facts = rows.map(([label, text]) => `    ${paint('gray', label.padEnd(9))} ${text}\n`).join('');
  const tries = next.map(([command, text]) => `    ${paint('bold', command.padEnd(23))} ${paint('gray', text)}\n`).join('');
  return `\n  ${head}\n\n${facts}\n  ${paint('gray', 'try next')}\n${tries}\n`;
}

// How the server process ends. Three ways: it is asked to (SIGTERM, SIGINT: drain, close, exit 0), it cannot go on (the
// node stopped: say why, exit 1), or it no longer understands itself (an error nobody caught: say what, exit at once).
// A second signal, or a drain that outlasts its bound, ends the process where it stands: the log on disk is always whole.

import type { Logger } from './log.js';

export interface Running {
  /** Stops taking requests, lets those under way finish within `graceMs`, and frees the ports. */
  drain(graceMs: number): Promise<void>;
  /** Waits for the log and releases the data directory. */
  close(): Promise<void>;
  /** Resolves when the node ended: with null when closed, else with the reason. */
  readonly ended: Promise<Error | null>;
}

/** The whole of shutting down: the grace (at most 9 s), then closing the log. Whoever stops us for good waits 10 s. */
const SHUTDOWN_MS_MAX = 9_700;

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = { SIGINT: 2, SIGTERM: 15 };

/** From here on an error that nobody caught ends the process: going on half-done is worse (reliability A7). */
export function dieOfTheUnexpected(log: Logger): void {
  const die = (what: string) => (error: unknown) => {
    const stack = error instanceof Error ? error.stack : undefined;
    log.fatal({ error, stack }, what);
    // The last line is a sentence, for whoever does not read logs.
    process.stderr.write(`coterie serve: ${what}: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  };
  process.on('uncaughtException', die('an error that nobody caught'));
  process.on('unhandledRejection', die('a rejection that nobody handled'));
}

/** Started by a program that keeps a channel to us: when that program is gone, nobody is left who could ask us to end. */
export function endWithOwner(): void {
  if (process.connected) process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
}

/**
 * SIGHUP from a terminal that goes away asks to end, as SIGTERM does. Without one it asks to read certificates and open log
 * files anew, which others do; it must not end the process, as it does by default.
 */
export function heedHangUp(log: Logger): void {
  if (process.stdin.isTTY) process.once('SIGHUP', () => process.kill(process.pid, 'SIGTERM'));
  else process.on('SIGHUP', () => log.info('SIGHUP: certificates are read and log files opened anew'));
}

/** Resolves with the exit code once the server is to end and has ended. */
export async function runUntilEnd(running: Running, log: Logger, graceMs: number): Promise<number> {
  const signal = awaitSignal(log);
  const first = await Promise.race([signal, running.ended]);
  if (typeof first === 'string') return endOnPurpose(running, log, graceMs, first);
  if (first !== null) {
    log.fatal({ error: first }, 'the node cannot go on');
    process.stderr.write(`coterie serve: the node cannot go on: ${first.message}\n`);
  }
  await running.drain(0);
  return first === null ? 0 : 1;
}

async function endOnPurpose(running: Running, log: Logger, graceMs: number, signal: string): Promise<number> {
  log.info({ signal, graceMs }, 'shutting down: not ready any more, finishing requests under way');
  const timer = setTimeout(() => {
    log.error('shutting down took too long; leaving now. What was acknowledged is on disk');
    process.exit(1);
  }, SHUTDOWN_MS_MAX);
  await running.drain(graceMs);
  await running.close();
  clearTimeout(timer);
  log.info('bye');
  return 0;
}

function awaitSignal(log: Logger): Promise<string> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = (signal: string): void => {
      if (asked) {
        log.warn({ signal }, 'second signal: leaving at once');
        process.exit(128 + (SIGNAL_NUMBERS[signal] ?? 0));
      }
      asked = true;
      resolve(signal);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}

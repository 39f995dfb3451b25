// Waits until a server answers a linearizable get: what "it is up" means, and what a restart is measured until.

import { setTimeout as sleep } from 'node:timers/promises';
import { framed, PATH, rangeMessage } from './messages.js';
import { UnaryConnection } from './unary-connection.js';
import type { Running } from './stage.js';

const BETWEEN_TRIES_MS = 5;
const PATIENCE_MS = 120_000;
/** Longer than a server that is up lets a get wait for a leader. */
const TRY_MS = 10_000;

export async function firstAnswer(url: string, { child, complaint }: Running): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  while (performance.now() < until) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
      throw new Error(`the server at ${url} ended with ${child.exitCode ?? child.signalCode} before it answered: ${complaint()}`);
    }
    if (await answersOnce(url, Math.min(TRY_MS, until - performance.now()))) return;
    await sleep(BETWEEN_TRIES_MS);
  }
  throw new Error(`no answer from ${url} within ${PATIENCE_MS / 1000} seconds: ${complaint()}`);
}

/** What was opened for it is closed again, also where nothing comes. */
async function answersOnce(url: string, patienceMs: number): Promise<boolean> {
  return await new Promise<boolean>((resolve) => {
    let connection: UnaryConnection | null = null;
    let isOver = false;
    const end = (isAnswered: boolean): void => {
      isOver = true;
      clearTimeout(patience);
      connection?.close();
      resolve(isAnswered);
    };
    const patience = setTimeout(() => end(false), patienceMs);
    UnaryConnection.open(url, PATH.range, (_, isGood) => end(isGood), () => end(false)).then((opened) => {
      connection = opened;
      if (isOver) return opened.close();
      opened.send(framed(rangeMessage('x')), 0);
      opened.flush();
    }, () => end(false));
  });
}

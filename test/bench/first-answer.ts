// Waits until a server answers a linearizable get: what "it is up" means, and what a restart is measured until.

import { setTimeout as sleep } from 'node:timers/promises';
import { framed, PATH, rangeMessage } from './messages.js';
import { UnaryConnection } from './unary-connection.js';
import type { Running } from './stage.js';

const BETWEEN_TRIES_MS = 5;
const PATIENCE_MS = 120_000;

export async function firstAnswer(url: string, { child, complaint }: Running): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  while (performance.now() < until) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
      throw new Error(`the server at ${url} ended with ${child.exitCode ?? child.signalCode} before it answered: ${complaint()}`);
    }
    if (await answersOnce(url)) return;
    await sleep(BETWEEN_TRIES_MS);
  }
  throw new Error(`no answer from ${url} within ${PATIENCE_MS / 1000} seconds: ${complaint()}`);
}

async function answersOnce(url: string): Promise<boolean> {
  return await new Promise<boolean>((resolve) => {
    UnaryConnection.open(url, PATH.range, (_, isGood) => resolve(isGood), () => resolve(false)).then((connection) => {
      connection.send(framed(rangeMessage('x')), 0);
      connection.flush();
    }, () => resolve(false));
  });
}

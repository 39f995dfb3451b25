// The thread in which passwords are hashed, one after the other. It is never told whose they are, and keeps nothing.

import { parentPort } from 'node:worker_threads';
import { hashSync, verifySync } from '@node-rs/bcrypt';
import { assert } from './assert.js';
import type { HashAnswer, HashOrder } from './secrets.js';

const port = parentPort;
assert(port !== null, 'secrets-thread.js is run as a worker thread');

function answered(order: HashOrder): HashAnswer {
  const { id, password } = order;
  try {
    if ('hash' in order) return { id, value: verifySync(password, order.hash) };
    return { id, value: hashSync(password, { cost: order.cost, version: '2a' }) };
  } catch (error) {
    // A hash that is none is nobody's password.
    if ('hash' in order) return { id, value: false };
    return { id, failure: error instanceof Error ? error.message : String(error) };
  }
}

port.on('message', (order: HashOrder) => port.postMessage(answered(order)));

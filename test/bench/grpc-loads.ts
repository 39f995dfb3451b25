// The throughput loads of several themes: h2load with one request, and the check that the work was done: a put and a transaction
// leave a revision each, a get brings the value.

import { utf8 } from '../../core/base/bytes.js';
import { put } from '../../core/client.js';
import { connect, type RemoteOptions } from '../../core/wire/remote-client.js';
import { runLoad, type Addressed, type LoadResult } from './load.js';
import { framed, KEY, PATH, putMessage, rangeMessage, txnMessage, VALUE_BYTES } from './messages.js';
import type { Figure } from './report.js';

/** A server, and how our own client reaches it. */
export interface Reached extends Addressed {
  readonly client: RemoteOptions;
}

export interface Shape {
  readonly connections: number;
  readonly depth: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
}

export async function revisionOf({ url, client: options }: Reached): Promise<number> {
  const client = connect(url, options);
  try {
    return (await client.range({ key: utf8('x') })).header.revision;
  } finally {
    await client.close();
  }
}

/** So that a get finds a value and the condition of a transaction holds. */
export async function putKey({ url, client: options }: Reached): Promise<void> {
  const client = connect(url, options);
  try {
    await put(client, utf8(KEY), new Uint8Array(VALUE_BYTES));
  } finally {
    await client.close();
  }
}

export async function putLoad(server: Reached, shape: Shape, valueBytes = VALUE_BYTES): Promise<Figure> {
  const body = framed(putMessage(KEY, Buffer.alloc(valueBytes, 'v')));
  return await writing(server, () => runLoad(server, { ...shape, path: PATH.put, body }));
}

export async function txnLoad(server: Reached, shape: Shape): Promise<Figure> {
  await putKey(server);
  return await writing(server, () => runLoad(server, { ...shape, path: PATH.txn, body: framed(txnMessage(KEY)) }));
}

export async function getLoad(server: Reached, shape: Shape, isSerializable = false): Promise<Figure> {
  await putKey(server);
  const result = await runLoad(server, { ...shape, path: PATH.range, body: framed(rangeMessage(KEY, { isSerializable })) });
  mustHaveValues(server, result);
  return figureOf(result);
}

export async function writing(server: Reached, load: () => Promise<LoadResult>): Promise<Figure> {
  const before = await revisionOf(server);
  const result = await load();
  const written = (await revisionOf(server)) - before;
  if (written < result.requests) throw new Error(`${server.name} answered ${result.requests} writes and did ${written}`);
  return figureOf(result);
}

export function mustHaveValues(server: Reached, { requests, bodyBytes }: LoadResult): void {
  if (bodyBytes >= requests * VALUE_BYTES) return;
  throw new Error(`${server.name} answered ${requests} gets with ${bodyBytes} bytes: not all had the value`);
}

export function figureOf({ perSecond, cpuMicros }: LoadResult): Figure {
  return { value: perSecond, cpuMicros };
}

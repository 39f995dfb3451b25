// The same steps on a real etcd and then on coterie, each noting in words what it was told, and the two notes compared.

import type { ExecutionContext } from 'ava';
import type { Pair } from './pair.js';

/** One side, with what it was told so far. */
export interface Teller {
  readonly said: readonly string[];
  close(): void;
}

/** `pair` null: there is no etcd here, which has been told. */
export async function saySame<T extends Teller>(
  t: ExecutionContext,
  pair: Pair | null,
  begin: (url: string) => T,
  steps: (side: T) => Promise<void>,
): Promise<void> {
  if (pair === null) {
    t.pass();
    return;
  }
  const said: (readonly string[])[] = [];
  for (const { url } of pair.sides) {
    const side = begin(url);
    await steps(side);
    side.close();
    said.push(side.said);
  }
  t.true((said[0]?.length ?? 0) > 0);
  t.deepEqual(said[1], said[0]);
}

/** Of more bytes than these their number says enough. */
const SHOWN_MAX = 100;

/** A message in full, bytes as latin1. */
export function inWords(message: unknown): string {
  return JSON.stringify(message, (_key, one: unknown) => {
    if (typeof one === 'bigint') return String(one);
    const bytes = bytesOf(one);
    if (bytes === null) return one;
    return bytes.length > SHOWN_MAX ? `${bytes.length} bytes` : bytes.toString('latin1');
  });
}

/** A Buffer has become an object by the time it is looked at. */
function bytesOf(value: unknown): Buffer | null {
  if (value instanceof Uint8Array) return Buffer.from(value);
  if (value === null || typeof value !== 'object' || !('type' in value) || !('data' in value)) return null;
  return value.type === 'Buffer' ? Buffer.from(value.data as number[]) : null;
}

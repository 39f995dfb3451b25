// Where two answers differ, in words. Absent and undefined are the same; headers are not compared, they are judged apart.

import { text } from '../../core/base/bytes.js';
import type { KeyValue } from '../../core/client.js';

/** The path to the first difference and both sides of it; null: there is none. */
export function difference(due: unknown, told: unknown, path = 'answer'): string | null {
  if (due === told) return null;
  if (due instanceof Uint8Array || told instanceof Uint8Array) {
    if (due instanceof Uint8Array && told instanceof Uint8Array && Buffer.compare(due, told) === 0) return null;
    return `${path} is ${show(told)}, due is ${show(due)}`;
  }
  if (typeof due !== 'object' || typeof told !== 'object' || due === null || told === null) {
    return `${path} is ${show(told)}, due is ${show(due)}`;
  }
  if (Array.isArray(due) && Array.isArray(told) && due.length !== told.length) {
    return `${path} has ${told.length} items, due are ${due.length}`;
  }
  for (const [name, each] of Object.entries(due)) {
    const found = difference(each, Reflect.get(told, name), `${path}.${name}`);
    if (found !== null) return found;
  }
  return null;
}

export function show(value: unknown): string {
  if (value instanceof Uint8Array) return `"${text(value)}"`;
  if (typeof value === 'bigint') return `${value}`;
  if (isPair(value)) return `"${text(value.key)}" of revision ${value.modRevision}`;
  return typeof value === 'object' && value !== null ? 'something' : String(value);
}

function isPair(value: unknown): value is KeyValue {
  return typeof value === 'object' && value !== null && 'key' in value && 'modRevision' in value
    && value.key instanceof Uint8Array;
}

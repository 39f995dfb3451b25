// Reads messages deeper than the generated code does by itself: it gives up at 100 messages inside each other, and a
// transaction that etcd takes may hold 127 more (contract 4.6), each two messages deeper than the one around it.

import { BinaryReader } from '@bufbuild/protobuf/wire';
import { MESSAGE_DEPTH_MAX } from './limits.js';

/** Where the generated code counts, and what it counts to. */
const COUNTER = '__tsProtoDecodeDepth';
const COUNTED_TO = 100;

export function deepReader(bytes: Uint8Array): BinaryReader {
  const reader = new BinaryReader(bytes);
  Reflect.set(reader, COUNTER, COUNTED_TO - MESSAGE_DEPTH_MAX);
  return reader;
}

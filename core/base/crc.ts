// The checksum of the log and of snapshots: CRC-32 as zlib computes it, chained by passing the previous value.

import { crc32 } from 'node:zlib';

/** CRC-32 of `bytes`, continuing from `previous` (0 to start). An unsigned 32-bit integer. */
export function checksum(bytes: Uint8Array, previous = 0): number {
  return crc32(bytes, previous);
}

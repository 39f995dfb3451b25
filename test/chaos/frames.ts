// How the proxy reads a target's own protocol between members: messages instead of bytes. Null for a target whose frames
// it does not know; then links can be cut, slowed and reset, but no single message can be lost.

import type { Splitter } from './links.js';
import type { TargetName } from './members.js';

export function splitterFor(_target: TargetName): (() => Splitter) | null {
  return null;
}

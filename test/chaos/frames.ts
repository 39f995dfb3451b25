// How the proxy reads a target's own protocol between members: messages instead of bytes. Null for a target whose frames
// it does not know; then links can be cut, slowed and reset, but no single message can be lost.

import { FrameReader, tagsOf } from '../../core/peer/framing.js';
import type { Splitter } from './links.js';
import type { TargetName } from './members.js';

export function splitterFor(target: TargetName): (() => Splitter) | null {
  if (target === 'etcd') return null;
  return () => {
    const reader = new FrameReader();
    return (chunk) => reader.push(chunk).map((record) => ({ bytes: record.bytes, tags: tagsOf(record) }));
  };
}

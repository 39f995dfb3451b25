// Reads what leaves a member as the network sees it: bytes. The probe judges promises at the moment they leave, and rare
// situations on the wire are counted.

import { decodeFrame } from '../../core/peer/frame.js';
import type { World } from './world.js';

export function watchFrames(world: World): void {
  world.network.onFrame = (place, lane, bytes) => {
    const { probe } = world;
    if (lane === 'call') return;
    const { body, from } = decodeFrame(bytes);
    if (body.kind === 'messages') {
      for (const message of body.messages) {
        if (message.kind === 'timeout_now') world.covered('an election on demand of the leader');
        probe?.sent(from, message);
      }
    } else if (body.kind === 'offer') {
      world.covered('a snapshot is offered');
    } else if (body.kind === 'notice') {
      world.covered(`a notice: ${body.reason}`);
      world.note(`n${place + 1}  tells another that it is ${body.reason}`);
    }
  };
}

// A world in which one member ships a snapshot to another, for the tests of both ends.

import { Prng } from '../../../core/base/prng.js';
import { decodeFrame } from '../../../core/peer/frame.js';
import type { SnapshotMeta } from '../../../core/raft/types.js';
import { Rig, type RigPeer } from './rig.js';

export const META: SnapshotMeta = { term: 3, index: 50, configuration: { voters: [1n, 2n, 3n], outgoing: [], learners: [] } };

export function fileOf(sizeBytes: number, seed = 1): Uint8Array {
  const dice = new Prng(seed);
  return Buffer.from(Array.from({ length: sizeBytes }, () => dice.below(256)));
}

export class Transfer {
  readonly rig = new Rig();
  readonly file: Uint8Array;
  readonly peers: readonly RigPeer[];
  pieces = 0;

  constructor(sizeBytes: number, ids: readonly bigint[] = [1n, 2n]) {
    this.file = fileOf(sizeBytes);
    this.peers = ids.map((id) => this.rig.peer(id));
    this.rig.introduce(this.peers);
    for (const { log } of this.peers) {
      log.newest = { meta: META, bytes: this.file };
      log.expected = this.file;
    }
    this.rig.board.onFrame = ({ frame, lane }) => {
      if (lane === 'snapshot' && decodeFrame(frame).body.kind === 'piece') this.pieces++;
      return [frame];
    };
  }

  peer(id: bigint): RigPeer {
    const found = this.peers.find((each) => each.id === id);
    if (found === undefined) throw new Error(`no member ${id}`);
    return found;
  }

  begin(from: bigint, to: bigint, term = 7): void {
    this.peer(from).peers.send([{ kind: 'snapshot', from, to, term, snapshot: META }]);
  }

  isWhole(id: bigint): boolean {
    const { staged } = this.peer(id).log;
    return staged !== null && Buffer.compare(staged, this.file) === 0;
  }
}

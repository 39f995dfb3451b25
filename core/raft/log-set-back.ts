// The one thing the machine refuses that is nobody's programming error: its log is shorter than what it has told its leader. An
// operator put an older data directory in its place, or the disk has lost what it promised to keep. The driver stops with it.

import type { Index, NodeId, Term } from './types.js';

export class LogSetBack extends Error {
  override readonly name = 'LogSetBack';

  constructor(leader: NodeId, term: Term, { told, last }: { readonly told: Index; readonly last: Index }) {
    const who = `this member told leader ${leader.toString(16)} of term ${term} that it has entry ${told}`;
    super(`${who}, and its log ends at ${last}: its data was set back to an earlier state, or its disk has lost what it promised `
      + 'to keep. Remove this member from the cluster and add it anew, with an empty data directory');
  }
}

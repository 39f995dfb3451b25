// Who votes, and what a majority of them has. Pure arithmetic over a `Configuration`. While a joint configuration is in
// force every decision needs a majority of both sets (Raft §6): the smaller answer of the two counts.

import { assert } from '../base/assert.js';
import type { Configuration, NodeId } from './types.js';

export type Verdict = 'won' | 'lost' | 'open';

export class Members {
  readonly configuration: Configuration;
  /** Everyone the leader sends to: voters of both sets and learners, each once. */
  readonly all: readonly NodeId[];

  constructor(configuration: Configuration) {
    assert(configuration.voters.length > 0, 'a configuration needs at least one voter');
    this.configuration = configuration;
    this.all = [...new Set([...configuration.voters, ...configuration.outgoing, ...configuration.learners])];
  }

  isVoter(id: NodeId): boolean {
    return this.configuration.voters.includes(id) || this.configuration.outgoing.includes(id);
  }

  /** `id` decides alone. */
  isSole(id: NodeId): boolean {
    const { voters, outgoing } = this.configuration;
    return voters.length === 1 && voters[0] === id && (outgoing.length === 0 || (outgoing.length === 1 && outgoing[0] === id));
  }

  /** The largest value that a majority (of both sets) has reached. */
  reached(valueOf: (id: NodeId) => number): number {
    const { voters, outgoing } = this.configuration;
    const incoming = majorityValue(voters, valueOf);
    return outgoing.length === 0 ? incoming : Math.min(incoming, majorityValue(outgoing, valueOf));
  }

  /** How an election stands; `undefined` is a vote not yet in. */
  verdict(voteOf: (id: NodeId) => boolean | undefined): Verdict {
    const { voters, outgoing } = this.configuration;
    const incoming = majorityVerdict(voters, voteOf);
    if (outgoing.length === 0) return incoming;
    const other = majorityVerdict(outgoing, voteOf);
    if (incoming === 'lost' || other === 'lost') return 'lost';
    return incoming === 'won' && other === 'won' ? 'won' : 'open';
  }
}

/** Sorted descending, the value at position floor(n/2) is held or passed by a majority: [9, 7, 7, 3, 1] gives 7. */
function majorityValue(voters: readonly NodeId[], valueOf: (id: NodeId) => number): number {
  const values = voters.map(valueOf).sort((a, b) => b - a);
  return values[values.length >> 1] ?? 0;
}

function majorityVerdict(voters: readonly NodeId[], voteOf: (id: NodeId) => boolean | undefined): Verdict {
  const needed = (voters.length >> 1) + 1;
  let granted = 0;
  let refused = 0;
  for (const id of voters) {
    const vote = voteOf(id);
    if (vote === true) granted++;
    else if (vote === false) refused++;
  }
  if (granted >= needed) return 'won';
  return voters.length - refused < needed ? 'lost' : 'open';
}

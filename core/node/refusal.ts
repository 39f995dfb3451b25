// What an operator is told when a member must not take part (reliability E1, E3): what happened, why, and what to do.

import type { Refusal } from '../peer/frame.js';
import type { NodeId } from '../raft/types.js';

export function refusal(reason: Refusal | 'no_network', self: NodeId, by: NodeId): Error {
  const who = `member ${self.toString(16)}`;
  const source = by === self ? 'its own log says' : `member ${by.toString(16)} says`;
  if (reason === 'no_network') {
    return new Error(`${who} is one of several, and was told to listen nowhere for the others. Name its peer URLs to listen on `
      + '(--listen-peer-urls), or, if the others are lost for ever, start it once with --force-new-cluster');
  }
  if (reason === 'removed') {
    return new Error(`${who} was removed from the cluster, as ${source}; an id that was removed never returns. To bring it `
      + 'back, add it as a new member, and start it with an empty data directory and --initial-cluster-state existing');
  }
  return new Error(`${who} has lost its data: the cluster knows it with another data directory, as ${source}. It must not vote `
    + 'again under this id, because it cannot know what it promised. Remove the member and add it anew: it gets a new id, '
    + 'starts with an empty data directory and --initial-cluster-state existing, and its data comes from the others');
}

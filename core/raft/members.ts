// Who votes, what a majority of them has, what a change makes of them, and their bytes in an entry. Pure arithmetic over a
// `Configuration`. While a joint configuration is in force every decision needs a majority of both sets (Raft §6): the
// smaller answer of the two counts. Nobody votes in an empty configuration, and nothing is ever decided there.

import { assert } from '../base/assert.js';
import type { Configuration, MemberChange, NodeId } from './types.js';

export type Verdict = 'won' | 'lost' | 'open';

export class Members {
  readonly configuration: Configuration;
  /** Everyone the leader sends to: voters of both sets and learners, each once. */
  readonly all: readonly NodeId[];

  constructor(configuration: Configuration) {
    checkConfiguration(configuration);
    this.configuration = configuration;
    this.all = [...new Set([...configuration.voters, ...configuration.outgoing, ...configuration.learners])];
  }

  get isJoint(): boolean {
    return this.configuration.outgoing.length > 0;
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

/**
 * What `change` makes of a configuration that is not joint. Null: it adds who is there, removes who is not, names somebody
 * twice, or leaves no voter.
 */
export function changed({ voters, learners, outgoing }: Configuration, change: MemberChange): Configuration | null {
  assert(outgoing.length === 0, 'a joint configuration is left before the next change');
  const named = [...change.voters, ...change.learners, ...change.removed];
  if (named.length === 0 || new Set(named).size !== named.length || named.includes(0n)) return null;
  if (change.voters.some((id) => voters.includes(id)) || change.learners.some((id) => learners.includes(id))) return null;
  if (change.removed.some((id) => !voters.includes(id) && !learners.includes(id))) return null;
  const stays = (id: NodeId): boolean => !named.includes(id);
  const newVoters = ascending([...voters.filter(stays), ...change.voters]);
  if (newVoters.length === 0) return null;
  const newLearners = ascending([...learners.filter(stays), ...change.learners]);
  const moved = newVoters.filter((id) => !voters.includes(id)).length + voters.filter((id) => !newVoters.includes(id)).length;
  // Thesis 4.1: one voter more or less, and any majority of the old set meets any majority of the new one.
  return { voters: newVoters, outgoing: moved > 1 ? voters : [], learners: newLearners };
}

/** Raft §6: what follows a joint configuration. */
export function left({ voters, learners }: Configuration): Configuration {
  return { voters, outgoing: [], learners };
}

const FORM = 1;
const HEADER_BYTES = 7;
const ID_BYTES = 8;
const COUNT_MAX = 0xffff;

/**
 * The data of a 'members' entry: the form (one byte, 1), the three counts (two bytes each), the ids of voters, outgoing and
 * learners (eight bytes each), all big-endian, then `context` to the end.
 */
export function encodeMembers(configuration: Configuration, context: Uint8Array): Uint8Array {
  checkConfiguration(configuration);
  const { voters, outgoing, learners } = configuration;
  const lists = [voters, outgoing, learners];
  const ids = lists.flat();
  assert(lists.every((list) => list.length <= COUNT_MAX), `a configuration of ${ids.length} members has no byte form`);
  const bytes = new Uint8Array(HEADER_BYTES + ids.length * ID_BYTES + context.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, FORM);
  lists.forEach((list, i) => view.setUint16(1 + 2 * i, list.length));
  ids.forEach((id, i) => view.setBigUint64(HEADER_BYTES + i * ID_BYTES, id));
  bytes.set(context, HEADER_BYTES + ids.length * ID_BYTES);
  return bytes;
}

/** Inverse of `encodeMembers`. The log's checksums have passed these bytes, so anything else is a programmer's error. */
export function decodeMembers(data: Uint8Array): { configuration: Configuration; context: Uint8Array } {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  assert(data.length >= HEADER_BYTES, `a 'members' entry of ${data.length} bytes is too short`);
  assert(view.getUint8(0) === FORM, `a 'members' entry begins with byte ${view.getUint8(0)}; this version knows form ${FORM}`);
  let at = HEADER_BYTES;
  const list = (count: number): readonly NodeId[] => {
    assert(at + count * ID_BYTES <= data.length, `a 'members' entry of ${data.length} bytes ends within its ids`);
    const ids = Array.from({ length: count }, (_, i) => view.getBigUint64(at + i * ID_BYTES));
    at += count * ID_BYTES;
    return ids;
  };
  const configuration = { voters: list(view.getUint16(1)), outgoing: list(view.getUint16(3)), learners: list(view.getUint16(5)) };
  checkConfiguration(configuration);
  return { configuration, context: data.subarray(at) };
}

function checkConfiguration({ voters, outgoing, learners }: Configuration): void {
  for (const list of [voters, outgoing, learners]) {
    assert(list.every((id, i) => id > (list[i - 1] ?? 0n)), `the members ${list.join(', ')} do not ascend from 1`);
  }
  assert(learners.every((id) => !voters.includes(id)), `a learner of ${learners.join(', ')} votes too`);
}

function ascending(ids: readonly NodeId[]): readonly NodeId[] {
  return [...ids].sort((a, b) => (a < b ? -1 : 1));
}

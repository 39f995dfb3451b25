// Whether a change of members may be made: etcd's checks, in etcd's order (contract 7). Pure: judged by the leader from what
// it knows of the others. The strict check refuses what could cost the majority, and only that: whoever is down already is
// not missed (reliability E5).

import type { ErrorCode } from '../errors.js';
import type { MemberChange, NodeId } from '../raft/types.js';
import { encodeMemberRecords, type MemberRecord } from '../store/members.js';
import type { ChangeRequest } from './calls.js';
import { learnersMax, peerUrlsMax } from './limits.js';

export interface Situation {
  readonly self: NodeId;
  readonly isStrict: boolean;
  readonly members: readonly MemberRecord[];
  isRemoved(id: NodeId): boolean;
  /** Reached without a break for `healthyMs`. */
  isHealthy(id: NodeId): boolean;
  /** How far the leader knows the member's log to agree with its own. */
  match(id: NodeId): number;
  /** It has answered within the last election time-out. */
  isActive(id: NodeId): boolean;
  /** How far the leader's own log is durable. */
  readonly ownMatch: number;
}

const READY_SHARE = 0.9;
const EMPTY_CONTEXT = new Uint8Array(0);

/** What the machine is to be asked for, or why not. */
export function judge(request: ChangeRequest, situation: Situation): MemberChange | ErrorCode {
  if (request.kind === 'add') return judgeAdd(request, situation);
  return request.kind === 'remove' ? judgeRemove(request.id, situation) : judgePromote(request.id, situation);
}

function judgeAdd(request: Extract<ChangeRequest, { kind: 'add' }>, situation: Situation): MemberChange | ErrorCode {
  const { members, isStrict } = situation;
  const voters = members.filter((member) => !member.isLearner);
  if (isStrict) {
    const started = voters.filter(isStarted).length;
    // Alone is always half of two: else no cluster could ever grow from its first member.
    const isAlone = started === 1 && voters.length === 1;
    if (!request.isLearner && !isAlone && started < majority(voters.length + 1)) return 'not_enough_started';
    if (!voters.every(({ id }) => id === situation.self || situation.isHealthy(id))) return 'unhealthy_cluster';
  }
  if (!areUrls(request.peerUrls)) return 'member_urls_invalid';
  if (situation.isRemoved(request.id) || members.some(({ id }) => id === request.id)) return 'member_exists';
  const taken = new Set(members.flatMap((member) => member.peerUrls));
  if (request.peerUrls.some((url) => taken.has(url))) return 'peer_urls_exist';
  if (request.isLearner && members.length - voters.length >= learnersMax) return 'too_many_learners';
  const { id, isLearner } = request;
  const peerUrls = [...request.peerUrls].sort();
  const context = encodeMemberRecords([{ id, name: '', peerUrls, clientUrls: [], isLearner, incarnation: 0n }]);
  return { voters: isLearner ? [] : [id], learners: isLearner ? [id] : [], removed: [], context };
}

function judgeRemove(id: NodeId, situation: Situation): MemberChange | ErrorCode {
  const member = situation.members.find((each) => each.id === id);
  if (member === undefined) return 'member_not_found';
  const voters = situation.members.filter((each) => !each.isLearner);
  const others = voters.filter((each) => each.id !== id);
  if (!member.isLearner && others.length === 0) return 'not_enough_started';
  if (situation.isStrict && !member.isLearner) {
    if (others.filter(isStarted).length < majority(others.length)) return 'not_enough_started';
    const isUp = (each: NodeId): boolean => each === situation.self || situation.isHealthy(each);
    const isDown = id !== situation.self && !situation.isActive(id);
    if (!isDown && others.filter((each) => isUp(each.id)).length < majority(others.length)) return 'unhealthy_cluster';
  }
  return { voters: [], learners: [], removed: [id], context: EMPTY_CONTEXT };
}

function judgePromote(id: NodeId, situation: Situation): MemberChange | ErrorCode {
  const member = situation.members.find((each) => each.id === id);
  if (member === undefined) return 'member_not_found';
  if (!member.isLearner) return 'not_learner';
  const isInSync = situation.isActive(id) && situation.match(id) >= READY_SHARE * situation.ownMatch;
  if (!isInSync || !isStarted(member)) return 'learner_not_ready';
  const voters = situation.members.filter((each) => !each.isLearner);
  const started = voters.filter(isStarted).length + 1;
  if (situation.isStrict && started < majority(voters.length + 1)) return 'not_enough_started';
  return { voters: [id], learners: [], removed: [], context: EMPTY_CONTEXT };
}

/** It has published itself. */
function isStarted(member: MemberRecord): boolean {
  return member.name !== '' || member.incarnation !== 0n;
}

function majority(count: number): number {
  return Math.floor(count / 2) + 1;
}

/** As etcd reads them: a scheme, a host and a port, nothing behind. */
function areUrls(urls: readonly string[]): boolean {
  return urls.length > 0 && urls.length <= peerUrlsMax && urls.every(isUrl);
}

function isUrl(url: string): boolean {
  if (!/^(https?|unixs?):\/\/(\[[0-9a-fA-F:.%]+\]|[^/?#:[\]@\s]+):(\d{1,5})$/.test(url)) return false;
  return Number(url.slice(url.lastIndexOf(':') + 1)) <= 65_535;
}

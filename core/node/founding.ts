// How a log begins. All founders of a cluster begin with the same first entry, which names them; so nobody has to be asked
// who they are, and restarts need no settings. A member that joins begins with nothing. And one that goes on alone, because
// the majority is lost for ever, appends the configuration that names only itself.

import { assert } from '../base/assert.js';
import type { Done } from '../base/done.js';
import { NO_SNAPSHOT, type LogStorage } from '../log/log-storage.js';
import { encodeMembers } from '../raft/members.js';
import type { Entry, NodeId, Persist, RaftConfig, Resumed } from '../raft/types.js';
import { encodeMemberRecords, type MemberRecord } from '../store/members.js';
import { attempt } from './caught.js';
import { appendBytesMax, catchUpBytes, type NodeLimits } from './limits.js';

export interface FoundingConfig {
  readonly id: NodeId;
  readonly founders: readonly MemberRecord[];
  readonly forceNewCluster: boolean;
}

export interface Prepared {
  readonly resumed: Resumed;
  /** To be made durable before the machine starts; null: nothing. */
  readonly founding: Persist | null;
}

export interface PaceConfig {
  readonly id: NodeId;
  readonly heartbeatMs: number;
  readonly electionMs: number;
  readonly seed: number;
  readonly limits: Pick<NodeLimits, 'proposalsMax' | 'catchUpEntries' | 'applyBytesMax'>;
}

const NO_CONTEXT = new Uint8Array(0);

/** Opens the log, and founds it where that is due. Done with what the machine resumes from; the log stays open either way. */
export function resume(log: LogStorage, config: FoundingConfig, done: Done<Resumed>): void {
  log.open((error, found) => {
    if (error !== null) return done(error);
    assert(found !== undefined, 'an opened log has contents');
    const prepared = attempt(() => prepare(found, config));
    if (prepared instanceof Error) return done(prepared);
    const { resumed, founding } = prepared;
    if (founding === null) return done(null, resumed);
    log.append(founding, (appendError) => (appendError === null ? done(null, resumed) : done(appendError)));
  });
}

/** Pure: what the machine resumes from, given what the log held. */
export function prepare(found: Resumed, config: FoundingConfig): Prepared {
  const isEmpty = found.hard.term === 0 && found.snapshot.index === 0 && found.entries.length === 0;
  if (isEmpty && config.founders.length > 0) return founded(config.founders);
  if (config.forceNewCluster && !isEmpty) return alone(found, config.id);
  return { resumed: found, founding: null };
}

/** A tick of the machine is a heartbeat. Who votes is always in the log. */
export function raftConfig({ id, heartbeatMs, electionMs, seed, limits }: PaceConfig): RaftConfig {
  return {
    id,
    voters: [],
    electionTicks: Math.max(3, Math.round(electionMs / heartbeatMs)),
    heartbeatTicks: 1,
    seed,
    appendBytesMax,
    uncommittedMax: 2 * limits.proposalsMax,
    catchUpEntries: limits.catchUpEntries,
    catchUpBytes,
    applyBytesMax: limits.applyBytesMax,
  };
}

/** Founding the cluster counts as term 1, which never had a leader; so a first leader has term 2, as etcd's clients see it. */
function founded(founders: readonly MemberRecord[]): Prepared {
  const records = [...founders].sort((a, b) => (a.id < b.id ? -1 : 1));
  const voters = records.map(({ id }) => id);
  const data = encodeMembers({ voters, outgoing: [], learners: [] }, encodeMemberRecords(records));
  const entry: Entry = { term: 1, index: 1, kind: 'members', data };
  const hard = { term: 1, vote: 0n, commit: 1 };
  return {
    resumed: { hard, snapshot: NO_SNAPSHOT, entries: [entry] },
    founding: { seq: 0, hard, truncateAfter: null, snapshot: null, entries: [entry] },
  };
}

/**
 * The whole log counts as committed, and then this member is alone. Entries behind the commit index written down last are
 * kept: it lags, so dropping them could lose what was acknowledged; keeping one that never was is no more than an answer
 * that got lost.
 */
function alone(found: Resumed, self: NodeId): Prepared {
  const last = found.entries.at(-1) ?? found.snapshot;
  const term = Math.max(found.hard.term, last.term, 1);
  const data = encodeMembers({ voters: [self], outgoing: [], learners: [] }, NO_CONTEXT);
  const entry: Entry = { term, index: last.index + 1, kind: 'members', data };
  const hard = { term, vote: found.hard.vote, commit: entry.index };
  return {
    resumed: { hard, snapshot: found.snapshot, entries: [...found.entries, entry] },
    founding: { seq: 0, hard, truncateAfter: null, snapshot: null, entries: [entry] },
  };
}

// What a member is told of itself and its cluster: by its composition root to member.ts, and from there to node.ts.

import type { MemberRecord } from '../store/members.js';
import type { NodeLimits } from './limits.js';
import type { UpkeepSettings } from './upkeep.js';

/** How users prove who they are, once auth is turned on; equal on all members. */
export interface AuthSettings {
  /** Of new passwords: 4 to 31, each step twice the work. Default 10. */
  readonly bcryptCost?: number;
  /** How long a simple token is good unused. Default 300. */
  readonly tokenTtlSeconds?: number;
}

export interface Settings {
  /** The members of a new cluster, itself among them, equal on each of them; empty: it joins. Counts only without data. */
  readonly founders: readonly MemberRecord[];
  /** Where members may be reached until the log says so: for one that joins. */
  readonly contacts: readonly MemberRecord[];
  /** Published to all members at each start. */
  readonly name: string;
  readonly clientUrls: readonly string[];
  readonly heartbeatMs: number;
  readonly electionMs: number;
  /** A snapshot is taken once this many entries were applied since the last, and the log has grown enough to be worth it. */
  readonly snapshotCount: number;
  readonly limits: NodeLimits;
  /** What it does without being asked; absent: nothing. */
  readonly upkeep?: UpkeepSettings;
  readonly auth?: AuthSettings;
  /** Whether a change of members that could cost the majority is refused (contract 7). */
  readonly strictReconfig: boolean;
  /** Go on alone with the data there is, whoever else was a member: for when the majority is lost for ever. */
  readonly forceNewCluster: boolean;
}

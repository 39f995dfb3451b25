// What is wrong with a cluster, and what to do about it: from what each member says of itself to sentences, worst first. Pure;
// asking them is status.ts.

import type { Alarm, Member, StatusResponse } from '../client.js';
import { hex } from './output.js';
import { remedyOf } from './remedies.js';

/** Entries of the log; more than a moment's work even on a busy cluster. */
export const LAG_ENTRIES = 5_000;
/** Of the memory that is taken, what removed data still takes, before anybody is told. */
const WASTE_SHARE = 0.5;
const WASTE_BYTES = 64 << 20;

export interface Seen {
  readonly member: Member;
  readonly endpoint: string | null;
  readonly status: StatusResponse | null;
  /** Milliseconds that a read with a majority took; null: it did not come to an end. */
  readonly readMs: number | null;
  /** Why it could not be asked, or could not read. */
  readonly error: string | null;
}

export interface Finding {
  /** `broken`: something does not work. `worth knowing`: it works, and something should be done. */
  readonly weight: 'broken' | 'worth knowing';
  readonly problem: string;
  readonly remedy: string;
}

export interface Scene {
  readonly seen: readonly Seen[];
  readonly alarms: readonly Alarm[];
}

export function leaderOf(seen: readonly Seen[]): bigint | null {
  const terms = seen.flatMap(({ status }) => (status === null || status.leader === 0n ? [] : [status]));
  const newest = terms.sort((a, b) => b.raftTerm - a.raftTerm)[0];
  return newest?.leader ?? null;
}

export function lagOf(status: StatusResponse, seen: readonly Seen[]): number {
  const most = Math.max(...seen.map((one) => one.status?.raftIndex ?? 0));
  return Math.max(0, most - status.raftAppliedIndex);
}

export function nameOf({ name, id }: Member): string {
  return name === '' ? hex(id) : name;
}

export function diagnose({ seen, alarms }: Scene): readonly Finding[] {
  const voters = seen.filter(({ member }) => !member.isLearner);
  const up = voters.filter(({ status }) => status !== null);
  const findings = [...membersDown(seen, voters, up), ...alarmsOf(alarms, seen), ...seen.flatMap((one) => faultsOf(one, seen))];
  if (leaderOf(seen) === null && up.length * 2 > voters.length) {
    findings.unshift({
      weight: 'broken', problem: 'nobody leads: nothing can be written',
      remedy: 'wait a second; if it stays so, the members do not reach each other: see their logs and peer URLs',
    });
  }
  const versions = [...new Set(seen.flatMap(({ status }) => (status === null ? [] : [status.version])))];
  if (versions.length > 1) {
    findings.push({
      weight: 'worth knowing', problem: `members run different versions: ${versions.join(', ')}`,
      remedy: 'finish the upgrade, one member after another',
    });
  }
  if (voters.length > 0 && voters.length % 2 === 0) {
    findings.push({
      weight: 'worth knowing', problem: `${voters.length} members vote, and an even number stands no more failures than one less`,
      remedy: 'add or remove one: coterie member add, coterie member remove',
    });
  }
  return findings.sort((a, b) => Number(a.weight !== 'broken') - Number(b.weight !== 'broken'));
}

function membersDown(seen: readonly Seen[], voters: readonly Seen[], up: readonly Seen[]): Finding[] {
  const needed = Math.floor(voters.length / 2) + 1;
  if (voters.length > 0 && up.length < needed) {
    return [{
      weight: 'broken',
      problem: `only ${up.length} of ${voters.length} voting members answer, ${needed} must: nothing can be written`,
      remedy: 'start those that are down; if they are lost for ever: coterie serve --force-new-cluster on one that is left',
    }];
  }
  return seen.filter(({ status }) => status === null).map(({ member, error }): Finding => {
    const name = nameOf(member);
    if (member.clientUrls.length === 0) {
      return {
        weight: 'worth knowing', problem: `${name} was added and has not started yet`,
        remedy: 'start it with the words that coterie member add printed, or take it out: coterie member remove',
      };
    }
    return {
      weight: 'broken', problem: `${name} does not answer at ${member.clientUrls.join(', ')}: ${error ?? 'no reason given'}`,
      remedy: `start it, or replace it: coterie member remove ${hex(member.id)}, then coterie member add`,
    };
  });
}

function alarmsOf(alarms: readonly Alarm[], seen: readonly Seen[]): Finding[] {
  return alarms.map(({ memberId, kind }): Finding => {
    const member = seen.find((one) => one.member.id === memberId)?.member;
    const who = member === undefined ? hex(memberId) : nameOf(member);
    const what = kind === 'no_space' ? 'NOSPACE, nothing can be put' : 'CORRUPT, its data differs from the others\'';
    return { weight: 'broken', problem: `alarm of ${who}: ${what}`, remedy: remedyOf(kind) ?? '' };
  });
}

function faultsOf(one: Seen, seen: readonly Seen[]): Finding[] {
  const { member, status, error } = one;
  if (status === null) return [];
  const name = nameOf(member);
  const findings: Finding[] = [];
  if (error !== null && !member.isLearner) {
    findings.push({
      weight: 'broken', problem: `${name} answers, and cannot read with a majority: ${error}`,
      remedy: 'look whether it reaches the other members: its peer URLs, a firewall',
    });
  }
  const lag = lagOf(status, seen);
  if (lag > LAG_ENTRIES) {
    findings.push({
      weight: 'worth knowing', problem: `${name} is ${lag} entries behind`,
      remedy: 'it catches up by itself; if it does not, look at its disk and its network',
    });
  }
  const waste = status.dbSizeBytes - status.dbSizeInUseBytes;
  if (waste > WASTE_BYTES && waste > status.dbSizeBytes * WASTE_SHARE) {
    findings.push({
      weight: 'worth knowing', problem: `most of what ${name} takes belongs to data that was removed`,
      remedy: `coterie defrag --endpoints ${one.endpoint ?? member.clientUrls.join(',')}`,
    });
  }
  const said = status.errors.filter((text) => !/NOSPACE|CORRUPT/.test(text));
  for (const text of said) findings.push({ weight: 'broken', problem: `${name} says: ${text}`, remedy: 'see its log' });
  return findings;
}

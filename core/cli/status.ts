// `coterie status`: the cluster at a glance: who is in it, who leads, how each member is, what is wrong and what to do. Asks any
// endpoint who is in the cluster and then every member by itself, at the addresses it advertises. Exit code 1 when something is
// broken, so that it can stand in a script.

import { utf8 } from '../base/bytes.js';
import type { Alarm, Member } from '../client.js';
import { isApiError } from '../errors.js';
import { alarmDecoded } from './alarm.js';
import { runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { diagnose, lagOf, leaderOf, nameOf, type Finding, type Scene, type Seen } from './diagnosis.js';
import { bytesText, columns, durationText, hex, json, plain, type Json } from './output.js';
import type { Terminal } from './terminal.js';

const STATUS: ClientCommand = {
  words: 'status', usage: '', summary: 'the cluster at a glance: what is wrong, and what to do', takes: [0, 0], flags: [],
  formats: ['simple', 'json', 'decoded'],
  async run(invocation) {
    const client = invocation.connect();
    // What one member knows: a list is wanted most when no majority is left to confirm it.
    const { members, header } = await client.members({ linearizable: false });
    const known = await whoIsAt(invocation);
    const seen = await Promise.all(members.map((member) => lookAt(invocation, member, known.get(member.id))));
    const scene: Scene = { seen, alarms: await alarmsFrom(invocation, seen) };
    const findings = diagnose(scene);
    const text = invocation.format === 'simple' ? forPeople : forPrograms;
    invocation.print(text(header.clusterId, scene, findings));
    return findings.some(({ weight }) => weight === 'broken') ? 1 : 0;
  },
};

export const COMMANDS: readonly ClientCommand[] = [STATUS];

export function main(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('status', COMMANDS, argv, terminal);
}

/** What any of those that answer knows of. */
async function alarmsFrom(invocation: Invocation, seen: readonly Seen[]): Promise<readonly Alarm[]> {
  const endpoint = seen.find(({ readMs }) => readMs !== null)?.endpoint ?? null;
  if (endpoint === null) return [];
  try {
    return (await invocation.connect([endpoint]).alarm({ action: 'list', memberId: 0n, kind: null })).alarms;
  } catch (error) {
    if (!isApiError(error)) throw error;
    return [];
  }
}

/** Members by the endpoints they were reached at: what they advertise may lead nowhere from here. */
async function whoIsAt(invocation: Invocation): Promise<ReadonlyMap<bigint, string>> {
  const found = await Promise.all(invocation.endpoints.map(async (endpoint): Promise<[bigint, string][]> => {
    try {
      return [[(await invocation.connect([endpoint]).status()).header.memberId, endpoint]];
    } catch (error) {
      if (!isApiError(error)) throw error;
      return [];
    }
  }));
  return new Map(found.flat());
}

async function lookAt(invocation: Invocation, member: Member, reached: string | undefined): Promise<Seen> {
  const urls = reached === undefined ? member.clientUrls : [reached];
  const [first] = urls;
  const unseen = { member, endpoint: null, status: null, readMs: null };
  if (first === undefined) return { ...unseen, error: null };
  const client = invocation.connect(urls);
  try {
    const status = await client.status();
    const endpoint = first;
    if (member.isLearner) return { member, endpoint, status, readMs: null, error: null };
    const startedAt = performance.now();
    try {
      await client.range({ key: utf8('health'), keysOnly: true });
    } catch (error) {
      if (!isApiError(error)) throw error;
      // Whoever refuses has asked the majority before.
      if (error.code !== 'permission_denied') return { member, endpoint, status, readMs: null, error: error.message };
    }
    return { member, endpoint, status, readMs: performance.now() - startedAt, error: null };
  } catch (error) {
    if (!isApiError(error)) throw error;
    return { ...unseen, error: error.message };
  }
}

function forPeople(clusterId: bigint, { seen, alarms }: Scene, findings: readonly Finding[]): string {
  const leader = leaderOf(seen);
  const broken = findings.filter(({ weight }) => weight === 'broken').length;
  const state = broken > 0 ? `${broken} ${broken === 1 ? 'thing is' : 'things are'} wrong` : 'all is well';
  const led = seen.find(({ member }) => member.id === leader)?.member;
  const revision = Math.max(0, ...seen.map(({ status }) => status?.header.revision ?? 0));
  const ledBy = leader === null ? 'nobody leads' : `${led === undefined ? hex(leader) : plain(nameOf(led))} leads`;
  const alarmed = `${alarms.length === 0 ? 'no' : alarms.length} ${alarms.length === 1 ? 'alarm' : 'alarms'}`;
  const head = `cluster ${hex(clusterId)}: ${state}; ${ledBy}, revision ${revision}, ${alarmed}\n\n`;
  const rows = seen.map((one) => rowOf(one, seen, leader));
  const list = columns(['MEMBER', 'ID', 'ROLE', 'HEALTH', 'READ', 'LAG', 'DB SIZE', 'IN USE', 'VERSION', 'ENDPOINT'], rows);
  const said = findings.map(({ weight, problem, remedy }) => `\n${weight}: ${plain(problem)}\n  ${remedy}\n`).join('');
  return `${head}${list}${said}`;
}

function rowOf(one: Seen, seen: readonly Seen[], leader: bigint | null): readonly string[] {
  const { member, endpoint, status, readMs, error } = one;
  const role = member.isLearner ? 'learner' : 'follower';
  const name = [plain(nameOf(member)), hex(member.id)];
  const isNew = member.clientUrls.length === 0;
  if (status === null) return [...name, role, isNew ? 'not started' : 'down', '', '', '', '', '', ''];
  const health = error === null ? 'well' : 'no majority';
  return [
    ...name, member.id === leader ? 'leader' : role, health,
    readMs === null ? '' : durationText(Math.round(readMs * 1000) / 1000), String(lagOf(status, seen)),
    bytesText(status.dbSizeBytes), bytesText(status.dbSizeInUseBytes), status.version,
    endpoint ?? '',
  ];
}

function forPrograms(clusterId: bigint, { seen, alarms }: Scene, findings: readonly Finding[]): string {
  const leader = leaderOf(seen);
  const members = seen.map(({ member, status, readMs, error }): Json => {
    const about = {
      id: hex(member.id), name: member.name, isLearner: member.isLearner, isLeader: member.id === leader,
      clientUrls: member.clientUrls, answers: status !== null, error: error ?? undefined,
      readMs: readMs === null ? undefined : Math.round(readMs * 1000) / 1000,
    };
    if (status === null) return about;
    return {
      ...about, version: status.version, revision: status.header.revision, raftTerm: status.raftTerm,
      raftIndex: status.raftIndex, lag: lagOf(status, seen), dbSizeBytes: status.dbSizeBytes,
      dbSizeInUseBytes: status.dbSizeInUseBytes, errors: status.errors,
    };
  });
  const said = findings.map(({ weight, problem, remedy }): Json => ({ broken: weight === 'broken', problem, remedy }));
  return `${json({
    cluster: hex(clusterId), healthy: findings.every(({ weight }) => weight !== 'broken'),
    leader: leader === null ? undefined : hex(leader), members,
    alarms: alarms.map(alarmDecoded),
    findings: said,
  })}\n`;
}

// `coterie locks [NAME…]`: who holds which lock, for how long without a sign of life, and who waits. Reads; changes nothing.

import type { LeaseId, LeaseInfo } from '../client.js';
import { LOCKS_ROOT } from '../../recipes/lock-names.js';
import { runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { leaseInfos, leftText, personOf, readLines, type Line, type Standing } from './lines.js';
import { columns, hex, json, plain, table, type Json } from './output.js';

const LOCKS: ClientCommand = {
  words: 'locks', usage: '[NAME …]', summary: 'who holds which lock, and who waits; with names, everybody in their lines',
  takes: [0, Infinity],
  flags: [{ name: 'root', value: 'PREFIX', help: 'where the keys are, default coterie/locks/; "" for those of etcdctl' }],
  formats: ['simple', 'table', 'json'],
  async run(invocation) {
    const root = invocation.text('root') ?? LOCKS_ROOT;
    const client = invocation.connect();
    const { revision, lines } = await readLines(client, root, root === LOCKS_ROOT);
    const wanted = invocation.args.length === 0 ? lines : lines.filter(({ name }) => invocation.args.includes(name));
    const everybody = invocation.args.length > 0 || invocation.format === 'json';
    const shown = wanted.flatMap(({ entries }) => (everybody ? entries : [entries[0]]));
    const infos = await leaseInfos(client, shown.map(({ lease }) => lease));
    const locks = wanted.map((line) => lockJson(line, infos));
    invocation.print(invocation.format === 'json' ? `${json({ revision, locks })}\n` : locksText(invocation, wanted, infos));
    return 0;
  },
};

export const COMMANDS: readonly ClientCommand[] = [LOCKS];

export function main(argv: readonly string[]): Promise<number> {
  return runGroup('locks', COMMANDS, argv);
}

function locksText(invocation: Invocation, lines: readonly Line[], infos: ReadonlyMap<LeaseId, LeaseInfo>): string {
  const draw = invocation.format === 'table' ? table : columns;
  if (invocation.args.length > 0) {
    const rows = lines.flatMap(({ name, entries }) => entries.map((entry, i) => [
      plain(name), i === 0 ? 'holds' : `waits (${i})`, ...whoCells(entry), leftText(infos.get(entry.lease)), hex(entry.lease),
    ]));
    return draw(['NAME', 'STATE', 'WHO', 'INFO', 'FENCE', 'LEFT', 'LEASE'], rows);
  }
  const rows = lines.map(({ name, entries: [holder, ...waiters] }) => [
    plain(name), ...whoCells(holder), leftText(infos.get(holder.lease)), String(waiters.length),
  ]);
  return draw(['NAME', 'HOLDER', 'INFO', 'FENCE', 'LEFT', 'WAITING'], rows);
}

function whoCells({ info, lease, since }: Standing): readonly string[] {
  return [personOf(info, lease), plain(info.info ?? ''), String(since)];
}

function lockJson({ name, entries: [holder, ...waiters] }: Line, infos: ReadonlyMap<LeaseId, LeaseInfo>): Json {
  return { name, holder: standingJson(holder, infos), waiters: waiters.map((one) => standingJson(one, infos)) };
}

export function standingJson({ key, lease, since, info }: Standing, infos: ReadonlyMap<LeaseId, LeaseInfo>): Json {
  const left = infos.get(lease);
  return {
    key, fence: since, lease: hex(lease), ttlSeconds: left?.ttlSeconds ?? 0, grantedTtlSeconds: left?.grantedTtlSeconds ?? 0,
    name: info.name, host: info.host, pid: info.pid, info: info.info,
  };
}

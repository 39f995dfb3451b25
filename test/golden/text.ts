// What the machines did, in words: the lines of a transcript. How to read them is told in test/README.md.

import { show } from '../core/raft/cluster.js';
import { decodeMembers } from '../../core/raft/members.js';
import type { Configuration, Entry, Message, NodeId, Output, Persist, RefusedReason, Settled } from '../../core/raft/types.js';

/** Of a longer list of entries only the first and the last are printed. */
const SHOWN_MAX = 12;

/** Everything in `output`, a line each. */
export function outputLines(id: NodeId, output: Output): readonly string[] {
  const { role, persist, restore } = output;
  const lines: string[] = [];
  if (role !== null) lines.push(`${id} is ${role.state} of term ${role.term}${leaderText(id, role.leader)}`);
  for (const settled of output.settled) lines.push(`${id} ${settledText(settled)}`);
  if (persist !== null) lines.push(`${id} persists ${persistText(persist)}`);
  for (const message of output.send) lines.push(messageText(message));
  if (restore !== null) lines.push(`${id} restores ${show(restore)} ${configurationText(restore.configuration)}`);
  if (output.apply.length > 0) lines.push(`${id} applies ${entriesText(output.apply)}`);
  return lines;
}

function leaderText(id: NodeId, leader: NodeId): string {
  return leader === 0n || leader === id ? '' : ` under ${leader}`;
}

function settledText(settled: Settled): string {
  if (settled.kind === 'appended') return `takes proposal ${settled.token} as ${show(settled.id)}`;
  if (settled.kind === 'readable') return `answers read ${settled.token} at ${settled.index}`;
  const words: Record<RefusedReason, string> = {
    no_leader: 'no leader', not_leader: 'not the leader', leader_changed: 'the leader changed', too_many: 'too many',
    transferring: 'leadership is being handed over', change_pending: 'a change is pending', change_invalid: 'no such change',
  };
  const hint = settled.leader === 0n ? '' : `, ask ${settled.leader}`;
  return `refuses ${settled.token}: ${words[settled.reason]}${hint}`;
}

function persistText({ seq, hard, truncateAfter, snapshot, entries }: Persist): string {
  const parts = [`#${seq}`];
  if (hard !== null) parts.push(`term ${hard.term} vote ${hard.vote} commit ${hard.commit}`);
  if (truncateAfter !== null) parts.push(`cut after ${truncateAfter}`);
  if (snapshot !== null) parts.push(`start over after ${show(snapshot)} ${configurationText(snapshot.configuration)}`);
  if (entries.length > 0) parts.push(entriesText(entries));
  return parts.join(' · ');
}

function messageText(message: Message): string {
  const pre = (message.kind === 'vote' || message.kind === 'vote_reply') && message.pre ? 'pre_' : '';
  const route = `${message.from} -> ${message.to} ${pre}${message.kind} term ${message.term}`;
  switch (message.kind) {
    case 'vote': return `${route}${message.transfer ? ' for a transfer' : ''} last ${show(message.last)}`;
    case 'vote_reply': return `${route} ${message.granted ? 'granted' : 'refused'}`;
    case 'timeout_now': return route;
    case 'snapshot': return `${route} ${show(message.snapshot)} ${configurationText(message.snapshot.configuration)}`;
    case 'append': {
      const round = message.round === 0 ? '' : ` round ${message.round}`;
      return `${route} after ${show(message.previous)} ${entriesText(message.entries)} commit ${message.commit}${round}`;
    }
    case 'append_reply': {
      const round = message.round === 0 ? '' : ` round ${message.round}`;
      const refused = `refused, try ${message.index} after term ${message.before}`;
      return `${route} ${message.ok ? `durable through ${message.index}` : refused}${round}`;
    }
  }
}

export function configurationText({ voters, outgoing, learners }: Configuration): string {
  const old = outgoing.length === 0 ? '' : ` and ${outgoing.join(' ')}`;
  return `{${voters.join(' ')}${old}${learners.length === 0 ? '' : ` learning ${learners.join(' ')}`}}`;
}

export function entriesText(entries: readonly Entry[]): string {
  const words = (entry: Entry): string => {
    if (entry.kind === 'members') return ` ${configurationText(decodeMembers(entry.data).configuration)}`;
    return entry.kind === 'command' ? ` ${Buffer.from(entry.data).toString()}` : '';
  };
  const texts = entries.map((entry) => show(entry) + words(entry));
  if (texts.length > SHOWN_MAX) texts.splice(1, texts.length - 2, `… ${texts.length - 2} more …`);
  return `[${texts.join(', ')}]`;
}

// The language of the raft transcripts: one command a line, answered by everything the machines did.
//
//   start 1 2 3 [bytes=n]  fresh members, at most n bytes of data in an append
//   crash 1 [kept]         its unanswered writes are lost, save the first `kept`
//   restart 1              from what its disk holds
//   tick 1 [times]
//   timeout 1              ticks until it campaigns
//   persist 1 [batches]    the oldest batches become durable, all without a number
//   deliver [1->2 …]       messages in flight, or those of these routes, one generation
//   drop [1->2 …]          lost               keep [1->2 …]   only these stay in flight
//   settle                 persist and deliver until nothing moves; what is printed is the end of it
//   propose 1 text         read 1 token    
//   log 1                  memory, disk and status

import { show, Cluster, type Member } from '../core/raft/cluster.js';
import { decodeMembers } from '../../core/raft/members.js';
import type { Configuration, Entry, Message, Output, Persist, RefusedReason, Settled } from '../../core/raft/types.js';

const SETTLE_ROUNDS_MAX = 50;

/** Every command line of `transcript` followed by what happens now; comments and blank lines stay. */
export function replay(transcript: string): string {
  const script = new Script();
  const lines: string[] = [];
  for (const line of transcript.split('\n')) {
    if (line.startsWith('  ')) continue;
    lines.push(line);
    if (line === '' || line.startsWith('#')) continue;
    lines.push(...script.run(line.trim()).map((said) => `  ${said}`));
  }
  return lines.join('\n');
}

class Script {
  #cluster = new Cluster([1n]);
  #said: string[] = [];
  #tokens = 0;

  run(line: string): readonly string[] {
    this.#said = [];
    const [verb = '', ...words] = line.split(/\s+/);
    const id = BigInt(/^\d+$/.test(words[0] ?? '') ? (words[0] ?? '0') : '0');
    const count = words[1] === undefined ? null : Number(words[1]);
    switch (verb) {
      case 'start': this.#start(words); break;
      case 'tick': this.#tick(id, count ?? 1); break;
      case 'timeout': this.#timeout(id); break;
      case 'persist': this.#tell(id, this.#cluster.persist(id, count ?? Infinity)); break;
      case 'deliver': this.#deliver(words); break;
      case 'drop': this.#cluster.messages = this.#cluster.messages.filter((message) => !onRoute(message, words)); break;
      case 'keep': this.#cluster.messages = this.#cluster.messages.filter((message) => onRoute(message, words)); break;
      case 'settle': this.#settle(); break;
      case 'propose': this.#propose(id, words.slice(1).join(' ')); break;
      case 'read': this.#tell(id, this.#cluster.step(id, [{ kind: 'read', token: Number(words[1]) }])); break;
      case 'crash': this.#cluster.crash(id, count ?? 0); break;
      case 'restart': this.#cluster.restart(id); this.#tell(id, this.#cluster.step(id, [])); break;
      case 'log': this.#log(this.#cluster.member(id)); break;
      default: throw new Error(`the script does not know: ${line}`);
    }
    this.#cluster.checkLogMatching();
    return this.#said;
  }

  #start(words: readonly string[]): void {
    const ids = words.filter((word) => /^\d+$/.test(word)).map(BigInt);
    const bytes = words.find((word) => word.startsWith('bytes='));
    this.#cluster = new Cluster(ids, bytes === undefined ? {} : { appendBytesMax: Number(bytes.slice(6)) });
    for (const id of ids) this.#tell(id, this.#cluster.step(id, []));
  }

  #tick(id: bigint, times: number): void {
    for (let i = 0; i < times; i++) this.#tell(id, this.#cluster.step(id, [{ kind: 'tick' }]));
  }

  #timeout(id: bigint): void {
    for (let i = 0; i < 20; i++) {
      const output = this.#cluster.step(id, [{ kind: 'tick' }]);
      this.#tell(id, output);
      if (output?.send.some(({ kind }) => kind === 'vote') || output?.role?.state === 'candidate') return;
    }
  }

  #propose(id: bigint, text: string): void {
    this.#tell(id, this.#cluster.step(id, [{ kind: 'propose', token: ++this.#tokens, data: Buffer.from(text) }]));
  }

  #deliver(routes: readonly string[]): void {
    const ready = this.#cluster.messages.filter((message) => onRoute(message, routes));
    this.#cluster.messages = this.#cluster.messages.filter((message) => !onRoute(message, routes));
    for (const message of ready) this.#tell(message.to, this.#cluster.deliver(message));
  }

  /** Only what callers and stores see is printed; the conversation in between is that of other transcripts. */
  #settle(): void {
    const said = this.#said;
    for (let round = 0; round < SETTLE_ROUNDS_MAX; round++) {
      const waiting = [...this.#cluster.members.values()].filter(({ flights }) => flights.length > 0);
      if (waiting.length === 0 && this.#cluster.messages.length === 0) break;
      for (const { id } of waiting) this.#tell(id, this.#cluster.persist(id, Infinity));
      this.#deliver([]);
    }
    this.#said = said.filter((line) => / (is|applies|answers|refuses) /.test(line));
  }

  #log(member: Member): void {
    const status = member.raft?.status();
    this.#said.push(`memory ${entriesText(member.memory)} · disk ${entriesText(member.disk.entries)}`);
    if (status === undefined) this.#said.push('crashed');
    else {
      const { state, term, commit, applied, durable } = status;
      this.#said.push(`${state} of term ${term} · commit ${commit} · applied ${applied} · durable ${durable}`);
    }
  }

  #tell(id: bigint, output: Output | null): void {
    if (output === null) return;
    const { role, persist } = output;
    if (role !== null) this.#said.push(`${id} is ${role.state} of term ${role.term}${leaderText(id, role.leader)}`);
    for (const settled of output.settled) this.#said.push(`${id} ${settledText(settled)}`);
    if (persist !== null) this.#said.push(`${id} persists ${persistText(persist)}`);
    for (const message of output.send) this.#said.push(messageText(message));
    if (output.apply.length > 0) this.#said.push(`${id} applies ${entriesText(output.apply)}`);
  }
}

function onRoute(message: Message, routes: readonly string[]): boolean {
  return routes.length === 0 || routes.some((route) => {
    const [from = '', to = ''] = route.split('->');
    return (from === '*' || from === `${message.from}`) && (to === '*' || to === `${message.to}`);
  });
}

function leaderText(id: bigint, leader: bigint): string {
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

function persistText({ seq, hard, truncateAfter, entries }: Persist): string {
  const parts = [`#${seq}`];
  if (hard !== null) parts.push(`term ${hard.term} vote ${hard.vote} commit ${hard.commit}`);
  if (truncateAfter !== null) parts.push(`cut after ${truncateAfter}`);
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

function configurationText({ voters, outgoing, learners }: Configuration): string {
  const old = outgoing.length === 0 ? '' : ` and ${outgoing.join(' ')}`;
  return `{${voters.join(' ')}${old}${learners.length === 0 ? '' : ` learning ${learners.join(' ')}`}}`;
}

function entriesText(entries: readonly Entry[]): string {
  const words = (entry: Entry): string => {
    if (entry.kind === 'members') return ` ${configurationText(decodeMembers(entry.data).configuration)}`;
    return entry.kind === 'command' ? ` ${Buffer.from(entry.data).toString()}` : '';
  };
  return `[${entries.map((entry) => show(entry) + words(entry)).join(', ')}]`;
}

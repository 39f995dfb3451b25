// The machines behind the transcripts: runs one command line and says what happened. The commands are those of the table in
// test/README.md; `text.ts` has the words.

import { show, Cluster, type Member } from '../core/raft/cluster.js';
import { configurationText, entriesText, outputLines } from './text.js';
import type { Input, MemberChange, Message, NodeId, Output } from '../../core/raft/types.js';

const SETTLE_ROUNDS_MAX = 50;
const ELECTION_TICKS = 10;

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
  #cuts: readonly string[] = [];
  #held: Message[] = [];

  run(line: string): readonly string[] {
    this.#said = [];
    const [verb = '', ...words] = line.split(/\s+/);
    const id = BigInt(/^\d+$/.test(words[0] ?? '') ? (words[0] ?? '0') : '0');
    const count = words[1] === undefined ? null : Number(words[1]);
    switch (verb) {
      case 'start': this.#start(words); break;
      case 'join': this.#cluster.join(id); break;
      case 'tick': this.#tick(words[0] === '*' ? this.#ids() : [id], count ?? 1); break;
      case 'timeout': this.#timeout(id); break;
      case 'elect': this.#elect(id, words.slice(2).map(BigInt)); break;
      case 'persist': this.#tell(id, this.#cluster.persist(id, count ?? Infinity)); break;
      case 'deliver': this.#deliver(words); break;
      case 'drop': this.#cluster.messages = this.#cluster.messages.filter((message) => !onRoute(message, words)); break;
      case 'keep': this.#cluster.messages = this.#cluster.messages.filter((message) => onRoute(message, words)); break;
      case 'copy': this.#cluster.messages.push(...this.#cluster.messages.filter((message) => onRoute(message, words))); break;
      case 'hold': this.#hold(words); break;
      case 'release': this.#cluster.messages.push(...this.#held.splice(0)); break;
      case 'settle': this.#summarised(() => this.#settle()); break;
      case 'run': this.#summarised(() => this.#rounds(Number(words[0]))); break;
      case 'burst': this.#burst(id, count ?? 1); break;
      case 'cut': this.#cuts = words; break;
      case 'crash': this.#cluster.crash(id, count ?? 0); break;
      case 'restart': this.#cluster.restart(id); this.#give(id, []); break;
      case 'snapshot': this.#cluster.snapshot(id); break;
      case 'log': this.#log(this.#cluster.member(id)); break;
      case 'peers': this.#peers(this.#cluster.member(id)); break;
      default: this.#give(id, [this.#input(line, verb, words.slice(1))]);
    }
    this.#cluster.checkLogMatching();
    return this.#said;
  }

  #input(line: string, verb: string, words: readonly string[]): Input {
    const [word = ''] = words;
    switch (verb) {
      case 'propose': return { kind: 'propose', token: ++this.#tokens, data: Buffer.from(words.join(' ')) };
      case 'read': return { kind: 'read', token: Number(word) };
      case 'transfer': return { kind: 'transfer', to: BigInt(word) };
      case 'members': return { kind: 'propose_members', token: ++this.#tokens, change: changeOf(words) };
      case 'sent': return { kind: 'snapshot_sent', to: BigInt(word), ok: words[1] !== 'failed' };
      case 'unreachable': return { kind: 'unreachable', peer: BigInt(word) };
      default: throw new Error(`the script does not know: ${line}`);
    }
  }

  #start(words: readonly string[]): void {
    const ids = words.filter((word) => /^\d+$/.test(word)).map(BigInt);
    const setting = (name: string, otherwise: number): number => {
      const word = words.find((each) => each.startsWith(name));
      return word === undefined ? otherwise : Number(word.slice(name.length));
    };
    this.#cluster = new Cluster(ids, { appendBytesMax: setting('bytes=', 1024), catchUpEntries: setting('keep=', 0) });
    for (const id of ids) this.#give(id, []);
  }

  #ids(): readonly NodeId[] {
    return [...this.#cluster.members.keys()];
  }

  #give(id: NodeId, inputs: readonly Input[]): void {
    this.#tell(id, this.#cluster.step(id, inputs));
  }

  #tick(ids: readonly NodeId[], times: number): void {
    for (let i = 0; i < times; i++) for (const id of ids) this.#give(id, [{ kind: 'tick' }]);
  }

  #timeout(id: NodeId): void {
    for (let i = 0; i < 2 * ELECTION_TICKS; i++) {
      const output = this.#cluster.step(id, [{ kind: 'tick' }]);
      this.#tell(id, output);
      if (output?.send.some(({ kind }) => kind === 'vote') || output?.role?.state === 'candidate') return;
    }
  }

  /** The conversation itself is that of election.txt. */
  #elect(id: NodeId, voters: readonly NodeId[]): void {
    const said = this.#said;
    const among = [id, ...voters];
    for (const voter of voters) this.#tick([voter], ELECTION_TICKS - 1);
    for (let attempt = 0; attempt < 5 && this.#cluster.member(id).raft?.status().state !== 'leader'; attempt++) {
      for (const voter of voters) this.#tick([voter], 1);
      this.#timeout(id);
      for (let i = 0; i < 6; i++) this.#exchange(among, (message) => isBallot(message) && among.includes(message.to));
    }
    this.#cluster.messages = this.#cluster.messages.filter((message) => !isBallot(message));
    this.#said = said.filter((line) => / is /.test(line));
  }

  #exchange(among: readonly NodeId[], passes: (message: Message) => boolean): void {
    for (const each of among) this.#tell(each, this.#cluster.persist(each, Infinity));
    const ready = this.#cluster.messages.filter(passes);
    this.#cluster.messages = this.#cluster.messages.filter((message) => !passes(message));
    for (const message of ready) this.#tell(message.to, this.#cluster.deliver(message));
  }

  #deliver(routes: readonly string[]): void {
    this.#exchange([], (message) => onRoute(message, routes));
  }

  /** Only what callers and stores see is printed; the conversation in between is that of other transcripts. */
  #summarised(play: () => void): void {
    const said = this.#said;
    play();
    this.#said = said.filter((line) => / (is|applies|restores|answers|refuses) /.test(line));
  }

  #settle(): void {
    for (let round = 0; round < SETTLE_ROUNDS_MAX; round++) {
      this.#lose();
      const waits = [...this.#cluster.members.values()].some(({ flights }) => flights.length > 0);
      if (!waits && this.#cluster.messages.length === 0) break;
      this.#exchange(this.#ids(), () => true);
    }
  }

  #rounds(count: number): void {
    for (let round = 0; round < count; round++) {
      this.#tick(this.#ids(), 1);
      this.#settle();
    }
  }

  #hold(routes: readonly string[]): void {
    this.#held.push(...this.#cluster.messages.filter((message) => onRoute(message, routes)));
  }

  #burst(id: NodeId, count: number): void {
    const before = this.#cluster.messages.length;
    for (let i = 0; i < count; i++) {
      this.#cluster.step(id, [{ kind: 'propose', token: ++this.#tokens, data: Buffer.from(`${i + 1}`) }]);
    }
    const sent = new Map<string, number>();
    for (const { from, to, kind } of this.#cluster.messages.slice(before)) {
      const route = `${from} -> ${to} ${kind}`;
      sent.set(route, (sent.get(route) ?? 0) + 1);
    }
    for (const [route, times] of sent) this.#said.push(`${route}, ${times} times`);
  }

  #lose(): void {
    const isCut = (a: NodeId, b: NodeId): boolean => this.#cuts.includes(`${a}-${b}`) || this.#cuts.includes(`${b}-${a}`);
    this.#cluster.messages = this.#cluster.messages.filter(({ from, to }) => !isCut(from, to));
  }

  #log(member: Member): void {
    const status = member.raft?.status();
    const { snapshot, entries } = member.disk;
    const disk = snapshot.index === 0 ? '' : `${show(snapshot)} ${configurationText(snapshot.configuration)} then `;
    const kept = entries.filter(({ index }) => index > snapshot.index);
    const memory = member.base.index === 0 ? '' : `${show(member.base)} then `;
    this.#said.push(`memory ${memory}${entriesText(member.memory)} · disk ${disk}${entriesText(kept)}`);
    if (status === undefined) this.#said.push('crashed');
    else {
      const { state, term, commit, applied, durable, configuration } = status;
      const numbers = `commit ${commit} · applied ${applied} · durable ${durable}`;
      this.#said.push(`${state} of term ${term} · ${numbers} · ${configurationText(configuration)}`);
    }
  }

  #peers(member: Member): void {
    const status = member.raft?.status();
    for (const { id, mode, match, next, isActive } of status?.peers ?? []) {
      this.#said.push(`${id} ${mode} · match ${match} · next ${next}${isActive ? '' : ' · silent'}`);
    }
    if (status !== undefined && status.transferTo !== 0n) this.#said.push(`handing over to ${status.transferTo}`);
  }

  #tell(id: NodeId, output: Output | null): void {
    if (output !== null) this.#said.push(...outputLines(id, output));
  }
}

function changeOf(words: readonly string[]): MemberChange {
  const named = (sign: string): readonly NodeId[] => {
    return words.filter((word) => word.startsWith(sign)).map((word) => BigInt(word.slice(1)));
  };
  return { voters: named('+'), learners: named('~'), removed: named('-'), context: new Uint8Array(0) };
}

function isBallot({ kind }: Message): boolean {
  return kind === 'vote' || kind === 'vote_reply';
}

function onRoute(message: Message, routes: readonly string[]): boolean {
  return routes.length === 0 || routes.some((route) => {
    const [from = '', to = ''] = route.split('->');
    return (from === '*' || from === `${message.from}`) && (to === '*' || to === `${message.to}`);
  });
}


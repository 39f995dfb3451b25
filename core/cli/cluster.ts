// `coterie cluster`: three members on this machine, to try things on. Says where each serves, what to type, who leads, and
// follows changes until Ctrl-C; then it ends the members one after another, the leader last, and leaves nothing behind
// unless a directory was named. A member that is killed is started again after a while; one that says why it cannot go on
// is not. The Procfile at the root starts the same three for those who have a process manager.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { styleText } from 'node:util';
import { coterieVersion, etcdVersion } from '../version.js';
import { ClusterProcess, type MemberNews, type MemberPlan } from './cluster-process.js';
import { flagLines, FlagValues, parseWords, type CommandFlag } from './flags.js';
import { faultOf, freePort } from './ports.js';
import { Refusal } from './refusal.js';

const HELP = `Starts three members on this machine, to try things on, and follows who leads. Ctrl-C ends them in order.

Usage: coterie cluster [flags]

`;
export const FLAGS: readonly CommandFlag[] = [
  {
    name: 'data-dir', value: 'DIR',
    help: 'keep the data there, and go on with it next time; default: a temporary directory, gone afterwards',
  },
  {
    name: 'free-ports',
    help: 'take any free ports instead of 2379, 22379, 32379 for clients and 2380, 22380, 32380 for members',
  },
  { name: 'json', help: 'one JSON object per line instead of sentences' },
];

const NAMES: readonly string[] = ['a', 'b', 'c'];
const CLIENT_PORTS: readonly number[] = [2379, 22_379, 32_379];
const PEER_PORTS: readonly number[] = [2380, 22_380, 32_380];
const TOKEN = 'coterie-cluster';
const HOST = '127.0.0.1';
/** Long enough to see the others go on without it, and to try something on them. */
const AGAIN_MS = 10_000;

export async function main(argv: readonly string[]): Promise<number> {
  try {
    if (argv.some((word) => word === '--help' || word === '-h')) {
      process.stdout.write(`${HELP}${flagLines(FLAGS)}`);
      return 0;
    }
    const { values, args, behind } = parseWords(FLAGS, argv, 'coterie cluster --help');
    const extra = [...args, ...behind ?? []][0];
    if (extra !== undefined) throw new Refusal(`${extra}: one word too many`, 'coterie cluster --help');
    const flags = new FlagValues((name) => values.get(name) ?? null);
    const dataDir = flags.text('data-dir');
    if (dataDir === '') throw new Refusal('--data-dir "": empty', 'give a path, or leave it out');
    return await run(flags.isSet('json'), flags.isSet('free-ports'), dataDir);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    process.stderr.write(`coterie cluster: ${error.message}\n  ${error.remedy}\n`);
    return error.exitCode;
  }
}

async function run(json: boolean, free: boolean, dataDir: string | null): Promise<number> {
  const ports = free ? await anyPorts() : { client: CLIENT_PORTS, peer: PEER_PORTS };
  await refuseTakenPorts([...ports.client, ...ports.peer]);
  const directory = dataDir ?? mkdtempSync(path.join(tmpdir(), 'coterie-cluster-'));
  mkdirSync(directory, { recursive: true });
  const forget = (): void => {
    if (dataDir === null) rmSync(directory, { recursive: true, force: true });
  };
  const cluster = new Cluster(plan(directory, ports.client, ports.peer), json ? new JsonReport() : new TextReport());
  try {
    return await cluster.run(directory, dataDir === null);
  } finally {
    await cluster.stop();
    forget();
  }
}

/** The three members and the flags of each, as the Procfile has them. */
export function plan(directory: string, clientPorts: readonly number[], peerPorts: readonly number[]): MemberPlan[] {
  const peerUrl = (i: number): string => `http://${HOST}:${peerPorts[i] ?? 0}`;
  const cluster = NAMES.map((name, i) => `${name}=${peerUrl(i)}`).join(',');
  return NAMES.map((name, i) => {
    const clientUrl = `http://${HOST}:${clientPorts[i] ?? 0}`;
    const flags = {
      'name': name,
      'data-dir': path.join(directory, `${name}.coterie`),
      'listen-client-urls': clientUrl,
      'advertise-client-urls': clientUrl,
      'listen-peer-urls': peerUrl(i),
      'initial-advertise-peer-urls': peerUrl(i),
      'initial-cluster': cluster,
      'initial-cluster-token': TOKEN,
    };
    return { name, clientUrl, peerUrl: peerUrl(i), flags: Object.entries(flags).flatMap(([flag, word]) => [`--${flag}`, word]) };
  });
}

/** The plan of the Procfile and of the documents. */
export function standardPlan(): MemberPlan[] {
  return plan('', CLIENT_PORTS, PEER_PORTS);
}

async function anyPorts(): Promise<{ client: readonly number[]; peer: readonly number[] }> {
  const found = new Set<number>();
  while (found.size < 2 * NAMES.length) found.add(await freePort(HOST, '--free-ports'));
  const ports = [...found];
  return { client: ports.slice(0, NAMES.length), peer: ports.slice(NAMES.length) };
}

async function refuseTakenPorts(ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    const fault = await faultOf(HOST, port);
    if (fault === null) continue;
    const problem = fault.code === 'EADDRINUSE' ? `port ${port} is in use by another process` : fault.message;
    throw new Refusal(problem, 'stop that process, or take any free ports: coterie cluster --free-ports', { exitCode: 1 });
  }
}

type EndedNews = Extract<MemberNews, { kind: 'ended' }>;

interface Report {
  started(members: readonly ClusterProcess[], directory: string, temporary: boolean): void;
  leader(name: string | null, term: number): void;
  /** `again`: it will be started again. */
  ended(member: ClusterProcess, news: EndedNews, again: boolean): void;
  back(member: ClusterProcess): void;
  stopping(): void;
  stopped(): void;
}

class Cluster {
  readonly #members: ClusterProcess[] = [];
  readonly #names = new Map<string, string>();
  readonly #report: Report;
  readonly #plans: readonly MemberPlan[];
  readonly #again = new Set<NodeJS.Timeout>();
  #leader: { id: string; term: number } = { id: '0', term: 0 };
  #announced = false;
  #stopping: Promise<void> | null = null;
  #onChange: () => void = () => undefined;

  constructor(plans: readonly MemberPlan[], report: Report) {
    this.#plans = plans;
    this.#report = report;
  }

  /** Until asked to end, or until no member is left; a member that does not even start ends the whole. */
  async run(directory: string, temporary: boolean): Promise<number> {
    let signalled = false;
    const onSignal = (): void => {
      if (signalled) for (const member of this.#members) member.kill();
      signalled = true;
      this.#onChange();
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, onSignal);
    // Whoever read what is said here has gone, and with it the reason to go on. The binary would leave at once (main.ts), and
    // leave the data behind.
    process.stdout.removeAllListeners('error');
    process.stdout.on('error', () => {
      if (!signalled) onSignal();
    });
    this.#members.push(...this.#plans.map((one) => this.#launch(one)));
    while (!signalled && (this.#again.size > 0 || this.#members.some(({ hasEnded }) => !hasEnded))) {
      const failed = this.#members.find(({ hasEnded }) => hasEnded);
      if (!this.#announced && failed !== undefined) throw refusalOf(failed);
      if (!this.#announced && this.#names.size === this.#members.length) {
        this.#announced = true;
        this.#report.started(this.#members, directory, temporary);
        this.#tellLeader();
      }
      await new Promise<void>((resolve) => {
        this.#onChange = resolve;
      });
    }
    const failed = this.#members.find(({ hasEnded }) => hasEnded);
    if (!signalled && !this.#announced && failed !== undefined) throw refusalOf(failed);
    await this.stop();
    this.#report.stopped();
    return signalled ? 0 : 1;
  }

  #launch(one: MemberPlan): ClusterProcess {
    const member: ClusterProcess = new ClusterProcess(one, (news) => this.#onNews(member, news));
    return member;
  }

  /** In its place, with its flags and its data. */
  #launchLater(ended: ClusterProcess): void {
    const timer = setTimeout(() => {
      this.#again.delete(timer);
      this.#members[this.#members.indexOf(ended)] = this.#launch(ended.plan);
    }, AGAIN_MS);
    this.#again.add(timer);
  }

  /** One after another, the leader last: the others need no election then. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<void> {
    for (const timer of this.#again) clearTimeout(timer);
    this.#again.clear();
    if (this.#announced) this.#report.stopping();
    const leader = this.#names.get(this.#leader.id);
    const inOrder = this.#members.toSorted((a, b) => Number(a.plan.name === leader) - Number(b.plan.name === leader));
    // Members that never met a majority have nothing to put in order.
    if (!this.#announced) await Promise.all(inOrder.map((member) => member.stop()));
    else for (const member of inOrder) await member.stop();
  }

  #onNews(member: ClusterProcess, news: MemberNews): void {
    if (news.kind === 'ready') this.#onReady(member, news.id);
    if (news.kind === 'leader') this.#onLeader(news.leader, news.term);
    if (news.kind === 'ended' && this.#announced && this.#stopping === null) {
      // Who was told to end, or killed, has nothing against going on; an exit code is a reason that would only come again.
      const again = news.signal !== null || news.code === 0;
      if (again) this.#launchLater(member);
      this.#report.ended(member, news, again);
    }
    this.#onChange();
  }

  #onReady(member: ClusterProcess, id: string): void {
    this.#names.set(id, member.plan.name);
    if (this.#announced && this.#stopping === null) this.#report.back(member);
  }

  #onLeader(id: string, term: number): void {
    if (term < this.#leader.term || id === '0' || (term === this.#leader.term && id === this.#leader.id)) return;
    this.#leader = { id, term };
    if (this.#announced && this.#stopping === null) this.#tellLeader();
  }

  #tellLeader(): void {
    this.#report.leader(this.#names.get(this.#leader.id) ?? null, this.#leader.term);
  }
}

function refusalOf({ plan: { name }, words }: ClusterProcess): Refusal {
  const said = words.trim();
  const remedy = 'repair that and start again; data of an unfinished first start may be removed';
  return new Refusal(`member ${name} did not start${said === '' ? '' : `:\n${said}`}`, remedy, { exitCode: 1 });
}

class JsonReport implements Report {
  started(members: readonly ClusterProcess[], directory: string, temporary: boolean): void {
    const list = members.map(({ plan: { name, clientUrl, peerUrl }, pid }) => ({ name, clientUrl, peerUrl, pid }));
    this.#say({ event: 'started', members: list, dataDir: directory, temporary });
  }

  leader(name: string | null, term: number): void {
    this.#say({ event: 'leader', name, term });
  }

  ended(member: ClusterProcess, { code, signal }: EndedNews, again: boolean): void {
    const words = again ? {} : { words: member.words.trim() };
    this.#say({ event: 'ended', name: member.plan.name, code, signal, againInMs: again ? AGAIN_MS : null, ...words });
  }

  back({ plan: { name }, pid }: ClusterProcess): void {
    this.#say({ event: 'back', name, pid });
  }

  stopping(): void {
    this.#say({ event: 'stopping' });
  }

  stopped(): void {
    this.#say({ event: 'stopped' });
  }

  #say(event: object): void {
    process.stdout.write(`${JSON.stringify(event)}\n`);
  }
}

class TextReport implements Report {
  #members: readonly ClusterProcess[] = [];

  started(members: readonly ClusterProcess[], directory: string, temporary: boolean): void {
    this.#members = members;
    const [bold, dim, blue] = [paint('bold'), paint('gray'), paint('cyan')];
    const rows = members.map(({ plan: { name, clientUrl, peerUrl }, pid }) => {
      const port = new URL(peerUrl).port;
      return `    ${bold(name)}  ${blue(clientUrl.padEnd(22))} ${dim(`members meet at port ${port.padEnd(5)}  pid ${pid}`)}\n`;
    });
    const kept = temporary ? dim('  gone when this ends; --data-dir keeps it') : '';
    const [first, , third] = members.map(({ plan: { clientUrl } }) => clientUrl.replace('http://', ''));
    // Who has etcd's usual port needs not be named.
    const one = first === `${HOST}:${CLIENT_PORTS[0] ?? 0}` ? 'etcdctl' : `etcdctl --endpoints ${first ?? ''}`;
    const tries = [
      `${one} member list -w table`, `${one} put greeting hello`, `etcdctl --endpoints ${third ?? ''} get greeting`,
      `kill -9 ${members[1]?.pid ?? 0}   ${dim(`# and try again; it comes back after ${AGAIN_MS / 1000} s`)}`,
    ];
    const head = `${blue('●')} ${bold(`coterie ${coterieVersion}`)} ${dim(`speaks etcd ${etcdVersion}`)}  three members`;
    process.stdout.write(`\n  ${head}\n\n`
      + `${rows.join('')}\n    ${dim('data')}  ${directory}${kept}\n\n`
      + `${tries.map((line, i) => `    ${dim(i === 0 ? 'try ' : '    ')}  ${line}\n`).join('')}\n`);
  }

  leader(name: string | null, term: number): void {
    this.#line(name === null ? 'nobody leads yet' : `${paint('bold')(name)} leads ${paint('gray')(`(term ${term})`)}`);
  }

  ended(member: ClusterProcess, { code, signal }: EndedNews, again: boolean): void {
    const alive = this.#members.filter(({ hasEnded }) => !hasEnded).map(({ plan: { name } }) => name);
    const alone = `${alive.join()} alone is no majority: it answers serializable reads only`;
    const others = ['nobody is left', alone][alive.length] ?? `${alive.join(' and ')} go on`;
    const next = again ? paint('gray')(`; it comes back in ${AGAIN_MS / 1000} s`) : '';
    this.#line(`${paint('bold')(member.plan.name)} ended (${signal ?? `exit code ${code}`}); ${others}${next}`);
    const said = again ? '' : member.words.trim();
    if (said !== '') process.stdout.write(`${said.replace(/^/gm, '            ')}\n`);
  }

  back({ plan: { name }, pid }: ClusterProcess): void {
    this.#line(`${paint('bold')(name)} is back ${paint('gray')(`(pid ${pid})`)}`);
  }

  stopping(): void {
    this.#line('ending the members, the leader last');
  }

  stopped(): void {
    this.#line('all ended');
  }

  #line(text: string): void {
    process.stdout.write(`  ${paint('gray')(new Date().toTimeString().slice(0, 8))}  ${text}\n`);
  }
}

function paint(colour: 'bold' | 'gray' | 'cyan'): (text: string) => string {
  return (text) => styleText(colour, text, { stream: process.stdout });
}

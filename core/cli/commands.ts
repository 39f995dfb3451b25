// Every command of the binary: what it is called, what it is for, and where it lives. A command is loaded when it is asked for,
// so that help, versions and misspelt words cost next to nothing. Commands about a cluster run in any terminal, also a
// stand-in; those that are processes by nature (serve, sidecar, …) take the real one.

import { coterieVersion, etcdVersion } from '../version.js';
import { firstArgument } from './flags.js';
import { GLOBAL_FLAGS } from './global-flags.js';
import { nearest } from './refusal.js';
import { systemTerminal, type Terminal } from './terminal.js';

type Group = 'Servers' | 'Keys' | 'The cluster' | 'Users' | 'Recipes' | 'This tool';

export interface Subcommand {
  readonly group: Group;
  readonly summary: string;
  run(argv: readonly string[], terminal: Terminal): Promise<number>;
}

type Load = (argv: readonly string[], terminal: Terminal) => Promise<number>;

function command(group: Group, summary: string, run: Load): Subcommand {
  return { group, summary, run };
}

const SERVERS: Readonly<Record<string, Subcommand>> = {
  serve: command('Servers', 'start a durable member and serve etcd\'s API on port 2379', async (argv) => {
    return (await import('./serve.js')).main(argv);
  }),
  cluster: command('Servers', 'three members on this machine, to try things on', async (argv) => {
    return (await import('./cluster.js')).main(argv);
  }),
  sidecar: command('Servers', 'keep a load balancer\'s configuration in step with the registry', async (argv) => {
    return (await import('../../sidecar/main.js')).main(argv);
  }),
  proxy: command('Servers', 'forward HTTP and WebSocket traffic to the instances of a service', async (argv) => {
    return (await import('../../sidecar/proxy-main.js')).main(argv);
  }),
};

const kv = (word: string): Load => async (argv, terminal) => (await import('./kv.js')).main(word, argv, terminal);

const KEYS: Readonly<Record<string, Subcommand>> = {
  get: command('Keys', 'what is stored under a key, or under all keys of a range', kv('get')),
  put: command('Keys', 'store a value', kv('put')),
  del: command('Keys', 'remove a key, or all keys of a range', kv('del')),
  txn: command('Keys', 'all or nothing, if comparisons hold', async (argv, terminal) => {
    return (await import('./txn.js')).main(argv, terminal);
  }),
  watch: command('Keys', 'what changes under a key or a range, and a command for each change', async (argv, terminal) => {
    return (await import('./watch.js')).main(argv, terminal);
  }),
  ls: command('Keys', 'keys as files: what is under a prefix, one level', async (argv, terminal) => {
    return (await import('./tree.js')).list(argv, terminal);
  }),
  tree: command('Keys', 'keys as a tree, split at slashes', async (argv, terminal) => {
    return (await import('./tree.js')).tree(argv, terminal);
  }),
  lease: command('Keys', 'grant, renew, look at and revoke leases', async (argv, terminal) => {
    return (await import('./lease.js')).main(argv, terminal);
  }),
  compaction: command('Keys', 'forget what was before a revision', kv('compaction')),
};

const CLUSTER: Readonly<Record<string, Subcommand>> = {
  status: command('The cluster', 'the cluster at a glance: what is wrong, and what to do', async (argv, terminal) => {
    return (await import('./status.js')).main(argv, terminal);
  }),
  member: command('The cluster', 'list, add, remove, update and promote members', async (argv, terminal) => {
    return (await import('./member.js')).main(argv, terminal);
  }),
  endpoint: command('The cluster', 'status, health and data hash of each member', async (argv, terminal) => {
    return (await import('./endpoint.js')).main(argv, terminal);
  }),
  'move-leader': command('The cluster', 'let another member lead', async (argv, terminal) => {
    return (await import('./endpoint.js')).moveLeader(argv, terminal);
  }),
  alarm: command('The cluster', 'list alarms, and disarm them', async (argv, terminal) => {
    return (await import('./alarm.js')).main(argv, terminal);
  }),
  defrag: command('The cluster', 'give memory of removed data back', async (argv, terminal) => {
    return (await import('./alarm.js')).defrag(argv, terminal);
  }),
  check: command('The cluster', 'perf and datascale: does it carry the load you plan', async (argv, terminal) => {
    return (await import('./check.js')).main(argv, terminal);
  }),
  'make-mirror': command('The cluster', 'copy keys into another cluster, and keep the copy in step', async (argv, terminal) => {
    return (await import('./mirror.js')).main(argv, terminal);
  }),
  snapshot: command('The cluster', 'save a member\'s data, look into a file, found a cluster on it', async (argv, terminal) => {
    return (await import('./snapshot.js')).main(argv, terminal);
  }),
};

const auth = (group: 'user' | 'role' | 'auth'): Load => async (argv, terminal) => {
  return (await import('./auth.js')).main(group, argv, terminal);
};

const USERS: Readonly<Record<string, Subcommand>> = {
  user: command('Users', 'add, delete and list users, their passwords and roles', auth('user')),
  role: command('Users', 'add, delete and list roles, and what they may do', auth('role')),
  auth: command('Users', 'enable, disable and look at authentication', auth('auth')),
};

const RECIPES: Readonly<Record<string, Subcommand>> = {
  lock: command('Recipes', 'hold a lock, or run a command while it is held', async (argv) => {
    return (await import('./lock.js')).main(argv);
  }),
  elect: command('Recipes', 'lead an election, or run a command while leading; --listen follows who leads', async (argv) => {
    return (await import('./elect.js')).main(argv);
  }),
  register: command('Recipes', 'run a service and keep it registered', async (argv) => {
    return (await import('./register.js')).main(argv);
  }),
  queue: command('Recipes', 'put items, work on them with a command, look at a queue and mend it', async (argv) => {
    return (await import('./queue.js')).main(argv);
  }),
  publish: command('Recipes', 'a message for everybody who subscribes to a topic', async (argv) => {
    return (await import('./topic.js')).publish(argv);
  }),
  subscribe: command('Recipes', 'what is published to a topic, from any position on', async (argv) => {
    return (await import('./topic.js')).subscribe(argv);
  }),
  services: command('Recipes', 'what is registered, and what has left why', async (argv) => {
    return (await import('./services.js')).main(argv);
  }),
  locks: command('Recipes', 'who holds which lock, and who waits', async (argv) => {
    return (await import('./locks.js')).main(argv);
  }),
  sessions: command('Recipes', 'who is there, what they hold, and for how long without a sign of life', async (argv) => {
    return (await import('./sessions.js')).main(argv);
  }),
};

const TOOL: Readonly<Record<string, Subcommand>> = {
  context: command('This tool', 'endpoints and credentials under a name', async (argv, terminal) => {
    return (await import('./context.js')).main(argv, terminal);
  }),
  completion: command('This tool', 'words for the completion of bash, zsh or fish', async (argv, terminal) => {
    return (await import('./completion.js')).main(argv, terminal);
  }),
  version: command('This tool', 'print versions', (argv, terminal) => printVersion(argv, terminal)),
  help: command('This tool', 'print this, or the help of a command', (argv, terminal) => printHelp(argv, terminal)),
};

export const SUBCOMMANDS: Readonly<Record<string, Subcommand>> = {
  ...SERVERS, ...KEYS, ...CLUSTER, ...USERS, ...RECIPES, ...TOOL,
};

/** What etcd's own tool calls so, and what to do here. */
const NOT_OURS: Readonly<Record<string, string>> = {
  downgrade: 'a cluster here has one version of etcd\'s protocol, and nothing to go back to',
};

const HEAD = `coterie: a durable key-value store any etcd client can talk to, and a sidecar that keeps nginx and HAProxy in step.

Usage: coterie <command> [flags]
`;
const FOOT = `
Try it:
  coterie serve                          one member on port 2379
  coterie cluster                        three members on this machine
  coterie put greeting hello             etcdctl and any etcd client will do as well
  coterie help get                       its flags
`;

/** Runs the command that the words name; gives its exit code. */
export async function run(argv: readonly string[], terminal: Terminal = systemTerminal): Promise<number> {
  const [first] = argv;
  if (first === undefined || first === '--help' || first === '-h') return printHelp([], terminal);
  if (first === '--version' || first === '-version') return printVersion(argv.slice(1), terminal);
  // Flags of all commands may stand before the command, as etcdctl has it.
  const at = first.startsWith('-') ? firstArgument(GLOBAL_FLAGS, argv) : 0;
  const word = argv[at] ?? '';
  const subcommand = at >= 0 && Object.hasOwn(SUBCOMMANDS, word) ? SUBCOMMANDS[word] : undefined;
  const isServer = subcommand?.group === 'Servers';
  if (subcommand !== undefined && !(at > 0 && isServer)) return subcommand.run(argv.toSpliced(at, 1), terminal);
  if (first.startsWith('-') && (at < 0 || isServer || !isOfAll(first))) {
    const rest = argv.toSpliced(at, isServer ? 1 : 0).join(' ');
    const remedy = `flags follow the command: coterie ${isServer ? word : 'serve'} ${rest}`;
    return complain(terminal, `${first} stands before any command`, remedy);
  }
  const guess = nearest(word, Object.keys(SUBCOMMANDS));
  const remedy = NOT_OURS[word] ?? (guess === null ? 'coterie --help lists the commands' : `did you mean coterie ${guess}?`);
  return complain(terminal, `${word}: no such command`, remedy);
}

function isOfAll(word: string): boolean {
  const [long] = word.split('=', 1);
  return GLOBAL_FLAGS.some(({ name, short }) => long === `--${name}` || (short !== undefined && word[1] === short));
}

function say(terminal: Terminal, text: string): Promise<number> {
  terminal.out(text);
  return Promise.resolve(0);
}

function complain(terminal: Terminal, problem: string, remedy: string): number {
  terminal.err(`coterie: ${problem}\n  ${remedy}\n`);
  return 2;
}

async function printHelp(argv: readonly string[], terminal: Terminal): Promise<number> {
  const [name, ...rest] = argv;
  if (name !== undefined && name !== 'help') return run([name, ...rest, '--help'], terminal);
  const all = Object.entries(SUBCOMMANDS);
  const width = Math.max(...all.map(([word]) => word.length));
  const groups = [...new Set(all.map(([, { group }]) => group))].map((group) => {
    const some = all.filter(([, one]) => one.group === group);
    return `\n${group}:\n${some.map(([word, { summary }]) => `  ${word.padEnd(width)}  ${summary}\n`).join('')}`;
  });
  return say(terminal, `${HEAD}${groups.join('')}${FOOT}`);
}

async function printVersion(argv: readonly string[], terminal: Terminal): Promise<number> {
  if (argv.includes('--help')) return say(terminal, 'Usage: coterie version [--json]\n');
  const platform = `${process.platform}/${process.arch}`;
  const facts = { coterie: coterieVersion, api: etcdVersion, node: process.version, platform };
  if (argv.includes('--json')) return say(terminal, `${JSON.stringify(facts)}\n`);
  const api = `coterie Version: ${coterieVersion}\netcd API: ${etcdVersion}`;
  return say(terminal, `${api}\nNode Version: ${facts.node}\nOS/Arch: ${platform}\n`);
}

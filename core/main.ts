#!/usr/bin/env node
// The binary `coterie`. Picks a subcommand and loads only that, so that `--help` and `--version` cost next to nothing.
// A subcommand gives back its exit code: 0 done, 1 the world refused, 2 the words were wrong.

import { coterieVersion, etcdVersion } from './version.js';
import { nearest } from './cli/refusal.js';

interface Subcommand {
  readonly summary: string;
  run(argv: readonly string[]): Promise<number>;
}

const SUBCOMMANDS: Readonly<Record<string, Subcommand>> = {
  serve: {
    summary: 'start a durable member and serve etcd\'s API on port 2379',
    run: async (argv) => (await import('./cli/serve.js')).main(argv),
  },
  cluster: {
    summary: 'three members on this machine, to try things on',
    run: async (argv) => (await import('./cli/cluster.js')).main(argv),
  },
  member: {
    summary: 'list, add, remove, update and promote members',
    run: async (argv) => (await import('./cli/member.js')).main(argv),
  },
  endpoint: {
    summary: 'status, health and data hash of each member',
    run: async (argv) => (await import('./cli/endpoint.js')).main(argv),
  },
  'move-leader': {
    summary: 'let another member lead',
    run: async (argv) => (await import('./cli/endpoint.js')).moveLeader(argv),
  },
  snapshot: {
    summary: 'save a member\'s data, look into a file, found a new cluster on it',
    run: async (argv) => (await import('./cli/snapshot.js')).main(argv),
  },
  lock: {
    summary: 'hold a lock, or run a command while it is held',
    run: async (argv) => (await import('./cli/lock.js')).main(argv),
  },
  elect: {
    summary: 'lead an election, or run a command while leading; --listen follows who leads',
    run: async (argv) => (await import('./cli/elect.js')).main(argv),
  },
  register: {
    summary: 'run a service and keep it registered',
    run: async (argv) => (await import('./cli/register.js')).main(argv),
  },
  queue: {
    summary: 'put items, work on them with a command, look at a queue and mend it',
    run: async (argv) => (await import('./cli/queue.js')).main(argv),
  },
  publish: {
    summary: 'a message for everybody who subscribes to a topic',
    run: async (argv) => (await import('./cli/topic.js')).publish(argv),
  },
  subscribe: {
    summary: 'what is published to a topic, from any position on',
    run: async (argv) => (await import('./cli/topic.js')).subscribe(argv),
  },
  services: {
    summary: 'what is registered, and what has left why',
    run: async (argv) => (await import('./cli/services.js')).main(argv),
  },
  locks: {
    summary: 'who holds which lock, and who waits',
    run: async (argv) => (await import('./cli/locks.js')).main(argv),
  },
  sessions: {
    summary: 'who is there, what they hold, and for how long without a sign of life',
    run: async (argv) => (await import('./cli/sessions.js')).main(argv),
  },
  sidecar: {
    summary: 'keep a load balancer\'s configuration in step with the registry',
    run: async (argv) => (await import('../sidecar/main.js')).main(argv),
  },
  proxy: {
    summary: 'forward HTTP and WebSocket traffic to the instances of a service',
    run: async (argv) => (await import('../sidecar/proxy-main.js')).main(argv),
  },
  version: { summary: 'print versions', run: (argv) => printVersion(argv) },
  help: { summary: 'print this, or the help of a subcommand', run: (argv) => printHelp(argv) },
};

const HEAD = `coterie: a durable key-value store any etcd client can talk to, and a sidecar that keeps nginx and HAProxy in step.

Usage: coterie <command> [flags]

`;
const FOOT = `
Try it:
  coterie serve                          one member on port 2379
  coterie cluster                        three members on this machine
  etcdctl put greeting hello             any etcd client will do
  coterie help serve                     its flags
`;

function say(text: string): Promise<number> {
  process.stdout.write(text);
  return Promise.resolve(0);
}

function complain(problem: string, remedy: string): number {
  process.stderr.write(`coterie: ${problem}\n  ${remedy}\n`);
  return 2;
}

async function printHelp(argv: readonly string[]): Promise<number> {
  const [name] = argv;
  if (name !== undefined && name !== 'help') return run([name, '--help']);
  const rows = Object.entries(SUBCOMMANDS).map(([word, { summary }]) => `  ${word.padEnd(11)} ${summary}\n`);
  return say(`${HEAD}${rows.join('')}${FOOT}`);
}

async function printVersion(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help')) return say('Usage: coterie version [--json]\n');
  const platform = `${process.platform}/${process.arch}`;
  const facts = { coterie: coterieVersion, api: etcdVersion, node: process.version, platform };
  if (argv.includes('--json')) return say(`${JSON.stringify(facts)}\n`);
  return say(`coterie Version: ${coterieVersion}\netcd API: ${etcdVersion}\nNode Version: ${facts.node}\nOS/Arch: ${platform}\n`);
}

async function run(argv: readonly string[]): Promise<number> {
  const [word, ...rest] = argv;
  if (word === undefined || word === '--help' || word === '-h') return printHelp([]);
  if (word === '--version' || word === '-version') return printVersion(rest);
  const subcommand = Object.hasOwn(SUBCOMMANDS, word) ? SUBCOMMANDS[word] : undefined;
  if (subcommand !== undefined) return subcommand.run(rest);
  if (word.startsWith('-')) {
    return complain(`${word} stands before any command`, `flags follow the command: coterie serve ${argv.join(' ')}`);
  }
  const guess = nearest(word, Object.keys(SUBCOMMANDS));
  const remedy = guess === null ? 'coterie --help lists the commands' : `did you mean coterie ${guess}?`;
  return complain(`${word}: no such command`, remedy);
}

// Whoever reads our output may stop reading; that is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});
// Nor is a log that nobody collects any more: a server goes on serving.
process.stderr.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
});
process.exitCode = await run(process.argv.slice(2));

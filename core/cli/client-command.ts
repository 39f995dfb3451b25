// What the commands that talk to a cluster have in common: flags of etcdctl's names, the environment, formats, and how they
// say no. One command is data: its words, its flags, and what to do. Exit codes are the house's: 0 done, 1 the world
// refused, 2 the words were wrong.

import { parseArgs } from 'node:util';
import { utf8 } from '../base/bytes.js';
import { ApiError, isApiError, type ErrorCode } from '../errors.js';
import { connect, type RemoteClient } from '../wire/remote-client.js';
import { FORMATS, type Format } from './output.js';
import { nearest, Refusal, refusalOfWords } from './refusal.js';
import { readDuration } from './values.js';

export interface CommandFlag {
  readonly name: string;
  /** What stands for the value in the help; absent: a switch. */
  readonly value?: string;
  /** One letter. */
  readonly short?: string;
  readonly help: string;
}

export interface ClientCommand {
  /** Such as `member add`. */
  readonly words: string;
  /** What follows, for people: `NAME --peer-urls URLS`. */
  readonly usage: string;
  readonly summary: string;
  /** How many words must follow, and at most. */
  readonly takes: readonly [least: number, most: number];
  readonly flags: readonly CommandFlag[];
  /** Formats that make sense here; any other is refused before anything is asked. */
  readonly formats: readonly Format[];
  /** Talks to nobody: no endpoints. */
  readonly offline?: true;
  run(invocation: Invocation): Promise<number>;
}

const COMMON: readonly CommandFlag[] = [
  { name: 'write-out', value: 'FORMAT', short: 'w', help: 'simple, table, json or fields (-w); default simple' },
  { name: 'json', help: 'the same as --write-out json' },
];
const REMOTE: readonly CommandFlag[] = [
  { name: 'endpoints', value: 'URLS', help: 'where to ask, separated by commas; default http://127.0.0.1:2379' },
  { name: 'command-timeout', value: 'DURATION', help: 'how long one call may take; default 5s' },
  { name: 'dial-timeout', value: 'DURATION', help: 'how long to look for a server; default 2s' },
];
const PREFIXES: readonly string[] = ['COTERIE', 'ETCDCTL'];

/** One command with its words, as settled. */
export class Invocation {
  /** Of the command: `member add`. */
  readonly words: string;
  readonly args: readonly string[];
  readonly format: Format;
  readonly endpoints: readonly string[];
  readonly #values: Readonly<Record<string, string | boolean | undefined>>;
  readonly #open: RemoteClient[] = [];

  constructor(command: ClientCommand, args: readonly string[], values: Readonly<Record<string, string | boolean | undefined>>) {
    this.words = command.words;
    this.args = args;
    this.#values = values;
    this.format = formatOf(command, values);
    this.endpoints = this.list('endpoints') ?? ['http://127.0.0.1:2379'];
  }

  isSet(name: string): boolean {
    return this.#values[name] === true;
  }

  /** The flag's word, else the environment's, else null. */
  text(name: string): string | null {
    const word = this.#values[name];
    if (typeof word === 'string') return word;
    const variable = name.toUpperCase().replaceAll('-', '_');
    for (const prefix of PREFIXES) {
      const found = process.env[`${prefix}_${variable}`] ?? '';
      if (found !== '') return found;
    }
    return null;
  }

  list(name: string): readonly string[] | null {
    const word = this.text(name);
    return word === null ? null : word.split(',').map((part) => part.trim()).filter((part) => part !== '');
  }

  milliseconds(name: string, fallback: number): number {
    const word = this.text(name);
    if (word === null) return fallback;
    const reading = readDuration(word);
    if (typeof reading === 'number') return reading;
    throw new Refusal(`--${name} ${word}: ${reading.wrong}`, reading.remedy);
  }

  /** Whole seconds, as etcdctl takes them, or a duration. */
  seconds(name: string, fallback: number): number {
    const word = this.text(name);
    return word !== null && /^\d+$/.test(word) ? Number(word) : this.milliseconds(name, fallback * 1000) / 1000;
  }

  whole(name: string, fallback: number, bounds: { readonly min: number; readonly max: number }): number {
    const word = this.text(name);
    if (word === null) return fallback;
    if (/^\d{1,15}$/.test(word) && Number(word) >= bounds.min && Number(word) <= bounds.max) return Number(word);
    throw new Refusal(`--${name} ${word}: not such a number`, `give a whole number from ${bounds.min} to ${bounds.max}`);
  }

  get timeoutMs(): number {
    return this.milliseconds('command-timeout', 5000);
  }

  /** A client of these endpoints, closed with the command. */
  connect(endpoints: readonly string[] = this.endpoints): RemoteClient {
    const connectTimeoutMs = this.milliseconds('dial-timeout', 2000);
    const client = connect(endpoints, { timeoutMs: this.timeoutMs, connectTimeoutMs });
    this.#open.push(client);
    return client;
  }

  /**
   * The same, once one of them has answered: for what would go on trying by itself, in silence, where there is nobody. Any
   * member will do; what it needs the others for says so itself.
   */
  async reached(): Promise<RemoteClient> {
    const client = this.connect();
    await client.range({ key: utf8('\0'), serializable: true, limit: 1, keysOnly: true });
    return client;
  }

  print(text: string): void {
    process.stdout.write(text);
  }

  async close(): Promise<void> {
    await Promise.all(this.#open.map((client) => client.close()));
  }
}

function formatOf(command: ClientCommand, values: Readonly<Record<string, string | boolean | undefined>>): Format {
  const wanted = values['write-out'];
  const asked = typeof wanted === 'string' ? wanted : 'simple';
  const word = values['json'] === true ? 'json' : asked;
  const format = FORMATS.find((known) => known === word);
  if (format === undefined) throw new Refusal(`--write-out ${word}: no such format`, `give one of ${FORMATS.join(', ')}`);
  if (command.formats.includes(format)) return format;
  throw new Refusal(`${command.words} has no ${format} form`, `give one of ${command.formats.join(', ')}`);
}

/** Runs the command of `group` that `argv` begins with. `group` is the word after `coterie`. */
export async function runGroup(group: string, commands: readonly ClientCommand[], argv: readonly string[]): Promise<number> {
  const command = commands.find(({ words }) => words === group || words === `${group} ${argv[0] ?? ''}`);
  // What follows `--` are words of another command.
  const own = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  const wantsHelp = own.some((word) => word === '--help' || word === '-h');
  if (command === undefined) {
    if (wantsHelp) return say(groupHelp(group, commands));
    return complain(group, unknownWord(group, commands, argv[0]));
  }
  if (wantsHelp) return say(commandHelp(command));
  let invocation: Invocation | null = null;
  try {
    const { values, positionals } = parse(command, argv);
    const args = command.words === group ? positionals : positionals.slice(1);
    const [least, most] = command.takes;
    if (args.length < least || args.length > most) {
      throw new Refusal(args.length < least ? 'a word is missing' : `${args[most] ?? ''}: one word too many`, usageOf(command));
    }
    invocation = new Invocation(command, args, values);
    return await command.run(invocation);
  } catch (error) {
    return complain(command.words, error);
  } finally {
    await invocation?.close();
  }
}

function unknownWord(group: string, commands: readonly ClientCommand[], word: string | undefined): Refusal {
  const known = commands.map(({ words }) => words.slice(group.length + 1));
  const all = `give one of ${known.join(', ')}`;
  if (word === undefined) return new Refusal(`${group} needs a word that says what to do`, all);
  const guess = nearest(word, known);
  return new Refusal(`${word}: no such command`, guess === null ? all : `did you mean coterie ${group} ${guess}?`);
}

interface Words {
  readonly values: Readonly<Record<string, string | boolean | undefined>>;
  readonly positionals: readonly string[];
}

function parse(command: ClientCommand, argv: readonly string[]): Words {
  const flags = flagsOf(command);
  const options = Object.fromEntries(flags.map(({ name, value, short }) => {
    const type: 'string' | 'boolean' = value === undefined ? 'boolean' : 'string';
    return [name, { type, ...(short === undefined ? {} : { short }) }];
  }));
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true, strict: true });
    const plain = Object.entries(values).map(([name, value]) => [name, Array.isArray(value) ? value.at(-1) : value] as const);
    return { values: Object.fromEntries(plain), positionals };
  } catch (error) {
    const usage = `${usageOf(command)}${command.usage.includes('[-- COMMAND') ? '; flags of the command stand behind --' : ''}`;
    throw refusalOfWords(error, flags.map(({ name }) => name), usage);
  }
}

function flagsOf(command: ClientCommand): readonly CommandFlag[] {
  return [...command.flags, ...COMMON, ...(command.offline === true ? [] : REMOTE)];
}

function usageOf(command: ClientCommand): string {
  return `usage: coterie ${command.words}${command.usage === '' ? '' : ` ${command.usage}`}`;
}

function commandHelp(command: ClientCommand): string {
  const wordsOf = ({ name, value }: CommandFlag): string => `--${name}${value === undefined ? '' : ` ${value}`}`;
  const rows = flagsOf(command).map((flag) => [wordsOf(flag), flag.help] as const);
  const width = Math.max(...rows.map(([left]) => left.length));
  const lines = rows.map(([left, help]) => `  ${left.padEnd(width)}  ${help}\n`);
  return `coterie ${command.words}: ${command.summary}\n\n${usageOf(command)}\n\n${lines.join('')}`;
}

function groupHelp(group: string, commands: readonly ClientCommand[]): string {
  const width = Math.max(...commands.map(({ words }) => words.length));
  const lines = commands.map(({ words, summary }) => `  coterie ${words.padEnd(width)}  ${summary}\n`);
  return `Usage: coterie ${group} <command> [flags]\n\n${lines.join('')}\nFlags of each: coterie ${group} <command> --help\n`;
}

function say(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** What to do about an answer that says no. */
const REMEDIES: Readonly<Partial<Record<ErrorCode, string>>> = {
  member_not_found: 'coterie member list shows the ids; an id that was removed never comes back',
  member_urls_invalid: 'give --peer-urls as http://host:port, the address the new member will listen on',
  peer_urls_exist: 'coterie member list shows who has that peer URL; every member needs its own',
  member_exists: 'wait a second and add it again',
  too_many_learners: 'promote or remove the learner that is there: coterie member list',
  learner_not_ready: 'start it and wait until it has caught up: coterie endpoint status shows its raft index',
  not_learner: 'it votes already: coterie member list',
  not_enough_started: 'start the members that are down first, or add the new one as a --learner',
  unhealthy_cluster: 'wait until every member has been reachable for five seconds: coterie endpoint health --cluster',
  bad_transferee: 'name a voting member by its id: coterie member list',
  not_leader: 'ask the leader: coterie endpoint status --cluster shows which it is',
  no_leader: 'a majority of the members must run and reach each other: coterie endpoint health --cluster',
  learner_unsupported: 'a learner answers little; name a voting member with --endpoints',
  unavailable: 'say whom to ask with --endpoints, or start the server: coterie serve',
  deadline_exceeded: 'a majority may be missing, or it is slow: coterie endpoint health --cluster, or a longer --command-timeout',
  timeout: 'a majority may be missing: coterie endpoint health --cluster; the call may or may not have happened',
  timeout_leader_lost: 'the leader was lost under the call: look whether it happened before you repeat it',
  connection_lost: 'the call may or may not have happened: look before you repeat it',
  future_revision: 'coterie endpoint status --json shows the newest revision',
  compacted: 'that revision is gone; ask for a later one',
  unsupported: 'this server does not have the method',
};

/** Says what went wrong and what to do; gives the exit code. Faults of ours go on as they are. */
export function complain(words: string, error: unknown): number {
  if (error instanceof Refusal) {
    process.stderr.write(`coterie ${words}: ${error.message}\n  ${error.remedy}\n`);
    return error.exitCode;
  }
  if (!(error instanceof ApiError)) throw error;
  const remedy = REMEDIES[error.code];
  process.stderr.write(`coterie ${words}: ${error.message}\n${remedy === undefined ? '' : `  ${remedy}\n`}`);
  return isApiError(error, 'invalid_request') ? 2 : 1;
}

/** A member's id, in hex as every list prints it. */
export function readId(word: string): bigint {
  if (/^[0-9a-f]{1,16}$/i.test(word)) return BigInt(`0x${word}`);
  throw new Refusal(`${word}: not a member id`, 'ids are hex, as coterie member list prints them');
}

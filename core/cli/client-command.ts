// What the commands that talk to a cluster have in common: flags of etcdctl's names, the environment, formats, and how they
// say no. One command is data: its words, its flags, and what to do. Exit codes are the house's: 0 done, 1 the world
// refused, 2 the words were wrong.

import { present } from '../base/assert.js';
import { utf8 } from '../base/bytes.js';
import { ApiError, isApiError } from '../errors.js';
import type { ClientTls } from '../wire/client-tls.js';
import type { RemoteClient, RemoteOptions } from '../wire/remote-client.js';
import { remoteOptions, settleCredentials, settleEndpoints } from './connection.js';
import { contextWords, type Context } from './contexts.js';
import { firstArgument, flagLines, FlagValues, parseWords, type CommandFlag } from './flags.js';
import { fromEnvironment, GLOBAL_FLAGS, OUTPUT_FLAGS } from './global-flags.js';
import { FORMATS, json, type Format, type Json } from './output.js';
import { nearest, Refusal } from './refusal.js';
import { remedyOf } from './remedies.js';
import { systemTerminal, type Terminal } from './terminal.js';

export type { CommandFlag } from './flags.js';

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
  /** What stands behind `--` is a command to run, and no argument. */
  readonly runsCommand?: true;
  /** Stands under its help. */
  readonly notes?: string;
  run(invocation: Invocation): Promise<number>;
}

/** One command with its words, as settled. */
export class Invocation {
  /** Of the command: `member add`. */
  readonly words: string;
  readonly args: readonly string[];
  /** What stands behind `--`, where that is a command to run. */
  readonly command: readonly string[];
  readonly format: Format;
  readonly flags: FlagValues;
  readonly terminal: Terminal;
  readonly #open: RemoteClient[] = [];
  readonly #given: Given;
  #context: Context | null = null;
  #endpoints: readonly string[] = [];
  #options: RemoteOptions = {};
  #dial: ((endpoints: readonly string[], options: RemoteOptions) => RemoteClient) | null = null;

  constructor(command: ClientCommand, given: Given, terminal: Terminal) {
    this.words = command.words;
    this.args = given.args;
    this.command = given.command;
    this.terminal = terminal;
    this.#given = given;
    this.flags = new FlagValues((name) => this.#said(name));
    this.format = formatOf(command, this.flags);
  }

  /** The flag's word, for those of the table the environment's or the context's, else null. */
  #said(name: string): string | boolean | null {
    const own = this.#given.values.get(name);
    if (own !== undefined) return own;
    if (!this.#given.fromOutside.has(name)) return null;
    const found = fromEnvironment(this.terminal.env, name);
    if (found !== null || name === 'context') return found;
    this.#context ??= this.#contextOf();
    return this.#context[name] ?? null;
  }

  /**
   * Credentials go nowhere but where they were saved for: whoever names other endpoints uses a context only by naming it, too,
   * and whoever names a user or a password does not get the other half from there.
   */
  #contextOf(): Context {
    const isSaid = (name: string): boolean => {
      return this.#given.values.has(name) || fromEnvironment(this.terminal.env, name) !== null;
    };
    const wanted = this.text('context');
    if (wanted === null && isSaid('endpoints')) return {};
    const words = contextWords(this.terminal.env, wanted);
    const secrets = ['password', 'password-file'];
    if (!['user', ...secrets].some(isSaid)) return words;
    return Object.fromEntries(Object.entries(words).filter(([name]) => !secrets.includes(name)));
  }

  isSet(name: string): boolean {
    return this.flags.isSet(name);
  }

  text(name: string): string | null {
    return this.flags.text(name);
  }

  list(name: string): readonly string[] | null {
    return this.flags.list(name);
  }

  milliseconds(name: string, fallback: number): number {
    return this.flags.milliseconds(name, fallback);
  }

  seconds(name: string, fallback: number): number {
    return this.flags.seconds(name, fallback);
  }

  whole(name: string, fallback: number, bounds: { readonly min: number; readonly max: number }): number {
    return this.flags.whole(name, fallback, bounds);
  }

  get timeoutMs(): number {
    // Commands that wait for something have a --timeout of their own, which says how long.
    const isShared = this.#given.fromOutside.has('timeout');
    return this.milliseconds('command-timeout', isShared ? this.milliseconds('timeout', 5000) : 5000);
  }

  /**
   * Asks for what must be known before anybody is called: a password that was not given, and who there is. Whoever calls nobody,
   * or asks for help alone, does not wait for the library of gRPC either.
   */
  async prepare(): Promise<void> {
    this.#options = remoteOptions(this.flags, await settleCredentials(this.flags, this.terminal), this.terminal);
    this.#dial = (await import('../wire/remote-client.js')).connect;
    this.#endpoints = await settleEndpoints(this.flags);
    if (!this.isSet('debug')) return;
    const user = this.text('user')?.split(':', 1)[0] ?? 'nobody';
    this.say(`coterie ${this.words}: asks ${this.#endpoints.join(', ')} as ${user}, ${this.timeoutMs} ms a call`);
  }

  /** Whom to ask; of commands that ask nobody there are none. */
  get endpoints(): readonly string[] {
    return this.#endpoints;
  }

  /** How it speaks TLS; null: only as an endpoint asks for it. */
  get tls(): ClientTls | null {
    return this.#options.tls ?? null;
  }

  /** A client of these endpoints, closed with the command; of another cluster with `options` of its own. */
  connect(endpoints: readonly string[] = this.endpoints, options = this.#options): RemoteClient {
    const dial = present(this.#dial, 'the client of a command that calls nobody');
    const client = dial(endpoints, { ...options, timeoutMs: this.timeoutMs });
    this.#open.push(client);
    return client;
  }

  /**
   * The same, once one of them has answered: for what would go on trying by itself, in silence, where there is nobody. Any
   * member will do; what it needs the others for says so itself.
   */
  async reached(): Promise<RemoteClient> {
    const client = this.connect();
    try {
      await client.range({ key: utf8('\0'), serializable: true, limit: 1, keysOnly: true });
    } catch (error) {
      // Whoever refuses has answered.
      if (!isApiError(error, 'permission_denied')) throw error;
    }
    return client;
  }

  print(text: string | Uint8Array): void {
    this.terminal.out(text);
  }

  printJson(value: Json): void {
    this.print(`${json(value)}\n`);
  }

  /** For people, beside what a program may read. */
  say(line: string): void {
    this.terminal.err(`${line}\n`);
  }

  async close(): Promise<void> {
    await Promise.all(this.#open.map((client) => client.close()));
  }
}

/** What stood on the command line. */
interface Given {
  readonly values: ReadonlyMap<string, string | boolean>;
  readonly args: readonly string[];
  readonly command: readonly string[];
  /** Flags whose words may also come from the environment or from a context. */
  readonly fromOutside: ReadonlySet<string>;
}

function formatOf(command: ClientCommand, flags: FlagValues): Format {
  // `--json` is wherever a command has a form of our own for it; elsewhere it is etcd's.
  const ours = command.formats.includes('decoded') ? 'decoded' : 'json';
  const word = flags.isSet('json') ? ours : flags.text('write-out') ?? 'simple';
  const format = FORMATS.find((known) => known === word);
  const forms = command.formats.filter((known) => known !== 'decoded').join(', ');
  if (format === undefined || (format === 'decoded' && !flags.isSet('json'))) {
    throw new Refusal(`--write-out ${word}: no such format`, `give one of ${FORMATS.slice(0, -1).join(', ')}`);
  }
  if (command.formats.includes(format)) return format;
  throw new Refusal(`${command.words} has no ${format} form`, `give one of ${forms}`);
}

/** Runs the command of `group` that `argv` begins with. `group` is the word after `coterie`. */
export async function runGroup(
  group: string,
  commands: readonly ClientCommand[],
  argv: readonly string[],
  terminal: Terminal = systemTerminal,
): Promise<number> {
  const { command, rest, word } = chosen(group, commands, argv);
  // What follows `--` are words of another command.
  const own = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  const wantsHelp = own.some((one) => one === '--help' || one === '-h');
  if (command === undefined) {
    if (wantsHelp) return say(terminal, groupHelp(group, commands));
    return complain(group, unknownWord(group, commands, word), terminal);
  }
  if (wantsHelp) return say(terminal, commandHelp(command));
  let invocation: Invocation | null = null;
  try {
    invocation = new Invocation(command, givenTo(command, rest), terminal);
    if (command.offline !== true) await invocation.prepare();
    return await command.run(invocation);
  } catch (error) {
    return complain(command.words, error, terminal);
  } finally {
    await invocation?.close();
  }
}

/** Flags of all commands may stand before the word that says which. */
function chosen(
  group: string,
  commands: readonly ClientCommand[],
  argv: readonly string[],
): { command: ClientCommand | undefined; rest: readonly string[]; word: string | undefined } {
  const alone = commands.find(({ words }) => words === group);
  if (alone !== undefined) return { command: alone, rest: argv, word: undefined };
  const at = firstArgument([...commands.flatMap(({ flags }) => flags), ...GLOBAL_FLAGS], argv);
  const word = at < 0 ? undefined : argv[at];
  const command = commands.find(({ words }) => words === `${group} ${word ?? ''}`);
  return { command, rest: argv.toSpliced(at, 1), word };
}

function unknownWord(group: string, commands: readonly ClientCommand[], word: string | undefined): Refusal {
  const known = commands.map(({ words }) => words.slice(group.length + 1));
  const all = `give one of ${known.join(', ')}`;
  if (word === undefined) return new Refusal(`${group} needs a word that says what to do`, all);
  const guess = nearest(word, known);
  return new Refusal(`${word}: no such command`, guess === null ? all : `did you mean coterie ${group} ${guess}?`);
}

function givenTo(command: ClientCommand, argv: readonly string[]): Given {
  const flags = flagsOf(command);
  const usage = `${usageOf(command)}${command.usage.includes('[-- COMMAND') ? '; flags of the command stand behind --' : ''}`;
  const { values, args: before, behind } = parseWords(flags, argv, usage);
  const runs = command.runsCommand === true;
  const args = runs || behind === null ? before : [...before, ...behind];
  const [least, most] = command.takes;
  if (args.length < least || args.length > most) {
    throw new Refusal(args.length < least ? 'a word is missing' : `${args[most] ?? ''}: one word too many`, usageOf(command));
  }
  const fromOutside = new Set(globalFlagsOf(command).map(({ name }) => name));
  return { values, args, command: runs ? behind ?? [] : [], fromOutside };
}

function globalFlagsOf(command: ClientCommand): readonly CommandFlag[] {
  const own = new Set(command.flags.map(({ name }) => name));
  return (command.offline === true ? OUTPUT_FLAGS : GLOBAL_FLAGS).filter(({ name }) => !own.has(name));
}

/** The command's own ones come first, and win over one of the same name. */
export function flagsOf(command: ClientCommand): readonly CommandFlag[] {
  return [...command.flags, ...globalFlagsOf(command)];
}

function usageOf(command: ClientCommand): string {
  return `usage: coterie ${command.words}${command.usage === '' ? '' : ` ${command.usage}`}`;
}

function commandHelp(command: ClientCommand): string {
  const notes = command.notes === undefined ? '' : `${command.notes}\n\n`;
  const flags = flagLines(command.flags, globalFlagsOf(command));
  return `coterie ${command.words}: ${command.summary}\n\n${usageOf(command)}\n\n${notes}${flags}`;
}

function groupHelp(group: string, commands: readonly ClientCommand[]): string {
  const width = Math.max(...commands.map(({ words }) => words.length));
  const lines = commands.map(({ words, summary }) => `  coterie ${words.padEnd(width)}  ${summary}\n`);
  return `Usage: coterie ${group} <command> [flags]\n\n${lines.join('')}\nFlags of each: coterie ${group} <command> --help\n`;
}

function say(terminal: Terminal, text: string): number {
  terminal.out(text);
  return 0;
}

/** Says what went wrong and what to do; gives the exit code. Faults of ours go on as they are. */
export function complain(words: string, error: unknown, terminal: Terminal = systemTerminal): number {
  if (error instanceof Refusal) {
    terminal.err(`coterie ${words}: ${error.message}\n  ${error.remedy}\n`);
    return error.exitCode;
  }
  if (!(error instanceof ApiError)) throw error;
  const remedy = remedyOf(error.code);
  terminal.err(`coterie ${words}: ${error.message}\n${remedy === null ? '' : `  ${remedy}\n`}`);
  return isApiError(error, 'invalid_request') ? 2 : 1;
}

/** A member's id, in hex as every list prints it. */
export function readId(word: string): bigint {
  if (/^[0-9a-f]{1,16}$/i.test(word)) return BigInt(`0x${word}`);
  throw new Refusal(`${word}: not a member id`, 'ids are hex, as coterie member list prints them');
}

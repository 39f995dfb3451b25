// Words of a command into flags and arguments, by the habits of etcdctl's users: `--name value` or `--name=value`, switches
// with or without a word (`--prefix`, `--prefix=false`), `-w json`, `-w=json` or `-wjson`, flags anywhere among the
// arguments, and `--` before words that begin with a dash. Gives words; what they mean is for the command to say.

import { nearest, Refusal } from './refusal.js';
import { readDuration, readTruth } from './values.js';

export interface CommandFlag {
  readonly name: string;
  /** What stands for the value in the help; absent: a switch. */
  readonly value?: string;
  /** One letter. */
  readonly short?: string;
  readonly help: string;
  /** The only words it takes, where there is such a list: for completion. */
  readonly words?: readonly string[];
  /** Takes several words by standing there several times. */
  readonly repeated?: true;
}

export interface Words {
  readonly values: ReadonlyMap<string, string | boolean>;
  /** What stands before `--`, flags apart. */
  readonly args: readonly string[];
  /** What stands behind it; null: there is none. */
  readonly behind: readonly string[] | null;
}

export function parseWords(flags: readonly CommandFlag[], argv: readonly string[], usage: string): Words {
  const values = new Map<string, string | boolean>();
  const args: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? '';
    if (word === '--') return { values, args, behind: argv.slice(i + 1) };
    if (!isFlag(word)) {
      args.push(word);
      continue;
    }
    const { flag, given } = flagOf(flags, word, usage);
    if (flag.value === undefined) {
      values.set(flag.name, given === null || readSwitch(flag, given));
      continue;
    }
    const value = given ?? argv[++i];
    if (value === undefined) throw new Refusal(`${word}: its value is missing`, usage);
    const before = values.get(flag.name);
    values.set(flag.name, flag.repeated === true && typeof before === 'string' ? `${before},${value}` : value);
  }
  return { values, args, behind: null };
}

/** Where the first word stands that is no flag and no flag's value; -1: nowhere. Flags that nobody knows are passed over. */
export function firstArgument(flags: readonly CommandFlag[], argv: readonly string[]): number {
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? '';
    if (word === '--') return -1;
    if (!isFlag(word)) return i;
    const { flag, given } = split(flags, word);
    if (flag?.value !== undefined && given === null) i += 1;
  }
  return -1;
}

function isFlag(word: string): boolean {
  return word.startsWith('-') && word !== '-';
}

function split(flags: readonly CommandFlag[], word: string): { flag: CommandFlag | undefined; given: string | null } {
  const [, long, value] = /^--([^=]*)(?:=([^]*))?$/.exec(word) ?? [];
  if (long !== undefined) return { flag: flags.find(({ name }) => name === long), given: value ?? null };
  const flag = flags.find(({ short }) => short !== undefined && short === word[1]);
  const rest = word.slice(2);
  return { flag, given: rest === '' ? null : rest.replace(/^=/, '') };
}

function flagOf(flags: readonly CommandFlag[], word: string, usage: string): { flag: CommandFlag; given: string | null } {
  const { flag, given } = split(flags, word);
  if (flag !== undefined) return { flag, given };
  const name = word.replace(/=[^]*$/, '');
  const guess = nearest(name.replace(/^-+/, ''), flags.map((known) => known.name));
  throw new Refusal(`${name}: no such flag`, guess === null ? usage : `did you mean --${guess}?`);
}

function readSwitch({ name }: Pick<CommandFlag, 'name'>, word: string): boolean {
  const said = readTruth(word);
  if (said !== null) return said;
  throw new Refusal(`--${name}=${word}: neither true nor false`, `write --${name}, or --${name}=false`);
}

/** For a help: a line for each, an empty one between groups. */
export function flagLines(...groups: readonly (readonly CommandFlag[])[]): string {
  const left = ({ name, value, short }: CommandFlag): string => {
    return `${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`;
  };
  const width = Math.max(...groups.flat().map((flag) => left(flag).length));
  const blocks = groups.map((flags) => flags.map((flag) => `  ${left(flag).padEnd(width)}  ${flag.help}\n`).join(''));
  return blocks.filter((block) => block !== '').join('\n');
}

/** What has been said about each flag, as values. */
export class FlagValues {
  readonly #of: (name: string) => string | boolean | null;

  /** `of` gives the word that counts for a flag; null: nothing was said. */
  constructor(of: (name: string) => string | boolean | null) {
    this.#of = of;
  }

  isSet(name: string): boolean {
    const word = this.#of(name);
    return typeof word === 'string' ? readSwitch({ name }, word) : word === true;
  }

  /** Said to be off, which is something else than not being said. */
  isOff(name: string): boolean {
    const word = this.#of(name);
    return typeof word === 'string' ? !readSwitch({ name }, word) : word === false;
  }

  text(name: string): string | null {
    const word = this.#of(name);
    return typeof word === 'string' ? word : null;
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
    const value = Number(word);
    if (/^-?\d{1,15}$/.test(word) && value >= bounds.min && value <= bounds.max) return value;
    throw new Refusal(`--${name} ${word}: not such a number`, `give a whole number from ${bounds.min} to ${bounds.max}`);
  }

  /** A revision or a count: 0 or less means what leaving it out means. */
  number(name: string): number {
    const word = this.text(name) ?? '0';
    if (/^-?\d{1,15}$/.test(word)) return Math.max(0, Number(word));
    throw new Refusal(`--${name} ${word}: not a whole number`, 'give digits only');
  }

  /** One of `words`; where they are capitals, as etcd's are, small letters will do. Null: nothing was said. */
  choice<T extends string>(name: string, words: readonly T[]): T | null {
    const word = this.text(name);
    if (word === null || word === '') return null;
    const found = words.find((known) => known === word || known === word.toUpperCase());
    if (found !== undefined) return found;
    throw new Refusal(`--${name} ${word}: not one of its words`, `give one of ${words.join(', ')}`);
  }
}

// The words after `coterie serve`, and its help. Commander reads them and lays out the help; etcd's habits it does not
// know (one dash or two, `--switch=false`) are made plain first. Gives words, not values.

import { Command, CommanderError, Option as Flag } from 'commander';
import { ALIASES, ALWAYS_ON, isSwitch, OPTIONS, UNAVAILABLE, WITHOUT_EFFECT, type Option } from './options.js';
import { nearest, Refusal } from './refusal.js';

export type Arguments =
  | { readonly kind: 'help' | 'version' }
  /** The last word given for each flag. */
  | { readonly kind: 'run'; readonly words: ReadonlyMap<string, string> };

export const KNOWN_FLAGS: readonly string[] = [
  ...OPTIONS.map((option) => option.flag),
  ...UNAVAILABLE.map((row) => row.flag),
  ...WITHOUT_EFFECT,
  ...Object.keys(ALWAYS_ON),
  ...Object.keys(ALIASES),
];

export function readArguments(argv: readonly string[]): Arguments {
  const words = new Map<string, string>();
  const plain = makePlain(argv);
  if (plain.some((arg) => arg === '--help' || arg === '-h')) return { kind: 'help' };
  if (plain.includes('--version')) return { kind: 'version' };
  const command = new Command('serve').exitOverride().configureOutput({ writeErr: () => undefined }).helpOption(false);
  for (const flag of KNOWN_FLAGS) {
    const option = new Flag(`--${flag} <value>`);
    command.addOption(option);
    command.on(`option:${flag}`, (word: string) => words.set(flag, word));
  }
  try {
    command.allowExcessArguments().parse(plain, { from: 'user' });
  } catch (error) {
    throw refusalOf(error, plain);
  }
  const [extra] = command.args;
  if (extra !== undefined) {
    throw new Refusal(`${extra}: serve takes flags only`, `did you mean a flag? coterie serve --help lists them`);
  }
  return { kind: 'run', words };
}

/** `-name` becomes `--name`, and a bare switch becomes `--switch=true`. A flag's value is left alone whatever it looks like. */
function makePlain(argv: readonly string[]): string[] {
  const plain: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i] ?? '';
    const flag = /^--?([a-z\d][a-z\d-]+)(=.*)?$/is.exec(arg);
    if (flag === null || flag[1] === undefined) {
      plain.push(arg);
      continue;
    }
    const [, name, value] = flag;
    const bare = value === undefined;
    plain.push(`--${name}${bare && isSwitch(name) ? '=true' : (value ?? '')}`);
    if (bare && !isSwitch(name) && KNOWN_FLAGS.includes(name) && i + 1 < argv.length) plain.push(valueOf(name, argv[++i] ?? ''));
  }
  return plain;
}

function valueOf(flag: string, word: string): string {
  const another = /^--?([a-z\d-]+)(?:=|$)/.exec(word)?.[1];
  if (another === undefined || !KNOWN_FLAGS.includes(another)) return word;
  throw new Refusal(`--${flag} is followed by ${word}, not by a value`, `write --${flag} VALUE`);
}

function refusalOf(error: unknown, plain: readonly string[]): unknown {
  if (!(error instanceof CommanderError)) return error;
  if (error.code === 'commander.optionMissingArgument') {
    const flag = plain.at(-1) ?? '';
    return new Refusal(`${flag} needs a value`, `write ${flag} VALUE`);
  }
  const unknown = plain.find((arg) => arg.startsWith('-') && !KNOWN_FLAGS.includes(flagOf(arg))) ?? '';
  const guess = nearest(flagOf(unknown), KNOWN_FLAGS);
  const remedy = guess === null ? 'coterie serve --help lists them' : `did you mean --${guess}?`;
  return new Refusal(`${unknown.split('=')[0] ?? ''}: no such flag`, remedy);
}

function flagOf(arg: string): string {
  return arg.replace(/^-+/, '').split('=')[0] ?? '';
}

const HEAD = `Starts one durable member and serves etcd's API on it, gRPC and HTTP on the same port.
Without flags: name default, directory default.coterie, clients on http://localhost:2379.

Examples:
  coterie serve
  coterie serve --data-dir /var/lib/coterie --listen-client-urls http://0.0.0.0:2379 \\
                --advertise-client-urls http://10.0.0.7:2379
  coterie serve --config-file coterie.yaml --print-config
  coterie serve --name a --initial-cluster a=http://10.0.0.7:2380,b=http://10.0.0.8:2380,c=http://10.0.0.9:2380 \\
                --listen-peer-urls http://10.0.0.7:2380 --initial-advertise-peer-urls http://10.0.0.7:2380
`;

const FOOT = `
Each flag may also stand in the environment (COTERIE_DATA_DIR or ETCD_DATA_DIR) or in the file (data-dir: …).
A flag wins over the environment, that over the file, that over the default.
Exit code: 0 after SIGTERM or SIGINT, 1 when it could not start or go on, 2 when a word was wrong.
`;

export function helpText(): string {
  const command = new Command('coterie serve').usage('[flags]').helpOption(false).configureHelp({ helpWidth: 110 });
  for (const option of OPTIONS) {
    const flag = `--${option.flag}${isSwitch(option.flag) ? '' : ' <value>'}`;
    command.addOption(new Flag(flag, describe(option)).helpGroup(`${option.group}:`));
  }
  return `${HEAD}\n${command.helpInformation()}${FOOT}`;
}

function describe(option: Option): string {
  const { choices = [], fallback } = option;
  const which = choices.length < 2 ? '' : ` One of ${choices.join(', ')}.`;
  const without = fallback === null || fallback === '' || isSwitch(option.flag) ? '' : ` (default ${fallback})`;
  return `${option.help}${which}${without}`;
}

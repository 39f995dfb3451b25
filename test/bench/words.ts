// The words after `npm run bench --`, and what they mean. Pure: a wrong word is a value.

import { parseArgs } from 'node:util';

export interface Words {
  readonly rounds: number;
  readonly only: string;
  readonly isQuick: boolean;
  readonly isJson: boolean;
  readonly isList: boolean;
  readonly isSecured: boolean;
  readonly hasRecipes: boolean;
  readonly writes: boolean;
  readonly isHelp: boolean;
}

const ROUNDS = 5;
const QUICK_ROUNDS = 2;
const ROUNDS_MAX = 99;

export const USAGE = `usage: npm run bench -- [words]

Asks coterie and real etcd the same, in alternation, on fresh data directories, and prints the ratios.

  --rounds N     how often both are asked; default ${ROUNDS}, with --quick ${QUICK_ROUNDS}
  --only TEXT    only rows whose name holds TEXT, or whose id it is (--list shows both)
  --quick        fewer rows, shorter loads: under two minutes, a first look
  --secured      also with TLS, and with auth on
  --recipes      also locks, elections, queues and topics
  --json         the report as JSON on stdout, in place of the table; its fields: test/bench/README.md
  --write        record it in test/bench/RESULTS.md; a whole run in the plot and in README.md too
  --list         the rows, what is wanted of each, and what a run would take; measures nothing
  --help

Needs etcd and h2load on the path. Exit code: 0 measured, 1 could not, 2 a wrong word, 130 interrupted.
`;

/** Or what is wrong with them. */
export function readWords(args: readonly string[]): Words | string {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        rounds: { type: 'string' }, only: { type: 'string', default: '' }, quick: { type: 'boolean', default: false },
        secured: { type: 'boolean', default: false }, recipes: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false }, write: { type: 'boolean', default: false },
        list: { type: 'boolean', default: false }, help: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const usual = values.quick ? QUICK_ROUNDS : ROUNDS;
  const rounds = values.rounds === undefined ? usual : Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > ROUNDS_MAX) {
    return `--rounds takes a whole number from 1 to ${ROUNDS_MAX}, not '${values.rounds}'`;
  }
  return {
    rounds, only: values.only, isQuick: values.quick, isJson: values.json, isList: values.list, isSecured: values.secured,
    hasRecipes: values.recipes, writes: values.write, isHelp: values.help,
  };
}

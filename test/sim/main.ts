// The command: `npm run sim -- --seeds 1000`, `--seed 7 --trace`, `--minutes 10`, `--mutants`. Seeds are handed to worker
// processes one at a time; one line for each that fails, a summary at the end, and a failing seed's last moments as a story.
// Exit code 1 when anything is broken, 2 when the words were wrong.

import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { print, Progress, story } from './print.js';
import type { RunOptions, Verdict } from './run.js';
import { runAndLookAgain } from './second-look.js';
import { hasRecipes } from './swarm.js';
import { Tally } from './tally.js';

interface Settings {
  readonly from: number;
  readonly seeds: number;
  readonly minutes: number;
  readonly workers: number;
  readonly json: boolean;
  readonly failuresMax: number;
  /** Others are passed over. */
  readonly isWanted: (seed: number) => boolean;
}

const USAGE = `usage: npm run sim -- [--seeds N] [--from S] [--minutes N] [--workers N] [--failures N] [--json]
       npm run sim -- recipes [the same; only worlds in which recipes run]
       npm run sim -- --seed S [--trace] [--until EVENTS] [--json]
       npm run sim -- --mutants [--only NUMBERS] [--seeds N] [--thorough] [--deep] [--workers N]
       npm run sim -- --mutants recipes [--only NUMBERS] [--workers N]
`;

const SELF = fileURLToPath(import.meta.url);
const WORKER = 'worker';
/** Worlds leave much behind that is young: with room for it less is collected in vain. */
const YOUNG_SPACE: readonly string[] = Object.freeze(['--max-semi-space-size=64']);

class WrongWords extends Error {}

function readWords() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        seed: { type: 'string' }, seeds: { type: 'string' }, from: { type: 'string' }, minutes: { type: 'string' },
        workers: { type: 'string' }, until: { type: 'string' }, trace: { type: 'boolean' }, json: { type: 'boolean' },
        mutants: { type: 'boolean' }, deep: { type: 'boolean' }, thorough: { type: 'boolean' }, failures: { type: 'string' },
        only: { type: 'string' }, help: { type: 'boolean', short: 'h' },
      },
    });
    const [word, ...more] = positionals;
    const isWrong = word !== undefined && (word !== 'recipes' || more.length > 0 || values.seed !== undefined);
    if (isWrong) throw new WrongWords(`${positionals.join(' ')} says nothing here`);
    return { ...values, recipes: word !== undefined };
  } catch (error) {
    if (error instanceof WrongWords) throw error;
    throw new WrongWords(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** Above zero: a run of no seeds would find nothing broken and call that clean. */
function numberOf(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (Number.isFinite(value) && value > 0 && (Number.isInteger(value) || name === 'minutes')) return value;
  throw new WrongWords(`--${name} ${text}: ${name === 'minutes' ? 'a number' : 'a whole number'} above 0 is wanted`);
}

async function main(): Promise<number> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof WrongWords)) throw error;
    process.stderr.write(`npm run sim: ${error.message}\n${USAGE}`);
    return 2;
  }
}

async function run(): Promise<number> {
  const values = readWords();
  if (values.help === true) {
    print(USAGE);
    return 0;
  }
  if (values.mutants === true && values.recipes) {
    const { runRecipeMutants } = await import('./recipe-mutants-run.js');
    return runRecipeMutants({ only: values.only ?? null, workers: Math.max(1, numberOf('workers', values.workers, 1)) });
  }
  if (values.mutants === true) {
    const { runMutants } = await import('./mutants.js');
    return runMutants({
      seeds: values.seeds === undefined ? null : numberOf('seeds', values.seeds, 0),
      deep: values.deep === true, thorough: values.thorough === true, only: values.only ?? null,
      workers: Math.max(1, numberOf('workers', values.workers, 2)),
    });
  }
  if (values.seed !== undefined) {
    const until = values.until === undefined ? {} : { until: numberOf('until', values.until, 0) };
    return one(numberOf('seed', values.seed, 1), { trace: values.trace === true, json: values.json === true, ...until });
  }
  const minutes = numberOf('minutes', values.minutes, 0);
  return many({
    from: numberOf('from', values.from, 1),
    seeds: numberOf('seeds', values.seeds, minutes > 0 ? Infinity : 100),
    minutes: minutes > 0 ? minutes : Infinity,
    workers: Math.max(1, numberOf('workers', values.workers, 2)),
    json: values.json === true,
    failuresMax: numberOf('failures', values.failures, 10),
    isWanted: values.recipes ? hasRecipes : () => true,
  });
}

async function one(seed: number, settings: { trace: boolean; json: boolean; until?: number }): Promise<number> {
  const options: RunOptions = {
    ...(settings.trace ? { onTrace: (line: string) => print(`${line}\n`) } : {}),
    ...(settings.until === undefined ? {} : { until: settings.until }),
  };
  const began = cpuMs();
  const verdict = await runAndLookAgain(seed, options);
  const tally = new Tally();
  tally.add(verdict, cpuMs() - began);
  if (settings.json) print(`${JSON.stringify(verdict)}\n`);
  else print(`${story(verdict, !settings.trace)}${tally.summary((cpuMs() - began) / 1000)}`);
  return verdict.violation === null ? 0 : 1;
}

function many(settings: Settings): Promise<number> {
  const tally = new Tally();
  const progress = new Progress(tally);
  const began = performance.now();
  const deadline = began + settings.minutes * 60_000;
  let next = settings.from;
  let left = settings.seeds;
  const isOver = (): boolean => left === 0 || performance.now() > deadline || tally.failures.length >= settings.failuresMax;
  return new Promise((resolve) => {
    let alive = settings.workers;
    const give = (worker: ChildProcess): void => {
      if (isOver()) return worker.disconnect();
      left--;
      while (!settings.isWanted(next)) next++;
      worker.send(next++);
    };
    for (let i = 0; i < settings.workers; i++) {
      const worker = fork(SELF, [WORKER], { execArgv: [...YOUNG_SPACE] });
      worker.on('message', (answer: { verdict: Verdict; tookMs: number }) => {
        tally.add(answer.verdict, answer.tookMs);
        if (settings.json) print(`${JSON.stringify(answer.verdict)}\n`);
        else progress.tell(answer.verdict);
        give(worker);
      });
      worker.on('exit', (code) => {
        if (code !== 0) tally.lost++;
        if ((alive -= 1) > 0) return;
        progress.end();
        print(tally.summary((performance.now() - began) / 1000));
        resolve(tally.failures.length > 0 || tally.lost > 0 ? 1 : 0);
      });
      give(worker);
    }
  });
}

/** Of this process: what others take of the machine does not count. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** One seed after the other, as they are asked for. */
function work(): void {
  process.on('message', (seed: number) => {
    const began = cpuMs();
    runAndLookAgain(seed).then(
      (verdict) => process.send?.({ verdict, tookMs: cpuMs() - began }),
      (error: unknown) => {
        process.stderr.write(`seed ${seed} could not be run: ${error instanceof Error ? error.stack : String(error)}\n`);
        process.exit(1);
      },
    );
  });
}

if (process.argv[2] === WORKER) work();
else process.exitCode = await main();

// The long form of test/core/wire/http2/fuzz.ts: conversations drawn anew, and those kept in http2-corpus.txt with something
// changed, at a `Connection` without a socket, for as long as asked. With `keeps`, what meets something that nothing kept has met
// is made as short as it can be and kept, and so is what fails.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Prng } from '../../core/base/prng.js';
import { HELLO } from '../core/wire/http2/kit.js';
import { play, sayings, varied } from '../core/wire/http2/fuzz.js';

export interface Kept {
  /** Of what the handlers and the line do. */
  readonly seed: number;
  readonly said: Buffer;
}

/** From the compiled file, wherever it is. */
const FILE = fileURLToPath(new URL('../../../test/fuzz/http2-corpus.txt', import.meta.url));
const HEAD = `# Conversations with the HTTP/2 server that once failed, or that come where nothing before them in this list does.
# A line is a seed, for what handlers do, and what a caller says, in base64. \`npm run fuzz -- --http2 --keep\` adds to them.
`;

export function corpus(): Kept[] {
  const lines = readFileSync(FILE, 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.map((line) => {
    const [seed = '', text = ''] = line.split(' ');
    return { seed: Number(seed), said: Buffer.from(text, 'base64') };
  });
}

function write(kept: readonly Kept[]): void {
  writeFileSync(FILE, `${HEAD}${kept.map(({ seed, said }) => `${seed} ${said.toString('base64')}\n`).join('')}`);
}

export interface Campaign {
  readonly seed: number;
  readonly keeps: boolean;
  readonly goesOn: () => boolean;
  readonly tell: (line: string) => void;
}

export interface CampaignReport {
  readonly conversations: number;
  readonly kept: number;
  readonly failures: readonly string[];
}

export function campaign({ seed, keeps, goesOn, tell }: Campaign): CampaignReport {
  const chance = new Prng(seed);
  const failures: string[] = [];
  const met = new Set<string>();
  const known: Kept[] = [];
  let conversations = 0;
  const run = (one: Kept): void => {
    conversations += 1;
    const { fault, fresh } = outcomeOf(one, met);
    if (fault !== '') {
      failures.push(`${one.seed} ${one.said.toString('base64')}: ${fault}`);
      tell(failures.at(-1) ?? '');
    }
    if (fresh.length === 0 && fault === '') return;
    const short = keeps ? shortened(one, fresh) : one;
    for (const what of outcomeOf(short, met).fresh) met.add(what);
    known.push(short);
  };
  // Those that nothing new is met by any more are dropped; of two that meet the same the shorter one is left.
  for (const one of corpus().sort((a, b) => a.said.length - b.said.length)) run(one);
  while (goesOn() && failures.length < FAILURES_MAX) run(draw(chance, known));
  if (keeps) write(known);
  return { conversations, kept: known.length, failures };
}

const FAILURES_MAX = 10;

function draw(chance: Prng, kept: readonly Kept[]): Kept {
  const [seed, other] = [chance.u32(), chance.u32()];
  const from = kept[chance.below(kept.length + 1)];
  return { seed, said: from === undefined || chance.below(3) === 0 ? sayings(other) : varied(other, from.said) };
}

function outcomeOf({ seed, said }: Kept, met: ReadonlySet<string>): { fault: string; fresh: string[] } {
  try {
    const outcome = play(seed, said);
    return { fault: outcome.faults.join('; '), fresh: [...outcome.met].filter((what) => !met.has(what)) };
  } catch (error) {
    return { fault: error instanceof Error ? (error.stack ?? error.message) : String(error), fresh: [] };
  }
}

/** Without the frames that do not matter for what is met, or for the failure. */
function shortened(one: Kept, fresh: readonly string[]): Kept {
  const wasFault = outcomeOf(one, NOTHING).fault !== '';
  const isAsGood = (said: Buffer): boolean => {
    const { fault, fresh: all } = outcomeOf({ ...one, said }, NOTHING);
    return wasFault ? fault !== '' : fresh.every((what) => all.includes(what));
  };
  let parts = partsOf(one.said);
  for (let i = parts.length - 1; i >= 0; i--) {
    const fewer = parts.filter((_, k) => k !== i);
    if (isAsGood(Buffer.concat(fewer))) parts = fewer;
  }
  return { ...one, said: Buffer.concat(parts) };
}

const NOTHING: ReadonlySet<string> = new Set();

/** Frames, as long as they are ones. */
function partsOf(said: Buffer): Buffer[] {
  if (!said.subarray(0, HELLO.length).equals(HELLO)) return [said];
  const parts = [said.subarray(0, HELLO.length)];
  let at = HELLO.length;
  while (at + 9 <= said.length) {
    const end = at + 9 + said.readUIntBE(at, 3);
    if (end > said.length) break;
    parts.push(said.subarray(at, end));
    at = end;
  }
  return at < said.length ? [...parts, said.subarray(at)] : parts;
}

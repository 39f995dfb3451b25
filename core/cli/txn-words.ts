// The grammar of `coterie txn`, which is etcdctl's (contract 15.3): three blocks, each ended by an empty line: comparisons,
// operations when all of them hold, operations when one does not.
//
//   value("greeting") = "hello"
//
//   put greeting "good bye"
//   get greeting --print-value-only
//
//   get greeting
//
// A comparison is TARGET("key") OP "operand", both quoted as in Go. An operation is a command with its flags, its words split
// at spaces; quotes keep them together.

import type { Compare, CompareResult, Op, TxnRequest } from '../client.js';
import { FlagValues, parseWords, type CommandFlag } from './flags.js';
import { quote, unquote } from './go-text.js';
import { DEL_FLAGS, deleteRequest, GET_FLAGS, PUT_FLAGS, putRequest, rangeRequest, readLease } from './operations.js';
import { Refusal } from './refusal.js';

const PROMPTS = ['compares:', 'success requests (get, put, del):', 'failure requests (get, put, del):'] as const;

/** Reads until the third empty line. `prompt` is called before each block. */
export async function readTxn(lines: AsyncIterable<string>, prompt: (text: string) => void): Promise<TxnRequest> {
  const blocks: string[][] = [[]];
  prompt(PROMPTS[0]);
  for await (const line of lines) {
    if (line.trim() !== '') {
      blocks.at(-1)?.push(line);
      continue;
    }
    const next = PROMPTS[blocks.length];
    if (next === undefined) return txnOf(blocks);
    prompt(next);
    blocks.push([]);
  }
  // Whoever wrote the last block and no empty line behind it has written it all the same.
  if (blocks.length === PROMPTS.length) return txnOf(blocks);
  const remedy = 'three blocks, an empty line behind each: comparisons, operations if they hold, operations if not';
  throw new Refusal(`the input ends in block ${blocks.length} of ${PROMPTS.length}`, remedy);
}

function txnOf([compare = [], success = [], failure = []]: readonly (readonly string[])[]): TxnRequest {
  return { compare: compare.map(readCompare), success: success.map(readOp), failure: failure.map(readOp) };
}

const COMPARE_FORM = 'write it like value("key") = "text", mod("key") > "7" or version("key") = "0"';
const TARGETS: Readonly<Record<string, Compare['target']>> = {
  ver: 'version', version: 'version', c: 'create', create: 'create', m: 'mod', mod: 'mod', val: 'value', value: 'value',
  lease: 'lease',
};
const RESULTS: readonly CompareResult[] = ['=', '!=', '<', '>'];

export function readCompare(line: string): Compare {
  const text = line.trim();
  const [head, word = ''] = /^(\w+)\s*\(\s*/.exec(text) ?? [];
  const target = TARGETS[word];
  if (head === undefined) throw new Refusal(`malformed comparison: ${text}`, COMPARE_FORM);
  if (target === undefined) {
    throw new Refusal(`malformed comparison: ${text} (unknown target ${word})`, 'give version, create, mod, value or lease');
  }
  const key = unquote(text, head.length);
  const [middle, sign] = /^\s*\)\s*([^\s"]+)\s*/.exec(key === null ? '' : text.slice(key.end)) ?? [];
  const result = RESULTS.find((known) => known === sign);
  if (key === null || middle === undefined || result === undefined) {
    const remedy = sign === undefined ? COMPARE_FORM : `${sign}: give one of ${RESULTS.join(' ')}`;
    throw new Refusal(`malformed comparison: ${text}`, remedy);
  }
  const operand = unquote(text, key.end + middle.length);
  if (operand === null || text.slice(operand.end).trim() !== '') throw new Refusal(`malformed comparison: ${text}`, COMPARE_FORM);
  const about = { key: key.bytes, result };
  if (target === 'value') return { ...about, target, operand: operand.bytes };
  const said = Buffer.from(operand.bytes).toString();
  if (target === 'lease') return { ...about, target, operand: readLease(said) };
  if (!/^-?\d{1,15}$/.test(said)) throw new Refusal(`invalid txn compare request: ${text}`, `${target} compares whole numbers`);
  return { ...about, target, operand: Number(said) };
}

/** An operation takes a key and one word more. */
const WORDS_MAX = 2;
const KINDS: Readonly<Record<string, { readonly flags: readonly CommandFlag[]; readonly usage: string }>> = {
  get: { flags: GET_FLAGS, usage: 'get KEY [END] [flags]' },
  put: { flags: PUT_FLAGS, usage: 'put KEY VALUE [flags]' },
  del: { flags: DEL_FLAGS, usage: 'del KEY [END] [flags]' },
};

export function readOp(line: string): Op {
  const [word = '', ...rest] = splitWords(line);
  const kind = Object.hasOwn(KINDS, word) ? KINDS[word] : undefined;
  if (kind === undefined) throw new Refusal(`invalid txn request: ${line.trim()}`, 'a line begins with get, put or del');
  const usage = `in a transaction: ${kind.usage}`;
  const { values, args: before, behind } = parseWords(kind.flags, rest, usage);
  const args = [...before, ...behind ?? []];
  if (args.length === 0) throw new Refusal(`${line.trim()}: a word is missing`, usage);
  const extra = args[WORDS_MAX];
  if (extra !== undefined) throw new Refusal(`${line.trim()}: ${extra} is one word too many`, usage);
  const flags = new FlagValues((name) => values.get(name) ?? null);
  if (word === 'get') return { kind: 'range', request: rangeRequest(flags, args) };
  if (word === 'del') return { kind: 'delete', request: deleteRequest(flags, args) };
  const none = (): never => {
    throw new Refusal(`${line.trim()}: there is no value`, `${usage}; '' is an empty one`);
  };
  return { kind: 'put', request: putRequest(flags, args, none) };
}

/** Words as a shell has them: quotes keep together what is in them; within double quotes a backslash escapes as in Go. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let [word, at]: [string | null, number] = [null, 0];
  while (at < line.length) {
    const char = line[at] ?? '';
    if (/\s/.test(char)) {
      if (word !== null) words.push(word);
      word = null;
      at += 1;
    } else if (char === '"' || char === '\'' || char === '`') {
      const quoted = unquote(line, at);
      if (quoted === null) {
        throw new Refusal(`${line.trim()}: the quote at ${quote(line.slice(at, at + 8))} does not end`, 'close it');
      }
      word = (word ?? '') + Buffer.from(quoted.bytes).toString();
      at = quoted.end;
    } else {
      word = (word ?? '') + char;
      at += 1;
    }
  }
  return word === null ? words : [...words, word];
}


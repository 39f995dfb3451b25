// `coterie get`, `put`, `del` and `compaction`: words, answers and formats are etcdctl's. Two things more: `--exit-code`, with
// which it tells whether something was found, and `--count-only` in every form.

import { del, put } from '../client.js';
import { runGroup, type ClientCommand, type CommandFlag, type Invocation } from './client-command.js';
import { json, type Format } from './output.js';
import { deleteBytes, putBytes, rangeBytes, type Shape } from './kv-output.js';
import { DEL_FLAGS, deleteRequest, GET_FLAGS, PUT_FLAGS, putRequest, rangeRequest } from './operations.js';
import { Refusal } from './refusal.js';
import type { Terminal } from './terminal.js';

/** With --exit-code: nothing was found, or a comparison did not hold. Neither 1, which is a refusal, nor 2, wrong words. */
export const NOTHING_FOUND = 3;
export const EXIT_CODE: CommandFlag = { name: 'exit-code', help: `exit with ${NOTHING_FOUND} when there was nothing` };
export const KV_FORMATS: readonly Format[] = ['simple', 'json', 'fields', 'protobuf', 'decoded'];

export function shapeOf(invocation: Invocation): Shape {
  return { format: invocation.format, isHex: invocation.isSet('hex') };
}

const GET: ClientCommand = {
  words: 'get', usage: 'KEY [END]', summary: 'what is stored under a key, or under all keys of a range', takes: [1, 2],
  flags: [...GET_FLAGS, EXIT_CODE], formats: KV_FORMATS,
  async run(invocation) {
    const { flags, args, format } = invocation;
    const valuesOnly = flags.isSet('print-value-only');
    if (valuesOnly && format !== 'simple') throw new Refusal('--print-value-only is for simple output', 'leave out the format');
    const request = rangeRequest(flags, args);
    const answer = await invocation.connect().range(request);
    const { countOnly = false } = request;
    invocation.print(rangeBytes(answer, { ...shapeOf(invocation), valuesOnly, countOnly }));
    const found = countOnly ? answer.count : answer.kvs.length;
    return found === 0 && flags.isSet('exit-code') ? NOTHING_FOUND : 0;
  },
};

const PUT: ClientCommand = {
  words: 'put', usage: 'KEY [VALUE]', summary: 'store a value; without VALUE what standard input holds', takes: [1, 2],
  flags: PUT_FLAGS, formats: KV_FORMATS, notes: 'Words that begin with a dash stand behind --: coterie put -- KEY -1',
  async run(invocation) {
    const { flags, args, terminal } = invocation;
    const request = putRequest(flags, args, () => {
      const value = terminal.readAll();
      if (value.length > 0) return value;
      throw new Refusal('there is no value', 'give one, pipe one in, or say \'\' for an empty one');
    });
    const { key, value, ...options } = request;
    invocation.print(putBytes(await put(invocation.connect(), key, value, options), shapeOf(invocation)));
    return 0;
  },
};

const DEL: ClientCommand = {
  words: 'del', usage: 'KEY [END]', summary: 'remove a key, or all keys of a range', takes: [1, 2],
  flags: [...DEL_FLAGS, EXIT_CODE], formats: KV_FORMATS,
  async run(invocation) {
    const { key, ...options } = deleteRequest(invocation.flags, invocation.args);
    const answer = await del(invocation.connect(), key, options);
    invocation.print(deleteBytes(answer, shapeOf(invocation)));
    return answer.deleted === 0 && invocation.isSet('exit-code') ? NOTHING_FOUND : 0;
  },
};

const COMPACTION: ClientCommand = {
  words: 'compaction', usage: 'REVISION', summary: 'forget what was before a revision', takes: [1, 1],
  flags: [{ name: 'physical', help: 'wait until the memory has been given back' }],
  formats: ['simple', 'json', 'fields', 'table', 'protobuf', 'decoded'],
  async run(invocation) {
    const [word = ''] = invocation.args;
    if (!/^\d{1,15}$/.test(word)) {
      throw new Refusal(`${word}: not a revision`, 'give a whole number; coterie status shows the newest revision');
    }
    const header = await invocation.connect().compact(Number(word), { physical: invocation.isSet('physical') });
    // etcdctl says the same in every format.
    const said = { compacted: Number(word), revision: header.revision };
    invocation.print(invocation.format === 'decoded' ? `${json(said)}\n` : `compacted revision ${word}\n`);
    return 0;
  },
};

export const COMMANDS: readonly ClientCommand[] = [GET, PUT, DEL, COMPACTION];

/** `word` is which of them: each is a command of its own. */
export function main(word: string, argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup(word, COMMANDS, argv, terminal);
}

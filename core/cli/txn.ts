// `coterie txn`: comparisons and two lists of operations from standard input, as one transaction. Prints what etcdctl prints.

import type { TxnRequest } from '../client.js';
import { runGroup, type ClientCommand } from './client-command.js';
import type { CommandFlag } from './flags.js';
import { KV_FORMATS, NOTHING_FOUND, shapeOf } from './kv.js';
import { txnBytes } from './kv-output.js';
import type { Terminal } from './terminal.js';
import { readTxn } from './txn-words.js';

const EXIT_CODE: CommandFlag = { name: 'exit-code', help: `exit with ${NOTHING_FOUND} when the comparisons did not hold` };

const NOTES = `Three blocks on standard input, an empty line behind each:
  value("key") = "text"        comparisons; also version, create, mod, lease and != < >
  put key "good bye"           what is done when all of them hold: get, put, del with their flags
  get key                      what is done otherwise`;

const TXN: ClientCommand = {
  words: 'txn', usage: '', summary: 'all or nothing, if comparisons hold; read from standard input', takes: [0, 0],
  flags: [{ name: 'interactive', short: 'i', help: 'say what is expected next' }, EXIT_CODE], formats: KV_FORMATS, notes: NOTES,
  async run(invocation) {
    const { terminal } = invocation;
    const asks = invocation.isSet('interactive');
    const request: TxnRequest = await readTxn(terminal.lines(), (text) => (asks ? terminal.out(`${text}\n`) : undefined));
    const answer = await invocation.connect().txn(request);
    invocation.print(txnBytes(answer, shapeOf(invocation)));
    return !answer.succeeded && invocation.isSet('exit-code') ? NOTHING_FOUND : 0;
  },
};

export const COMMANDS: readonly ClientCommand[] = [TXN];

export function main(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('txn', COMMANDS, argv, terminal);
}

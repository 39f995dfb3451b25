// Every command with its flags, as data: for completion, and for whoever checks that documents and commands agree. Loads all
// of them, so only what needs all of them asks for it.

import type { ClientCommand, CommandFlag } from './client-command.js';
import { flagsOf } from './client-command.js';
import { FLAGS } from './cluster.js';
import { SUBCOMMANDS } from './commands.js';
import { OPTIONS } from './options.js';
import { showValue } from './values.js';

export interface TreeCommand {
  /** Such as `member add`. */
  readonly words: string;
  readonly summary: string;
  readonly flags: readonly CommandFlag[];
  /** Its arguments are files. */
  readonly takesFiles: boolean;
}

/** In the order of the help; groups such as `member` stand for themselves with no flags of their own. */
export async function commandTree(): Promise<readonly TreeCommand[]> {
  const client = (await clientCommands()).map((command) => treeCommand(command));
  const server: TreeCommand[] = [
    { words: 'serve', summary: summaryOf('serve'), flags: serveFlags(), takesFiles: false },
    { words: 'cluster', summary: summaryOf('cluster'), flags: FLAGS, takesFiles: false },
  ];
  const known = new Map([...server, ...client].map((command) => [command.words, command]));
  const top = Object.keys(SUBCOMMANDS).map((words) => {
    return known.get(words) ?? { words, summary: summaryOf(words), flags: [], takesFiles: false };
  });
  return [...top, ...client.filter(({ words }) => words.includes(' '))];
}

function summaryOf(word: string): string {
  return SUBCOMMANDS[word]?.summary ?? '';
}

function treeCommand(command: ClientCommand): TreeCommand {
  const { words, summary, usage } = command;
  return { words, summary, flags: flagsOf(command), takesFiles: /^FILE\b/.test(usage) };
}

function serveFlags(): CommandFlag[] {
  return OPTIONS.map(({ flag, kind, help, choices, fallback }): CommandFlag => {
    const value = kind === 'boolean' ? {} : { value: /-(?:file|dir)$/.test(flag) ? 'FILE' : showValue(fallback ?? 'VALUE') };
    return { name: flag, help, ...value, ...(choices === undefined ? {} : { words: choices }) };
  });
}

async function clientCommands(): Promise<readonly ClientCommand[]> {
  const modules = await Promise.all([
    import('./kv.js'), import('./txn.js'), import('./watch.js'), import('./tree.js'), import('./lease.js'), import('./status.js'),
    import('./member.js'), import('./endpoint.js'), import('./alarm.js'), import('./check.js'), import('./mirror.js'),
    import('./snapshot.js'), import('./auth.js'), import('./lock.js'), import('./elect.js'), import('./register.js'),
    import('./queue.js'), import('./topic.js'), import('./services.js'), import('./locks.js'), import('./sessions.js'),
    import('./context.js'),
  ]);
  return modules.flatMap(({ COMMANDS }) => COMMANDS);
}

// `coterie completion bash|zsh|fish`: prints the script that completes coterie's words in that shell.

import { commandTree } from './command-tree.js';
import { completionScript, SHELLS } from './completion-scripts.js';
import { runGroup, type ClientCommand } from './client-command.js';
import { Refusal } from './refusal.js';
import type { Terminal } from './terminal.js';

const COMPLETION: ClientCommand = {
  words: 'completion', usage: SHELLS.join('|'), summary: 'a script that completes the words of coterie', takes: [1, 1], flags: [],
  formats: ['simple'], offline: true,
  notes: `bash:  source <(coterie completion bash)                     in ~/.bashrc
zsh:   source <(coterie completion zsh)                      in ~/.zshrc, behind compinit
fish:  coterie completion fish > ~/.config/fish/completions/coterie.fish`,
  async run(invocation) {
    const [word = ''] = invocation.args;
    const shell = SHELLS.find((known) => known === word);
    if (shell === undefined) throw new Refusal(`${word}: no such shell here`, `give one of ${SHELLS.join(', ')}`);
    invocation.print(completionScript(shell, await commandTree()));
    return 0;
  },
};

export function main(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('completion', [COMPLETION], argv, terminal);
}

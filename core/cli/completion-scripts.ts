// Scripts that complete `coterie` in bash, zsh and fish, from the tree of commands. Everything is in the script, so that a
// press of Tab starts no process; only the names of contexts are asked for. Pure: from the tree to text.

import type { TreeCommand } from './command-tree.js';
import type { CommandFlag } from './flags.js';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

export function completionScript(shell: Shell, tree: readonly TreeCommand[]): string {
  return { bash, zsh, fish }[shell](tree);
}

/** In single quotes, for any of the three. */
function quoted(text: string): string {
  return `'${text.replaceAll('\'', `'\\''`)}'`;
}

function flagWords({ name, short }: CommandFlag): string[] {
  return short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`];
}

function isFile({ value }: CommandFlag): boolean {
  return value === 'FILE' || value === 'DIR';
}

/** What follows `words`, one step further. */
function next(tree: readonly TreeCommand[], words: string): readonly TreeCommand[] {
  return tree.filter((command) => command.words.startsWith(`${words} `));
}

function lastWord({ words }: TreeCommand): string {
  return words.split(' ').at(-1) ?? words;
}

interface Known {
  readonly top: readonly TreeCommand[];
  /** Flags with a value, of whatever command. */
  readonly valued: readonly CommandFlag[];
}

function knownIn(tree: readonly TreeCommand[]): Known {
  const all = new Map<string, CommandFlag>();
  const flags = tree.flatMap((command) => command.flags);
  // What is a switch somewhere (`get --prefix`) is taken for one everywhere.
  const switches = new Set(flags.filter(({ value }) => value === undefined).map(({ name }) => name));
  for (const flag of flags) {
    if (flag.value !== undefined && !switches.has(flag.name)) all.set(flag.name, flag);
  }
  return { top: tree.filter(({ words }) => !words.includes(' ')), valued: [...all.values()] };
}

/** Which words a flag takes may differ from command to command: what any of them takes is offered. */
function wordsByFlag(tree: readonly TreeCommand[]): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, Set<string>>();
  for (const flag of tree.flatMap(({ flags }) => flags)) {
    for (const written of flag.words === undefined ? [] : flagWords(flag)) {
      found.set(written, new Set([...found.get(written) ?? [], ...flag.words ?? []]));
    }
  }
  return new Map([...found].map(([flag, words]) => [flag, [...words]]));
}

const CONTEXTS = 'coterie context list --names 2>/dev/null';

/** Shell functions in the words that bash and zsh share: where we are, and what fits there. */
function common(tree: readonly TreeCommand[]): string {
  const { top, valued } = knownIn(tree);
  const patterns = (flags: readonly CommandFlag[]): string => [...new Set(flags.flatMap(flagWords))].join('|');
  const files = valued.filter(isFile);
  const groups = top.filter(({ words }) => next(tree, words).length > 0);
  const paths = tree.map(({ words }) => quoted(words)).join('|');
  const words = [...wordsByFlag(tree)].map(([flag, list]) => `    ${flag}) echo ${quoted(list.join(' '))} ;;\n`).join('');
  const flags = tree.map((one) => {
    return `    ${quoted(one.words)}) echo ${quoted([...one.flags.flatMap(flagWords), '--help'].join(' '))} ;;\n`;
  }).join('');
  const further = groups.map(({ words: word }) => {
    return `    ${quoted(word)}) echo ${quoted(next(tree, word).map(lastWord).join(' '))} ;;\n`;
  }).join('');
  const fileCommands = tree.filter(({ takesFiles }) => takesFiles).map(({ words: word }) => quoted(word)).join('|');
  return `# Words after which a value follows.
_coterie_valued() { case "$1" in ${patterns(valued)}) return 0 ;; esac; return 1; }
_coterie_files() { case "$1" in ${patterns(files)}|${fileCommands}) return 0 ;; esac; return 1; }
_coterie_known() { case "$1" in ${paths}) return 0 ;; esac; return 1; }
_coterie_values() {
  case "$1" in
    --context) ${CONTEXTS} ;;
${words}  esac
}
_coterie_flags() {
  case "$1" in
    '') echo '--help --version' ;;
${flags}  esac
}
_coterie_further() {
  case "$1" in
    '') echo ${quoted(top.map(({ words: word }) => word).join(' '))} ;;
    'context use'|'context remove') ${CONTEXTS} ;;
    completion) echo '${SHELLS.join(' ')}' ;;
    help) echo ${quoted(top.map(({ words: word }) => word).join(' '))} ;;
${further}  esac
}
# The command that the words before the last one name.
_coterie_find() {
  local found='' skip=0 word
  for word in "$@"; do
    if [ "$skip" = 1 ]; then skip=0; continue; fi
    case "$word" in
      --) break ;;
      --*=*) continue ;;
      -*) if _coterie_valued "$word"; then skip=1; fi; continue ;;
    esac
    if [ -z "$found" ]; then
      if _coterie_known "$word"; then found="$word"; fi
    elif _coterie_known "$found $word"; then
      found="$found $word"
    fi
  done
  echo "$found"
}
`;
}

function bash(tree: readonly TreeCommand[]): string {
  return `# Completion of coterie for bash. To have it: source <(coterie completion bash)
${common(tree)}
_coterie() {
  local cur prev at words=() i
  COMPREPLY=()
  # Words are split at = and : by bash; they are put together again.
  for ((i = 1; i <= COMP_CWORD; i++)); do
    if [ \${#words[@]} -gt 0 ] && { [ "\${COMP_WORDS[i]}" = '=' ] || [ "\${COMP_WORDS[i-1]}" = '=' ]; }; then
      words[\${#words[@]}-1]+="\${COMP_WORDS[i]}"
    else
      words+=("\${COMP_WORDS[i]}")
    fi
  done
  cur="\${words[\${#words[@]}-1]}"
  unset "words[\${#words[@]}-1]"
  prev=''
  if [ \${#words[@]} -gt 0 ]; then prev="\${words[\${#words[@]}-1]}"; fi
  case "$cur" in
    --*=*) prev="\${cur%%=*}"; cur="\${cur#*=}" ;;
  esac
  at="$(_coterie_find "\${words[@]}")"
  if _coterie_valued "$prev"; then
    if _coterie_files "$prev"; then COMPREPLY=($(compgen -f -- "$cur")); return; fi
    COMPREPLY=($(compgen -W "$(_coterie_values "$prev")" -- "$cur"))
    return
  fi
  case "$cur" in
    -*) COMPREPLY=($(compgen -W "$(_coterie_flags "$at")" -- "$cur")) ;;
    *)
      if _coterie_files "$at"; then COMPREPLY=($(compgen -f -- "$cur")); return; fi
      COMPREPLY=($(compgen -W "$(_coterie_further "$at")" -- "$cur"))
      ;;
  esac
}
complete -o default -F _coterie coterie
`;
}

function zsh(tree: readonly TreeCommand[]): string {
  return `#compdef coterie
# Completion of coterie for zsh. To have it: coterie completion zsh > "\${fpath[1]}/_coterie", or source <(coterie completion zsh)
${common(tree)}
_coterie() {
  emulate -L zsh
  local cur prev at
  cur="\${words[CURRENT]}"
  prev="\${words[CURRENT-1]}"
  at="$(_coterie_find "\${(@)words[2,CURRENT-1]}")"
  case "$cur" in
    --*=*)
      prev="\${cur%%=*}"
      compset -P '*='
      ;;
  esac
  if _coterie_valued "$prev"; then
    if _coterie_files "$prev"; then _files; return; fi
    compadd -- \${=$(_coterie_values "$prev")}
    return
  fi
  case "$cur" in
    -*) compadd -- \${=$(_coterie_flags "$at")} ;;
    *)
      if _coterie_files "$at"; then _files; return; fi
      compadd -- \${=$(_coterie_further "$at")}
      ;;
  esac
}
if [ "\${funcstack[1]}" = _coterie ]; then _coterie "$@"; else compdef _coterie coterie; fi
`;
}

function fish(tree: readonly TreeCommand[]): string {
  const { top, valued } = knownIn(tree);
  // -F asks for files, and -f for none.
  const line = (condition: string, rest: string): string => {
    return `complete -c coterie ${rest.includes('-F') ? '' : '-f '}-n ${quoted(condition)} ${rest}\n`;
  };
  const flagLines = tree.flatMap(({ words, flags }) => flags.map((flag) => {
    const { name, short, value, words: list, help } = flag;
    const takes = value === undefined ? '' : ' -r';
    const choices = name === 'context' ? `(${CONTEXTS})` : list?.join(' ');
    const offered = choices === undefined ? '' : ` -a ${quoted(choices)}`;
    const files = isFile(flag) ? ' -F' : '';
    const letter = short === undefined ? '' : ` -s ${short}`;
    return line(`__coterie_at ${words}`, `-l ${name}${letter}${takes}${files}${offered} -d ${quoted(help)}`);
  }));
  const wordLines = [
    ...top.map(({ words, summary }) => line('__coterie_at', `-a ${words} -d ${quoted(summary)}`)),
    ...top.flatMap(({ words }) => next(tree, words).map((one) => {
      return line(`__coterie_at ${words}`, `-a ${lastWord(one)} -d ${quoted(one.summary)}`);
    })),
    ...['context use', 'context remove'].map((words) => line(`__coterie_at ${words}`, `-a ${quoted(`(${CONTEXTS})`)}`)),
    line('__coterie_at help', `-a ${quoted(top.map(({ words }) => words).join(' '))}`),
    line('__coterie_at completion', `-a ${quoted(SHELLS.join(' '))}`),
    ...tree.filter(({ takesFiles }) => takesFiles).map(({ words }) => line(`__coterie_at ${words}`, '-F')),
  ];
  return `# Completion of coterie for fish. To have it: coterie completion fish > ~/.config/fish/completions/coterie.fish
function __coterie_at
  set -l found
  set -l skip 0
  for word in (commandline -opc)[2..-1]
    if test $skip = 1
      set skip 0
      continue
    end
    switch $word
      case '--'
        break
      case '--*=*'
        continue
      case ${[...new Set(valued.flatMap(flagWords))].join(' ')}
        set skip 1
        continue
      case '-*'
        continue
    end
    if contains -- (string join ' ' $found $word) ${tree.map(({ words }) => quoted(words)).join(' ')}
      set found $found $word
    end
  end
  test "$found" = "$argv"
end
${flagLines.join('')}${wordLines.join('')}`;
}

// The language of the tables of etcdctl command lines: one row is one line, as it would be typed.
//
//   put a "one two"            the words of etcdctl; quotes keep spaces together, the server is added
//   ETCDCTL_HEX=true get a     the environment comes first, as in a shell
//   put a 5 -w {json,fields}   as many cases as there are words in the braces
//   !128 put                   the exit code that is expected; 0 where none is said
//   ~ alarm list              the answers differ, with a reason in DIFFERENCES.md
//   get $url/$dir              the server's url, a directory of the row's own side, whatever was captured before
//   lease grant 100 => l       captures the lease or the member that is named in the answer, in hex, as $l
//   watch a ... text           does not end by itself: interrupted when it has printed that text
//   put a <<< text             everything after it is written to its input
//   & name watch a ... text    goes on behind the rows that follow, once it has printed that text
//   end name ... text          interrupts that command, once it has printed that text, and compares what it said
//   await name                 the same for a command that ends by itself

/** Rows that build on each other, in their order. */
export interface Group {
  readonly title: string;
  readonly rows: readonly string[];
}

export interface Row {
  /** As it stands in the table; in messages. */
  readonly line: string;
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** null: it is interrupted, and ends as it likes. */
  readonly code: number | null;
  readonly differs: boolean;
  readonly capture: string | null;
  /** Printed before the command is interrupted, or left to itself. */
  readonly until: string | null;
  readonly input: string | null;
  readonly job: { readonly action: 'start' | 'end' | 'await'; readonly name: string } | null;
}

/** What a command line is about: `member list`. Words that are no command of etcdctl's are kept, and known by nobody. */
export function commandOf(row: Row): readonly string[] {
  return row.words.filter((word) => !word.startsWith('-'));
}

export function rowsOf(line: string): Row[] {
  const [typed = '', ...inputs] = line.split(' <<< ');
  return expand(typed).map((one) => parse(one, inputs.length === 0 ? null : inputs.join(' <<< ')));
}

/** `a {b,c}` is `a b` and `a c`; braces in quotes are the command's own. */
function expand(text: string): string[] {
  const found = /^((?:[^"{]|"[^"]*")*)\{([^}"]*)\}(.*)$/s.exec(text);
  if (found === null) return [text];
  const [, before = '', choices = '', after = ''] = found;
  return choices.split(',').flatMap((choice) => expand(`${before}${choice}${after}`));
}

function parse(line: string, input: string | null): Row {
  let rest = line;
  const take = (pattern: RegExp): string | null => {
    const found = pattern.exec(rest);
    if (found === null) return null;
    rest = rest.replace(pattern, '');
    return found[1] ?? '';
  };
  const until = take(/ \.\.\. (.+)$/s);
  const capture = take(/ => (\w+)$/);
  const differs = take(/^~ /);
  const code = take(/^!(\d+) /);
  const started = take(/^& (\w+) /);
  const awaited = /^(end|await) (\w+)$/.exec(rest);
  const words = wordsOf(awaited === null ? rest : '');
  const assigned = words.findIndex((word) => !/^[A-Z_]+=/.test(word));
  const env = words.slice(0, assigned < 0 ? words.length : assigned).map((word) => {
    const at = word.indexOf('=');
    return [word.slice(0, at), word.slice(at + 1)] as const;
  });
  const [, action, name] = awaited ?? [];
  let job: Row['job'] = null;
  if (started !== null) job = { action: 'start', name: started };
  if (action !== undefined) job = { action: action === 'end' ? 'end' : 'await', name: name ?? '' };
  return {
    line: input === null ? line : `${line} <<< ${input}`,
    words: words.slice(env.length),
    env: Object.fromEntries(env),
    code: codeOf(code, until !== null || action === 'end'),
    differs: differs !== null,
    capture,
    until,
    input,
    job,
  };
}

function codeOf(said: string | null, isInterrupted: boolean): number | null {
  if (said !== null) return Number(said);
  return isInterrupted ? null : 0;
}

function wordsOf(text: string): string[] {
  // A word may be quoted in part: --user="a b".
  return [...text.matchAll(/(?:"[^"]*"|[^\s"])+/g)].map(([word]) => word.replaceAll('"', ''));
}

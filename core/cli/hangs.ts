// What the keys on a lease say of whoever keeps it, in words: for `coterie sessions`. Pure. Only what a key alone tells;
// who holds and who waits is told by the whole line it stands in (lines.ts).

/** What hangs on one lease. */
export interface Hangs {
  /** Each once, in the order of the keys. */
  readonly words: readonly string[];
  /** Keys that no recipe of ours would have written. */
  readonly unknown: number;
}

/** Of a key behind `coterie/`, first match: the word, with `$1`, `$2` for what is named; '' for what needs none. */
const WORDS: readonly (readonly [RegExp, string])[] = [
  [/^queues\/([^/]+)\/out\/hold\/delay\/[^/]+$/, 'delays of queue $1'],
  [/^queues\/([^/]+)\/out\/hold\/[^/]+\/([^/]+)$/, 'item $2 of queue $1'],
  [/^queues\/([^/]+)\/ids\/[^/]+$/, 'known ids of queue $1'],
  [/^queues\/([^/]+)\/(?:care|turn|guard)\//, 'consumer of queue $1'],
  [/^topics\/([^/]+)\/groups\/([^/]+)\/state\/claims\/0*(\d+)$/, 'message $3 of topic $1 for $2'],
  [/^topics\/([^/]+)\/groups\/([^/]+)\/turn\//, 'consumer of topic $1 for $2'],
  [/^topics\/([^/]+)\/(?:ids|sent)\/|^topics\/([^/]+)\/turn$/, 'known ids of topic $1$2'],
  [/^topics\/([^/]+)\/log\//, 'messages of topic $1'],
  [/^groups\/([^/]+)\//, 'member of group $1'],
  [/^barriers\/([^/]+)\/in\//, 'barrier $1'],
  [/^double-barriers\/([^/]+)\/in\//, 'double barrier $1'],
  [/^counted\/([^/]+)\//, 'known ids of counter $1'],
  [/^(?:receipts|left|wanted|chosen|delayed)\//, ''],
];
const OURS = 'coterie/';

export function hangsOf(keys: readonly string[]): Hangs {
  const words = new Set<string>();
  let unknown = 0;
  for (const key of keys) {
    const rest = key.startsWith(OURS) ? key.slice(OURS.length) : '/';
    const [pattern, word] = WORDS.find(([known]) => known.test(rest)) ?? [];
    const match = pattern?.exec(rest) ?? null;
    if (match === null || word === undefined) unknown += 1;
    else if (word !== '') words.add(word.replace(/\$(\d)/g, (_, group: string) => named(match[Number(group)])));
  }
  return { words: [...words], unknown };
}

/** As it was given: in keys a slash in a name is written as %2F, and % as %25. */
function named(step: string | undefined): string {
  return (step ?? '').replace(/%2F/g, '/').replace(/%25/g, '%');
}

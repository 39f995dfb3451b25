// Documents are kept true by running them. In a README a fenced block says by its mark what happens to it here:
//   ```sh test        runs in bash; it must exit 0. `coterie serve` on a line of its own means the server is running
//   ```console test   lines after `$ ` run, the others are what they must print; `…` stands for anything
//   ```ts             is compiled against our declarations     ```ts test   is also run; it must exit 0
// An example NN-name.ts runs, and must print what its header holds after the line `Prints:`.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { OPTIONS } from '../core/cli/options.js';
import { ERRORS, Status } from '../core/errors.js';
import { anchorsOf, blocksOf, linksOf, matches, tableOf, type Block } from './docs/markdown.js';
import { inPlace, localized, runNode, runShell, type Place } from './docs/run.js';
import { compiled, compileSnippets } from './docs/snippets.js';
import { ROOT } from './tidy/source.js';

const DOCUMENTS = [
  'README.md', 'CHANGELOG.md', 'core/README.md', 'core/cli/README.md', 'recipes/README.md', 'sidecar/README.md',
  'templates/README.md', 'test/README.md', 'test/bench/README.md', 'test/bench/RESULTS.md', 'test/bench/TRIED.md',
  'test/interop/DIFFERENCES.md',
];

function read(file: string): string {
  const full = path.join(ROOT, file);
  return existsSync(full) ? readFileSync(full, 'utf8') : '';
}

interface Snippet {
  readonly file: string;
  readonly block: Block;
  readonly name: string;
}

const SNIPPETS: readonly Snippet[] = DOCUMENTS.flatMap((file) =>
  blocksOf(read(file)).map((block) => ({ file, block, name: `${file.replace(/\W+/g, '-')}-${block.line}` })),
);

const isRun = ({ block }: Snippet): boolean => block.marks.includes('test');

test('every required document is there', (t) => {
  t.deepEqual(DOCUMENTS.filter((file) => read(file) === ''), []);
});

test('links between documents lead somewhere', (t) => {
  const broken = DOCUMENTS.flatMap((file) =>
    linksOf(read(file)).filter((link) => !/^[a-z]+:/.test(link)).filter((link) => {
      const [target = '', anchor] = link.split('#');
      const full = target === '' ? file : path.posix.join(path.posix.dirname(file), target);
      if (!existsSync(path.join(ROOT, full))) return true;
      return anchor !== undefined && full.endsWith('.md') && !anchorsOf(read(full)).includes(anchor);
    }).map((link) => `${file}: ${link}`),
  );
  t.deepEqual(broken, []);
});

test('every npm script that a document names exists', (t) => {
  const manifest = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const named = DOCUMENTS.flatMap((file) => [...read(file).matchAll(/npm run ([a-z][\w-]*)/g)].map((match) => match[1] ?? ''));
  t.deepEqual([...new Set(named)].filter((name) => manifest.scripts[name] === undefined), []);
});

test('core/README.md and the error table know the same codes', (t) => {
  const names = Object.fromEntries(Object.entries(Status).map(([name, code]) => [code, name]));
  const documented = tableOf(read('core/README.md'), 'code');
  const actual = Object.entries(ERRORS).map(([code, row]) => [
    `\`${code}\``, `${row.status} ${names[row.status] ?? ''}`, row.retryable ? 'yes' : 'no', row.outcome,
  ]);
  const sorted = (rows: readonly string[][]): string[] => rows.map((row) => row.join(' | ')).toSorted();
  t.deepEqual(sorted(documented), sorted(actual));
});

test('every error code is spoken of in a test', (t) => {
  const files = readdirSync(path.join(ROOT, 'test'), { recursive: true, encoding: 'utf8' });
  const tests = files.filter((name) => name.endsWith('.ts') && name !== 'docs.test.ts');
  const text = tests.map((name) => read(`test/${name}`)).join('\n');
  t.deepEqual(Object.keys(ERRORS).filter((code) => !new RegExp(`\\b${code}\\b`).test(text)), []);
});

test('core/cli/README.md and the flags of coterie serve are the same', (t) => {
  const expected = OPTIONS.map(({ flag, fallback, help }) => {
    return [`\`--${flag}\``, fallback === null || fallback === '' ? '' : `\`${fallback}\``, help];
  });
  t.deepEqual(tableOf(read('core/cli/README.md'), 'flag'), expected);
});

const TYPESCRIPT = SNIPPETS.filter(({ block }) => block.language === 'ts');
const COMPLAINTS = compileSnippets(new Map(TYPESCRIPT.map(({ name, block }) => [name, block.text])));

for (const { file, block, name } of TYPESCRIPT) {
  test(`${file}:${block.line}: the TypeScript compiles`, (t) => {
    t.deepEqual(COMPLAINTS.split('\n').filter((line) => line.startsWith(`${name}.mts`)), []);
  });
}

for (const snippet of SNIPPETS.filter(isRun)) {
  const { file, block } = snippet;
  test.serial(`${file}:${block.line}: the ${block.language} block does what it says`, async (t) => {
    t.timeout(90_000);
    await inPlace(/2379|etcdctl|coterie serve/.test(block.text), (place) => runSnippet(t, snippet, place));
  });
}

async function runSnippet(t: ExecutionContext, { block, name }: Snippet, place: Place): Promise<void> {
  if (missingTool(t, block.text)) return;
  if (block.language === 'ts') {
    const outcome = await runNode(compiled(name, (text) => localized(text, place)), place);
    t.is(outcome.code, 0, outcome.output);
  } else if (block.language === 'console') {
    for (const { command, promise } of transcriptOf(block.text)) {
      const outcome = await runShell(command, place);
      t.true(matches(outcome.output, promise), `$ ${command}\n${outcome.output}`);
    }
  } else {
    const script = block.text.split('\n').filter((line) => !/coterie (?:-- )?serve(?: +#.*)?$/.test(line)).join('\n');
    const outcome = await runShell(script, place);
    t.is(outcome.code, 0, outcome.output);
  }
}

function transcriptOf(text: string): { command: string; promise: string }[] {
  return text.split(/^\$ /m).slice(1).map((part) => {
    const [command = '', ...lines] = part.split('\n');
    return { command, promise: lines.join('\n') };
  });
}

/** On a user's machine a missing part is told and passed over; where everything must be there, it fails. */
function missingTool(t: ExecutionContext, text: string): boolean {
  const wanted = ['etcdctl', 'nginx', 'haproxy', 'curl'].filter((tool) => new RegExp(`\\b${tool}\\b`).test(text));
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin'];
  const missing = wanted.filter((tool) => !folders.some((folder) => existsSync(path.join(folder, tool))));
  if (missing.length === 0) return false;
  t.log(`not run: ${missing.join(', ')} is not installed`);
  t.not(process.env.CI, 'true');
  return true;
}

const EXAMPLES = existsSync(path.join(ROOT, 'examples'))
  ? readdirSync(path.join(ROOT, 'examples')).filter((name) => /^\d\d-.*\.ts$/.test(name))
  : [];

test('there are examples, and none is longer than a screen and a half', (t) => {
  t.true(EXAMPLES.length > 0);
  const code = (name: string): number => read(`examples/${name}`).split('\n').filter((line) => !line.startsWith('//')).length;
  t.deepEqual(EXAMPLES.filter((name) => code(name) > 61), []);
});

for (const example of EXAMPLES) {
  test.serial(`examples/${example} prints what its header promises`, async (t) => {
    t.timeout(90_000);
    const source = read(`examples/${example}`);
    const header = source.split('\n').slice(0, source.split('\n').findIndex((line) => !line.startsWith('//')));
    const start = header.findIndex((line) => /^\/\/ (?:Prints|Output)\b.*:$/.test(line));
    t.true(start > 0, 'the header has a line "// Prints:"');
    if (missingTool(t, header.slice(0, start).join('\n').toLowerCase())) return;
    const promise = header.slice(start + 1).map((line) => line.replace(/^\/\/ {0,3}/, '')).join('\n').trim();
    const file = new URL(`../examples/${example.replace(/\.ts$/, '.js')}`, import.meta.url).pathname;
    const outcome = await inPlace(false, (place) => runNode(file, place));
    t.is(outcome.code, 0, outcome.output);
    t.true(matches(outcome.output.trim(), promise), outcome.output);
  });
}

test('the reader of documents reads them rightly', (t) => {
  const text = '# A b\n\n[x](a.md#b) `[no](c.md)`\n\n```sh test\nls\n```\n\n| flag | x |\n|---|---|\n| `--a` | 1 |\n';
  t.deepEqual(blocksOf(text), [{ language: 'sh', marks: ['test'], text: 'ls\n', line: 5 }]);
  t.deepEqual(linksOf(text), ['a.md#b']);
  t.deepEqual(anchorsOf(text), ['a-b']);
  t.deepEqual(tableOf(text, 'flag'), [['`--a`', '1']]);
  t.deepEqual(transcriptOf('$ ls\na\nb\n$ true\n'), [{ command: 'ls', promise: 'a\nb\n' }, { command: 'true', promise: '' }]);
  t.true(matches('revision 7 at 10 ms\n', 'revision … at … ms'));
  t.false(matches('a\nb', '…'));
  t.false(matches('a.b', 'axb'));
});

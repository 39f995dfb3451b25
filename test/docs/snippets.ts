// Compiles the TypeScript that stands in documents, all of it at once, against the declarations of this very build: a
// snippet that no longer compiles is a lie. `import … from 'coterie'` means our own public doors.

import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ROOT } from '../tidy/source.js';

const DIST = fileURLToPath(new URL('../../', import.meta.url));
const WORK = path.join(DIST, 'docs-snippets');
const DOORS: Readonly<Record<string, string>> = {
  coterie: 'core/index', 'coterie/recipes': 'recipes/index', 'coterie/sidecar': 'sidecar/index',
};

/** Compiles the snippets, by name; gives what the compiler said. The code is then at `compiled(name)`. */
export function compileSnippets(snippets: ReadonlyMap<string, string>): string {
  rmSync(WORK, { recursive: true, force: true });
  mkdirSync(WORK, { recursive: true });
  for (const [name, text] of snippets) writeFileSync(path.join(WORK, `${name}.mts`), `${text}\nexport {};\n`);
  const paths = Object.fromEntries(Object.entries(DOORS).map(([name, door]) => [name, [`../${door}.d.ts`]]));
  const config = {
    extends: path.join(ROOT, 'tsconfig.json'),
    compilerOptions: { rootDir: '.', outDir: './out', paths, declaration: false, sourceMap: false, noUnusedLocals: false },
    include: ['*.mts'],
  };
  writeFileSync(path.join(WORK, 'tsconfig.json'), JSON.stringify(config));
  const tsc = path.join(path.dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
  return spawnSync(process.execPath, [tsc, '-p', WORK], { encoding: 'utf8', cwd: WORK }).stdout;
}

/** The compiled snippet with our doors in place of the package's name, ready to run anywhere. */
export function compiled(name: string, localize: (text: string) => string): string {
  const file = path.join(WORK, 'out', `${name}.mjs`);
  const text = readFileSync(file, 'utf8').replace(/from '(coterie(?:\/\w+)?)'/g, (_, door: string) => {
    return `from '${pathToFileURL(path.join(DIST, `${DOORS[door] ?? ''}.js`)).href}'`;
  });
  const runnable = path.join(WORK, 'out', `${name}.run.mjs`);
  writeFileSync(runnable, localize(text));
  return runnable;
}

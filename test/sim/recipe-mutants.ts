// The planted bugs of the recipes, five and more for each: what other people's libraries got wrong (recipes-sidecar.md), put
// into ours. The tests named are to find them; a survivor is a hole in the tests, or code that nobody needs.
//
//   npm run sim -- --mutants recipes [--only 101,102]

import type { Mutant } from './mutant-table.js';
import type { RecipeBugs } from './recipe-bugs.js';
import { HELD_BUGS } from './recipe-bugs-held.js';
import { SHARED_BUGS } from './recipe-bugs-shared.js';
import { TOGETHER_BUGS } from './recipe-bugs-together.js';

export interface RecipeMutant extends Mutant {
  readonly recipe: string;
  readonly tests: readonly string[];
  /** A pattern of titles; null: all. */
  readonly claims: string | null;
}

const ALL: readonly RecipeBugs[] = [...HELD_BUGS, ...SHARED_BUGS, ...TOGETHER_BUGS];

export const RECIPE_MUTANTS: readonly RecipeMutant[] = ALL.flatMap(({ recipe, tests, bugs }) => bugs.map((bug) => ({
  number: bug.number,
  name: bug.name,
  recipe,
  tests: (bug.tests ?? tests).map((name) => `test/recipes/${name}.test.ts`),
  edits: bug.edits.map(([find, replace]) => ({ file: `recipes/${bug.file}.js`, find, replace })),
  claims: bug.claims ?? null,
  note: '',
})));

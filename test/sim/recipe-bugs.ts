// How a bug planted into a recipe is written down. The bugs are in recipe-bugs-held.ts, -shared.ts and -together.ts.

/** Of one recipe. */
export interface RecipeBugs {
  readonly recipe: string;
  /** Names in test/recipes, without their ending. */
  readonly tests: readonly string[];
  readonly bugs: readonly RecipeBug[];
}

export interface RecipeBug {
  readonly number: number;
  readonly name: string;
  /** In recipes, without its ending. */
  readonly file: string;
  /** What is put where, one after the other. */
  readonly edits: readonly (readonly [find: string, replace: string])[];
  /** Where they are others than the recipe's. */
  readonly tests?: readonly string[];
  /** A pattern of titles, where all tests of the file take long. */
  readonly claims?: string;
}

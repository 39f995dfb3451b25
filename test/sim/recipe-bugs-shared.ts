// The planted bugs of what is shared. See recipe-mutants.ts.

import type { RecipeBugs } from './recipe-mutants.js';

export const SHARED_BUGS: readonly RecipeBugs[] = [];

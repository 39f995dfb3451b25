// All themes of the bench, in the order in which they are measured and told.

import { gatewayTheme } from './themes/gateway.js';
import { getTheme } from './themes/get.js';
import { leaseTheme } from './themes/lease.js';
import { membersTheme } from './themes/members.js';
import { putTheme } from './themes/put.js';
import { recipeThemes } from './themes/recipes.js';
import { securedThemes } from './themes/secured.js';
import { sizeTheme } from './themes/size.js';
import { otherRatesTheme, steadyTheme } from './themes/steady.js';
import { txnTheme } from './themes/txn.js';
import { watchTheme } from './themes/watch.js';
import type { Theme } from './theme.js';
import type { Words } from './words.js';

const USUAL_THEMES: readonly Theme[] = [
  putTheme, steadyTheme, otherRatesTheme, getTheme, txnTheme, membersTheme, watchTheme, leaseTheme, gatewayTheme,
  sizeTheme,
];

/** What these words ask for; `--only` names rows by their id, or by words of their name. */
export function themesFor({ isQuick, isSecured, hasRecipes, only }: Words): readonly Theme[] {
  const all = [...USUAL_THEMES, ...(isSecured ? securedThemes : []), ...(hasRecipes ? recipeThemes : [])];
  return all
    .filter((theme) => !isQuick || theme.isQuick)
    .map((theme) => ({ ...theme, rows: theme.rows.filter(({ id, name }) => id === only || name.includes(only)) }))
    .filter(({ rows }) => rows.length > 0);
}

// All themes of the bench, in the order in which they are measured and told.

import { gatewayTheme } from './themes/gateway.js';
import { getTheme } from './themes/get.js';
import { largeThemes } from './themes/large.js';
import { expiryTheme, leaseTheme } from './themes/lease.js';
import { lockTheme } from './themes/lock.js';
import { membersTheme } from './themes/members.js';
import { putTheme } from './themes/put.js';
import { recipeThemes } from './themes/recipes.js';
import { securedThemes } from './themes/secured.js';
import { sizeTheme } from './themes/size.js';
import { steadyTheme } from './themes/steady.js';
import { txnTheme } from './themes/txn.js';
import { watchTheme } from './themes/watch.js';
import type { Row } from './report.js';
import type { Theme } from './theme.js';
import type { Words } from './words.js';

const USUAL_THEMES: readonly Theme[] = [
  putTheme, steadyTheme, getTheme, txnTheme, membersTheme, watchTheme, leaseTheme, expiryTheme,
  lockTheme, gatewayTheme, ...largeThemes, sizeTheme,
];

/** What these words ask for; `--only` is a row's id, or else words of names. */
export function themesFor({ isQuick, isSecured, hasRecipes, only }: Words): readonly Theme[] {
  const all = [...USUAL_THEMES, ...(isSecured ? securedThemes : []), ...(hasRecipes ? recipeThemes : [])];
  const isId = all.some(({ rows }) => rows.some(({ id }) => id === only));
  const isWanted = ({ id, name }: Row): boolean => isId ? id === only : name.includes(only);
  return all
    .map((theme) => ({ ...theme, rows: (isQuick ? theme.quickRows : theme.rows).filter(isWanted) }))
    .filter(({ rows }) => rows.length > 0);
}

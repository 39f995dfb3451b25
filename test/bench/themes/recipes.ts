// The rows of the recipes as themes of the bench. Not part of the usual run: `--recipes`.

import type { Row } from '../report.js';
import { recipeSurveys } from '../recipes.js';
import { startTarget } from '../targets.js';
import { cost, rate, type Theme } from '../theme.js';

const SECONDS = 12;

export const recipeThemes: readonly Theme[] = recipeSurveys.map((survey): Theme => {
  const rows = survey.rows.map(({ name, unit, better }): Row => {
    const id = name.toLowerCase().replace(/[^a-z0-9]+/g, '-');
    return (better === 'more' ? rate : cost)({ id, name, unit }, null);
  });
  return {
    title: `Recipes: ${/^recipes: (\w+)/.exec(rows[0]?.name ?? '')?.[1] ?? ''}`,
    rows,
    quickRows: [],
    seconds: () => SECONDS,
    async measure(bench) {
      const server = await startTarget(bench.stage, bench.name);
      try {
        const answers = await survey.ask(server);
        for (const [i, row] of rows.entries()) {
          const answer = answers[i] ?? NaN;
          bench.record(row, typeof answer === 'number' ? { value: answer } : answer);
        }
      } finally {
        await server.stop();
      }
    },
  };
});

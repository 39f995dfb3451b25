// Several rows that one piece of work on one server answers together, in their order: how the rows of the recipes are written.

import type { Figure } from './report.js';
import type { Target } from './targets.js';

export interface SurveyRow {
  readonly name: string;
  readonly unit: string;
  readonly better: 'more' | 'less';
}

export interface Survey {
  readonly rows: readonly SurveyRow[];
  ask(target: Target): Promise<readonly (number | Figure)[]>;
}

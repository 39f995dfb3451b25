// `coterie serve --print-config`: the merged configuration and where each value came from, for people or as JSON.

import { OPTIONS } from './options.js';
import type { Settings } from './settings.js';
import { isCluster, showDuration, showValue, type Value } from './values.js';

export function printConfig(settings: Settings, asJson: boolean): string {
  const shown = [...settings.all.values()].filter(({ flag }) => !['print-config', 'json', 'config-file'].includes(flag));
  if (asJson) {
    const entries = shown.map(({ flag, value, origin, place }) => {
      return [flag, { value: isCluster(value) || isDuration(flag) ? showAs(flag, value) : value, origin, place }];
    });
    return `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`;
  }
  const rows = shown.map(({ flag, value, origin, place }) => {
    return [flag, showAs(flag, value), place === origin ? origin : `${origin}: ${place}`] as const;
  });
  const width = (column: 0 | 1): number => Math.min(48, Math.max(...rows.map((row) => row[column].length)));
  const [names, values] = [width(0), width(1)];
  return rows.map(([flag, value, from]) => `${flag.padEnd(names)}  ${value.padEnd(values)}  # ${from}\n`).join('');
}

function isDuration(flag: string): boolean {
  return OPTIONS.some((option) => option.flag === flag && option.kind === 'duration');
}

/** As it would be typed: durations with their unit. */
function showAs(flag: string, value: Value): string {
  return isDuration(flag) && typeof value === 'number' ? showDuration(value) : showValue(value);
}

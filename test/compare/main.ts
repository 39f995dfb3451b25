// npm run compare [-- frozen-link | resigned | stall]: what others do in the situations our recipes are built for, and what
// ours do, on the same store. Prints a table for each; test/compare/README.md has what came out.

import { frozenLink } from './frozen-link.js';
import { Place, type Row } from './place.js';
import { resigned } from './resigned.js';
import { stall } from './stall.js';

const COMPARISONS = { 'frozen-link': frozenLink, resigned, stall };

function table(rows: readonly Row[]): string {
  const lines = [{ what: '', theirs: 'theirs', ours: 'ours' }, ...rows];
  const width = (of: (row: Row) => string): number => Math.max(...lines.map((row) => of(row).length));
  const [what, theirs] = [width((row) => row.what), width((row) => row.theirs)];
  return lines.map((row) => `  ${row.what.padEnd(what)}   ${row.theirs.padEnd(theirs)}   ${row.ours}`.trimEnd()).join('\n');
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !Object.hasOwn(COMPARISONS, name));
if (unknown.length > 0) {
  process.stderr.write(`no comparison ${unknown.join(', ')}; there are ${Object.keys(COMPARISONS).join(', ')}\n`);
  process.exitCode = 2;
} else {
  for (const [name, compare] of Object.entries(COMPARISONS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const place = new Place();
    try {
      const { title, rows } = await compare(place);
      process.stdout.write(`${title}\n${table(rows)}\n\n`);
    } finally {
      await place.end();
    }
  }
}

// Every test that the design asks of sessions, locks, elections, queues, barriers, topics and configuration exists under its
// name, in every home. Read from the sources: a title begins with its names; then it says its home, or is in process.

import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const FAMILIES = { S: 10, L: 14, E: 9, Q: 12, B: 5, C: 7 } as const;

/** What a title says of its home, and what its body must speak of to be there. */
const HOMES = {
  // On the simulated clock, or with the node in the test's own process.
  'in process': { says: null, body: /./ },
  // One member of coterie and one of etcd, each in a process of its own.
  'over sockets': { says: 'over sockets', body: /homes\(|everyHome\(|\bjudge\(/ },
  // Of coterie, whose leader is killed in the middle.
  'over three members': { says: 'over three members', body: /members|cluster/i },
} as const;

type Home = keyof typeof HOMES;

/** Claims that a home cannot be asked for, and why. */
const EXCEPTIONS: readonly (readonly [name: string, home: Home, why: string])[] = [];

interface Titled {
  readonly file: string;
  readonly title: string;
  readonly names: readonly string[];
  readonly home: Home;
  readonly body: string;
}

/** `test('S1 S2 over sockets: …'` and its likes, on one line or broken after the bracket, of strings and of templates. */
const TITLE = /^[ ]*test(?:\.serial)?\(\s*(['`])((?:[SLEQBC]\d+ )+)(.*)/gm;

function titlesOf(file: string): Titled[] {
  const source = readFileSync(path.join(ROOT, 'test/recipes', file), 'utf8');
  const found = [...source.matchAll(TITLE)];
  return found.map((match, i) => {
    const [, , names = '', rest = ''] = match;
    const said = (Object.keys(HOMES) as Home[]).find((each) => HOMES[each].says !== null && rest.startsWith(each));
    const home = said ?? 'in process';
    const body = source.slice(match.index, found[i + 1]?.index);
    return { file, title: `${names}${rest}`, names: names.trim().split(' '), home, body };
  });
}

const ALL = readdirSync(path.join(ROOT, 'test/recipes')).filter((file) => file.endsWith('.test.ts')).flatMap(titlesOf);

for (const [family, count] of Object.entries(FAMILIES)) {
  test(`every name of ${family}1 to ${family}${count} has a test in every home`, (t) => {
    const missing: string[] = [];
    for (let number = 1; number <= count; number += 1) {
      for (const home of Object.keys(HOMES) as Home[]) {
        const name = `${family}${number}`;
        const excepted = EXCEPTIONS.some((each) => each[0] === name && each[1] === home);
        const exists = ALL.some((each) => each.home === home && each.names.includes(name));
        if (exists === excepted) missing.push(`${name} ${home}${excepted ? ': an exception that is none' : ''}`);
      }
    }
    t.deepEqual(missing, []);
  });
}

test('who names a home in its title goes there, and no name is made up', (t) => {
  for (const { file, title, names, home, body } of ALL) {
    t.regex(body, HOMES[home].body, `${file}: ${title}`);
    for (const name of names) {
      const count = FAMILIES[name.slice(0, 1) as keyof typeof FAMILIES];
      t.true(Number(name.slice(1)) >= 1 && Number(name.slice(1)) <= count, `${file}: ${name}`);
    }
  }
  t.true(ALL.length > 150);
});

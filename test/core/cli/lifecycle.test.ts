// How the process ends when something happens that nobody expected: at once, with a fatal line, and not with code 0.

import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { coterie, runScript, temporaryDirectory } from './binary.js';

const FAULTS: readonly (readonly [what: string, code: string])[] = [
  ['an error that nobody caught', `setTimeout(() => { throw new Error('boom'); }, 1);`],
  ['a rejection that nobody handled', `void Promise.reject(new Error('boom'));`],
];

for (const [what, code] of FAULTS) {
  test(`${what} ends the process with a fatal line`, async (t) => {
    const file = path.join(await temporaryDirectory(t), 'fault.mjs');
    const place = (name: string): string => new URL(`../../../core/cli/${name}.js`, import.meta.url).href;
    await writeFile(file, `
      import { dieOfTheUnexpected } from '${place('lifecycle')}';
      import { openLog } from '${place('log')}';
      dieOfTheUnexpected(openLog({ level: 'info', format: 'json', outputs: ['stderr'] }));
      setTimeout(() => process.exit(0), 5000);
      ${code}
    `);
    const { code: exitCode, stderr } = await runScript(file);
    t.is(exitCode, 1);
    const [line = '', sentence] = stderr.split('\n');
    t.is(sentence, `coterie serve: ${what}: boom`);
    t.like(JSON.parse(line), { level: 'fatal', msg: what, error: { name: 'Error', message: 'boom' } });
  });
}

test('the log for people has no control characters of others in it', async (t) => {
  const file = path.join(await temporaryDirectory(t), 'log.mjs');
  const log = new URL('../../../core/cli/log.js', import.meta.url).href;
  await writeFile(file, `
    import { openLog } from '${log}';
    openLog({ level: 'info', format: 'console', outputs: ['stderr'] }).info({ name: '\\u001b[2Jevil\\nline' }, 'hello');
  `);
  const { stderr } = await runScript(file);
  t.regex(stderr, /^\d\d:\d\d:\d\d\.\d{3} info  hello {2}name=evil line\n$/);
});

test('a wrong log level is refused before anything is opened', async (t) => {
  t.is((await coterie(['serve', '--log-level', 'loud'])).code, 2);
});

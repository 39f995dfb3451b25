// The law of the house, executable. Each rule is first tried on a planted snippet, one that breaks it and one that does
// not, so that a rule which stops working is noticed; then it is run on every source file.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import * as law from './tidy/law.js';
import * as rules from './tidy/rules.js';
import { scan } from './tidy/scanner.js';
import { isUnder, listFiles, parse, readHouse, ROOT, type Source } from './tidy/source.js';

/** A path and the text of the file there. */
type Plant = readonly [string, string];

interface Claim {
  readonly title: string;
  readonly rule: rules.FileRule | rules.HouseRule;
  readonly scope: 'file' | 'house';
  /** Path and text of files that break the rule, and of files that keep it. */
  readonly breaks: readonly Plant[];
  readonly keeps: readonly Plant[];
}

function file(title: string, rule: rules.FileRule, plants: Pick<Claim, 'breaks' | 'keeps'>): Claim {
  return { title, rule, scope: 'file', ...plants };
}

function house(title: string, rule: rules.HouseRule, plants: Pick<Claim, 'breaks' | 'keeps'>): Claim {
  return { title, rule, scope: 'house', ...plants };
}

function inFile(text: string): Plant {
  return ['core/a.ts', text];
}

const FN = (lines: number): string => `function f(a: { b: string }): Map<string, number> {\n${'a();\n'.repeat(lines - 2)}}\n`;

const CLAIMS: readonly Claim[] = [
  file('a room imports only from the rooms its table names', rules.importsFollowTheTable, {
    breaks: [
      ['core/wire/a.ts', `import { Node } from '../node/node.js';`],
      ['core/raft/raft.ts', `import type { Store } from '../store/store.js';`],
      ['recipes/lock.ts', `export { serve } from '../core/wire/server.js';`],
      ['recipes/lock.ts', `const late = await import('../core/start-node.js');`],
      ['elsewhere/a.ts', ''],
    ],
    keeps: [
      ['core/node/node.ts', `import { Raft } from '../raft/raft.js'; import { Store } from '../store/store.js';`],
      ['core/raft/raft.ts', `import { Log } from './log.js'; // import { Store } from '../store/store.js';`],
      ['recipes/lock.ts', `import { put } from '../core/client.js';`],
      ['test/a.test.ts', `import { Node } from '../core/node/node.js';`],
    ],
  }),
  file('an import names the file, with its ending, and no other room\'s barrel', rules.importsNameTheFile, {
    breaks: [
      ['core/node/node.ts', `import { Raft } from '../raft/raft';`],
      ['sidecar/sidecar.ts', `import { view } from '../recipes/index.js';`],
    ],
    keeps: [
      ['examples/01-one-node.ts', `import { startNode } from '../core/index.js';`],
      ['core/node/node.ts', `import { Raft } from '../raft/raft.js'; import fs from 'node:fs'; import x from '@grpc/grpc-js';`],
    ],
  }),
  file('a package is used in its named files only', rules.packagesStayInTheirFiles, {
    breaks: [
      ['core/wire/methods.ts', `import * as grpc from '@grpc/grpc-js';`],
      ['recipes/view.ts', `import { z } from 'zod';`],
      ['core/index.ts', `import leftPad from 'left-pad';`],
    ],
    keeps: [
      ['core/wire/grpc-server.ts', `import * as grpc from '@grpc/grpc-js';`],
      ['test/a.test.ts', `import test from 'ava';`],
    ],
  }),
  house('imports form no cycle', rules.importsHaveNoCycles, {
    breaks: [
      ['core/a.ts', `import './b.js';`],
      ['core/b.ts', `export * from './c.js';`],
      ['core/c.ts', `import type { A } from './a.js';`],
    ],
    keeps: [['core/a.ts', `import './b.js'; import './c.js';`], ['core/b.ts', `import './c.js';`], ['core/c.ts', '']],
  }),
  house('every source file is reached from a public door or a binary', rules.everyFileIsReachable, {
    breaks: [['core/index.ts', `import './a.js';`], ['core/a.ts', ''], ['core/forgotten.ts', '']],
    keeps: [['core/index.ts', `import './a.js';`], ['core/a.ts', `import('./late.js')`], ['core/late.ts', ''], ['test/a.ts', '']],
  }),
  file('clock, dice, process and console are touched at their doors only', rules.theWorldHasDoors, {
    breaks: [
      ['core/node/node.ts', 'const t = Date.now();'],
      ['core/node/node.ts', 'const t = new Date();'],
      ['core/raft/raft.ts', 'if (Math.random() < 0.5) vote();'],
      ['recipes/session.ts', 'setTimeout(run, 5);'],
      ['recipes/session.ts', 'const t = `${performance.now()} ms`;'],
      ['core/store/store.ts', 'globalThis.process.exit(1);'],
      ['sidecar/render.ts', `console.log('x');`],
      ['core/cli/serve.ts', `console.log('x');`],
    ],
    keeps: [
      ['core/base/clock.ts', 'const t = performance.now();'],
      ['core/cli/serve.ts', `process.stdout.write('x');`],
      ['core/node/node.ts', `// Date.now() would lie here.\nconst s = 'process.exit'; const r = /console/;`],
      ['core/node/node.ts', `x.process(); const y = { process: 1 };`],
      ['core/node/node.ts', 'interface A { process(input: string): void; readonly crypto: string }'],
      ['examples/01-one-node.ts', `console.log('x');`],
    ],
  }),
  file('files, sockets and child processes are opened at their doors only', rules.modulesHaveDoors, {
    breaks: [
      ['core/log/wal.ts', `import { openSync } from 'node:fs';`],
      ['core/log/wal.ts', `import { open } from 'node:fs/promises';`],
      ['sidecar/publish.ts', `import { spawn } from 'node:child_process';`],
      ['core/store/hub.ts', `import { EventEmitter } from 'node:events';`],
    ],
    keeps: [
      ['core/base/files.ts', `import * as fs from 'node:fs';`],
      ['core/wire/methods.ts', `import type { Socket } from 'node:net';`],
      ['core/base/crc.ts', `import { crc32 } from 'node:zlib';`],
    ],
  }),
  file('tests report through the test, not the console', rules.testsDoNotUseConsole, {
    breaks: [['test/core/a.test.ts', `console.error('here');`]],
    keeps: [['test/core/a.test.ts', `t.log('here'); // console.log`], ['examples/a.ts', `console.log('x');`]],
  }),
  file('no promise lives below the client interface', rules.callbacksBelowClient, {
    breaks: [
      ['core/log/wal.ts', 'export async function open() {}'],
      ['core/store/hub.ts', 'queueMicrotask(run);'],
      ['core/node/node.ts', 'return new Promise(run);'],
      ['core/store/keys.ts', 'a.localeCompare(b)'],
    ],
    keeps: [
      ['core/node/local-client.ts', 'export async function range(): Promise<void> {}'],
      ['core/wire/methods.ts', 'await x;'],
      ['core/raft/raft.ts', '// A Promise would hide the order.'],
    ],
  }),
  file('a file has an end, and a long one says why', rules.filesHaveAnEnd, {
    breaks: [['core/a.ts', '// A.\n'.concat('a();\n'.repeat(900))], ['core/a.ts', '// A.\n'.concat('a();\n'.repeat(600))]],
    keeps: [
      ['core/a.ts', '// Long because the table stands in one piece.\n'.concat('a();\n'.repeat(700))],
      ['core/a.ts', 'a();\n'.repeat(600)],
    ],
  }),
  file('a line fits the screen', rules.linesFitTheScreen, {
    breaks: [['core/a.ts', 'a'.repeat(131)]],
    keeps: [['core/a.ts', 'é'.repeat(130)]],
  }),
  file('a function fits the screen', rules.functionsFitTheScreen, {
    breaks: [
      ['core/a.ts', FN(71)],
      ['core/a.ts', `class A {\n  go(): asserts this is B {\n${'a();\n'.repeat(70)}}\n}`],
      ['core/a.ts', `const f = async <T>(x: T): Promise<{ a: T } | null> => {\n${'a();\n'.repeat(70)}};`],
      ['core/a.ts', `function f({ a, b }: Options = {}): (x: number) => void {\n${'a();\n'.repeat(70)}}`],
      ['core/a.ts', `constructor(a: string) {\n${'a();\n'.repeat(70)}}`],
    ],
    keeps: [
      ['core/a.ts', FN(70)],
      ['core/a.ts', `interface A {\n${'a(): void;\n'.repeat(90)}}`],
      ['core/a.ts', `export class A<T> {\n${'a = 1;\n'.repeat(90)}}`],
      ['core/a.ts', `const table = {\n${'a: 1,\n'.repeat(90)}};`],
      ['core/a.ts', `switch (x) {\n${'case 1: break;\n'.repeat(90)}}`],
    ],
  }),
  file('nobody swallows an error', rules.noEmptyCatch, {
    breaks: [
      ['core/a.ts', 'try { a(); } catch {}'],
      ['core/a.ts', 'try { a(); } catch (error) { /* whatever */ }'],
      ['core/a.ts', 'a().catch(() => {});'],
    ],
    keeps: [
      ['core/a.ts', 'try { a(); } catch (error) { report(error); }'],
      ['core/a.ts', 'a().catch((error) => { report(error); });'],
    ],
  }),
  file('nothing has the type any', rules.noAny, {
    breaks: [['core/a.ts', 'let x: any;'], ['core/a.ts', 'const x = y as any;'], ['core/a.ts', 'f<any>()']],
    keeps: [['core/a.ts', `AbortSignal.any([a, b]); const x = 'any'; // any`], ['core/a.ts', 'const t = { any: 1 };']],
  }),
  file('no cast goes unchecked', rules.noBlindCasts, {
    breaks: ['const x = y as unknown as Z;', 'a!.b', 'f()!;', 'list[0]!', 'let x!: T;'].map(inFile),
    keeps: [
      ['core/a.ts', 'if (!a && b !== c) return !d; x = !y; f(!z); const u = y as unknown;'],
      ['core/a.ts', `const s = 'a!';`],
    ],
  }),
  file('types can be erased and exports have names', rules.erasableOnly, {
    breaks: ['enum A { B }', 'export const enum A { B }', 'export default 1;', 'export { a as default };'].map(inFile),
    keeps: [['core/a.ts', 'switch (x) { default: y(); } const z = a.enum; import b from "c";']],
  }),
  file('classes do not inherit, errors excepted', rules.noInheritance, {
    breaks: [['core/a.ts', 'export class A<T> extends B {}'], ['core/a.ts', 'class Hub extends EventEmitter {}']],
    keeps: [['core/a.ts', 'class AError extends Error {} interface B extends C {} function f<T extends object>() {}']],
  }),
  file('names are plain nouns', rules.plainNames, {
    breaks: ['interface IThing {}', 'class LogManager {}', 'class LogImpl {}', 'type ParseHelper = string;'].map(inFile),
    keeps: [['core/a.ts', 'interface Index {} class Log {} type Id = string; function registerHelpers() {}']],
  }),
  file('no module keeps state of its own', rules.noModuleState, {
    breaks: [['core/a.ts', 'let count = 0;'], ['core/a.ts', 'export let x: number;']],
    keeps: [['core/a.ts', 'function f() { let count = 0; } const x = `${(() => { let y = 1; return y; })()}`;']],
  }),
  file('every file says what it is', rules.filesSayWhatTheyAre, {
    breaks: [['core/a.ts', `import './b.js';`], ['core/a.ts', '// A.\n'.repeat(16)]],
    keeps: ['// What it is.\n\nimport "x";', '#!/usr/bin/env node\n// The binary.\n', '/* A. */\n'].map(inFile),
  }),
  file('comments promise nothing', rules.commentsPromiseNothing, {
    breaks: [['core/a.ts', '// TODO: later'], ['core/a.ts', '/* FIXME */']],
    keeps: [['core/a.ts', `// TODO(#12): later\nconst s = 'FIXME';`]],
  }),
  file('paths are kebab-case and no folder is a drawer', rules.pathsAreKebabCase, {
    breaks: [['core/LocalClient.ts', ''], ['core/utils/a.ts', ''], ['core/local_client.ts', '']],
    keeps: [['core/local-client.ts', ''], ['test/contract/client.contract.ts', ''], ['examples/01-one-node.ts', '']],
  }),
  file('no test is skipped or left alone', rules.noTestIsSkipped, {
    breaks: [['test/a.test.ts', `test.only('x', run);`], ['test/a.test.ts', `test.serial.skip('x', run);`]],
    keeps: [['test/a.test.ts', `test('x', run); stream.skip(3);`]],
  }),
  house('a test lies where its subject lies', rules.testsLieBesideTheirSubject, {
    breaks: [['core/log/wal.ts', ''], ['test/core/lag/other.test.ts', '']],
    keeps: [['core/log/wal.ts', ''], ['test/core/log/wal-torn.test.ts', ''], ['test/core/log/wal.test.ts', '']],
  }),
];

function apply(claim: Claim, sources: readonly Source[]): rules.Violation[] {
  if (claim.scope === 'house') return (claim.rule as rules.HouseRule)(sources);
  return sources.flatMap((source) => (claim.rule as rules.FileRule)(source));
}

const HOUSE = readHouse();

for (const claim of CLAIMS) {
  test(`${claim.title}: the rule sees a planted breach`, (t) => {
    const plant = ([name, text]: Plant): Source => parse(name, text);
    if (claim.scope === 'house') t.not(apply(claim, claim.breaks.map(plant)).length, 0);
    for (const breach of claim.scope === 'file' ? claim.breaks : []) {
      t.not(apply(claim, [plant(breach)]).length, 0, breach.join(': '));
    }
    t.deepEqual(apply(claim, claim.keeps.map(plant)), []);
  });

  test(claim.title, (t) => {
    const broken = apply(claim, HOUSE).map(({ path: where, line, what }) => `${where}:${line}: ${what}`);
    t.deepEqual(broken, []);
  });
}

test('the scanner tells code from strings, templates, comments and regular expressions', (t) => {
  const code = 'a = `x ${b(`y ${ {c: 1}.c } z`)} w` / d; // e\nf = /["/`]\'/g; /* g\n*/ h("\\"i", \'j\') + 0x1F;';
  const { tokens, comments } = scan(code);
  t.deepEqual(tokens.filter((token) => token.kind === 'word').map((token) => token.text), ['a', 'b', 'c', 'c', 'd', 'f', 'h']);
  t.deepEqual(tokens.filter((token) => token.kind === 'regex').map((token) => token.text), ['/["/`]\'/g']);
  t.deepEqual(tokens.filter((token) => token.kind === 'string').map((token) => token.text), ['\\"i', 'j']);
  t.deepEqual(comments.map(({ line, endLine }) => [line, endLine]), [[1, 1], [2, 3]]);
  t.is(tokens.at(-1)?.line, 3);
});

test('brackets pair up in every source file', (t) => {
  for (const source of HOUSE) {
    const brackets = source.tokens.filter((token) => token.kind === 'punctuator' && /^(?:[([{}\])]|\$\{)$/.test(token.text));
    t.is(source.partner.size, brackets.length, source.path);
  }
});

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, { readonly types: string; readonly default: string }>>;
}

const MANIFEST = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as Manifest;

test('every door and binary of the package has a source', (t) => {
  const doors = Object.values(MANIFEST.exports).map((door) => door.default.replace('./', ''));
  const sources = [...doors, ...Object.values(MANIFEST.bin)].map((file) => file.replace(/^dist\//, '').replace(/\.js$/, '.ts'));
  const files = listFiles();
  t.deepEqual(sources.filter((source) => !files.includes(source)), []);
  t.deepEqual(sources.filter((source) => !law.ROOTS.includes(source)), []);
});

test('the lock file names what any platform installs, so that npm ci agrees with package.json', (t) => {
  const lock = JSON.parse(readFileSync(path.join(ROOT, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly optionalDependencies?: Readonly<Record<string, string>> }>>;
  };
  const wanted = Object.values(lock.packages).flatMap((entry) => Object.keys(entry.optionalDependencies ?? {}));
  t.deepEqual(wanted.filter((name) => lock.packages[`node_modules/${name}`] === undefined), []);
});

test('the law names only files and packages that exist', (t) => {
  const files = listFiles();
  const places = [...law.ROOMS, ...law.DOORS].map(({ path: place }) => place).concat(Object.values(law.DEPENDENCIES).flat());
  const missing = places.filter((place) => !law.ANNOUNCED.includes(place) && !files.some((name) => isUnder(name, place)));
  t.deepEqual([...new Set(missing)].sort(), []);
  t.deepEqual(Object.keys(MANIFEST.dependencies).sort(), Object.keys(law.DEPENDENCIES).sort());
});

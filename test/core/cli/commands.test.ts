// What a command loads before it has been told what to do: help, contexts and misspelt words come at once.

import { existsSync, readFileSync } from 'node:fs';
import test from 'ava';
import { SUBCOMMANDS } from '../../../core/cli/commands.js';

const CLI = new URL('../../../core/cli/', import.meta.url);
const STATIC = /^(?:import|export)\s(?:[^'"=;]*\sfrom\s)?['"]([^'"]+)['"];$/gm;

/** Every module that comes with this one, packages by their names; what is loaded on demand is not among them. */
function loadedWith(file: URL, seen = new Set<string>()): Set<string> {
  if (seen.has(file.href)) return seen;
  seen.add(file.href);
  for (const [, name = ''] of readFileSync(file, 'utf8').matchAll(STATIC)) {
    if (name.startsWith('.')) loadedWith(new URL(name, file), seen);
    else seen.add(name);
  }
  return seen;
}

test('what begins with every command is its words alone', (t) => {
  const packages = [...loadedWith(new URL('commands.js', CLI))].filter((name) => !/^(?:file|node):/.test(name));
  t.deepEqual(packages, []);
});

test('no command waits for the library of gRPC before somebody is to be called', (t) => {
  const source = readFileSync(new URL('commands.js', CLI), 'utf8');
  const files = [...source.matchAll(/import\('\.\/([\w-]+\.js)'\)/g)].map(([, name = '']) => new URL(name, CLI));
  t.true(files.length > 20 && files.every((file) => existsSync(file)), `${Object.keys(SUBCOMMANDS).length} commands`);
  const slow = files.filter((file) => loadedWith(file).has('@grpc/grpc-js'));
  t.deepEqual(slow.map(({ pathname }) => pathname), []);
});

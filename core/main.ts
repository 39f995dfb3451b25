#!/usr/bin/env node
// The binary `coterie`. Picks a subcommand and loads only that (cli/commands.ts), so that `--help` and `--version` cost next
// to nothing. A subcommand gives back its exit code: 0 done, 1 the world refused, 2 the words were wrong.

import { oldRuntime } from './cli/runtime.js';

// Whoever reads our output may stop reading; that is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});
// Nor is a log that nobody collects any more: a server goes on serving.
process.stderr.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
});
const tooOld = oldRuntime(process.versions.node);
if (tooOld !== null) {
  process.stderr.write(tooOld);
  process.exit(1);
}
const { run } = await import('./cli/commands.js');
process.exitCode = await run(process.argv.slice(2));

// `coterie serve`, up to the point where a server starts: reads the words, settles them, prints help or configuration. What
// a wrong word costs is a sentence and exit code 2; nothing has been touched by then.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { coterieVersion, etcdVersion } from '../version.js';
import { helpText, readArguments } from './arguments.js';
import { printConfig } from './print-config.js';
import { Refusal } from './refusal.js';
import { isSet, listOf, settle, textOf, withMembers, type Settings } from './settings.js';

export async function main(argv: readonly string[]): Promise<number> {
  try {
    return await run(argv);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    process.stderr.write(`coterie serve: ${error.message}\n  ${error.remedy}\n`);
    // A start that failed half-way may have left timers behind; they must not keep the process.
    return error.exitCode === 1 ? process.exit(1) : error.exitCode;
  }
}

async function run(argv: readonly string[]): Promise<number> {
  const words = readArguments(argv);
  if (words.kind === 'help') return say(helpText());
  if (words.kind !== 'run') return say(`coterie Version: ${coterieVersion}\netcd API: ${etcdVersion}\n`);
  const settings = await discovered(settle(words.words, process.env));
  if (settings.bootstrapFault !== null && !holdsData(textOf(settings.all, 'data-dir'))) throw settings.bootstrapFault;
  if (isSet(settings.all, 'print-config')) return say(printConfig(settings, isSet(settings.all, 'json')));
  if (isSet(settings.all, 'json')) throw new Refusal('--json without --print-config', 'for JSON lines use --log-format json');
  const { runServer } = await import('./server.js');
  return runServer(settings);
}

/** Data says who the members are, whatever DNS says by now. */
async function discovered(settings: Settings): Promise<Settings> {
  const { all } = settings;
  const domain = textOf(all, 'discovery-srv');
  if (domain === '' || holdsData(textOf(all, 'data-dir'))) return settings;
  const { discoverMembers } = await import('./discovery.js');
  const zone = { domain, serviceName: textOf(all, 'discovery-srv-name'), servers: listOf(all, 'dns-servers') };
  const own = { name: textOf(all, 'name'), peerUrls: listOf(all, 'initial-advertise-peer-urls') };
  return withMembers(settings, await discoverMembers(zone, own));
}

/** A start on existing data founds nothing. */
function holdsData(dataDir: string): boolean {
  return existsSync(join(dataDir, 'identity'));
}

function say(text: string): number {
  process.stdout.write(text);
  return 0;
}

// `coterie sidecar`: flags to wiring. A composition root. Exit codes: 0 done (with --check: nothing differs), 1 the world
// refused (with --check: the candidate is not valid), 2 the words were wrong (with --check: something differs).

import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { present } from '../core/base/assert.js';
import type { Client } from '../core/client.js';
import { isApiError } from '../core/errors.js';
import { FlagFault, INSECURE_WARNING } from '../core/index.js';
import type { SidecarConfig } from './config.js';
import { ConfigError, isListen, LISTEN_RULE, parseConfig } from './config.js';
import type { SidecarEvent } from './events.js';
import { line } from './events.js';
import type { Health } from './health.js';
import { serveHealth } from './health.js';
import type { Plan } from './publish.js';
import { applyOnce, planOnce, Sidecar } from './sidecar.js';
import { addStoreFlags, connectStore, type StoreFlags } from './store-flags.js';

const LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
type Level = (typeof LEVELS)[number];

interface Flags extends StoreFlags {
  /** Never absent after `readFlags`. */
  readonly config?: string;
  readonly endpoints?: string;
  readonly once?: true;
  readonly dryRun?: true;
  readonly check?: true;
  readonly statusListen?: string;
  readonly json?: true;
  readonly logLevel: Level;
}

export async function main(argv: readonly string[]): Promise<number> {
  let flags: Flags | null;
  try {
    flags = readFlags(argv);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.stderr.write(`coterie sidecar: ${error.message.replace(/^error: /, '')}\n  coterie sidecar --help lists the flags\n`);
    return 2;
  }
  if (flags === null) return 0;
  const log = openLog(flags);
  try {
    const config = readConfig(flags);
    const client = connected(flags, config);
    try {
      const planned = flags.check === true || flags.dryRun === true;
      if (planned) return show(flags, await planOnce(client, config, { observe: log }));
      if (flags.once === true) return (await applyOnce(client, config, { observe: log })) ? 0 : 1;
      await follow(() => Sidecar.start(client, config, { observe: log }), flags.statusListen ?? config.status, flags);
      return 0;
    } finally {
      await client.close();
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`coterie sidecar: ${reason.replaceAll('\n', '\n  ')}\n`);
    const areWords = error instanceof ConfigError || error instanceof FlagFault;
    return areWords && flags.check !== true ? 2 : 1;
  }
}

/** Null: help was asked for and given. */
function readFlags(argv: readonly string[]): Flags | null {
  const command = new Command('coterie sidecar')
    .description('Keeps the configuration of nginx, HAProxy or anything else in step with the registry.')
    .option('--config <file>', 'what to write, check and reload: see sidecar/README.md')
    .option('--endpoints <urls>', 'the store, instead of the file\'s endpoints')
    .option('--once', 'one round, then end: 0 when everything runs, else 1')
    .option('--dry-run', 'show what a round would change, and whether it is valid; change nothing')
    .option('--check', 'as --dry-run, told by the exit code: 0 same, 2 differs, 1 not valid')
    .addOption(new Option('--status-listen <host:port>', 'serve /healthz, /readyz and /status here').argParser(listenAt))
    .option('--json', 'one JSON object a line')
    .addOption(new Option('--log-level <level>', 'what to tell').choices(LEVELS).default('info'))
    .exitOverride()
    .configureOutput({ writeErr: () => undefined, writeOut: (text) => process.stdout.write(text) })
    .allowExcessArguments(false);
  addStoreFlags(command);
  try {
    const flags = command.parse([...argv], { from: 'user' }).opts<Flags>();
    // Judged after the others: an unknown flag is most often this one, misspelt.
    if (flags.config === undefined) throw new CommanderError(1, 'coterie.no_config', '--config <file> is missing');
    return flags;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return null;
    throw error;
  }
}

function readConfig(flags: Flags): SidecarConfig {
  const file = present(flags.config, '--config');
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError(file, [{ path: '', line: null, column: null, reason: `cannot be read: ${reason}` }]);
  }
  return parseConfig(text, file);
}

function listenAt(text: string): string {
  if (!isListen(text)) throw new InvalidArgumentError(`It ${LISTEN_RULE}.`);
  return text;
}

function connected(flags: Flags, config: SidecarConfig): Client {
  if (flags.insecureSkipTlsVerify === true) tell(flags, 'warn', INSECURE_WARNING, { kind: 'insecure' });
  try {
    return connectStore(flags.endpoints?.split(',') ?? config.endpoints, flags, process.env);
  } catch (error) {
    if (!isApiError(error)) throw error;
    const [file, path] = flags.endpoints === undefined ? [present(flags.config, '--config'), 'endpoints'] : ['--endpoints', ''];
    throw new ConfigError(file, [{ path, line: null, column: null, reason: error.message }]);
  }
}

/** The status comes first: when its address cannot be had nothing has been written yet. */
async function follow(start: () => Promise<Sidecar>, listen: string | null, flags: Flags): Promise<void> {
  const ended = new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });
  let health: Health | null = null;
  let sidecar: Sidecar | null = null;
  process.on('SIGHUP', () => sidecar?.refresh());
  try {
    if (listen !== null) {
      health = await serveHealth(listen, () => sidecar?.status() ?? { ready: false, groups: [] });
      const at = `${health.host}:${health.port}`;
      tell(flags, 'info', `status at http://${at}/status`, { kind: 'listening', at });
    }
    sidecar = await start();
    await ended;
  } finally {
    await health?.close();
    await sidecar?.close();
  }
}

function show(flags: Flags, plans: ReadonlyMap<string, Plan>): number {
  let code = 0;
  for (const [group, { generation, same, valid, diffs }] of plans) {
    if (!valid.ok) code = 1;
    else if (!same && code === 0) code = 2;
    if (flags.json === true) {
      process.stdout.write(`${JSON.stringify({ group, generation, same, valid: valid.ok, reason: valid.reason, diffs })}\n`);
      continue;
    }
    const judged = valid.ok ? 'differs, and is valid' : `differs, and is NOT valid: ${valid.reason}`;
    process.stdout.write(`${group}: ${same ? 'nothing differs' : judged}\n`);
    for (const { target, lines } of diffs) process.stdout.write(`--- ${target}\n${lines.join('\n')}\n`);
  }
  // A dry run that could be made has done its work.
  return flags.check === true || code === 1 ? code : 0;
}

// --- Telling ---------------------------------------------------------------------------------------------------------

function openLog(flags: Flags): (event: SidecarEvent) => void {
  return (event) => tell(flags, levelOf(event), line(event), event);
}

/** Without a time: whoever collects the lines (systemd, docker) puts it there. */
function tell(flags: Flags, level: Exclude<Level, 'silent'>, text: string, fields: object): void {
  if (LEVELS.indexOf(level) < LEVELS.indexOf(flags.logLevel)) return;
  const shown = flags.json === true ? JSON.stringify({ level, message: text, ...fields }) : `${level.padEnd(5)} ${text}`;
  process.stderr.write(`${shown}\n`);
}

function levelOf(event: SidecarEvent): Exclude<Level, 'silent'> {
  switch (event.kind) {
    case 'outcome':
      if (event.outcome.kind === 'unchanged') return 'debug';
      return event.outcome.kind === 'applied' ? 'info' : 'error';
    case 'holding':
    case 'trouble':
    case 'render_failed':
      return 'error';
    case 'read_failed':
    case 'stale':
    case 'instance_refused':
    case 'entry_invalid':
      return 'warn';
    case 'synced':
    case 'current':
    case 'hold_ended':
    case 'waiting':
    case 'repaired':
      return 'info';
  }
}

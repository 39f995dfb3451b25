// `coterie proxy`: the built-in reverse proxy in front of one registered service, for where there is neither nginx nor
// HAProxy. Flags to wiring; a composition root. Exit codes: 0 ended when told, 1 the world refused, 2 the words were wrong.

import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { systemClock } from '../core/base/clock.js';
import { isApiError } from '../core/errors.js';
import { FlagFault, INSECURE_WARNING, type Client } from '../core/index.js';
import { checkService, discover } from '../recipes/registry.js';
import { feedProxy, type FeedEvent } from './proxy-feed.js';
import { createProxy, type Proxy, type ProxyEvent } from './proxy.js';
import { toBlockList } from './proxy-targets.js';
import { addStoreFlags, connectStore, type StoreFlags } from './store-flags.js';

const DRAIN_MS = 10_000;
const HOLD_MAX_MS = 3_600_000;
const TOLD_MAX = 20;

interface Flags extends StoreFlags {
  readonly service: string;
  readonly listen: { readonly host: string; readonly port: number };
  readonly endpoints: string;
  readonly allowNetwork?: readonly string[];
  readonly trustProxy?: readonly string[];
  readonly whenEmpty: 'hold' | 'refuse';
}

export async function main(argv: readonly string[]): Promise<number> {
  let flags: Flags | null;
  try {
    flags = readFlags(argv);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.stderr.write(`coterie proxy: ${error.message.replace(/^error: /, '')}\n  coterie proxy --help lists the flags\n`);
    return 2;
  }
  if (flags === null) return 0;
  let client: Client;
  try {
    if (flags.insecureSkipTlsVerify === true) tell({ kind: 'insecure', warning: INSECURE_WARNING });
    client = connectStore(flags.endpoints, flags, process.env);
  } catch (error) {
    if (!(error instanceof FlagFault || isApiError(error))) throw error;
    process.stderr.write(`coterie proxy: ${isApiError(error) ? '--endpoints: ' : ''}${error.message}\n`);
    return 2;
  }
  try {
    await run(flags, client);
    return 0;
  } catch (error) {
    process.stderr.write(`coterie proxy: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  } finally {
    await client.close();
  }
}

async function run(flags: Flags, client: Client): Promise<void> {
  const proxy = createProxy({
    service: flags.service,
    targets: flags.allowNetwork === undefined ? {} : { networks: flags.allowNetwork },
    ...(flags.trustProxy === undefined ? {} : { trustedProxies: flags.trustProxy }),
    observe: (event) => tell(event),
  });
  const view = discover(client, flags.service);
  const ended = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => ended.abort());
  let feeding: Promise<void> = Promise.resolve();
  try {
    tell({ kind: 'waiting', service: flags.service, endpoints: flags.endpoints });
    // As long as it takes: a store that is away at start is waited for.
    if (!(await readyOrEnded(view, ended.signal))) return;
    const whenEmpty = flags.whenEmpty === 'hold' ? 'holdLast' : 'renderEmpty';
    const service = { name: flags.service, whenEmpty, holdMaxMs: HOLD_MAX_MS, require: 0 } as const;
    feeding = feedProxy(view, proxy, { service, clock: systemClock, observe: tell });
    const { host, port } = await listening(proxy, flags.listen);
    tell({ kind: 'listening', at: `http://${host}:${port}` });
    await new Promise<void>((resolve) => {
      if (ended.signal.aborted) resolve();
      else ended.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await proxy.drain(DRAIN_MS);
  } finally {
    await view.close();
    await feeding;
    await proxy.close();
  }
}

async function listening(proxy: Proxy, listen: Flags['listen']): Promise<{ host: string; port: number }> {
  try {
    return await proxy.listen(listen);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const where = `${listen.host}:${listen.port}`;
    throw new Error(`cannot listen at ${where}; choose another address with --listen: ${reason}`, { cause: error });
  }
}

/** False: told to end before the registry could be read. */
async function readyOrEnded(view: ReturnType<typeof discover>, signal: AbortSignal): Promise<boolean> {
  while (!signal.aborted) {
    try {
      await view.ready({ signal, timeoutMs: 30_000 });
      return true;
    } catch (error) {
      const reason = view.lastError ?? error;
      if (!signal.aborted) tell({ kind: 'store_away', reason: reason instanceof Error ? reason.message : String(reason) });
    }
  }
  return false;
}

/** Null: help was asked for and given. */
function readFlags(argv: readonly string[]): Flags | null {
  const command = new Command('coterie proxy')
    .description('Forwards HTTP and WebSocket traffic to the registered instances of one service.')
    .addOption(
      new Option('--service <name>', 'whose instances take the traffic').argParser(serviceName).makeOptionMandatory(),
    )
    .addOption(
      new Option('--listen <host:port>', 'where traffic comes in')
        .argParser(hostPort)
        .default({ host: '127.0.0.1', port: 8080 }, '127.0.0.1:8080'),
    )
    .option('--endpoints <urls>', 'the store', 'http://127.0.0.1:2379')
    .option('--allow-network <cidr...>', 'only connect to instances in these networks (default: all but loopback)', network)
    .option('--trust-proxy <cidr...>', 'believe the X-Forwarded headers of peers in these networks', network)
    .option('--when-empty <policy>', 'when all vanish unexpectedly: hold the last known, or refuse with 503', policy, 'hold')
    .exitOverride()
    .configureOutput({ writeErr: () => undefined, writeOut: (text) => process.stdout.write(text) })
    .allowExcessArguments(false);
  addStoreFlags(command);
  try {
    return command.parse([...argv], { from: 'user' }).opts<Flags & Record<string, unknown>>();
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return null;
    throw error;
  }
}

function hostPort(text: string): { host: string; port: number } {
  const [, host = '', digits = ''] = /^(?:\[(?=.*:))?([^\s[\]]+?)\]?:(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (host === '' || port > 65_535) throw new InvalidArgumentError('write host:port, for instance 0.0.0.0:8080.');
  return { host, port };
}

function serviceName(text: string): string {
  try {
    return checkService(text);
  } catch (error) {
    if (!isApiError(error)) throw error;
    throw new InvalidArgumentError(error.message);
  }
}

function network(text: string, before: readonly string[] = []): readonly string[] {
  try {
    toBlockList([text]);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new InvalidArgumentError(error.message);
  }
  return [...before, text];
}

function policy(text: string): 'hold' | 'refuse' {
  if (text === 'hold' || text === 'refuse') return text;
  throw new InvalidArgumentError('write hold or refuse.');
}

type Told =
  | FeedEvent
  | ProxyEvent
  | { readonly kind: 'insecure'; readonly warning: string }
  | { readonly kind: 'waiting'; readonly service: string; readonly endpoints: string }
  | { readonly kind: 'listening'; readonly at: string }
  | { readonly kind: 'store_away'; readonly reason: string };

/** One JSON object a line, on stderr: whoever runs a proxy collects its log. Long lists are cut, for each change tells one. */
function tell(event: Told): void {
  process.stderr.write(`${JSON.stringify(event, (_key, value: unknown) => {
    if (value instanceof Error) return value.message;
    if (!Array.isArray(value) || value.length <= TOLD_MAX) return value;
    return [...(value as readonly unknown[]).slice(0, TOLD_MAX), `and ${value.length - TOLD_MAX} more`];
  })}\n`);
}

// The server process: wires node, port, metrics and log together from settled settings, says what was chosen, and runs
// until it is told to end or cannot go on. A composition root. Loaded only when a server is really to start, so that help
// and refusals come at once.

import { existsSync } from 'node:fs';
import { url as inspectorUrl } from 'node:inspector';
import { whenDone } from '../base/done.js';
import { systemFiles } from '../base/files.js';
import { memberId } from '../identity.js';
import { readIdentity } from '../log/identity-file.js';
import { LogError } from '../log/log-storage.js';
import type { Identity } from '../log/segment.js';
import { LogSetBack } from '../raft/log-set-back.js';
import { startNode, type NodeOptions, type RunningNode } from '../start-node.js';
import { coterieVersion, etcdVersion } from '../version.js';
import type { ConnectionLimits } from '../wire/grpc-server.js';
import { listenError, serve, type WireServer } from '../wire/port.js';
import { authFlags } from './auth-flags.js';
import { banner, factFields, type ServerFacts } from './banner.js';
import { giveRoom } from './collector.js';
import { guardDataDir, runtimeWarnings } from './hardening.js';
import { dieOfTheUnexpected, endWithOwner, heedHangUp, runUntilEnd } from './lifecycle.js';
import { openLog, type Logger } from './log.js';
import { ServerMetrics } from './metrics.js';
import { openNotice } from './notify.js';
import { faultOf, freePort } from './ports.js';
import { profiles } from './profiles.js';
import { Refusal } from './refusal.js';
import { reportNode, reportWire } from './report.js';
import { clusterOf, isSet, listOf, numberOf, textOf, upkeepFlags, type Setting, type Settings } from './settings.js';
import { TlsFiles } from './tls-files.js';
import { addressOf } from './values.js';

type All = ReadonlyMap<string, Setting>;

/** Ends with the process; comes back only to refuse. */
export async function runServer({ all, warnings }: Settings): Promise<number> {
  const outputs = listOf(all, 'log-outputs');
  const format = formatOf(all);
  const log = openLog({ level: textOf(all, 'log-level'), format, outputs });
  dieOfTheUnexpected(log);
  endWithOwner();
  heedHangUp(log);
  const notice = openNotice(process.env, log);
  for (const warning of warnings) log.warn(warning);
  for (const warning of runtimeWarnings(process.env, process.execArgv, inspectorUrl())) log.warn(warning);
  const startedAt = performance.now();
  const metrics = new ServerMetrics({ isExtensive: textOf(all, 'metrics') === 'extensive' });
  const urls = await choosePorts(all);
  const tls = await openTls(all, { metrics, log });
  notice.say('STATUS=waiting for a majority of the members');
  const node = await openNode(all, urls.advertised, { metrics, log, tls });
  const server = await openPort(node, all, urls.listening, { metrics, log, tls });
  tls.client?.follow((terms) => server.renewTls(terms), log);
  tls.peer?.follow((terms) => node.renewPeerTls(terms), log);
  const facts = { ...factsOf(all, node), clientUrls: server.urls, advertisedUrls: urls.advertised };
  const terminal = outputs.includes('stdout') ? process.stdout : process.stderr;
  announce({ ...facts, tookMs: performance.now() - startedAt }, log, terminal.isTTY && format !== 'json' ? terminal : null);
  for (const url of server.sideUrls) log.info({ url }, 'health and metrics are served here, too');
  giveRoom(process.execArgv);
  notice.say('READY=1', `STATUS=serving on ${server.urls.join(' ')}`);
  const drain = (graceMs: number): Promise<void> => {
    notice.say('STOPPING=1', 'STATUS=finishing requests under way');
    return server.drain(graceMs);
  };
  const running = { drain, close: () => node.close(), ended: node.ended };
  const code = await runUntilEnd(running, log, numberOf(all, 'shutdown-grace'));
  // Nothing of ours is open any more; what a library still holds must not keep the process.
  process.exit(code);
}

function formatOf(all: All): 'auto' | 'json' | 'console' {
  const format = textOf(all, 'log-format');
  return format === 'json' || format === 'console' ? format : 'auto';
}

interface Observers {
  readonly metrics: ServerMetrics;
  readonly log: Logger;
}

interface Tls {
  readonly client: TlsFiles | null;
  readonly peer: TlsFiles | null;
}

async function openTls(all: All, { metrics, log }: Observers): Promise<Tls> {
  const tls = { client: await TlsFiles.open(all, 'client'), peer: await TlsFiles.open(all, 'peer') };
  metrics.attachTls([tls.client, tls.peer].filter((files) => files !== null).map(({ facts }) => facts));
  for (const [files, side] of [[tls.client, 'client'], [tls.peer, 'peer']] as const) {
    const isMeant = files !== null || isSet(all, side === 'client' ? 'client-cert-auth' : 'peer-client-cert-auth');
    const plain = listOf(all, `listen-${side}-urls`).find((url) => url.startsWith('http:'));
    if (isMeant && plain !== undefined) log.warn({ url: plain }, 'this address is served without TLS, whatever the certificates');
  }
  return tls;
}

async function openNode(
  all: All, clientUrls: readonly string[], { metrics, log, tls }: Observers & { tls: Tls },
): Promise<RunningNode> {
  const dataDir = textOf(all, 'data-dir');
  const upkeep = upkeepFlags(all);
  const auth = authFlags(all);
  guardDataDir(dataDir, isSet(all, 'shared-data-dir'));
  refuseEtcdsData(dataDir);
  refuseForceOnNothing(all);
  await refuseOthersData(all);
  log.info({ name: textOf(all, 'name'), dataDir, version: coterieVersion }, 'starting');
  try {
    const node = await startNode({
      name: textOf(all, 'name'),
      dataDir,
      clientUrls,
      ...(await clusterOptions(all, log)),
      ...(tls.peer === null ? {} : { peerTls: tls.peer.terms }),
      heartbeatMs: numberOf(all, 'heartbeat-interval'),
      electionMs: numberOf(all, 'election-timeout'),
      snapshotCount: numberOf(all, 'snapshot-count'),
      limits: {
        txnOpsMax: numberOf(all, 'max-txn-ops'),
        requestBytesMax: numberOf(all, 'max-request-bytes'),
        progressNotifyMs: numberOf(all, 'watch-progress-notify-interval'),
        quotaBytes: upkeep.quotaBytes,
      },
      auth,
      upkeep,
      verifyAtStart: upkeep.verifyAtStart,
      observe: (event) => {
        metrics.onNode(event);
        reportNode(log, event);
      },
    });
    metrics.attach({
      memberId: node.memberId,
      // etcd shows 0 where there is no bound.
      quotaBytes: upkeep.quotaBytes === Infinity ? 0 : upkeep.quotaBytes,
      facts: () => node.facts(),
      dbSizes: async () => {
        const { dbSizeBytes, dbSizeInUseBytes } = await node.client.status();
        return { totalBytes: dbSizeBytes, inUseBytes: dbSizeInUseBytes };
      },
    });
    return node;
  } catch (error) {
    throw refuseStart(dataDir, error);
  }
}

async function openPort(
  node: RunningNode, all: All, urls: readonly string[], { metrics, log, tls }: Observers & { tls: Tls },
): Promise<WireServer> {
  try {
    return await serve(node.client, {
      urls,
      ...(tls.client === null ? {} : { tls: tls.client.terms }),
      requestBytesMax: numberOf(all, 'max-request-bytes'),
      txnOpsMax: numberOf(all, 'max-txn-ops'),
      metrics: () => metrics.scrape(),
      httpUrls: listOf(all, 'listen-client-http-urls'),
      sideUrls: listOf(all, 'listen-metrics-urls'),
      ...(isSet(all, 'enable-pprof') ? { debug: profiles(() => node.facts()) } : {}),
      crossSite: { origins: restriction(all, 'cors'), hosts: restriction(all, 'host-whitelist') },
      servesGateway: isSet(all, 'enable-grpc-gateway'),
      grpcServer: textOf(all, 'grpc-server') === 'grpc-js' ? 'grpc-js' : 'own',
      connection: connectionLimits(all),
      observe: (event) => {
        metrics.onWire(event);
        reportWire(log, event);
      },
    });
  } catch (error) {
    await node.close();
    throw refusePort('listen-client-urls', error);
  }
}

function connectionLimits(all: All): ConnectionLimits {
  return {
    streamsMax: numberOf(all, 'max-concurrent-streams'),
    pingEveryMs: numberOf(all, 'grpc-keepalive-interval'),
    pingTimeoutMs: numberOf(all, 'grpc-keepalive-timeout'),
    // etcd leaves gRPC's own bound in force then.
    pingMinMs: numberOf(all, 'grpc-keepalive-min-time') || GRPC_PING_MIN_MS,
    idleMs: numberOf(all, 'grpc-max-connection-idle'),
    ageMs: numberOf(all, 'grpc-max-connection-age'),
    ageGraceMs: numberOf(all, 'grpc-max-connection-age-grace'),
  };
}

const GRPC_PING_MIN_MS = 300_000;

/** Null: any will do. */
function restriction(all: All, flag: string): readonly string[] | null {
  const words = listOf(all, flag);
  return words.includes('*') ? null : words;
}

function refusePort(flag: string, error: unknown): Refusal {
  const [problem, remedy] = splitReason(error);
  return new Refusal(`--${flag}: ${problem}`, remedy, { exitCode: 1, cause: error });
}

/** Asked before the data is touched: a member that cannot be reached has no business in its log, or in an election. */
async function refuseTakenPort(flag: string, url: string): Promise<void> {
  const { host, port } = addressOf(url);
  const fault = await faultOf(host, port);
  if (fault !== null) throw refusePort(flag, listenError(fault, `${host}:${port}`));
}

/** Everything about other members. Where there is data, most of it is only looked at when it says something else. */
async function clusterOptions(all: All, log: Logger): Promise<Partial<NodeOptions>> {
  const initialCluster = [...clusterOf(all)].map(([name, peerUrls]) => ({ name, peerUrls }));
  const state = textOf(all, 'initial-cluster-state') === 'existing' ? 'existing' : 'new';
  if (initialCluster.length > 1) {
    log.info({ state, members: initialCluster.map(({ name }) => name).join(',') }, 'waiting for a majority of the members');
  }
  return {
    peerUrls: listOf(all, 'initial-advertise-peer-urls'),
    listenPeerUrls: await peerPorts(all, log),
    initialCluster,
    initialClusterState: state,
    clusterToken: textOf(all, 'initial-cluster-token'),
    strictReconfig: isSet(all, 'strict-reconfig-check'),
    forceNewCluster: isSet(all, 'force-new-cluster'),
  };
}

/**
 * Where to listen for other members. Who said nothing about members may still get some later, so the usual port is opened
 * then as well; but if it is taken, a server that was to be alone starts without.
 */
async function peerPorts(all: All, log: Logger): Promise<readonly string[]> {
  const urls = listOf(all, 'listen-peer-urls');
  const spoken = ['listen-peer-urls', 'initial-advertise-peer-urls', 'initial-cluster', 'initial-cluster-state'];
  if (spoken.some((flag) => all.get(flag)?.origin !== 'default')) {
    for (const url of urls) await refuseTakenPort('listen-peer-urls', url);
    return urls;
  }
  for (const url of urls) {
    const { host, port } = addressOf(url);
    if (await faultOf(host, port) === null) continue;
    log.warn({ url }, 'alone: the port for other members is taken; to let some join, give --listen-peer-urls');
    return [];
  }
  return urls;
}

/** Port 0 means any: it is chosen before the node starts, because the member list must name it. */
async function choosePorts(all: All): Promise<{ listening: readonly string[]; advertised: readonly string[] }> {
  const listening: string[] = [];
  let advertised = listOf(all, 'advertise-client-urls');
  for (const url of listOf(all, 'listen-client-urls')) {
    const { host, port } = addressOf(url);
    if (port !== 0) await refuseTakenPort('listen-client-urls', url);
    const chosen = port === 0 ? await freePort(host, '--listen-client-urls') : port;
    listening.push(`${url.startsWith('https:') ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${chosen}`);
    const first = advertised.findIndex((candidate) => addressOf(candidate).port === 0);
    if (port === 0) advertised = advertised.map((old, i) => (i === first ? old.replace(/:0(\/?)$/, `:${chosen}$1`) : old));
  }
  for (const flag of ['listen-client-http-urls', 'listen-metrics-urls']) {
    for (const url of listOf(all, flag)) if (addressOf(url).port !== 0) await refuseTakenPort(flag, url);
  }
  return { listening, advertised };
}

function refuseForceOnNothing(all: All): void {
  const dataDir = textOf(all, 'data-dir');
  if (!isSet(all, 'force-new-cluster') || existsSync(`${dataDir}/identity`)) return;
  const problem = `--force-new-cluster: there is no data in ${dataDir} to go on with`;
  const remedy = 'name the directory of the member that is left with --data-dir; or restore a snapshot: coterie snapshot restore';
  throw new Refusal(problem, remedy, { exitCode: 1 });
}

/**
 * Ids come from the disk, so a member started on the data of another one would go on as that one, at the wrong address. Whose
 * data it is can be told where the flags name all founders.
 */
async function refuseOthersData(all: All): Promise<void> {
  const dataDir = textOf(all, 'data-dir');
  if (!existsSync(`${dataDir}/identity`)) return;
  const reading = whenDone<Identity | null>((done) => readIdentity(systemFiles, dataDir, done));
  const found = await reading.catch((error: unknown) => {
    throw refuseStart(dataDir, error);
  });
  const name = textOf(all, 'name');
  const token = textOf(all, 'initial-cluster-token');
  const owner = [...clusterOf(all)].find(([, urls]) => memberId(urls, token) === found?.memberId)?.[0] ?? name;
  if (found === null || owner === name) return;
  const id = found.memberId.toString(16);
  const problem = `--data-dir=${dataDir} belongs to member ${id}, which --initial-cluster calls ${owner}`;
  const remedy = `this one is ${name}: start it on its own data directory, or as ${owner} with --name and the URLs of ${owner}`;
  throw new Refusal(problem, remedy, { exitCode: 1 });
}

function refuseEtcdsData(dataDir: string): void {
  if (!existsSync(`${dataDir}/member`) || existsSync(`${dataDir}/identity`)) return;
  throw new Refusal(
    `--data-dir=${dataDir} holds etcd's data, which coterie cannot read`,
    'give another directory; take the data over from the running etcd: etcdctl snapshot save, then coterie snapshot restore',
    { exitCode: 1 },
  );
}

/** What the disk, or the other members, say no to becomes a sentence with a remedy; a fault of ours goes on as it is. */
function refuseStart(dataDir: string, error: unknown): unknown {
  if (error instanceof Refusal) return error;
  const code = codeOf(error);
  if (!(error instanceof LogError || error instanceof LogSetBack) && code === null) {
    // The rooms below speak in plain errors; those of the language have names of their own.
    if (!(error instanceof Error) || error.name !== 'Error') return error;
    return new Refusal(...splitReason(error), { exitCode: 1, cause: error });
  }
  const remedies: Readonly<Record<string, string>> = {
    EACCES: `give this user write access to it, or another directory with --data-dir`,
    EPERM: `give this user write access to it, or another directory with --data-dir`,
    EROFS: 'the file system is read-only; give a directory on another with --data-dir',
    ENOTDIR: 'a part of this path is a file; give another directory with --data-dir',
    EEXIST: 'there is a file of this name; give another directory with --data-dir',
    ENOSPC: 'the disk is full; make room and start again, nothing acknowledged is lost',
  };
  const [problem, remedy] = splitReason(error);
  return new Refusal(`--data-dir=${dataDir}: ${problem}`, remedies[code ?? ''] ?? remedy, { exitCode: 1, cause: error });
}

function codeOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  if ('code' in error && typeof error.code === 'string' && /^E[A-Z]+$/.test(error.code)) return error.code;
  return codeOf(error.cause);
}

/** Errors of the rooms below say what happened, then, in their last sentence or after their last semicolon, what to do. */
function splitReason(error: unknown): readonly [problem: string, remedy: string] {
  const message = error instanceof Error ? error.message : String(error);
  const cut = /^(.*)\. ([A-Z].*?)\.?$/s.exec(message) ?? /^(.*); ([^;]+?)\.?$/s.exec(message);
  return cut?.[1] === undefined || cut[2] === undefined ? [message, 'nothing was changed'] : [cut[1], cut[2]];
}

function factsOf(all: All, node: RunningNode): Omit<ServerFacts, 'clientUrls' | 'advertisedUrls' | 'tookMs'> {
  const { revision, keys } = node.facts();
  return {
    version: coterieVersion,
    apiVersion: etcdVersion,
    name: node.name,
    memberId: node.memberId,
    clusterId: node.clusterId,
    dataDir: textOf(all, 'data-dir'),
    heartbeatMs: numberOf(all, 'heartbeat-interval'),
    electionMs: numberOf(all, 'election-timeout'),
    snapshotCount: numberOf(all, 'snapshot-count'),
    revision,
    keys,
  };
}

/** The log line is what test suites made for etcd wait for (contract 14.1). */
function announce(facts: ServerFacts, log: Logger, terminal: NodeJS.WriteStream | null): void {
  if (terminal !== null) {
    terminal.write(banner(facts, terminal));
    log.info('ready to serve client requests');
  } else {
    log.info(factFields(facts), 'ready to serve client requests');
  }
}

// Embedding: a whole node in this process, alone or as a member of a cluster. A composition root: here, and in the command
// line, implementations are chosen. Who a new member is, is decided here from its settings, by etcd's rules (contract 14.3).

import { randomInt } from 'node:crypto';
import { systemClock, type Clock } from './base/clock.js';
import { whenDone } from './base/done.js';
import { systemFiles, type Files } from './base/files.js';
import { systemLock } from './base/lock.js';
import { jwtSigner, type JwtSettings } from './base/jwt.js';
import { Prng } from './base/prng.js';
import { systemSecrets } from './base/secrets.js';
import type { Backend } from './client.js';
import { clusterId, memberId, type MemberSpec } from './identity.js';
import { readIdentity } from './log/identity-file.js';
import { LogError, type LogStorage } from './log/log-storage.js';
import { MemoryLogStorage } from './log/memory-log-storage.js';
import { WalStorage } from './log/wal.js';
import { attempt } from './node/caught.js';
import { decodeDescription, encodeDescription, type Description } from './node/description.js';
import type { NodeEvent, Observe } from './node/events.js';
import { defaultLimits, type NodeLimits } from './node/limits.js';
import { Member, type MemberConfig, type MemberIdentity, type NodeFacts } from './node/member.js';
import { refusal } from './node/refusal.js';
import type { AuthSettings } from './node/settings.js';
import { fetchDescription } from './peer/join.js';
import type { UpkeepSettings } from './node/upkeep.js';
import { TcpTransport } from './peer/tcp-transport.js';
import type { PeerTls } from './peer/tls.js';
import type { Transport } from './peer/transport.js';
import type { MemberRecord } from './store/members.js';
import { etcdVersion } from './version.js';

export type { NodeFacts } from './node/member.js';
export type { PeerTls } from './peer/tls.js';

export interface NodeOptions {
  /** The member's name, shown to people. Default `default`. */
  readonly name?: string;
  /** Where the log and the snapshots live; created if missing. null: in memory, gone with the process (for tests). */
  readonly dataDir: string | null;
  /** Where the others reach this one. With the token they determine the ids (contract 1.6). Default `http://localhost:2380`. */
  readonly peerUrls?: readonly string[];
  /** Where to listen for other members. Default: `peerUrls` in a cluster, nowhere alone. */
  readonly listenPeerUrls?: readonly string[];
  /** What the member list tells clients to dial. */
  readonly clientUrls?: readonly string[];
  /** All members of the cluster, this one among them. Only looked at while there is no data. Default: itself. */
  readonly initialCluster?: readonly MemberSpec[];
  /** `new`: these members found a cluster. `existing`: it runs, and this member was added to it. Default `new`. */
  readonly initialClusterState?: 'new' | 'existing';
  readonly clusterToken?: string;
  readonly peerTls?: PeerTls;
  /** Refuse changes of members that could cost the majority. Default true. */
  readonly strictReconfig?: boolean;
  /**
   * Go on alone with the data there is: for when the majority of the members is lost for ever. Default false. Unlike etcd,
   * which drops them, entries are kept that are not known to be committed: what is known on disk lags behind what was
   * acknowledged, and losing that would be worse than carrying out what nobody was told of.
   */
  readonly forceNewCluster?: boolean;
  /** Default 100. */
  readonly heartbeatMs?: number;
  /** At least five heartbeats. Default 1000. */
  readonly electionMs?: number;
  /** Entries between snapshots, at least. Default 100,000. */
  readonly snapshotCount?: number;
  readonly limits?: Partial<NodeLimits>;
  /** Compaction by the clock, and how often members are compared. Default: nothing. */
  readonly upkeep?: UpkeepSettings;
  /** Compare the data with the other members' before the node is given out, and fail if they differ. Default false. */
  readonly verifyAtStart?: boolean;
  readonly auth?: AuthOptions;
  readonly observe?: Observe;
  /** For tests: another clock, another disk, another network. */
  readonly clock?: Clock;
  readonly files?: Files;
  readonly transport?: (identity: MemberIdentity) => Transport;
  /** For tests: what all chance is drawn from, 32 bits. Lease ids repeat with it. Default: the system's randomness. */
  readonly seed?: number;
}

export interface AuthOptions extends AuthSettings {
  /** Signed tokens in place of simple ones. */
  readonly jwt?: JwtSettings;
}

export interface RunningNode {
  readonly client: Backend;
  readonly name: string;
  readonly memberId: bigint;
  readonly clusterId: bigint;
  /** Facts for metrics and health; cheap. */
  facts(): NodeFacts;
  /** New certificates, authorities and lists for members; throws, and keeps the old, when they cannot be used. */
  renewPeerTls(tls: PeerTls): void;
  /** Resolves when the node has stopped: with null after `close`, else with what stopped it. Never rejects. */
  readonly ended: Promise<Error | null>;
  /** Stops taking part, waits for the log, releases the data directory. Idempotent. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

type Birth = Pick<MemberConfig, 'identity' | 'founders' | 'contacts'>;

/** How long a member of the cluster has to say who its members are. */
const DESCRIPTION_MS = 2000;

/** Starts a node and resolves once it serves: it has a leader and has applied what was acknowledged before. */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const name = options.name ?? 'default';
  const clock = options.clock ?? systemClock;
  const { heartbeatMs, electionMs, snapshotCount } = timing(options);
  const onDisk = await identityOnDisk(options);
  const born = onDisk === null ? await birth(options, clock) : await rebirth(options, onDisk, clock);
  const config: MemberConfig = {
    ...born,
    name,
    clientUrls: options.clientUrls ?? [],
    heartbeatMs,
    electionMs,
    snapshotCount,
    limits: { ...defaultLimits, ...options.limits },
    ...(options.upkeep === undefined ? {} : { upkeep: options.upkeep }),
    ...(options.auth === undefined ? {} : { auth: options.auth }),
    strictReconfig: options.strictReconfig ?? true,
    forceNewCluster: options.forceNewCluster ?? false,
    version: etcdVersion,
    seed: options.seed ?? randomInt(2 ** 32),
  };
  const observe: Observe = options.observe ?? ignore;
  const secrets = systemSecrets();
  let transport: TcpTransport | null = null;
  const member: Member = new Member(config, {
    clock,
    observe,
    secrets,
    ...(options.auth?.jwt === undefined ? {} : { signer: jwtSigner(options.auth.jwt) }),
    readIdentity: (done) => clock.schedule(0, () => done(null, onDisk)),
    openLog: (identity) => openLog(options, identity, clock, observe),
    connect: connector(options, clock, observe, { describe: () => describe(member), onOpen: (opened) => (transport = opened) }),
  });
  const { ended } = await begin(member, options.verifyAtStart === true);
  const close = async (): Promise<void> => {
    await whenDone<void>((done) => member.node.desk.handOver(done));
    await member.client.close();
    await whenDone<void>((done) => member.node.stop(done));
    secrets.close();
  };
  let closing: Promise<void> | null = null;
  const running: RunningNode = {
    client: member.client,
    name,
    memberId: member.identity.memberId,
    clusterId: member.identity.clusterId,
    facts: () => member.facts(),
    renewPeerTls: (tls) => transport?.renewTls(tls),
    ended,
    close: () => (closing ??= close()),
    [Symbol.asyncDispose]: () => running.close(),
  };
  return running;
}

function timing(options: NodeOptions): { heartbeatMs: number; electionMs: number; snapshotCount: number } {
  const { heartbeatMs = 100, electionMs = 1000, snapshotCount = 100_000 } = options;
  if (!(heartbeatMs >= 1)) throw new Error(`heartbeatMs (${heartbeatMs}) must be at least 1`);
  if (!(electionMs >= 5 * heartbeatMs)) {
    throw new Error(`electionMs (${electionMs}) must be at least five times heartbeatMs (${heartbeatMs})`);
  }
  if (!(snapshotCount >= 1)) throw new Error(`snapshotCount (${snapshotCount}) must be at least 1`);
  return { heartbeatMs, electionMs, snapshotCount };
}

async function begin(member: Member, isVerified: boolean): Promise<{ ended: Promise<Error | null> }> {
  const end = { resolve: (_error: Error | null): void => undefined };
  const ended = new Promise<Error | null>((resolve) => {
    end.resolve = resolve;
  });
  await whenDone<void>((done) => member.start((error) => end.resolve(error), done));
  try {
    await whenDone<void>((done) => member.whenReady(done));
    if (isVerified) await verify(member);
  }
  catch (error) {
    // What stopped it says more than that it stopped; and then the log is closed, the directory given back.
    member.stop(() => undefined);
    throw (await ended) ?? error;
  }
  return { ended };
}

/** Members that do not answer, or are compacted to another revision, do not count. */
async function verify(member: Member): Promise<void> {
  const differing = await whenDone<readonly bigint[]>((done) => member.node.upkeep.corruption.verify(done));
  if (differing.length === 0) return;
  const others = differing.map((id) => id.toString(16)).join(' and ');
  throw new Error(`found data inconsistency with peers: the data of this member differ from those of ${others}. Keep its `
    + 'directory for whoever looks into it, remove the member (coterie member remove), and add it anew with an empty one');
}

async function identityOnDisk(options: NodeOptions): Promise<MemberIdentity | null> {
  const { dataDir, files = systemFiles } = options;
  if (dataDir === null) return null;
  try {
    return await whenDone<MemberIdentity | null>((done) => readIdentity(files, dataDir, done));
  } catch (error) {
    if (error instanceof LogError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new LogError(`the data directory ${dataDir} cannot be used: ${reason}`, { cause: error });
  }
}

/** A member without data: it founds a cluster with others, or joins one that runs. */
function birth(options: NodeOptions, clock: Clock): Promise<Birth> {
  const { own, specs } = membersOf(options);
  return options.initialClusterState === 'existing' ? join(options, own, specs, clock) : found(options, own, specs, clock);
}

/** A member with data: it knows who it is. Who joined and stopped before it heard of the others asks for them again. */
async function rebirth(options: NodeOptions, identity: MemberIdentity, clock: Clock): Promise<Birth> {
  const isExisting = options.initialClusterState === 'existing';
  // Settings are ignored, wrong ones too; but who stopped between making its directory and founding goes on founding.
  const settled = attempt(() => foundersOf(options));
  if (!(settled instanceof Error)) refuseExchanged(settled, identity, options);
  const isOurs = !(settled instanceof Error) && !isExisting && settled.identity.clusterId === identity.clusterId
    && settled.identity.memberId === identity.memberId;
  const urls = (options.initialCluster ?? []).flatMap((spec) => spec.peerUrls);
  const { answers } = await descriptions(options, isExisting ? urls : [], clock);
  const known = answers.find((answer) => answer.clusterId === identity.clusterId);
  return { identity, founders: isOurs ? settled.founders : [], contacts: known?.members ?? [] };
}

/** Reliability B19: two members on each other's disks would each answer at the other's address, and neither be reached. */
function refuseExchanged(
  settled: { founders: readonly MemberRecord[]; identity: MemberIdentity }, onDisk: MemberIdentity, options: NodeOptions,
): void {
  if (settled.identity.clusterId !== onDisk.clusterId || settled.identity.memberId === onDisk.memberId) return;
  const owner = settled.founders.find(({ id }) => id === onDisk.memberId);
  if (owner === undefined) return;
  throw new Error(`the data directory ${options.dataDir} is that of member ${owner.name}, and this one is told to be `
    + `${options.name ?? 'default'}: the directories were exchanged. Give each member its own`);
}

function membersOf(options: NodeOptions): { own: MemberSpec; specs: readonly MemberSpec[] } {
  const name = options.name ?? 'default';
  const peerUrls = options.peerUrls ?? ['http://localhost:2380'];
  const specs = options.initialCluster === undefined || options.initialCluster.length === 0
    ? [{ name, peerUrls }]
    : options.initialCluster;
  const own = specs.find((spec) => spec.name === name);
  if (new Set(specs.map((spec) => spec.name)).size !== specs.length) {
    throw new Error('the initial cluster names two members the same. Each needs its own name');
  }
  if (own === undefined) {
    const names = specs.map((spec) => spec.name).join(', ');
    throw new Error(`the initial cluster names ${names}, but not this member, ${name}. Add it there, or correct the name`);
  }
  if (own.peerUrls.toSorted().join() !== peerUrls.toSorted().join()) {
    throw new Error(`the initial cluster says that ${name} is reached at ${own.peerUrls.join()}, and it is told to advertise `
      + `${peerUrls.join()}. Make them equal`);
  }
  return { own, specs };
}

function foundersOf(options: NodeOptions): { founders: readonly MemberRecord[]; identity: MemberIdentity } {
  const { own, specs } = membersOf(options);
  const token = options.clusterToken ?? 'etcd-cluster';
  const founders = specs.map(({ name, peerUrls }) => {
    return { id: memberId(peerUrls, token), name, peerUrls, clientUrls: [], isLearner: false, incarnation: 0n };
  });
  const ids = founders.map(({ id }) => id);
  if (new Set(ids).size !== ids.length) {
    throw new Error('the initial cluster gives two members the same peer URLs. Each needs its own');
  }
  const incarnation = random63();
  return { founders, identity: { clusterId: clusterId(ids), memberId: memberId(own.peerUrls, token), incarnation } };
}

async function found(
  options: NodeOptions,
  own: MemberSpec,
  specs: readonly MemberSpec[],
  clock: Clock,
): Promise<Birth> {
  const { founders, identity } = foundersOf(options);
  // A founder that comes back without its data would vote a second time in the same terms (reliability E1).
  const others = specs.filter((spec) => spec !== own).flatMap((spec) => spec.peerUrls);
  const { answers } = await descriptions(options, others, clock);
  for (const { clusterId: cluster, members } of answers) {
    if (cluster !== identity.clusterId) {
      const [theirs, ours] = [cluster.toString(16), identity.clusterId.toString(16)];
      throw new Error(`a member named in the initial cluster belongs to another cluster, ${theirs}, than these settings found, `
        + `${ours}: the token or the list differs. Give it the --initial-cluster-token and the --initial-cluster of the others`);
    }
    const known = members.find((member) => member.id === identity.memberId);
    const teller = members.find((member) => member.id !== identity.memberId)?.id ?? identity.memberId;
    if (known === undefined && members.length > 0) throw refusal('removed', identity.memberId, teller);
    if (known !== undefined && known.incarnation !== 0n) throw refusal('other_incarnation', identity.memberId, teller);
  }
  return { identity, founders, contacts: [] };
}

async function join(
  options: NodeOptions,
  own: MemberSpec,
  specs: readonly MemberSpec[],
  clock: Clock,
): Promise<Birth> {
  const others = specs.filter((spec) => spec !== own).flatMap((spec) => spec.peerUrls);
  if (others.length === 0) throw new Error('to join a cluster, the initial cluster must name a member that runs. Name one');
  const { answers, failures } = await descriptions(options, others, clock);
  const [answer] = answers;
  if (answer === undefined) {
    const problem = [`no member of the cluster answers at ${others.join()}`, ...failures].join('; ');
    throw new Error(`${problem}. Start one, or correct the initial cluster`);
  }
  if (answer.members.length !== specs.length) {
    throw new Error(`the cluster has ${answer.members.length} members and the initial cluster names ${specs.length}. Name those `
      + 'that the member list shows, this one included; add it first (coterie member add) if it is not there');
  }
  const record = answer.members.find(({ peerUrls }) => peerUrls.toSorted().join() === own.peerUrls.toSorted().join());
  if (record === undefined) {
    throw new Error(`no member of the cluster is reached at ${own.peerUrls.join()}. Add it first (coterie member add), or `
      + 'correct the peer URLs');
  }
  const teller = answer.members.find((member) => member.id !== record.id)?.id ?? record.id;
  if (record.incarnation !== 0n) throw refusal('other_incarnation', record.id, teller);
  const identity = { clusterId: answer.clusterId, memberId: record.id, incarnation: random63() };
  return { identity, founders: [], contacts: answer.members };
}

interface Heard {
  readonly answers: readonly Description[];
  /** Why the others did not answer, in words. */
  readonly failures: readonly string[];
}

/** What members that answer in time say of the cluster. */
async function descriptions(options: NodeOptions, urls: readonly string[], clock: Clock): Promise<Heard> {
  const heard = { answers: [] as Description[], failures: [] as string[] };
  if (options.transport !== undefined) return heard;
  const tls = options.peerTls ?? null;
  const outcomes = await Promise.allSettled(urls.map(async (url) => {
    return decodeDescription(await whenDone<Uint8Array>((done) => fetchDescription(url, tls, clock, DESCRIPTION_MS, done)));
  }));
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') heard.answers.push(outcome.value);
    else heard.failures.push(outcome.reason instanceof Error ? outcome.reason.message : String(outcome.reason));
  }
  return heard;
}

function describe(member: Member): Uint8Array {
  const { clusterId: cluster } = member.identity;
  return encodeDescription({ clusterId: cluster, members: member.node.described });
}

function connector(
  options: NodeOptions,
  clock: Clock,
  observe: Observe,
  on: { readonly describe: () => Uint8Array; readonly onOpen: (transport: TcpTransport) => void },
): ((identity: MemberIdentity) => Transport) | null {
  if (options.transport !== undefined) return options.transport;
  const peerUrls = options.peerUrls ?? ['http://localhost:2380'];
  const isAlone = (options.initialCluster ?? []).length < 2 && options.initialClusterState !== 'existing';
  const listen = options.listenPeerUrls ?? (isAlone ? [] : peerUrls);
  if (listen.length === 0) return null;
  return ({ memberId: self, clusterId: cluster }) => {
    const transport = new TcpTransport({
      listen, self, clusterId: cluster, clock, dice: new Prng(randomInt(2 ** 32)), observe, describe: on.describe,
      ...(options.peerTls === undefined ? {} : { tls: options.peerTls }),
    });
    on.onOpen(transport);
    return transport;
  };
}

function openLog(options: NodeOptions, identity: MemberIdentity, clock: Clock, observe: Observe): LogStorage {
  if (options.dataDir === null) return new MemoryLogStorage(clock);
  const disk = options.files === undefined ? { files: systemFiles, lock: systemLock } : { files: options.files };
  return new WalStorage({ ...disk, clock, directory: options.dataDir, identity, observe });
}

/** A positive number of 63 random bits. */
function random63(): bigint {
  return (BigInt(randomInt(2 ** 31)) << 32n) | BigInt(randomInt(1, 2 ** 32));
}

function ignore(_event: NodeEvent): void {
  // Nobody asked to be told.
}

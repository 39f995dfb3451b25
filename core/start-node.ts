// Embedding: a whole node in this process. A composition root: here, and in the command line, implementations are chosen.

import { randomInt } from 'node:crypto';
import { systemClock, type Clock } from './base/clock.js';
import { whenDone } from './base/done.js';
import { systemFiles, type Files } from './base/files.js';
import { systemLock } from './base/lock.js';
import { Prng } from './base/prng.js';
import type { Admin, Client } from './client.js';
import { isApiError } from './errors.js';
import { clusterId, memberId } from './identity.js';
import type { LogStorage } from './log/log-storage.js';
import { MemoryLogStorage } from './log/memory-log-storage.js';
import { WalStorage } from './log/wal.js';
import type { NodeEvent, Observe } from './node/events.js';
import { defaultLimits, type NodeLimits } from './node/limits.js';
import { LocalClient } from './node/local-client.js';
import { Node } from './node/node.js';
import { etcdVersion } from './version.js';

export interface NodeOptions {
  /** The member's name, shown to people. Default `default`. */
  readonly name?: string;
  /** Where the log and the snapshots live; created if missing. null: in memory, gone with the process (for tests). */
  readonly dataDir: string | null;
  /** Together with the token they determine the ids (contract 1.6). Default `http://localhost:2380`. */
  readonly peerUrls?: readonly string[];
  /** What the member list tells clients to dial. */
  readonly clientUrls?: readonly string[];
  readonly clusterToken?: string;
  /** Default 100. */
  readonly heartbeatMs?: number;
  /** At least five heartbeats. Default 1000. */
  readonly electionMs?: number;
  /** Entries between snapshots, at least. Default 100,000. */
  readonly snapshotCount?: number;
  readonly limits?: Partial<NodeLimits>;
  readonly observe?: Observe;
  /** For tests: another clock, another disk. */
  readonly clock?: Clock;
  readonly files?: Files;
}

export interface RunningNode {
  readonly client: Client & Admin;
  readonly name: string;
  readonly memberId: bigint;
  readonly clusterId: bigint;
  /** Facts for metrics and health; cheap. */
  facts(): NodeFacts;
  /** Resolves when the node has stopped: with null after `close`, else with what stopped it. Never rejects. */
  readonly ended: Promise<Error | null>;
  /** Stops taking part, waits for the log, releases the data directory. Idempotent. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface NodeFacts {
  readonly state: 'follower' | 'candidate' | 'leader';
  readonly term: number;
  readonly leader: bigint;
  readonly committed: number;
  readonly applied: number;
  readonly proposalsPending: number;
  readonly revision: number;
  readonly compacted: number;
  readonly keys: number;
  readonly leases: number;
  readonly watchers: number;
  readonly slowWatchers: number;
}

/** Starts a node and resolves once it serves: it has a leader and has applied what it had acknowledged before. */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const name = options.name ?? 'default';
  const peerUrls = options.peerUrls ?? ['http://localhost:2380'];
  const self = memberId(peerUrls, options.clusterToken ?? 'etcd-cluster');
  const cluster = clusterId([self]);
  const clock = options.clock ?? systemClock;
  const observe: Observe = options.observe ?? ignore;
  const limits = { ...defaultLimits, ...options.limits };
  const electionMs = options.electionMs ?? 1000;
  const heartbeatMs = options.heartbeatMs ?? 100;
  if (!(heartbeatMs >= 1)) throw new Error(`heartbeatMs (${heartbeatMs}) must be at least 1`);
  if (!(electionMs >= 5 * heartbeatMs)) {
    throw new Error(`electionMs (${electionMs}) must be at least five times heartbeatMs (${heartbeatMs})`);
  }
  const snapshotCount = options.snapshotCount ?? 100_000;
  if (!(snapshotCount >= 1)) throw new Error(`snapshotCount (${snapshotCount}) must be at least 1`);
  const log = openLog(options, { clusterId: cluster, memberId: self }, clock, observe);
  const node = new Node(
    {
      id: self,
      voters: [self],
      heartbeatMs,
      electionMs,
      snapshotCount,
      seed: randomInt(2 ** 32),
      limits,
    },
    { clock, log, observe },
  );
  const client = new LocalClient(
    node,
    { clock, dice: new Prng(randomInt(2 ** 32)) },
    {
      clusterId: cluster,
      memberId: self,
      members: [{ id: self, name, peerUrls, clientUrls: options.clientUrls ?? [], isLearner: false }],
      version: etcdVersion,
      electionMs,
      limits,
    },
  );
  const { ended } = await begin(node, client);
  const close = async (): Promise<void> => {
    await client.close();
    await whenDone((done) => node.stop(done));
  };
  let closing: Promise<void> | null = null;
  const running: RunningNode = {
    client,
    name,
    memberId: self,
    clusterId: cluster,
    facts: () => factsOf(node),
    ended,
    close: () => (closing ??= close()),
    [Symbol.asyncDispose]: () => running.close(),
  };
  return running;
}

async function begin(node: Node, client: LocalClient): Promise<{ ended: Promise<Error | null> }> {
  const end = { resolve: (_error: Error | null): void => undefined };
  const ended = new Promise<Error | null>((resolve) => {
    end.resolve = resolve;
  });
  const onEnd = (error: Error | null): void => {
    client.nodeStopped();
    end.resolve(error);
  };
  await whenDone((done) => node.start(onEnd, done));
  try {
    await firstRead(node);
  } catch (error) {
    // What stopped it says more than that it stopped; and then the log is closed, the directory given back.
    node.stop(() => undefined);
    throw (await ended) ?? error;
  }
  return { ended };
}

/** The election, and then replaying a long log, may take more than one request is allowed. Ends early when the node stops. */
async function firstRead(node: Node): Promise<void> {
  for (;;) {
    try {
      return await whenDone((done) => node.read(done));
    } catch (error) {
      if (!isApiError(error, 'timeout')) throw error;
    }
  }
}

function openLog(
  options: NodeOptions,
  identity: { clusterId: bigint; memberId: bigint },
  clock: Clock,
  observe: Observe,
): LogStorage {
  if (options.dataDir === null) return new MemoryLogStorage(clock);
  const disk = options.files === undefined ? { files: systemFiles, lock: systemLock } : { files: options.files };
  return new WalStorage({ ...disk, clock, directory: options.dataDir, identity, observe });
}

function factsOf(node: Node): NodeFacts {
  const raft = node.status();
  const store = node.store;
  return {
    state: raft.state,
    term: raft.term,
    leader: raft.leader,
    committed: raft.commit,
    applied: raft.applied,
    proposalsPending: node.proposalsPending,
    revision: store.revision,
    compacted: store.compacted,
    keys: store.keyCount,
    leases: store.leaseCount,
    watchers: node.hub.watcherCount,
    slowWatchers: node.hub.slowWatcherCount,
  };
}

function ignore(_event: NodeEvent): void {
  // Nobody asked to be told.
}

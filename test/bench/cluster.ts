// Three members on this machine, coterie's or etcd's, and the questions asked of them: through the leader and through a
// follower, because that is where forwarding and read rounds cost. All three members and the load generator share the
// machine's processors, for both.

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect } from '../../core/wire/remote-client.js';
import { freePorts } from '../interop/free-ports.js';
import { GET, gets, puts, SERIALIZABLE_GET, type Addressed, type Question } from './questions.js';
import { ended, untilHealthy, type TargetName } from './targets.js';

const MEMBERS = ['a', 'b', 'c'] as const;
const mainFile = fileURLToPath(new URL('../../core/main.js', import.meta.url));

export interface ClusterTarget {
  readonly leader: Addressed;
  readonly follower: Addressed;
  stop(): Promise<void>;
}

export async function startCluster(name: TargetName): Promise<ClusterTarget> {
  const directory = await mkdtemp(join(tmpdir(), `coterie-bench-${name}-`));
  const ports = await freePorts(2 * MEMBERS.length);
  const url = (port: number | undefined): string => `http://127.0.0.1:${port}`;
  const places = MEMBERS.map((member, i) => ({ member, client: url(ports[2 * i]), peer: url(ports[2 * i + 1]) }));
  const initialCluster = places.map(({ member, peer }) => `${member}=${peer}`).join(',');
  const children = places.map(({ member, client, peer }) => {
    const flags = [
      ...['--name', member, '--data-dir', join(directory, member), '--log-level', 'error'],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', initialCluster],
    ];
    return name === 'coterie'
      ? spawn(process.execPath, [mainFile, 'serve', ...flags], { stdio: 'ignore' })
      : spawn('etcd', [...flags, '--logger', 'zap', '--quota-backend-bytes', '8589934592'], { stdio: 'ignore' });
  });
  const stop = async (): Promise<void> => {
    await Promise.all(children.map((child) => ended(child, 'SIGKILL')));
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await Promise.all(places.map(({ client }, i) => untilHealthy(client, childAt(children, i))));
    const roles = await Promise.all(places.map(({ client }) => leads(client)));
    const member = (isLeader: boolean): Addressed => {
      const place = places[roles.indexOf(isLeader)];
      if (place === undefined) throw new Error(`three members of ${name} have no ${isLeader ? 'leader' : 'follower'}`);
      return { name, url: place.client };
    };
    return { leader: member(true), follower: member(false), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function childAt(children: readonly ChildProcess[], i: number): ChildProcess {
  const child = children[i];
  if (child === undefined) throw new Error('every member is a process');
  return child;
}

async function leads(url: string): Promise<boolean> {
  const client = connect(url);
  try {
    const status = await client.status();
    return status.leader === status.header.memberId;
  } finally {
    await client.close();
  }
}

export const clusterQuestions: readonly Question<ClusterTarget>[] = [
  {
    name: 'three members: durable puts through the leader, 10 x 20', unit: 'puts/s', better: 'more',
    ask: async ({ leader }) => (await puts(leader, 10, 20)).perSecond,
  },
  {
    name: 'three members: durable puts through a follower, 10 x 20', unit: 'puts/s', better: 'more',
    ask: async ({ follower }) => (await puts(follower, 10, 20)).perSecond,
  },
  {
    name: 'three members: durable puts through the leader, one at a time', unit: 'ms', better: 'less',
    ask: async ({ leader }) => (await puts(leader, 1, 1)).meanMs,
  },
  {
    name: 'three members: durable puts through a follower, one at a time', unit: 'ms', better: 'less',
    ask: async ({ follower }) => (await puts(follower, 1, 1)).meanMs,
  },
  {
    name: 'three members: linearizable gets through the leader, 10 x 20', unit: 'gets/s', better: 'more',
    ask: ({ leader }) => gets(leader, GET),
  },
  {
    name: 'three members: linearizable gets through a follower, 10 x 20', unit: 'gets/s', better: 'more',
    ask: ({ follower }) => gets(follower, GET),
  },
  {
    name: 'three members: serializable gets from a follower, 10 x 20', unit: 'gets/s', better: 'more',
    ask: ({ follower }) => gets(follower, SERIALIZABLE_GET),
  },
];

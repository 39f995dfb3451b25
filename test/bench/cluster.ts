// Three members on this machine, coterie's or etcd's. All three and the load generator share the machine's processors, for both.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from '../../core/wire/remote-client.js';
import { freePorts } from '../interop/free-ports.js';
import { firstAnswer } from './first-answer.js';
import { cpuMicrosOf } from './process-cost.js';
import { ended, type Scene } from './stage.js';
import { commandOf, type Target, type TargetName } from './targets.js';

const MEMBERS = ['a', 'b', 'c'] as const;

/** One member of several; what it costs is what all of them cost. */
export type Member = Pick<Target, 'name' | 'url' | 'headers' | 'client' | 'cpuMicros'>;

export interface ClusterTarget {
  readonly leader: Member;
  readonly follower: Member;
  /** The leader's first. */
  readonly urls: readonly string[];
  stop(): Promise<void>;
}

export async function startCluster(stage: Scene, name: TargetName): Promise<ClusterTarget> {
  const directory = await stage.directoryFor(`${name}-members`);
  const ports = await freePorts(2 * MEMBERS.length);
  const url = (port: number | undefined): string => `http://127.0.0.1:${port}`;
  const places = MEMBERS.map((member, i) => ({ member, client: url(ports[2 * i]), peer: url(ports[2 * i + 1]) }));
  const initialCluster = places.map(({ member, peer }) => `${member}=${peer}`).join(',');
  const members = places.map(({ member, client, peer }) => stage.launch(commandOf(name, [
    ...['--name', member, '--data-dir', join(directory, member)],
    ...['--listen-client-urls', client, '--advertise-client-urls', client],
    ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', initialCluster],
  ])));
  const stop = async (): Promise<void> => {
    await Promise.all(members.map(({ child }) => ended(child, 'SIGKILL')));
    await rm(directory, { recursive: true, force: true });
  };
  const cpuMicros = (): number => members.reduce((sum, { child }) => sum + cpuMicrosOf(child.pid), 0);
  try {
    const [first] = members;
    if (first === undefined) throw new Error('there are no members');
    await Promise.all(places.map(({ client }, i) => firstAnswer(client, members[i] ?? first)));
    const roles = await Promise.all(places.map(({ client }) => leads(client)));
    const member = (isLeader: boolean): Member => {
      const place = places[roles.indexOf(isLeader)];
      if (place === undefined) throw new Error(`three members of ${name} have no ${isLeader ? 'leader' : 'follower'}`);
      return { name, url: place.client, headers: [], client: {}, cpuMicros };
    };
    const leader = member(true);
    const others = places.map(({ client }) => client).filter((client) => client !== leader.url);
    return { leader, follower: member(false), urls: [leader.url, ...others], stop };
  } catch (error) {
    await stop();
    throw error;
  }
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

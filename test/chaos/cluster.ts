// One cluster of real processes with our network in front of each member and, where the machine allows, a disk of its own
// under it. Faults go through here, so that what may be expected of the cluster is known at any moment: who runs, who can
// talk to whom, whose disk is being mistreated.

import { closeSync, mkdtempSync, openSync, readSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Etcd3 } from 'etcd3';
import { Prng } from '../../core/base/prng.js';
import { freePorts } from '../interop/free-ports.js';
import { Disk } from './disks.js';
import { etcd3Of } from './foreign-client.js';
import { Links, type Splitter } from './links.js';
import { Member, type Joining, type Place, type TargetName } from './members.js';
import { Monitor } from './monitor.js';

/** etcd sets aside 64 MiB for each segment of its log; ours are small. */
const DISK_MIB = { etcd: 400, coterie: 160 } as const;
const SNAPSHOT_COUNT = 400;

export interface ClusterOptions {
  readonly target: TargetName;
  readonly members: number;
  readonly seed: number;
  readonly hasDisks: boolean;
  readonly newSplitter: (() => Splitter) | null;
}

export class Cluster {
  readonly target: TargetName;
  readonly links: Links;
  readonly monitor: Monitor;
  readonly directory: string;
  readonly members: Member[] = [];
  readonly #options: ClusterOptions;
  readonly #disks = new Map<string, Disk>();
  readonly #clients = new Map<string, Etcd3>();
  readonly #token: string;
  #made = 0;

  private constructor(options: ClusterOptions) {
    this.target = options.target;
    this.#options = options;
    this.directory = mkdtempSync(join(tmpdir(), `coterie-chaos-${options.target}-`));
    this.links = new Links(new Prng(options.seed ^ 0x11), options.newSplitter);
    this.monitor = new Monitor((a, b) => !this.links.isCut(a, b));
    this.#token = `chaos-${options.seed}`;
    process.once('exit', this.#abandon);
  }

  /** This process ends early: nothing it started may outlive it. */
  readonly #abandon = (): void => {
    for (const member of this.members) member.abandon();
    for (const disk of this.#disks.values()) disk.remove();
  };

  /** A new cluster, its processes started but not waited for. */
  static async start(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    const places: Place[] = [];
    for (let i = 0; i < options.members; i++) places.push(await cluster.#newPlace());
    const initialCluster = places.map((place) => `${place.name}=${place.peerUrl}`).join(',');
    for (const place of places) await cluster.#adopt(place, { initialCluster, state: 'new', token: cluster.#token });
    for (const member of cluster.members) member.start();
    cluster.monitor.start();
    return cluster;
  }

  async #newPlace(): Promise<Place> {
    const name = `m${++this.#made}`;
    const [client = 0, peer = 0, listen = 0] = await freePorts(3);
    const url = (port: number): string => `http://127.0.0.1:${port}`;
    let folder = join(this.directory, name);
    if (this.#options.hasDisks) {
      const disk = new Disk(this.directory, name, DISK_MIB[this.target]);
      this.#disks.set(name, disk);
      folder = disk.directory;
    }
    return {
      name,
      clientUrl: url(client),
      peerUrl: url(peer),
      listenPeerUrl: url(listen),
      dataDir: join(folder, 'data'),
      logFile: join(this.directory, `${name}.log`),
    };
  }

  async #adopt(place: Place, joining: Joining): Promise<Member> {
    const member = new Member(this.target, place, joining, ['--snapshot-count', `${SNAPSHOT_COUNT}`]);
    const port = (url: string): number => Number(new URL(url).port);
    await this.links.add({ name: place.name, pid: () => member.pid }, port(place.peerUrl), port(place.listenPeerUrl));
    this.members.push(member);
    this.#clients.set(place.name, etcd3Of(place.clientUrl));
    this.#tellMonitor();
    return member;
  }

  #tellMonitor(): void {
    this.monitor.setMembers(this.members.map((member) => ({
      name: member.name,
      client: this.client(member),
      isUp: () => member.isReachable,
    })));
  }

  /** A further member that is to join: `add` makes it known to the cluster under the given peer URL before it starts. */
  async join(add: (peerUrl: string, clusterUrls: string) => Promise<void>): Promise<Member> {
    const place = await this.#newPlace();
    const initialCluster = [...this.members.map((member) => member.place), place]
      .map(({ name, peerUrl }) => `${name}=${peerUrl}`)
      .join(',');
    await add(place.peerUrl, initialCluster);
    const member = await this.#adopt(place, { initialCluster, state: 'existing', token: this.#token });
    member.start();
    return member;
  }

  /** Removed from the cluster by now: ends its process and forgets it. */
  async dismiss(member: Member): Promise<void> {
    this.members.splice(this.members.indexOf(member), 1);
    this.#tellMonitor();
    await member.kill();
  }

  /** For questions of the campaign itself; the workload has clients of its own. */
  client(member: Member): Etcd3 {
    const client = this.#clients.get(member.name);
    if (client === undefined) throw new Error(`there is no client for ${member.name}`);
    return client;
  }

  get hasDisks(): boolean {
    return this.#options.hasDisks;
  }

  disk(member: Member): Disk {
    const disk = this.#disks.get(member.name);
    if (disk === undefined) throw new Error(`${member.name} has no disk of its own`);
    return disk;
  }

  leader(): Member | null {
    return this.members.find((member) => member.name === this.monitor.leader) ?? null;
  }

  async kill(members: readonly Member[]): Promise<void> {
    await Promise.all(members.map((member) => member.kill()));
    for (const member of members) this.monitor.forget(member.name);
    this.monitor.changed();
  }

  start(members: readonly Member[]): void {
    for (const member of members) member.start();
    this.monitor.changed();
  }

  pause(members: readonly Member[]): void {
    for (const member of members) {
      member.pause();
      this.monitor.forget(member.name);
    }
    this.monitor.changed();
  }

  resume(members: readonly Member[]): void {
    for (const member of members) member.resume();
    this.monitor.changed();
  }

  async restart(member: Member): Promise<number | null> {
    const stoppedMs = member.stop();
    this.monitor.forget(member.name);
    const ms = await stoppedMs;
    this.monitor.changed();
    member.start();
    return ms;
  }

  /** Unsynced data of all of them is lost at once, and their processes end. */
  async cutPower(members: readonly Member[]): Promise<void> {
    for (const member of members) {
      member.mayEnd();
      this.disk(member).cutPower();
    }
    await this.kill(members);
    for (const member of members) {
      this.disk(member).unmount();
      this.disk(member).mount();
    }
  }

  /** Nothing is wrong any more: all run, all may talk, all disks have room. */
  async healAll(): Promise<void> {
    this.links.heal();
    for (const member of this.members) {
      if (member.isPaused) member.resume();
      this.#disks.get(member.name)?.free();
      if (!member.isRunning) member.start();
    }
    this.monitor.changed();
  }

  /** Members that ended although nothing was done to them. */
  findings(): string[] {
    return this.members.flatMap((member) => {
      const exit = member.endedByItself;
      if (exit === null) return [];
      return [`${member.name} ended by itself (code ${exit.code}, signal ${exit.signal}):\n${member.lastWords()}`];
    });
  }

  async close(options: { keep: boolean }): Promise<void> {
    process.removeListener('exit', this.#abandon);
    await this.monitor.stop();
    await Promise.all(this.members.map((member) => member.kill()));
    for (const client of this.#clients.values()) client.close();
    await this.links.close();
    for (const disk of this.#disks.values()) {
      if (options.keep) disk.unmount();
      else disk.remove();
    }
    if (!options.keep) rmSync(this.directory, { recursive: true, force: true });
  }

  /** The end of each member's log, for a report. */
  lastWords(): string {
    return this.members.map((member) => `--- ${member.name}\n${tail(member.place.logFile)}`).join('\n');
  }
}

function tail(file: string): string {
  const sizeBytes = statSync(file).size;
  const bytes = Buffer.alloc(Math.min(sizeBytes, 2000));
  const fd = openSync(file, 'r');
  readSync(fd, bytes, 0, bytes.length, sizeBytes - bytes.length);
  closeSync(fd);
  return bytes.toString();
}

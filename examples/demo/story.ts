// What happens, in order: a service is added, one is drained, one is killed, and the store is restarted, all under traffic.
// Each act waits for what it wants to show, not for a time; the pauses between are for the eyes.

import { setTimeout as sleep } from 'node:timers/promises';

import type { Client } from '../../core/index.js';
import { prefixRange, utf8 } from '../../core/index.js';
import { discover } from '../../recipes/index.js';
import type { ServiceView } from '../../recipes/index.js';

import type { Board } from './board.js';
import { ServiceProcess } from './processes.js';
import type { StoreProcess } from './processes.js';
import { SERVICE, TTL_SECONDS } from './service.js';
import type { Warden } from './warden.js';

const LOOK_MS = 3_200;
const GLANCE_MS = 1_300;

export interface Stage {
  readonly board: Board;
  readonly client: Client;
  readonly store: StoreProcess;
  readonly warden: Warden;
  readonly services: Map<string, ServiceProcess>;
}

/** The services everything begins with, all at once. */
export async function raiseCurtain(stage: Stage): Promise<void> {
  await Promise.all(['web-1', 'web-2', 'web-3'].map((id) => startService(stage, id)));
  stage.board.note('service', 'web-1, web-2, web-3 are up and have registered themselves');
}

export async function tellStory(stage: Stage): Promise<void> {
  const view = await discover(stage.client, SERVICE).ready();
  const following = followRegistry(stage, view);
  try {
    stage.board.act = 'three services, steady traffic';
    await sleep(LOOK_MS);
    await addService(stage);
    await drainService(stage);
    await killService(stage, view);
    await restartStore(stage, view);
    stage.board.act = 'that is all';
    await sleep(GLANCE_MS);
  } finally {
    await view.close();
    await following;
  }
}

async function addService(stage: Stage): Promise<void> {
  const { board } = stage;
  board.act = 'adding web-4';
  board.note('demo', 'starting a fourth service');
  const service = await startService(stage, 'web-4');
  const { afterMs } = await service.hears('first_request');
  board.timeToLiveMs = afterMs;
  board.note('service', `web-4 serves its first request ${afterMs} ms after registering`);
  await sleep(LOOK_MS);
}

async function drainService(stage: Stage): Promise<void> {
  const { board } = stage;
  const service = serviceOf(stage, 'web-2');
  board.act = 'draining web-2';
  board.note('demo', 'draining web-2: it serves on until nobody asks any more');
  board.service('web-2').state = 'draining';
  service.order('drain');
  const { afterMs } = await service.hears('quiet');
  board.timeToQuietMs = afterMs;
  board.note('service', `web-2 saw its last request ${afterMs} ms after it began to drain`);
  await service.exit();
  board.service('web-2').state = 'gone';
  await sleep(GLANCE_MS);
}

async function killService(stage: Stage, view: ServiceView): Promise<void> {
  const { board } = stage;
  const service = serviceOf(stage, 'web-3');
  board.act = 'kill -9 web-3';
  const killedAt = Date.now();
  await service.kill();
  board.crash = { killedAt, deadAt: Date.now() };
  board.service('web-3').state = 'killed';
  board.note('demo', `kill -9 web-3; its lease of ${TTL_SECONDS} s runs out by itself`);
  await until(() => view.instances.every((instance) => instance.id !== 'web-3'), 60_000, 'the registry to forget web-3');
  await sleep(GLANCE_MS);
}

async function restartStore(stage: Stage, view: ServiceView): Promise<void> {
  const { board, client, store } = stage;
  board.act = 'restarting the store';
  const before = await census(client);
  board.note('demo', 'restarting the store under load: SIGTERM');
  board.store = { ...board.store, state: 'stopped', detail: 'the rest goes on' };
  const stoppedAt = Date.now();
  await store.stop();
  await sleep(GLANCE_MS);
  board.note('store', 'away; traffic goes on with the last good configuration');
  await store.start();
  const awayMs = Date.now() - stoppedAt;
  const after = await census(client);
  const kept = after.revision >= before.revision && before.keys.every((key) => after.keys.includes(key));
  if (!kept) throw new Error(`the store lost data: revision ${before.revision} before, ${after.revision} after the restart`);
  board.store = { ...board.store, state: 'up', detail: `rev ${after.revision}, pid ${store.pid}` };
  board.note('store', `back after ${awayMs} ms with its data: revision ${before.revision}, all ${before.keys.length} keys`);
  await until(() => view.staleSince === null, 60_000, 'the registry to be current again');
  const service = await startService(stage, 'web-5');
  const { afterMs } = await service.hears('first_request');
  board.note('service', `web-5 joins after the restart, serving after ${afterMs} ms`);
  await sleep(LOOK_MS);
}

async function startService(stage: Stage, id: string): Promise<ServiceProcess> {
  const row = stage.board.service(id);
  const service = new ServiceProcess(id, stage.store.url, stage.warden);
  stage.services.set(id, service);
  row.pid = service.pid;
  row.port = (await service.hears('up')).port;
  row.state = 'up';
  return service;
}

function serviceOf(stage: Stage, id: string): ServiceProcess {
  const service = stage.services.get(id);
  if (service === undefined) throw new Error(`${id} was never started`);
  return service;
}

/** Says what changed in the registry, for that is why anything changes in the balancer. */
async function followRegistry({ board }: Stage, view: ServiceView): Promise<void> {
  let before = new Map<string, string>();
  for await (const { instances, departures, revision } of view.changes) {
    if (board.store.state === 'up') board.store.detail = board.store.detail.replace(/rev \d+/, `rev ${revision}`);
    const now = new Map(instances.map((instance) => [instance.id, instance.state as string]));
    for (const [id, state] of now) {
      if (before.size > 0 && before.get(id) !== state) board.change(revision, `${id} is ${state}`);
    }
    for (const id of before.keys()) {
      const reason = departures.find((departure) => departure.id === id)?.reason ?? 'gone';
      if (!now.has(id)) board.change(revision, `${id} is gone (${reason})`);
    }
    before = now;
  }
}

async function census(client: Client): Promise<{ revision: number; keys: string[] }> {
  const answer = await client.range({ ...prefixRange(utf8('coterie/')), keysOnly: true }, { timeoutMs: 10_000 });
  return { revision: answer.header.revision, keys: answer.kvs.map((kv) => Buffer.from(kv.key).toString()) };
}

async function until(claim: () => boolean, withinMs: number, what: string): Promise<void> {
  const end = Date.now() + withinMs;
  while (!claim()) {
    if (Date.now() > end) throw new Error(`waited ${withinMs} ms in vain for ${what}`);
    await sleep(20);
  }
}

// What a group must remember over a restart, in one small file beside its first target: the generation that was confirmed,
// and the instances it showed. Without the second, a sidecar that restarts while the registry is empty could not tell
// "everybody vanished" from "nobody ever came". Damage is no error: it is like a first start.

import type { Files } from '../core/base/files.js';
import type { GroupConfig } from './config.js';
import { beside, readWhole, statOf, writeWhole } from './disk.js';
import type { Confirmed } from './publish.js';
import type { InstanceState } from '../recipes/registry.js';
import type { Instance } from './view-data.js';

const VERSION = 1;
/** What registrants fill may not grow without end. Beyond it the instances are not remembered over a restart. */
export const STATE_BYTES_MAX = 16_000_000;

export interface SavedState {
  readonly confirmed: Confirmed | null;
  readonly services: readonly (readonly [string, readonly Instance[]])[];
}

const NOTHING: SavedState = { confirmed: null, services: [] };

export async function statePath(config: GroupConfig, files: Files): Promise<string> {
  const target = config.templates[0]?.target ?? '';
  return beside((await statOf(files, target))?.realPath ?? target, 'state');
}

export async function readState(config: GroupConfig, files: Files): Promise<SavedState> {
  const bytes = await readSmall(files, await statePath(config, files));
  if (bytes === null) return NOTHING;
  const value = parsed(Buffer.from(bytes).toString('utf8'));
  if (!isRecord(value) || value['version'] !== VERSION || value['group'] !== config.name) return NOTHING;
  return { confirmed: confirmedOf(value['confirmed']), services: servicesOf(value['services']) };
}

export async function writeState(config: GroupConfig, files: Files, state: SavedState): Promise<void> {
  const services = Object.fromEntries(state.services.map(([name, instances]) => [name, instances.map(plain)]));
  const head = { version: VERSION, group: config.name, confirmed: state.confirmed };
  const whole = Buffer.from(JSON.stringify({ ...head, services }));
  const next = whole.length <= STATE_BYTES_MAX ? whole : Buffer.from(JSON.stringify({ ...head, services: {} }));
  const path = await statePath(config, files);
  const before = await readSmall(files, path);
  if (before !== null && next.equals(before)) return;
  await writeWhole(files, path, next, { mode: 0o600 });
}

/** Null also for one that is larger than any this file writes. */
async function readSmall(files: Files, path: string): Promise<Uint8Array | null> {
  const stat = await statOf(files, path);
  return stat === null || stat.sizeBytes > STATE_BYTES_MAX ? null : readWhole(files, path);
}

function plain({ service, id, address, port, weight, zone, tags, meta, state }: Instance): Instance {
  return { service, id, address, port, weight, zone, tags, meta, state };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function confirmedOf(value: unknown): Confirmed | null {
  if (!isRecord(value)) return null;
  const { generation, told } = value;
  return typeof generation === 'string' && /^[0-9a-f]{1,64}$/.test(generation) ? { generation, told: told === true } : null;
}

function servicesOf(value: unknown): SavedState['services'] {
  if (!isRecord(value)) return [];
  return Object.entries(value).map(([name, list]) => {
    const instances = Array.isArray(list) ? list.map(instanceOf).filter((one) => one !== null) : [];
    return [name, instances] as const;
  });
}

function instanceOf(value: unknown): Instance | null {
  if (!isRecord(value)) return null;
  const { service, id, address, port, weight, zone, tags, meta, state } = value;
  const texts = [service, id, address, zone];
  if (!texts.every((one) => typeof one === 'string') || typeof port !== 'number' || typeof weight !== 'number') return null;
  if (!Array.isArray(tags) || !isRecord(meta)) return null;
  return {
    service: String(service),
    id: String(id),
    address: String(address),
    port,
    weight,
    zone: String(zone),
    tags: tags.map(String),
    meta: Object.fromEntries(Object.entries(meta).map(([key, one]) => [key, String(one)])),
    state: stateOf(state),
  };
}

function stateOf(value: unknown): InstanceState {
  return value === 'draining' || value === 'maintenance' ? value : 'up';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

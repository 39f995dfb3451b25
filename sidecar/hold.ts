// "The list is empty" has three meanings, and this decides between them. Pure. (1) Everybody left on purpose: honoured at
// once, also for the last one. (2) Everybody vanished without a word (expired together, or the registry was wiped):
// `holdLast` keeps those who did not say goodbye. (3) The store cannot be read: nobody asks here at all then.

import type { ServiceConfig } from './config.js';
import type { Instance } from './view-data.js';
import { takesTraffic } from './view-data.js';

/** What is needed to know of one that left. */
export interface Departed {
  readonly id: string;
  readonly reason: 'closed' | 'drained' | 'expired' | 'evicted';
}

export interface Hold {
  /** What the templates are given. */
  readonly instances: readonly Instance[];
  /** The clock when the hold began; null when nothing is held. */
  readonly since: number | null;
  /** Those that are kept although the registry does not know them any more. */
  readonly held: readonly string[];
  /** The hold was given up because it lasted longer than `holdMaxMs`. */
  readonly expired: boolean;
}

export function decideHold(given: {
  readonly service: ServiceConfig;
  readonly present: readonly Instance[];
  readonly departed: readonly Departed[];
  /** What the templates were given last; null when nothing is known. */
  readonly last: Hold | null;
  readonly now: number;
}): Hold {
  const { service, present, departed, last, now } = given;
  const plain: Hold = { instances: present, since: null, held: [], expired: false };
  if (service.whenEmpty === 'renderEmpty' || last === null || present.some(takesTraffic)) return plain;
  const onPurpose = new Set(departed.filter((one) => one.reason !== 'expired').map((one) => one.id));
  // One that is still there but drains or rests said so itself.
  const there = new Set(present.map((one) => one.id));
  const silent = last.instances.filter((one) => takesTraffic(one) && !onPurpose.has(one.id) && !there.has(one.id));
  if (silent.length === 0) return plain;
  const since = last.since ?? now;
  if (service.holdMaxMs > 0 && now - since >= service.holdMaxMs) return { ...plain, expired: true };
  return { instances: [...present, ...silent], since, held: silent.map((one) => one.id), expired: false };
}

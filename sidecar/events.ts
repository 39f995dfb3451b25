// What the sidecar tells its owner: events through one `observe` function, and a status that can be asked at any time. Data
// only. `line` puts an event into words for a terminal or a log.

import type { Outcome } from './publish.js';

export type SidecarEvent = { readonly group: string } & (
  | { readonly kind: 'synced' }
  /** The store cannot be read; the last good configuration stays. */
  | { readonly kind: 'read_failed'; readonly reason: string; readonly retryMs: number }
  | { readonly kind: 'stale' | 'current' }
  /** A template cannot be read or rendered; nothing was touched. */
  | { readonly kind: 'render_failed'; readonly reason: string; readonly retryMs: number }
  | { readonly kind: 'instance_refused'; readonly service: string; readonly id: string; readonly reason: string }
  | { readonly kind: 'entry_invalid'; readonly reason: string }
  /** All instances vanished without a word; those named are kept. An alarm. */
  | { readonly kind: 'holding'; readonly service: string; readonly instances: readonly string[] }
  | { readonly kind: 'hold_ended'; readonly service: string; readonly gaveUp: boolean }
  | { readonly kind: 'waiting'; readonly service: string; readonly needs: number; readonly has: number }
  | { readonly kind: 'repaired'; readonly targets: readonly string[] }
  | { readonly kind: 'outcome'; readonly revision: number; readonly tookMs: number; readonly outcome: Outcome }
  /** Something the sidecar did not expect; it goes on. */
  | { readonly kind: 'trouble'; readonly reason: string }
);

export interface GroupStatus {
  readonly name: string;
  /** Everything read, and the last outcome good. */
  readonly ready: boolean;
  /** Why not; '' when ready. */
  readonly reason: string;
  readonly synced: boolean;
  /** Milliseconds since the registry was last known to be current; null while it is. */
  readonly staleMs: number | null;
  /** The store's revision that the running configuration shows; 0 before the first. */
  readonly revision: number;
  readonly generation: string | null;
  readonly lastError: string | null;
  readonly held: Readonly<Record<string, readonly string[]>>;
  readonly counts: GroupCounts;
}

export interface GroupCounts {
  readonly renders: number;
  /** Generations that came to run. */
  readonly applied: number;
  readonly failed: number;
  readonly rolledBack: number;
  readonly holds: number;
  readonly refusedInstances: number;
}

export interface SidecarStatus {
  readonly ready: boolean;
  readonly groups: readonly GroupStatus[];
}

/** Named in one line; the status has all of them. */
const NAMES_MAX = 20;

export function line(event: SidecarEvent): string {
  return `${event.group}: ${words(event)}`;
}

function words(event: SidecarEvent): string {
  switch (event.kind) {
    case 'synced':
      return 'registry read';
    case 'read_failed':
      return `the store cannot be read, the last configuration stays; again in ${event.retryMs} ms: ${event.reason}`;
    case 'stale':
      return 'the registry may have changed unseen; the last configuration stays';
    case 'current':
      return 'the registry is current again';
    case 'render_failed':
      return `not rendered, the last configuration stays; again in ${event.retryMs} ms: ${event.reason}`;
    case 'instance_refused':
      return `instance ${event.service}/${event.id} left out: ${event.reason}`;
    case 'entry_invalid':
      return `registry entry ignored: ${event.reason}`;
    case 'holding':
      return `ALARM all instances of ${event.service} vanished without a word; keeping ${some(event.instances)}`;
    case 'hold_ended':
      return event.gaveUp ? `no longer keeping the vanished instances of ${event.service}` : `${event.service} is back`;
    case 'waiting':
      return `waiting: ${event.service} has ${event.has} of the ${event.needs} instances required at first`;
    case 'repaired':
      return `finished what a crash had cut short: ${event.targets.join(', ')}`;
    case 'outcome':
      return `${outcomeWords(event.outcome)} (revision ${event.revision}, ${Math.round(event.tookMs)} ms)`;
    case 'trouble':
      return event.reason;
  }
}

function some(names: readonly string[]): string {
  const left = names.length - NAMES_MAX;
  return left > 0 ? `${names.slice(0, NAMES_MAX).join(', ')} and ${left} more` : names.join(', ');
}

function outcomeWords(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'unchanged':
      return `nothing to do, ${outcome.generation} runs`;
    case 'applied':
      return `${outcome.generation} runs (proof: ${outcome.proof})`;
    case 'failed':
      return `${outcome.step} of ${outcome.generation} failed, again in ${Math.round(outcome.retryMs)} ms: ${outcome.reason}`;
    case 'rolled_back':
      return `${outcome.generation} was not taken: ${outcome.reason}; ${outcome.trouble ?? 'the previous one runs again'}`;
    case 'quarantined':
      return `${outcome.generation} was not taken before and is left alone: ${outcome.reason}`;
  }
}

// Three kinds of empty: who is kept, who is let go, for how long.

import test from 'ava';
import type { ServiceConfig } from '../../sidecar/config.js';
import { decideHold } from '../../sidecar/hold.js';
import type { Departed, Hold } from '../../sidecar/hold.js';
import type { Instance } from '../../sidecar/view-data.js';
import { instance } from './rig.js';

const SERVICE: ServiceConfig = { name: 'web', whenEmpty: 'holdLast', holdMaxMs: 0, require: 0 };

function shown(instances: readonly Instance[]): Hold {
  return { instances, since: null, held: [], expired: false };
}

function decide(given: {
  last: readonly Instance[] | Hold | null;
  present?: readonly Instance[];
  departed?: readonly Departed[];
  service?: Partial<ServiceConfig>;
  now?: number;
}): Hold {
  const { present = [], departed = [], now = 0 } = given;
  const last = given.last === null || 'since' in given.last ? given.last : shown(given.last);
  return decideHold({ service: { ...SERVICE, ...given.service }, present, departed, last, now });
}

test('A6 when all vanish without a word the last ones are held; when they said goodbye they are let go at once', (t) => {
  const last = [instance('a'), instance('b')];
  t.like(decide({ last }), { held: ['a', 'b'], instances: last, since: 0 });
  t.like(decide({ last, departed: [{ id: 'a', reason: 'expired' }] }), { held: ['a', 'b'] });
  for (const reason of ['closed', 'drained', 'evicted'] as const) {
    t.like(decide({ last, departed: [{ id: 'a', reason }, { id: 'b', reason }] }), { held: [], instances: [], since: null });
  }
  t.deepEqual(decide({ last, departed: [{ id: 'a', reason: 'closed' }] }).instances, [instance('b')]);
});

test('one that is left takes over, and one that drains has said so itself', (t) => {
  const last = [instance('a'), instance('b')];
  t.like(decide({ last, present: [instance('c')] }), { held: [], instances: [instance('c')] });
  const draining = instance('a', { state: 'draining' });
  t.like(decide({ last, present: [draining] }), { held: ['b'], instances: [draining, instance('b')] });
  t.like(decide({ last: [instance('a')], present: [draining] }), { held: [], instances: [draining] });
});

test('nothing is held at a first start, under renderEmpty, or longer than holdMaxMs', (t) => {
  const last = [instance('a')];
  t.like(decide({ last: null }), { held: [], instances: [] });
  t.like(decide({ last, service: { whenEmpty: 'renderEmpty' } }), { held: [], instances: [] });
  const held = decide({ last, service: { holdMaxMs: 100 }, now: 1_000 });
  t.like(held, { since: 1_000, held: ['a'] });
  const still = decide({ last: held, service: { holdMaxMs: 100 }, now: 1_099 });
  t.like(still, { since: 1_000, held: ['a'] });
  const over = decide({ last: still, service: { holdMaxMs: 100 }, now: 1_100 });
  t.like(over, { held: [], instances: [], expired: true });
  t.like(decide({ last: over, now: 1_200 }), { held: [], instances: [], expired: false });
});

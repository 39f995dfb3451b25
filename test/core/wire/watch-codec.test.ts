// Answers with events written once for many watches are what the generated code writes for each.

import test from 'ava';
import fc from 'fast-check';
import type { Event, Header, KeyValue } from '../../../core/client.js';
import { TAKEN } from '../../../core/wire/call.js';
import { writeEvent } from '../../../core/wire/convert.js';
import { FRAGMENT_BYTES } from '../../../core/wire/limits.js';
import { WatchResponse } from '../../../core/wire/schema/generated/rpc.js';
import { Fragments, idField, WatchWriter } from '../../../core/wire/watch-codec.js';

const number = fc.oneof(fc.nat(300), fc.maxSafeNat());
const pair: fc.Arbitrary<KeyValue> = fc.record({
  key: fc.uint8Array({ maxLength: 20 }),
  value: fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.constantFrom(4000, 20_000, 70_000).map((length) => new Uint8Array(length).fill(7)),
  ),
  createRevision: number, modRevision: number, version: number,
  lease: fc.oneof(fc.constant(0n), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
});
const event: fc.Arbitrary<Event> = fc.record({
  kind: fc.constantFrom('put', 'delete'), kv: pair, prevKv: fc.option(pair),
});
const id64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const header: fc.Arbitrary<Header> = fc.record({ clusterId: id64, memberId: id64, revision: number, raftTerm: number });
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const watchId = fc.oneof(fc.constant(0n), fc.bigInt({ min: 1n, max: 300n }), int64);

/** Few of each, so that neighbours have one, two or all three in common. */
const world = fc.record({
  headers: fc.array(header, { minLength: 1, maxLength: 3 }),
  events: fc.array(event, { minLength: 1, maxLength: 6 }),
  ids: fc.array(watchId, { minLength: 1, maxLength: 3 }),
}).chain(({ headers, events, ids }) => fc.record({
  headers: fc.constant(headers),
  ids: fc.constant(ids),
  batches: fc.array(fc.subarray(events, { minLength: 1 }), { minLength: 1, maxLength: 3 }),
  picks: fc.array(fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2)), { minLength: 1, maxLength: 12 }),
}));

function generated(header: Header, id: bigint, events: readonly Event[], fragment = false): Buffer {
  const message = {
    header, watchId: id, created: false, canceled: false, compactRevision: 0, cancelReason: '', fragment,
    events: events.map(writeEvent),
  };
  return Buffer.from(WatchResponse.encode(message).finish());
}

function at<T>(list: readonly T[], i: number): T {
  const item = list[i % list.length];
  if (item === undefined) throw new Error('the list is empty');
  return item;
}

test('whatever answers have in common, each is what the generated code writes, and stays so', (t) => {
  const writer = new WatchWriter();
  fc.assert(fc.property(world, ({ headers, ids, batches, picks }) => {
    const sent: { readonly bytes: () => Buffer; readonly expected: Buffer }[] = [];
    for (const [h, i, b] of picks) {
      const [head, id, events] = [at(headers, h), at(ids, i), at(batches, b)];
      const expected = generated(head, id, events);
      t.is(writer.sizeOf(head, idField(id), events), expected.length);
      const send = (first: Uint8Array, rest: Uint8Array = new Uint8Array(0)): Promise<void> => {
        sent.push({ bytes: () => Buffer.concat([first, rest]), expected });
        return TAKEN;
      };
      t.is(writer.send(send, head, idField(id), events), TAKEN);
    }
    // What was given out is not written over by what comes later.
    t.is(sent.length, picks.length);
    for (const { bytes, expected } of sent) t.true(bytes().equals(expected));
  }), { numRuns: 300 });
});

test('large events are given out as the same bytes to all', (t) => {
  const writer = new WatchWriter();
  const kv = { key: new Uint8Array(1), value: new Uint8Array(100_000), createRevision: 2, modRevision: 2, version: 1, lease: 0n };
  const events: Event[] = [{ kind: 'put', kv, prevKv: null }];
  const head = { clusterId: 1n, memberId: 2n, revision: 2, raftTerm: 3 };
  const rests = new Set<Uint8Array>();
  for (const id of [0n, 1n, 2n]) {
    void writer.send((_first, rest = new Uint8Array(0)) => {
      rests.add(rest);
      return TAKEN;
    }, head, idField(id), events);
  }
  t.is(rests.size, 1);
});

test('fragments are as many as fit, between events, and all but the last say that more follows', (t) => {
  const head = { clusterId: 1n, memberId: 2n, revision: 9, raftTerm: 3 };
  const sizes = [700_000, 700_000, 700_000, 3_000_000, 10, 10, 1_000_000];
  const events = sizes.map((size, i): Event => {
    const [key, value] = [Uint8Array.of(i), new Uint8Array(size)];
    const kv = { key, value, createRevision: 2, modRevision: 2 + i, version: 1, lease: 0n };
    return { kind: 'put', kv, prevKv: null };
  });
  const fragments = new Fragments(head, 5n, events);
  const seen: number[][] = [];
  let from = 0;
  for (let bytes = fragments.next(); bytes !== null; bytes = fragments.next()) {
    const { events: part, fragment } = WatchResponse.decode(bytes);
    const whole = events.slice(from, from + part.length);
    from += part.length;
    t.true(generated(head, 5n, whole, fragment).equals(bytes));
    t.is(fragment, from < events.length);
    t.true(bytes.length < FRAGMENT_BYTES || part.length === 1);
    seen.push(part.map(({ kv }) => kv?.value.length ?? 0));
  }
  t.deepEqual(seen, [[700_000, 700_000], [700_000], [3_000_000], [10, 10, 1_000_000]]);
});

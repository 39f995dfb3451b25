// The streams of a connection against the obvious: a Map.

import test from 'ava';
import fc from 'fast-check';
import type { RequestHead } from '../../../../core/wire/http2/request-head.js';
import { Stream } from '../../../../core/wire/http2/stream.js';
import { Streams } from '../../../../core/wire/http2/streams.js';

const HEAD: RequestHead = {
  method: '', path: '', contentType: '', timeout: '', encoding: '', clientVersion: null, hasLeader: false, contentLength: -1,
  plain: null,
  token: undefined, authorization: undefined,
};

test('streams are found by their numbers, those that are open for long and those whose numbers meet as well', (t) => {
  // Steps from one number to the next: most often the least there is, and some that lead to the same place in a ring.
  const step = fc.constantFrom(2, 2, 2, 2, 6, 32, 64, 2048, 4096);
  const steps = fc.array(fc.tuple(step, fc.option(fc.nat(), { freq: 2 })), { maxLength: 400 });
  fc.assert(fc.property(steps, (all) => {
    const streams = new Streams();
    const model = new Map<number, Stream>();
    let id = 1;
    for (const [by, removed] of all) {
      id += by;
      const stream = new Stream(id, HEAD, 0, 0);
      streams.set(id, stream);
      model.set(id, stream);
      const known = [...model.keys()];
      const other = known[(removed ?? 0) % known.length] ?? 0;
      if (removed !== null) t.is(streams.delete(other), model.delete(other));
      t.is(streams.get(other), model.get(other));
      t.is(streams.size, model.size);
    }
    for (const [number, stream] of model) t.is(streams.get(number), stream);
    t.deepEqual([...streams.values()].map((each) => each.id).sort((a, b) => a - b), [...model.keys()]);
    t.false(streams.delete(id + 2));
    streams.clear();
    t.is(streams.size, 0);
    t.is(streams.get(id), undefined);
  }), { numRuns: 50 });
});

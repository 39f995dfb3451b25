// What is remembered is what was read, whatever comes in between.

import test from 'ava';
import { Prng } from '../../../../core/base/prng.js';
import { KnownHeads } from '../../../../core/wire/http2/known-heads.js';
import { FLAG, FRAME } from '../../../../core/wire/http2/protocol.js';
import { block, Caller, frame, HELLO, integer, request, type Fields } from './kit.js';

const ALL = FLAG.endHeaders | FLAG.endStream;

test('a few blocks in turn are known, as long as the table is the same, and one in a frame is found where it lies', (t) => {
  const heads = new KnownHeads();
  const blocks = ['/a/B', '/a/C', '/a/D', '/a/E'].map((path) => block(request([':path'], [[':path', path]])));
  for (const bytes of blocks) {
    t.is(heads.find(bytes, 0, bytes.length, 1), undefined);
    heads.keep(bytes, 0, bytes.length, 1, null);
  }
  for (const bytes of blocks) {
    const within = Buffer.concat([Buffer.alloc(9, 1), bytes, Buffer.alloc(3, 2)]);
    t.is(heads.find(within, 9, 9 + bytes.length, 1), null);
    t.is(heads.find(within, 9, 8 + bytes.length, 1), undefined);
    t.is(heads.find(bytes, 0, bytes.length, 2), undefined);
  }
});

test('what is kept is a copy: the bytes that it was read from may be written to', (t) => {
  const heads = new KnownHeads();
  const bytes = block(request());
  const before = Buffer.from(bytes);
  heads.keep(bytes, 0, bytes.length, 1, null);
  bytes.fill(0);
  t.is(heads.find(before, 0, before.length, 1), null);
  t.is(heads.find(bytes, 0, bytes.length, 1), undefined);
});

test('whatever is said, anew or again, with a table that changes or does not, each call has the head that it said', (t) => {
  const chance = new Prng(7);
  const caller = new Caller();
  caller.say(HELLO);
  const said: string[] = [];
  /** The last path put into the table. */
  let newest: string | null = null;
  for (let i = 0; i < 3000; i++) {
    const path = `/a/${chance.below(6)}`;
    const odd: Fields = chance.below(2) === 0 ? [] : [['grpc-timeout', `${1 + chance.below(chance.below(2) === 0 ? 3 : 1000)}S`]];
    const parts = [block(request([':path'], [])), block(odd)];
    // The path first: other fields end what may begin with a colon.
    const isKept = chance.below(40) === 0;
    if (isKept) newest = path;
    caller.say(frame(FRAME.headers, ALL, 2 * i + 1, Buffer.concat([block([[':path', path]], isKept ? 0x40 : 0), ...parts])));
    said.push(`${path} ${odd[0]?.[1] ?? ''}`);
    // The newest of the table, by its place.
    if (newest !== null && chance.below(4) === 0) {
      i += 1;
      const named = Buffer.concat([integer(62, 7, 0x80), ...parts]);
      caller.say(frame(FRAME.headers, ALL, 2 * i + 1, named));
      said.push(`${newest} ${odd[0]?.[1] ?? ''}`);
    }
    caller.hear();
  }
  const heard = caller.calls.map(({ stream: { head } }) => `${head.path} ${head.timeout}`);
  t.deepEqual(heard, said);
});

// A connection against RFC 9113, in raw frames and without a socket: the rows of connection-rows.ts, and what does not fit a row.

import test from 'ava';
import { CODE, FLAG, FRAME } from '../../../../core/wire/http2/protocol.js';
import { ROWS, type Must } from './connection-rows.js';
import { Caller, HELLO, type Frame } from './kit.js';

/** What was said about it, in the words of a row. */
function told(frames: readonly Frame[]): Must[] {
  return frames.flatMap((one): Must[] => {
    if (one.type === FRAME.goaway) return [{ goaway: one.payload.readUInt32BE(4) }];
    if (one.type === FRAME.rstStream) return [{ reset: one.stream, code: one.payload.readUInt32BE(0) }];
    if (one.type === FRAME.headers && (one.flags & FLAG.endStream) !== 0) return [{ answered: one.stream }];
    return [];
  });
}

for (const { section, claim, say, must, first, answers, isBare } of ROWS) {
  test(`${section} ${claim}`, (t) => {
    const caller = new Caller({ streamsMax: 4, ...(answers === true ? {} : { onEnd: () => undefined }) });
    if (isBare !== true) caller.say(HELLO);
    caller.say(...(first ?? []));
    caller.hear();
    t.false(caller.connection.isClosed, 'what was said before is no fault');
    caller.say(...say);
    const heard = told(caller.hear());
    t.deepEqual(heard, must === 'nothing' ? [] : [must]);
    const isFatal = typeof must === 'object' && 'goaway' in must && must.goaway !== CODE.noError;
    const isOver = isFatal || (section === '6.8' && caller.connection.streams === 0);
    t.is(caller.connection.isClosed, isOver);
    t.is(caller.line.isEnded, isOver);
    if (isOver) t.is(caller.calls.filter(({ stream }) => !stream.isReset && !stream.isSaid).length, 0);
    else t.true(caller.isServed());
    // What was reset is over for its user and takes no room.
    if (typeof must === 'object' && 'reset' in must) {
      t.false(caller.calls.some(({ stream, gone }) => stream.id === must.reset && (gone !== 1 || !stream.isReset)));
    }
  });
}

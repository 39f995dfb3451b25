// Snapshots on their way: whole or not at all, whatever happens in between.

import test from 'ava';
import { decodeFrame, encodeFrame } from '../../../core/peer/frame.js';
import { PIECE_BYTES, SENDERS_MAX, SNAPSHOT_ASK_MS, SNAPSHOT_SILENCE_MS, WINDOW_PIECES } from '../../../core/peer/limits.js';
import { META, Transfer } from './snapshot-transfer.js';

const SIZE = 5 * PIECE_BYTES + 77;

test('a snapshot arrives whole, once, and both sides hear of it', async (t) => {
  const transfer = new Transfer(SIZE);
  transfer.begin(1n, 2n);
  transfer.begin(1n, 2n);
  await transfer.rig.clock.advance(2000);
  const [a, b] = [transfer.peer(1n), transfer.peer(2n)];
  t.true(transfer.isWhole(2n));
  t.deepEqual(b.snapshots, [{ kind: 'snapshot', from: 1n, to: 2n, term: 7, snapshot: META }]);
  t.deepEqual(a.sent, [{ to: 2n, ok: true }]);
  t.is(transfer.pieces, 6);
  t.is(Buffer.compare(Buffer.concat(b.chunks), transfer.file), 0);
  t.is(a.log.openFiles, 0);
  t.deepEqual(b.messages, []);
});

test('a network that breaks at any frame delays a snapshot and never damages it', async (t) => {
  for (let at = 0; at < 30; at++) {
    const transfer = new Transfer(SIZE);
    const { board, clock } = transfer.rig;
    let frames = 0;
    board.delayMs = 2;
    board.onFrame = ({ frame }) => (frames++ >= at && frames <= at + 4 ? null : [frame]);
    transfer.begin(1n, 2n);
    await clock.advance(20_000);
    t.true(transfer.isWhole(2n), `lost from frame ${at} on`);
    t.is(transfer.peer(2n).snapshots.length, 1);
    t.deepEqual(transfer.peer(1n).sent, [{ to: 2n, ok: true }]);
    t.is(transfer.peer(2n).log.stages, 1);
  }
});

test('frames that are lost, repeated and late still make a whole snapshot', async (t) => {
  const transfer = new Transfer(SIZE);
  let n = 0;
  transfer.rig.board.onFrame = ({ frame }) => {
    n++;
    if (n % 5 === 0) return null;
    return n % 3 === 0 ? [frame, frame] : [frame];
  };
  transfer.begin(1n, 2n);
  await transfer.rig.clock.advance(60_000);
  t.true(transfer.isWhole(2n));
  t.is(transfer.peer(2n).snapshots.length, 1);
});

test('a receiver that begins anew gets everything again', async (t) => {
  for (let at = 1; at <= 14; at++) {
    const transfer = new Transfer(SIZE);
    const { rig } = transfer;
    let frames = 0;
    rig.board.onFrame = ({ frame }) => {
      frames++;
      return [frame];
    };
    transfer.begin(1n, 2n);
    while (frames < at) await rig.clock.advance(1);
    transfer.peer(2n).peers.close(() => undefined);
    const wasDone = transfer.peer(2n).snapshots.length === 1;
    const next = rig.peer(2n, { session: 22 });
    next.log.expected = transfer.file;
    next.peers.setMembers([{ id: 1n, peerUrls: ['memory://1'], incarnation: 101n }], () => false);
    await rig.clock.advance(20_000);
    t.true(wasDone || Buffer.compare(next.log.staged ?? Buffer.alloc(0), transfer.file) === 0, `died at frame ${at}`);
  }
});

test('a sender that dies leaves room for another one, and nothing partial', async (t) => {
  const transfer = new Transfer(SIZE, [1n, 2n, 3n]);
  const { rig } = transfer;
  let pieces = 0;
  rig.board.onFrame = ({ frame }) => {
    if (decodeFrame(frame).body.kind === 'piece') pieces++;
    return [frame];
  };
  transfer.begin(1n, 2n);
  while (pieces < 3) await rig.clock.advance(1);
  transfer.peer(1n).peers.close(() => undefined);
  await rig.clock.advance(100);
  t.is(transfer.peer(2n).log.staged, null);
  transfer.begin(3n, 2n, 8);
  await rig.clock.advance(5000);
  t.true(transfer.isWhole(2n));
  t.deepEqual(transfer.peer(2n).snapshots, [{ kind: 'snapshot', from: 3n, to: 2n, term: 8, snapshot: META }]);
});

test('of two senders at once one waits, and the stages never mix', async (t) => {
  const transfer = new Transfer(SIZE, [1n, 2n, 3n]);
  transfer.begin(1n, 2n);
  transfer.begin(3n, 2n);
  await transfer.rig.clock.advance(20_000);
  t.true(transfer.isWhole(2n));
  t.true(transfer.peer(1n).sent.concat(transfer.peer(3n).sent).every(({ ok }) => ok));
  t.is(transfer.peer(1n).sent.length + transfer.peer(3n).sent.length, 2);
});

test('a leader of a later term is not kept out by one that was deposed and ships on', async (t) => {
  const transfer = new Transfer(40 * PIECE_BYTES, [1n, 2n, 3n]);
  const { clock } = transfer.rig;
  transfer.begin(1n, 2n, 7);
  await clock.advance(4);
  transfer.begin(3n, 2n, 8);
  await clock.advance(3 * SNAPSHOT_ASK_MS);
  t.true(transfer.isWhole(2n));
  t.deepEqual(transfer.peer(3n).sent, [{ to: 2n, ok: true }]);
  t.deepEqual(transfer.peer(2n).snapshots.map(({ from, term }) => [from, term]), [[3n, 8]]);
});

test('who leads no more ships nothing more, and in a later term begins anew', async (t) => {
  const transfer = new Transfer(40 * PIECE_BYTES);
  const [a, b] = [transfer.peer(1n), transfer.peer(2n)];
  const { clock } = transfer.rig;
  transfer.begin(1n, 2n, 7);
  await clock.advance(4);
  t.is(b.log.openStages, 1);
  a.peers.stopShipping(7);
  t.is(a.log.openFiles, 1);
  a.peers.stopShipping(8);
  await clock.advance(10);
  t.deepEqual([a.log.openFiles, b.log.openStages, a.sent.length], [0, 0, 0]);
  transfer.begin(1n, 2n, 9);
  await clock.advance(4);
  transfer.begin(1n, 2n, 10);
  await clock.advance(3 * SNAPSHOT_ASK_MS);
  t.deepEqual(a.sent, [{ to: 2n, ok: true }]);
  t.deepEqual(b.snapshots.map(({ term }) => term), [10]);
});

test('a silent receiver is given up, and its stage goes with its silence', async (t) => {
  const transfer = new Transfer(SIZE);
  const { rig } = transfer;
  let frames = 0;
  rig.board.onFrame = ({ frame }) => (frames++ > 5 ? null : [frame]);
  transfer.begin(1n, 2n);
  await rig.clock.advance(2 * SNAPSHOT_SILENCE_MS + 2000);
  t.deepEqual(transfer.peer(1n).sent, [{ to: 2n, ok: false }]);
  t.is(transfer.peer(1n).log.openFiles, 0);
  t.is(transfer.peer(2n).log.openStages, 0);
  t.is(transfer.peer(2n).log.staged, null);
  rig.board.onFrame = ({ frame }) => [frame];
  transfer.begin(1n, 2n);
  await rig.clock.advance(2000);
  t.true(transfer.isWhole(2n));
});

test('bytes that are not what they claim to be are never fed to the machine', async (t) => {
  const transfer = new Transfer(SIZE);
  transfer.peer(2n).log.expected = Buffer.alloc(3);
  transfer.begin(1n, 2n);
  await transfer.rig.clock.advance(2000);
  t.deepEqual(transfer.peer(2n).snapshots, []);
  t.deepEqual(transfer.peer(1n).sent, [{ to: 2n, ok: false }]);
});

test('who has one as new is not sent another', async (t) => {
  const transfer = new Transfer(SIZE);
  transfer.peer(2n).wantsSnapshots = false;
  transfer.begin(1n, 2n);
  await transfer.rig.clock.advance(2000);
  t.is(transfer.pieces, 0);
  t.deepEqual(transfer.peer(1n).sent, [{ to: 2n, ok: true }]);
});

test('a member without a snapshot says that it could not send one', async (t) => {
  const transfer = new Transfer(SIZE);
  transfer.peer(1n).log.newest = null;
  transfer.begin(1n, 2n);
  await transfer.rig.clock.advance(100);
  t.deepEqual(transfer.peer(1n).sent, [{ to: 2n, ok: false }]);
});

test('members that all come back are served a few at a time', async (t) => {
  const ids = [1n, 2n, 3n, 4n, 5n, 6n];
  const transfer = new Transfer(SIZE, ids);
  const open = new Set<bigint>();
  let most = 0;
  transfer.rig.board.onFrame = ({ frame, to, from }) => {
    const { body } = decodeFrame(frame);
    if (body.kind === 'piece') open.add(to);
    if (body.kind === 'accept' && body.state === 'done') open.delete(from);
    most = Math.max(most, open.size);
    return [frame];
  };
  for (const id of ids.slice(1)) transfer.begin(1n, id);
  await transfer.rig.clock.advance(20_000);
  for (const id of ids.slice(1)) t.true(transfer.isWhole(id), `member ${id}`);
  t.true(most <= SENDERS_MAX, `${most} at once`);
});

test('no more is on its way than the window, however slow the receiver', async (t) => {
  const transfer = new Transfer(40 * PIECE_BYTES);
  let taken = 0;
  let most = 0;
  transfer.rig.board.delayMs = 200;
  transfer.rig.board.onFrame = ({ frame }) => {
    const { body } = decodeFrame(frame);
    if (body.kind === 'accept') taken = Math.max(taken, body.offset);
    if (body.kind === 'piece') most = Math.max(most, body.offset + body.bytes.length - taken);
    return [frame];
  };
  transfer.begin(1n, 2n);
  await transfer.rig.clock.advance(60_000);
  t.true(transfer.isWhole(2n));
  t.true(most <= (WINDOW_PIECES + 1) * PIECE_BYTES, `${most} bytes on their way`);
});

test('receivers that hang with a whole snapshot do not keep others from getting one', async (t) => {
  const ids = [1n, 2n, 3n, 4n];
  const transfer = new Transfer(SIZE, ids);
  for (const id of [2n, 3n]) {
    const { log } = transfer.peer(id);
    const { stageSnapshot } = log;
    log.stageSnapshot = (meta, done) => stageSnapshot.call(log, meta, (error, stage) => {
      // A disk that never answers the last question.
      if (stage !== undefined) done(error, { ...stage, finish: () => undefined });
    });
  }
  for (const id of ids.slice(1)) transfer.begin(1n, id);
  await transfer.rig.clock.advance(30_000);
  t.true(transfer.isWhole(4n));
  t.deepEqual(transfer.peer(1n).sent, [{ to: 4n, ok: true }]);
});

test('a process that stood still in the middle goes on where it was, on either side', async (t) => {
  for (const direction of ['sender', 'receiver'] as const) {
    const transfer = new Transfer(20 * PIECE_BYTES);
    const { rig } = transfer;
    const frozen = direction === 'sender' ? 1n : 2n;
    rig.board.delayMs = 5;
    transfer.begin(1n, 2n);
    while (transfer.pieces < 5) await rig.clock.advance(1);
    // What is under way reaches nobody while time passes; the timers of both find out at once how late they are.
    rig.board.isolate(frozen);
    await rig.clock.advance(20);
    rig.clock.jump(2 * SNAPSHOT_SILENCE_MS);
    rig.board.heal();
    await rig.clock.advance(10_000);
    t.true(transfer.isWhole(2n));
    t.deepEqual(transfer.peer(1n).sent, [{ to: 2n, ok: true }]);
    t.is(transfer.peer(2n).log.stages, 1);
  }
});

test('a later offer for the same file does not change what was staged', async (t) => {
  const transfer = new Transfer(SIZE);
  const { rig } = transfer;
  let offers = 0;
  rig.board.onFrame = ({ frame }) => {
    const { body, ...envelope } = decodeFrame(frame);
    if (body.kind !== 'offer' || offers++ === 0) return [frame];
    const meta = { ...body.meta, configuration: { ...META.configuration, voters: [1n, 9n] } };
    return [encodeFrame(envelope, { ...body, meta })];
  };
  // Only what is asked for a second time arrives, so that there is a second offer.
  let pieces = 0;
  const { onFrame } = rig.board;
  rig.board.onFrame = (passing) => (decodeFrame(passing.frame).body.kind === 'piece' && pieces++ === 0 ? null : onFrame(passing));
  transfer.begin(1n, 2n);
  await rig.clock.advance(20_000);
  t.true(offers > 1);
  t.deepEqual(transfer.peer(2n).snapshots, [{ kind: 'snapshot', from: 1n, to: 2n, term: 7, snapshot: META }]);
});

// Bytes come back as they went in, and memory is given back when nothing uses it.

import test from 'ava';
import { equalBytes } from '../../../core/base/bytes.js';
import { Arena } from '../../../core/store/arena.js';
import { ARENA_CHUNK_MAX_BYTES, ARENA_CHUNK_MIN_BYTES } from '../../../core/store/limits.js';

interface Piece {
  readonly chunk: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

function add(arena: Arena, length: number, fill: number): Piece {
  const bytes = new Uint8Array(length).fill(fill);
  arena.append(bytes);
  return { chunk: arena.chunk, offset: arena.offset, bytes };
}

const read = (arena: Arena, { chunk, offset, bytes }: Piece): Uint8Array => arena.read(chunk, offset, bytes.length);

test('pieces of all lengths are read back', (t) => {
  const arena = new Arena();
  const pieces = Array.from({ length: 2000 }, (_, i) => add(arena, (i * 37) % 700, i % 256));
  for (const piece of pieces) t.true(equalBytes(read(arena, piece), piece.bytes));
  t.is(arena.liveBytes, pieces.reduce((sum, { bytes }) => sum + bytes.length, 0));
});

test('the first bytes of a longer array can be stored', (t) => {
  for (const length of [5, 300]) {
    const arena = new Arena();
    const source = Uint8Array.from({ length: 500 }, (_, i) => i % 256);
    arena.append(source, length);
    t.deepEqual(arena.read(arena.chunk, arena.offset, length), source.slice(0, length));
  }
});

test('what was read stays true after its chunk is gone and others were written', (t) => {
  const arena = new Arena();
  const piece = add(arena, 1000, 7);
  const held = read(arena, piece);
  add(arena, ARENA_CHUNK_MIN_BYTES - 1000, 1);
  add(arena, 10, 1);
  arena.release(piece.chunk, 1000);
  arena.release(piece.chunk, ARENA_CHUNK_MIN_BYTES - 1000);
  for (let i = 0; i < 1000; i++) add(arena, 1000, 9);
  t.true(equalBytes(held, new Uint8Array(1000).fill(7)));
});

test('memory is given back when nothing in a chunk is used, and only then', (t) => {
  const arena = new Arena();
  const first = add(arena, ARENA_CHUNK_MIN_BYTES / 2, 1);
  const second = add(arena, ARENA_CHUNK_MIN_BYTES / 2, 2);
  const later = add(arena, 100, 3);
  const full = arena.sizeBytes;
  arena.release(first.chunk, first.bytes.length);
  t.is(arena.sizeBytes, full);
  t.true(equalBytes(read(arena, second), second.bytes));
  arena.release(second.chunk, second.bytes.length);
  t.is(arena.sizeBytes, full - ARENA_CHUNK_MIN_BYTES);
  t.deepEqual(read(arena, later), later.bytes);
  t.throws(() => arena.release(later.chunk, 101), { message: /more bytes released/ });
});

test('the chunk written to stays, and goes when the next begins', (t) => {
  const arena = new Arena();
  const only = add(arena, ARENA_CHUNK_MIN_BYTES, 1);
  arena.release(only.chunk, only.bytes.length);
  t.is(arena.sizeBytes, ARENA_CHUNK_MIN_BYTES);
  add(arena, 1, 1);
  t.is(arena.sizeBytes, ARENA_CHUNK_MIN_BYTES);
});

test('a chunk less than half used is sparse once it is full', (t) => {
  const arena = new Arena();
  const half = ARENA_CHUNK_MIN_BYTES / 2;
  const first = add(arena, half + 1, 1);
  const second = add(arena, half - 1, 1);
  arena.release(first.chunk, half + 1);
  t.false(arena.isSparse(first.chunk));
  add(arena, 1, 1);
  t.is(first.chunk, second.chunk);
  t.true(arena.isSparse(first.chunk));
});

test('a large piece has a chunk of its own size', (t) => {
  const arena = new Arena();
  const large = add(arena, ARENA_CHUNK_MAX_BYTES + 5, 4);
  t.is(arena.sizeBytes, ARENA_CHUNK_MAX_BYTES + 5);
  t.true(equalBytes(read(arena, large), large.bytes));
  arena.release(large.chunk, large.bytes.length);
  t.is(arena.sizeBytes, 0);
});

test('an adopted chunk is in use as a whole', (t) => {
  const arena = new Arena();
  const chunk = arena.adopt(Uint8Array.of(1, 2, 3));
  t.deepEqual(arena.read(chunk, 1, 2), Uint8Array.of(2, 3));
  arena.release(chunk, 1);
  t.is(arena.sizeBytes, 3);
  arena.release(chunk, 2);
  t.is(arena.sizeBytes, 0);
});

test('a chunk may be a part of something, of whatever class: short pieces are copies all the same', (t) => {
  const arena = new Arena();
  const whole = Buffer.from(Array.from({ length: 200 }, (_, i) => i));
  const chunk = arena.adopt(whole.subarray(50));
  const [short, long] = [arena.read(chunk, 10, 3), arena.read(chunk, 10, 100)];
  t.deepEqual([...short], [60, 61, 62]);
  t.is(long.length, 100);
  t.is(long[99], 159);
  t.deepEqual([...arena.view(chunk, 149, 1)], [199]);
  t.not(short.buffer, whole.buffer);
  t.is(long.buffer, whole.buffer);
});

test('a large piece that is nearly all of its memory stays where it is; any other is copied', (t) => {
  const arena = new Arena();
  const sharesMemory = (memoryBytes: number, from: number, length: number): boolean => {
    const bytes = new Uint8Array(memoryBytes).fill(length % 251).subarray(from, from + length);
    const [before, liveBefore] = [arena.sizeBytes, arena.liveBytes];
    arena.keep(bytes);
    const { chunk, offset } = arena;
    t.true(equalBytes(arena.read(chunk, offset, length), bytes));
    t.is(arena.liveBytes - liveBefore, length);
    const isShared = arena.read(chunk, offset, length).buffer === bytes.buffer;
    arena.release(chunk, length);
    if (isShared) t.is(arena.sizeBytes, before);
    return isShared;
  };
  t.true(sharesMemory(64 * 1024, 20, 64 * 1024 - 20));
  t.true(sharesMemory(64 * 1024, 8 * 1024, 56 * 1024));
  t.false(sharesMemory(64 * 1024, 8 * 1024 + 1, 56 * 1024 - 1));
  t.false(sharesMemory(1024 * 1024, 0, 64 * 1024));
  t.false(sharesMemory(1000, 0, 1000));
  t.false(sharesMemory(0, 0, 0));
});

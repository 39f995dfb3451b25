// A pipe between an owner and one reader: what is handed over when, and how it ends from either side.

import test from 'ava';
import fc from 'fast-check';
import { AssertionError } from '../../../core/base/assert.js';
import { Pipe } from '../../../core/base/pipe.js';

interface Rig {
  readonly pipe: Pipe<number>;
  readonly iterator: AsyncIterator<number, undefined>;
  /** How often the owner was told that a value is wanted, and that it is over. */
  readonly told: { wanted: number; ended: number };
}

function rig(sizeMax = 100): Rig {
  const told = { wanted: 0, ended: 0 };
  const pipe = new Pipe<number>({
    sizeMax,
    onWanted: () => {
      told.wanted++;
    },
    onEnd: () => {
      told.ended++;
    },
  });
  return { pipe, iterator: pipe[Symbol.asyncIterator](), told };
}

const canceled = (reason: unknown): Error => new Error('given up', { cause: reason });

test('what is queued is read in order, and then the reader waits for what is pushed', async (t) => {
  const { pipe, iterator, told } = rig();
  pipe.push(1);
  pipe.push(2);
  t.is(pipe.size, 2);
  t.deepEqual(await iterator.next(), { done: false, value: 1 });
  t.deepEqual(await iterator.next(), { done: false, value: 2 });
  t.false(pipe.isAwaited);
  const third = iterator.next();
  t.true(pipe.isAwaited);
  pipe.push(3);
  t.deepEqual([pipe.isAwaited, pipe.size], [false, 0]);
  t.deepEqual(await third, { done: false, value: 3 });
  t.deepEqual(told, { wanted: 3, ended: 0 });
});

test('an owner may push, or end it, from within the call that says that a value is wanted', async (t) => {
  let left = 2;
  const pipe: Pipe<number> = new Pipe({
    sizeMax: 1,
    onWanted: () => (left > 0 ? pipe.push(left--) : pipe.end(null)),
    onEnd: () => undefined,
  });
  const seen: number[] = [];
  for await (const value of pipe) seen.push(value);
  t.deepEqual(seen, [2, 1]);
});

test('a failure is thrown once, after what is queued, and from then on it is just over', async (t) => {
  const { pipe, iterator, told } = rig();
  pipe.push(1);
  pipe.end(new Error('broken'));
  pipe.end(null);
  pipe.push(2);
  t.deepEqual(await iterator.next(), { done: false, value: 1 });
  await t.throwsAsync(iterator.next(), { message: 'broken' });
  t.true((await iterator.next()).done);
  t.deepEqual(told, { wanted: 0, ended: 1 });
});

test('a reader that waits hears of the end at once', async (t) => {
  const over = rig();
  const last = over.iterator.next();
  over.pipe.end(null);
  t.deepEqual(await last, { done: true, value: undefined });

  const broken = rig();
  const waiting = broken.iterator.next();
  broken.pipe.end(new Error('broken'));
  await t.throwsAsync(waiting, { message: 'broken' });
  t.true((await broken.iterator.next()).done);
});

test('a reader that leaves gets nothing more, not even an error that was still to be thrown', async (t) => {
  const { pipe, iterator, told } = rig();
  pipe.push(1);
  pipe.end(new Error('broken'));
  t.true((await iterator.return?.())?.done);
  t.true((await iterator.next()).done);
  t.is(told.ended, 1);
});

test('leaving the loop ends it for the owner too', async (t) => {
  const told: string[] = [];
  const pipe = new Pipe<number>({ sizeMax: 2, onEnd: () => told.push('ended') });
  pipe.push(1);
  pipe.push(2);
  for await (const value of pipe) {
    t.is(value, 1);
    break;
  }
  t.deepEqual(told, ['ended']);
  t.deepEqual([pipe.isOpen, pipe.size], [false, 0]);
});

test('an aborted signal cuts it at once, whatever is queued', async (t) => {
  const { pipe, iterator, told } = rig();
  const abort = new AbortController();
  pipe.follow(abort.signal, canceled);
  pipe.push(1);
  abort.abort('enough');
  const error = await t.throwsAsync(iterator.next(), { message: 'given up' });
  t.is(error?.cause, 'enough');
  t.is(told.ended, 1);
});

test('a signal that is aborted already cuts it, and one that is aborted after the end does nothing', async (t) => {
  const late = rig();
  late.pipe.follow(AbortSignal.abort('before'), canceled);
  t.false(late.pipe.isOpen);
  await t.throwsAsync(late.iterator.next(), { message: 'given up' });

  const { pipe, iterator } = rig();
  const abort = new AbortController();
  pipe.follow(abort.signal, canceled);
  pipe.push(1);
  pipe.end(null);
  abort.abort();
  t.deepEqual(await iterator.next(), { done: false, value: 1 });
  t.true((await iterator.next()).done);
});

test('a hundred streams may follow one signal without a warning', async (t) => {
  const warnings: string[] = [];
  const warn = (warning: Error): void => void warnings.push(warning.name);
  process.on('warning', warn);
  const abort = new AbortController();
  const rigs = Array.from({ length: 100 }, () => rig());
  for (const { pipe } of rigs) pipe.follow(abort.signal, canceled);
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', warn);
  t.deepEqual(warnings, []);
  abort.abort();
  t.false(rigs.some(({ pipe }) => pipe.isOpen));
});

test('it has one reader, which waits for one value at a time', (t) => {
  const { pipe, iterator } = rig();
  t.throws(() => pipe[Symbol.asyncIterator](), { instanceOf: AssertionError });
  void iterator.next();
  t.throws(() => iterator.next(), { instanceOf: AssertionError });
});

test('to push more than it may hold is an assertion, which names the bound', (t) => {
  const { pipe } = rig(2);
  pipe.push(1);
  pipe.push(2);
  t.throws(() => pipe.push(3), { instanceOf: AssertionError, message: /may hold 2 values/ });
});

test('whenever values are pushed and read, the reader sees all of them, in order, and then the end', async (t) => {
  const steps = fc.array(fc.boolean(), { maxLength: 60 });
  await fc.assert(fc.asyncProperty(steps, async (pushes) => {
    const { pipe, iterator } = rig();
    const seen: number[] = [];
    let pushed = 0;
    let reading: Promise<void> | null = null;
    const read = async (): Promise<void> => {
      for (let result = await iterator.next(); result.done !== true; result = await iterator.next()) seen.push(result.value);
    };
    for (const isPush of pushes) {
      if (isPush) pipe.push(pushed++);
      else reading ??= read();
      if (!isPush) await Promise.resolve();
      t.false(pipe.isAwaited && pipe.size > 0);
    }
    pipe.end(null);
    await (reading ?? read());
    t.deepEqual(seen, Array.from({ length: pushed }, (_, i) => i));
  }));
});

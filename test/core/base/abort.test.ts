// One signal, many who wait for it.

import test from 'ava';
import { onceAborted } from '../../../core/base/abort.js';

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test('a hundred may listen to one signal without a warning, each is called once, and who has left is not', async (t) => {
  const warnings: string[] = [];
  const warn = (warning: Error): void => void warnings.push(warning.message);
  process.on('warning', warn);
  const control = new AbortController();
  let called = 0;
  const tells = Array.from({ length: 100 }, () => () => {
    called += 1;
  });
  for (const tell of tells) onceAborted(control.signal, tell);
  for (const tell of tells.slice(0, 40)) control.signal.removeEventListener('abort', tell);
  control.abort();
  control.abort();
  await turn();
  process.off('warning', warn);
  t.is(called, 60);
  t.deepEqual(warnings, []);
});

test('without a signal there is nothing to listen to', (t) => {
  t.notThrows(() => onceAborted(undefined, () => t.fail()));
});

// What is read from /proc, from h2load and from /metrics, as they write it.

import test from 'ava';
import { latestIn } from './heartbeats.js';
import { readOutput } from './load.js';
import { cpuMicrosOf, residentBytesOf, residentIn, ticksOf } from './process-cost.js';

test('the time of a process is that of user and system together, whatever its name holds', (t) => {
  t.is(ticksOf('42 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 700 80 1 1 20 0 5 0'), 780);
});

test('this process has taken time, and memory', (t) => {
  const before = cpuMicrosOf(process.pid);
  // It is counted in ticks of 10 ms, and a busy machine lets it wait for one.
  const until = performance.now() + 30_000;
  while (cpuMicrosOf(process.pid) <= before && performance.now() < until) Math.sqrt(until);
  t.true(cpuMicrosOf(process.pid) > before);
  t.true(residentBytesOf(process.pid) > 1e7);
});

test('the memory of a process that has ended is an error, not nothing', (t) => {
  t.is(residentIn('Name:\tetcd\nVmRSS:\t    2048 kB\nThreads:\t4\n'), 2048 * 1024);
  t.throws(() => residentIn('Name:\tetcd\nState:\tZ (zombie)\n'), { message: /has ended/ });
});

const OUTPUT = `finished in 1.00s, 49876.50 req/s, 3.20MB/s
requests: 49900 total, 50100 started, 49900 done, 49877 succeeded, FAILED failed, 0 errored, 0 timeout
status codes: 49877 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 3.20MB (3355443) total, 97.5KB (99840) headers (space savings 93.75%), 1.5MB (1596064) data
`;

test('of h2load the rate, the answers that succeeded and the bytes of bodies are read', (t) => {
  const expected = { perSecond: 49_876.5, requests: 49_877, bodyBytes: 1_596_064 };
  t.deepEqual(readOutput(OUTPUT.replace('FAILED', '0')), expected);
});

test('failed requests, or none at all, are an error', (t) => {
  t.throws(() => readOutput(OUTPUT.replace('FAILED', '3')), { message: /failed requests, or none/ });
  t.throws(() => readOutput(OUTPUT.replace('FAILED', '0').replace('49877 succeeded', '0 succeeded')));
  t.throws(() => readOutput('could not connect'));
});

test('a heartbeat is as late as the latest tick, or as a silence is longer than usual; without both nothing is known', (t) => {
  const metrics = (tick: number, silence: number): string =>
    `# HELP x y\ncoterie_tick_late_max_seconds ${tick}\ncoterie_leader_silence_max_seconds ${silence}\nother 3\n`;
  t.is(latestIn(metrics(0.125, 0.1)), 0.125);
  t.is(latestIn(metrics(0.125, 0.5)), 0.4);
  t.is(latestIn('coterie_tick_late_max_seconds 0.1\n'), null);
});

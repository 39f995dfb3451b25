// `npm run demo`: coterie's main job on real processes, in half a minute. A durable store, services that register themselves,
// a load balancer that follows them, traffic all the time; services come, go and die and the store restarts under it.
// Ends by itself and leaves nothing behind. Exit code 0 only if planned changes cost no request.

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { connect } from '../../core/index.js';

import { BALANCERS, findBalancer, startBalancer } from './balancers.js';
import type { Balancer, BalancerName } from './balancers.js';
import { Board, SLOT_MS } from './board.js';
import { freePort, StoreProcess } from './processes.js';
import { isColourful, liveScreen, plainScreen } from './screen.js';
import type { Screen } from './screen.js';
import { raiseCurtain, tellStory } from './story.js';
import type { Stage } from './story.js';
import { summarize, summaryWords } from './summary.js';
import { Traffic } from './traffic.js';
import { Warden } from './warden.js';

const REQUESTS_PER_SECOND = 200;
/** A run that hangs is a failure with a reason, not a terminal that is lost. Four times what a run takes on two busy cores. */
const WHOLE_RUN_MS = 120_000;
/** For each thing that is to close; the warden ends what is slower. */
const CLOSE_MS = 2_000;
const INTERRUPTED = 130;

const USAGE = `npm run demo -- [--balancer nginx|haproxy|builtin] [--keep] [--json]

  --balancer  the load balancer in front; without it nginx if installed, else HAProxy, else the one built in
  --keep      go on until Ctrl-C
  --json      print one summary object and nothing else
`;

interface Words {
  readonly balancer: BalancerName;
  /** As the binary calls itself. */
  readonly balancerLabel: string;
  readonly keep: boolean;
  readonly json: boolean;
}

/** A string is an error, with its remedy. */
function readWords(argv: readonly string[]): Words | string {
  const options = { balancer: { type: 'string' }, keep: { type: 'boolean' }, json: { type: 'boolean' } } as const;
  const { values } = parseArgs({ args: [...argv], options });
  const wanted = values.balancer === undefined ? BALANCERS : BALANCERS.filter((name) => name === values.balancer);
  if (wanted.length === 0) return `--balancer ${values.balancer}: expected one of ${BALANCERS.join(', ')}`;
  for (const balancer of wanted) {
    const balancerLabel = findBalancer(balancer);
    if (balancerLabel !== null) return { balancer, balancerLabel, keep: values.keep ?? false, json: values.json ?? false };
  }
  return `--balancer ${values.balancer}: it is not installed; install it, or choose --balancer builtin`;
}

async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(USAGE);
    return 0;
  }
  let words: Words | string;
  try {
    words = readWords(argv);
  } catch (error) {
    words = error instanceof Error ? error.message : String(error);
  }
  if (typeof words === 'string') {
    process.stderr.write(`demo: ${words}\n\n${USAGE}`);
    return 2;
  }
  return run(words);
}

async function run(words: Words): Promise<number> {
  const screen: Screen = words.json ? { onNote: () => undefined, close: () => undefined } : openScreen(() => board);
  const board = new Board((note) => screen.onNote(note));
  board.balancer.name = words.balancerLabel;
  const stop = new Promise<string>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve('stopped'));
    // A terminal or a pipe that is gone is like Ctrl-C: nobody looks any more, and what was started must still be ended.
    process.stdout.on('error', () => resolve('stopped'));
    process.stderr.on('error', () => resolve('stopped'));
    if (words.keep) return;
    setTimeout(() => resolve(`not done after ${WHOLE_RUN_MS / 1000} s, in "${board.act}"`), WHOLE_RUN_MS).unref();
  });
  let trouble: string | null;
  try {
    trouble = await perform(words, board, stop);
  } catch (error) {
    trouble = error instanceof Error ? error.message : String(error);
  } finally {
    screen.close();
  }
  const summary = summarize(board, words.balancer);
  const told = trouble === null || (words.keep && trouble === 'stopped');
  if (words.json) process.stdout.write(`${JSON.stringify(summary)}\n`);
  else process.stdout.write(summaryWords(board, summary, { colour: isColourful(process.stdout), told }));
  if (!told) process.stderr.write(`demo: ${trouble}\n`);
  if (trouble === 'stopped' && !words.keep) return INTERRUPTED;
  return told && summary.failed === summary.failedDuringCrash ? 0 : 1;
}

/** The run from the first process to the last. Null when the whole story was told; else why not. */
async function perform(words: Words, board: Board, stop: Promise<string>): Promise<string | null> {
  const directory = mkdtempSync(join(tmpdir(), 'coterie-demo-'));
  const warden = new Warden(directory);
  const closing: (() => Promise<void>)[] = [];
  const turning = setInterval(() => board.turn(), SLOT_MS);
  try {
    const story = (async (): Promise<null> => {
      const stage = await openStage(words, { board, directory, warden, closing });
      await tellStory(stage);
      if (!words.keep) return null;
      board.act = 'running until Ctrl-C';
      board.note('demo', `etcdctl --endpoints ${stage.store.url} get --prefix coterie/ --keys-only`);
      await stop;
      return null;
    })();
    // When the run is stopped, what the story still does ends with the processes it does it to.
    story.catch(() => undefined);
    return await Promise.race([story, stop]);
  } finally {
    clearInterval(turning);
    for (const close of closing.reverse()) await Promise.race([close().catch(() => undefined), sleep(CLOSE_MS)]);
    await warden.close();
  }
}

interface Ground {
  readonly board: Board;
  readonly directory: string;
  readonly warden: Warden;
  /** What is to be closed, in reverse order. */
  readonly closing: (() => Promise<void>)[];
}

async function openStage(words: Words, { board, directory, warden, closing }: Ground): Promise<Stage> {
  board.act = 'starting';
  const store = new StoreProcess(directory, await freePort(), warden);
  board.store.url = store.url;
  await store.start();
  closing.push(() => store.stop());
  board.store = { state: 'up', url: store.url, detail: `rev 1, pid ${store.pid}` };
  board.note('store', `ready on ${store.url.replace('http://', '')}, data in ${directory}`);
  const client = connect(store.url);
  closing.push(() => client.close());
  const stage = { board, client, store, warden, services: new Map() } satisfies Stage;
  closing.push(() => stopServices(stage));
  await raiseCurtain(stage);
  const balancer: Balancer = await startBalancer(words.balancer, client, directory, board);
  closing.push(() => balancer.close());
  board.balancer.url = `http://127.0.0.1:${balancer.port}`;
  const traffic = new Traffic({
    port: balancer.port,
    perSecond: REQUESTS_PER_SECOND,
    onOutcome: (outcome) => {
      board.count(outcome);
      if (outcome.failure !== null) board.note('traffic', `a request failed: ${outcome.failure}`);
    },
    onHeldBack: () => {
      if (board.heldBack === 0) board.note('traffic', 'this machine is busy: some requests are held back');
      board.heldBack += 1;
    },
  });
  closing.push(() => traffic.stop());
  board.note('traffic', `${REQUESTS_PER_SECOND} requests a second, half of them over new connections`);
  return stage;
}

async function stopServices(stage: Stage): Promise<void> {
  for (const service of stage.services.values()) if (!service.ended) service.order('stop');
  await Promise.all([...stage.services.values()].map((service) => service.exit()));
}

function openScreen(board: () => Board): Screen {
  return process.stdout.isTTY && process.env['TERM'] !== 'dumb' ? liveScreen(board, process.stdout) : plainScreen(process.stdout);
}

process.exit(await main(process.argv.slice(2)));

// Kill -9 during writes, on the real process: after every kill the server is started again on what it left, and every
// write it had acknowledged must be there, with its revision. Keys are written over and over, so that snapshots,
// segment changes and recovery itself are hit. The page cache survives a kill: losing unsynced bytes is the business of
// test/core/log, on a simulated disk.

import { connect } from '../../core/wire/remote-client.js';
import { put, type Client } from '../../core/client.js';
import { isApiError } from '../../core/errors.js';
import { Prng } from '../../core/base/prng.js';
import { text, utf8 } from '../../core/base/bytes.js';
import { freePort } from './free-ports.js';
import { startServer } from './server-process.js';

export interface KillReport {
  readonly kills: number;
  readonly acknowledged: number;
  readonly unknown: number;
  /** Keys whose last acknowledged write was checked, over all rounds. */
  readonly checked: number;
  readonly revision: number;
  readonly slowestStartMs: number;
}

interface Acked {
  readonly counter: number;
  readonly revision: number;
}

const WRITERS = 16;
const KEYS = 400;
/** At least, before every second kill, if they come within so long. */
const WRITES_MIN = 100;
const WRITES_MS = 10_000;

/** Throws on the first violation, naming the round and the key. */
export async function killDuringWrites(options: {
  kills: number;
  seed: number;
  dataDir: string;
  onRound?: (round: number, acknowledged: number) => void;
}): Promise<KillReport> {
  const dice = new Prng(options.seed);
  const port = await freePort();
  const acked = new Map<string, Acked>();
  const totals = { acknowledged: 0, unknown: 0, checked: 0, slowestStartMs: 0, revision: 0, counter: 0 };
  for (let round = 1; round <= options.kills + 1; round++) {
    const startedAt = performance.now();
    const server = await startServer({ port, dataDir: options.dataDir, flags: ['--snapshot-count', '700'] });
    totals.slowestStartMs = Math.max(totals.slowestStartMs, performance.now() - startedAt);
    const client = connect(server.url);
    totals.checked += await verify(client, acked, round, totals);
    if (round > options.kills) {
      await client.close();
      await server.end('SIGTERM');
      break;
    }
    let alive = true;
    const writers = Array.from({ length: WRITERS }, async (_, writer) => {
      while (alive) {
        const key = `k${(writer + WRITERS * dice.below(KEYS / WRITERS)).toString().padStart(4, '0')}`;
        const counter = ++totals.counter;
        try {
          const answer = await put(client, utf8(key), utf8(`${counter}:${'x'.repeat(dice.below(600))}`));
          acked.set(key, { counter, revision: answer.header.revision });
          totals.acknowledged++;
        } catch (error) {
          if (!isApiError(error)) throw error;
          totals.unknown++;
          return;
        }
      }
    });
    // On a machine that has other things to do until something was written, so that a kill has something to lose.
    const [enough, lastMs] = [totals.acknowledged + WRITES_MIN, performance.now() + WRITES_MS];
    await new Promise((resolve) => setTimeout(resolve, 5 + dice.below(400)));
    while (round % 2 === 0 && totals.acknowledged < enough && performance.now() < lastMs) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await server.end('SIGKILL');
    alive = false;
    await Promise.all(writers);
    await client.close();
    options.onRound?.(round, totals.acknowledged);
  }
  const { acknowledged, unknown, checked, revision, slowestStartMs } = totals;
  return { kills: options.kills, acknowledged, unknown, checked, revision, slowestStartMs };
}

/** Each writer owns its keys, so the store's pair is the last acknowledged write or one tried after it. */
async function verify(
  client: Client,
  acked: ReadonlyMap<string, Acked>,
  round: number,
  totals: { revision: number },
): Promise<number> {
  const all = await client.range({ key: utf8('k'), rangeEnd: utf8('l') });
  const found = new Map(all.kvs.map((kv) => [text(kv.key), kv]));
  let newest = totals.revision;
  for (const [key, write] of acked) {
    const kv = found.get(key);
    if (kv === undefined) throw new Error(`round ${round}: ${key} was acknowledged at revision ${write.revision} and is gone`);
    const counter = Number(text(kv.value).split(':')[0]);
    if (kv.modRevision < write.revision || counter < write.counter) {
      throw new Error(`round ${round}: ${key} went back from write ${write.counter} to ${counter}`);
    }
    if (kv.modRevision === write.revision && counter !== write.counter) {
      throw new Error(`round ${round}: ${key} has write ${counter} at the revision of write ${write.counter}`);
    }
    newest = Math.max(newest, write.revision);
  }
  if (all.header.revision < newest) {
    throw new Error(`round ${round}: the revision fell from ${newest} to ${all.header.revision}`);
  }
  totals.revision = all.header.revision;
  return acked.size;
}

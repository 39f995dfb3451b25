// The whole node on a disk that loses what was not synced. Writers, readers, leases, watches, compactions and snapshots run;
// at a random effect the power goes, the disk fails or the node is closed; the next life must know everything anybody was
// told. One seed replays one world: CRASH_SEED=7 npx ava test/core/node/crash.test.ts

import test from 'ava';
import { strict as assert } from 'node:assert';
import { Prng } from '../../../core/base/prng.js';
import { equalBytes, utf8 } from '../../../core/base/bytes.js';
import { opDelete, opPut, prefixRange, type Event, type LeaseId, type Op } from '../../../core/client.js';
import { isApiError } from '../../../core/errors.js';
import { startNode, type RunningNode } from '../../../core/start-node.js';
import { SimClock } from '../../sim/clock.js';
import { SimDisk } from '../../sim/disk.js';
import { KnownHistory, same } from './known-history.js';

const WORLDS = 4;
const LIVES = 8;
const WRITERS = 5;
const ALL = prefixRange(utf8(''));
const ELECTION_MS = 500;
const EIO = Object.assign(new Error('EIO: injected'), { code: 'EIO' });

type End = 'cut' | 'kill' | 'error' | 'close' | 'close, then cut';

/** One run of the node, until it is struck. */
class Life {
  readonly clock = new SimClock();
  readonly prng: Prng;
  readonly history: KnownHistory;
  readonly disk: SimDisk;
  /** Nothing that happens from now on counts: the machine is off. */
  over = false;
  failure: Error | null = null;
  readonly #values: { next: number };

  constructor(disk: SimDisk, history: KnownHistory, prng: Prng, values: { next: number }) {
    this.disk = disk;
    this.history = history;
    this.prng = prng;
    this.#values = values;
  }

  strikeAt(at: number, end: End): void {
    this.disk.setFault((effect, number) => {
      if (this.over || number < at) return null;
      const writes = effect.call !== 'read' && effect.call !== 'list' && effect.call !== 'stat';
      if (end === 'error') return number === at && writes ? EIO : null;
      if (end !== 'cut') return null;
      this.over = true;
      return 'cut';
    });
  }

  /** Null: struck on the way. */
  async start(snapshotCount: number): Promise<RunningNode | null> {
    const observe = (event: { kind: string; id?: LeaseId }): void => {
      if (event.kind === 'lease_expired' && event.id !== undefined && !this.over) this.#onExpired(event.id);
    };
    const options = { dataDir: 'data', files: this.disk, clock: this.clock, snapshotCount, observe, electionMs: ELECTION_MS };
    let started: RunningNode | null = null;
    let failed: unknown = null;
    startNode(options).then((node) => (started = node), (error: unknown) => (failed = error));
    for (let i = 0; i < 200 && started === null && failed === null && !this.over; i++) await this.clock.advance(10);
    if (this.over) return null;
    if (failed !== null) assert.match(String((failed as Error).message), /EIO/);
    return started;
  }

  /** Runs in the background until struck; what goes wrong is kept. */
  detach(work: () => Promise<void>): void {
    work().catch((error: unknown) => {
      if (!this.over) this.failure ??= error instanceof Error ? error : new Error(String(error));
    });
  }

  async sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => this.clock.schedule(ms, resolve));
  }

  /** The answer, or null when the call failed in a way that tells nothing, or nothing counts any more. */
  async answer<T>(call: Promise<T>): Promise<T | null> {
    try {
      const value = await call;
      return this.over ? null : value;
    } catch (error) {
      const expected = ['stopped', 'closed', 'lease_not_found', 'lease_exists', 'compacted', 'canceled', 'key_not_found'];
      if (isApiError(error) && expected.includes(error.code)) return null;
      if (!this.over) throw error;
      return null;
    }
  }

  async writer(name: number, node: RunningNode, paceMs: number): Promise<void> {
    for (;;) {
      await this.sleep(1 + this.prng.below(paceMs));
      for (let burst = this.prng.below(6); burst >= 0 && !this.over; burst--) {
        const dice = this.prng.below(20);
        if (dice < 9) await this.#put(node, name);
        else if (dice < 11) await Promise.all([this.#put(node, name), this.#put(node, name + 1), this.#read(node)]);
        else if (dice < 13) await this.#delete(node);
        else if (dice < 15) await this.#read(node);
        else if (dice < 16) await this.#txn(node);
        else if (dice < 17) await this.#grant(node);
        else if (dice < 18) await this.#keepAlive(node);
        else if (dice < 19) await this.#revoke(node);
        else await this.#compact(node);
      }
    }
  }

  /** Follows everything from the first revision not known, or from one that is; leaves now and then in the middle. */
  async watcher(node: RunningNode): Promise<void> {
    for (;;) {
      const from = Math.max(node.facts().compacted, this.history.revision + 1 - this.prng.below(5), 2);
      let expected = from;
      let batches = this.prng.below(60);
      for await (const batch of node.client.watch({ ...ALL, startRevision: from })) {
        if (this.over) return;
        for (const events of byRevision(batch.events)) {
          const revision = events[0]?.kv.modRevision ?? 0;
          assert.ok(revision >= expected, `a watch tells revision ${revision} after ${expected - 1}`);
          // A revision that was compacted may be told in part, or not at all.
          if (revision > node.facts().compacted) {
            const follows = revision === expected || expected <= node.facts().compacted;
            assert.ok(follows, `a watch skips from ${expected - 1} to ${revision}`);
            this.history.learn(revision, events);
          }
          expected = revision + 1;
        }
        if (this.prng.below(8) === 0) await this.sleep(this.prng.below(100));
        if (batches-- === 0) break;
      }
      if (this.over) return;
      await this.sleep(1);
    }
  }

  #key(): Uint8Array {
    return utf8(`k${this.prng.below(12)}`);
  }

  /** Now and then larger than a sector, or than a page. */
  #value(): Uint8Array {
    const size = [0, 0, 0, 700, 9000][this.prng.below(5)] ?? 0;
    return utf8(`v${this.#values.next++}`.padEnd(size, '.'));
  }

  #someLease(): LeaseId {
    const ids = [...this.history.leases].filter(([, lease]) => lease.state === 'granted').map(([id]) => id);
    return ids[this.prng.below(Math.max(1, ids.length))] ?? 0n;
  }

  async #put(node: RunningNode, name: number): Promise<void> {
    const value = this.#value();
    const key = this.prng.below(3) === 0 ? utf8(`w${name}`) : this.#key();
    const lease = this.prng.below(2) === 0 ? 0n : this.#someLease();
    const answer = await this.answer(node.client.txn({ success: [opPut(key, value, { lease })] }));
    if (answer === null) return;
    this.history.wrote(answer.header.revision, `the put of ${value.length} bytes`, (events) => events.length === 1
      && holds(events, key, value) && events[0]?.kv.lease === lease);
  }

  async #txn(node: RunningNode): Promise<void> {
    const ops: Op[] = [];
    for (let i = this.prng.below(4); i >= 0; i--) ops.push(opPut(utf8(`t${i}`), this.#value()));
    const answer = await this.answer(node.client.txn({ success: ops }));
    if (answer === null) return;
    this.history.wrote(answer.header.revision, 'the transaction', (events) => events.length === ops.length
      && ops.every((op) => op.kind === 'put' && holds(events, op.request.key, op.request.value)));
  }

  async #delete(node: RunningNode): Promise<void> {
    const range = this.prng.below(4) === 0 ? { rangeEnd: utf8('k5') } : {};
    const answer = await this.answer(node.client.txn({ success: [opDelete(this.#key(), range)] }));
    const only = answer?.responses[0];
    if (answer === null || only?.kind !== 'delete') return;
    const { deleted } = only.response;
    if (deleted === 0) return this.history.tell(answer.header.revision);
    this.history.wrote(answer.header.revision, `the delete of ${deleted} keys`, (events) => events.length === deleted
      && events.every((event) => event.kind === 'delete'));
  }

  async #read(node: RunningNode): Promise<void> {
    const least = this.history.told;
    const { compacted, revision } = node.facts();
    const past = this.prng.below(3) === 0 ? compacted + 1 + this.prng.below(Math.max(1, revision - compacted)) : 0;
    const request = { ...(this.prng.below(2) === 0 ? ALL : { key: this.#key() }), revision: past > revision ? 0 : past };
    const response = await this.answer(node.client.range(request));
    if (response === null) return;
    assert.ok(response.header.revision >= least, `a read at ${response.header.revision} began when ${least} had been told`);
    this.history.read(request, response);
  }

  async #grant(node: RunningNode): Promise<void> {
    const id = BigInt(1 + this.prng.below(1 << 20));
    if (this.history.leases.has(id)) return;
    const ttlSeconds = this.prng.below(2) === 0 ? 1 : 100_000;
    const sentMs = this.clock.now();
    const lease = { state: 'asked' as 'asked' | 'granted', ttlSeconds, lifeUntilMs: 0 };
    this.history.leases.set(id, lease);
    const answer = await this.answer(node.client.grant(ttlSeconds, { id }));
    if (answer === null) return;
    assert.equal(answer.ttlSeconds, ttlSeconds);
    lease.state = 'granted';
    lease.lifeUntilMs = sentMs + ttlSeconds * 1000;
  }

  async #keepAlive(node: RunningNode): Promise<void> {
    const granted = [...this.history.leases].filter(([, { state }]) => state === 'granted');
    const short = granted.filter(([, { ttlSeconds }]) => ttlSeconds === 1);
    const [id, lease] = (short.length > 0 ? short : granted)[0] ?? [0n, undefined];
    if (lease === undefined) return;
    const sentMs = this.clock.now();
    const answer = await this.answer(node.client.keepAlive(id));
    if (answer === null || lease.state !== 'granted') return;
    if (answer.ttlSeconds === 0) assert.ok(sentMs >= lease.lifeUntilMs, `lease ${id} cannot be renewed before its time is over`);
    else lease.lifeUntilMs = Math.max(lease.lifeUntilMs, sentMs + lease.ttlSeconds * 1000);
  }

  async #revoke(node: RunningNode): Promise<void> {
    const id = this.#someLease();
    const lease = this.history.leases.get(id);
    if (lease === undefined || this.prng.below(2) === 0) return;
    lease.state = 'dying';
    if ((await this.answer(node.client.revoke(id))) !== null) lease.state = 'gone';
  }

  async #compact(node: RunningNode): Promise<void> {
    const { history } = this;
    // Never beyond what is known: the events up to there are not shown a second time.
    const revision = history.revision - this.prng.below(20);
    if (revision <= history.compactedAtMost || this.prng.below(3) > 0) return;
    history.compactedAtMost = revision;
    history.compacted(revision);
    if ((await this.answer(node.client.compact(revision))) === null) return;
    history.compactedAtLeast = Math.max(history.compactedAtLeast, revision);
  }

  #onExpired(id: LeaseId): void {
    const lease = this.history.leases.get(id);
    if (lease === undefined) return;
    const now = this.clock.now();
    if (lease.state === 'granted' && now < lease.lifeUntilMs) {
      this.failure ??= new Error(`lease ${id} ends at ${now}, promised until ${lease.lifeUntilMs}`);
    }
    lease.state = 'gone';
  }
}

function holds(events: readonly Event[], key: Uint8Array, value: Uint8Array): boolean {
  return events.some(({ kind, kv }) => kind === 'put' && equalBytes(kv.key, key) && equalBytes(kv.value, value));
}

function byRevision(events: readonly Event[]): Event[][] {
  const groups: Event[][] = [];
  for (const event of events) {
    const last = groups.at(-1);
    if (last?.[0]?.kv.modRevision === event.kv.modRevision) last.push(event);
    else groups.push([event]);
  }
  return groups;
}

/** A node that has just come back knows everything that was told. */
async function checkKnowledge(life: Life, node: RunningNode): Promise<void> {
  const { history } = life;
  const { revision, compacted } = node.facts();
  assert.ok(revision >= history.told, `the node is back at revision ${revision}; ${history.told} had been told`);
  assert.ok(compacted >= history.compactedAtLeast && compacted <= history.compactedAtMost, `compacted to ${compacted}`);
  const from = Math.max(compacted, 1);
  if (revision > from) {
    let last = from;
    for await (const batch of node.client.watch({ ...ALL, startRevision: from })) {
      for (const events of byRevision(batch.events)) {
        last = events[0]?.kv.modRevision ?? 0;
        if (last > compacted) history.learn(last, events);
      }
      if (last >= revision) break;
    }
  }
  assert.equal(history.revision, revision);
  history.judgeAnswers();
  const now = await node.client.range(ALL);
  same(now.kvs, history.model.states[revision], 'everything there is');
  for (let at = Math.max(compacted, 1); at <= revision; at += 1 + Math.floor((revision - at) / 4)) {
    same((await node.client.range({ ...ALL, revision: at })).kvs, history.model.states[at], `everything at revision ${at}`);
  }
  await checkLeases(life, node);
}

async function checkLeases(life: Life, node: RunningNode): Promise<void> {
  const { history } = life;
  const present = new Set((await node.client.leases()).ids);
  const keysOf = new Map<LeaseId, string[]>();
  for (const kv of history.model.states[history.revision] ?? []) {
    if (kv.lease !== 0n) keysOf.set(kv.lease, [...(keysOf.get(kv.lease) ?? []), Buffer.from(kv.key).toString()]);
  }
  for (const [id, lease] of history.leases) {
    if (lease.state === 'granted' && life.clock.now() < lease.lifeUntilMs) assert.ok(present.has(id), `lease ${id} was granted`);
    if (lease.state === 'gone') assert.ok(!present.has(id), `lease ${id} was revoked`);
    if (!present.has(id)) lease.state = 'gone';
    else if (lease.state !== 'dying') lease.state = 'granted';
  }
  for (const id of new Set([...present, ...keysOf.keys()])) {
    assert.ok(present.has(id), `keys hang on lease ${id}, which is not there`);
    const { keys } = await node.client.leaseInfo(id, { keys: true });
    same(keys.map((key) => Buffer.from(key).toString()), keysOf.get(id) ?? [], `the keys of lease ${id}`);
  }
}

/** A new life gives every lease its whole time again, on a clock of its own. */
function renewPromises(life: Life): void {
  for (const lease of life.history.leases.values()) lease.lifeUntilMs = life.clock.now() + lease.ttlSeconds * 1000;
}

async function live(life: Life, at: number, end: End): Promise<void> {
  life.strikeAt(at, end);
  renewPromises(life);
  const node = await life.start(10 + life.prng.below(30));
  if (node !== null) {
    // A quick life takes many snapshots, a slow one sees leases end.
    const paceMs = [20, 100, 800][life.prng.below(3)] ?? 100;
    for (let i = 0; i < WRITERS; i++) life.detach(() => life.writer(i, node, paceMs));
    for (let i = 0; i < 2; i++) life.detach(async () => {
      // A compaction may overtake a watch that starts in the past; the next one starts behind it.
      for (let open = true; open; ) {
        open = await life.watcher(node).then(() => false, (error: unknown) => {
          if (isApiError(error, 'compacted')) return true;
          if (isApiError(error, 'stopped')) return false;
          throw error;
        });
      }
    });
    for (let waited = 0; waited < 6000 && !life.over && life.failure === null && life.disk.effects.length < at + 30;) {
      const ms = 1 + life.prng.below(150);
      waited += ms;
      await life.clock.advance(ms);
    }
    if (!life.over && end !== 'kill') {
      const closed = node.close().then(() => true, () => true);
      await life.clock.until(closed, 60_000);
    }
  }
  life.over = true;
  if (life.failure !== null) throw life.failure;
  if (end === 'kill' || end === 'close' || end === 'error') life.disk.kill();
  else life.disk.powerCut();
}

async function world(seed: number): Promise<KnownHistory> {
  const prng = new Prng(seed);
  const disk = new SimDisk({ seed });
  const history = new KnownHistory();
  const values = { next: 0 };
  const ends: readonly End[] = ['cut', 'cut', 'cut', 'kill', 'error', 'close', 'close, then cut'];
  for (let round = 0; round < LIVES; round++) {
    const end = ends[prng.below(ends.length)] ?? 'cut';
    const at = prng.below(8) === 0 ? prng.below(25) : prng.below(350);
    try {
      await live(new Life(disk, history, prng, values), at, end);
      disk.setFault(() => null);
      const after = new Life(disk, history, prng, values);
      renewPromises(after);
      const node = await after.start(1000);
      assert.ok(node !== null, 'the node starts again');
      await checkKnowledge(after, node);
      await after.clock.until(node.close());
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error);
      throw new Error(`seed ${seed}, life ${round}, ${end} at effect ${at}: ${what}`, { cause: error });
    }
  }
  return history;
}

test('whatever anybody was told outlives power cuts, kills, errors of the disk and ordinary ends', async (t) => {
  const only = process.env['CRASH_SEED'];
  const seeds = only === undefined ? Array.from({ length: WORLDS }, (_, i) => i + 1) : [Number(only)];
  let [reads, writes, revisions] = [0, 0, 0];
  for (const seed of seeds) {
    const history = await world(seed);
    reads += history.checkedReads;
    writes += history.checkedWrites;
    revisions += history.revision;
  }
  t.log(`${seeds.length} worlds of ${LIVES} lives: ${revisions} revisions, ${writes} acknowledged writes, ${reads} reads`);
  t.true(only !== undefined || (writes > 1000 && reads > 250), `only ${writes} writes and ${reads} reads were checked`);
});

// The watch on everything, from the first revision of a round to its last, through faults: streams break and are resumed
// at the revision after the last one seen, on the next member. Each stream is recorded for the checker; the joined course
// of events is what the store really did. A revision seen twice, split over two answers, or out of order is a finding.

import type { Etcd3, IWatchResponse } from 'etcd3';
import { OPEN_END } from '../../core/base/bytes.js';
import type { Event, WatchBatch, WatchRequest } from '../../core/client.js';
import { headerOf, keyValueOf } from './foreign-client.js';
import { pause } from './pause.js';
import type { Recorder } from './recorder.js';

/** A stream that shows nothing for so long is given up: the campaign never is silent for longer. */
const SILENT_MS = 3000;

export class Follower {
  readonly violations: string[] = [];
  readonly #name: string;
  readonly #clients: () => readonly Etcd3[];
  readonly #recorder: Recorder;
  readonly #isMain: boolean;
  #next: number;
  #turn: number;
  #isStopped = false;
  #running: Promise<void> | null = null;
  #endStream: () => void = () => undefined;

  /** `isMain`: its events become the recorder's course. */
  constructor(options: {
    name: string; clients: () => readonly Etcd3[]; recorder: Recorder; isMain: boolean; startRevision: number;
    firstClient: number;
  }) {
    this.#name = options.name;
    this.#clients = options.clients;
    this.#recorder = options.recorder;
    this.#isMain = options.isMain;
    this.#next = options.startRevision;
    this.#turn = options.firstClient;
  }

  /** The last revision seen whole. */
  get seen(): number {
    return this.#next - 1;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Until `revision` has been seen; false when the time is over. */
  async reach(revision: number, timeoutMs: number): Promise<boolean> {
    const endAt = performance.now() + timeoutMs;
    while (this.seen < revision && performance.now() < endAt) await pause(20);
    return this.seen >= revision;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#endStream();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      const clients = this.#clients();
      const client = clients[this.#turn++ % clients.length];
      if (client !== undefined) await this.#follow(client);
      if (!this.#isStopped) await pause(50);
    }
  }

  /** One stream, until it breaks, is silent for too long, or the follower is stopped. */
  async #follow(client: Etcd3): Promise<void> {
    const request: WatchRequest = { key: OPEN_END, rangeEnd: OPEN_END, startRevision: this.#next, prevKv: true };
    const batches: { at: number; batch: WatchBatch }[] = [];
    const stream = await client.watchClient.watch().catch(() => null);
    if (stream === null) return;
    await new Promise<void>((resolve) => {
      let timer = setTimeout(resolve, SILENT_MS);
      this.#endStream = resolve;
      stream.on('error', () => resolve());
      stream.on('end', () => resolve());
      stream.on('data', (answer) => {
        clearTimeout(timer);
        if (answer.canceled) return resolve();
        timer = setTimeout(resolve, SILENT_MS);
        const batch = batchOf(answer);
        batches.push({ at: performance.now(), batch });
        this.#note(batch, performance.now());
      });
      const all = Buffer.from(OPEN_END);
      stream.write({ create_request: { key: all, range_end: all, start_revision: this.#next, prev_kv: true } });
      if (this.#isStopped) resolve();
    });
    stream.cancel();
    if (batches.length > 0) this.#recorder.watch(this.#name, request, batches);
  }

  #note(batch: WatchBatch, at: number): void {
    let last = this.#next - 1;
    for (const event of batch.events) {
      const revision = event.kv.modRevision;
      if (revision < this.#next || revision < last) {
        this.violations.push(`${this.#name}: revision ${revision} came after revision ${last}, ${this.#next} was due`);
      }
      if (revision > last + 1) this.violations.push(`${this.#name}: nothing between revisions ${last} and ${revision}`);
      last = revision;
      if (!this.#isMain) continue;
      this.#recorder.course.push(event);
      this.#recorder.courseAt.push(at);
    }
    this.#next = last + 1;
  }
}

function batchOf(answer: IWatchResponse): WatchBatch {
  const events: Event[] = answer.events.map((event) => ({
    kind: event.type === 'Delete' || String(event.type) === 'DELETE' ? 'delete' : 'put',
    kv: keyValueOf(event.kv),
    prevKv: event.prev_kv === null || event.prev_kv === undefined ? null : keyValueOf(event.prev_kv),
  }));
  const quiet = answer.created ? 'created' : 'progress';
  return { kind: events.length > 0 ? 'events' : quiet, header: headerOf(answer.header), events };
}

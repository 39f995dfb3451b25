// The load generator's loops, open and closed, over several connections. An open loop looks at its schedule and its sockets every
// 0.1 ms and sleeps between, so that it takes little of the machine it measures.

import { Histogram } from './histogram.js';
import type { Job, JobResult } from './generator.js';
import { nextOf, type Next } from './requests.js';
import { UnaryConnection } from './unary-connection.js';

const LOOK_MS = 0.1;
/** For what is under way when the measured time ends. */
const PATIENCE_MS = 10_000;

/** Who is told what becomes of a job. */
export interface Listener {
  /** The warm-up has ended. */
  onBegin(): void;
  /** The measured time has ended. */
  onEnd(): void;
  /** A connection is of no more use. */
  onFault(why: string): void;
}

export class LoadLoop {
  readonly #job: Job;
  readonly #listener: Listener;
  readonly #next: Next;
  readonly #connections: UnaryConnection[] = [];
  readonly #latency = new Histogram();
  readonly #late = new Histogram();
  readonly #sleeper = new Int32Array(new SharedArrayBuffer(4));
  #countedFrom = Infinity;
  #countedTo = Infinity;
  #failed = 0;
  #inTime = 0;
  #bodyBytesBefore = 0;

  constructor(job: Job, listener: Listener) {
    this.#job = job;
    this.#listener = listener;
    this.#next = nextOf(job.requests);
  }

  async open(): Promise<void> {
    const { url, path, connections } = this.#job;
    for (let i = 0; i < connections; i++) {
      const onAnswer = (at: number, isGood: boolean): void => this.#onAnswer(i, at, isGood);
      this.#connections.push(await UnaryConnection.open(url, path, onAnswer, (why) => this.#listener.onFault(why)));
    }
  }

  async run(): Promise<JobResult> {
    const { warmUpSeconds, seconds, pacing } = this.#job;
    const startedAt = performance.now();
    const isFill = this.#job.requests.kind === 'fill';
    this.#countedFrom = startedAt + warmUpSeconds * 1000;
    // Rounded once, as what is due is: the sum of two times may lie beyond the last of them by the least that there is.
    this.#countedTo = isFill ? Infinity : startedAt + (warmUpSeconds + seconds) * 1000;
    if (pacing.kind === 'open') await this.#openLoop(startedAt, pacing.perSecond);
    else await this.#closedLoop(pacing.depth);
    const endedAt = Math.min(performance.now(), this.#countedTo);
    this.#listener.onEnd();
    await this.#drained();
    const bodyBytes = this.#bodyBytes() - this.#bodyBytesBefore;
    const took = (endedAt - this.#countedFrom) / 1000;
    return {
      answers: this.#latency.count, failed: this.#failed, seconds: took,
      perSecond: this.#inTime / took, bodyBytes,
      latency: this.#latency.quantiles(), late: pacing.kind === 'open' ? this.#late.quantiles() : null,
    };
  }

  close(): void {
    for (const connection of this.#connections) connection.close();
  }

  /** Every arrival of the schedule is sent, however far behind the answers are. */
  async #openLoop(startedAt: number, perSecond: number): Promise<void> {
    const stepMs = 1000 / perSecond;
    let isCounting = false;
    for (let i = 0; ;) {
      let now = performance.now();
      if (!isCounting && now >= this.#countedFrom) {
        isCounting = true;
        this.#begin();
      }
      for (let due = startedAt + i * stepMs; due <= now && due < this.#countedTo; due = startedAt + i * stepMs) {
        const message = this.#next();
        if (message === null) throw new Error('an open loop has no end');
        this.#connections[i % this.#connections.length]?.send(message, due);
        if (due >= this.#countedFrom) this.#late.record((performance.now() - due) * 1000);
        i += 1;
      }
      for (const connection of this.#connections) connection.flush();
      now = performance.now();
      if (now >= this.#countedTo) return;
      const waitMs = Math.min(LOOK_MS, startedAt + i * stepMs - now);
      if (waitMs > 0) Atomics.wait(this.#sleeper, 0, 0, waitMs);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #closedLoop(depth: number): Promise<void> {
    if (this.#countedFrom <= performance.now()) this.#begin();
    else setTimeout(() => this.#begin(), this.#countedFrom - performance.now());
    for (let i = 0; i < this.#connections.length; i++) {
      for (let k = 0; k < depth; k++) this.#sendOn(i, performance.now());
      this.#connections[i]?.flush();
    }
    while (performance.now() < this.#countedTo && this.#underWay() > 0) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  #sendOn(i: number, now: number): void {
    const message = this.#next();
    if (message !== null) this.#connections[i]?.send(message, now);
  }

  #onAnswer(i: number, at: number, isGood: boolean): void {
    const now = performance.now();
    if (at >= this.#countedFrom && at < this.#countedTo) {
      this.#latency.record((now - at) * 1000);
      if (!isGood) this.#failed += 1;
    }
    if (now >= this.#countedFrom && now < this.#countedTo) this.#inTime += 1;
    if (this.#job.pacing.kind === 'closed' && now < this.#countedTo) this.#sendOn(i, now);
  }

  #begin(): void {
    this.#bodyBytesBefore = this.#bodyBytes();
    this.#listener.onBegin();
  }

  #bodyBytes(): number {
    return this.#connections.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);
  }

  #underWay(): number {
    return this.#connections.reduce((sum, { underWay }) => sum + underWay, 0);
  }

  async #drained(): Promise<void> {
    const until = performance.now() + PATIENCE_MS;
    while (this.#underWay() > 0) {
      if (performance.now() > until) throw new Error(`${this.#underWay()} requests had no answer after ${PATIENCE_MS} ms`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

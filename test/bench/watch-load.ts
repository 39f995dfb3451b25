// The load of watches: one writer, very many watchers, the same for coterie and etcd. Streams and messages go by hand over
// light-client.ts, and answers are read no further than it takes to know that every watcher was told of every event, once, in
// order: of one writer's puts the revisions are consecutive, so each event must carry the one behind the last.

import { LightClient, type LightStream } from './light-client.js';
import { bytesField, framed, numberField, PATH, VALUE_BYTES } from './messages.js';

export interface WatchLoad {
  readonly url: string;
  readonly watchers: number;
  /** Over which the watchers are spread, and which are spread over the connections. */
  readonly streams: number;
  readonly connections: number;
  /** Puts, each of which every watcher is told of; `isDisjoint`: each of which one watcher is told of. */
  readonly events: number;
  readonly valueBytes?: number;
  /** Puts in flight; not heeded with `perSecond`. */
  readonly depth?: number;
  /** Puts begin at this rate, whatever becomes of them, and what counts is how long events take. */
  readonly perSecond?: number;
  /** Each watcher watches a key of its own. */
  readonly isDisjoint?: boolean;
  /** More watchers of everything, each on a connection of its own, which read nothing once they are created. */
  readonly stalled?: number;
  /** The other field of each create request: earlier pairs are wanted as well. */
  readonly prevKv?: boolean;
}

export interface WatchFigures {
  readonly delivered: number;
  /** From the first put until the last watcher has the last event. */
  readonly seconds: number;
  readonly perSecond: number;
  /** Until the last put was answered. */
  readonly putsPerSecond: number;
  /** From the time a put was due until a watcher has its event; only with `perSecond`. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const WATCH = '/etcdserverpb.Watch/Watch';
const DEPTH = 16;
/** Nothing has come for so long: something was lost. */
const STALL_MS = 20_000;
/** More than these are not kept of how long events took. */
const SAMPLES_MAX = 4_000_000;

export async function watchLoad(load: WatchLoad): Promise<WatchFigures> {
  const clients = await Promise.all(Array.from({ length: load.connections }, () => LightClient.connect(load.url)));
  const writer = await LightClient.connect(load.url);
  const stalled: LightClient[] = [];
  try {
    const prefix = `watched/${process.hrtime.bigint()}/`;
    const tally = new Tally(load);
    await openWatches(load, clients, prefix, tally);
    for (let i = 0; i < (load.stalled ?? 0); i++) stalled.push(await openStalled(load, prefix));
    const startedAt = performance.now();
    tally.begin(startedAt);
    const wrote = write(load, writer, prefix, tally).then(() => performance.now());
    await tally.finished;
    const seconds = (performance.now() - startedAt) / 1000;
    const writtenAt = await wrote;
    tally.check();
    return {
      delivered: tally.delivered,
      seconds,
      perSecond: tally.delivered / seconds,
      putsPerSecond: load.events / ((writtenAt - startedAt) / 1000),
      ...tally.latency(),
    };
  } finally {
    for (const client of [...clients, ...stalled, writer]) client.close();
  }
}

/** What every watcher has had, and must have next. */
class Tally {
  readonly #load: WatchLoad;
  /** By watcher: the revision of the last event, or of its creation; and how many events. */
  readonly #last: Float64Array;
  readonly #had: Uint32Array;
  readonly #samples: Float64Array;
  #sampled = 0;
  readonly #expected: number;
  #startedAt = 0;
  delivered = 0;
  created = 0;
  onCreated: () => void = () => undefined;
  readonly finished: Promise<void>;
  #finish: () => void = () => undefined;
  #fail: (error: Error) => void = () => undefined;

  constructor(load: WatchLoad) {
    this.#load = load;
    this.#last = new Float64Array(load.watchers);
    this.#had = new Uint32Array(load.watchers);
    this.#expected = load.isDisjoint === true ? load.events : load.events * load.watchers;
    this.#samples = new Float64Array(load.perSecond === undefined ? 0 : Math.min(SAMPLES_MAX, this.#expected));
    this.finished = new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
    });
    this.finished.catch(() => undefined);
  }

  begin(startedAt: number): void {
    this.#startedAt = startedAt;
    let before = -1;
    const timer = setInterval(() => {
      if (this.delivered === before) this.fail(`${this.delivered} of ${this.#expected} events have come, and no more do`);
      before = this.delivered;
    }, STALL_MS);
    const stop = (): void => clearInterval(timer);
    this.finished.then(stop, stop);
  }

  fail(why: string): void {
    this.#fail(new Error(`watch load: ${why}`));
  }

  onWatch(watcher: number, revision: number): void {
    this.#last[watcher] = revision;
    this.created += 1;
    if (this.created === this.#load.watchers) this.onCreated();
  }

  /** `number`: of the put; `atMs`: when the answer came. */
  onEvent(watcher: number, revision: number, number: number, atMs: number): void {
    const last = this.#last[watcher] ?? 0;
    const isNext = this.#load.isDisjoint === true ? revision > last : revision === last + 1;
    if (!isNext) return this.fail(`watcher ${watcher} has an event of revision ${revision} behind ${last}`);
    this.#last[watcher] = revision;
    this.#had[watcher] = (this.#had[watcher] ?? 0) + 1;
    this.delivered += 1;
    const { perSecond } = this.#load;
    if (perSecond !== undefined && this.#sampled < this.#samples.length) {
      this.#samples[this.#sampled++] = atMs - this.#startedAt - (number * 1000) / perSecond;
    }
    if (this.delivered === this.#expected) this.#finish();
  }

  /** That the sum is right is known by now; and each has its share? */
  check(): void {
    const { events, watchers, isDisjoint } = this.#load;
    for (let watcher = 0; watcher < watchers; watcher++) {
      const share = isDisjoint === true ? Math.floor((events - 1 - watcher) / watchers) + 1 : events;
      const had = this.#had[watcher];
      if (had !== share) throw new Error(`watch load: watcher ${watcher} has ${had} events of ${share}`);
    }
  }

  latency(): { p50Ms: number; p99Ms: number; maxMs: number } {
    const sorted = this.#samples.subarray(0, this.#sampled).sort();
    const at = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN;
    return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
  }
}

// Opening

async function openWatches(load: WatchLoad, clients: readonly LightClient[], prefix: string, tally: Tally): Promise<void> {
  const created = new Promise<void>((resolve) => {
    tally.onCreated = resolve;
  });
  const lost = (): void => tally.fail('the server ended a stream of watches');
  const streams: LightStream[] = [];
  for (let i = 0; i < load.streams; i++) {
    const first = firstOf(load, i);
    const client = clients[i % clients.length];
    if (client === undefined) throw new Error('watch load: there is no connection');
    const reader = new AnswerReader(first, tally, load.perSecond !== undefined);
    const stream = client.open(WATCH, (bytes, from, to) => reader.read(bytes, from, to), lost);
    streams.push(stream);
    const requests: Uint8Array[] = [];
    for (let watcher = first; watcher < firstOf(load, i + 1); watcher++) requests.push(createRequest(load, prefix, watcher));
    stream.send(Buffer.concat(requests.map((request) => framed(request))));
  }
  await Promise.race([created, tally.finished]);
}

/** Of stream `i`: its first watcher. Ids are given by the server from 0 on, in the order of the requests. */
function firstOf({ watchers, streams }: WatchLoad, i: number): number {
  return Math.floor((watchers * i) / streams);
}

function createRequest(load: WatchLoad, prefix: string, watcher: number): Uint8Array {
  const key = load.isDisjoint === true ? `${prefix}${watcher}` : prefix;
  const end = load.isDisjoint === true ? '' : `${prefix.slice(0, -1)}0`;
  const earlier = load.prevKv === true ? [numberField(6, 1)] : [];
  return bytesField(1, Buffer.concat([bytesField(1, key), bytesField(2, end), ...earlier]));
}

async function openStalled(load: WatchLoad, prefix: string): Promise<LightClient> {
  const client = await LightClient.connect(load.url);
  await new Promise<void>((resolve) => {
    const stream = client.open(WATCH, () => resolve(), () => undefined);
    stream.send(framed(createRequest({ ...load, isDisjoint: false }, prefix, 0)));
  });
  client.pause();
  return client;
}

// Writing

async function write(load: WatchLoad, client: LightClient, prefix: string, tally: Tally): Promise<void> {
  const { events, perSecond, depth = DEPTH } = load;
  const startedAt = performance.now();
  let [begun, answered] = [0, 0];
  await new Promise<void>((resolve) => {
    const putNext = (): void => {
      const number = begun++;
      let isGood = false;
      const key = load.isDisjoint === true ? `${prefix}${number % load.watchers}` : `${prefix}k`;
      const stream = client.open(PATH.put, () => (isGood = true), () => {
        answered += 1;
        if (!isGood) tally.fail(`put ${number} was refused`);
        if (answered === events) resolve();
        else if (perSecond === undefined && begun < events) putNext();
      });
      stream.isEnding = true;
      stream.send(framed(putRequest(key, number, load.valueBytes ?? VALUE_BYTES)));
    };
    if (perSecond === undefined) {
      for (let i = 0; i < Math.min(depth, events); i++) putNext();
      return;
    }
    const timer = setInterval(() => {
      const due = Math.min(events, Math.ceil(((performance.now() - startedAt) * perSecond) / 1000));
      while (begun < due) putNext();
      if (begun === events) clearInterval(timer);
    }, 1);
  });
}

/** The value begins with the number of the put. */
function putRequest(key: string, number: number, valueBytes: number): Uint8Array {
  const value = Buffer.alloc(Math.max(4, valueBytes), 'v');
  value.writeUInt32BE(number);
  return Buffer.concat([bytesField(1, key), bytesField(2, value)]);
}

// Reading: the fields of WatchResponse, Event and KeyValue that are needed; a tag is a field's number times 8, and how it is
// written.

const HEADER = 1 * 8 + 2;
const WATCH_ID = 2 * 8;
const CREATED = 3 * 8;
const CANCELED = 4 * 8;
const EVENT = 11 * 8 + 2;
const REVISION_OF_HEADER = 3 * 8;
const PAIR = 2 * 8 + 2;
const MOD_REVISION = 3 * 8;
const VALUE = 5 * 8 + 2;

/** Of one stream, whose watchers are numbered from `first` on. */
class AnswerReader {
  readonly #first: number;
  readonly #tally: Tally;
  readonly #isTimed: boolean;
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(first: number, tally: Tally, isTimed: boolean) {
    this.#first = first;
    this.#tally = tally;
    this.#isTimed = isTimed;
  }

  read(bytes: Buffer, from: number, to: number): void {
    const atMs = this.#isTimed ? performance.now() : 0;
    this.#bytes = bytes;
    this.#at = from;
    let [watcher, headerAt, isCreated] = [this.#first, -1, false];
    while (this.#at < to) {
      const tag = this.#number();
      const value = this.#number();
      if (tag === EVENT) {
        const end = this.#at + value;
        this.#event(watcher, end, atMs);
        this.#at = end;
      } else if (tag === WATCH_ID) {
        watcher = this.#first + value;
      } else if (tag === HEADER) {
        headerAt = this.#at;
        this.#at += value;
      } else if (tag === CREATED) {
        isCreated = true;
      } else if (tag === CANCELED) {
        return this.#tally.fail(`watcher ${watcher} was canceled`);
      } else if ((tag & 7) === 2) {
        this.#at += value;
      }
    }
    if (isCreated) this.#tally.onWatch(watcher, this.#revisionOf(headerAt));
  }

  #event(watcher: number, end: number, atMs: number): void {
    let [revision, number] = [0, 0];
    while (this.#at < end) {
      const tag = this.#number();
      const value = this.#number();
      if (tag !== PAIR) {
        if ((tag & 7) === 2) this.#at += value;
        continue;
      }
      const endOfPair = this.#at + value;
      while (this.#at < endOfPair) {
        const field = this.#number();
        const content = this.#number();
        if (field === MOD_REVISION) revision = content;
        if ((field & 7) !== 2) continue;
        if (field === VALUE && this.#isTimed) number = this.#bytes.readUInt32BE(this.#at);
        this.#at += content;
      }
    }
    this.#tally.onEvent(watcher, revision, number, atMs);
  }

  #revisionOf(headerAt: number): number {
    this.#at = headerAt;
    for (;;) {
      const tag = this.#number();
      const value = this.#number();
      if (tag === REVISION_OF_HEADER) return value;
    }
  }

  #number(): number {
    const bytes = this.#bytes;
    let byte = bytes[this.#at++] ?? 0;
    if (byte < 128) return byte;
    let [value, scale] = [byte & 127, 128];
    do {
      byte = bytes[this.#at++] ?? 0;
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte >= 128);
    return value;
  }
}

// Topics: what is published is seen by everybody who subscribes, in one order. Two kinds.
//
//   durable  each message is a key of its own, kept by count and age. A reader goes on from its position after any
//            interruption; a group of consumers shares the work. One transaction for each message, or for each batch of
//            messages published at the same time, and none for each reader.
//   live     only the newest message is kept, in one key whose version is the position. Nothing is compared, so publishers
//            never wait for each other; what a reader misses is told by its number.
//
// No message of either is ever passed over in silence: see `Gap`. Keys: topic-names.ts; transactions: topic-publish.ts and
// topic-group.ts. Not here: selecting messages by their content, and order across topics.

import { utf8 } from '../core/base/bytes.js';
import type { Clock } from '../core/base/clock.js';
import { systemClock } from '../core/base/clock.js';
import type { CallOptions, Client, KeyValue, OpResponse, TxnResponse } from '../core/client.js';
import { opPut, opRange } from '../core/client.js';
import { assert } from '../core/base/assert.js';
import { ApiError } from '../core/errors.js';
import type { Session } from './session.js';
import type { GroupOptions } from './topic-group.js';
import { TopicGroup } from './topic-group.js';
import type { TopicNames } from './topic-names.js';
import { positionText, readHead, readPosition, topicNames } from './topic-names.js';
import type { Published, PublishOptions, Retention } from './topic-publish.js';
import { MESSAGE_BYTES_MAX, Publisher } from './topic-publish.js';
import type { Page, Source, SubscribeOptions } from './topic-read.js';
import { Subscription } from './topic-read.js';

/** Of one read while a reader catches up. */
const PAGE_MESSAGES = 64;

export interface TopicOptions {
  /** What the messages published through this object leave of the topic; give every publisher of a topic the same. */
  readonly retain?: Retention;
  /** For how long at least an id keeps a second message with it from being published. Default 600. */
  readonly windowSeconds?: number;
  readonly clock?: Clock;
}

/** One for each topic and process: what is published through it at the same time travels together. Holds nothing open. */
export class Topic {
  readonly name: string;
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #names: TopicNames;
  readonly #publisher: Publisher;

  constructor(client: Client, name: string, options: TopicOptions = {}) {
    const { clock = systemClock, ...publishing } = options;
    this.name = name;
    this.#client = client;
    this.#clock = clock;
    this.#names = topicNames(name);
    this.#publisher = new Publisher(client, this.#names, { ...publishing, clock });
  }

  /**
   * Resolves with the position once it is committed; tries until `timeoutMs` (default 30 s, at most the window). Then it
   * rejects with an unknown outcome: the same `id` again settles it.
   */
  publish(body: string | Uint8Array, options: PublishOptions = {}): Promise<Published> {
    return this.#publisher.publish(typeof body === 'string' ? utf8(body) : body, options);
  }

  subscribe(options: SubscribeOptions = {}): Subscription {
    return new Subscription(this.#client, this.#clock, logSource(this.#names), options);
  }

  /** Consumers of one group share the messages: each is handed to one of them. See topic-group.ts. */
  group(session: Session, name: string, options: GroupOptions = {}): Promise<TopicGroup> {
    return TopicGroup.open(session, this.#names, name, options);
  }
}

export interface LiveSubscribeOptions extends Omit<SubscribeOptions, 'from'> {
  /** `last` begins with the newest message, if there is one. Default `now`. */
  readonly from?: 'now' | 'last';
}

export class LiveTopic {
  readonly name: string;
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #names: TopicNames;

  constructor(client: Client, name: string, options: { readonly clock?: Clock } = {}) {
    this.name = name;
    this.#client = client;
    this.#clock = options.clock ?? systemClock;
    this.#names = topicNames(name);
  }

  /** One request, never repeated: where its outcome is unknown, the message may have been published. */
  async publish(body: string | Uint8Array, options: CallOptions = {}): Promise<{ readonly position: number }> {
    const bytes = typeof body === 'string' ? utf8(body) : body;
    if (bytes.length > MESSAGE_BYTES_MAX) {
      const detail = `the message has ${bytes.length} bytes; give at most ${MESSAGE_BYTES_MAX}, or publish where it lies`;
      throw new ApiError('invalid_request', { detail });
    }
    const key = this.#names.live;
    const answer = await this.#client.txn({ success: [opPut(key, bytes), opRange(key, { keysOnly: true })] }, options);
    const [written] = rangeIn(answer.responses[1]);
    assert(written !== undefined, 'a transaction reads what it has put');
    return { position: written.version };
  }

  subscribe(options: LiveSubscribeOptions = {}): Subscription {
    const from = options.from === 'last' ? 'oldest' : 'now';
    return new Subscription(this.#client, this.#clock, liveSource(this.#names), { ...options, from });
  }
}

function logSource({ topic, head, log }: TopicNames): Source {
  const start = utf8(log);
  const rangeEnd = utf8(`${log}~`);
  return {
    topic,
    range: { key: start, rangeEnd },
    lossReason: 'trimmed',
    reads: (after) => [
      opRange(head),
      opRange(after === null ? start : utf8(`${log}${positionText(after + 1)}`), { rangeEnd, limit: PAGE_MESSAGES }),
    ],
    page(answer: TxnResponse): Page {
      const [headKv] = rangeIn(answer.responses[0]);
      const answered = answer.responses[1];
      const found = readHead(headKv);
      const messages = rangeIn(answered).flatMap((kv) => {
        const position = readPosition(kv.key, log);
        return position === null ? [] : [{ position, body: kv.value }];
      });
      const more = answered?.kind === 'range' && answered.response.more;
      return { messages, last: found?.last ?? null, base: found?.base ?? 0, epoch: null, more };
    },
    positionOf(kv) {
      const position = readPosition(kv.key, log);
      return position === null ? null : { position, epoch: null };
    },
    afterReset: ({ last }) => last ?? 0,
  };
}

function liveSource({ topic, live }: TopicNames): Source {
  return {
    topic,
    range: { key: live },
    lossReason: 'compacted',
    reads: () => [opRange(live)],
    page(answer: TxnResponse): Page {
      const [kv] = rangeIn(answer.responses[0]);
      if (kv === undefined) return { messages: [], last: 0, base: 0, epoch: null, more: false };
      const { version, value, createRevision } = kv;
      return { messages: [{ position: version, body: value }], last: version, base: 0, epoch: createRevision, more: false };
    },
    positionOf: ({ version, createRevision }) => ({ position: version, epoch: createRevision }),
    afterReset: ({ last }) => Math.max(0, (last ?? 0) - 1),
  };
}

function rangeIn(answer: OpResponse | undefined): readonly KeyValue[] {
  assert(answer?.kind === 'range', 'a range is answered by a range');
  return answer.response.kvs;
}

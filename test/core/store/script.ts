// A store with short words for what tests do to it: keys and values are text, entries number themselves.

import { fromLatin1, latin1 } from '../../../core/base/bytes.js';
import type { KeyValue, Op, PutRequest, RangeRequest, TxnRequest, Event } from '../../../core/client.js';
import { opDelete, opPut } from '../../../core/client.js';
import { decodeCommand, encodeCommand, type Command } from '../../../core/store/command.js';
import { Store, type Applied, type EventBatch, type Reply } from '../../../core/store/store.js';

export const bytes = (text: string): Uint8Array => new Uint8Array(fromLatin1(text));
export const ALL = { key: bytes('\0'), rangeEnd: bytes('\0') };

export class Script {
  store: Store;
  index = 0;
  term = 1;
  /** Called with what every apply changed. */
  onEvents: (batch: EventBatch) => void = () => undefined;

  constructor(store = new Store()) {
    this.store = store;
    this.index = store.applied.index;
  }

  apply(command: Command): Applied {
    const applied = this.store.apply({ term: this.term, index: ++this.index }, decodeCommand(encodeCommand(command)));
    if (applied.events !== null) this.onEvents(applied.events);
    return applied;
  }

  txn(request: TxnRequest): Reply {
    return this.apply({ kind: 'txn', request }).reply;
  }

  ops(...success: Op[]): Reply {
    return this.txn({ success });
  }

  put(key: string, value = '', options: Omit<PutRequest, 'key' | 'value'> = {}): Reply {
    return this.ops(opPut(bytes(key), bytes(value), options));
  }

  del(key: string, rangeEnd = ''): Reply {
    return this.ops(opDelete(bytes(key), { rangeEnd: bytes(rangeEnd) }));
  }

  grant(id: bigint, ttlSeconds = 60): Reply {
    return this.apply({ kind: 'lease_grant', id, ttlSeconds }).reply;
  }

  revoke(id: bigint, term = 0): Applied {
    const granted = term === 0 ? 0 : (this.store.lease(id)?.granted ?? 0);
    return this.apply({ kind: 'lease_revoke', id, term, granted });
  }

  compact(revision: number): Reply {
    return this.apply({ kind: 'compact', revision }).reply;
  }

  tidy(): void {
    while (!this.store.tidy(1000));
  }

  /** `key=value` of what a range finds, or the error. */
  range(request: RangeRequest): string {
    const result = this.store.range(request);
    return typeof result === 'string' ? result : shown(result.kvs);
  }
}

export function shown(kvs: readonly KeyValue[]): string {
  return kvs.map((kv) => `${latin1(kv.key)}=${latin1(kv.value)}`).join(' ');
}

/** `+key=value@revision`, `-key@revision`, with `<old` behind it where the previous value is told. */
export function told(events: readonly Event[]): string {
  return events
    .map(({ kind, kv, prevKv }) => {
      const what = kind === 'put' ? `+${latin1(kv.key)}=${latin1(kv.value)}` : `-${latin1(kv.key)}`;
      return `${what}@${kv.modRevision}${prevKv === null ? '' : `<${latin1(prevKv.value)}`}`;
    })
    .join(' ');
}

export function bytesOf(store: Store): Buffer {
  const frozen = store.freeze();
  const all = Buffer.concat([...frozen.chunks()]);
  frozen.release();
  return all;
}

export function loadedFrom(all: Uint8Array, pieceBytes = all.length): Store {
  const loader = Store.load();
  for (let at = 0; at < all.length; at += pieceBytes) loader.push(all.subarray(at, at + pieceBytes));
  return loader.finish();
}

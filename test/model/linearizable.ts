// The general check of linearizability, for small histories: is there any order of the operations, within their times, that
// explains the answers? Wing and Gong's search with Lowe's refinements: a linked list from which operations are lifted and
// put back, and a memory of (operations done, state) that need not be looked at again. Revisions in answers are not used, and
// the model is the naive store: an opinion independent of the witness (witness.ts). Budgeted, for the question is hard.

import type { KeyValue, OpResponse, RangeResponse, TxnResponse } from '../../core/client.js';
import type { Operation } from './history.js';
import { difference } from './same.js';
import { StoreModel } from './store-model.js';

export type Opinion = 'linearizable' | 'not linearizable' | 'unknown';

/** The model of what is asked: a function of states, so that a search can go back. */
export interface Model<S> {
  readonly initial: S;
  /** The state after the operation, null: it cannot have been answered so in this state. */
  step(state: S, operation: Operation): S | null;
  /** Equal for equal states. */
  nameOf(state: S): string;
}

interface Item {
  readonly operation: Operation;
  readonly id: number;
  /** The return belonging to a call; null at a return, and at the call of what was never answered. */
  readonly end: Item | null;
  readonly isCall: boolean;
  readonly at: number;
  before: Item | null;
  after: Item | null;
}

/** `steps`: how many tries before the question is given up. */
export function isLinearizable<S>(operations: readonly Operation[], model: Model<S>, steps = 1_000_000): Opinion {
  const { head, open } = linked(operations);
  const words = new Uint32Array((operations.length >> 5) + 1);
  const seen = new Set<string>();
  const done: { item: Item; state: S }[] = [];
  let { initial: state } = model;
  let left = open;
  let item = head.after;
  for (let i = 0; left > 0; i++) {
    if (i > steps) return 'unknown';
    if (item?.isCall === true) {
      const next = model.step(state, item.operation);
      if (next !== null) {
        flip(words, item.id);
        const name = `${words.join()} ${model.nameOf(next)}`;
        if (!seen.has(name)) {
          seen.add(name);
          done.push({ item, state });
          state = next;
          if (item.end !== null) left--;
          lift(item);
          item = head.after;
          continue;
        }
        flip(words, item.id);
      }
      item = item.after;
      continue;
    }
    // Somebody was answered here who has not been served, or nobody is left to serve: the last choice was wrong.
    const last = done.pop();
    if (last === undefined) return 'not linearizable';
    ({ state } = last);
    flip(words, last.item.id);
    if (last.item.end !== null) left++;
    unlift(last.item);
    item = last.item.after;
  }
  return 'linearizable';
}

/** Calls and returns by time. What failed for certain is left out; what may have happened has no return. */
function linked(operations: readonly Operation[]): { head: Item; open: number } {
  const items: Item[] = [];
  let open = 0;
  operations.forEach((operation, id) => {
    const { outcome, calledAt, returnedAt } = operation;
    if (outcome.kind === 'error' && outcome.outcome === 'never') return;
    const common = { operation, id, before: null, after: null };
    const end: Item | null = outcome.kind === 'ok' ? { ...common, end: null, isCall: false, at: returnedAt } : null;
    items.push({ ...common, end, isCall: true, at: calledAt });
    if (end === null) return;
    items.push(end);
    open++;
  });
  // At one moment calls come first: they are at the same time.
  items.sort((a, b) => a.at - b.at || Number(b.isCall) - Number(a.isCall));
  const [first] = operations;
  if (first === undefined) return { head: dummy(), open: 0 };
  const head = dummy(first);
  let last = head;
  for (const item of items) {
    last.after = item;
    item.before = last;
    last = item;
  }
  return { head, open };
}

function dummy(operation?: Operation): Item {
  const nobody: Operation = operation ?? {
    client: '', member: 0n, calledAt: 0, returnedAt: 0, request: { kind: 'compact', revision: 0 },
    outcome: { kind: 'error', code: 'canceled', outcome: 'never' },
  };
  return { operation: nobody, id: 0, end: null, isCall: true, at: -Infinity, before: null, after: null };
}

function lift(item: Item): void {
  for (const each of [item, item.end]) {
    if (each !== null && each !== undefined && each.before !== null && each.before !== undefined) each.before.after = each.after;
    if (each !== null && each !== undefined && each.after !== null && each.after !== undefined) each.after.before = each.before;
  }
}

function unlift(item: Item): void {
  for (const each of [item.end, item]) {
    if (each !== null && each !== undefined && each.before !== null && each.before !== undefined) each.before.after = each;
    if (each !== null && each !== undefined && each.after !== null && each.after !== undefined) each.after.before = each;
  }
}

function flip(words: Uint32Array, id: number): void {
  words[id >> 5] = (words[id >> 5] ?? 0) ^ (1 << (id & 31));
}

export interface Pairs {
  readonly kvs: readonly KeyValue[];
  /** Counted, not taken from answers: guards in transactions name revisions. */
  readonly revision: number;
}

/** Pairs without leases. Reads of old revisions cannot be judged by a state; leave them out. */
export const pairsModel: Model<Pairs> = {
  initial: { kvs: [], revision: 1 },
  step(state, { request, outcome }) {
    if (outcome.kind === 'ok' && (request.kind === 'range' || request.kind === 'txn')) {
      const store = storeOf(state);
      if (request.kind === 'range') {
        const due = store.range(request.request);
        return typeof due !== 'string' && difference(stripped(due), stripped(outcome.response)) === null ? state : null;
      }
      const due = store.apply(1, { kind: 'txn', request: request.request });
      return due.kind === 'txn' && difference(stripped(due), stripped(outcome.response)) === null ? stateOf(store) : null;
    }
    if (request.kind !== 'txn') return state;
    const store = storeOf(state);
    store.apply(1, { kind: 'txn', request: request.request });
    return stateOf(store);
  },
  nameOf({ kvs, revision }) {
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
    return `${revision} ${kvs.map(({ key, value, modRevision }) => `${hex(key)}=${hex(value)}@${modRevision}`).join()}`;
  },
};

function storeOf({ kvs, revision }: Pairs): StoreModel {
  const store = new StoreModel();
  store.states.length = revision;
  store.states[revision] = kvs;
  return store;
}

function stateOf(store: StoreModel): Pairs {
  return { kvs: store.states[store.revision] ?? [], revision: store.revision };
}

/** What an answer says apart from revisions. */
function stripped(answer: unknown): unknown {
  const pair = (kv: KeyValue | null): unknown => kv === null ? null : { key: kv.key, value: kv.value, version: kv.version };
  const range = ({ kvs, more, count }: Pick<RangeResponse, 'kvs' | 'more' | 'count'>): unknown =>
    ({ kvs: kvs.map(pair), more, count });
  const txn = ({ succeeded, responses }: Pick<TxnResponse, 'succeeded' | 'responses'>): unknown =>
    ({ succeeded, responses: responses.map(part) });
  const part = (each: OpResponse): unknown => {
    if (each.kind === 'range') return range(each.response);
    if (each.kind === 'put') return pair(each.response.prevKv);
    return each.kind === 'txn' ? txn(each.response) : { deleted: each.response.deleted,
      prevKvs: each.response.prevKvs.map(pair) };
  };
  if (isTxnAnswer(answer)) return txn(answer);
  return isRangeAnswer(answer) ? range(answer) : null;
}

function isTxnAnswer(answer: unknown): answer is Pick<TxnResponse, 'succeeded' | 'responses'> {
  return typeof answer === 'object' && answer !== null && 'responses' in answer;
}

function isRangeAnswer(answer: unknown): answer is Pick<RangeResponse, 'kvs' | 'more' | 'count'> {
  return typeof answer === 'object' && answer !== null && 'kvs' in answer;
}

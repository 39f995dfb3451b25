// While a world runs, the real clock and the real dice throw: one impure line in the product, and a seed would not be the
// same run twice. A world runs within one macrotask, so nobody else in the process can meet them meanwhile.

import { webcrypto } from 'node:crypto';

const random = Math.random;

/** One at a time: two worlds in one process would take turns, and undo each other's guard. */
export async function guarded<T>(work: () => Promise<T>): Promise<T> {
  const isOther = Object.getOwnPropertyDescriptor(Math, 'random')?.value !== random;
  if (isOther) throw new Error('a world is running in this process already');
  const restore = poison();
  try {
    return await work();
  } finally {
    for (const undo of restore) undo();
  }
}

function poison(): (() => void)[] {
  const PureDate = new Proxy(Date, {
    apply: () => impure('Date()'),
    construct: (target, args) => (args.length === 0 ? impure('new Date()') : Reflect.construct(target, args)),
    get: (target, name) => (name === 'now' ? () => impure('Date.now') : Reflect.get(target, name)),
  });
  return [
    ...['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'fetch'].map((name) => {
      return replace(globalThis, name, () => impure(name));
    }),
    replace(globalThis, 'Date', PureDate),
    replace(Math, 'random', () => impure('Math.random')),
    replace(performance, 'now', () => impure('performance.now')),
    replace(process, 'hrtime', () => impure('process.hrtime')),
    replace(webcrypto, 'getRandomValues', () => impure('crypto.getRandomValues')),
    replace(webcrypto, 'randomUUID', () => impure('crypto.randomUUID')),
  ];
}

function impure(name: string): never {
  throw new Error(`${name} was used in a simulated world: it would not be the same world twice`);
}

function replace(owner: object, name: string, value: unknown): () => void {
  const before = Object.getOwnPropertyDescriptor(owner, name);
  Object.defineProperty(owner, name, { value, configurable: true, writable: true });
  return () => {
    if (before === undefined) Reflect.deleteProperty(owner, name);
    else Object.defineProperty(owner, name, before);
  };
}

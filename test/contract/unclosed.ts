// A client for the contract's `another`, where one process has only one: closing it would end it for all tests.

import type { Backend } from '../../core/client.js';

/** The same client, but for `close`, which does nothing. */
export function unclosed(client: Backend): Backend {
  return new Proxy(client, {
    get: (target, name) => {
      if (name === 'close') return () => Promise.resolve();
      const member: unknown = Reflect.get(target, name);
      return typeof member === 'function' ? (...args: unknown[]): unknown => Reflect.apply(member, target, args) : member;
    },
  });
}

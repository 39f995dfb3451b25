// The process of `loadInProcess`: one argument, loads with their words as JSON; prints the figures of the last as JSON.

import type { ClientLoads } from './client-load.js';
import { expiryLoad, grantLoad, keepAliveLoad } from './lease-load.js';
import { lockLoad } from './lock-load.js';
import { watchLoad } from './watch-load.js';

type Call = { readonly [K in keyof ClientLoads]: readonly [K, ...Parameters<ClientLoads[K]>] }[keyof ClientLoads];

async function figures(call: Call): Promise<object> {
  switch (call[0]) {
    case 'grant':
      return await grantLoad(call[1], call[2]);
    case 'keepAlive':
      return await keepAliveLoad(call[1], call[2]);
    case 'expiry':
      return await expiryLoad(call[1], call[2]);
    case 'watch':
      return await watchLoad(call[1]);
    case 'lock':
      return await lockLoad(call[1], () => process.stdout.write('mark\n'));
  }
}

let last: object = {};
for (const call of JSON.parse(process.argv[2] ?? '') as readonly Call[]) last = await figures(call);
process.stdout.write(JSON.stringify(last));

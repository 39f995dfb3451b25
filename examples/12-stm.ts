// Money that is moved by many at once, without a lock: each transfer reads and writes as if it were alone, and runs again
// when it was not. Transfers get their numbers from blocks of ids, and a counter counts them, once each.
// Everything runs in this process; against a server, `connect('http://127.0.0.1:2379')` takes the node's place.
//
// Prints:
//   60 transfers with 60 different numbers, in … runs
//   the sum is 300 as before
//   counted 60, and still 60 after one was told again
//   what its own code refuses is not written: Error: too little on alice

import { startNode } from '../core/index.js';
import { counter, ids, Session, stm, type Transaction } from '../recipes/index.js';

const node = await startNode({ dataDir: null });
const { client } = node;
const accounts = ['accounts/alice', 'accounts/bob', 'accounts/carol'];
await stm(client, (tx) => accounts.forEach((account) => tx.put(account, '100')));

let runs = 0;
const numbers: number[] = [];
const tellers = [0, 1, 2, 3].map(async (teller) => {
  // On a session a lost answer is settled, so that nothing is done twice.
  await using session = await Session.open(client, { ttlSeconds: 10, name: `teller ${teller}` });
  const done = counter(session, 'transfers');
  const block = await ids(client, 'transfers').reserve(15);
  for (let id = block.from; id <= block.to; id += 1) {
    const [from = '', to = ''] = [accounts[id % 3], accounts[(id + 1) % 3]];
    await stm(session, (tx) => transfer(tx, from, to, 1));
    await done.add(1, { id: `transfer-${id}` });
    numbers.push(id);
  }
});
await Promise.all(tellers);
say(`${numbers.length} transfers with ${new Set(numbers).size} different numbers, in ${runs} runs`);

// Reads are all of one revision: a sum over several keys is one that was true.
const pairs = await stm(client, (tx) => tx.range({ prefix: 'accounts/' }));
say(`the sum is ${pairs.reduce((sum, { value }) => sum + Number(Buffer.from(value)), 0)} as before`);

const session = await Session.open(client, { ttlSeconds: 10 });
const done = counter(session, 'transfers');
const before = await done.value();
await done.add(1, { id: `transfer-${numbers[0]}` });
say(`counted ${before}, and still ${await done.value()} after one was told again`);

await stm(session, (tx) => transfer(tx, 'accounts/alice', 'accounts/bob', 1_000))
  .catch((error: unknown) => say(`what its own code refuses is not written: ${String(error)}`));
await session.close().then(() => node.close());

async function transfer(tx: Transaction, from: string, to: string, amount: number): Promise<void> {
  runs += 1;
  const [a, b] = [Number(Buffer.from(await tx.get(from) ?? [])), Number(Buffer.from(await tx.get(to) ?? []))];
  if (a < amount) throw new Error(`too little on ${from.slice('accounts/'.length)}`);
  tx.put(from, String(a - amount));
  tx.put(to, String(b + amount));
}

function say(words: string): void {
  process.stdout.write(`${words}\n`);
}

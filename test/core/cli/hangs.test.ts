// What keys on a lease say in words.

import test from 'ava';
import { hangsOf } from '../../../core/cli/hangs.js';

test('what recipes put on a lease has a word, once, with names as they were given', (t) => {
  const { words, unknown } = hangsOf([
    'coterie/queues/a%2Fb/care/1f', 'coterie/queues/a%2Fb/turn/0/1f', 'coterie/queues/a%2Fb/out/hold/1f/x%25',
    'coterie/queues/q/out/hold/delay/7', 'coterie/queues/q/ids/7', 'coterie/queues/q/ids/8',
    'coterie/topics/t/groups/g/state/claims/0000000000000012', 'coterie/topics/t/groups/g/turn/1f', 'coterie/topics/t/ids/i',
    'coterie/topics/t/sent/1f', 'coterie/topics/u/turn', 'coterie/topics/t/log/0000000000000012', 'coterie/groups/g/1f',
    'coterie/barriers/b/in/0000000000000001/1f', 'coterie/double-barriers/b/in/0000000000000001/1f', 'coterie/counted/c/1',
    'coterie/receipts/1f', 'coterie/left/coterie/locks/a/1f', 'coterie/wanted/coterie/locks/a/1f', 'coterie/chosen/x',
  ]);
  t.deepEqual(words, [
    'consumer of queue a/b', 'item x% of queue a/b', 'delays of queue q', 'known ids of queue q', 'message 12 of topic t for g',
    'consumer of topic t for g', 'known ids of topic t', 'known ids of topic u', 'messages of topic t', 'member of group g',
    'barrier b', 'double barrier b', 'known ids of counter c',
  ]);
  t.is(unknown, 0);
});

test('keys that no recipe would have written are counted, and never named', (t) => {
  const { words, unknown } = hangsOf(['loose', 'coterie/', 'coterie/queues/q/other', 'queues/q/ids/7', 'coterie/groups/g', '']);
  t.deepEqual(words, []);
  t.is(unknown, 6);
});

test('a name cannot speak in place of another part of the word', (t) => {
  t.deepEqual(hangsOf(['coterie/queues/$2/out/hold/1f/$1']).words, ['item $1 of queue $2']);
});
